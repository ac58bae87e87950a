"""What one value of a layer sees: the rectangle in the image, and in every layer on the way to it."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import fx, nn

from cnn_experiments.errors import UserError
from cnn_experiments.inspection.graph import Addition, Concatenation, Graph, Value
from cnn_experiments.models.layers import (
    PartialConv2d,
    SamePadding,
    ScaledTanh,
    Subsampling,
)
from cnn_experiments.models.lenet5 import RadialBasisFunctions
from cnn_experiments.models.local_response_norm import LocalResponseNorm


class Rectangle(NamedTuple):
    """Pixels of a map: rows from `top` up to but without `bottom`, columns from `left` up to but without `right`."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left


@dataclass(frozen=True)
class Field:
    """What a value sees of one layer.

    Args:
        layer: the layer that is seen; ``input`` for the image.
        maps: numbers of the maps that are seen, or of the units.
        pixels: the smallest rectangle that holds all pixels seen in these maps; (0, 0, 1, 1) for units.
        unclipped: the rectangle as it would be if the layer went on beyond its edges, where its padding lies.
    """

    layer: str
    maps: tuple[int, ...]
    pixels: Rectangle
    unclipped: Rectangle

    @property
    def values(self) -> int:
        """How many values are seen: maps × height × width."""
        return len(self.maps) * self.pixels.height * self.pixels.width


@dataclass(frozen=True)
class Geometry:
    """How the fields of a layer's values lie in the image, each as rows and columns in pixels.

    Args:
        size: of a field, its padding included.
        stride: from the field of a value to that of its neighbour.
        offset: where the field of the first value begins; below 0 where it begins in the padding.
    """

    size: tuple[int, int]
    stride: tuple[int, int]
    offset: tuple[int, int]


class Span(NamedTuple):
    """Rows, or columns, that are seen.

    Args:
        start: the first.
        stop: that after the last.
        wanted_start: the first, if there were no edges.
        wanted_stop: that after the last, likewise.
    """

    start: int
    stop: int
    wanted_start: int
    wanted_stop: int

    @classmethod
    def whole(cls, size: int) -> "Span":
        """All of them."""
        return cls(0, size, 0, size)

    def window(self, kernel: int, stride: int, padding: int, dilation: int, size: int) -> "Span":
        """What windows at these places see of `size` rows or columns."""
        reach = dilation * (kernel - 1) + 1
        start, stop = self.start * stride - padding, (self.stop - 1) * stride - padding + reach
        if self.stop <= self.start:  # nothing sees nothing
            start = stop = 0
        return Span(
            min(max(start, 0), size),
            max(min(stop, size), 0),
            self.wanted_start * stride - padding,
            (self.wanted_stop - 1) * stride - padding + reach,
        )

    def union(self, other: "Span") -> "Span":
        """The smallest span that holds both."""
        if other.stop <= other.start or self.stop <= self.start:
            start, stop = max((self, other), key=lambda span: span.stop - span.start)[:2]
        else:
            start, stop = min(self.start, other.start), max(self.stop, other.stop)
        wanted = min(self.wanted_start, other.wanted_start), max(self.wanted_stop, other.wanted_stop)
        return Span(start, stop, *wanted)


Maps = NDArray[np.bool_]


class Seen(NamedTuple):
    """What is seen of an operation's output.

    Args:
        maps: of each map or unit, whether it is seen.
        rows: rows of these maps.
        columns: columns of these maps.
        moves: whether the neighbour of the value sees the neighbours of this; not so where all places are seen.
    """

    maps: Maps
    rows: Span
    columns: Span
    moves: bool = True

    def union(self, other: "Seen") -> "Seen":
        """What either sees."""
        return Seen(
            self.maps | other.maps,
            self.rows.union(other.rows),
            self.columns.union(other.columns),
            self.moves and other.moves,
        )


