"""Human-readable figures; text for the terminal, CSV, Markdown, HTML, pictures. Received text is made harmless."""

import csv
import io
import json
import logging
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any, Literal
from unicodedata import east_asian_width

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table
    from rich.text import Text

# What a terminal obeys instead of showing it: control characters, line separators of Unicode, and marks that reorder
# text. Lone surrogates stand for bytes of a file name that are not UTF-8; no file can hold them as text.
INVISIBLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
SURROGATES = re.compile("[\ud800-\udfff]")
# What a spreadsheet takes for the beginning of a formula, also after characters that it skips.
FORMULA = re.compile("[\\s\x00]*[=+@\uff1d\uff0b\uff20\uff0d-]|[\t\r]")

# What means something in a line of Markdown: an underscore only at the edge of a word, a colon or a point only in an
# address.
MARKDOWN = re.compile(r"[\\`*\[\]|~$!@]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.", re.IGNORECASE)
LONGEST = 200  # characters of a setting that are shown
# Fonts with Korean letters, of Windows, macOS and Linux; the one that matplotlib brings has none.
KOREAN_FONTS = (
    *("Malgun Gothic", "Apple SD Gothic Neo", "AppleGothic", "NanumGothic", "Noto Sans KR"),
    *("Noto Sans CJK KR", "Noto Sans CJK JP"),  # matplotlib knows a collection of fonts by the first of them alone
)


class PrintableFormatter(logging.Formatter):
    """Formats log messages as one line each that is safe to print; a traceback follows as it is."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return printable(super().formatMessage(record))


def printable(text: str, keep_lines: bool = False) -> str:
    """Text that is safe to print: characters that control the terminal become visible escapes such as ``\\x1b``.

    Args:
        text: it may come from anybody.
        keep_lines: whether newlines and tabs stay; otherwise they become spaces.
    """
    if not keep_lines:
        return INVISIBLE.sub(_escape, re.sub(r"\r\n|[\n\t]", " ", text))
    return INVISIBLE.sub(lambda found: found[0] if found[0] in "\n\t" else _escape(found), text)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def as_csv(heading: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as CSV. A spreadsheet that opens it takes none of its text for a formula.

    Args:
        heading: the names of the columns.
        rows: numbers, which are written as they are, and text; None is an empty cell.
    """
    content = io.StringIO()
    writer = csv.writer(content)  # its line ends are \r\n: with others, it would not quote a \r in a text
    writer.writerows([_cell(value) for value in row] for row in (heading, *rows))
    return content.getvalue()


def _cell(value: object) -> object:
    """A value for a cell of a CSV file; text that begins like a formula gets an apostrophe before it."""
    if value is None or isinstance(value, (int, float)):
        return value
    text = SURROGATES.sub(_escape, str(value))
    return f"'{text}" if FORMULA.match(text) else text


def figure(value: float | None, form: str) -> str:
    """A formatted figure; empty if there is none."""
    return "" if value is None else format(value, form)


def in_units(number: float | None) -> str:
    """A large number with three significant digits: 1.58 G."""
    for unit, size in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number is not None and float(f"{number:.3g}") >= size:  # 999,999 is 1 M
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
    """The value of a setting as one would type it: floats with four digits, classes by name only, long text cut."""
    if key.endswith("_target_"):
        value = str(value).rpartition(".")[2]
    if key == "data":  # a digest, of which six digits tell apart
        return str(value)[:6]
    if isinstance(value, list):
        value = f"[{','.join(as_typed(key, part) for part in value)}]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return f"{value:.4g}" if isinstance(value, float) and not value.is_integer() else cut(str(value))


