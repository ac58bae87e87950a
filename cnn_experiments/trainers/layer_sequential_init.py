"""Initial weights from the data: layer by layer, such that each layer's outputs have the variance 1."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cnn_experiments.errors import UserError
from cnn_experiments.inspection.layer_table import copied
from cnn_experiments.models.initialisation import WeightedLayer, weighted_layers

TOLERANCE, MOST_ROUNDS = 0.1, 10  # of the variance, and for each layer; the paper's


@torch.no_grad()
def initialise_layer_by_layer(network: nn.Module, images: Tensor) -> int:
    """Layer-sequential unit-variance initialisation (LSUV) of all convolutions and dense layers, in place.

    Their weights become orthonormal matrices (Saxe and others 2014) and are then divided, from the first layer to the
    last, by the standard deviation of the layer's outputs for some images, until that is about 1. Signals then neither
    fade nor grow with depth, whatever lies between the layers. Biases stay as they are. Auxiliary heads take part;
    dropout does not. Source: Mishkin and Matas 2016, "All you need is a good init", section 3.
    https://arxiv.org/abs/1511.06422

    Args:
        network: the network. Torch's global random state decides which orthonormal matrices it gets.
        images: as it gets them in training, (N, C, H, W), on the CPU.

    Returns:
        The number of layers that were initialised.

    Raises:
        UserError: the outputs of a layer are the same for all images, at all places.
    """
    trial = copied(network).cpu().float().train()  # heads are used in training only
    scaling = Scaling({module: name for name, module in trial.named_modules()})
    for module in trial.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()
        if isinstance(module, WeightedLayer):
            nn.init.orthogonal_(module.weight)
            module.register_forward_hook(scaling)
    trial(images)
    for layer, scaled in zip(weighted_layers(network), weighted_layers(trial), strict=True):
        if scaled in scaling.done:
            layer.weight.copy_(scaled.weight)
    return len(scaling.done)


class Scaling:
    """Scales the weights of each layer when it is first used, and hands its new outputs on to the next.

    Args:
        names: of the layers.
    """

    def __init__(self, names: Mapping[nn.Module, str]) -> None:
        self.names = names
        self.done: set[nn.Module] = set()

    def __call__(self, layer: WeightedLayer, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        if layer in self.done:
            return output
        self.done.add(layer)
        for _ in range(MOST_ROUNDS):
            variance = output.var()
            if not variance > 0:
                raise UserError(
                    f"trainer.layer_sequential_init=true: the outputs of {self.names[layer]} do not vary over the "
                    "first batch of training images, so that nothing can scale them. Set it to false"
                )
            if abs(variance - 1) < TOLERANCE:
                break
            layer.weight.div_(variance.sqrt())
            output = layer.forward(*inputs)
        return output
