"""Charts of a comparison as SVG. Imports matplotlib: import this file only where charts are drawn."""

import io
import math
from typing import Any

from matplotlib import colormaps, rc_context
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from cnn_experiments.runs.configuration import Configuration
from cnn_experiments.runs.effects import Effect
from cnn_experiments.runs.formats import as_typed, in_picture
from cnn_experiments.runs.search import is_number

MOST_NAMES = 20  # beside each other below a chart
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


def effects(found: list[Effect]) -> str:
    """A line for each effect, as long as its 95 % interval; those that can be luck are grey."""
    chart, axes = _new_chart("change of test accuracy, in points", height=1.2 + 0.28 * len(found), left=0.5)
    for place, effect in enumerate(reversed(found)):
        colour = "tab:blue" if effect.is_one else "grey"
        ends = [100 * effect.luck.low, 100 * effect.luck.high]
        axes.plot(ends, [place, place], color=colour, linewidth=2)
        axes.plot([100 * effect.luck.value], [place], color=colour, marker="o", markersize=5)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(found)), [in_picture(effect.name, 60) for effect in reversed(found)], fontsize=7)
    axes.set_ylim(-0.7, len(found) - 0.3)
    return _as_svg(chart)


def scatter(key: str, values: list[Any], accuracies: list[float]) -> str:
    """Validation accuracy of each run against its value of a setting; values that are no numbers stand side by side."""
    chart, axes = _new_chart(f"val/accuracy against {in_picture(key)}")
    if all(map(is_number, values)):
        axes.scatter(values, accuracies, s=20, alpha=0.8)
        if _spread([float(value) for value in values]):
            axes.set_xscale("log")
            _number_powers(axes.xaxis)
    else:
        names = [as_typed(key, value) for value in values]
        places = list(dict.fromkeys(names))
        axes.scatter([places.index(name) for name in names], accuracies, s=20, alpha=0.8)
        if len(places) <= MOST_NAMES:
            axes.set_xticks(range(len(places)), [in_picture(name, 12) for name in places], fontsize=7)
    axes.set(xlabel=in_picture(key), ylabel="val/accuracy")
    return _as_svg(chart)


def _new_chart(title: str, height: float = 3.6, left: float = 0.14) -> tuple[Figure, Any]:
    """An empty chart. Its margins are fixed, since fitting them to the text would take drawing it twice.

    Args:
        title: its title.
        height: in inches; the width is 5.2.
        left: share of the width that the names on the left have.
    """
    chart = Figure(figsize=(5.2, height))
    axes = chart.add_axes((left, 0.5 / height, 0.97 - left, 1 - 0.83 / height))
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
