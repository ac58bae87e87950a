"""Layers of the classic papers that PyTorch does not have."""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn
from torch.nn import functional

from cnn_experiments.models.local_response_norm import LocalResponseNorm, ResponseNormalisation

Count = Annotated[int, Gt(0)]
DropoutProbability = Annotated[float, Ge(0), Lt(1)]


class Layer(nn.Sequential):
    """The parts of one layer of a paper's table, by name and in order; a part that is None is left out.

    For example ``Layer(convolution=nn.Conv2d(1, 6, 5), activation=nn.ReLU())``.
    """

    def __init__(self, **parts: nn.Module | None) -> None:
        super().__init__(OrderedDict((name, part) for name, part in parts.items() if part is not None))


def is_layer(module: nn.Module) -> bool:
    """Whether a module is a single layer of a paper's table, not several in parallel or in sequence."""
    return not any(dict(part.named_children()) for part in module.children())


def layers_and_branches(network: nn.Module) -> dict[str, nn.Module]:
    """The layers of a network by name; a layer made of branches is followed by each, as ``inception3a/branch5x5``."""
    found: dict[str, nn.Module] = {}
    for name, layer in network.named_children():
        found[name] = layer
        if not is_layer(layer):
            found |= {f"{name}/{branch_name}": branch for branch_name, branch in layer.named_children()}
    return found


class ScaledTanh(nn.Module):
    """1.7159 tanh(2/3 a), element by element.

    The constants make f(±1) = ±1, so that targets and inputs of ±1 lie where the curve bends most and not on its flat
    ends, where gradients vanish; and they make the gain about 1 between -1 and 1, so that the variance of a signal is
    kept from layer to layer. Source: LeCun and others 1998, equation 6 and appendix A.

    It is computed as 2 sigmoid(2a) - 1, which is tanh(a): PyTorch's sigmoid takes a third of the time on a CPU.
    """

    AMPLITUDE = 1.7159

    def forward(self, a: Tensor) -> Tensor:
        return torch.sigmoid(a * (4 / 3)) * (2 * self.AMPLITUDE) - self.AMPLITUDE


