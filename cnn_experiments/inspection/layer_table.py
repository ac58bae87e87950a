"""The layers of a network as a table, as the papers print it."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from cnn_experiments.inspection.layer_outputs import first_tensor
from cnn_experiments.models.layers import Layer, PartialConv2d, Subsampling, is_layer
from cnn_experiments.models.lenet5 import RadialBasisFunctions

if TYPE_CHECKING:
    from rich.table import Table

TEXT_WIDTH = 160  # characters of a printed table

HEADINGS = ("layer", "kind", "maps", "output", "kernel", "stride", "padding", "activation")
COUNTS = ("parameters", "connections", "multiply-adds")

KINDS = {
    "AdaptiveAvgPool2d": "global average pooling",
    "AuxiliaryHead": "auxiliary head",
    "AvgPool2d": "average pooling",
    "BatchNorm1d": "batch normalisation",
    "BatchNorm2d": "batch normalisation",
    "Conv2d": "convolution",
    "Dropout": "dropout",
    "Flatten": "flatten",
    "Inception": "inception module",
    "Layer": "convolutions",
    "Linear": "dense",
    "LocalResponseNorm": "LRN",
    "MatrixConv2d": "convolution",
    "MaxPool2d": "max pooling",
    "PartialConv2d": "convolution",
    "RadialBasisFunctions": "RBF",
    "ReLU": "ReLU",
    "ScaledTanh": "scaled tanh",
    "Sequential": "sequence",
    "Subsampling": "sub-sampling",
    "Tanh": "tanh",
}


@dataclass
class Row:
    """A layer: what it is, what it outputs, and what it costs for one image.

    Args:
        name: of the layer.
        kind: what it is, in words.
        maps: number of output maps, or of units; None where the layer outputs no tensor.
        size: of a map, ``28×28``; ``1`` for a unit.
        kernel: size of the window.
        stride: pixels from one window to the next, down and across.
        padding: pixels around the input, down and across, or ``same``.
        activation: what follows the weights; of dropout, its probability.
        parameters: trained numbers.
        connections: as LeCun and others count: every input of every unit, and its bias.
        multiply_adds: products that are summed up in convolutions and matrix products, as PyTorch counts them: half of
            its floating-point operations.
        depth: how deep the layer is nested. A row at depth 1 is part of the last row above it at depth 0, which
            includes its counts; and so on.
    """

    name: str
    kind: str
    maps: int | None
    size: str
    kernel: str = ""
    stride: str = ""
    padding: str = ""
    activation: str = ""
    parameters: int = 0
    connections: int = 0
    multiply_adds: int = 0
    depth: int = 0

    def cells(self) -> list[str]:
        """The row as text, in the order of the columns."""
        maps = "" if self.maps is None else str(self.maps)
        counts = (self.parameters, self.connections, self.multiply_adds)
        texts = [self.name, self.kind, maps, self.size, self.kernel, self.stride, self.padding, self.activation]
        return [*texts, *(f"{count:,}" for count in counts)]


@dataclass(frozen=True, repr=False)
class LayerTable:
    """A network's layers in order, the input first, and what the whole network costs for one image.

    It shows itself as a table: of text, and in a notebook as one of HTML.

    Args:
        rows: the layers.
        parameters: all trained numbers of the network.
        connections: of all layers.
        multiply_adds: of the network in evaluation mode.
    """

    rows: list[Row]
    parameters: int
    connections: int
    multiply_adds: int

    def totals(self) -> list[str]:
        """The network's parameters, connections and multiply-adds as text."""
        return [f"{total:,}" for total in (self.parameters, self.connections, self.multiply_adds)]

    def rich_table(self, title: str | None = None) -> "Table":
        """The table for a terminal, to be printed by rich."""
        from rich.table import Table

        table = Table(title=title, show_footer=True)
        for heading in HEADINGS:
            footer = "total" if heading == "layer" else ""
            table.add_column(heading, footer, justify="right" if heading == "maps" else "left", no_wrap=True)
        for heading, total in zip(COUNTS, self.totals(), strict=True):
            table.add_column(heading, total, justify="right", no_wrap=True)
        for row in self.rows:
            name, *cells = row.cells()
            table.add_row("  " * row.depth + name, *cells)
        return table

    def __repr__(self) -> str:
        import io

        from rich.console import Console

        console = Console(file=io.StringIO(), width=TEXT_WIDTH, color_system=None, force_jupyter=False)
        with console.capture() as capture:
            console.print(self.rich_table())
        return capture.get().rstrip()

    def _repr_html_(self) -> str:
        def line(cells: list[str], tag: str, depth: int = 0) -> str:
            indented = [f'<{tag} style="text-align: left; padding-left: {0.5 + depth}em">{escape(cells[0])}</{tag}>']
            numbers = (2, *range(len(HEADINGS), len(cells)))
            for column, cell in enumerate(cells[1:], start=1):
                side = "right" if column in numbers else "left"
                indented.append(f'<{tag} style="text-align: {side}">{escape(cell)}</{tag}>')
            return f"<tr>{''.join(indented)}</tr>"

        head = line([*HEADINGS, *COUNTS], "th")
        body = "".join(line(row.cells(), "td", row.depth) for row in self.rows)
        foot = line(["total", *[""] * (len(HEADINGS) - 1), *self.totals()], "th")
        return f"<table><thead>{head}</thead><tbody>{body}</tbody><tfoot>{foot}</tfoot></table>"


