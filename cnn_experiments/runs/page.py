"""A comparison as one page that works offline: table, curves, accuracy against cost, confusion, accuracy by class."""

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from cnn_experiments.runs.configuration import Configuration
from cnn_experiments.runs.formats import html_row, html_table, in_html

if TYPE_CHECKING:
    from cnn_experiments.runs.comparison import Comparison

MOST_CURVES = 20  # more colours than this nobody can tell apart; the best configurations are drawn
MOST_EFFECTS = 40  # that are drawn
MOST_CLASSES = 100  # a larger confusion matrix nobody can read
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1200px; padding: 1rem; color: #222; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid #ddd; text-align: right; vertical-align: top; }
td { white-space: nowrap; }
th:first-child, td:first-child { text-align: left; min-width: 12rem; white-space: normal; }
thead th { border-bottom: 2px solid #888; }
.swatch { display: inline-block; width: .8em; height: .8em; border-radius: 50%; margin-right: .4em; }
.warning { background: #fff4d6; border-left: 4px solid #e0a800; padding: .4rem .8rem; margin: .4rem 0; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 430px), 1fr)); gap: 1rem; }
.charts svg { width: 100%; max-width: 44rem; height: auto; }
.matrices { display: flex; flex-wrap: wrap; gap: 1.5rem; }
.matrices td, .matrices th { padding: .25rem .45rem; border: 1px solid #eee; min-width: 0; text-align: center; }
figure { margin: 0; min-width: 0; max-width: 100%; } figcaption { max-width: 28rem; margin-bottom: .4rem; }
.interval { position: relative; width: 12rem; height: .8em; background: #f3f3f3; }
.interval i { position: absolute; top: .2em; height: .4em; min-width: 2px; background: #1f77b4; }
.interval b { position: absolute; top: -.2em; height: 1.2em; left: 50%; border-left: 1px solid #222; }
code { background: #f3f3f3; padding: .1em .3em; overflow-wrap: anywhere; }
"""


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
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Comparison of runs</title>'
        f"<style>{STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


def _of_completed_runs(comparison: "Comparison") -> list[str]:
    """Table, charts and matrices; empty if no run completed."""
    drawn = comparison.configurations[:MOST_CURVES]
    if not drawn:
        return []
    from cnn_experiments.runs.charts import against, colours_for, curves

    colours = colours_for(len(drawn))
    parts = [_main_table(comparison, colours), *_verdicts(comparison), *_effects(comparison)]
    if len(comparison.configurations) > len(drawn):
        parts += [f"<p>Everything below is about the best {len(drawn)} of {len(comparison.configurations)}.</p>"]
    return [
        *parts,
        '<h2>Curves</h2><div class="charts">',
        curves(drawn, colours, "val/accuracy", "epoch"),
        curves(drawn, colours, "val/accuracy", "seconds"),
        curves(drawn, colours, "train/loss", "epoch"),
        curves(drawn, colours, "val/loss", "epoch"),
        '</div><h2>Accuracy and what it costs</h2><div class="charts">',
        against(drawn, colours, "parameters", "parameters"),
        against(drawn, colours, "multiply_adds", "multiply-adds per image"),
        against(drawn, colours, "train_seconds", "seconds of training"),
        "</div>",
        _matrices(drawn),
        _accuracy_by_class(drawn),
        _settings_that_differ(comparison),
    ]


def _main_table(comparison: "Comparison", colours: list[str]) -> str:
    """The table of all configurations, with the colours of those in the charts."""
    rows = []
    for number, (name, *figures) in enumerate(comparison.rows()):
        swatch = f'<span class="swatch" style="background:{colours[number]}"></span>' if number < len(colours) else ""
        cells = "".join(f"<td>{in_html(figure)}</td>" for figure in figures)
        rows.append(f"<tr><td>{swatch}{in_html(name)}</td>{cells}</tr>")
    text = "Mean ± standard deviation over seeds, the best first. Times are of training, without validation."
    return f"{html_table(comparison.headings(), rows)}<p>{text}</p>"


def _verdicts(comparison: "Comparison") -> list[str]:
    """A table of the verdicts, with their intervals as bars, and what there is no verdict on."""
    parts = ["<h2>Is it better, or is it luck?</h2>"]
    if rows := comparison.verdict_rows():
        verdicts = comparison.judged.verdicts
        widest = max(abs(end) for verdict in verdicts for end in (verdict.low, verdict.high)) or 1
        bars = [_interval(verdict.low / widest, verdict.high / widest) for verdict in verdicts]
        cells = [f"{html_row(row)[:-5]}<td>{bar}</td></tr>" for row, bar in zip(rows[1:], bars, strict=True)]
        text = (
            "Each interval holds the true difference of mean test accuracies with a chance of 95 %: the luck of the "
            "test images and of the seeds is in it. p is corrected for the number of pairs (Holm). The line is at 0."
        )
        parts += [html_table([*rows[0], ""], cells), f"<p>{text}</p>"]
        sentences = "".join(f"<li>{in_html(verdict.sentence())}</li>" for verdict in verdicts)
        parts.append(f"<details><summary>In words</summary><ul>{sentences}</ul></details>")
    missing = comparison.verdict_notes(most=0)[bool(rows) :]
    parts += [f"<p>{in_html(line)}</p>" for line in missing]
    return parts if len(parts) > 1 else []


def _effects(comparison: "Comparison") -> list[str]:
    """What each setting changes, and what a search found of it: tables and charts; empty if there is neither."""
    from cnn_experiments.runs.charts import effects, scatter

    parts = []
    for title, (heading, *rows) in comparison.tables()[1:]:
        parts += [f"<h2>{in_html(title)}</h2>", html_table(heading, map(html_row, rows))]
    drawn = [effects(comparison.effects[:MOST_EFFECTS])] if comparison.effects else []
    if comparison.search is not None:
        drawn += [scatter(key, own, comparison.search.accuracies) for key, own in comparison.search.values.items()]
    return [*parts, '<div class="charts">', *drawn, "</div>"] if drawn else parts


def _interval(low: float, high: float) -> str:
    """An interval within -1 to 1 as a bar."""
    left, width = 50 * (1 + low), 50 * (high - low)
    return f'<div class="interval"><b></b><i style="left:{left:.1f}%;width:{width:.1f}%"></i></div>'


def _list(heading: str, runs: list[tuple[Path, str, str]]) -> list[str]:
    """Directories under a heading, each with what it is and more about it; empty if there are none."""
    if not runs:
        return []
    lines = (
        f"<li>{in_html(what)}: <code>{in_html(str(directory))}</code> {in_html(more)}</li>"
        for directory, what, more in runs
    )
    return [f"<h2>{heading}</h2><ul>", *lines, "</ul>"]


def _matrices(configurations: list[Configuration]) -> str:
    """The confusion matrix of each configuration, over all its seeds; none of very many classes."""
    tables = []
    for configuration in configurations:
        confusion, names = _confusion_of(configuration)
        if not 0 < len(names) <= MOST_CLASSES:
            continue
        rows = [_matrix_row(name, counts) for name, counts in zip(names, confusion, strict=True)]
        heading = "".join(f"<th>{in_html(name)}</th>" for name in names)
        tables.append(
            f"<figure><figcaption>{in_html(configuration.label)}</figcaption><div class='wide'><table>"
            f"<tr><th></th>{heading}</tr>{''.join(rows)}</table></div></figure>"
        )
    if not tables:
        return ""
    text = "Test images of all seeds: a row for the true class, a column for the predicted one."
    return f'<h2>Confusion</h2><p>{text}</p><div class="matrices">{"".join(tables)}</div>'


def _matrix_row(name: str, counts: list[int]) -> str:
    """Counts on a background that is darker the larger their share of the row."""
    total = max(1, sum(counts))
    cells = "".join(
        f'<td style="background:rgba(31,119,180,{count / total:.3f});'
        f'color:{"white" if count / total > 0.5 else "#222"}">{count:,}</td>'
        for count in counts
    )
    return f"<tr><th>{in_html(name)}</th>{cells}</tr>"


def _accuracy_by_class(configurations: list[Configuration]) -> str:
    """The share of each class's test images that each configuration classified correctly."""
    by_names: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for configuration in configurations:
        confusion, names = _confusion_of(configuration)
        if names:
            shares = [counts[number] / max(1, sum(counts)) for number, counts in enumerate(confusion)]
            by_names[tuple(names)].append(html_row([configuration.label, *(f"{share:.4f}" for share in shares)]))
    tables = [html_table(["configuration", *names], rows) for names, rows in by_names.items()]
    return f"<h2>Test accuracy by class</h2>{'<br>'.join(tables)}" if tables else ""


def _settings_that_differ(comparison: "Comparison") -> str:
    """A row for each setting, a column for each configuration; empty if the labels say all of it."""
    heading, *settings = comparison.settings_rows() or [[]]
    return f"<h2>Settings that differ</h2>{html_table(heading, map(html_row, settings))}" if heading else ""


def _confusion_of(configuration: Configuration) -> tuple[list[list[int]], list[str]]:
    """Counts over all seeds, and the names of the classes; both empty if a run has none."""
    found = [run.metrics["confusion"] for run in configuration.runs if run.metrics.get("confusion")]
    if len(found) < len(configuration.runs) or any(one["classes"] != found[0]["classes"] for one in found):
        return [], []
    matrices = [confusion["test"] for confusion in found]
    counts = [[sum(column) for column in zip(*rows, strict=True)] for rows in zip(*matrices, strict=True)]
    return counts, [str(name) for name in found[0]["classes"]]
