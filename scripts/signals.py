"""How large signals and gradients are in an untrained AlexNet: what theory says, beside what photographs show.

docs/why_51.md derives the formulas. Sizes are root mean squares. A layer with n inputs for each of its values, and
weights of standard deviation σ, makes signals √n · σ times as large; a ReLU behind it keeps 1/√2 of that.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from cnn_experiments.inspection.layer_outputs import evaluation_mode, layer_outputs, named_layers
from cnn_experiments.inspection.layer_statistics import layer_statistics
from cnn_experiments.models.layers import SamePadding

Init = Literal["article", "he"]
INITS: tuple[Init, ...] = get_args(Init)

MEAN_OF_RECTIFIED = 1 / math.sqrt(math.pi)  # mean / root mean square of max(0, z), z normal with mean 0


@dataclass(frozen=True)
class Signal:
    """A layer with weights, before training.

    Args:
        layer: its name.
        inputs: how many values one of its values sees, on average; those outside of the image do not count.
        growth: how many times as large as its input its output is: by theory, and measured.
        backward: how many times as large as that by its output the gradient by its input is: by theory, and measured.
            None for the first layer, whose input is the image.
        size: of its output, measured.
        gradient: size of the gradient of an image's loss by its output, measured.
    """

    layer: str
    inputs: float
    growth: tuple[float, float]
    backward: tuple[float, float] | None
    size: float
    gradient: float


def truncated_std(std: float, cut: float = 2.0) -> float:
    """Standard deviation of a normal distribution with its tails cut off.

    Args:
        std: before that.
        cut: where, in standard deviations on either side.
    """
    density = math.exp(-(cut**2) / 2) / math.sqrt(2 * math.pi)
    return std * math.sqrt(1 - 2 * cut * density / math.erf(cut / math.sqrt(2)))


def weighted(layer: nn.Module) -> nn.Conv2d | nn.Linear | None:
    """The convolution or dense layer in a layer of the network; None if there is none."""
    return next((part for part in layer.modules() if isinstance(part, (nn.Conv2d, nn.Linear))), None)


def weight_std(part: nn.Conv2d | nn.Linear, init: Init, is_output: bool) -> float:
    """The standard deviation that an initialisation gives the weights of a layer."""
    if init == "article":
        return truncated_std(0.1)
    return 0.01 if is_output else math.sqrt(2 / part.weight[0].numel())


def inputs_inside(layer: nn.Module, side: int) -> float:
    """How many values of its input one value of a layer sees, on average, without those that padding adds.

    Args:
        layer: one with weights.
        side: of the maps that it gets; of no account for dense layers.
    """
    part = weighted(layer)
    if not isinstance(part, nn.Conv2d):
        return float(part.weight[0].numel()) if part is not None else 0.0
    ones = torch.ones(1, 1, side, side)
    for padding in (module for module in layer.modules() if isinstance(module, SamePadding)):
        ones = padding(ones)
    kernel = torch.ones(1, 1, *part.kernel_size)
    seen = functional.conv2d(ones, kernel, stride=part.stride, padding=part.padding)
    return seen.mean().item() * part.weight.shape[1]


def signals(network: nn.Module, init: Init, images: Tensor, labels: Tensor) -> list[Signal]:
    """What theory says of each layer with weights, and what images show.

    Args:
        network: an untrained AlexNet, whose layers follow one upon another.
        init: how its weights were drawn.
        images: network input (N, C, H, W).
        labels: class numbers (N,).
    """
    found, before, before_gradient, shape = [], size_of(images), None, tuple(images.shape[1:])
    layers = named_layers(network)
    last = [name for name, layer in layers.items() if weighted(layer) is not None][-1]
    for one in layer_statistics(network, images, labels):
        size = math.hypot(one.mean, one.standard_deviation)
        part = weighted(layers[one.layer])
        if part is not None:
            is_output = one.layer == last
            inputs = inputs_inside(layers[one.layer], shape[-1])
            std = weight_std(part, init, is_output)
            kept = 1.0 if is_output else 0.5  # of the squares, by the ReLU
            connections = inputs * math.prod(one.shape)
            backward = None
            if before_gradient is not None:
                theory = math.sqrt(kept * connections / math.prod(shape)) * std
                backward = (theory, before_gradient / one.gradient)
            growth = (math.sqrt(kept * inputs) * std, size / before)
            found.append(Signal(one.layer, inputs, growth, backward, size, one.gradient))
        before, before_gradient, shape = size, one.gradient, one.shape
    return found


def means(of_seeds: Sequence[Sequence[Signal]]) -> list[Signal]:
    """The means of what several networks show, which differ in the seed of their weights."""
    return [
        Signal(
            layer=same[0].layer,
            inputs=same[0].inputs,
            growth=(same[0].growth[0], fmean(one.growth[1] for one in same)),
            backward=None
            if same[0].backward is None
            else (same[0].backward[0], fmean(one.backward[1] for one in same if one.backward is not None)),
            size=fmean(one.size for one in same),
            gradient=fmean(one.gradient for one in same),
        )
        for same in zip(*of_seeds, strict=True)
    ]


def first_loss_by_theory(network: nn.Module, init: Init, images: Tensor) -> float:
    """The mean loss of a network of two classes before its first step, averaged over draws of its weights.

    The scores of an image are normal with a standard deviation s, and all images have nearly the same: the difference d
    of the two has √2 · s. Where it is large, images of one class cost |d|, those of the other nothing, and the mean of
    |d|/2 is s/√π. Where it is small, the loss is ln 2.
    """
    layers = named_layers(network)
    names = [name for name, layer in layers.items() if weighted(layer) is not None]
    size, shape = size_of(images), tuple(images.shape[1:])
    for name, layer, values in layer_outputs(network, images[:1], layers=layers):
        part = weighted(layer)
        if part is not None:
            kept = 1.0 if name == names[-1] else 0.5
            size *= math.sqrt(kept * inputs_inside(layer, shape[-1])) * weight_std(part, init, name == names[-1])
        shape = tuple(values.shape[1:])
    return max(math.log(2), size / math.sqrt(math.pi))


def loss_of(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Mean cross-entropy in evaluation mode."""
    with evaluation_mode(network), torch.no_grad():
        return functional.cross_entropy(network(images), labels).item()