class ReceptiveFields:
    """The receptive fields of all values of a network. They depend on its shape alone, not on weights or images.

    Args:
        graph: the network as a graph.

    Raises:
        UserError: when asked for a field, if on the way to it lies something that is not known here.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._geometries: dict[str, Geometry | None] = {}

    def of(self, layer: str, row: int = 0, column: int = 0, map: int | None = None) -> dict[str, Field]:
        """What a value sees, in every layer on the way to it.

        Args:
            layer: name of its layer.
            row: its row in its map.
            column: its column.
            map: its map, or a unit; None for all maps at this place together. A map of a concatenation sees through its
                own branch alone.

        Returns:
            Fields by the names of the layers, from ``input`` to the layer itself. Where there are branches in between,
            a layer below them has what is seen through any of them.

        Raises:
            UserError: there is no such layer or value, or an operation on the way is not known.
        """
        self.graph.check(layer, (map or 0, row, column))
        node = self.graph.node(layer)
        fields = {}
        for name, seen in self._by_name(node, map, row, column).items():
            rows, columns = seen.rows, seen.columns
            fields[name] = Field(
                name,
                tuple(np.flatnonzero(seen.maps).tolist()),
                Rectangle(rows.start, columns.start, rows.stop, columns.stop),
                Rectangle(rows.wanted_start, columns.wanted_start, rows.wanted_stop, columns.wanted_stop),
            )
        return fields

    def taken(self, layer: str, value: Value) -> dict[str, Field]:
        """What a value takes directly: of the layers right below its own, and nothing further down.

        Args:
            layer: name of its layer.
            value: its map, row and column.

        Raises:
            UserError: as `of`.
        """
        map_, row, column = value
        fields = self.of(layer, row, column, map_)
        node = self.graph.node(layer)
        above: set[fx.Node] = {other for other in self.graph.before(node) if self.graph.is_inside(other, layer)} or {
            node
        }
        sources = {source for other in above for source in self.graph.sources(other)} - above
        names = {self.graph.name_of(source) for source in sources}
        return {name: field for name, field in fields.items() if name in names}

    def geometry(self, layer: str) -> Geometry | None:
        """Size, stride and offset of a layer's fields in the image; None where each value sees all places.

        Raises:
            UserError: there is no such layer, or an operation on the way is not known.
        """
        if layer not in self._geometries:
            self._geometries[layer] = self._measured(layer)
        return self._geometries[layer]

    def _measured(self, layer: str) -> Geometry | None:
        node = self.graph.node(layer)
        first, next_one = (self._from(node, None, place, place)[self.graph.input] for place in (0, 1))
        if not first.moves:
            return None
        spans = ((first.rows, next_one.rows), (first.columns, next_one.columns))
        return Geometry(
            pair(*(span.wanted_stop - span.wanted_start for span, _ in spans)),
            pair(*(after.wanted_start - span.wanted_start for span, after in spans)),
            pair(*(span.wanted_start for span, _ in spans)),
        )

    def _by_name(self, node: fx.Node, map_: int | None, row: int, column: int) -> dict[str, Seen]:
        seen = self._from(node, map_, row, column)
        nodes = {name: self.graph.node(name) for name in self.graph.names}
        return {name: seen[of_layer] for name, of_layer in nodes.items() if of_layer in seen}

    def _from(self, node: fx.Node, map_: int | None, row: int, column: int) -> dict[fx.Node, Seen]:
        maps = np.ones(self.graph.maps_shape(node)[0], bool)
        if map_ is not None:
            maps = np.arange(len(maps)) == map_
        found = {node: Seen(maps, Span(row, row + 1, row, row + 1), Span(column, column + 1, column, column + 1))}
        for later in self.graph.before(node):
            if later not in found or later is self.graph.input:
                continue
            for source, seen in self._of_sources(later, found[later]):
                found[source] = found[source].union(seen) if source in found else seen
        return found

    def _of_sources(self, node: fx.Node, seen: Seen) -> list[tuple[fx.Node, Seen]]:
        """What an operation sees of each of its sources, for what is seen of it; without those it sees nothing of."""
        sources = self.graph.sources(node)
        operation = self.graph.operation(node)
        if isinstance(operation, Concatenation):
            counts = [self.graph.maps_shape(source)[0] for source in sources]
            parts = np.split(seen.maps, np.cumsum(counts)[:-1])
            return [
                (source, seen._replace(maps=part)) for source, part in zip(sources, parts, strict=True) if part.any()
            ]
        if isinstance(operation, Addition):
            shape = self.graph.maps_shape(node)
            return [(source, broadcast(seen, self.graph.maps_shape(source), shape)) for source in sources]
        (source,) = sources
        taken, given = self.graph.maps_shape(source), self.graph.maps_shape(node)
        found = places_seen(operation, seen, taken, given)
        if found is None or (isinstance(operation, nn.Linear) and len(self.graph.shapes[source]) != 1):
            raise UserError(
                f"{self.graph.where(node)}: which places it sees is not known here. Layers before it can be asked for"
            )
        return [(source, found)]


Shape = tuple[int, int, int]

SAME_PLACE = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.Dropout,
    nn.Dropout2d,
    nn.ELU,
    nn.GELU,
    nn.Hardswish,
    nn.Hardtanh,  # ReLU6 is one
    nn.Identity,
    nn.LeakyReLU,
    nn.ReLU,
    nn.SELU,
    nn.SiLU,
    nn.Sigmoid,
    nn.Softplus,
    nn.Tanh,
    ScaledTanh,
)


def places_seen(operation: nn.Module, seen: Seen, taken: Shape, given: Shape) -> Seen | None:
    """What an operation sees of its source.

    Args:
        operation: a module with one source.
        seen: what is seen of its output.
        taken: maps, height and width of the source.
        given: those of its output.

    Returns:
        What is seen of the source; None for a module that is not known.
    """
    match operation:
        case nn.BatchNorm1d() | nn.BatchNorm2d() if not operation.track_running_stats:
            return None  # it would see the whole batch
        case nn.Linear() | RadialBasisFunctions():
            return Seen(np.ones(taken[0], bool), Span.whole(taken[1]), Span.whole(taken[2]), moves=False)
        case nn.Flatten():
            return of_units(seen, taken)
        case nn.AdaptiveAvgPool2d() | nn.AdaptiveMaxPool2d():
            return adaptive(seen, taken, given)
        case LocalResponseNorm() | nn.LocalResponseNorm() | nn.Softmax() | nn.LogSoftmax() | nn.Softmax2d():
            maps = neighbouring(operation, seen.maps)
            return None if maps is None else seen._replace(maps=maps)
        case SamePadding() | nn.ZeroPad2d() | nn.ConstantPad2d():
            return moved(operation, seen, taken)
        case _ if isinstance(operation, SAME_PLACE):
            return seen
    windows = windows_of(operation)
    if windows is None:
        return None
    rows, columns = (
        span.window(*window, size) for span, window, size in zip(seen[1:3], windows, taken[1:], strict=True)
    )
    return Seen(maps_seen(operation, seen.maps, taken[0]), rows, columns, seen.moves)


class Window(NamedTuple):
    """How windows move along rows, or columns, in pixels."""

    kernel: int
    stride: int
    padding: int
    dilation: int


def windows_of(operation: nn.Module) -> tuple[Window, Window] | None:
    """How a convolution or pool moves its windows along rows and along columns; None if it is another module."""
    if not isinstance(operation, (nn.Conv2d, PartialConv2d, Subsampling, nn.MaxPool2d, nn.AvgPool2d)):
        return None
    if getattr(operation, "padding_mode", "zeros") != "zeros":  # circular padding shows the other edge
        return None
    kernels, strides = pair_of(operation.kernel_size), pair_of(operation.stride)
    dilations = pair_of(getattr(operation, "dilation", 1))
    padding: Any = getattr(operation, "padding", 0)
    if padding == "valid":
        padding = 0
    if padding == "same":  # at stride 1; what is odd goes to the bottom and the right
        padding = pair(*(dilation * (kernel - 1) // 2 for dilation, kernel in zip(dilations, kernels, strict=True)))
    rows, columns = (Window(*along) for along in zip(kernels, strides, pair_of(padding), dilations, strict=True))
    return rows, columns


def maps_seen(operation: nn.Module, maps: Maps, number: int) -> Maps:
    """Which of `number` input maps are seen by output maps of a convolution or pool."""
    match operation:
        case PartialConv2d():
            seen = np.zeros(number, bool)
            seen[[source for output in np.flatnonzero(maps) for source in operation.table[output]]] = True
            return seen
        case nn.Conv2d():
            groups = maps.reshape(operation.groups, -1).any(1)
            return groups.repeat(number // operation.groups)
    return maps


def neighbouring(operation: nn.Module, maps: Maps) -> Maps | None:
    """Which maps a map sees at its own place: neighbours of LRN, all of softmax; None for a softmax along rows."""
    match operation:
        case LocalResponseNorm():
            before = after = operation.constants.radius
        case nn.LocalResponseNorm():
            before, after = operation.size // 2, (operation.size - 1) // 2
        case nn.Softmax2d():
            before = after = len(maps)
        case _:
            if operation.dim != 1:
                return None
            before = after = len(maps)
    seen = np.zeros_like(maps)
    for place in np.flatnonzero(maps):
        seen[max(0, place - before) : place + after + 1] = True
    return seen


def of_units(seen: Seen, taken: Shape) -> Seen:
    """Which maps, rows and columns flattened units come from."""
    units = seen.maps.reshape(taken)
    spans = []
    for axes in ((0, 2), (0, 1)):
        places = np.flatnonzero(units.any(axes))
        spans.append(Span(*2 * (int(places[0]), int(places[-1]) + 1)))
    return Seen(np.atleast_1d(units.any((1, 2))), spans[0], spans[1], moves=False)


def adaptive(seen: Seen, taken: Shape, given: Shape) -> Seen:
    """What an adaptive pool sees."""
    spans = []
    for span, size, outputs in zip(seen[1:3], taken[1:], given[1:], strict=True):
        spans.append(Span(*2 * adaptive_span(span.start, span.stop, size, outputs)))
    return Seen(seen.maps, spans[0], spans[1], moves=False)


def adaptive_span(start: int, stop: int, size: int, outputs: int) -> tuple[int, int]:
    """Which of `size` rows or columns an adaptive pool averages for its outputs `start` to `stop`, of so many.

    It divides its input into as many parts as it has outputs, which share a row where that does not come out even.
    """
    return start * size // outputs, -(-stop * size // outputs)


def moved(operation: nn.Module, seen: Seen, taken: Shape) -> Seen:
    """What is seen of maps through the padding around them."""
    top, left = padding_before(operation, taken)
    rows, columns = (
        span.window(1, 1, before, 1, size) for span, before, size in zip(seen[1:3], (top, left), taken[1:], strict=True)
    )
    return seen._replace(rows=rows, columns=columns)


def padding_before(operation: nn.Module, taken: Shape) -> tuple[int, int]:
    """How many rows a padding module adds above maps of a shape, and how many columns on their left."""
    if isinstance(operation, SamePadding):
        return operation.padding(taken[1])[0], operation.padding(taken[2])[0]
    assert isinstance(operation, (nn.ZeroPad2d, nn.ConstantPad2d))
    left, _, top, _ = operation.padding
    return top, left


def broadcast(seen: Seen, taken: Shape, given: Shape) -> Seen:
    """What a sum sees of a source, which may be smaller and then counts at all places."""
    maps = seen.maps if taken[0] == given[0] else np.ones(1, bool)
    rows, columns = (
        span if size == full else Span.whole(1)
        for span, size, full in zip(seen[1:3], taken[1:], given[1:], strict=True)
    )
    return Seen(maps, rows, columns, seen.moves and taken == given)


def pair(rows: int, columns: int) -> tuple[int, int]:
    """Rows and columns."""
    return rows, columns


def pair_of(value: Any) -> tuple[int, int]:
    """Height and width from ``5`` or ``(5, 5)``."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])
