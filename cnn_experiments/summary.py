"""cnn-summary: the layers of a network as a table, as the papers print it."""

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
    rows = summarise(Classifier(settings).network, (model["in_channels"], model["input_size"], model["input_size"]))
    print_table(model["name"], rows)


@dataclass
class Row:
    """A layer: what it is, what it gives out, and what it costs for one image.

    ``connections`` counts as LeCun and others do: every input of every unit, and its bias. ``multiply_adds`` counts
    the products of convolutions, dense layers, trained sub-sampling and RBF units.
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


def summarise(network: "nn.Module", image_shape: tuple[int, int, int]) -> list[Row]:
    """A row for each layer, the input first, from one pass of an empty image through the network.

    Args:
        network: any of the networks.
        image_shape: channels, height and width of its input.
    """
    import torch

    rows = [Row("input", "image", image_shape[0], f"{image_shape[1]}×{image_shape[2]}")]
    outputs: dict[nn.Module, Tensor] = {}

    def remember(module: "nn.Module", inputs: Any, output: "Tensor") -> None:
        outputs[module] = output

    hooks = [module.register_forward_hook(remember) for module in network.modules()]
    training = network.training
    device = next(network.parameters()).device
    with torch.no_grad():
        network.eval()(torch.zeros(1, *image_shape, device=device))
    network.train(training)
    for hook in hooks:
        hook.remove()
    for name, layer in network.named_children():
        rows.append(describe(name, layer, outputs))
    return rows


def describe(name: str, layer: "nn.Module", outputs: "dict[nn.Module, Tensor]") -> Row:
    """The row of one layer, given what each of its modules put out."""
    from torch import nn

    parts = dict(layer.named_children()) or {kind_of(layer): layer}
    working = {kind: part for kind, part in parts.items() if kind not in ("activation", "flatten")}
    (kind, part), *_ = working.items()
    output = outputs[layer][0]
    row = Row(
        name, kind_of(part) if kind == "pooling" else kind, output.shape[0], "×".join(map(str, output.shape[1:])) or "1"
    )
    row.parameters = sum(parameter.numel() for parameter in layer.parameters())
    if isinstance(part, nn.Dropout):
        row.activation = f"p = {part.p}"
        return row
    if hasattr(part, "kernel_size"):
        row.kernel, row.stride = side(part.kernel_size), side(part.stride)
        row.padding = side(getattr(part, "padding", 0))
    if "activation" in parts:
        row.activation = kind_of(parts["activation"])
    row.connections, row.multiply_adds = count(part, outputs[part][0])
    return row


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
        "AvgPool2d": "average pooling",
        "Dropout": "dropout",
        "Linear": "dense",
        "RadialBasisFunctions": "RBF",
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
    table.add_column("layer", "total")
    for heading in ("kind", "maps", "output", "kernel", "stride", "padding", "activation"):
        table.add_column(heading, justify="right" if heading == "maps" else "left", no_wrap=True)
    for heading in ("parameters", "connections", "multiply-adds"):
        total = sum(getattr(row, heading.replace("-", "_")) for row in rows)
        table.add_column(heading, f"{total:,}", justify="right", no_wrap=True)
    for row in rows:
        numbers = (row.parameters, row.connections, row.multiply_adds)
        table.add_row(
            row.name,
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
    console.width = max(console.width, 130)
    console.print(table)


if __name__ == "__main__":
    main()
