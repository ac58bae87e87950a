"""How healthy each layer is: its values, units out of use, and how much of the gradient reaches it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cnn_experiments.inspection.layer_outputs import (
    dead_maps,
    evaluation_mode,
    hooked,
    named_layers,
    saturated_shares,
    watching,
)
from cnn_experiments.inspection.layer_table import LayerTable, Row, layer_table
from cnn_experiments.models.network import loss_of

BINS = 40

Ranges = Mapping[str, tuple[float, float]]
"""Lowest and highest value of each layer, by name."""


@dataclass(frozen=True)
class LayerStatistics:
    """A layer, for some images.

    Args:
        layer: its name.
        shape: maps, height and width of what it outputs, or units.
        costs: its row of the layer table, with parameters and multiply-adds; None where the table has none.
        mean: of its values, like the next three.
        standard_deviation: likewise.
        lowest: likewise.
        highest: likewise.
        edges: of the histogram's bins, one more than there are bins.
        counts: how many values lie in each bin. Values that are no numbers lie in none.
        dead: share of its maps or units that are 0 on all images; None without ReLUs.
        saturated: share of its values beyond 95 % of the bound; None without tanhs.
        gradient: size (root mean square) of the gradient of an image's loss by the layer's values.
        weight_gradient: size of the gradient of the mean loss by its parameters; None where it has none.
        weights: size of these parameters; None likewise.
    """

    layer: str
    shape: tuple[int, ...]
    costs: Row | None
    mean: float
    standard_deviation: float
    lowest: float
    highest: float
    edges: list[float]
    counts: list[int]
    dead: float | None
    saturated: float | None
    gradient: float
    weight_gradient: float | None
    weights: float | None


def value_ranges(network: nn.Module, images: Tensor) -> dict[str, tuple[float, float]]:
    """The lowest and the highest value of each layer for some images; those that are no finite numbers left out.

    Args:
        network: any network; it is run in evaluation mode, and stays as it is.
        images: network input (N, C, H, W), on the network's device.
    """
    ranges: dict[str, tuple[float, float]] = {}

    def see(name: str, output: Tensor) -> None:
        values = finite(output)
        ranges[name] = (values.min().item(), values.max().item()) if values.numel() else (0.0, 0.0)

    with watching(named_layers(network), see), evaluation_mode(network), torch.no_grad():
        network.forward(images)
    return ranges


def shared_ranges(first: Ranges, second: Ranges) -> dict[str, tuple[float, float]]:
    """Ranges that hold the values of two networks, so that their histograms have the same bins.

    A layer that only one of them has keeps its own.
    """
    both = {
        name: (min(first[name][0], second[name][0]), max(first[name][1], second[name][1]))
        for name in first.keys() & second.keys()
    }
    return {**first, **second, **both}


def layer_statistics(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    ranges: Ranges | None = None,
    bins: int = BINS,
    table: LayerTable | None = None,
) -> list[LayerStatistics]:
    """Measure each layer for a batch, in evaluation mode: without dropout, augmentation or auxiliary heads.

    Args:
        network: any network; it stays as it is, gradients of its parameters included.
        images: network input (N, C, H, W), on the network's device; some dozens, since all values are kept for a while.
        labels: class numbers (N,).
        ranges: what the histograms span, from `shared_ranges`; None for each layer's own range.
        bins: of each histogram.
        table: the network's layer table, if it is at hand; measuring it takes longer than all else here.
    """
    layers = named_layers(network)
    rows = rows_by_name(layer_table(network, tuple(images.shape[1:])) if table is None else table)
    outputs, gradients, of_parameters = values_and_gradients(network, layers, images, labels)
    found = []
    for name, layer in layers.items():
        if name not in outputs:
            continue
        values = outputs[name].detach().float()
        dead, saturated = dead_maps(layer, values), saturated_shares(layer, values)
        low, high = values.min().item(), values.max().item()
        edges, counts = histogram(values, bins, None if ranges is None else ranges.get(name))
        weights = list(layer.parameters())
        weight_gradients = [of_parameters[weight] for weight in weights if weight in of_parameters]
        found.append(
            LayerStatistics(
                layer=name,
                shape=tuple(values.shape[1:]),
                costs=rows.get(name),
                mean=values.mean().item(),
                standard_deviation=values.std(correction=0).item(),
                lowest=low,
                highest=high,
                edges=edges,
                counts=counts,
                dead=None if dead is None else dead.float().mean().item(),
                saturated=None if saturated is None else saturated.mean().item(),
                gradient=size_of([gradients[name]]) * len(images),
                weight_gradient=size_of(weight_gradients) if weight_gradients else None,
                weights=size_of(weights) if weights else None,
            )
        )
    return found


def values_and_gradients(
    network: nn.Module, layers: Mapping[str, nn.Module], images: Tensor, labels: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[Tensor, Tensor]]:
    """What layers output, and the gradients of the loss of a batch.

    Args:
        network: any network; it is run in evaluation mode.
        layers: its layers by name.
        images: network input (N, C, H, W).
        labels: class numbers (N,).

    Returns:
        Outputs by layer, gradients by layer, and gradients by parameter.
    """
    outputs: dict[str, Tensor] = {}

    def keep(name: str, output: Any) -> Tensor | None:
        if not isinstance(output, Tensor):
            return None
        outputs[name] = output
        return output.clone()  # what follows may work in place

    images = images.detach().requires_grad_()  # so that layers without trained parameters have gradients, too
    with hooked(layers, keep), evaluation_mode(network), torch.enable_grad():
        scores = network.forward(images)
        value = loss_of(network, scores, labels)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(value, [*outputs.values(), *parameters], allow_unused=True)
    of_outputs = {
        name: torch.zeros_like(outputs[name]) if gradient is None else gradient
        for name, gradient in zip(outputs, found, strict=False)
    }
    of_parameters = zip(parameters, found[len(outputs) :], strict=True)
    return outputs, of_outputs, {parameter: gradient for parameter, gradient in of_parameters if gradient is not None}


def histogram(values: Tensor, bins: int, span: tuple[float, float] | None) -> tuple[list[float], list[int]]:
    """Edges of bins of equal width, and how many values lie in each.

    Args:
        values: of any shape; what is no finite number is left out.
        bins: how many.
        span: lowest and highest edge; None for the range of the values.
    """
    values = finite(values).cpu()
    if span is None:
        span = (values.min().item(), values.max().item()) if values.numel() else (0.0, 0.0)
    low, high = span if span[1] > span[0] else (span[0] - 0.5, span[0] + 0.5)
    counts = torch.histc(values, bins, low, high) if values.numel() else torch.zeros(bins)
    return torch.linspace(low, high, bins + 1).tolist(), counts.long().tolist()


def finite(values: Tensor) -> Tensor:
    """The finite numbers among values; the values themselves where all are, which is much faster than choosing them."""
    low, high = values.aminmax()
    return values if low.isfinite() and high.isfinite() else values[values.isfinite()]


def size_of(tensors: list[Tensor] | list[nn.Parameter]) -> float:
    """The root mean square of all numbers of some tensors."""
    norms = [torch.linalg.vector_norm(tensor.detach(), dtype=torch.float64).item() for tensor in tensors]
    numbers = sum(tensor.numel() for tensor in tensors)
    return math.hypot(*norms) / math.sqrt(max(1, numbers))


def rows_by_name(table: LayerTable) -> dict[str, Row]:
    """The rows of a layer table by the names that layers have here: ``inception3a/branch5x5/reduce``."""
    found, path = {}, list[str]()
    for row in table.rows:
        path = [*path[: row.depth], row.name]
        found["/".join(path)] = row
    return found
