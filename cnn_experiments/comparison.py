"""Runs side by side: gathered from their folders, grouped by configuration, as a table and as a page.

Only config.yaml, metrics.json and history.csv are read, never TensorBoard's files: this keeps hundreds of runs quick.
"""

import csv
import json
import re
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
# What differs between the runs of one configuration; so does all that is about logging.
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


@dataclass
class FinishedRun:
    """A run and what it came to."""

    directory: Path
    settings: dict[str, Any]
    metrics: dict[str, Any]
    history: list[dict[str, float]]
    experiment: str | None  # the preset it was made from

    @property
    def name(self) -> str:
        """What people call its network: the preset, or the model."""
        return self.experiment or self.settings.get("model.name", "?")

    @property
    def was_validated(self) -> bool:
        return any("val/accuracy" in row for row in self.history)

    def seconds_to(self, accuracy: float) -> float:
        """Seconds of training until an epoch reached an accuracy in validation; infinity where none did."""
        reached = (row["seconds"] for row in self.history if row.get("val/accuracy", -1) >= accuracy)
        return next(reached, float("inf"))


@dataclass
class Configuration:
    """Completed runs that differ by their seed alone."""

    runs: list[FinishedRun]
    label: str = ""

    @property
    def settings(self) -> dict[str, Any]:
        return self.runs[0].settings

    @property
    def name(self) -> str:
        return self.runs[0].name

    @property
    def seeds(self) -> list[Any]:
        """The different ones, in order."""
        return sorted({run.metrics.get("seed") for run in self.runs}, key=str)

    def mean(self, name: str) -> float | None:
        """Mean of a figure over the seeds; None where a run has none."""
        values = [run.metrics[name] for run in self.runs if run.metrics.get(name) is not None]
        return statistics.fmean(values) if len(values) == len(self.runs) else None

    def deviation(self, name: str) -> float | None:
        """Standard deviation of a figure over the seeds; None where there are not two."""
        values = [run.metrics[name] for run in self.runs if run.metrics.get(name) is not None]
        return statistics.stdev(values) if len(values) == len(self.runs) > 1 else None

    def seconds_to(self, accuracy: float) -> float:
        """Median over the seeds; infinity where half of them never reached it."""
        return statistics.median_high([run.seconds_to(accuracy) for run in self.runs])

    def rank(self) -> tuple[float, float]:
        """What configurations are sorted by: test accuracy, then validation accuracy."""
        test, validation = self.mean("test/accuracy"), self.mean("val/accuracy")
        return -1 if test is None else test, -1 if validation is None else validation


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
        """How long a configuration took to reach the accuracy; nothing where that was not measured."""
        if not all(run.was_validated for run in configuration.runs):
            return ""
        seconds = configuration.seconds_to(self.accuracy)
        return "never" if seconds == float("inf") else duration(seconds)

    def rows(self) -> list[list[str]]:
        """Of the table: a configuration each."""
        return [
            [
                configuration.label,
                seeds(configuration),
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

    def settings_rows(self, most: int) -> list[list[str]]:
        """A heading and a row for each setting that differs, with the values of the best configurations.

        Nothing where the configurations' own labels tell all of it.
        """
        if len({configuration.name for configuration in self.configurations}) < 2:
            return []
        best = self.configurations[:most]
        rows = [
            [key, *(as_typed(key, one.settings[key]) if key in one.settings else "" for one in best)]
            for key in differing(best)
        ]
        return [["setting", *(configuration.label for configuration in best)], *rows]


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
            run = FinishedRun(
                directory,
                read_settings(directory / "config.yaml"),
                metrics,
                read_history(directory / "history.csv"),
                read_experiment(directory / ".hydra" / "overrides.yaml"),
            )
        except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError) as error:
            others.append((directory, "unreadable", f"{type(error).__name__}: {error}"))
            continue
        groups[json.dumps(run.settings, sort_keys=True, default=str)].append(run)
    configurations = [Configuration(runs) for runs in groups.values()]
    configurations.sort(key=Configuration.rank, reverse=True)
    label(configurations)
    return Comparison(folder, accuracy, configurations, others, incomparable(configurations))


def read_settings(file: Path) -> dict[str, Any]:
    """The dotted settings that make up a run's configuration; 1.0 is 1, where that means the same."""
    everything = flatten(yaml.load(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    return {
        key: int(value)
        if isinstance(value, float) and value.is_integer() and not NUMBERS_OR_SHARES.match(key)
        else value
        for key, value in everything
        if key not in NOT_SETTINGS and not key.startswith("logging.")
    }


def read_history(file: Path) -> list[dict[str, float]]:
    """The figures of each epoch; none where the file is missing."""
    if not file.exists():
        return []
    with file.open(newline="") as lines:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(lines)]


def read_experiment(file: Path) -> str | None:
    """The preset among what was typed; None where there is none, or no record."""
    typed = file.read_text() if file.exists() else ""
    found = re.search(r"^- experiment=(\S+)$", typed, re.MULTILINE)
    return found[1] if found else None


def differing(configurations: Iterable[Configuration]) -> list[str]:
    """The keys whose values differ between configurations, or that only some have."""
    all_settings = [configuration.settings for configuration in configurations]
    keys = dict.fromkeys(key for settings in all_settings for key in settings)
    return [
        key
        for key in keys
        if key not in REPEATED and len({repr(settings.get(key, "absent")) for settings in all_settings}) > 1
    ]


def label(configurations: list[Configuration]) -> None:
    """Name each configuration by its preset or model and by how it differs from the others of that name."""
    alike: dict[tuple[str, str], list[Configuration]] = defaultdict(list)
    for configuration in configurations:
        alike[configuration.name, configuration.settings.get("datamodule.name", "?")].append(configuration)
    several_data_sets = len({data for _, data in alike}) > 1
    for (name, data), same_name in alike.items():
        keys = differing(same_name)
        for configuration in same_name:
            values = [
                f"{short(key)}={as_typed(key, configuration.settings[key])}"
                for key in keys
                if key in configuration.settings
            ]
            configuration.label = " ".join([f"{name} on {data}" if several_data_sets else name, *values])


def short(key: str) -> str:
    """A dotted key without its group: dropout, optimizer.lr, optimizer."""
    return (key.partition(".")[2] or key).removesuffix("._target_")


def as_typed(key: str, value: Any) -> str:
    """A value as one would type it, floats with four digits, of classes only the name."""
    if key.endswith("_target_"):
        return str(value).rpartition(".")[2]
    if isinstance(value, list):
        return f"[{','.join(as_typed(key, part) for part in value)}]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return f"{value:.4g}" if isinstance(value, float) and not value.is_integer() else str(value)


def incomparable(configurations: list[Configuration]) -> list[str]:
    """A sentence for each condition under which figures do not compare."""
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


def some_of(values: list[str], most: int = 6) -> str:
    """Values in a sentence, not too many of them."""
    if len(values) > most:
        return f"{', '.join(values[:most])} or one of {len(values) - most} others"
    return f"{', '.join(values[:-1])} or {values[-1]}"


def seeds(configuration: Configuration) -> str:
    """How many seeds, and how many runs where some have the same."""
    number, runs = len(configuration.seeds), len(configuration.runs)
    return str(number) if number == runs else f"{number} in {runs} runs"


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
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if comparison.configurations:
        table = Table(title=escape(f"runs in {comparison.folder}, the best first"))
        for number, heading in enumerate(comparison.headings()):
            table.add_column(heading, justify="left" if number == 0 else "right", overflow="fold", no_wrap=number > 0)
        for row in comparison.rows():
            table.add_row(*map(escape, row))
        console.width = max(console.width, 150)
        console.print(table)
    for line in notes(comparison):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def notes(comparison: Comparison) -> list[str]:
    """A line for each thing that does not compare, and for each run that did not complete."""
    return [
        *(f"Careful, {warning}" for warning in comparison.warnings),
        *(
            f"{status}: {directory}" + (f" ({' '.join(reason.split())})" if reason else "")
            for directory, status, reason in comparison.others
        ),
    ]


def as_markdown(comparison: Comparison) -> str:
    """The same as Markdown."""
    lines = [f"# Runs in {in_markdown(str(comparison.folder))}", ""]
    if comparison.configurations:
        lines += markdown_table([comparison.headings(), *comparison.rows()])
        lines += ["", "Mean ± standard deviation over seeds; times are of training, validation apart.", ""]
    lines += [f"- {in_markdown(line)}" for line in notes(comparison)]
    if settings := comparison.settings_rows(most=20):
        lines += ["", "## Settings that differ", "", *markdown_table(settings)]
    return "\n".join(lines) + "\n"


def markdown_table(rows: list[list[str]]) -> list[str]:
    """Lines of a table; the first row is its heading."""
    lines = ["| " + " | ".join(map(in_markdown, row)) + " |" for row in rows]
    return [lines[0], "| --- |" + " ---: |" * (len(rows[0]) - 1), *lines[1:]]


def in_markdown(text: str) -> str:
    """Text in which Markdown sees neither the end of a cell nor HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Write ``comparison.md`` and ``comparison.html``."""
    from cnn_experiments.report import as_html

    contents = {"comparison.md": as_markdown(comparison), "comparison.html": as_html(comparison)}
    for name, content in contents.items():
        (folder / name).write_text(content, encoding="utf-8")
    return [folder / name for name in contents]
