"""What the page of a comparison draws, as JSON: curves, costs, confusion, images, settings; bounded in size."""

import base64
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cnn_experiments.runs.configuration import Configuration, differing_keys
from cnn_experiments.runs.disagreements import disagreements_of
from cnn_experiments.runs.finished import FinishedRun
from cnn_experiments.runs.formats import as_json, as_typed, cut, printable
from cnn_experiments.runs.search import is_number

if TYPE_CHECKING:
    from cnn_experiments.runs.comparison import Comparison

MOST_DRAWN = 20  # configurations at first: more colours and dashes than this nobody can tell apart
MOST_POINTS = 300  # of a curve
MOST_POINTS_IN_ALL = 60_000  # of the curves of all runs
MOST_COUNTS = 200_000  # in all confusion matrices together
MOST_CLASSES = 100  # a larger confusion matrix nobody can read
LONGEST_SETTINGS = 5000  # characters of a configuration that the filter looks in
LARGEST = 2**53  # a count beyond this is none in JavaScript
CURVES = ("train/loss", "val/loss", "val/accuracy")
COSTS = ("parameters", "multiply_adds", "train_seconds", "training_operations")
# What cannot stand in a script of HTML, and what JavaScript took for line ends before 2019.
UNSAFE = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def as_script(comparison: "Comparison") -> str:
    """The data of the page: JSON that is safe between ``<script>`` and ``</script>``."""
    text = as_json(page_data(comparison), ensure_ascii=False, separators=(",", ":"))
    return text.translate(UNSAFE)


def page_data(comparison: "Comparison") -> dict[str, Any]:
    """The data of the page. All text is printable."""
    configurations = comparison.configurations
    runs = sum(len(one.runs) for one in configurations)
    most = max(2, min(MOST_POINTS, MOST_POINTS_IN_ALL // max(1, runs)))
    differing = differing_keys(configurations)
    left = MOST_COUNTS
    content = []
    for one in configurations:
        counts, classes = confusion_of(one)
        is_shown = 0 < len(classes) <= MOST_CLASSES and len(classes) ** 2 <= left
        left -= len(classes) ** 2 if is_shown else 0
        content.append(
            {
                "label": printable(one.label),
                "settings": _settings(one, differing),
                "runs": _runs(one, most),
                "confusion": [[min(count, LARGEST) for count in row] for row in counts] if is_shown else None,
                "classes": [printable(cut(name)) for name in classes] if is_shown else None,
            }
        )
    common = [key for key in configurations[0].settings if key not in set(differing)] if configurations else []
    return {
        "most_drawn": MOST_DRAWN,
        "common_settings": _settings(configurations[0], common) if configurations else "",
        "configurations": content,
        "search": _search(comparison),
        **_disagreements(configurations[:MOST_DRAWN]),
    }


def _settings(configuration: Configuration, keys: Sequence[str]) -> str:
    """Settings as one would type them, for the filter."""
    own = configuration.settings
    words = (f"{key}={as_typed(key, own[key])}" for key in keys if key in own)
    return printable(cut(" ".join(words), LONGEST_SETTINGS))


def _runs(configuration: Configuration, most: int) -> list[dict[str, Any]]:
    """The runs of a configuration; the same epochs are kept of all, so that a mean can be taken."""
    step = math.ceil(max(len(run.history) for run in configuration.runs) / most) or 1
    return [_run(run, step) for run in configuration.runs]


def _run(run: FinishedRun, step: int) -> dict[str, Any]:
    found: dict[str, Any] = {"seed": run.metrics.get("seed"), "accuracy": run.metrics.get("test/accuracy")}
    found |= {cost: _rounded(value) for cost, value in costs_of(run).items()}
    rows = _thinned(run.history, step)
    found["epoch"] = [_rounded(row["epoch"]) for row in rows]
    found["seconds"] = [_rounded(row["seconds"]) for row in rows]
    for column in CURVES:
        if any(column in row for row in rows):
            found[column] = [_rounded(row.get(column)) for row in rows]
    return found


def _thinned(history: list[dict[str, float]], step: int) -> list[dict[str, float]]:
    """Each second, third … row, and the last: of the rows with a validation, and of those without."""
    if step == 1:
        return history
    last = len(history) - 1
    validated = [place for place, row in enumerate(history) if "val/accuracy" in row]
    chosen = set(range(0, len(history), step)) | {last}
    if 0 < len(validated) < len(history):  # not every epoch was validated: these rows would be lost
        chosen = set(range(0, len(history), 2 * step)) | {last}
        chosen |= set(validated[:: math.ceil(2 * step * len(validated) / len(history))])
    return [history[place] for place in sorted(chosen)]


def costs_of(run: FinishedRun) -> dict[str, float | None]:
    """What a run cost, by the names in `COSTS`.

    The floating-point operations of the training are 3 x 2 x multiply-adds x images seen: two for each multiply-add,
    once forwards and about twice as much backwards; images seen are images/s times the seconds of training. Where these
    were scaled (`trainer.training_image_sizes`), the multiply-adds are those of the scaled ones.
    """
    found = {name: run.metrics.get(name) for name in (*COSTS, "images_per_second")}
    multiply_adds = run.metrics.get("training_multiply_adds") or found["multiply_adds"]
    factors = [multiply_adds, found["images_per_second"], found["train_seconds"]]
    found["training_operations"] = None if None in factors else 6 * math.prod(map(float, filter(None, factors)))
    if 0 in factors:
        found["training_operations"] = None
    return {name: found[name] or None for name in COSTS}


def confusion_of(configuration: Configuration) -> tuple[list[list[int]], list[str]]:
    """Counts over all seeds, and the names of the classes; both empty if a run has none."""
    found = [run.metrics["confusion"] for run in configuration.runs if run.metrics.get("confusion")]
    if len(found) < len(configuration.runs) or any(one["classes"] != found[0]["classes"] for one in found):
        return [], []
    matrices = [confusion["test"] for confusion in found]
    counts = [[sum(column) for column in zip(*rows, strict=True)] for rows in zip(*matrices, strict=True)]
    return counts, [str(name) for name in found[0]["classes"]]


def _search(comparison: "Comparison") -> list[dict[str, Any]]:
    """The values of each setting of a search, each with the accuracy and the number of its configuration."""
    if comparison.search is None:
        return []
    places = [
        number
        for number, one in enumerate(comparison.configurations)
        for run in one.runs
        if run.metrics.get("val/accuracy") is not None
    ]
    accuracies = [_rounded(accuracy) for accuracy in comparison.search.accuracies]
    return [
        {
            "key": printable(key),
            "values": own if all(map(is_number, own)) else [printable(cut(as_typed(key, value), 40)) for value in own],
            "accuracies": accuracies,
            "configurations": places,
        }
        for key, own in comparison.search.values.items()
    ]


def _disagreements(configurations: Sequence[Configuration]) -> dict[str, Any]:
    """Images that some configurations get right and others wrong; how many each gets right that another gets wrong."""
    found = disagreements_of(configurations)
    return {
        "images": [
            {
                "picture": base64.b64encode(image.picture).decode(),
                "label": image.label,
                "predicted": image.predicted,
            }
            for image in found.images
        ],
        "disagreements": [[one, other, number] for (one, other), number in found.counts.items()],
    }


def _rounded(value: float | None) -> float | None:
    """A number with five digits that count; None if it is none, or infinite."""
    if value is None or not math.isfinite(value):
        return None
    rounded = float(f"{value:.5g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < LARGEST else rounded
