"""Runs side by side: gathered from their directories and grouped by configuration.

Only config.yaml, metrics.json and history.csv are read, never TensorBoard's files: hundreds of runs take seconds.
"""

import glob
import importlib
import json
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from cnn_experiments.errors import UserError
from cnn_experiments.runs.directory import MACHINE_KEYS, RunDirectory
from cnn_experiments.runs.files import read_text
from cnn_experiments.runs.formats import (
    as_typed,
    duration,
    figure,
    html_row,
    html_table,
    in_units,
    some_of,
    terminal_table,
)
from cnn_experiments.settings.containers import flatten
from cnn_experiments.settings.renamed import modernised

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
# What differs between the runs of one configuration; so does everything about logging.
NOT_SETTINGS = {"seed", "datamodule.seed", *MACHINE_KEYS}
# What follows from other settings and would only repeat them.
REPEATED = {
    "datamodule._target_",
    "datamodule.channels",
    "datamodule.image_size",
    "datamodule.num_classes",
    "model._target_",
    "model.in_channels",
    "model.num_classes",
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
MOST_SETTINGS = 20  # configurations whose settings are listed side by side
MOST_BYTES_OF_OVERRIDES = 2**20


@dataclass
class FinishedRun:
    """A completed run.

    Args:
        directory: the run directory.
        settings: by dotted keys, without those that may differ between the runs of one configuration.
        metrics: the content of metrics.json.
        history: a row of figures for each epoch.
        experiment: its preset; None if there was none.
    """

    directory: Path
    settings: dict[str, Any]
    metrics: dict[str, Any]
    history: list[dict[str, float]]
    experiment: str | None

    @property
    def name(self) -> str:
        """The name of its network: the preset, or the model."""
        return self.experiment or str(self.settings.get("model.name", "?"))

    @property
    def was_validated(self) -> bool:
        """Whether any epoch was validated."""
        return any("val/accuracy" in row for row in self.history)

    def seconds_to(self, accuracy: float) -> float:
        """Seconds of training until an epoch reached a validation accuracy; infinity if none did."""
        reached = (row["seconds"] for row in self.history if row.get("val/accuracy", -1) >= accuracy)
        return next(reached, float("inf"))


@dataclass
class Configuration:
    """Completed runs that differ only in their seed.

    Args:
        runs: at least one.
        label: distinguishes it from the others in a comparison.
    """

    runs: list[FinishedRun]
    label: str = ""

    @property
    def settings(self) -> dict[str, Any]:
        """Its settings, by dotted keys."""
        return self.runs[0].settings

    @property
    def name(self) -> str:
        """The preset, or the model."""
        return self.runs[0].name

    @property
    def seeds(self) -> list[Any]:
        """The distinct seeds, in order."""
        return sorted({run.metrics.get("seed") for run in self.runs}, key=str)

    def _values(self, name: str) -> list[float]:
        """A figure of each run; empty if a run lacks it."""
        values = [run.metrics[name] for run in self.runs if run.metrics.get(name) is not None]
        return values if len(values) == len(self.runs) else []

    def mean(self, name: str) -> float | None:
        """Mean of a figure over the runs; None if a run lacks it."""
        values = self._values(name)
        return statistics.fmean(values) if values else None

    def std(self, name: str) -> float | None:
        """Sample standard deviation of a figure over the runs; None if there is only one, or one lacks it."""
        values = self._values(name)
        return statistics.stdev(values) if len(values) > 1 else None

    def seconds_to(self, accuracy: float) -> float:
        """Median over the runs; infinity if half of them never reached the accuracy."""
        return statistics.median_high([run.seconds_to(accuracy) for run in self.runs])

    def rank(self) -> tuple[float, float]:
        """The sorting key of configurations: test accuracy, then validation accuracy."""
        test, validation = self.mean("test/accuracy"), self.mean("val/accuracy")
        return -1 if test is None else test, -1 if validation is None else validation


@dataclass
class Comparison:
    """Runs side by side. A notebook shows it as a table, `print` as text.

    Args:
        paths: the folders in which the runs were found.
        accuracy: the validation accuracy that the last column gives times for.
        configurations: those of completed runs, the best first.
        others: runs that did not complete: directory, status, reason.
        warnings: why figures are not comparable.
    """

    paths: list[Path]
    accuracy: float
    configurations: list[Configuration]
    others: list[tuple[Path, str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """A title that says which runs these are."""
        return f"Runs in {', '.join(map(str, self.paths))}"

    def headings(self) -> list[str]:
        """The headings of the table."""
        return [
            "configuration",
            "seeds",
            "test accuracy",
            "validation accuracy",
            "parameters",
            "multiply-adds",
            "images/s",
            "training",
            f"until {self.accuracy:.4g}",
        ]

    def rows(self) -> list[list[str]]:
        """The rows of the table, one for each configuration."""
        return [
            [
                configuration.label,
                _seeds(configuration),
                _mean_and_std(configuration, "test/accuracy"),
                _mean_and_std(configuration, "val/accuracy"),
                figure(configuration.mean("parameters"), ",.0f"),
                in_units(configuration.mean("multiply_adds")),
                figure(configuration.mean("images_per_second"), ",.0f"),
                duration(configuration.mean("train_seconds")),
                self._until(configuration),
            ]
            for configuration in self.configurations
        ]

    def _until(self, configuration: Configuration) -> str:
        """How long a configuration took to reach the accuracy; empty if that was not measured."""
        if not all(run.was_validated for run in configuration.runs):
            return ""
        seconds = configuration.seconds_to(self.accuracy)
        return "never" if seconds == float("inf") else duration(seconds)

    def settings_rows(self, most: int = MOST_SETTINGS) -> list[list[str]]:
        """A heading, and a row for each setting that differs, with its values in the best configurations.

        Empty if the labels of the configurations say all of it.
        """
        if len({configuration.name for configuration in self.configurations}) < 2:
            return []
        best = self.configurations[:most]
        rows = [
            [key, *(as_typed(key, one.settings[key]) if key in one.settings else "" for one in best)]
            for key in differing_keys(best)
        ]
        return [["setting", *(configuration.label for configuration in best)], *rows]

    def notes(self) -> list[str]:
        """A line for each reason why figures are not comparable, and for each run that did not complete."""
        return [
            *(f"Careful, {warning}" for warning in self.warnings),
            *(
                f"{status}: {directory}" + (f" ({' '.join(reason.split())})" if reason else "")
                for directory, status, reason in self.others
            ),
        ]

    def to_pandas(self) -> Any:
        """A row for each completed run: configuration, seed, directory, figures, and the settings that differ.

        Returns:
            A ``pandas.DataFrame``.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            pandas = importlib.import_module("pandas")
        except ImportError as error:
            raise ImportError("to_pandas needs pandas, which is not installed: pip install pandas") from error
        keys = differing_keys(self.configurations)
        rows = [
            {
                "configuration": configuration.label,
                "seed": run.metrics.get("seed"),
                "directory": str(run.directory),
                **{name: run.metrics.get(name) for name in FIGURES},
                **{key: run.settings.get(key) for key in keys},
            }
            for configuration in self.configurations
            for run in configuration.runs
        ]
        return pandas.DataFrame(rows, columns=["configuration", "seed", "directory", *FIGURES, *keys])

    def __str__(self) -> str:
        """The table as the terminal shows it, then the notes."""
        from rich.console import Console

        console = Console(width=150, color_system=None)
        with console.capture() as captured:
            if self.configurations:
                console.print(terminal_table(f"{self.title}, the best first", [self.headings(), *self.rows()]))
        return "\n".join([*captured.get().splitlines(), *self.notes()])

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        table = html_table(self.headings(), map(html_row, self.rows())) if self.configurations else ""
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes())
        return f"<p>{escape(self.title)}, the best first</p>{table}" + (f"<ul>{notes}</ul>" if notes else "")


def compare(paths: str | Path | Sequence[str | Path] = "outputs", accuracy: float = 0.9) -> Comparison:
    """Gather runs, and group those that completed by configuration.

    Args:
        paths: a folder, sub-folders included; a pattern such as ``outputs/lenet5*``; or several of these.
        accuracy: validation accuracy to give times for, above 0 and up to 1.

    Raises:
        UserError: there is no such folder, it holds no runs, or the accuracy is out of range.
    """
    if isinstance(accuracy, bool) or not isinstance(accuracy, (int, float)) or not 0 < accuracy <= 1:
        raise UserError(f"accuracy={accuracy}: give a share of right answers above 0, up to 1.0")
    folders = [folder for path in ([paths] if isinstance(paths, (str, Path)) else paths) for folder in _folders(path)]
    groups: dict[str, list[FinishedRun]] = defaultdict(list)
    others = []
    for directory in _run_directories(folders):
        try:
            metrics = directory.metrics()
            status = metrics["status"]
            if status != "completed":
                others.append((directory.path, str(status), str(metrics.get("error", ""))))
                continue
            run = read_run(directory, metrics)
        except (OSError, UserError, LookupError, ValueError, TypeError) as error:
            reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            others.append((directory.path, "unreadable", reason))
            continue
        groups[json.dumps(run.settings, sort_keys=True, default=str)].append(run)
    if not groups and not others:
        raise UserError(f"runs={', '.join(map(str, folders))}: there are no runs in this folder. cnn-train makes some")
    configurations = [Configuration(runs) for runs in groups.values()]
    configurations.sort(key=Configuration.rank, reverse=True)
    label(configurations)
    return Comparison(folders, accuracy, configurations, others, incomparable(configurations))


def _folders(path: str | Path) -> list[Path]:
    """The folder of that name, or those that match the pattern.

    Raises:
        UserError: there is none.
    """
    if Path(path).is_dir():
        return [Path(path)]
    found = [Path(name) for name in sorted(glob.glob(str(path))) if Path(name).is_dir()]
    if not found:
        raise UserError(f"runs={path}: there is no such folder. Give one that holds runs, such as outputs")
    return found


def _run_directories(folders: Iterable[Path]) -> Iterator[RunDirectory]:
    """All runs in the folders and their sub-folders, each once."""
    seen = set()
    for folder in folders:
        for metrics_file in sorted(folder.glob("**/metrics.json")):
            place = metrics_file.parent.resolve()
            if place not in seen:
                seen.add(place)
                yield RunDirectory(metrics_file.parent)


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
    if not all({"epoch", "seconds"} <= row.keys() for row in history):
        raise UserError(f"{directory.history_file}: a row lacks epoch or seconds")
    everything = flatten(modernised(directory.config()))
    settings = {key: _without_point(key, value) for key, value in everything if _is_setting(key)}
    return FinishedRun(directory.path, settings, metrics, history, read_experiment(directory, metrics))


def _check_metrics(directory: RunDirectory, metrics: dict[str, Any]) -> None:
    """Raise UserError if a figure that a comparison uses is not of the kind that a run writes."""
    for name in ("seed", *FIGURES):
        if metrics.get(name) is not None and type(metrics[name]) not in (int, float):
            raise UserError(f"{directory.metrics_file}: {name} is no number")
    confusion = metrics.get("confusion")
    if confusion and not _is_confusion(confusion):
        raise UserError(f"{directory.metrics_file}: confusion is no table of counts for its classes")


def _is_confusion(confusion: Any) -> bool:
    if not isinstance(confusion, dict):
        return False
    classes, counts = confusion.get("classes"), confusion.get("test")
    if not isinstance(classes, list) or not isinstance(counts, list) or len(counts) != len(classes):
        return False
    rows_are_lists = all(isinstance(row, list) and len(row) == len(classes) for row in counts)
    return rows_are_lists and all(type(count) is int and count >= 0 for row in counts for count in row)


def _is_setting(key: str) -> bool:
    return key not in NOT_SETTINGS and not key.startswith("logging.")


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


def differing_keys(configurations: Iterable[Configuration]) -> list[str]:
    """The keys whose values differ between configurations, or that only some of them have."""
    all_settings = [configuration.settings for configuration in configurations]
    keys = dict.fromkeys(key for settings in all_settings for key in settings)
    return [
        key
        for key in keys
        if key not in REPEATED and len({repr(settings.get(key, "absent")) for settings in all_settings}) > 1
    ]


def label(configurations: list[Configuration]) -> None:
    """Label each configuration with its preset or model, and with how it differs from others of that name."""
    alike: dict[tuple[str, str], list[Configuration]] = defaultdict(list)
    for configuration in configurations:
        alike[configuration.name, str(configuration.settings.get("datamodule.name", "?"))].append(configuration)
    several_data_sets = len({data for _, data in alike}) > 1
    for (name, data), same_name in alike.items():
        keys = differing_keys(same_name)
        for configuration in same_name:
            settings = configuration.settings
            values = [f"{_short(key)}={as_typed(key, settings[key])}" for key in keys if key in settings]
            configuration.label = " ".join([f"{name} on {data}" if several_data_sets else name, *values])


def _short(key: str) -> str:
    """A dotted key without its group: dropout, optimizer.lr, optimizer."""
    return (key.partition(".")[2] or key).removesuffix("._target_")


def incomparable(configurations: list[Configuration]) -> list[str]:
    """A sentence for each condition that makes figures incomparable."""
    warnings = []
    for condition, keys in CONDITIONS.items():
        for key in keys:
            having = [configuration for configuration in configurations if key in configuration.settings]
            values = dict.fromkeys(as_typed(key, configuration.settings[key]) for configuration in having)
            if len(values) > 1:
                warnings.append(f"not the same {condition}: {key} is {some_of(list(values))}")
    drawn_by_seed = [one for one in configurations if "datamodule.test_size" in one.settings]
    seeds_of_each = dict.fromkeys("+".join(map(str, configuration.seeds)) for configuration in drawn_by_seed)
    if len(seeds_of_each) > 1:
        warnings.append(
            f"not the same split: the seed decides which images are tested on, and is {some_of(list(seeds_of_each))}"
        )
    return warnings


def _seeds(configuration: Configuration) -> str:
    """The number of seeds, and that of runs if some share a seed."""
    number, runs = len(configuration.seeds), len(configuration.runs)
    return str(number) if number == runs else f"{number} in {runs} runs"


def _mean_and_std(configuration: Configuration, name: str) -> str:
    """Mean ± standard deviation of an accuracy."""
    std = configuration.std(name)
    return figure(configuration.mean(name), ".4f") + ("" if std is None else f" ± {std:.4f}")