def layer_table(network: nn.Module, input_shape: tuple[int, ...]) -> LayerTable:
    """Measure a network layer by layer, for one image.

    A copy is measured, where the network is, in evaluation mode: the network itself is not touched, and no random
    numbers are drawn. Layers that run in training mode only, such as auxiliary heads, are listed with their parameters,
    but without connections and multiply-adds, which a trained network does not spend.

    Args:
        network: any network. What it applies without a module, such as ``functional.relu``, has no row of its own.
        input_shape: of an image: channels, height and width.
    """
    network = getattr(network, "_orig_mod", network)  # of torch.compile(network)
    parameter = next(network.parameters(), torch.empty(0))
    with torch.random.fork_rng(devices=[parameter.device] if parameter.is_cuda else []):
        measured = Measured(copied(network), input_shape)
    children = dict(measured.network.named_children()) or {type(network).__name__: measured.network}
    size = "×".join(map(str, input_shape[1:])) or "1"
    rows = [Row("input", "image", input_shape[0], size)]
    for name, layer in children.items():
        rows += describe(name, layer, measured)
    whole = measured.costs[measured.network]
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return LayerTable(rows, parameters, whole.connections, whole.multiply_adds)


def copied(network: nn.Module) -> nn.Module:
    """A copy of a network with weights of its own, without the hooks that others hung on it, and not compiled."""
    copies: dict[int, Any] = {}  # by the identity of the original, as copy.deepcopy looks them up
    for module in network.modules():
        for tensor in vars(module).values():  # plain tensors, which deepcopy refuses where they are results
            if isinstance(tensor, Tensor):
                copies[id(tensor)] = tensor.detach().clone()
    network = copy.deepcopy(network, copies)
    for module in network.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
        module._compiled_call_impl = None
    return network


class OperationCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up floating-point operations with the formulas of ``torch.utils.flop_counter``.

    Its own ``FlopCounterMode`` would do, but starting it imports PyTorch's compiler, which takes longer than PyTorch.
    """

    def __init__(self) -> None:
        from torch.utils.flop_counter import flop_registry

        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = 0
        self._formulas = flop_registry

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # True, the default, imports the compiler

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        formula = self._formulas.get(func.overloadpacket)
        if formula is None:
            with self:  # in inference mode, operations come here before they are broken down
                result = func.decompose(*args, **kwargs)
            return func(*args, **kwargs) if result is NotImplemented else result
        result = func(*args, **kwargs)
        self.operations += formula(*args, **kwargs, out_val=result)
        return result


@contextmanager
def without_fused_layers() -> Iterator[None]:
    """Keep PyTorch from computing a whole LSTM or attention in one operation, for which there is no formula."""
    lstm, attention = torch.backends.mkldnn.enabled, torch.backends.mha.get_fastpath_enabled()
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mkldnn.enabled = lstm
        torch.backends.mha.set_fastpath_enabled(attention)


@dataclass
class Costs:
    """What a module costs for one image, with all it calls."""

    connections: int = 0
    multiply_adds: int = 0


class Measured:
    """What each module of a network outputs and costs.

    Args:
        network: a copy that may be run, put into other modes and given hooks.
        input_shape: of an image: channels, height and width.

    Attributes:
        network: the same.
        shapes: of each module that outputs a tensor, the shape without the batch. Of a module that is used several
            times, the last.
        costs: of each module that runs in evaluation mode, all its uses added up.
    """

    def __init__(self, network: nn.Module, input_shape: tuple[int, ...]) -> None:
        self.network = network
        self.shapes: dict[nn.Module, tuple[int, ...]] = {}
        self.costs: dict[nn.Module, Costs] = {}
        self._connections = 0
        self._counter = OperationCounter()
        self._started: list[tuple[int, int]] = []  # connections and operations before each module that is running
        floats = next((tensor for tensor in network.parameters() if tensor.is_floating_point()), torch.empty(0))
        hooks = [hook for module in network.modules() for hook in self._watch(module)]
        with torch.no_grad(), without_fused_layers(), self._counter:
            network.eval()(floats.new_zeros(1, *input_shape))
        for hook in hooks:
            hook.remove()
        training_only = [module for module in network.modules() if module not in self.costs]
        for module in training_only:
            module.register_forward_hook(self._see)
        if training_only:
            with torch.no_grad():  # two images, since batch normalisation does not train on one
                network.train()(floats.new_zeros(2, *input_shape))

    def _watch(self, module: nn.Module) -> list[Any]:
        return [
            module.register_forward_pre_hook(self._start),
            module.register_forward_hook(self._see),
            module.register_forward_hook(self._count),
        ]

    def _start(self, module: nn.Module, inputs: Any) -> None:
        self._started.append((self._connections, self._counter.operations))

    def _see(self, module: nn.Module, inputs: Any, output: Any) -> None:
        tensor = first_tensor(output)
        if tensor is not None:
            self.shapes[module] = tuple(tensor.shape[1:])

    def _count(self, module: nn.Module, inputs: Any, output: Any) -> None:
        connections, operations = self._started.pop()
        if module in self.shapes:
            self._connections += connections_of(module, self.shapes[module])
        costs = self.costs.setdefault(module, Costs())
        costs.connections += self._connections - connections
        costs.multiply_adds += (self._counter.operations - operations) // 2


def connections_of(module: nn.Module, shape: tuple[int, ...]) -> int:
    """Connections of one module for one image, by the shape of its output; 0 for kinds that the papers do not count."""
    units = torch.Size(shape).numel()
    match module:
        case nn.Conv2d() | PartialConv2d() | nn.Linear():
            weights = module.weight.numel() + (0 if module.bias is None else module.bias.numel())
            features = shape[-1] if isinstance(module, nn.Linear) else shape[0]
            return units // features * weights  # each weight is used once at each place
        case Subsampling():
            return units * (module.kernel_size**2 + 1)
        case nn.AvgPool2d() | nn.MaxPool2d():
            height, width = pair(module.kernel_size)
            return units * height * width
        case RadialBasisFunctions():
            return module.centres.numel()
    return 0


def describe(name: str, layer: nn.Module, measured: Measured, depth: int = 0) -> list[Row]:
    """The row of a layer, and the rows of its parts if it is more than one layer of a table.

    Args:
        name: of the layer.
        layer: the layer.
        measured: what it outputs and costs.
        depth: how deep it is nested.
    """
    if isinstance(layer, nn.Identity):  # the place of something that was left out
        return []
    shape, costs = measured.shapes.get(layer), measured.costs.get(layer, Costs())
    row = Row(name, kind_of(layer), None, "", depth=depth)
    if shape:
        row.maps, row.size = shape[0], "×".join(map(str, shape[1:])) or "1"
    row.parameters = sum(parameter.numel() for parameter in layer.parameters())
    row.connections, row.multiply_adds = costs.connections, costs.multiply_adds
    inner: list[Row] = []
    parts = dict(layer.named_children())
    if not parts:
        add_window(row, layer)
    elif isinstance(layer, Layer) and is_layer(layer):
        add_parts(row, parts)
    else:
        inner = [row for part in parts.items() for row in describe(*part, measured, depth + 1)]
    if depth == 0 and shape and layer not in measured.costs:
        row.kind += ", training only"
    return [row, *inner]


def add_parts(row: Row, parts: Mapping[str, nn.Module]) -> None:
    """Say in the row of a `Layer` what its parts are."""
    main = next(part for name, part in parts.items() if name not in ("activation", "flatten", "padding"))
    row.kind = kind_of(main)
    add_window(row, main)
    if "padding" in parts:
        row.padding = "same"
    if "activation" in parts:
        row.activation = kind_of(parts["activation"])


def add_window(row: Row, module: nn.Module) -> None:
    """Say in a row how a module moves its window, into how many groups it divides maps, what it drops."""
    if isinstance(module, nn.Dropout):
        row.activation = f"p = {module.p}"
    if isinstance(getattr(module, "kernel_size", None), (int, tuple)):
        row.kernel, row.stride = side(module.kernel_size), side(getattr(module, "stride", 1))
        row.padding = side(getattr(module, "padding", 0))
    groups = getattr(module, "groups", 1)
    if isinstance(groups, int) and groups > 1:
        row.kind += f" in {groups} groups"


def kind_of(module: nn.Module) -> str:
    """What a module is, in words; the name of its class where there are none."""
    return KINDS.get(type(module).__name__, type(module).__name__)


def pair(value: Any) -> tuple[int, int]:
    """Height and width from ``5`` or ``(5, 5)``."""
    return value if isinstance(value, tuple) else (value, value)


def side(value: Any) -> str:
    """A size in pixels as text: 5×5 for ``5`` or ``(5, 5)``; ``same`` as it is."""
    if isinstance(value, str):
        return value
    return "×".join(map(str, value if isinstance(value, tuple) else (value, value)))
