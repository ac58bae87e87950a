"""A comparison as one page that needs no network: table, curves, accuracy against cost, confusion, by class."""

import io
from collections import defaultdict
from html import escape
from typing import Any

from matplotlib import colormaps, rc_context
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from cnn_experiments.comparison import Comparison, Configuration

MOST_CURVES = 20  # more colours than this nobody can tell apart; the best configurations are drawn
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
.charts svg { width: 100%; height: auto; }
.matrices { display: flex; flex-wrap: wrap; gap: 1.5rem; }
.matrices td, .matrices th { padding: .25rem .45rem; border: 1px solid #eee; min-width: 0; text-align: center; }
figure { margin: 0; min-width: 0; max-width: 100%; } figcaption { max-width: 28rem; margin-bottom: .4rem; }
code { background: #f3f3f3; padding: .1em .3em; overflow-wrap: anywhere; }
"""


def as_html(comparison: Comparison) -> str:
    """The page."""
    drawn = comparison.configurations[:MOST_CURVES]
    colours = [to_hex(colormaps["tab20" if len(drawn) > 10 else "tab10"](number)) for number in range(len(drawn))]
    parts = [f"<h1>Runs in {escape(str(comparison.folder))}</h1>"]
    parts += [f'<p class="warning">Careful, {escape(warning)}</p>' for warning in comparison.warnings]
    if drawn:
        parts += [table_of(comparison, colours)]
        if len(comparison.configurations) > len(drawn):
            parts += [f"<p>All that follows is of the best {len(drawn)} of {len(comparison.configurations)}.</p>"]
        parts += ['<h2>Curves</h2><div class="charts">']
        parts += [
            curves(drawn, colours, "val/accuracy", "epoch"),
            curves(drawn, colours, "val/accuracy", "seconds"),
            curves(drawn, colours, "train/loss", "epoch"),
            curves(drawn, colours, "val/loss", "epoch"),
        ]
        parts += ['</div><h2>Accuracy and what it costs</h2><div class="charts">']
        parts += [
            against(drawn, colours, "parameters", "parameters"),
            against(drawn, colours, "multiply_adds", "multiply-adds an image"),
            against(drawn, colours, "train_seconds", "seconds of training"),
        ]
        parts += ["</div>", matrices(drawn), accuracy_by_class(drawn), settings_that_differ(comparison)]
    if comparison.others:
        parts += ["<h2>Not completed</h2><ul>"]
        parts += [
            f"<li>{escape(status)}: <code>{escape(str(directory))}</code> {escape(reason)}</li>"
            for directory, status, reason in comparison.others
        ]
        parts += ["</ul>"]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Comparison of runs</title>'
        f"<style>{STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


def table_of(comparison: Comparison, colours: list[str]) -> str:
    """The table, with the colour of each configuration's curves."""
    rows = []
    for number, (name, *figures) in enumerate(comparison.rows()):
        swatch = f'<span class="swatch" style="background:{colours[number]}"></span>' if number < len(colours) else ""
        cells = "".join(f"<td>{escape(figure)}</td>" for figure in figures)
        rows.append(f"<tr><td>{swatch}{escape(name)}</td>{cells}</tr>")
    text = "Mean ± standard deviation over seeds, the best first. Times are of training, validation apart."
    return f"{table(comparison.headings(), rows)}<p>{text}</p>"


def curves(configurations: list[Configuration], colours: list[str], figure: str, over: str) -> str:
    """A line for each run, in the colour of its configuration."""
    chart, axes = new_chart(f"{figure} over {over}" + (" of training" if over == "seconds" else "s"))
    for configuration, colour in reversed(list(zip(configurations, colours, strict=True))):
        for run in configuration.runs:
            points = [(row[over], row[figure]) for row in run.history if figure in row]
            if points:
                marker = "o" if len(points) == 1 else None
                axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.2, alpha=0.8, marker=marker)
    axes.set(xlabel=over, ylabel=figure)
    if over == "epoch":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if figure.endswith("loss") and spread([float(value) for line in axes.lines for value in line.get_ydata()]):
        axes.set_yscale("log")
        number_powers(axes.yaxis)
    return as_svg(chart)


def spread(values: list[float]) -> bool:
    """Whether values are positive and so far apart that a logarithmic scale serves them better."""
    return bool(values) and min(values) > 0 and max(values) > 10 * min(values)


def number_powers(axis: Any) -> None:
    """Put numbers at the powers of ten of a logarithmic axis; of a short one, at 2 and 5 times these too."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def against(configurations: list[Configuration], colours: list[str], cost: str, name: str) -> str:
    """Test accuracy of each run against what it costs."""
    chart, axes = new_chart(f"test accuracy against {name}")
    costs: list[float] = []
    for configuration, colour in zip(configurations, colours, strict=True):
        points = [
            (run.metrics[cost], run.metrics["test/accuracy"])
            for run in configuration.runs
            if run.metrics.get(cost) and run.metrics.get("test/accuracy") is not None
        ]
        if points:
            axes.scatter(*zip(*points, strict=True), color=colour, s=36, alpha=0.8)
            costs += [point[0] for point in points]
    axes.set(xlabel=name, ylabel="test accuracy")
    if spread(costs):
        axes.set_xscale("log")
        number_powers(axes.xaxis)
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    return as_svg(chart)


def matrices(configurations: list[Configuration]) -> str:
    """Of each configuration, how often each class was taken for each, over all its seeds."""
    tables = []
    for configuration in configurations:
        confusion, names = confusion_of(configuration)
        if not names:
            continue
        rows = []
        for name, counts in zip(names, confusion, strict=True):
            total = max(1, sum(counts))
            cells = "".join(
                f'<td style="background:rgba(31,119,180,{count / total:.3f});'
                f'color:{"white" if count / total > 0.5 else "#222"}">{count:,}</td>'
                for count in counts
            )
            rows.append(f"<tr><th>{escape(name)}</th>{cells}</tr>")
        heading = "".join(f"<th>{escape(name)}</th>" for name in names)
        tables.append(
            f"<figure><figcaption>{escape(configuration.label)}</figcaption><div class='wide'><table>"
            f"<tr><th></th>{heading}</tr>{''.join(rows)}</table></div></figure>"
        )
    if not tables:
        return ""
    text = "Test images: a row is what they are, a column what they were taken for; all seeds together."
    return f'<h2>Confusion</h2><p>{text}</p><div class="matrices">{"".join(tables)}</div>'


def accuracy_by_class(configurations: list[Configuration]) -> str:
    """Of each configuration, the share of each class's test images that were told right."""
    by_names: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for configuration in configurations:
        confusion, names = confusion_of(configuration)
        if names:
            shares = [counts[number] / max(1, sum(counts)) for number, counts in enumerate(confusion)]
            cells = "".join(f"<td>{share:.4f}</td>" for share in shares)
            by_names[tuple(names)].append(f"<tr><td>{escape(configuration.label)}</td>{cells}</tr>")
    tables = [table(["configuration", *names], rows) for names, rows in by_names.items()]
    return f"<h2>Test accuracy by class</h2>{'<br>'.join(tables)}" if tables else ""


def settings_that_differ(comparison: Comparison) -> str:
    """A row for each setting, a column for each configuration; nothing where the labels tell all of it."""
    heading, *settings = comparison.settings_rows(MOST_CURVES) or [[]]
    if not heading:
        return ""
    rows = [f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in settings]
    return f"<h2>Settings that differ</h2>{table(heading, rows)}"


def table(headings: list[str], rows: list[str]) -> str:
    """A table that can be moved sideways where it is wider than the page."""
    heading = "".join(f"<th>{escape(name)}</th>" for name in headings)
    return f'<div class="wide"><table><thead><tr>{heading}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def confusion_of(configuration: Configuration) -> tuple[list[list[int]], list[str]]:
    """Counts over all seeds, and the names of the classes; empty where a run has none."""
    found = [run.metrics["confusion"] for run in configuration.runs if run.metrics.get("confusion")]
    if len(found) < len(configuration.runs):
        return [], []
    matrices = [confusion["test"] for confusion in found]
    counts = [[sum(column) for column in zip(*rows, strict=True)] for rows in zip(*matrices, strict=True)]
    return counts, [str(name) for name in found[0]["classes"]]


def new_chart(title: str) -> tuple[Figure, Any]:
    """An empty chart. Its margins are fixed: fitting them to the text would mean to draw it twice."""
    chart = Figure(figsize=(5.2, 3.6))
    axes = chart.add_axes((0.14, 0.14, 0.83, 0.77))
    axes.set_title(title, fontsize=11)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return chart, axes


def as_svg(chart: Figure) -> str:
    """A chart as an element of a page: text stays text, and nothing refers to a place outside."""
    target = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "cnn_experiments"}):
        chart.savefig(target, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = target.getvalue()
    return text[text.index("<svg") :]
