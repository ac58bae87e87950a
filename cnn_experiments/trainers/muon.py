"""Muon for convolutions, and AdamW for all other parameters, as one optimizer."""

from collections.abc import Callable, Iterable
from typing import Annotated, Any

import torch
from annotated_types import Ge, Lt
from torch import Tensor
from torch.optim import AdamW, Optimizer

NotNegative = Annotated[float, Ge(0)]
# Of the polynomial a·x + b·x³ + c·x⁵, which brings singular values from (0, 1] to about 1 within five rounds.
COEFFICIENTS, ROUNDS = (3.4445, -4.7750, 2.0315), 5
WIDE = 1.5  # columns for each row, from which on fewer multiplications are needed by way of the Gram matrix


class Muon(Optimizer):
    """Moves the kernels of a convolution by the orthogonal matrix that is nearest to their momentum.

    The kernels, (maps, C, H, W), are taken as a matrix of maps × C·H·W. Its singular values all become about 1, so that
    a step goes equally far in all directions, and not only in those few that dominate gradients. It is scaled by
    0.2·√max(rows, columns), which makes it as long as a step of AdamW: one learning rate and one weight decay serve for
    both. All other parameters, dense layers and biases among them, are AdamW's.

    ``torch.optim.Muon`` takes matrices only, and multiplies them in bfloat16 everywhere. Here that is done on a GPU
    alone: processors without units for this type take many times as long.

    Sources: Jordan and others 2024, "Muon: An optimizer for hidden layers in neural networks",
    https://kellerjordan.github.io/posts/muon/; the scale: Liu and others 2025, "Muon is Scalable for LLM Training",
    https://arxiv.org/abs/2502.16982.

    Args:
        params: the parameters.
        lr: learning rate.
        weight_decay: the share of each parameter, times `lr`, that a step takes away.
        momentum: the share of the momentum of convolutions that a step keeps.
        fused: whether AdamW uses its fused implementation.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: NotNegative = 3e-4,
        weight_decay: NotNegative = 0.05,
        momentum: Annotated[float, Ge(0), Lt(1)] = 0.95,
        fused: bool | None = None,
    ) -> None:
        parameters = list(params)
        kernels = [parameter for parameter in parameters if parameter.dim() == 4]
        others = [parameter for parameter in parameters if parameter.dim() != 4]
        self._adamw = AdamW(others or [torch.zeros(0)], lr=lr, weight_decay=weight_decay, fused=fused)
        of_kernels = {"params": kernels, "lr": lr, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__([of_kernels, *self._adamw.param_groups], {})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step; `closure` computes loss and gradients first, if it is given."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        of_kernels, *others = self.param_groups
        for kernels in of_kernels["params"]:
            if kernels.grad is not None:
                self._move(kernels, kernels.grad, of_kernels["lr"], of_kernels["weight_decay"], of_kernels["momentum"])
        self._adamw.param_groups, self._adamw.state = others, self.state  # which loading a checkpoint replaces
        self._adamw.step()
        return loss

    def _move(self, kernels: Tensor, gradient: Tensor, lr: float, weight_decay: float, momentum: float) -> None:
        state = self.state[kernels]
        if not state:
            state["momentum"] = torch.zeros_like(kernels)
        state["momentum"].lerp_(gradient, 1 - momentum)
        direction = gradient.lerp(state["momentum"], momentum).flatten(1)  # Nesterov's
        kernels.mul_(1 - lr * weight_decay)
        scale = 0.2 * max(direction.shape) ** 0.5
        kernels.sub_(orthogonalised(direction).view(kernels.shape), alpha=lr * scale)


def orthogonalised(matrix: Tensor) -> Tensor:
    """A matrix with the singular vectors of another, whose singular values are about 1 (0.7 to 1.2).

    It is the result of a Newton-Schulz iteration, which needs matrix products alone.
    """
    x: Tensor = matrix.bfloat16() if matrix.is_cuda else matrix
    x = x.mT if x.shape[0] > x.shape[1] else x
    x = x / x.norm().clamp_min(1e-7)
    precise = x.dtype in (torch.float32, torch.float64)  # as the shorter way needs it
    x = _iterated_by_gram(x) if precise and x.shape[1] >= WIDE * x.shape[0] else _iterated(x)
    x = x.mT if matrix.shape[0] > matrix.shape[1] else x
    return x.to(matrix.dtype)


def _iterated(x: Tensor) -> Tensor:
    """Newton-Schulz iteration: in each round the product of a polynomial of x·xᵀ and x."""
    a, b, c = COEFFICIENTS
    for _ in range(ROUNDS):
        gram = x @ x.mT
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _iterated_by_gram(x: Tensor) -> Tensor:
    """The same for a wide matrix: all rounds on the square x·xᵀ, and one product with x at the end.

    A round multiplies x by p = a + b·g + c·g², and so g = x·xᵀ by p on both sides.
    """
    a, b, c = COEFFICIENTS
    gram = x @ x.mT
    product: Tensor | None = None
    for last in reversed(range(ROUNDS)):
        polynomial = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal().add_(a)
        product = polynomial if product is None else polynomial @ product
        gram = polynomial @ gram @ polynomial if last else gram
    assert product is not None
    return product @ x
