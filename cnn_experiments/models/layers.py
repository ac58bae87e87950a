"""Layers of the classic papers that PyTorch does not have, and the initial weights they share."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn
from torch.nn import functional

Count = Annotated[int, Gt(0)]
DropoutProbability = Annotated[float, Ge(0), Lt(1)]


class Layer(nn.Sequential):
    """Parts that make up one layer of a paper's table, by name, in order; a part that is None is left out."""

    def __init__(self, **parts: nn.Module | None) -> None:
        super().__init__(OrderedDict((name, part) for name, part in parts.items() if part is not None))


class ScaledTanh(nn.Module):
    """1.7159 tanh(2/3 a), which maps ±1 to about ±1.

    Source: LeCun and others 1998, equation 6 and appendix A.
    """

    def forward(self, a: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(a * (2 / 3))


class Subsampling(nn.Module):
    """Average of each 2×2 square, times a trained coefficient, plus a trained bias; one pair a map.

    Maps (N, C, H, W) to (N, C, H/2, W/2). Source: LeCun and others 1998, section II.B, layers S2 and S4. (The paper
    adds the four inputs up; the average only makes the coefficient four times as large.)
    """

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.kernel_size = self.stride = 2
        self.coefficient = nn.Parameter(torch.ones(maps, 1, 1))
        self.bias = nn.Parameter(torch.zeros(maps, 1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        return functional.avg_pool2d(maps, 2) * self.coefficient + self.bias


class PartialConv2d(nn.Module):
    """A convolution whose output maps each see only some of the input maps.

    Only the kernels of existing connections are parameters: ``weight`` has shape (connections, K, K). Maps
    (N, C, H, W) to (N, len(table), H-K+1, W-K+1). Source: LeCun and others 1998, table I.

    Args:
        table: for each output map, the numbers of the input maps it sees.
        in_channels: number of input maps, C.
        kernel_size: side of the square kernel, K.
    """

    source: Tensor

    def __init__(self, table: Sequence[Sequence[int]], in_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.kernel_size = in_channels, len(table), kernel_size
        self.stride, self.padding = 1, 0
        pairs = [(output_map, input_map) for output_map, inputs in enumerate(table) for input_map in inputs]
        self.weight = nn.Parameter(torch.empty(len(pairs), kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(len(table)))
        # For each (output map, input map), the row of `weight` it uses; the row after the last is all zeros.
        source = torch.full((len(table), in_channels), len(pairs))
        for row, pair in enumerate(pairs):
            source[pair] = row
        self.register_buffer("source", source.flatten(), persistent=False)
        self.connected_kernels = tuple(len(inputs) for inputs in table)

    def dense_weight(self) -> Tensor:
        """The kernels as an ordinary convolution has them: (outputs, inputs, K, K), zero where nothing connects."""
        padded = functional.pad(self.weight, (0, 0, 0, 0, 0, 1))
        return padded.index_select(0, self.source).view(
            self.out_channels, self.in_channels, self.kernel_size, self.kernel_size
        )

    def forward(self, maps: Tensor) -> Tensor:
        return functional.conv2d(maps, self.dense_weight(), self.bias)


def fan_in(weighted: nn.Module) -> tuple[Tensor, Tensor]:
    """How many weights feed the units of a layer: once in the shape of its weight, once in the shape of its bias."""
    if isinstance(weighted, PartialConv2d):
        kernels = torch.tensor(weighted.connected_kernels, dtype=torch.float32)
        of_bias = kernels * weighted.kernel_size**2
        return of_bias.repeat_interleave(kernels.long())[:, None, None], of_bias
    if isinstance(weighted, (nn.Conv2d, nn.Linear)):
        number = torch.tensor(float(weighted.weight[0].numel()))
        return number, number
    raise TypeError(f"{type(weighted).__name__} has no weights to initialise")


def weighted_layers(network: nn.Module) -> list[nn.Conv2d | nn.Linear | PartialConv2d]:
    """All convolutions and dense layers of a network, in order."""
    return [module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.Linear, PartialConv2d))]


@torch.no_grad()
def initialise_as_the_article(network: nn.Module) -> None:
    """Draw weights from N(0, 0.1²), cut at two deviations; set biases to 0.1. Source: the article."""
    for weighted in weighted_layers(network):
        nn.init.trunc_normal_(weighted.weight, std=0.1, a=-0.2, b=0.2)
        if weighted.bias is not None:
            weighted.bias.fill_(0.1)


@torch.no_grad()
def initialise_as_he(network: nn.Module) -> None:
    """Draw weights from N(0, 2 / fan-in); set biases to 0. Source: He and others 2015, equation 10."""
    for weighted in weighted_layers(network):
        weighted.weight.normal_().mul_((2 / fan_in(weighted)[0]).sqrt())
        if weighted.bias is not None:
            weighted.bias.zero_()
