"""Pages of docs/ that are written from measurements, in both languages."""

import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from scripts.claims import STUDIES

Language = Literal["en", "ko"]
SUFFIXES: dict[Language, str] = {"en": ".md", "ko": ".ko.md"}  # of the pages' files

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
        files.append(folder / f"{name}{suffix}")
        files[-1].write_text(text.substitute(figures | words.get(language, {})), encoding="utf-8")
    return files


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of a Markdown table, to stand below a heading."""
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def short(value: float) -> str:
    """Three digits of a number, or all before its point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
