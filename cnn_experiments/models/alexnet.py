"""AlexNet: Krizhevsky, Sutskever, Hinton 2012, "ImageNet Classification with Deep Convolutional Neural Networks".

https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks, section 3 and
figure 2.
"""

from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from cnn_experiments.models.initialisation import initialise, weighted_layers
from cnn_experiments.models.layers import (
    Count,
    DropoutProbability,
    Layer,
    convolution,
    normalisation,
    output_side,
)
from cnn_experiments.models.local_response_norm import ResponseNormalisation
from cnn_experiments.models.network import Network


class AlexNet(Network):
    """Images (N, in_channels, input_size, input_size) to scores (N, num_classes).

    Args:
        num_classes: number of classes; 1,000 in the paper.
        in_channels: channels of the images.
        input_size: side of the images in pixels; 224 in the paper.
        maps: maps of conv1 to conv5.
        dense: units of fc6 and fc7.
        groups: 2 as in the paper, or 1. With 2, each half of the maps of conv2, conv4 and conv5 sees one half of the
            maps below: the network was too large for a GPU of 3 GB, and so the two it was spread over had to exchange
            maps in conv3 and the dense layers only (section 3.2).
        conv1_stride: pixels from one window of conv1 to the next; 4 in the paper.
        activation: ``relu``, or ``tanh``, with which the paper compares it (section 3.1).
        overlapping_pools: whether the pools' windows are of 3 × 3 pixels, every 2 pixels, as in the paper; or of 2 × 2
            pixels, with which the paper compares them (section 3.4).
        lrn: constants of the local response normalisation; None for none.
        dropout: probability of dropping a unit of fc6 and fc7 in training. No unit can rely on particular others then,
            and without it these large layers overfit (section 4.2).
        without: a layer that is left out, as the paper tried (section 7): the next one sees the maps below it.
        init: ``paper`` (N(0, 0.01²), some biases 1; section 5), ``article`` or ``he``.

    Raises:
        ValueError: the images are too small, the maps cannot be divided into groups, or there is no such choice.
    """

    def __init__(
        self,
        num_classes: Count = 2,
        in_channels: Count = 3,
        input_size: Count = 224,
        maps: tuple[Count, Count, Count, Count, Count] = (96, 256, 384, 384, 256),
        dense: tuple[Count, Count] = (4096, 4096),
        groups: Literal[1, 2] = 1,
        conv1_stride: Count = 4,
        activation: Literal["relu", "tanh"] = "relu",
        overlapping_pools: bool = True,
        lrn: ResponseNormalisation | None = ResponseNormalisation(radius=2, alpha=1e-4, beta=0.75, k=2.0),  # noqa: B008
        dropout: DropoutProbability = 0.5,
        without: Literal["conv3", "conv4", "conv5", None] = None,
        init: Literal["paper", "article", "he"] = "he",
    ) -> None:
        super().__init__()
        self.check_choices(groups=groups, activation=activation, without=without, init=init)
        check_groups(maps, groups)
        m1, m2, m3, m4, m5 = maps
        d6, d7 = dense
        m3 = m2 if without == "conv3" else m3
        m4 = m3 if without == "conv4" else m4
        m5 = m4 if without == "conv5" else m5
        activate = nn.Tanh if activation == "tanh" else nn.ReLU
        convolve = partial(convolution, activation=activate)
        window = 3 if overlapping_pools else 2
        side = output_side(input_size, kernel=11, stride=conv1_stride, padding=2)  # 224 → 55
        for _ in range(3):  # pool1, pool2, pool5
            side = output_side(side, kernel=window, stride=2)  # 55 → 27 → 13 → 6
        if side < 1:
            raise ValueError(f"input_size={input_size} is too small: pool5 has nothing to pool. The paper's is 224")
        # The pools' windows overlap (3 × 3 every 2 pixels), which the paper found to overfit slightly less (section
        # 3.4). 224 would not divide evenly without conv1's padding, which the paper does not mention. Behind each
        # layer: its output (maps @ size).
        # fmt: off
        self.conv1 = convolve(in_channels, m1, kernel=11, stride=conv1_stride, padding=2)     # 96@55×55
        self.norm1 = normalisation(lrn)                                                       # 96@55×55
        self.pool1 = nn.MaxPool2d(window, stride=2)                                           # 96@27×27
        self.conv2 = convolve(m1, m2, kernel=5, groups=groups)                                # 256@27×27
        self.norm2 = normalisation(lrn)                                                       # 256@27×27
        self.pool2 = nn.MaxPool2d(window, stride=2)                                           # 256@13×13
        self.conv3 = convolve(m2, m3, kernel=3)                                               # 384@13×13
        self.conv4 = convolve(m3, m4, kernel=3, groups=groups)                                # 384@13×13
        self.conv5 = convolve(m4, m5, kernel=3, groups=groups)                                # 256@13×13
        self.pool5 = nn.MaxPool2d(window, stride=2)                                           # 256@6×6
        self.fc6 = Layer(flatten=nn.Flatten(), dense=nn.Linear(m5 * side**2, d6), activation=activate())  # 4096
        self.dropout6 = nn.Dropout(dropout)
        self.fc7 = Layer(dense=nn.Linear(d6, d7), activation=activate())                      # 4096
        self.dropout7 = nn.Dropout(dropout)
        self.fc8 = nn.Linear(d7, num_classes)                                                 # 1000 in the paper
        # fmt: on
        if without is not None:
            self.set_submodule(without, nn.Identity())
        initialise(self, init, paper=initialise_as_the_paper, outputs=[self.fc8])

    def forward(self, images: Tensor) -> Tensor:
        # fmt: off
        maps = self.conv1(images)         # N × 96 × 55 × 55
        maps = self.norm1(maps)           # N × 96 × 55 × 55
        maps = self.pool1(maps)           # N × 96 × 27 × 27
        maps = self.conv2(maps)           # N × 256 × 27 × 27
        maps = self.norm2(maps)           # N × 256 × 27 × 27
        maps = self.pool2(maps)           # N × 256 × 13 × 13
        maps = self.conv3(maps)           # N × 384 × 13 × 13
        maps = self.conv4(maps)           # N × 384 × 13 × 13
        maps = self.conv5(maps)           # N × 256 × 13 × 13
        maps = self.pool5(maps)           # N × 256 × 6 × 6
        units = self.fc6(maps)            # N × 4096
        units = self.dropout6(units)      # N × 4096
        units = self.fc7(units)           # N × 4096
        units = self.dropout7(units)      # N × 4096
        scores: Tensor = self.fc8(units)  # N × num_classes
        # fmt: on
        return scores


def check_groups(maps: tuple[int, ...], groups: int) -> None:
    """Raise a ValueError unless each layer's maps can be divided into that many groups of one size."""
    if any(number % groups for number in maps):
        raise ValueError(f"maps={list(maps)} cannot be divided into groups={groups}: use even numbers")


@torch.no_grad()
def initialise_as_the_paper(network: nn.Module) -> None:
    """Draw weights from N(0, 0.01²); set biases to 1 in conv2, conv4, conv5, fc6 and fc7, and to 0 elsewhere.

    The ones give ReLUs positive inputs, and with these gradients, from the first step on. Source: section 5.
    """
    for layer in weighted_layers(network):
        layer.weight.normal_(std=0.01)
        if layer.bias is not None:
            layer.bias.zero_()
    for name in ("conv2", "conv4", "conv5", "fc6", "fc7"):
        for layer in weighted_layers(network.get_submodule(name)):
            if layer.bias is not None:
                layer.bias.fill_(1.0)