def cut(text: str, most: int = LONGEST) -> str:
    """Text of at most so many characters; of longer text, the beginning."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def some_of(values: Sequence[str], most: int = 6) -> str:
    """Two or more values as part of a sentence; of many, only the first."""
    if len(values) > most:
        return f"{', '.join(values[:most])} or one of {len(values) - most} others"
    return f"{', '.join(values[:-1])} or {values[-1]}"


def chance(p: float) -> str:
    """A p-value with four digits."""
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


def all_of(values: Sequence[str], most: int = 6) -> str:
    """One or more values as part of a sentence; of many, only the first."""
    if len(values) > most:
        return f"{', '.join(values[:most])} and {len(values) - most} others"
    return " and ".join(filter(None, [", ".join(values[:-1]), values[-1]]))


def as_cell(value: Any) -> Any:
    """A value of a setting for `as_csv`: text safe to print; a list, a mapping or a truth value as JSON."""
    if isinstance(value, str):
        return printable(value)
    return json.dumps(value) if isinstance(value, (bool, list, dict)) else value


def as_json(content: Any, **layout: Any) -> str:
    """JSON, which has no infinite numbers and none that are not numbers: they become null.

    Args:
        content: plain containers.
        layout: as `json.dumps` takes it.
    """
    try:
        return json.dumps(content, allow_nan=False, **layout)
    except ValueError:
        return json.dumps(_without_infinite(content), allow_nan=False, **layout)


def _without_infinite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_infinite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_without_infinite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def terminal_table(title: str, rows: Sequence[Sequence[str]]) -> "Table":
    """A rich table; the first row is the heading. Text is shown as it is, brackets included. The title may be empty."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(printable(title), style="table.title") if title else None)
    for number, heading in enumerate(rows[0]):
        justify: Literal["left", "right"] = "left" if number == 0 else "right"
        table.add_column(in_terminal(heading), justify=justify, overflow="fold", no_wrap=number > 0)
    for row in rows[1:]:
        table.add_row(*map(in_terminal, row))
    return table


def in_terminal(text: str) -> "Text":
    """Text for a cell of a rich table, shown as it is: what stands in square brackets is no markup."""
    from rich.text import Text

    return Text(printable(text))


def markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table in Markdown; the first row is the heading."""
    lines = ["| " + " | ".join(map(in_markdown, row)) + " |" for row in rows]
    return [lines[0], "| --- |" + " ---: |" * (len(rows[0]) - 1), *lines[1:]]


def in_markdown(text: str) -> str:
    """Text escaped for a line or a cell of Markdown: none of it becomes a link, a picture, HTML, code or a cell."""
    text = MARKDOWN.sub(r"\\\g<0>", printable(text))
    return text.replace("&", "&amp;").replace("<", "&lt;")


def in_picture(text: str, most: int = 40) -> str:
    """Text for matplotlib, which would take what is between two dollar signs for a formula; long text is cut."""
    return cut(printable(text), most).replace("$", r"\$")


def text_width(text: str) -> int:
    """The width of text in Latin letters; a Korean, Chinese or Japanese one is twice as wide."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def korean_fonts() -> list[str]:
    """Those of the `KOREAN_FONTS` that matplotlib finds on this machine."""
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    return [name for name in KOREAN_FONTS if name in installed]


@contextmanager
def any_letters_drawn(figure: "Figure") -> Iterator[None]:
    """Have a picture of matplotlib show Korean text where it is drawn meanwhile.

    A letter that the font lacks is taken from a font of this machine, or becomes a box, without a warning.
    """
    from matplotlib import rcParams
    from matplotlib.text import Text

    fonts = [*rcParams["font.family"], *korean_fonts()]
    for text in figure.findobj(Text):
        if isinstance(text, Text) and not text.get_text().isascii():
            text.set_fontfamily(fonts)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def in_html(text: str) -> str:
    """Text escaped for HTML."""
    return escape(printable(text))


def html_table(headings: Iterable[str], rows: Iterable[str]) -> str:
    """A table in HTML that scrolls sideways if it is wider than the page.

    Args:
        headings: the texts of the headings.
        rows: ``<tr>`` elements, see `html_row`.
    """
    heading = "".join(f"<th>{in_html(name)}</th>" for name in headings)
    return f'<div class="wide"><table><thead><tr>{heading}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def html_row(cells: Iterable[str]) -> str:
    """A row of text for `html_table`."""
    return f"<tr>{''.join(f'<td>{in_html(cell)}</td>' for cell in cells)}</tr>"
