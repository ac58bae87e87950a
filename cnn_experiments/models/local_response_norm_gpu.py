"""Local response normalisation on a GPU: one kernel forwards and one backwards, which read and write each value once.

PyTorch's operators take some ten passes over the values in each direction, and on a GPU, too, memory limits each of
them. The kernels are written in Triton, which comes with PyTorch for NVIDIA's GPUs on Linux; local_response_norm.py has
the formulas, and uses its own passes where Triton is missing.
"""

from typing import Any

import torch
import triton
from torch import Tensor
from triton import language as tl

VALUES_OF_A_PROGRAM = 1024


@triton.jit
def _normalise(
    maps, normalised, base, values, stride, channels, alpha, beta, k, radius: tl.constexpr, size: tl.constexpr
):
    """b_i = a_i d_i^-β and d_i = k + α Σ_j a_j² of `size` values that lie side by side in memory."""
    at = tl.program_id(0).to(tl.int64) * size + tl.arange(0, size)
    exists = at < values
    channel = (at // stride) % channels
    squares = tl.zeros([size], tl.float32)
    for step in tl.static_range(2 * radius + 1):
        neighbour = channel + (step - radius)
        is_map = exists & (neighbour >= 0) & (neighbour < channels)
        value = tl.load(maps + at + (step - radius) * stride, mask=is_map, other=0.0).to(tl.float32)
        squares += value * value
    bases = k + alpha * squares
    own = tl.load(maps + at, mask=exists, other=0.0).to(tl.float32)
    tl.store(base + at, bases, mask=exists)
    tl.store(normalised + at, own * tl.exp2(-beta * tl.log2(bases)), mask=exists)


@triton.jit
def _differentiate(
    gradient, maps, base, by_maps, values, stride, channels, alpha, beta, radius: tl.constexpr, size: tl.constexpr
):
    """g_i d_i^-β - 2αβ a_i Σ_j g_j a_j d_j^(-β-1) of `size` values that lie side by side in memory."""
    at = tl.program_id(0).to(tl.int64) * size + tl.arange(0, size)
    exists = at < values
    channel = (at // stride) % channels
    shared = tl.zeros([size], tl.float32)
    for step in tl.static_range(2 * radius + 1):
        neighbour = channel + (step - radius)
        is_map = exists & (neighbour >= 0) & (neighbour < channels)
        there = at + (step - radius) * stride
        value = tl.load(maps + there, mask=is_map, other=0.0).to(tl.float32)
        of_loss = tl.load(gradient + there, mask=is_map, other=0.0).to(tl.float32)
        bases = tl.load(base + there, mask=is_map, other=1.0)
        shared += of_loss * value * tl.exp2(-(beta + 1) * tl.log2(bases))
    value = tl.load(maps + at, mask=exists, other=0.0).to(tl.float32)
    of_loss = tl.load(gradient + at, mask=exists, other=0.0).to(tl.float32)
    bases = tl.load(base + at, mask=exists, other=1.0)
    result = of_loss * tl.exp2(-beta * tl.log2(bases)) - 2 * alpha * beta * value * shared
    tl.store(by_maps + at, result, mask=exists)


def normalise(maps: Tensor, radius: int, alpha: float, beta: float, k: float) -> tuple[Tensor, Tensor]:
    """The normalised maps b, and the bases d in single precision.

    Args:
        maps: (N, C, H, W), contiguous or channels last, in half or single precision.
        radius, alpha, beta, k: see `ResponseNormalisation`.
    """
    maps = _without_gaps(maps)
    normalised, base = torch.empty_like(maps), torch.empty_like(maps, dtype=torch.float32)
    _run(_normalise, maps, (maps, normalised, base), (alpha, beta, k), radius)
    return normalised, base


def differentiate(gradient: Tensor, maps: Tensor, base: Tensor, radius: int, alpha: float, beta: float) -> Tensor:
    """The gradient by the maps, from that by the normalised maps.

    Args:
        gradient: by the normalised maps, (N, C, H, W).
        maps: what was normalised.
        base: see `normalise`.
        radius, alpha, beta: see `ResponseNormalisation`.
    """
    maps = _without_gaps(maps)
    if gradient.stride() != maps.stride():
        gradient = torch.empty_like(maps, dtype=gradient.dtype).copy_(gradient)
    by_maps = torch.empty_like(maps)
    _run(_differentiate, maps, (gradient, maps, base, by_maps), (alpha, beta), radius)
    return by_maps


def _without_gaps(maps: Tensor) -> Tensor:
    """The maps such that a value's place in memory says which map it is of, in the order that they have if possible."""
    ordered = maps.is_contiguous() or (maps.dim() == 4 and maps.is_contiguous(memory_format=torch.channels_last))
    return maps if ordered else maps.contiguous()


def _run(kernel: Any, maps: Tensor, tensors: tuple[Tensor, ...], constants: tuple[float, ...], radius: int) -> None:
    """Start as many programs as the maps need; all tensors have the strides of the maps."""
    values = maps.numel()
    if values:
        with torch.cuda.device_of(maps):
            programs = (triton.cdiv(values, VALUES_OF_A_PROGRAM),)
            kernel[programs](
                *tensors, values, maps.stride(1), maps.shape[1], *constants, radius=radius, size=VALUES_OF_A_PROGRAM
            )
