"""Pages of docs/ that are written from measurements, in both languages."""

import string
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from cnn_experiments.runs.finished import FinishedRun
from scripts.claims import STUDIES

Language = Literal["en", "ko"]
SUFFIXES: dict[Language, str] = {"en": ".md", "ko": ".ko.md"}  # of the pages' files
PERCENT: dict[Language, str] = {"en": " %", "ko": "%"}  # after a number

Figures = dict[str, str]


class Page(string.Template):
    """A page whose figures are written ``@{alexnet.he.test}``; formulas keep their dollar signs."""

    delimiter = "@"
    idpattern = r"[a-z0-9_.]+"


def fill(
    name: str, figures: Figures, words: Mapping[Language, Figures], folder: Path, templates: Path = STUDIES
) -> list[Path]:
    """Fill figures into a page that was written by hand, in both languages.

    Args:
        name: of the page.
        figures: by their names.
        words: figures that are words, by language.
        folder: where the pages are written.
        templates: the folder of the pages as they were written by hand.

    Returns:
        The files.

    Raises:
        KeyError: a page names a figure that there is none of.
    """
    files = []
    for language, suffix in SUFFIXES.items():
        text = Page((templates / f"{name}{suffix}").read_text(encoding="utf-8"))
        here = {figure: value.replace(" %", PERCENT[language]) for figure, value in figures.items()}
        files.append(folder / f"{name}{suffix}")
        files[-1].write_text(text.substitute(here | words.get(language, {})), encoding="utf-8")
    return files


def table(rows: Sequence[Sequence[str]], heading: Sequence[str] = ()) -> str:
    """A Markdown table, whose cells are Markdown already; its rows alone where the page has a heading for them."""
    lines = [heading, ["---"] * len(heading), *rows] if heading else rows
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


Machine = dict[str, list[str]]  # what runs were computed with: the distinct values of each entry of MACHINE
MACHINE: dict[str, Callable[[dict[str, Any]], object]] = {
    "device": lambda metrics: metrics.get("processor") or metrics.get("device"),
    "precision": lambda metrics: metrics.get("precision"),
    "threads": lambda metrics: metrics.get("threads"),
    "torch": lambda metrics: (metrics.get("versions") or {}).get("torch"),
    "commit": lambda metrics: str(metrics.get("commit") or "")[:10],
}


def machine_of(runs: Sequence[FinishedRun]) -> Machine:
    """What some runs were computed with."""
    return {
        name: sorted({str(value) for run in runs if (value := read(run.metrics))}) for name, read in MACHINE.items()
    }


def in_words(machines: Sequence[Machine]) -> Figures:
    """Several machines as one, whose values are parts of a sentence in any language; ``?`` where there is none."""
    values = {name: {value for machine in machines for value in machine.get(name, [])} for name in MACHINE}
    return {name: ", ".join(sorted(distinct)) or "?" for name, distinct in values.items()}
