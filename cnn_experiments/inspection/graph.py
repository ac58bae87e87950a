"""A network as a graph: which operation takes what from which, what each outputs, and the layers by name.

A network is followed through its ``forward`` once, in evaluation mode, by ``torch.fx``. That shows what a list of
modules does not: branches and where they meet, and what is computed between modules.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from cnn_experiments.errors import UserError
from cnn_experiments.inspection.layer_outputs import evaluation_mode, first_tensor, named_layers
from cnn_experiments.models.layers import SamePadding
from cnn_experiments.settings.suggestions import suggest

INPUT = "input"  # the name of the images

Value = tuple[int, int, int]
"""Map, row and column of one value; a unit of a dense layer has row and column 0."""

Changes = Mapping[fx.Node, Callable[[Tensor], Tensor]]
"""What becomes of the outputs of some operations."""


class Graph:
    """A network's operations in order, for images of one size. The network is not changed.

    Args:
        network: any network.
        input_shape: of an image: channels, height and width.

    Attributes:
        network: the network.
        input_shape: the same.
        names: the layers that run in evaluation mode, in order, from ``input`` on. A layer that consists of several is
            followed by them, as ``inception3a/branch5x5/reduce``. Dropout and placeholders are left out.
        shapes: what each operation outputs for one image: (C, H, W) or (units,).
        input: the operation that stands for the images.
        scores: the operation that outputs the scores.

    Raises:
        UserError: the network cannot be followed, since its course depends on values, say.
    """

    def __init__(self, network: nn.Module, input_shape: tuple[int, int, int]) -> None:
        self.network: nn.Module = getattr(network, "_orig_mod", network)  # of torch.compile(network)
        self.input_shape = input_shape
        tracer = _Tracer()
        with evaluation_mode(self.network):
            try:
                self._graph = tracer.trace(self.network)
            except Exception as error:  # whatever the person's own forward does with what stands for its images
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                raise UserError(
                    f"{type(network).__name__}: its forward cannot be followed ({reason}). Receptive fields and "
                    "arithmetic need a forward without conditions that depend on the images"
                ) from error
        self.input = next(node for node in self._graph.nodes if node.op == "placeholder")
        self._outputs: dict[str, fx.Node] = {INPUT: self.input, **tracer.outputs}
        like = next(self.network.parameters(), torch.empty(0))
        values = self.values(torch.zeros(1, *input_shape, dtype=like.dtype, device=like.device))
        self.shapes = {node: tuple(value.shape[1:]) for node, value in values.items()}
        self.names = [INPUT, *self._layers_in_order()]
        results = next(node for node in self._graph.nodes if node.op == "output").all_input_nodes
        self.scores = next((node for node in results if node in self.shapes), self.input)
        self._sources: dict[fx.Node, list[fx.Node]] = {}
        self._operations: dict[fx.Node, nn.Module] = {}
        self._later: dict[fx.Node, set[fx.Node]] = {}

    def _layers_in_order(self) -> list[str]:
        order = {node: place for place, node in enumerate(self._graph.nodes)}
        layers = {
            name: order[self._outputs[name]]
            for name, layer in named_layers(self.network).items()
            if self._outputs.get(name) in self.shapes and not isinstance(layer, (nn.Identity, nn.Dropout))
        }
        return sorted(layers, key=lambda name: layers.get(name.partition("/")[0], layers[name]))

    def node(self, name: str) -> fx.Node:
        """The operation that outputs what a layer outputs; for a layer that is used several times, the last.

        Args:
            name: one of `names`, or of any other module, as ``c1/convolution``.

        Raises:
            UserError: there is no such layer, or it does not run in evaluation mode.
        """
        node = self._outputs.get(name)
        if node is None or node not in self.shapes:
            raise UserError(f"layer={name}: there is no such layer that runs here. {suggest(name, self.names)}")
        return node

    def shape(self, name: str) -> tuple[int, int, int]:
        """Maps, height and width of what a layer outputs for one image; units are maps of 1×1.

        Raises:
            UserError: there is no such layer, or it outputs neither maps nor units.
        """
        return self.maps_shape(self.node(name))

    def maps_shape(self, node: fx.Node) -> tuple[int, int, int]:
        """Maps, height and width of what an operation outputs for one image; units are maps of 1×1.

        Raises:
            UserError: it outputs neither maps nor units.
        """
        match self.shapes[node]:
            case (maps, height, width):
                return maps, height, width
            case (units,):
                return units, 1, 1
        raise UserError(f"{self.where(node)}: outputs neither maps nor units, but {self.shapes[node]} for each image")

    def check(self, name: str, value: Value) -> None:
        """Refuse a map, row and column that a layer does not have.

        Raises:
            UserError: there is no such layer or value.
        """
        for what, number, size in zip(("map", "row", "column"), value, self.shape(name), strict=True):
            if not 0 <= number < size:
                raise UserError(f"{what}={number}: {name} has {size} of these, 0 to {size - 1}")

    def sources(self, node: fx.Node) -> list[fx.Node]:
        """The operations whose outputs an operation takes."""
        if node not in self._sources:
            self._sources[node] = [source for source in node.all_input_nodes if source in self.shapes]
        return self._sources[node]

    def before(self, node: fx.Node) -> list[fx.Node]:
        """An operation and all that it depends on, the last first."""
        needed = {node}
        for later in reversed(self._graph.nodes):
            if later in needed:
                needed.update(self.sources(later))
        return [later for later in reversed(self._graph.nodes) if later in needed]

    def is_inside(self, node: fx.Node, name: str) -> bool:
        """Whether an operation is part of a layer."""
        return any(path.replace(".", "/") == name for path, _ in node.meta.get("nn_module_stack", {}).values())

    def where(self, node: fx.Node) -> str:
        """The layer that an operation belongs to, and its kind: for messages."""
        stack = list(node.meta.get("nn_module_stack", {}).values())
        inside = f"{stack[-1][0].replace('.', '/')}, " if stack else ""
        if node.op == "call_module":
            return f"{inside}{type(self.network.get_submodule(str(node.target))).__name__}"
        return f"{inside}{getattr(node.target, '__name__', node.target)}"

    def name_of(self, node: fx.Node) -> str:
        """The name under which a person knows what an operation outputs: that of a layer, or of a part of one.

        What dropout, flattening and padding pass on has the name of what they were given.
        """
        names = [name for name in self.names if self._outputs[name] is node]
        if names:
            return names[0]
        if isinstance(self.operation(node), PASSED_ON):
            return self.name_of(self.sources(node)[0])
        return next((name for name, output in self._outputs.items() if output is node), node.name)

    def operation(self, node: fx.Node) -> nn.Module:
        """What an operation does, as a module: the network's own, or one that does the same as a function.

        Raises:
            UserError: it is a function for which there is none.
        """
        if node not in self._operations:
            self._operations[node] = self._as_module(node)
        return self._operations[node]

    def _as_module(self, node: fx.Node) -> nn.Module:
        if node.op == "call_module":
            return self.network.get_submodule(str(node.target))
        name = getattr(node.target, "__name__", str(node.target))
        try:
            module = self._of_function(node, name)
        except (TypeError, ValueError):  # arguments that are not plain numbers, say
            module = None
        if module is None:
            raise UserError(
                f"{self.where(node)}: this function cannot be explained here. Known are torch.nn's modules for "
                "convolution, pooling, dense layers and activations, and the functions that do the same"
            )
        return module

    def _of_function(self, node: fx.Node, name: str) -> nn.Module | None:
        taken = [self.shapes[source] for source in self.sources(node)]
        given = self.shapes[node]
        if name in ("cat", "concat", "concatenate"):
            # from the front or from behind
            dimension = arguments(node, "tensors", "dim").get("dim", 0)
            return Concatenation() if dimension in (1, -len(given)) else None
        if name in ("add", "iadd", "add_"):
            return Addition() if len(taken) == 2 else None
        if len(taken) != 1:
            return None
        if name in SAME_PLACE_FUNCTIONS:
            return SAME_PLACE_FUNCTIONS[name]()
        if name in ("flatten", "view", "reshape"):
            return nn.Flatten() if len(given) == 1 and given[0] == torch.Size(taken[0]).numel() else None
        if name in POOLS:
            return POOLS[name](**arguments(node, "input", *POOL_ARGUMENTS[name]))
        if name == "mean":
            return (
                nn.AdaptiveAvgPool2d(1)
                if len(taken[0]) == 3 and given in ((taken[0][0],), (taken[0][0], 1, 1))
                else None
            )
        if name in ("softmax", "log_softmax"):
            return nn.Softmax(1) if arguments(node, "input", "dim").get("dim") in (1, -len(given)) else None
        return None

    def values(self, images: Tensor, changes: Changes | None = None) -> dict[fx.Node, Tensor]:
        """What each operation outputs for some images.

        Args:
            images: network input (N, C, H, W), on the network's device.
            changes: what becomes of the outputs of some operations, such as `ablation.with_maps_off`; None for nothing.

        Returns:
            (N, C, H, W) or (N, units) of each.
        """
        recorder = _Recorder(self.network, self._graph, changes or {})
        with evaluation_mode(self.network), torch.no_grad():
            recorder.run(images)
        return recorder.seen

    def rerun(self, values: dict[fx.Node, Tensor], node: fx.Node, outputs: Tensor) -> Tensor:
        """What the network gives for one image if an operation outputs something else; only what follows is computed.

        Args:
            values: from `values`, for one image.
            node: the operation.
            outputs: what it outputs instead, (N, C, H, W) or (N, units): N tries.

        Returns:
            Scores (N, classes).
        """
        if node not in self._later:
            self._later[node] = self._depending_on(node)
        from_images = self._from_images()
        known: dict[fx.Node, Any] = {
            other: value.expand(len(outputs), *value.shape[1:])
            for other, value in values.items()
            if other not in self._later[node] and other in from_images
        }
        known[node] = outputs
        with evaluation_mode(self.network), torch.no_grad():
            scores = first_tensor(fx.Interpreter(self.network, graph=self._graph).run(initial_env=known))
        assert scores is not None
        return scores

    def _from_images(self) -> set[fx.Node]:
        if self.input not in self._later:
            self._later[self.input] = self._depending_on(self.input)
        return {self.input, *self._later[self.input]}

    def _depending_on(self, node: fx.Node) -> set[fx.Node]:
        later: set[fx.Node] = set()
        for other in self._graph.nodes:
            if any(source is node or source in later for source in other.all_input_nodes):
                later.add(other)
        return later


class Concatenation(nn.Module):
    """Stands for ``torch.cat`` along the maps."""


class Addition(nn.Module):
    """Stands for the sum of two outputs, place by place."""


PASSED_ON = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.Flatten, nn.ZeroPad2d, SamePadding)

SAME_PLACE_FUNCTIONS: dict[str, Callable[[], nn.Module]] = {
    "contiguous": nn.Identity,
    "dropout": nn.Identity,  # in evaluation mode
    "dropout2d": nn.Identity,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "relu_": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
POOLS: dict[str, Callable[..., nn.Module]] = {
    "max_pool2d": nn.MaxPool2d,
    "avg_pool2d": nn.AvgPool2d,
    "adaptive_avg_pool2d": nn.AdaptiveAvgPool2d,
}
POOL_ARGUMENTS = {  # of the functions, in order
    "max_pool2d": ("kernel_size", "stride", "padding", "dilation", "ceil_mode"),
    "avg_pool2d": ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
    "adaptive_avg_pool2d": ("output_size",),
}


def arguments(node: fx.Node, *names: str) -> dict[str, Any]:
    """The arguments of a function by name, without the first, which is what it works on."""
    given = dict(zip(names, node.args, strict=False)) | node.kwargs
    return {name: value for name, value in given.items() if name in names[1:]}


class _Tracer(fx.Tracer):
    """Follows a network into everything that has parts; remembers what each module returns."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: dict[str, fx.Node] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is taken as one operation."""
        return not any(True for _ in m.children())

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Follow a module that the network calls."""
        result = super().call_module(m, forward, args, kwargs)
        proxy = next(proxies(result), None)
        if proxy is not None:
            self.outputs[self.path_of_module(m).replace(".", "/")] = proxy.node
        return result


def proxies(result: Any) -> Iterator[fx.Proxy]:
    """What stands for tensors in what a module returned."""
    if isinstance(result, fx.Proxy):
        yield result
    elif isinstance(result, (tuple, list)):
        for part in result:
            yield from proxies(part)


class _Recorder(fx.Interpreter):
    """Runs a network and keeps what each operation outputs."""

    def __init__(self, network: nn.Module, graph: fx.Graph, changes: Changes) -> None:
        super().__init__(network, graph=graph)
        self.changes = changes
        self.seen: dict[fx.Node, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run an operation."""
        result = super().run_node(n)
        if n in self.changes:
            result = self.changes[n](result)
        if isinstance(result, Tensor) and n.op not in ("get_attr", "output"):
            self.seen[n] = result.detach().clone()  # what follows may work in place
        return result
