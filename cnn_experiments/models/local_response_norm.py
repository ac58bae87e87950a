"""Local response normalisation, as an operator of its own: several times faster than PyTorch's, and exact.

With d_i = k + α Σ_j a_j² and g the gradient by b, where b_i = a_i d_i^-β, the gradient by a_i is
g_i d_i^-β - 2αβ a_i Σ_j g_j a_j d_j^(-β-1).

PyTorch's own layer pools over the axis of maps. Written with sums of shifted maps it takes some ten passes over the
values, and on a CPU the memory, not the arithmetic, limits each of them. So the images are taken a few at a time, such
that these passes stay in the cache. On a GPU each direction is one kernel, see local_response_norm_gpu.py. Since the
operator is opaque to PyTorch's compiler, it is as fast in a compiled network.
"""

import functools
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

log = logging.getLogger(__name__)

VALUES_AT_ONCE = 2**18  # on a CPU: a megabyte in single precision


@dataclass(frozen=True)
class ResponseNormalisation:
    """The constants of local response normalisation, as Krizhevsky and others 2012 (section 3.3) write them.

    PyTorch's ``nn.LocalResponseNorm(size=n)`` divides its alpha by n = 2 · radius + 1; this alpha is not divided.

    Args:
        radius: how many maps to either side are summed, the paper's n/2.
        alpha: α, the weight of their squares.
        beta: β, the exponent.
        k: k, what is divided by where all maps are 0.
    """

    radius: Annotated[int, Ge(0)]
    alpha: Annotated[float, Ge(0)]
    beta: Annotated[float, Ge(0)]
    k: Annotated[float, Gt(0)]


class LocalResponseNorm(nn.Module):
    """Local response normalisation: b_i = a_i / (k + α Σ_j a_j²)^β, summed over the maps j from i-radius to i+radius.

    Neighbouring maps compete at each place: a strong response suppresses those beside it, as neurons inhibit their
    neighbours. Batch normalisation has replaced it since. Source: Krizhevsky and others 2012, section 3.3.

    Shapes: (N, C, H, W) to the same. In half precision it computes in single precision.

    Args:
        constants: radius, α, β and k.
    """

    def __init__(self, constants: ResponseNormalisation) -> None:
        super().__init__()
        self.constants = constants

    def forward(self, maps: Tensor) -> Tensor:
        constants = self.constants
        if torch.compiler.is_exporting() or (torch.compiler.is_compiling() and maps.is_cuda):
            return _formula(maps, constants)  # in operators that others know, or that a GPU's compiler fuses
        normalised: Tensor = OPERATOR(maps, constants.radius, constants.alpha, constants.beta, constants.k)[0]
        return normalised

    def extra_repr(self) -> str:
        return str(self.constants)


def _formula(maps: Tensor, constants: ResponseNormalisation) -> Tensor:
    """The formula in PyTorch's operators."""
    squares = maps.to(_precision(maps)).square()
    base = _add_neighbours(torch.full_like(squares, constants.k), squares, constants.radius, constants.alpha)
    return (maps * base**-constants.beta).to(maps.dtype)


def _add_neighbours(total: Tensor, maps: Tensor, radius: int, weight: float) -> Tensor:
    """Add to each map, in place, `weight` times the sum over that map and up to `radius` before and after it."""
    total.add_(maps, alpha=weight)
    for distance in range(1, min(radius, maps.shape[1] - 1) + 1):
        total[:, distance:].add_(maps[:, :-distance], alpha=weight)
        total[:, :-distance].add_(maps[:, distance:], alpha=weight)
    return total


torch.library.define(
    "cnn_experiments::local_response_norm",
    "(Tensor maps, int radius, float alpha, float beta, float k) -> (Tensor, Tensor)",
)
torch.library.define(
    "cnn_experiments::local_response_norm_backward",
    "(Tensor gradient, Tensor maps, Tensor base, int radius, float alpha, float beta) -> Tensor",
)
OPERATOR = torch.ops.cnn_experiments.local_response_norm.default
BACKWARD = torch.ops.cnn_experiments.local_response_norm_backward.default


