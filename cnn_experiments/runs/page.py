"""A comparison as one page that works offline: table, verdicts, curves, accuracy against cost, confusion.

What stands in the tables is written here. What can be pointed at is drawn in the browser by the scripts of
`comparison_page`, which are put into the page together with their data. The page's content-security policy allows these
scripts and this style alone, by their digests, pictures that stand in the page itself, and nothing from elsewhere.
"""

import base64
import hashlib
import math
import re
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from cnn_experiments.runs.configuration import Configuration
from cnn_experiments.runs.formats import html_row, html_table, in_html
from cnn_experiments.runs.page_data import MOST_DRAWN, as_script, confusion_of

if TYPE_CHECKING:
    from cnn_experiments.runs.comparison import Comparison

FOLDER = Path(__file__).parent / "comparison_page"
SCRIPTS = (  # each after those that it imports
    "elements", "numbers", "state", "data", "scales", "plot", "marks", "curves", "costs", "search", "confusion",
    "images", "legend", "table", "main",
)  # fmt: skip
IMPORT = re.compile(r"^import \{[^}]*\} from \"\./\w+\.js\";\n", re.MULTILINE)
MOST_LINES = 6  # in sight, of configurations without a verdict
BAR = 200  # width of an interval, in pixels


def as_html(comparison: "Comparison") -> str:
    """The page as HTML."""
    parts = [
        f"<h1>{in_html(comparison.title)}</h1>",
        *(f'<p class="warning">Careful, {in_html(warning)}</p>' for warning in comparison.warnings),
        *_of_completed_runs(comparison),
        *_list("Not completed", comparison.others),
        *_list("Copies, not counted", [(copy, "copy of", str(original)) for copy, original in comparison.copies]),
    ]
    body = "\n".join(parts)
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy()}">'
        f'<meta name="color-scheme" content="light dark"><title>Comparison of runs</title><style>{style()}</style>'
    )
    scripts = ""
    if comparison.configurations:
        scripts = (
            f'<script type="application/json" id="data">{as_script(comparison)}</script>\n'
            f'<script type="module">{script()}</script>\n'
        )
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n'
        f"<main>\n{body}\n</main>\n{scripts}</body></html>\n"
    )


@cache
def style() -> str:
    """The style of the page."""
    return (FOLDER / "page.css").read_text(encoding="utf-8")


@cache
def script() -> str:
    """The modules of the page as one: without their imports, since all names of all modules differ."""
    modules = ((FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    return "\n".join(re.sub(r"^export ", "", IMPORT.sub("", module), flags=re.MULTILINE) for module in modules)


def policy() -> str:
    """The content-security policy: only the page's own style and script, nothing from elsewhere."""
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style(), script()))
    of_style, of_script = (f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; img-src data:; style-src {of_style}; script-src {of_script}; base-uri 'none'; "
        "form-action 'none'"
    )


def _of_completed_runs(comparison: "Comparison") -> list[str]:
    """Tables, and places for what the scripts draw; empty if no run completed."""
    if not comparison.configurations:
        return []
    return [
        '<noscript><p class="warning">Without JavaScript this page has no charts. The tables hold the figures.</p>'
        "</noscript>",
        _main_table(comparison),
        *_verdicts(comparison),
        '<div id="drawn" hidden="">',
        '<div id="legend"></div><div>',
        '<section><h2>Curves</h2><div id="curves"></div></section>',
        '<section><h2>Accuracy and what it costs</h2><div id="costs"></div></section>',
        *(['<section><h2>The search</h2><div id="search"></div></section>'] if comparison.search else []),
        '<section><h2>Confusion</h2><div id="confusion"></div></section>',
        '<section><h2>Images that one gets right and another wrong</h2><div id="images"></div></section>',
        "</div></div>",
        *_effects(comparison),
        _accuracy_by_class(comparison.configurations),
        _settings_that_differ(comparison),
    ]


def _main_table(comparison: "Comparison") -> str:
    """The table of all configurations; each cell with the value by which its column is sorted."""
    rows = []
    for number, (one, cells) in enumerate(zip(comparison.configurations, comparison.rows(), strict=True)):
        until = one.seconds_to(comparison.accuracy) if cells[-1] else None
        names = ("test/accuracy", "val/accuracy", "parameters", "multiply_adds", "images_per_second", "train_seconds")
        values = [len(one.seeds), *map(one.mean, names), until]
        texts = "".join(_cell(text, value) for text, value in zip(cells[1:], values, strict=True))
        rows.append(f'<tr data-configuration="{number}"><th scope="row">{in_html(cells[0])}</th>{texts}</tr>')
    text = "Mean ± standard deviation over seeds, the best first. Times are of training, without validation."
    return (
        f'<section id="configurations"><h2>Configurations</h2>{html_table(comparison.headings(), rows)}'
        f'<p class="note">{text}</p></section>'
    )


def _cell(text: str, value: float | None) -> str:
    """A cell that is sorted by a number."""
    number = "" if value is None else f' data-value="{"Infinity" if value == math.inf else repr(float(value))}"'
    return f"<td{number}>{in_html(text)}</td>"


