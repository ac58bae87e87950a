"""Runs side by side, grouped by configuration."""

import glob
import importlib
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from cnn_experiments.errors import UserError
from cnn_experiments.runs.comparable import incomparable
from cnn_experiments.runs.configuration import Configuration, differing_keys, grouped
from cnn_experiments.runs.directory import shown
from cnn_experiments.runs.effects import HEADING as EFFECT_HEADING
from cnn_experiments.runs.effects import Effect, effects_of
from cnn_experiments.runs.finished import FIGURES, FinishedRun, read_run, run_directories
from cnn_experiments.runs.formats import (
    all_of,
    as_cell,
    as_csv,
    as_json,
    as_typed,
    chance,
    cut,
    duration,
    figure,
    html_row,
    html_table,
    in_html,
    in_units,
    printable,
    terminal_table,
)
from cnn_experiments.runs.records import read_json
from cnn_experiments.runs.search import Search, search_of
from cnn_experiments.runs.verdicts import Verdict, Verdicts, chosen, judge

VERDICT = ("against", "difference", "difference_low", "difference_high", "p")  # columns of `Comparison.to_pandas`
EFFECTS = "What each setting changes, on average over the others"
IMPORTANCES = "How much each setting mattered for the validation accuracy"
MOST_VERDICTS = 20  # that are printed as sentences
MOST_SETTINGS = 20  # configurations whose settings are listed side by side
MOST_NAMED = 3  # folders that a title names
LONGEST_REASON = 1000  # characters