@torch.library.impl("cnn_experiments::local_response_norm", "default")
def _normalise(maps: Tensor, radius: int, alpha: float, beta: float, k: float) -> tuple[Tensor, Tensor]:
    """The normalised maps b, and the bases d, in single precision at least."""
    if kernels := _kernels(maps):
        on_gpu: tuple[Tensor, Tensor] = kernels.normalise(maps, radius, alpha, beta, k)
        return on_gpu
    normalised, base = torch.empty_like(maps), torch.empty_like(maps, dtype=_precision(maps))
    for some, of_some, out in _in_parts(maps, base, normalised):
        values = some.to(base.dtype)
        _add_neighbours(of_some.fill_(k), values * values, radius, alpha)
        power = _power(of_some, beta)
        out.copy_(torch.mul(power, values, out=_in_precision_of(power, out)))
    return normalised, base


@torch.library.impl("cnn_experiments::local_response_norm_backward", "default")
def _gradient_by_maps(gradient: Tensor, maps: Tensor, base: Tensor, radius: int, alpha: float, beta: float) -> Tensor:
    if kernels := _kernels(maps):
        on_gpu: Tensor = kernels.differentiate(gradient, maps, base, radius, alpha, beta)
        return on_gpu
    by_maps = torch.empty_like(maps)
    for some, of_some, of_gradient, out in _in_parts(maps, base, gradient, by_maps):
        values = some.to(base.dtype)
        scaled = _power(of_some, beta).mul_(of_gradient)
        products = (scaled * values).div_(of_some)
        shared = _add_neighbours(torch.zeros_like(products), products, radius, -2 * alpha * beta)
        out.copy_(torch.addcmul(scaled, values, shared, out=_in_precision_of(scaled, out)))
    return by_maps


def _kernels(maps: Tensor) -> ModuleType | None:
    """The kernels for a GPU if the maps are on one that can run them; they do not compute in double precision."""
    return _kernels_of_this_machine() if maps.is_cuda and maps.dtype != torch.float64 else None


@functools.cache
def _kernels_of_this_machine() -> ModuleType | None:
    """The kernels for a GPU, tried once: Triton may be missing, or the C compiler that it needs."""
    try:
        from cnn_experiments.models import local_response_norm_gpu

        local_response_norm_gpu.normalise(torch.ones(1, 1, 1, 1, device="cuda"), 0, 1.0, 0.75, 1.0)
    except Exception as error:  # whatever a compiler that is not set up leads to
        log.warning("local response normalisation is slower than it could be: Triton does not work here (%s)", error)
        return None
    return local_response_norm_gpu


def _precision(maps: Tensor) -> torch.dtype:
    return maps.dtype if maps.dtype == torch.float64 else torch.float32


def _in_precision_of(computed: Tensor, out: Tensor) -> Tensor:
    """Where to write a result: `out` itself, to which it need not be copied, or else over what it is computed from.

    An operator that writes channels-last maps of another precision takes nine times as long as a copy of them.
    """
    return out if out.dtype == computed.dtype else computed


def _power(base: Tensor, beta: float) -> Tensor:
    """base^-beta. d^-¾ is the reciprocal square root of d·√d, which is much faster than a power."""
    return base.sqrt().mul_(base).rsqrt_() if beta == 0.75 else base**-beta


def _in_parts(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same images of each tensor: a few at a time on a CPU, all at once on a GPU."""
    images = len(tensors[0])
    if tensors[0].is_cpu and images:
        images = max(1, VALUES_AT_ONCE // max(1, tensors[0][0].numel()))
    return zip(*(torch.split(tensor, images) for tensor in tensors), strict=True)


@torch.library.register_fake("cnn_experiments::local_response_norm")  # type: ignore[untyped-decorator]
def _shapes(maps: Tensor, radius: int, alpha: float, beta: float, k: float) -> tuple[Tensor, Tensor]:
    return torch.empty_like(maps), torch.empty_like(maps, dtype=_precision(maps))


@torch.library.register_fake("cnn_experiments::local_response_norm_backward")  # type: ignore[untyped-decorator]
def _shape(gradient: Tensor, maps: Tensor, base: Tensor, radius: int, alpha: float, beta: float) -> Tensor:
    return torch.empty_like(maps)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    maps, *ctx.constants = inputs
    ctx.save_for_backward(maps, output[1])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, gradient: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    maps, base = ctx.saved_tensors
    radius, alpha, beta, _k = ctx.constants
    by_maps = None if gradient is None else BACKWARD(gradient, maps, base, radius, alpha, beta)
    return by_maps, None, None, None, None


torch.library.register_autograd("cnn_experiments::local_response_norm", _backward, setup_context=_keep)