def _verdicts(comparison: "Comparison") -> list[str]:
    """A table of the verdicts, with their intervals as bars, and what there is no verdict on."""
    parts = []
    if rows := comparison.verdict_rows():
        verdicts = comparison.judged.verdicts
        widest = max(abs(end) for verdict in verdicts for end in (verdict.low, verdict.high)) or 1
        bars = [_interval(one.low, one.luck.value, one.high, widest, one.is_different) for one in verdicts]
        text = (
            "Each interval holds the true difference of mean test accuracies with a chance of 95 %: the luck of the "
            "test images and of the seeds is in it. p is corrected for the number of pairs (Holm)."
        )
        parts += [_with_bars(rows, bars, widest), f'<p class="note">{text}</p>']
        sentences = "".join(f"<li>{in_html(verdict.sentence())}</li>" for verdict in verdicts)
        parts.append(f"<details><summary>In words</summary><ul>{sentences}</ul></details>")
    missing = comparison.verdict_notes(most=0)[bool(rows) :]
    lines = "".join(f"<li>{in_html(line)}</li>" for line in missing)
    if len(missing) > MOST_LINES:
        parts.append(
            f"<details><summary>{len(missing)} configurations without a verdict</summary><ul>{lines}</ul></details>"
        )
    elif missing:
        parts.append(f"<ul>{lines}</ul>")
    return (
        ['<section id="verdicts" class="judged"><h2>Is it better, or is it luck?</h2>', *parts, "</section>"]
        if parts
        else []
    )


def _effects(comparison: "Comparison") -> list[str]:
    """What each setting changes, and what a search found of it: tables; empty if there is neither."""
    parts = []
    for title, rows in comparison.tables()[1:]:
        judged = rows == comparison.effect_rows()
        if judged:
            effects = comparison.effects
            widest = max(abs(end) for one in effects for end in (one.luck.low, one.luck.high)) or 1
            bars = [_interval(one.luck.low, one.luck.value, one.luck.high, widest, one.is_one) for one in effects]
        table = _with_bars(rows, bars, widest) if judged else html_table(rows[0], map(html_row, rows[1:]))
        parts.append(f'<section class="{"judged" if judged else "plain"}"><h2>{in_html(title)}</h2>{table}</section>')
    return parts


def _with_bars(rows: list[list[str]], bars: Iterable[str], widest: float) -> str:
    """A table whose last column are bars.

    Args:
        rows: the heading, then the others.
        bars: one for each row but the heading.
        widest: the share at the ends of the bars.
    """
    ends = f"{100 * widest:.1f}"
    cells = [
        f'{html_row(row).removesuffix("</tr>")}<td class="bar">{bar}</td></tr>'
        for row, bar in zip(rows[1:], bars, strict=True)
    ]
    return html_table([*rows[0], f"−{ends} … 0 … {ends} points"], cells)


def _interval(low: float, value: float, high: float, widest: float, is_sure: bool) -> str:
    """An interval of shares as a bar, with its middle as a point and a line at 0."""
    left, middle, right = (BAR / 2 * (1 + share / widest) for share in (low, value, high))
    return (
        f'<svg class="interval{" sure" if is_sure else ""}" width="{BAR}" height="16" aria-hidden="true">'
        f'<line class="zero" x1="{BAR / 2:.0f}" x2="{BAR / 2:.0f}" y1="0" y2="16"/>'
        f'<line class="span" x1="{left:.1f}" x2="{right:.1f}" y1="8" y2="8"/>'
        f'<circle cx="{middle:.1f}" cy="8" r="3.5"/></svg>'
    )


def _list(heading: str, runs: list[tuple[Path, str, str]]) -> list[str]:
    """Directories under a heading, each with what it is and more about it; empty if there are none."""
    if not runs:
        return []
    lines = (
        f"<li>{in_html(what)}: <code>{in_html(str(directory))}</code> {in_html(more)}</li>"
        for directory, what, more in runs
    )
    return [f"<section><h2>{heading}</h2><ul>", *lines, "</ul></section>"]


def _accuracy_by_class(configurations: list[Configuration]) -> str:
    """The share of each class's test images that each of the best configurations classified correctly."""
    by_names: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for number, configuration in enumerate(configurations[:MOST_DRAWN]):
        confusion, names = confusion_of(configuration)
        if names:
            shares = [counts[own] / max(1, sum(counts)) for own, counts in enumerate(confusion)]
            cells = "".join(f"<td>{share:.4f}</td>" for share in shares)
            heading = f'<th scope="row">{in_html(configuration.label)}</th>'
            by_names[tuple(names)].append(f'<tr data-configuration="{number}">{heading}{cells}</tr>')
    if not by_names:
        return ""
    tables = "".join(html_table(["configuration", *names], rows) for names, rows in by_names.items())
    all_of_them = len(configurations) <= MOST_DRAWN
    note = "" if all_of_them else f'<p class="note">Of the best {MOST_DRAWN} of {len(configurations)}.</p>'
    return f'<section id="classes"><h2>Test accuracy by class</h2>{tables}{note}</section>'


def _settings_that_differ(comparison: "Comparison") -> str:
    """A row for each setting, a column for each configuration; empty if the labels say all of it."""
    heading, *settings = comparison.settings_rows() or [[]]
    if not heading:
        return ""
    table = html_table(heading, map(html_row, settings))
    return f'<section><h2>Settings that differ</h2><div class="settings">{table}</div></section>'