@dataclass(repr=False)
class Comparison:
    """Runs side by side. A notebook shows it as a table, everything else as text.

    Args:
        paths: the folders in which the runs were found.
        accuracy: the validation accuracy that the last column gives times for.
        configurations: those of completed runs, the best first.
        others: runs that did not complete: directory, status, reason.
        warnings: why figures are not comparable.
        copies: directories that were not counted, each with the one whose copy it is.
        baseline: the configuration that all others are compared with; None for the best.
    """

    paths: list[Path]
    accuracy: float
    configurations: list[Configuration]
    others: list[tuple[Path, str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    copies: list[tuple[Path, Path]] = field(default_factory=list)
    baseline: Configuration | None = None

    @cached_property
    def judged(self) -> Verdicts:
        """Whether configurations are better than others, or whether it can be luck; computed when first asked for."""
        return judge(self.configurations, self.baseline)

    @cached_property
    def effects(self) -> list[Effect]:
        """What each setting changes, if the configurations are a full grid; computed when first asked for."""
        return effects_of(self.configurations)

    @cached_property
    def search(self) -> Search | None:
        """How much each setting mattered, if the runs are those of a search; computed when first asked for."""
        return search_of(self.configurations)

    @property
    def title(self) -> str:
        """A title that says which runs these are."""
        if len(self.paths) <= MOST_NAMED:
            return f"Runs in {', '.join(map(str, self.paths))}"
        place = os.path.commonpath([path.absolute() for path in self.paths])
        return f"Runs in {len(self.paths)} folders in {shown(Path(place))}"

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

    def verdict_rows(self) -> list[list[str]]:
        """A heading, and a row for each verdict; empty if there is none."""
        if not self.judged.verdicts:
            return []
        heading = ["compared", "with", "difference in points (95 % interval)", "p", "verdict"]
        return [heading, *map(_verdict_row, self.judged.verdicts)]

    def effect_rows(self) -> list[list[str]]:
        """A heading, and a row for each effect; empty if there is none."""
        return [EFFECT_HEADING, *(effect.row() for effect in self.effects)] if self.effects else []

    def importance_rows(self) -> list[list[str]]:
        """A heading, and a row for each setting of a search, with its share in the differences; empty if unknown."""
        if self.search is None or not self.search.importances:
            return []
        shares = self.search.importances.items()
        return [["setting", "importance"], *([key, f"{share:.2f}"] for key, share in shares)]

    def verdict_notes(self, most: int = MOST_VERDICTS) -> list[str]:
        """A line for each verdict, and for each configuration that there is none on."""
        lines = [verdict.sentence() for verdict in self.judged.verdicts]
        if len(lines) > most:
            lines[most:] = [f"{len(lines) - most} more verdicts are in comparison.html"]
        labels: dict[str, list[str]] = defaultdict(list)
        for label, why in self.judged.left_out:
            labels[why].append(label)
        missing = [f"no verdict on {all_of(names)}: {why}" for why, names in labels.items()]
        problem = self.search.problem if self.search else ""
        return [*lines, *missing, *filter(None, [problem])]

    def notes(self) -> list[str]:
        """A line for each verdict, each reason why figures do not compare, and each run that is not in the table."""
        lines = [
            *self.verdict_notes(),
            *(f"Careful, {warning}" for warning in self.warnings),
            *(
                f"{status}: {directory}" + (f" ({' '.join(reason.split())})" if reason else "")
                for directory, status, reason in self.others
            ),
            *(f"copy of {original}, not counted: {copy}" for copy, original in self.copies),
        ]
        return [printable(line) for line in lines]

    def _table(self) -> tuple[list[str], list[list[Any]]]:
        """A heading, and a row for each completed run: what `to_pandas` has."""
        keys = differing_keys(self.configurations)
        verdicts = {
            id(one): verdict
            for verdict in self.judged.verdicts
            for one in (verdict.one, verdict.other)
            if one is not self._reference(verdict)
        }
        heading = ["configuration", "seed", "directory", *FIGURES, *VERDICT, *keys]
        rows = []
        for configuration in self.configurations:
            verdict = verdicts.get(id(configuration))
            judged = [None] * len(VERDICT) if verdict is None else self._against(verdict)
            for run in configuration.runs:
                figures = [run.metrics.get(name) for name in FIGURES]
                settings = [run.settings.get(key) for key in keys]
                rows.append(
                    [configuration.label, run.metrics.get("seed"), str(run.directory), *figures, *judged, *settings]
                )
        return heading, rows

    def _reference(self, verdict: Verdict) -> Configuration:
        """The configuration that others are compared with: the baseline, or the best."""
        return verdict.one if self.baseline is None else verdict.other

    def _against(self, verdict: Verdict) -> list[Any]:
        """The values of `VERDICT`: the difference is how much better this configuration is than the one named."""
        reference = self._reference(verdict).label
        low, value, high = verdict.low, verdict.luck.value, verdict.high
        if self.baseline is None:
            low, value, high = -high, -value, -low
        return [reference, value, low, high, verdict.adjusted_p]

    def to_pandas(self) -> Any:
        """A row for each completed run: configuration, seed, directory, figures, verdict, and the settings that differ.

        The verdict is that on its configuration: ``against`` which one, the ``difference`` of mean test accuracies with
        its 95 % interval (``difference_low``, ``difference_high``), and ``p``, corrected for the number of verdicts.

        Returns:
            A ``pandas.DataFrame``.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            pandas = importlib.import_module("pandas")
        except ImportError as error:
            raise ImportError("to_pandas needs pandas, which is not installed: pip install pandas") from error
        heading, rows = self._table()
        return pandas.DataFrame(rows, columns=heading)

    def to_csv(self) -> str:
        """The rows of `to_pandas` as CSV. A spreadsheet that opens it takes none of its text for a formula."""
        heading, rows = self._table()
        return as_csv(heading, [[as_cell(value) for value in row] for row in rows])

    def to_json(self) -> str:
        """Everything of the comparison as JSON: runs, verdicts, warnings, and what is not in the table."""
        heading, rows = self._table()
        content = {
            "title": self.title,
            "runs": [dict(zip(heading, row, strict=True)) for row in rows],
            "verdicts": [_as_record(verdict) for verdict in self.judged.verdicts],
            "effects": [
                {
                    "changes": [{"key": key, "from": before, "to": after} for key, after, before in effect.changes],
                    "difference": effect.luck.value,
                    "difference_low": effect.luck.low,
                    "difference_high": effect.luck.high,
                    "p_corrected": effect.adjusted_p,
                }
                for effect in self.effects
            ],
            "importances": self.search.importances if self.search else {},
            "no_verdict": [{"configuration": label, "reason": why} for label, why in self.judged.left_out],
            "warnings": self.warnings,
            "others": [
                {"directory": str(directory), "status": status, "reason": reason}
                for directory, status, reason in self.others
            ],
            "copies": [{"directory": str(copy), "copy_of": str(original)} for copy, original in self.copies],
        }
        return as_json(content, indent=2) + "\n"

    def to_markdown(self) -> str:
        """The comparison as Markdown."""
        from cnn_experiments.runs.tables import as_markdown

        return as_markdown(self)

    def to_html(self) -> str:
        """The comparison as one page that works offline."""
        from cnn_experiments.runs.page import as_html

        return as_html(self)

    def __repr__(self) -> str:
        """The table as the terminal shows it, then the notes."""
        from rich.console import Console

        console = Console(width=150, color_system=None, force_jupyter=False)  # in a notebook too, it is text
        with console.capture() as captured:
            for title, rows in self.tables():
                console.print(terminal_table(title, rows))
        return "\n".join([*captured.get().splitlines(), *self.notes()])

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        tables = [
            f"<p>{in_html(title)}</p>{html_table(heading, map(html_row, rows))}"
            for title, (heading, *rows) in self.tables()
        ]
        notes = "".join(f"<li>{in_html(note)}</li>" for note in self.notes())
        return "".join(tables or [f"<p>{in_html(self.title)}</p>"]) + (f"<ul>{notes}</ul>" if notes else "")

    def tables(self) -> list[tuple[str, list[list[str]]]]:
        """The tables as title, heading and rows: configurations, effects, importances; without those that are empty."""
        tables = []
        if self.configurations:
            tables.append((f"{self.title}, the best first", [self.headings(), *self.rows()]))
        tables += [(EFFECTS, self.effect_rows()), (IMPORTANCES, self.importance_rows())]
        return [(title, rows) for title, rows in tables if rows]


def compare(
    paths: str | Path | Sequence[str | Path] = "outputs", accuracy: float = 0.9, baseline: str | Path | None = None
) -> Comparison:
    """Gather runs, and group those that completed by configuration.

    Args:
        paths: a folder, sub-folders included; a pattern such as ``outputs/lenet5*``; or several of these.
        accuracy: validation accuracy to give times for, above 0 and up to 1.
        baseline: the configuration that all others are compared with: its label, the directory of one of its runs, or
            settings that it alone has, such as ``model.c3=partial``. None compares the best with each of the others.

    Raises:
        UserError: there is no such folder, it holds no runs, the accuracy is out of range, or no configuration, or more
            than one, is the baseline.
    """
    if isinstance(accuracy, bool) or not isinstance(accuracy, (int, float)) or not 0 < accuracy <= 1:
        raise UserError(f"accuracy={accuracy}: give a share of right answers above 0, up to 1.0")
    given = [paths] if isinstance(paths, (str, Path)) else paths
    folders = list(dict.fromkeys(folder for path in given for folder in _folders(path)))
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
    configurations = grouped(finished.values())
    compared_with = None if baseline is None else chosen(configurations, str(baseline))
    return Comparison(folders, accuracy, configurations, others, incomparable(configurations), copies, compared_with)


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


def _as_record(verdict: Verdict) -> dict[str, Any]:
    """A verdict for `Comparison.to_json`."""
    return {
        "configuration": verdict.one.label,
        "against": verdict.other.label,
        "difference": verdict.luck.value,
        "difference_low": verdict.low,
        "difference_high": verdict.high,
        "p": verdict.p,
        "p_corrected": verdict.adjusted_p,
        "is_different": verdict.is_different,
        "runs": verdict.numbers,
        "test_images": verdict.images,
        "also_different": verdict.circumstances,
        "sentence": verdict.sentence(),
    }


def _verdict_row(verdict: Verdict) -> list[str]:
    says = ("better" if verdict.luck.value > 0 else "worse") if verdict.is_different else "can be luck"
    return [verdict.one.label, verdict.other.label, verdict.interval(), chance(verdict.adjusted_p), says]


def _seeds(configuration: Configuration) -> str:
    """The number of seeds, and that of runs if some share a seed."""
    number, runs = len(configuration.seeds), len(configuration.runs)
    return str(number) if number == runs else f"{number} in {runs} runs"


def _mean_and_std(configuration: Configuration, name: str) -> str:
    """Mean ± standard deviation of an accuracy."""
    std = configuration.std(name)
    return figure(configuration.mean(name), ".4f") + ("" if std is None else f" ± {std:.4f}")
