"""Runs side by side, grouped by configuration."""

import glob
import importlib
import json
import os
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cnn_experiments.errors import UserError
from cnn_experiments.runs.finished import FIGURES, FinishedRun, read_run, run_directories
from cnn_experiments.runs.formats import (
    as_typed,
    cut,
    duration,
    figure,
    html_row,
    html_table,
    in_html,
    in_units,
    printable,
    some_of,
    terminal_table,
)
from cnn_experiments.runs.records import read_json

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
MOST_SETTINGS = 20  # configurations whose settings are listed side by side
LONGEST_LABEL = LONGEST_REASON = 1000  # characters


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
        copies: directories that were not counted, each with the one whose copy it is.
    """

    paths: list[Path]
    accuracy: float
    configurations: list[Configuration]
    others: list[tuple[Path, str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    copies: list[tuple[Path, Path]] = field(default_factory=list)

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
        """A line for each reason why figures are not comparable, and for each run that is not in the table."""
        lines = [
            *(f"Careful, {warning}" for warning in self.warnings),
            *(
                f"{status}: {directory}" + (f" ({' '.join(reason.split())})" if reason else "")
                for directory, status, reason in self.others
            ),
            *(f"copy of {original}, not counted: {copy}" for copy, original in self.copies),
        ]
        return [printable(line) for line in lines]

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
        notes = "".join(f"<li>{in_html(note)}</li>" for note in self.notes())
        return f"<p>{in_html(self.title)}, the best first</p>{table}" + (f"<ul>{notes}</ul>" if notes else "")


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
    finished: dict[str, FinishedRun] = {}
    others, copies = [], []
    for directory in run_directories(folders):
        try:
            metrics = read_json(directory.metrics_file)
            if metrics.get("status") != "completed":
                others.append((directory.path, *_status_and_reason(metrics)))
                continue
            run = read_run(directory, metrics)
        except (OSError, UserError) as error:
            reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
            others.append((directory.path, "unreadable", cut(reason, LONGEST_REASON)))
            continue
        original = finished.setdefault(run.content, run)
        if original is not run:
            copies.append((run.directory, original.directory))
    if not finished and not others:
        raise UserError(f"runs={', '.join(map(str, folders))}: there are no runs in this folder. cnn-train makes some")
    configurations = _grouped(finished.values())
    return Comparison(folders, accuracy, configurations, others, incomparable(configurations), copies)


def _folders(path: str | Path) -> list[Path]:
    """The folder of that name, or those that match the pattern.

    Raises:
        UserError: there is none.
    """
    names = [os.fspath(path)] if os.path.isdir(path) else sorted(filter(os.path.isdir, glob.glob(os.fspath(path))))
    if not names:
        raise UserError(f"runs={path}: there is no such folder. Give one that holds runs, such as outputs")
    return [Path(name) for name in names]


def _status_and_reason(metrics: dict[str, Any]) -> tuple[str, str]:
    """How a run ended that did not complete.

    Raises:
        UserError: its status is none that a run writes.
    """
    status = metrics.get("status")
    if status not in ("running", "failed", "interrupted"):
        raise UserError("the status in metrics.json is none that a run writes")
    return str(status), cut(str(metrics.get("error", "")), LONGEST_REASON)


def _grouped(runs: Iterable[FinishedRun]) -> list[Configuration]:
    """The runs by configuration, labelled, the best first."""
    groups: dict[str, list[FinishedRun]] = defaultdict(list)
    for run in runs:
        groups[json.dumps(run.settings, sort_keys=True)].append(run)
    configurations = [Configuration(runs) for runs in groups.values()]
    configurations.sort(key=Configuration.rank, reverse=True)
    label(configurations)
    return configurations


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
            words = [f"{name} on {data}" if several_data_sets else name, *values]
            configuration.label = cut(" ".join(words), LONGEST_LABEL)


def _short(key: str) -> str:
    """A dotted key without its group: dropout, optimizer.lr, optimizer."""
    return (key.partition(".")[2] or key).removesuffix("._target_")


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


def _seeds(configuration: Configuration) -> str:
    """The number of seeds, and that of runs if some share a seed."""
    number, runs = len(configuration.seeds), len(configuration.runs)
    return str(number) if number == runs else f"{number} in {runs} runs"


def _mean_and_std(configuration: Configuration, name: str) -> str:
    """Mean ± standard deviation of an accuracy."""
    std = configuration.std(name)
    return figure(configuration.mean(name), ".4f") + ("" if std is None else f" ± {std:.4f}")
