"""Completed runs, as a comparison reads them from their directories.

Only config.yaml, metrics.json and history.csv are read, and for verdicts test_predictions.npz and split.csv, never
TensorBoard's files: hundreds of runs take seconds. They may come from anybody: their size and form are checked.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cnn_experiments.errors import UserError
from cnn_experiments.runs.directory import MACHINE_KEYS, RunDirectory
from cnn_experiments.runs.files import read_bytes, read_text
from cnn_experiments.runs.folders import walk
from cnn_experiments.runs.predictions import Tested, read_tested
from cnn_experiments.runs.records import LARGEST, MOST_BYTES_OF_JSON
from cnn_experiments.settings.containers import flatten
from cnn_experiments.settings.renamed import PAPER, modernised

# What a run records of its hardware and data: its name in a comparison; the entry in metrics.json and its type; and the
# setting that it takes the place of, since `auto`, a number of GPUs and a path mean something else on each machine.
MEASURED: dict[str, tuple[str, type, str]] = {
    "device": ("device", str, "trainer.gpus"),
    "processes": ("processes", int, "trainer.devices"),
    "precision": ("precision", str, "trainer.precision"),
    "data": ("data_fingerprint", str, "datamodule.source"),
    "test images": ("test_images", int, ""),
}
# Names for the same precision.
PRECISIONS = {"32": "32-true", "64": "64-true"}
# What differs between the runs of one configuration; so does everything about logging.
NOT_SETTINGS = {"seed", "datamodule.seed", "trainer.find_learning_rate", *MACHINE_KEYS} - {
    replaced for _, _, replaced in MEASURED.values()
}
# Keys that runs of earlier versions lack, with the value that stands for what those did.
LATER_KEYS: dict[str, Any] = {
    "datamodule.augmentation.trivial_augment": False,
    "datamodule.drop_near_duplicates": False,
    "trainer.adaptive_clipping": None,
    "trainer.cuda_graphs": False,
    "trainer.cutmix": None,
    "trainer.early_stopping": None,
    "trainer.label_smoothing": 0.0,
    "trainer.layer_sequential_init": False,
    "trainer.mixup": None,
    "trainer.training_image_sizes": None,
    "trainer.weight_average": None,
}
# Keys where 1 is a number of batches or images, and 1.0 is all of them.
NUMBERS_OR_SHARES = re.compile(r"trainer\.(limit_|overfit_|val_check_)|datamodule\.(test|validation)_size")
# Figures of a run in `Comparison.to_pandas`, as metrics.json names them.
FIGURES = (
    "test/accuracy",
    "test/loss",
    "val/accuracy",
    "parameters",
    "multiply_adds",
    "images_per_second",
    "train_seconds",
    "epochs",
)
MOST_BYTES_OF_OVERRIDES = 2**20
MOST_BYTES_OF_SPLIT = 2**26
TESTED_ON = re.compile(rb",test(,[^,]*)?$")  # a row of split.csv: file, class, part and, except in old ones, content
ROUNDED = 1e-5  # an accuracy in metrics.json has seven digits, of single precision


@dataclass
class FinishedRun:
    """A completed run.

    Args:
        directory: the run directory.
        settings: by dotted keys, without those that may differ between the runs of one configuration, and with what
            was recorded of the hardware and the data.
        metrics: the content of metrics.json.
        history: a row of figures for each epoch.
        experiment: its preset; None if there was none.
        content: a digest of what its files say; that of a copy is the same.
        data_seed: the seed that draws the split of the data.
    """

    directory: Path
    settings: dict[str, Any]
    metrics: dict[str, Any]
    history: list[dict[str, float]]
    experiment: str | None
    content: str
    data_seed: Any = None

    @property
    def name(self) -> str:
        """The name of its network: the preset, or the model."""
        return self.experiment or str(self.settings.get("model.name", "?"))

    def is_in(self, directory: str) -> bool:
        """Whether this is its directory, as a user gives it."""
        return "\0" not in directory and os.path.realpath(self.directory) == os.path.realpath(directory)

    @property
    def was_validated(self) -> bool:
        """Whether any epoch was validated."""
        return any("val/accuracy" in row for row in self.history)

    def seconds_to(self, accuracy: float) -> float:
        """Seconds of training until an epoch reached a validation accuracy; infinity if none did."""
        reached = (row["seconds"] for row in self.history if row.get("val/accuracy", -1) >= accuracy)
        return next(reached, float("inf"))

    @cached_property
    def tested(self) -> Tested:
        """Which test images it classified correctly; read when it is first asked for.

        Raises:
            UserError: the file is missing, or not what a run writes, or belongs to another test.
        """
        file = RunDirectory(self.directory).predictions_file
        if not file.is_file():
            raise UserError(f"there is no {file.name} in the run directory, as in those of versions before 0.2")
        tested = read_tested(file)
        accuracy = self.metrics.get("test/accuracy")
        if accuracy is None or abs(tested.accuracy - accuracy) > ROUNDED:
            raise UserError(f"{file}: it does not agree with test/accuracy in metrics.json. Remove it")
        return tested

    @cached_property
    def test_set(self) -> tuple[Any, ...]:
        """What tells its test images from those of other runs: their classes, and the split where there is one.

        Raises:
            UserError: as `tested`; or the split is not what a run writes.
        """
        split = self.directory / "split.csv"
        if split.is_file():
            lines = [line for line in read_bytes(split, MOST_BYTES_OF_SPLIT).splitlines() if TESTED_ON.search(line)]
            drawn: Any = hashlib.sha256(b"\n".join(lines)).hexdigest()
        else:
            drawn = self.data_seed if "datamodule.test_size" in self.settings else None
        return self.tested.digest, len(self.tested.right), repr(drawn)


def run_directories(folders: Iterable[Path]) -> Iterator[RunDirectory]:
    """All runs in the folders and their sub-folders, each once, and the sub-folders that cannot be listed."""
    seen = set()
    for folder in folders:
        for place, names in walk(folder):
            if names is not None and "metrics.json" not in names:
                continue
            real = os.path.realpath(place)
            if real not in seen:
                seen.add(real)
                yield RunDirectory(place)


def read_run(directory: RunDirectory, metrics: dict[str, Any]) -> FinishedRun:
    """A completed run, from its files.

    Args:
        directory: the run directory.
        metrics: the content of its metrics.json.

    Raises:
        UserError: one of the files is not what a run writes.
    """
    _check_metrics(directory, metrics)
    history = directory.history()
    if not all(map(_is_an_epoch, history)):
        raise UserError(f"{directory.history_file}: epoch, seconds or val/accuracy of a row are not what a run writes")
    everything = all_settings(directory.config())
    measured = _measured(metrics)
    left_out = NOT_SETTINGS.union(MEASURED[name][2] for name in measured)
    settings = {
        key: _without_point(key, value)
        for key, value in everything.items()
        if key not in left_out and not key.startswith("logging.") and not _is_as_before(key, value)
    }
    return FinishedRun(
        directory.path,
        settings | measured,
        metrics,
        history,
        read_experiment(directory, metrics),
        _digest(directory),
        everything.get("datamodule.seed"),
    )


def all_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run by dotted keys; what runs of earlier versions lack has the value of what those did."""
    everything = dict(flatten(modernised(config)))
    of_the_network = PAPER.get(str(everything.get("model._target_")), {})
    return LATER_KEYS | {f"model.{key}": value for key, value in of_the_network.items()} | everything