class Subsampling(nn.Module):
    """The average of each 2×2 square, times a trained coefficient, plus a trained bias; one pair for each map.

    Halving the resolution makes the exact position of a feature matter less. The coefficient decides what the tanh that
    follows makes of the average: a small one leaves it nearly linear, a mere blur; a large one turns the unit into a
    noisy OR or AND of its inputs, depending on the bias. (The paper adds the four inputs; averaging them only makes the
    coefficient four times as large.) Source: LeCun and others 1998, section II.B, layers S2 and S4.

    Shapes: (N, C, H, W) to (N, C, H/2, W/2).

    Args:
        maps: number of maps, C.
    """

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.kernel_size = self.stride = 2
        self.coefficient = nn.Parameter(torch.ones(maps, 1, 1))
        self.bias = nn.Parameter(torch.zeros(maps, 1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        # Sums of neighbouring rows, then of neighbouring columns: a third of the time of avg_pool2d on a CPU.
        number, of_maps, height, width = maps.shape[0], maps.shape[1], maps.shape[2] // 2, maps.shape[3] // 2
        upper, lower = maps[:, :, : 2 * height].reshape(number, of_maps, height, 2, maps.shape[3]).unbind(3)
        left, right = (upper + lower)[..., : 2 * width].reshape(number, of_maps, height, width, 2).unbind(4)
        return (left + right) * (self.coefficient / 4) + self.bias


class MatrixConv2d(nn.Conv2d):
    """A convolution that is computed on a CPU as a matrix product, with stride 1 and no padding.

    It takes less than half the time of PyTorch's where there is one input map, as in C1, or one window, as in C5.

    Shapes: (N, C, H, W) to (N, out_channels, H-K+1, W-K+1).

    Args:
        in_channels: number of input maps, C.
        out_channels: number of output maps.
        kernel_size: side of the square kernels in pixels, K.
    """

    bias: Tensor

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size)

    def forward(self, maps: Tensor) -> Tensor:
        if maps.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(maps)
        kernels = self.weight.flatten(1)
        height, width = (size - self.kernel_size[0] + 1 for size in maps.shape[2:])
        if height == width == 1:
            return functional.linear(maps.flatten(1), kernels, self.bias)[..., None, None]
        # For each weight of a kernel, the pixels that it meets: (N, C·K·K, places). They are copied a row at a time.
        pixels = maps.unfold(2, height, 1).unfold(3, width, 1).reshape(len(maps), kernels.shape[1], height * width)
        sums = torch.baddbmm(self.bias[:, None], kernels.expand(len(maps), -1, -1), pixels)
        return sums.view(len(maps), self.out_channels, height, width)


class PartialConv2d(nn.Module):
    """A convolution whose output maps each see only some of the input maps.

    Only the kernels of existing connections are parameters: ``weight`` has shape (connections, K, K). Computing the
    missing ones as zeros, in one dense convolution, is faster than 60 small convolutions.

    Shapes: (N, C, H, W) to (N, len(table), H-K+1, W-K+1). Source: LeCun and others 1998, table I.

    Args:
        table: for each output map, the numbers of the input maps it sees.
        in_channels: number of input maps, C.
        kernel_size: side of the square kernels in pixels, K.
    """

    source: Tensor

    def __init__(self, table: Sequence[Sequence[int]], in_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.table = tuple(tuple(inputs) for inputs in table)
        self.in_channels, self.out_channels, self.kernel_size = in_channels, len(table), kernel_size
        self.stride, self.padding = 1, 0
        pairs = [(output_map, input_map) for output_map, inputs in enumerate(table) for input_map in inputs]
        self.weight = nn.Parameter(torch.empty(len(pairs), kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(len(table)))
        # For each (output map, input map), the row of `weight` it uses; unconnected pairs use a row of zeros at the
        # end.
        source = torch.full((len(table), in_channels), len(pairs))
        for row, pair in enumerate(pairs):
            source[pair] = row
        self.register_buffer("source", source.flatten(), persistent=False)

    def dense_weight(self) -> Tensor:
        """The kernels as nn.Conv2d has them: (out_channels, in_channels, K, K), with zeros where nothing connects."""
        with_zeros = functional.pad(self.weight, (0, 0, 0, 0, 0, 1))
        kernels = with_zeros.index_select(0, self.source)
        return kernels.view(self.out_channels, self.in_channels, self.kernel_size, self.kernel_size)

    def forward(self, maps: Tensor) -> Tensor:
        return functional.conv2d(maps, self.dense_weight(), self.bias)


class SamePadding(nn.Module):
    """TensorFlow's SAME padding for the convolution or pool that follows, which then outputs ceil(size / stride).

    Where the padding is odd, the extra row or column goes to the bottom or right, which PyTorch's own padding cannot
    do.

    Shapes: (N, C, H, W) to (N, C, H + rows, W + columns).

    Args:
        kernel_size: side of the square window that follows, in pixels.
        stride: of that window, in pixels.
        value: what to pad with; -inf for a max pool, so that the padding is never the maximum.
    """

    def __init__(self, kernel_size: int, stride: int, value: float = 0.0) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.value = kernel_size, stride, value

    def forward(self, maps: Tensor) -> Tensor:
        height, width = maps.shape[2:]
        return functional.pad(maps, (*self.padding(width), *self.padding(height)), value=self.value)

    def padding(self, size: int) -> tuple[int, int]:
        """Pixels to add before and after `size` pixels."""
        steps = math.ceil(size / self.stride) - 1
        total = max(0, steps * self.stride + self.kernel_size - size)
        return total // 2, total - total // 2


def normalisation(constants: ResponseNormalisation | None) -> nn.Module:
    """Local response normalisation with these constants; nothing for None."""
    return nn.Identity() if constants is None else LocalResponseNorm(constants)


def convolution(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    padding: int | None = None,
    groups: int = 1,
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> Layer:
    """A square convolution and its activation: (N, inputs, H, W) to (N, outputs, H', W').

    A ReLU does not saturate as a tanh does: its gradient is 1 wherever it is active, and networks train several times
    faster with it (Krizhevsky and others 2012, section 3.1).

    Args:
        inputs: number of input maps.
        outputs: number of output maps.
        kernel: side of the kernels in pixels.
        stride: pixels from one window to the next.
        padding: zeros added on each side in pixels; None for half a kernel, which keeps the size at stride 1.
        groups: into how many groups the maps are divided; each group of output maps sees one group of input maps.
        activation: makes the activation.
    """
    padding = kernel // 2 if padding is None else padding
    return Layer(
        convolution=nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups), activation=activation()
    )


def output_side(side: int, kernel: int, stride: int, padding: int = 0) -> int:
    """Side of the maps that a square convolution or pool makes of maps of a side; below 1 where they are too small."""
    return (side + 2 * padding - kernel) // stride + 1