def first_steps(
    network: nn.Module, init: Init, rate: float, images: Tensor, labels: Tensor
) -> dict[str, tuple[float, float]]:
    """By what share of its size Adam's first step changes each layer's output, by theory and measured.

    Each layer is measured by itself, with the others as they were. Adam's first step changes every weight by the
    learning rate. In a unit all inputs are positive, so all changes have the sign of one gradient and add up.

    Args:
        network: an untrained AlexNet; it is trained by one step.
        init: how its weights were drawn.
        rate: Adam's learning rate.
        images: network input (N, C, H, W).
        labels: class numbers (N,).
    """
    layers = {name: layer for name, layer in named_layers(network).items() if weighted(layer) is not None}
    last = list(layers)[-1]
    taken: dict[str, tuple[Tensor, Tensor]] = {}
    sides: dict[str, int] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            taken[name] = (inputs[0].detach().clone(), output.detach().clone())
            sides[name] = inputs[0].shape[-1]

        return hook

    handles = [layer.register_forward_hook(keep(name)) for name, layer in layers.items()]
    with evaluation_mode(network):
        optimizer = torch.optim.Adam(network.parameters(), lr=rate)
        torch.autograd.backward(functional.cross_entropy(network(images), labels))
        for handle in handles:
            handle.remove()
        optimizer.step()
        found = {}
        for name, layer in layers.items():
            before, output = taken[name]
            part = weighted(layer)
            assert part is not None
            with torch.no_grad():
                changed = layer(before) - output
            inputs = inputs_inside(layer, sides[name])
            theory = MEAN_OF_RECTIFIED * math.sqrt(inputs) * rate / weight_std(part, init, name == last)
            found[name] = (theory, size_of(changed) / size_of(output))
    return found


def size_of(values: Tensor) -> float:
    """The root mean square."""
    return values.float().square().mean().sqrt().item()