def _digest(directory: RunDirectory) -> str:
    """A digest of the files of a run that a comparison reads."""
    digest = hashlib.sha256()
    for file in (directory.config_file, directory.metrics_file, directory.history_file):
        digest.update(hashlib.sha256(read_bytes(file, MOST_BYTES_OF_JSON) if file.exists() else b"").digest())
    return digest.hexdigest()


def _is_as_before(key: str, value: Any) -> bool:
    """Whether a setting is one that runs of earlier versions lack, and leaves everything as it was in those."""
    return key in LATER_KEYS and value == LATER_KEYS[key]


def _check_metrics(directory: RunDirectory, metrics: dict[str, Any]) -> None:
    """Raise UserError if what a comparison uses is not of the kind that a run writes."""
    for name in ("seed", "training_multiply_adds", *FIGURES):
        if metrics.get(name) is not None and not _is_figure(name, metrics[name]):
            raise UserError(f"{directory.metrics_file}: {name} is no number that a run writes")
    for entry, kind, _ in MEASURED.values():
        if metrics.get(entry) is not None and type(metrics[entry]) is not kind:
            raise UserError(f"{directory.metrics_file}: {entry} is not what a run writes")
    if not isinstance(metrics.get("overrides") or [], list):
        raise UserError(f"{directory.metrics_file}: overrides is no list of words")
    confusion = metrics.get("confusion")
    if confusion and not _is_confusion(confusion):
        raise UserError(f"{directory.metrics_file}: confusion is no table of counts for its classes")


def _is_figure(name: str, value: Any) -> bool:
    """Whether a value can be that figure; only a loss may be infinite or nan."""
    if type(value) not in (int, float):
        return False
    return bool(name == "test/loss" or 0 <= value <= (1 if name.endswith("accuracy") else LARGEST))


def _is_an_epoch(row: dict[str, float]) -> bool:
    when_is_known = all(0 <= row.get(name, -1) <= LARGEST for name in ("epoch", "seconds"))
    return when_is_known and 0 <= row.get("val/accuracy", 0) <= 1


def _is_confusion(confusion: Any) -> bool:
    if not isinstance(confusion, dict):
        return False
    classes, counts = confusion.get("classes"), confusion.get("test")
    if not isinstance(classes, list) or not isinstance(counts, list) or len(counts) != len(classes):
        return False
    rows_are_lists = all(isinstance(row, list) and len(row) == len(classes) for row in counts)
    return rows_are_lists and all(type(count) is int and count >= 0 for row in counts for count in row)


def _measured(metrics: dict[str, Any]) -> dict[str, Any]:
    """What a run recorded of its hardware and data; runs of older versions lack some of it."""
    found = {name: metrics[entry] for name, (entry, *_) in MEASURED.items() if metrics.get(entry) is not None}
    if "precision" in found:
        found["precision"] = PRECISIONS.get(found["precision"], found["precision"])
    if "test images" not in found and metrics.get("confusion"):
        found["test images"] = sum(map(sum, metrics["confusion"]["test"]))
    return found


def _without_point(key: str, value: Any) -> Any:
    """The value, with 1.0 as 1 if both mean the same."""
    is_whole = isinstance(value, float) and value.is_integer()
    return int(value) if is_whole and not NUMBERS_OR_SHARES.match(key) else value


def read_experiment(directory: RunDirectory, metrics: dict[str, Any]) -> str | None:
    """The preset among the words that a run was started with; None if there is none, or no record."""
    words = metrics.get("overrides")
    if words is None:  # a run from before version 0.2
        record = directory.path / ".hydra" / "overrides.yaml"
        words = read_text(record, MOST_BYTES_OF_OVERRIDES).splitlines() if record.is_file() else []
    found = [re.fullmatch(r"(?:- )?'?\+?experiment=([\w./-]+)'?", str(word)) for word in words]
    return next((match[1] for match in found if match), None)
