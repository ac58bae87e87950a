"""Charts of a comparison as SVG. Imports matplotlib: import this file only where charts are drawn."""

import io
import math
from typing import Any

from matplotlib import colormaps, rc_context
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from cnn_experiments.runs.configuration import Configuration

MOST_POINTS = 100_000  # of a chart; of more, each second, third … is drawn
LARGEST = 1e38  # no loss in single precision is larger, and matplotlib can compute with it


def colours_for(number: int) -> list[str]:
    """Distinguishable colours, up to 20."""
    colours = colormaps["tab20" if number > 10 else "tab10"]
    return [to_hex(colours(index)) for index in range(number)]


def curves(configurations: list[Configuration], colours: list[str], figure: str, over: str) -> str:
    """A line for each run, in the colour of its configuration.

    Args:
        configurations: the best first; it is drawn last.
        colours: colours of the configurations.
        figure: a column of history.csv.
        over: ``epoch`` or ``seconds``.
    """
    chart, axes = _new_chart(f"{figure} over {over}" + (" of training" if over == "seconds" else "s"))
    step = 1 + sum(len(run.history) for one in configurations for run in one.runs) // MOST_POINTS
    for configuration, colour in reversed(list(zip(configurations, colours, strict=True))):
        for run in configuration.runs:
            rows = [row for row in run.history if abs(row.get(figure, math.nan)) < LARGEST]
            points = [(row[over], row[figure]) for row in rows[::step]]
            if points:
                marker = "o" if len(points) == 1 else None
                axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.2, alpha=0.8, marker=marker)
    axes.set(xlabel=over, ylabel=figure)
    if over == "epoch":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if figure.endswith("loss") and _spread([float(value) for line in axes.lines for value in line.get_ydata()]):
        axes.set_yscale("log")
        _number_powers(axes.yaxis)
    return _as_svg(chart)


def against(configurations: list[Configuration], colours: list[str], cost: str, name: str) -> str:
    """Test accuracy of each run against a cost.

    Args:
        configurations: the configurations to draw.
        colours: colours of the configurations.
        cost: a figure in metrics.json.
        name: the name of the cost on the chart.
    """
    chart, axes = _new_chart(f"test accuracy against {name}")
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
    if _spread(costs):
        axes.set_xscale("log")
        _number_powers(axes.xaxis)
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    return _as_svg(chart)


def _new_chart(title: str) -> tuple[Figure, Any]:
    """An empty chart. Its margins are fixed, since fitting them to the text would take drawing it twice."""
    chart = Figure(figsize=(5.2, 3.6))
    axes = chart.add_axes((0.14, 0.14, 0.83, 0.77))
    axes.set_title(title, fontsize=11)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return chart, axes


def _spread(values: list[float]) -> bool:
    """Whether values are positive and so far apart that a logarithmic scale suits them better."""
    return bool(values) and min(values) > 0 and max(values) > 10 * min(values)


def _number_powers(axis: Any) -> None:
    """Number the powers of ten on a logarithmic axis; on a short one, also 2 and 5 times these."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def _as_svg(chart: Figure) -> str:
    """A chart as an element of a page: text stays text, and nothing is loaded from elsewhere."""
    target = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "cnn_experiments"}):
        chart.savefig(target, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = target.getvalue()
    return text[text.index("<svg") :]
