"""Runs side by side: gathered from their folders, grouped by configuration, as a table and as a page.

Only config.yaml, metrics.json and history.csv are read, never TensorBoard's files: this keeps hundreds of runs quick.
"""

import csv
import json
import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cnn_experiments.configs import flatten
from cnn_experiments.runs import MACHINE_KEYS

# Settings under which figures do not compare: which images are learned from and tested on, and for how long.
CONDITIONS = {
    "data": ("datamodule.name", "datamodule.source", "datamodule.largest_side", "datamodule.smallest_side"),
    "split": ("datamodule.test_size", "datamodule.validation_size"),
    "limit": ("datamodule.limit", "trainer.limit_train_batches", "trainer.limit_test_batches"),
    "budget": ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time"),
}
# What differs between the runs of one configuration, or follows from other settings.
NOT_SETTINGS = {"seed", "datamodule.seed", *MACHINE_KEYS}


@dataclass
class FinishedRun:
    """A run and what it came to."""

    directory: Path
    settings: dict[str, Any]
    metrics: dict[str, Any]
    history: list[dict[str, float]]

    def seconds_to(self, accuracy: float) -> float | None:
        """Seconds of training until an epoch was over that reached an accuracy in validation; None: it never did."""
        return next((row["seconds"] for row in self.history if row.get("val/accuracy", 0) >= accuracy), None)


@dataclass
class Configuration:
    """Completed runs that differ by their seed alone."""

    runs: list[FinishedRun]
    label: str = ""

    @property
    def settings(self) -> dict[str, Any]:
        return self.runs[0].settings

    def mean(self, name: str) -> float | None:
        """Mean of a figure over the seeds; None where a run has none."""
        values = [run.metrics[name] for run in self.runs if run.metrics.get(name) is not None]
        return statistics.fmean(values) if len(values) == len(self.runs) else None

    def deviation(self, name: str) -> float | None:
        """Standard deviation of a figure over the seeds; None where there are not two."""
        values = [run.metrics[name] for run in self.runs if run.metrics.get(name) is not None]
        return statistics.stdev(values) if len(values) > 1 else None

    def seconds_to(self, accuracy: float) -> float | None:
        """Median over the seeds; None where most never reached it."""
        seconds = sorted(run.seconds_to(accuracy) or float("inf") for run in self.runs)
        middle = statistics.median_high(seconds)
        return None if middle == float("inf") else middle


@dataclass
class Comparison:
    """What there is to say of the runs in a folder.

    Args:
        folder: where they were found.
        accuracy: validation accuracy that times are given for.
        configurations: of completed runs, the best first.
        others: runs that did not complete: directory, status, reason.
        warnings: why figures do not compare.
    """

    folder: Path
    accuracy: float
    configurations: list[Configuration]
    others: list[tuple[Path, str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def headings(self) -> list[str]:
        """Of the table."""
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

    def until(self, configuration: Configuration) -> str:
        """How long a configuration took to reach the accuracy."""
        if not all(run.history for run in configuration.runs):
            return ""
        return duration(configuration.seconds_to(self.accuracy)) or "never"

    def rows(self) -> list[list[str]]:
        """Of the table: a configuration each."""
        return [
            [
                configuration.label,
                str(len(configuration.runs)),
                with_deviation(configuration, "test/accuracy"),
                with_deviation(configuration, "val/accuracy"),
                shown(configuration.mean("parameters"), ",.0f"),
                in_units(configuration.mean("multiply_adds")),
                shown(configuration.mean("images_per_second"), ",.0f"),
                duration(configuration.mean("train_seconds")),
                self.until(configuration),
            ]
            for configuration in self.configurations
        ]


def compare_runs(folder: Path, accuracy: float) -> Comparison:
    """Gather all runs in and below a folder and group those that completed by configuration."""
    groups: dict[str, list[FinishedRun]] = defaultdict(list)
    others = []
    for metrics_file in sorted(folder.glob("**/metrics.json")):
        directory = metrics_file.parent
        try:
            metrics = json.loads(metrics_file.read_text())
            status = metrics["status"]
            if status != "completed":
                others.append((directory, status, str(metrics.get("error", ""))))
                continue
            settings = read_settings(directory / "config.yaml")
            run = FinishedRun(directory, settings, metrics, read_history(directory / "history.csv"))
        except (OSError, ValueError, KeyError, yaml.YAMLError) as error:
            others.append((directory, "unreadable", str(error)))
            continue
        same = {key: value for key, value in settings.items() if key not in NOT_SETTINGS}
        groups[json.dumps(same, sort_keys=True, default=str)].append(run)
    configurations = [Configuration(runs) for runs in groups.values()]
    configurations.sort(key=lambda configuration: -(configuration.mean("test/accuracy") or 0))
    label(configurations)
    return Comparison(folder, accuracy, configurations, others, incomparable(configurations))


def read_settings(file: Path) -> dict[str, Any]:
    """The dotted settings of a run."""
    return dict(flatten(yaml.load(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))))


def read_history(file: Path) -> list[dict[str, float]]:
    """The figures of each epoch; none where the file is missing."""
    if not file.exists():
        return []
    with file.open(newline="") as lines:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(lines)]


