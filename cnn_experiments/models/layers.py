"""Layers of the classic papers that PyTorch does not have, and the initial weights they share."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

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


def is_layer(module: nn.Module) -> bool:
    """Whether a module is one layer of a paper's table, and not several side by side or one after the other."""
    return not any(dict(part.named_children()) for part in module.children())


def layers_and_branches(network: nn.Module) -> dict[str, nn.Module]:
    """The layers of a table by name; one that is made of branches is followed by each, ``inception3a/branch5x5``."""
    found: dict[str, nn.Module] = {}
    for name, layer in network.named_children():
        found[name] = layer
        if not is_layer(layer):
            found |= {f"{name}/{branch_name}": branch for branch_name, branch in layer.named_children()}
    return found


class ScaledTanh(nn.Module):
    """1.7159 tanh(2/3 a), which maps ±1 to about ±1.

    Source: LeCun and others 1998, equation 6 and appendix A.
    """

    AMPLITUDE = 1.7159

    def forward(self, a: Tensor) -> Tensor:
        return self.AMPLITUDE * torch.tanh(a * (2 / 3))


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


class SamePadding(nn.Module):
    """Padding as TensorFlow's SAME: what follows puts out ceil(size / stride); an odd row or column goes to the end.

    Maps (N, C, H, W) to (N, C, H + rows, W + columns).

    Args:
        kernel_size: of the square window that follows, in pixels.
        stride: of that window, in pixels.
        value: what to pad with.
    """

    def __init__(self, kernel_size: int, stride: int, value: float = 0.0) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.value = kernel_size, stride, value

    def missing(self, size: int) -> tuple[int, int]:
        """Pixels to add before and after a side of `size` pixels."""
        total = max(0, (math.ceil(size / self.stride) - 1) * self.stride + self.kernel_size - size)
        return total // 2, total - total // 2

    def forward(self, maps: Tensor) -> Tensor:
        height, width = maps.shape[2:]
        return functional.pad(maps, (*self.missing(width), *self.missing(height)), value=self.value)


@dataclass(frozen=True)
class ResponseNormalisation:
    """The constants of local response normalisation, as Krizhevsky and others 2012 (section 3.3) write them.

    b_i = a_i / (k + α Σ_j a_j²)^β over the maps j from i - radius to i + radius. PyTorch's ``LocalResponseNorm`` of
    ``size`` n = 2 · radius + 1 divides its alpha by n first: its alpha is n times this one.
    """

    radius: Annotated[int, Ge(0)]
    alpha: Annotated[float, Ge(0)]
    beta: Annotated[float, Ge(0)]
    k: Annotated[float, Gt(0)]


class LocalResponseNorm(nn.Module):
    """Each value divided by a power of the squares of its neighbours in the maps around it.

    Maps (N, C, H, W) to the same shape. Source: Krizhevsky and others 2012, section 3.3.
    """

    def __init__(self, constants: ResponseNormalisation) -> None:
        super().__init__()
        self.constants = constants

    def forward(self, maps: Tensor) -> Tensor:
        return _ResponseNormalised.apply(maps, self.constants)

    def extra_repr(self) -> str:
        return str(self.constants)


class _ResponseNormalised(torch.autograd.Function):
    """The formula and its derivative written out: several times faster than pooling over an axis of maps."""

    @staticmethod
    def forward(context: Any, maps: Tensor, constants: ResponseNormalisation) -> Tensor:
        base = _sum_of_neighbours(maps * maps, constants.radius).mul_(constants.alpha).add_(constants.k)
        # d^-0.75 without the slow power: d^-½ · d^-¼
        factor = base.rsqrt() * base.sqrt().rsqrt_() if constants.beta == 0.75 else base**-constants.beta
        context.save_for_backward(maps, base, factor)
        context.constants = constants
        return maps * factor

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        maps, base, factor = context.saved_tensors
        constants = context.constants
        scaled = gradient * factor
        shared = _sum_of_neighbours((scaled * maps).div_(base), constants.radius)
        return scaled.addcmul_(maps, shared, value=-2 * constants.alpha * constants.beta), None


def _sum_of_neighbours(maps: Tensor, radius: int) -> Tensor:
    """For each map, the sum of those up to `radius` places away; maps (N, C, H, W)."""
    total = maps.clone()
    for distance in range(1, min(radius, maps.shape[1] - 1) + 1):
        total[:, distance:] += maps[:, :-distance]
        total[:, :-distance] += maps[:, distance:]
    return total


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
def initialise_as_he(network: nn.Module, outputs: Sequence[nn.Module] = ()) -> None:
    """Draw weights from N(0, 2 / fan-in); set biases to 0. Source: He and others 2015, equation 10.

    The layers in `outputs` get N(0, 0.01²): no class is favoured to begin with.
    """
    for weighted in weighted_layers(network):
        of_weight = fan_in(weighted)[0]
        weighted.weight.normal_().mul_(0.01 if weighted in outputs else (2 / of_weight).sqrt())
        if weighted.bias is not None:
            weighted.bias.zero_()
