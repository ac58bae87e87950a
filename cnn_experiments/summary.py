"""cnn-summary: the layers of a network as a table, as the papers print it."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig

from cnn_experiments.command import command
from cnn_experiments.configs import plain

if TYPE_CHECKING:
    from torch import Tensor, nn


@command("summary")
def main(config: DictConfig) -> None:
    """Print the table."""
    from cnn_experiments.classifier import Classifier

    settings = plain(config)
    model = settings["model"]
    print_table(model["name"], summarise(Classifier(settings).network, image_shape(model)))


def image_shape(model: dict[str, Any]) -> tuple[int, int, int]:
    """Channels, height and width of the images that a network is made for, by its config group."""
    return model["in_channels"], model["input_size"], model["input_size"]


def size_of(network: "nn.Module", model: dict[str, Any]) -> dict[str, int]:
    """How large a network is: its ``parameters``, and its ``multiply_adds`` for one image in testing."""
    rows = summarise(network, image_shape(model))
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "multiply_adds": sum(row.multiply_adds for row in rows if not row.depth),
    }


@dataclass
class Row:
    """A layer: what it is, what it gives out, and what it costs for one image.

    ``connections`` counts as LeCun and others do: every input of every unit, and its bias. ``multiply_adds`` counts
    the products of convolutions, dense layers, trained sub-sampling and RBF units. A row at a `depth` of 1 or more is
    a part of the last row above it that is less deep, which counts it already. What is for training alone, as
    auxiliary heads are, has no connections and multiply-adds: a tested network does not compute it.
    """

    name: str
    kind: str
    maps: int
    size: str
    kernel: str = ""
    stride: str = ""
    padding: str = ""
    activation: str = ""
    parameters: int = 0
    connections: int = 0
    multiply_adds: int = 0
    depth: int = 0


def summarise(network: "nn.Module", image_shape: tuple[int, int, int]) -> list[Row]:
    """A row for each layer, the input first, from one pass of an empty image through the network.

    Args:
        network: any of the networks.
        image_shape: channels, height and width of its input.
    """
    import torch

    rows = [Row("input", "image", image_shape[0], f"{image_shape[1]}×{image_shape[2]}")]
    outputs: dict[nn.Module, Tensor] = {}

    def remember(module: "nn.Module", inputs: Any, output: Any) -> None:
        if not isinstance(output, tuple):
            outputs[module] = output

    hooks = [module.register_forward_hook(remember) for module in network.modules()]
    training = network.training
    images = torch.zeros(1, *image_shape, device=next(network.parameters()).device)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        network.eval()(images)
        tested = set(outputs)
        network.train()(images)  # computes what is for training alone, too
    network.train(training)
    for hook in hooks:
        hook.remove()
    for name, layer in network.named_children():
        rows += describe(name, layer, outputs, tested)
    return rows


def describe(
    name: str, layer: "nn.Module", outputs: "dict[nn.Module, Tensor]", tested: "Collection[nn.Module]", depth: int = 0
) -> list[Row]:
    """The rows of one layer and, if it is made of layers, of these.

    Args:
        name: of the layer.
        layer: the layer.
        outputs: what each module of the network puts out for one image.
        tested: the modules that a network in testing computes.
        depth: how many layers it is a part of.
    """
    from torch import nn

    from cnn_experiments.models.layers import is_layer

    if isinstance(layer, nn.Identity):  # the place of something that was left out
        return []
    output = outputs[layer][0]
    size = "×".join(map(str, output.shape[1:])) or "1"
    row = Row(name, kind_of(layer), output.shape[0], size, depth=depth)
    row.parameters = sum(parameter.numel() for parameter in layer.parameters())
    parts = dict(layer.named_children())
    if not is_layer(layer):
        inner = [describe(part_name, part, outputs, tested, depth + 1) for part_name, part in parts.items()]
        row.connections = sum(rows[0].connections for rows in inner if rows)
        row.multiply_adds = sum(rows[0].multiply_adds for rows in inner if rows)
        if layer not in tested:
            row.kind += ", training only"
        return [row, *(part for rows in inner for part in rows)]
    parts = parts or {kind_of(layer): layer}
    (kind, part), *_ = [item for item in parts.items() if item[0] not in ("activation", "flatten", "padding")]
    row.kind = kind if kind not in ("pool", "pooling") else kind_of(part)
    if isinstance(part, nn.Dropout):
        row.activation = f"p = {part.p}"
        return [row]
    if hasattr(part, "kernel_size"):
        row.kernel, row.stride = side(part.kernel_size), side(part.stride)
        row.padding = "same" if "padding" in parts else side(getattr(part, "padding", 0))
    if getattr(part, "groups", 1) > 1:
        row.kind += f" in {part.groups} groups"
    if "activation" in parts:
        row.activation = kind_of(parts["activation"])
    if part in tested:
        row.connections, row.multiply_adds = count(part, outputs[part][0])
    return [row]


def count(part: "nn.Module", output: "Tensor") -> tuple[int, int]:
    """Connections and multiply-adds of one module for one image, given its output (C, H, W) or (units,)."""
    from torch import nn

    from cnn_experiments.models.layers import PartialConv2d, Subsampling
    from cnn_experiments.models.lenet5 import RadialBasisFunctions

    units = output.numel()
    if isinstance(part, (nn.Conv2d, PartialConv2d, nn.Linear)):
        positions = units // len(output)  # at each, every weight is used once
        biases = 0 if part.bias is None else part.bias.numel()
        return positions * (part.weight.numel() + biases), positions * part.weight.numel()
    if isinstance(part, Subsampling):
        return units * (part.kernel_size**2 + 1), units
    if isinstance(part, (nn.AvgPool2d, nn.MaxPool2d)):
        return units * cast(int, part.kernel_size) ** 2, 0
    if isinstance(part, RadialBasisFunctions):
        return part.centres.numel(), part.centres.numel()
    return 0, 0


def kind_of(module: "nn.Module") -> str:
    """What a module is, in words."""
    names = {
        "AdaptiveAvgPool2d": "global average pooling",
        "AuxiliaryHead": "auxiliary head",
        "AvgPool2d": "average pooling",
        "Dropout": "dropout",
        "Inception": "inception module",
        "Layer": "convolutions",
        "Linear": "dense",
        "LocalResponseNorm": "LRN",
        "MaxPool2d": "max pooling",
        "RadialBasisFunctions": "RBF",
        "ReLU": "ReLU",
        "ScaledTanh": "scaled tanh",
        "Subsampling": "sub-sampling",
        "Tanh": "tanh",
    }
    return names.get(type(module).__name__, type(module).__name__)


def side(value: Any) -> str:
    """A size in pixels: ``5`` or ``(5, 5)`` as 5×5."""
    height, width = value if isinstance(value, tuple) else (value, value)
    return f"{height}×{width}"


def print_table(title: str, rows: list[Row]) -> None:
    """Print the rows and their totals."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, show_footer=True)
    table.add_column("layer", "total", no_wrap=True)
    for heading in ("kind", "maps", "output", "kernel", "stride", "padding", "activation"):
        table.add_column(heading, justify="right" if heading == "maps" else "left", no_wrap=True)
    for heading in ("parameters", "connections", "multiply-adds"):
        total = sum(getattr(row, heading.replace("-", "_")) for row in rows if not row.depth)
        table.add_column(heading, f"{total:,}", justify="right", no_wrap=True)
    for row in rows:
        numbers = (row.parameters, row.connections, row.multiply_adds)
        table.add_row(
            "  " * row.depth + row.name,
            row.kind,
            str(row.maps),
            row.size,
            row.kernel,
            row.stride,
            row.padding,
            row.activation,
            *(f"{number:,}" for number in numbers),
        )
    console = Console()
    console.width = max(console.width, 160)
    console.print(table)


if __name__ == "__main__":
    main()
