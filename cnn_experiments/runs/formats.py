"""Human-readable figures, and tables of text for the terminal, Markdown and HTML."""

import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


def figure(value: float | None, form: str) -> str:
    """A formatted figure; empty if there is none."""
    return "" if value is None else format(value, form)


def in_units(number: float | None) -> str:
    """A large number with three significant digits: 1.58 G."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number is not None and number >= size:
            return f"{number / size:.3g} {unit}"
    return figure(number, ".0f")


def duration(seconds: float | None) -> str:
    """Seconds in a readable unit: 45 s, 12 min, 3.4 h."""
    if seconds is None:
        return ""
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def as_typed(key: str, value: Any) -> str:
    """The value of a setting as one would type it: floats with four digits, classes by name only."""
    if key.endswith("_target_"):
        return str(value).rpartition(".")[2]
    if isinstance(value, list):
        return f"[{','.join(as_typed(key, part) for part in value)}]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return f"{value:.4g}" if isinstance(value, float) and not value.is_integer() else str(value)


def some_of(values: Sequence[str], most: int = 6) -> str:
    """Two or more values as part of a sentence; of many, only the first."""
    if len(values) > most:
        return f"{', '.join(values[:most])} or one of {len(values) - most} others"
    return f"{', '.join(values[:-1])} or {values[-1]}"


def terminal_table(title: str, rows: Sequence[Sequence[str]]) -> "Table":
    """A rich table; the first row is the heading."""
    from rich.markup import escape as without_markup
    from rich.table import Table

    table = Table(title=without_markup(title))
    for number, heading in enumerate(rows[0]):
        table.add_column(heading, justify="left" if number == 0 else "right", overflow="fold", no_wrap=number > 0)
    for row in rows[1:]:
        table.add_row(*map(without_markup, row))
    return table


def markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table in Markdown; the first row is the heading."""
    lines = ["| " + " | ".join(map(in_markdown, row)) + " |" for row in rows]
    return [lines[0], "| --- |" + " ---: |" * (len(rows[0]) - 1), *lines[1:]]


def in_markdown(text: str) -> str:
    """Text escaped for a cell of a Markdown table."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def html_table(headings: Iterable[str], rows: Iterable[str]) -> str:
    """A table in HTML that scrolls sideways if it is wider than the page.

    Args:
        headings: the texts of the headings.
        rows: ``<tr>`` elements, see `html_row`.
    """
    heading = "".join(f"<th>{escape(name)}</th>" for name in headings)
    return f'<div class="wide"><table><thead><tr>{heading}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def html_row(cells: Iterable[str]) -> str:
    """A row of text for `html_table`."""
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
