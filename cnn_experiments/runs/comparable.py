"""Which configurations can be compared: what was learned from, tested on and computed with."""

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from cnn_experiments.errors import UserError
from cnn_experiments.runs.configuration import Configuration
from cnn_experiments.runs.finished import FinishedRun
from cnn_experiments.runs.formats import as_typed, cut, some_of

# Settings under which figures do not compare: which images are learned from and tested on, and for how long.
CONDITIONS = {
    "data": (
        "datamodule.name",
        "datamodule.source",
        "datamodule.class_names",
        "datamodule.largest_side",
        "datamodule.smallest_side",
        "datamodule.drop_mislabelled",
    ),
    "split": ("datamodule.test_size", "datamodule.validation_size"),
    "limit": (
        "datamodule.limit",
        "trainer.limit_train_batches",
        "trainer.limit_val_batches",
        "trainer.limit_test_batches",
        "trainer.overfit_batches",
    ),
    "budget": ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time"),
}
# The conditions that choose the images.
IMAGES = ("data", "split", "limit")


def incomparable(configurations: list[Configuration]) -> list[str]:
    """A sentence for each condition that makes figures incomparable."""
    warnings = [
        f"not the same {condition}: {key} is {some_of(values)}"
        for condition, keys in CONDITIONS.items()
        for key in keys
        if len(values := _values_of(key, configurations)) > 1
    ]
    warnings += _other_images(configurations)
    drawn_by_seed = [one for one in configurations if "datamodule.test_size" in one.settings]
    seeds_of_each = dict.fromkeys("+".join(map(str, configuration.seeds)) for configuration in drawn_by_seed)
    if len(seeds_of_each) > 1:
        warnings.append(
            f"not the same split: the seed decides which images are tested on, and is {some_of(list(seeds_of_each))}"
        )
    return warnings


def _other_images(configurations: list[Configuration]) -> list[str]:
    """A sentence where the recorded images differ although the settings that choose them agree."""
    alike: dict[str, list[Configuration]] = defaultdict(list)
    for configuration in configurations:
        chosen = [configuration.settings.get(key) for name in IMAGES for key in CONDITIONS[name]]
        alike[repr(chosen)].append(configuration)
    found = {
        f"not the same images: {key} is {some_of(values)}"
        for key in ("data", "test images")
        for same in alike.values()
        if len(values := _values_of(key, same)) > 1
    }
    return sorted(found)


def _values_of(key: str, configurations: list[Configuration]) -> list[str]:
    """The distinct values of a setting, where there is such a setting, as one would type them."""
    values = [configuration.settings[key] for configuration in configurations if key in configuration.settings]
    return list({repr(value): as_typed(key, value) for value in values}.values())


# What only may matter: its name, and the entry of metrics.json; versions are added.
CIRCUMSTANCES = {"device": "device", "processes": "processes", "precision": "precision", "commit": "commit"}
LIBRARIES = ("torch", "torchvision", "cnn-experiments")
LONGEST_VALUE = 40  # characters


def why_not(one: Configuration, other: Configuration) -> str:
    """Why two accuracies cannot be compared, because of other images or another split; empty if they can."""
    keys = {key: name for name in ("data", "split") for key in CONDITIONS[name]}
    keys["trainer.limit_test_batches"] = "test images"
    keys["data"] = keys["test images"] = "images"  # as they were recorded
    for key, name in keys.items():
        if len(values := _values_of(key, [one, other])) > 1:
            return f"not the same {name}: {key} is {some_of(values)}"
    for configuration in (one, other):
        try:
            sets = [run.test_set for run in configuration.runs]
        except (OSError, UserError) as error:
            return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
        if len({number for _, number, _ in sets}) > 1 or 1 < len(set(sets)) < len(sets):
            return f"the runs of {configuration.label} were not tested on the same images"
    if test_sets(one) != test_sets(other):
        if has_own_images(one) or has_own_images(other):
            seeds = ["+".join(map(str, configuration.seeds)) for configuration in (one, other)]
            return (
                "not the same test images: the seed decides which images are tested on, and is "
                f"{' or '.join(dict.fromkeys(seeds))}. Give both the same seeds"
            )
        return "not the same test images: their classes, their number or their split differ"
    return ""


def test_sets(configuration: Configuration) -> list[tuple[Any, ...]]:
    """The test images of a configuration: one set, or one for each seed, in their order."""
    sets = [run.test_set for run in runs_by_seed(configuration)]
    return sets if len(set(sets)) > 1 else sets[:1]


def has_own_images(configuration: Configuration) -> bool:
    """Whether each of several seeds has test images of its own."""
    return len(test_sets(configuration)) > 1


def runs_by_seed(configuration: Configuration) -> list[FinishedRun]:
    """The runs in the order of their seeds."""
    return sorted(configuration.runs, key=lambda run: (str(run.metrics.get("seed")), run.content))


def are_paired(configurations: Sequence[Configuration]) -> bool:
    """Whether the configurations have the same seeds, each of them once."""
    seeds = [[run.metrics.get("seed") for run in runs_by_seed(configuration)] for configuration in configurations]
    return all(one == seeds[0] for one in seeds) and len(set(seeds[0])) == len(seeds[0])


def circumstances(configurations: Sequence[Configuration]) -> list[str]:
    """What differs between runs and may matter, though the test images are the same; each as part of a sentence."""
    runs = [run for configuration in configurations for run in configuration.runs]
    found = []
    for name, entry in CIRCUMSTANCES.items():
        found.append((name, {_word(run.metrics[entry]) for run in runs if run.metrics.get(entry) is not None}))
    for library in LIBRARIES:
        versions = [run.metrics.get("versions") for run in runs]
        known = {_word(one[library]) for one in versions if isinstance(one, dict) and library in one}
        found.append((library, known))
    for condition in ("limit", "budget"):
        found += [(key, set(_values_of(key, list(configurations)))) for key in CONDITIONS[condition]]
    return [f"{name} is {some_of(sorted(values))}" for name, values in found if len(values) > 1]


def _word(value: Any) -> str:
    """A received value as one word of a sentence; of a commit, the first digits."""
    text = cut(" ".join(str(value).split()), LONGEST_VALUE)
    return text[:10] if re.fullmatch(r"[0-9a-f]{40}", str(value)) else text
