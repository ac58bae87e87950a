"""Adaptive gradient clipping: no step may change a unit by more than a share of its weights."""

from typing import Any

import torch
from torch import Tensor, nn

from cnn_experiments.inspection.layer_table import copied
from cnn_experiments.settings.schema import TrainerSettings

LEAST_NORM = 1e-3  # of weights, so that those that begin at 0 can leave it; the paper's ε


class AdaptiveClipping:
    """Scales down the gradient of each unit whose norm is more than a share of that of the unit's weights.

    G ← share · max(‖W‖, 10⁻³) / ‖G‖ · G where ‖G‖ / max(‖W‖, 10⁻³) > share, with Euclidean norms over all weights into
    one unit or map; a layer's biases, or its gains, have one norm together. The last layer with weights is left as it
    is, as the paper leaves the linear layer that computes the scores. Source: Brock and others 2021, "High-Performance
    Large-Scale Image Recognition Without Normalization", section 4.1. https://arxiv.org/abs/2102.06171

    Args:
        share: λ of the paper, which tries 0.01 to 0.16.
        network: the network in training.
        input_shape: of its images: channels, height and width.
    """

    def __init__(self, share: float, network: nn.Module, input_shape: tuple[int, int, int]) -> None:
        self.share = share
        last = last_layer(network, input_shape)
        self.parameters = [
            parameter
            for name, parameter in network.named_parameters()
            if name.rpartition(".")[0] != last and parameter.requires_grad
        ]

    @torch.no_grad()
    def __call__(self) -> None:
        """Clip the gradients that the parameters have, in place."""
        for parameter in self.parameters:
            if parameter.grad is not None:
                largest = norms_of_units(parameter).clamp_min(LEAST_NORM) * self.share
                norms = norms_of_units(parameter.grad)
                parameter.grad.mul_(torch.where(norms > largest, largest / norms, 1.0))


def norms_of_units(tensor: Tensor) -> Tensor:
    """The norm of the weights of each unit, shaped to broadcast to `tensor`, whose first dimension counts the units."""
    each = None if tensor.squeeze().dim() <= 1 else tuple(range(1, tensor.dim()))  # None: of biases or gains, of all
    norms: Tensor = torch.linalg.vector_norm(tensor, dim=each, keepdim=True)
    return norms


def last_layer(network: nn.Module, input_shape: tuple[int, int, int]) -> str:
    """The name of the module with parameters of its own that a network begins last, which computes the scores.

    That a module ends last, as the network itself does, says nothing: it may have parameters beside its layers.

    Args:
        network: the network; it is not touched.
        input_shape: of its images: channels, height and width.
    """
    trial, run = copied(network).cpu().float().eval(), [""]

    def note(name: str) -> Any:
        return lambda *_: run.append(name)

    for name, module in trial.named_modules():
        if any(True for _ in module.parameters(recurse=False)):
            module.register_forward_pre_hook(note(name))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        trial(torch.zeros(1, *input_shape))
    return run[-1]


def adaptive_clipping_of(
    settings: TrainerSettings, network: nn.Module, input_shape: tuple[int, int, int]
) -> AdaptiveClipping | None:
    """What a run's settings want of this; None if they do not want it."""
    return AdaptiveClipping(settings.adaptive_clipping, network, input_shape) if settings.adaptive_clipping else None
