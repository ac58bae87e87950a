"""The arithmetic behind one value of a layer, with the real numbers.

Every number is one that the network computed with, in single precision usually. What is added up in another order, or
in double precision, differs from the network's result by at most about 1e-6 of the sum of the terms' sizes.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn

from cnn_experiments.errors import UserError
from cnn_experiments.inspection.graph import PASSED_ON, Addition, Changes, Concatenation, Graph, Value
from cnn_experiments.inspection.receptive_fields import (
    SAME_PLACE,
    Rectangle,
    Window,
    adaptive_span,
    maps_seen,
    neighbouring,
    padding_before,
    windows_of,
)
from cnn_experiments.models.layers import (
    PartialConv2d,
    SamePadding,
    ScaledTanh,
    Subsampling,
)
from cnn_experiments.models.lenet5 import RadialBasisFunctions
from cnn_experiments.models.local_response_norm import LocalResponseNorm

Grid = list[list[float]]
GridWithPadding = list[list[float | None]]
"""Rows of values; None where the window lies in the padding around the map."""

BITMAP_ROWS, BITMAP_COLUMNS = 12, 7


@dataclass(frozen=True)
class Convolution:
    """Each input map's patch times its kernel, added up, plus the bias. Padding counts as 0.

    Args:
        source: the layer that the patches are from.
        place: rows and columns of the patches; they reach beyond the map where there is padding.
        maps: numbers of the input maps that are connected.
        missing: numbers of those that are not: table I of LeNet-5, or another group of AlexNet.
        patches: of each connected map, (rows, columns).
        kernels: likewise.
        sums: of each connected map, the sum of the products.
        bias: what is added; 0 where there is none.
        result: the sum of all.
        dilation: rows and columns from one value of a patch to the next; 1 usually.
    """

    source: str
    place: Rectangle
    maps: list[int]
    missing: list[int]
    patches: list[GridWithPadding]
    kernels: list[Grid]
    sums: list[float]
    bias: float
    result: float
    dilation: tuple[int, int] = (1, 1)
    kind: Literal["convolution"] = "convolution"


@dataclass(frozen=True)
class TrainedSubsampling:
    """The mean of four values, times the map's coefficient, plus its bias.

    Args:
        source: the layer that the values are from.
        place: their rows and columns.
        map: number of their map.
        values: the four.
        mean: of the four.
        coefficient: what the mean is multiplied by.
        bias: what is added.
        result: coefficient × mean + bias.
    """

    source: str
    place: Rectangle
    map: int
    values: Grid
    mean: float
    coefficient: float
    bias: float
    result: float
    kind: Literal["sub-sampling"] = "sub-sampling"


@dataclass(frozen=True)
class MaxPooling:
    """The largest value of a window. A pool's own padding is never the largest; zeros of a layer below may be.

    Args:
        source: the layer that the values are from.
        place: their rows and columns.
        map: number of their map.
        values: of the window.
        winner: row and column, in the source's map, of the largest; of several, the first.
        result: the largest.
        dilation: rows and columns from one value of the window to the next; 1 usually.
    """

    source: str
    place: Rectangle
    map: int
    values: GridWithPadding
    winner: tuple[int, int]
    result: float
    dilation: tuple[int, int] = (1, 1)
    kind: Literal["max pooling"] = "max pooling"


@dataclass(frozen=True)
class AveragePooling:
    """The sum of a window, divided by the number of its values; global average pooling takes the whole map.

    Args:
        source: the layer that the values are from.
        place: their rows and columns.
        map: number of their map.
        values: of the window.
        sum: of the values.
        divisor: how many values there are; some pools count padding as values of 0.
        result: sum / divisor.
    """

    source: str
    place: Rectangle
    map: int
    values: GridWithPadding
    sum: float
    divisor: int
    result: float
    kind: Literal["average pooling"] = "average pooling"


@dataclass(frozen=True)
class LocalNormalisation:
    """A value divided by (k + α Σ of the squares of its neighbours in other maps)^β.

    Args:
        source: the layer that the values are from.
        maps: numbers of the neighbouring maps, its own among them.
        values: of these maps, at the same place.
        squares: of these.
        sum_of_squares: their sum.
        k: constant.
        alpha: α; PyTorch's own layer divides it by the number of neighbours, which is done here already.
        beta: β.
        base: k + α × sum_of_squares.
        power: base^β.
        value: the value itself.
        result: value / power.
    """

    source: str
    maps: list[int]
    values: list[float]
    squares: list[float]
    sum_of_squares: float
    k: float
    alpha: float
    beta: float
    base: float
    power: float
    value: float
    result: float
    kind: Literal["LRN"] = "LRN"


@dataclass(frozen=True)
class BatchNormalisation:
    """(value - mean) / √(variance + ε) × weight + bias, with the mean and variance of the training images.

    Args:
        value: what comes in.
        mean: of the map, from training.
        variance: likewise.
        epsilon: ε.
        weight: of the map.
        bias: likewise.
        result: what comes out.
    """

    value: float
    mean: float
    variance: float
    epsilon: float
    weight: float
    bias: float
    result: float
    kind: Literal["batch normalisation"] = "batch normalisation"


@dataclass(frozen=True)
class Activation:
    """A function of one value.

    Args:
        function: ``scaled tanh``, 1.7159 tanh(2/3 a); ``tanh``; ``ReLU``, max(0, a); or the name of another class.
        value: what comes in.
        result: what comes out.
    """

    function: str
    value: float
    result: float
    kind: Literal["activation"] = "activation"


@dataclass(frozen=True)
class Dense:
    """Each input times its weight, added up, plus the bias.

    Args:
        source: the layer that the inputs are from.
        shape: maps, height and width of that layer, which are flattened map by map and row by row; (units, 1, 1).
        inputs: of all units of the source.
        weights: likewise.
        products: likewise.
        largest: the numbers of all inputs, that with the largest product (or smallest, below 0) first.
        bias: what is added; 0 where there is none.
        result: the sum of all.
    """

    source: str
    shape: tuple[int, int, int]
    inputs: list[float]
    weights: list[float]
    products: list[float]
    largest: list[int]
    bias: float
    result: float
    kind: Literal["dense"] = "dense"


@dataclass(frozen=True)
class Distance:
    """Minus the sum of the squared differences between F6's units and a digit's bitmap (LeNet-5's RBF).

    Args:
        source: the layer that the units are from.
        units: as a picture of 12 rows and 7 columns.
        bitmap: +1 for a black cell and -1 for a white one, likewise.
        differences: units - bitmap.
        distance: the sum of their squares.
        result: -distance, the score.
    """

    source: str
    units: Grid
    bitmap: Grid
    differences: Grid
    distance: float
    result: float
    kind: Literal["RBF"] = "RBF"


@dataclass(frozen=True)
class Unchanged:
    """The value is passed on as it is: dropout and placeholders do nothing once a network is trained, flattening only
    renames, and a concatenation puts maps of branches one after another.

    Args:
        function: ``dropout``, ``identity``, ``flatten`` or ``concatenation``.
        source: the layer or branch that it is from.
        place: its map, row and column there.
        result: the value.
    """

    function: str
    source: str
    place: Value
    result: float
    kind: Literal["unchanged"] = "unchanged"


@dataclass(frozen=True)
class Softmax:
    """The probability of a class: e^score divided by the sum over all classes.

    Args:
        scores: of all classes.
        highest: the highest of them, which is subtracted from all first: the result is the same, and no number is too
            large.
        exponentials: e^(score - highest).
        sum: of the exponentials.
        class_index: the class.
        result: its exponential / sum.
    """

    scores: list[float]
    highest: float
    exponentials: list[float]
    sum: float
    class_index: int
    result: float
    kind: Literal["softmax"] = "softmax"


Step = (
    Convolution
    | TrainedSubsampling
    | MaxPooling
    | AveragePooling
    | LocalNormalisation
    | BatchNormalisation
    | Activation
    | Dense
    | Distance
    | Unchanged
)


@dataclass(frozen=True)
class Explanation:
    """How a layer comes to one value. ``dataclasses.asdict`` makes plain numbers, lists and dictionaries of it.

    Args:
        layer: the layer.
        map: number of the map, or of the unit.
        row: its row in the map.
        column: its column.
        result: the value.
        steps: in the order of computing; the result of each is the value of the next.
    """

    layer: str
    map: int
    row: int
    column: int
    result: float
    steps: list[Step] = field(default_factory=list)


class Arithmetic:
    """The arithmetic of a network for one image. The network is run once, and is not changed.

    Args:
        graph: the network as a graph.
        image: network input (1, C, H, W), on the network's device.
        changes: what becomes of the outputs of some operations, where maps are off; None for nothing. Those operations
            themselves cannot be explained then, what follows them can.
    """

    def __init__(self, graph: Graph, image: Tensor, changes: Changes | None = None) -> None:
        self.graph = graph
        self._values = {node: value.detach().cpu() for node, value in graph.values(image, changes).items()}

    def outputs(self, layer: str) -> Tensor:
        """What a layer outputs for the image, (C, H, W) or (units,).

        Raises:
            UserError: there is no such layer.
        """
        return self._values[self.graph.node(layer)][0]

    def explain(self, layer: str, map: int, row: int = 0, column: int = 0) -> Explanation:
        """How a layer comes to one value.

        Args:
            layer: its name, or that of another module, as ``c1/convolution``.
            map: number of the map, or of the unit.
            row: row in the map.
            column: column in the map.

        Raises:
            UserError: there is no such layer or value, or something in it is not known here.
        """
        value = (map, row, column)
        self.graph.check(layer, value)
        node = self.graph.node(layer)
        if node is self.graph.input:
            raise UserError(f"layer={layer}: the image's values are not computed")
        result = self._at(node, value)
        steps: list[Step] = []
        following: tuple[fx.Node, Value] | None = (node, value)
        while following is not None:
            step, following = self._step(*following)
            steps.insert(0, step)
            if following is not None and not self.graph.is_inside(following[0], layer):
                following = None
        return Explanation(layer, map, row, column, result, steps)

    def probability(self, class_index: int) -> Softmax:
        """How the network's scores become the probability of a class.

        Raises:
            UserError: there is no such class.
        """
        scores = self._values[self.graph.scores][0].double()
        if not 0 <= class_index < len(scores):
            raise UserError(f"class={class_index}: there are {len(scores)} classes, 0 to {len(scores) - 1}")
        exponentials = (scores - scores.max()).exp()
        total = exponentials.sum().item()
        return Softmax(
            scores.tolist(),
            scores.max().item(),
            exponentials.tolist(),
            total,
            class_index,
            exponentials[class_index].item() / total,
        )

    def _at(self, node: fx.Node, value: Value) -> float:
        """One value of an operation's output."""
        map_, row, column = value
        output = self._values[node][0]
        return float(output[map_] if output.dim() == 1 else output[map_, row, column])

    def _step(self, node: fx.Node, value: Value) -> tuple[Step, tuple[fx.Node, Value] | None]:
        """The last operation behind a value, and the one value that it was made from, if it was one."""
        operation, sources = self.graph.operation(node), self.graph.sources(node)
        if isinstance(operation, Concatenation):
            return self._concatenation(node, sources, value)
        if isinstance(operation, Addition) or len(sources) != 1:
            raise self._unknown(node)
        (source,) = sources
        if isinstance(operation, PASSED_ON) and not isinstance(operation, (nn.ZeroPad2d, SamePadding)):
            return self._passed_on(operation, node, source, value)
        if isinstance(operation, SAME_PLACE):
            return self._of_one(operation, node, source, value), (source, value)
        step = self._of_many(operation, node, source, value)
        if step is None:
            raise self._unknown(node)
        return step, None

    def _unknown(self, node: fx.Node) -> UserError:
        return UserError(f"{self.graph.where(node)}: its arithmetic is not known here. Ask for a layer before it")

    def _concatenation(
        self, node: fx.Node, sources: list[fx.Node], value: Value
    ) -> tuple[Step, tuple[fx.Node, Value] | None]:
        map_, row, column = value
        for source in sources:
            maps = self.graph.maps_shape(source)[0]
            if map_ < maps:
                break
            map_ -= maps
        place = (map_, row, column)
        name = self.graph.name_of(source)
        return Unchanged("concatenation", name, place, self._at(node, value)), (source, place)

    def _passed_on(
        self, operation: nn.Module, node: fx.Node, source: fx.Node, value: Value
    ) -> tuple[Step, tuple[fx.Node, Value] | None]:
        place = value
        if isinstance(operation, nn.Flatten):
            _, height, width = self.graph.maps_shape(source)
            rest, column = divmod(value[0], width)
            place = (*divmod(rest, height), column)
        function = {nn.Flatten: "flatten", nn.Identity: "identity"}.get(type(operation), "dropout")
        return Unchanged(function, self.graph.name_of(source), place, self._at(node, value)), (source, place)

    def _of_one(self, operation: nn.Module, node: fx.Node, source: fx.Node, value: Value) -> Step:
        """The step of a module that makes each value from the one at the same place."""
        before, after = self._at(source, value), self._at(node, value)
        if not isinstance(operation, (nn.BatchNorm1d, nn.BatchNorm2d)):
            return Activation(FUNCTIONS.get(type(operation), type(operation).__name__), before, after)
        if operation.running_mean is None or operation.running_var is None:  # it would depend on the whole batch
            raise self._unknown(node)
        weight, bias = (
            default if parameter is None else parameter[value[0]].item()
            for parameter, default in ((operation.weight, 1.0), (operation.bias, 0.0))
        )
        mean, variance = operation.running_mean[value[0]].item(), operation.running_var[value[0]].item()
        return BatchNormalisation(before, mean, variance, operation.eps, weight, bias, after)

    def _of_many(self, operation: nn.Module, node: fx.Node, source: fx.Node, value: Value) -> Step | None:
        """The step of a module that makes each value from several; None for one that is not known."""
        match operation:
            case nn.Conv2d() | PartialConv2d():
                return self._convolution(operation, node, source, value)
            case Subsampling():
                return self._subsampling(operation, node, source, value)
            case nn.MaxPool2d():
                return self._max_pooling(node, source, value)
            case nn.AvgPool2d():
                return self._average_pooling(operation, node, source, value)
            case nn.AdaptiveAvgPool2d():
                return self._adaptive_pooling(node, source, value)
            case LocalResponseNorm() | nn.LocalResponseNorm():
                return self._normalisation(operation, node, source, value)
            case nn.Linear() if len(self.graph.shapes[source]) == 1:
                return self._dense(operation, node, source, value)
            case RadialBasisFunctions():
                return self._distance(operation, node, source, value)
        return None

    def _window(self, node: fx.Node, source: fx.Node, value: Value) -> tuple["_Patch", tuple[Window, Window]]:
        """The window that a convolution or pool lays over its source."""
        windows = windows_of(self.graph.operation(node))
        if windows is None:
            raise self._unknown(node)
        rows, columns = (places_of(place, along) for place, along in zip(value[1:], windows, strict=True))
        return self._patch(source, rows, columns), windows

    def _patch(self, source: fx.Node, rows: list[int], columns: list[int]) -> "_Patch":
        operation = self.graph.operation(source) if source is not self.graph.input else None
        if isinstance(operation, (SamePadding, nn.ZeroPad2d)):  # look behind it, to show what is padding
            (source,) = self.graph.sources(source)
            top, left = padding_before(operation, self.graph.maps_shape(source))
            rows, columns = [row - top for row in rows], [column - left for column in columns]
        return _Patch(self.graph.name_of(source), self._values[source][0], rows, columns)

    def _convolution(self, operation: nn.Conv2d | PartialConv2d, node: fx.Node, source: fx.Node, value: Value) -> Step:
        patch, windows = self._window(node, source, value)
        number = patch.maps.shape[0]
        of_this_map = torch.arange(self.graph.maps_shape(node)[0]).numpy() == value[0]
        connected = maps_seen(operation, of_this_map, number).nonzero()[0].tolist()
        with torch.no_grad():
            if isinstance(operation, PartialConv2d):
                kernels = operation.dense_weight()[value[0], connected].cpu()
            else:
                kernels = operation.weight[value[0]].cpu()
        patches = patch.of_maps(connected)
        numbers = torch.tensor([[[cell or 0.0 for cell in row] for row in grid] for grid in patches]).double()
        return Convolution(
            patch.source,
            patch.place,
            connected,
            sorted(set(range(number)).difference(connected)),
            patches,
            kernels.tolist(),
            (numbers * kernels.double()).sum((1, 2)).tolist(),
            0.0 if operation.bias is None else operation.bias[value[0]].item(),
            self._at(node, value),
            (windows[0].dilation, windows[1].dilation),
        )

    def _subsampling(self, operation: Subsampling, node: fx.Node, source: fx.Node, value: Value) -> Step:
        (patch, _), map_ = self._window(node, source, value), value[0]
        values = patch.grid(map_)
        mean = sum(values[0] + values[1]) / 4
        coefficient, bias = operation.coefficient[map_].item(), operation.bias[map_].item()
        result = self._at(node, value)
        return TrainedSubsampling(patch.source, patch.place, map_, values, mean, coefficient, bias, result)

    def _max_pooling(self, node: fx.Node, source: fx.Node, value: Value) -> Step:
        (patch, windows), map_ = self._window(node, source, value), value[0]
        (values,) = patch.of_maps([map_])
        padding = self.graph.operation(source) if source is not self.graph.input else None
        if isinstance(padding, (SamePadding, nn.ZeroPad2d)) and padding.value > -math.inf:  # it may be the largest
            values = [[padding.value if cell is None else cell for cell in line] for line in values]
        result = self._at(node, value)
        places = [
            (row, column) for row, line in enumerate(values) for column, cell in enumerate(line) if cell == result
        ]
        row, column = places[0] if places else (0, 0)  # not a number, which is nowhere the largest
        winner = (patch.rows[row], patch.columns[column])
        dilation = (windows[0].dilation, windows[1].dilation)
        return MaxPooling(patch.source, patch.place, map_, values, winner, result, dilation)

    def _average_pooling(self, operation: nn.AvgPool2d, node: fx.Node, source: fx.Node, value: Value) -> Step:
        (patch, windows), map_ = self._window(node, source, value), value[0]
        (values,) = patch.of_maps([map_])
        inside = [cell for line in values for cell in line if cell is not None]
        if operation.divisor_override:
            divisor = operation.divisor_override
        else:  # what a layer below has padded with counts; what ceil_mode adds beyond the pool's own padding does not
            counts = []
            for place, size, along in zip(value[1:], self.graph.maps_shape(source)[1:], windows, strict=True):
                counted = along.padding if operation.count_include_pad else 0
                counts.append(sum(-counted <= seen < size + counted for seen in places_of(place, along)))
            divisor = counts[0] * counts[1]
        return AveragePooling(patch.source, patch.place, map_, values, sum(inside), divisor, self._at(node, value))

    def _adaptive_pooling(self, node: fx.Node, source: fx.Node, value: Value) -> Step:
        taken, given = self.graph.maps_shape(source), self.graph.maps_shape(node)
        rows, columns = (
            list(range(*adaptive_span(place, place + 1, size, outputs)))
            for place, size, outputs in zip(value[1:], taken[1:], given[1:], strict=True)
        )
        patch, map_ = self._patch(source, rows, columns), value[0]
        (values,) = patch.of_maps([map_])
        total = sum(cell for line in values for cell in line if cell is not None)
        divisor = len(rows) * len(columns)
        return AveragePooling(patch.source, patch.place, map_, values, total, divisor, self._at(node, value))

    def _normalisation(
        self, operation: LocalResponseNorm | nn.LocalResponseNorm, node: fx.Node, source: fx.Node, value: Value
    ) -> Step:
        if isinstance(operation, LocalResponseNorm):
            constants = operation.constants
            k, alpha, beta = constants.k, constants.alpha, constants.beta
        else:
            k, alpha, beta = operation.k, operation.alpha / operation.size, operation.beta
        map_, row, column = value
        of_this_map = torch.arange(self.graph.maps_shape(source)[0]).numpy() == map_
        neighbours = neighbouring(operation, of_this_map)
        assert neighbours is not None
        maps = neighbours.nonzero()[0].tolist()
        values = [self._at(source, (neighbour, row, column)) for neighbour in maps]
        squares = [neighbour**2 for neighbour in values]
        base = k + alpha * sum(squares)
        return LocalNormalisation(
            self.graph.name_of(source),
            maps,
            values,
            squares,
            sum(squares),
            k,
            alpha,
            beta,
            base,
            base**beta,
            self._at(source, value),
            self._at(node, value),
        )

    def _dense(self, operation: nn.Linear, node: fx.Node, source: fx.Node, value: Value) -> Step:
        inputs, weights = self._values[source][0], operation.weight[value[0]].detach().cpu()
        products = inputs.double() * weights.double()
        return Dense(
            self.graph.name_of(source),
            self.graph.maps_shape(self._before_flattening(source)),
            inputs.tolist(),
            weights.tolist(),
            products.tolist(),
            products.abs().argsort(descending=True, stable=True).tolist(),
            0.0 if operation.bias is None else operation.bias[value[0]].item(),
            self._at(node, value),
        )

    def _before_flattening(self, node: fx.Node) -> fx.Node:
        while node is not self.graph.input and isinstance(self.graph.operation(node), PASSED_ON):
            (node,) = self.graph.sources(node)
        return node

    def _distance(self, operation: RadialBasisFunctions, node: fx.Node, source: fx.Node, value: Value) -> Step:
        units = self._values[source][0].double().view(BITMAP_ROWS, BITMAP_COLUMNS)
        bitmap = operation.centres[value[0]].detach().cpu().double().view(BITMAP_ROWS, BITMAP_COLUMNS)
        differences = units - bitmap
        distance = differences.square().sum().item()
        return Distance(
            self.graph.name_of(source),
            units.tolist(),
            bitmap.tolist(),
            differences.tolist(),
            distance,
            self._at(node, value),
        )


FUNCTIONS: dict[type[nn.Module], str] = {ScaledTanh: "scaled tanh", nn.Tanh: "tanh", nn.ReLU: "ReLU"}


def places_of(place: int, along: Window) -> list[int]:
    """The rows, or columns, that the window for a place lies over."""
    return [place * along.stride - along.padding + along.dilation * step for step in range(along.kernel)]


class _Patch:
    """Rows and columns of a layer's maps, some of which may lie beyond the edges.

    Args:
        source: name of the layer.
        maps: its output, (C, H, W).
        rows: numbers of the rows.
        columns: numbers of the columns.
    """

    def __init__(self, source: str, maps: Tensor, rows: list[int], columns: list[int]) -> None:
        self.source, self.maps, self.rows, self.columns = source, maps, rows, columns
        self.place = Rectangle(rows[0], columns[0], rows[-1] + 1, columns[-1] + 1)

    def of_maps(self, numbers: list[int]) -> list[GridWithPadding]:
        """The patch of each of these maps; None where it lies beyond the edges."""
        _, height, width = self.maps.shape
        rows, columns = (
            [place if 0 <= place < size else None for place in places]
            for places, size in ((self.rows, height), (self.columns, width))
        )
        kept_rows = [row for row in rows if row is not None]
        kept_columns = [column for column in columns if column is not None]
        grids: list[Any] = self.maps[numbers][:, kept_rows][:, :, kept_columns].tolist()
        if len(kept_rows) == len(rows) and len(kept_columns) == len(columns):
            return grids
        return [framed(grid, rows, columns) for grid in grids]

    def grid(self, number: int) -> Grid:
        """The patch of a map, which lies within the edges."""
        found: Grid = self.maps[number][self.rows][:, self.columns].tolist()
        return found


def framed(grid: Grid, rows: list[int | None], columns: list[int | None]) -> GridWithPadding:
    """A grid with None for the rows and columns that are None."""
    lines = iter(grid)
    framed_grid: GridWithPadding = []
    for row in rows:
        cells = iter(next(lines) if row is not None else [])
        framed_grid.append([next(cells) if row is not None and column is not None else None for column in columns])
    return framed_grid