def differing(configurations: Iterable[Configuration]) -> list[str]:
    """The keys whose values differ between configurations, or that only some have."""
    all_settings = [configuration.settings for configuration in configurations]
    keys = dict.fromkeys(key for settings in all_settings for key in settings)
    return [
        key
        for key in keys
        if key not in NOT_SETTINGS and len({repr(settings.get(key, "absent")) for settings in all_settings}) > 1
    ]


def label(configurations: list[Configuration]) -> None:
    """Name each configuration by its network and by how it differs from the others with the same network."""
    by_model: dict[str, list[Configuration]] = defaultdict(list)
    for configuration in configurations:
        by_model[configuration.settings.get("model.name", "?")].append(configuration)
    for name, alike in by_model.items():
        keys = [key for key in differing(alike) if not key.endswith("_target_")] or differing(alike)
        for configuration in alike:
            values = [
                f"{key.partition('.')[2] or key}={configuration.settings[key]}"
                for key in keys
                if key in configuration.settings
            ]
            configuration.label = " ".join([name, *values])


def incomparable(configurations: list[Configuration]) -> list[str]:
    """A sentence for each condition under which figures do not compare."""
    warnings = []
    for condition, keys in CONDITIONS.items():
        differences = [key for key in differing(configurations) if key in keys]
        for key in differences:
            values = dict.fromkeys(repr(configuration.settings.get(key)) for configuration in configurations)
            warnings.append(f"not the same {condition}: {key} is {', '.join(list(values)[:6])}")
    return warnings


def with_deviation(configuration: Configuration, name: str) -> str:
    """Mean ± deviation of an accuracy."""
    mean, deviation = configuration.mean(name), configuration.deviation(name)
    return shown(mean, ".4f") + ("" if deviation is None or mean is None else f" ± {deviation:.4f}")


def shown(figure: float | None, form: str) -> str:
    """A figure in a format, or nothing where there is none."""
    return "" if figure is None else format(figure, form)


def in_units(number: float | None) -> str:
    """A large number with three digits: 1.58 G."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number is not None and number >= size:
            return f"{number / size:.3g} {unit}"
    return shown(number, ".0f")


def duration(seconds: float | None) -> str:
    """Seconds as people say them: 45 s, 12 min, 3.4 h."""
    if seconds is None:
        return ""
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def print_comparison(comparison: Comparison) -> None:
    """Print the table, what does not compare, and what did not complete."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if comparison.configurations:
        table = Table(title=f"runs in {comparison.folder}, the best first")
        for number, heading in enumerate(comparison.headings()):
            table.add_column(heading, justify="left" if number == 0 else "right", overflow="fold", no_wrap=number > 0)
        for row in comparison.rows():
            table.add_row(*row)
        console.width = max(console.width, 150)
        console.print(table)
    for warning in comparison.warnings:
        console.print(f"Careful, {warning}", markup=False, highlight=False)
    for directory, status, reason in comparison.others:
        text = f"{status}: {directory}" + (f" ({reason})" if reason else "")
        console.print(text, markup=False, highlight=False)


def as_markdown(comparison: Comparison) -> str:
    """The same as Markdown."""
    lines = [f"# Runs in {comparison.folder}", ""]
    if comparison.configurations:
        headings = comparison.headings()
        lines += ["| " + " | ".join(headings) + " |", "| --- |" + " ---: |" * (len(headings) - 1)]
        lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in comparison.rows()]
        lines += ["", "Mean ± standard deviation over seeds; times are of training, validation apart.", ""]
    lines += [f"- Careful, {warning}" for warning in comparison.warnings]
    lines += [
        f"- {status}: {directory}" + (f" ({reason})" if reason else "")
        for directory, status, reason in comparison.others
    ]
    return "\n".join(lines) + "\n"


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Write ``comparison.md`` and ``comparison.html``."""
    from cnn_experiments.report import as_html

    contents = {"comparison.md": as_markdown(comparison), "comparison.html": as_html(comparison)}
    for name, content in contents.items():
        (folder / name).write_text(content)
    return [folder / name for name in contents]
