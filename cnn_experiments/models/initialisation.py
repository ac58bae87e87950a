"""Initial weights: He's and the article's, which every network offers beside those of its own paper."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from cnn_experiments.models.layers import PartialConv2d

WeightedLayer = nn.Conv2d | nn.Linear | PartialConv2d


def initialise(
    network: nn.Module, init: str, paper: Callable[[nn.Module], None], outputs: Sequence[nn.Module] = ()
) -> None:
    """Draw a network's initial weights, with PyTorch's global random generator.

    Args:
        network: the network.
        init: ``paper``, ``article`` or ``he``.
        paper: draws the weights as the network's paper does.
        outputs: the output layers, to which ``he`` gives small weights.
    """
    match init:
        case "paper":
            paper(network)
        case "article":
            initialise_as_the_article(network)
        case "he":
            initialise_as_he(network, outputs)


@torch.no_grad()
def initialise_as_the_article(network: nn.Module) -> None:
    """Draw weights from N(0, 0.1²) truncated at two standard deviations; set biases to 0.1. Source: the article.

    A layer's fan-in plays no part: the outputs of wide layers start large, and grow from layer to layer.
    """
    for layer in weighted_layers(network):
        nn.init.trunc_normal_(layer.weight, std=0.1, a=-0.2, b=0.2)
        if layer.bias is not None:
            layer.bias.fill_(0.1)


@torch.no_grad()
def initialise_as_he(network: nn.Module, outputs: Sequence[nn.Module] = ()) -> None:
    """Draw weights from N(0, 2 / fan-in); set biases to 0.

    A ReLU sets half of its inputs to 0. The factor 2 makes up for that, so that signals neither fade nor grow with
    depth. The layers in `outputs` get N(0, 0.01²) instead: all scores start near 0, and no class is favoured.

    Source: He and others 2015, "Delving Deep into Rectifiers", equation 10. https://arxiv.org/abs/1502.01852
    """
    for layer in weighted_layers(network):
        weight_fan_in, _ = fan_in(layer)
        layer.weight.normal_().mul_(0.01 if layer in outputs else (2 / weight_fan_in).sqrt())
        if layer.bias is not None:
            layer.bias.zero_()


def weighted_layers(network: nn.Module) -> list[WeightedLayer]:
    """All convolutions and dense layers of a network, in order."""
    return [module for module in network.modules() if isinstance(module, WeightedLayer)]


def fan_in(layer: WeightedLayer) -> tuple[Tensor, Tensor]:
    """The number of inputs of each unit, as a tensor that broadcasts to the layer's weight and one to its bias."""
    if isinstance(layer, PartialConv2d):  # its maps see different numbers of input maps
        kernels = torch.tensor([len(inputs) for inputs in layer.table])
        units = kernels.float() * layer.kernel_size**2
        return units.repeat_interleave(kernels)[:, None, None], units
    number = torch.tensor(float(layer.weight[0].numel()))
    return number, number
