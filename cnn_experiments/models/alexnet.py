"""AlexNet: Krizhevsky, Sutskever, Hinton 2012, "ImageNet Classification with Deep Convolutional Neural Networks".

The defaults are the paper's but for its two groups, which stood for two GPUs with 3 GB each (``groups=2``). The
article's network has ``padding="same"``, ``pool5=False``, ``dropout_fc6=False`` and ``init="article"``.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from cnn_experiments.models import Network
from cnn_experiments.models.layers import (
    Count,
    DropoutProbability,
    Layer,
    LocalResponseNorm,
    ResponseNormalisation,
    SamePadding,
    initialise_as_he,
    initialise_as_the_article,
    weighted_layers,
)


class AlexNet(Network):
    """Images (N, in_channels, input_size, input_size) to scores (N, num_classes).

    Args:
        num_classes: number of classes; 1,000 in the paper.
        in_channels: colours of the images.
        input_size: side of the images in pixels; 224 in the paper.
        maps: feature maps of conv1 to conv5.
        dense: units of fc6 and fc7.
        groups: in how many groups the maps of conv2, conv4 and conv5 are kept apart: 2 in the paper.
        conv1_stride: pixels that conv1's window moves; 4 in the paper.
        padding: ``paper`` (conv1 by 2, so that 224 gives 55; pools not), or TensorFlow's ``same`` of the article for
            the convolutions (224 gives 56).
        pool5: whether conv5 is followed by a pool; in the article it is not.
        lrn: constants of the normalisation after conv1 and conv2; None for none.
        dropout: probability of dropping a unit of fc6 and fc7 while training.
        dropout_fc6: whether fc6 drops units; the article computed it and went on without it.
        init: ``paper`` (N(0, 0.01²), biases 1 in conv2, conv4, conv5, fc6 and fc7), ``article`` or ``he``.

    Raises:
        ValueError: the images are too small, or the maps cannot be divided into groups.
    """

    def __init__(
        self,
        num_classes: Count = 1000,
        in_channels: Count = 3,
        input_size: Count = 224,
        maps: tuple[Count, Count, Count, Count, Count] = (96, 256, 384, 384, 256),
        dense: tuple[Count, Count] = (4096, 4096),
        groups: Literal[1, 2] = 1,
        conv1_stride: Count = 4,
        padding: Literal["paper", "same"] = "paper",
        pool5: bool = True,
        lrn: ResponseNormalisation | None = ResponseNormalisation(radius=2, alpha=1e-4, beta=0.75, k=2.0),  # noqa: B008
        dropout: DropoutProbability = 0.5,
        dropout_fc6: bool = True,
        init: Literal["paper", "article", "he"] = "paper",
    ) -> None:
        super().__init__()
        if any(number % groups for number in maps):
            raise ValueError(f"maps={list(maps)} cannot be divided into groups={groups}: use even numbers")
        one, two, three, four, five = maps

        def convolution(inputs: int, outputs: int, kernel: int, groups: int = 1) -> Layer:
            conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups)
            return Layer(convolution=conv, activation=nn.ReLU())

        def normalisation() -> nn.Module:
            return nn.Identity() if lrn is None else LocalResponseNorm(lrn)

        # The paper's table, at 224×224                                       maps@size
        self.conv1 = Layer(
            padding=SamePadding(11, conv1_stride) if padding == "same" else None,
            convolution=nn.Conv2d(in_channels, one, 11, conv1_stride, padding=0 if padding == "same" else 2),
            activation=nn.ReLU(),
        )  # 96@55×55
        self.norm1 = normalisation()
        self.pool1 = nn.MaxPool2d(3, 2)  # 96@27×27
        self.conv2 = convolution(one, two, 5, groups)  # 256@27×27
        self.norm2 = normalisation()
        self.pool2 = nn.MaxPool2d(3, 2)  # 256@13×13
        self.conv3 = convolution(two, three, 3)  # 384@13×13
        self.conv4 = convolution(three, four, 3, groups)  # 384@13×13
        self.conv5 = convolution(four, five, 3, groups)  # 256@13×13
        self.pool5 = nn.MaxPool2d(3, 2) if pool5 else nn.Identity()  # 256@6×6
        features = five * self.side_after_pool5(in_channels, input_size) ** 2
        self.fc6 = Layer(flatten=nn.Flatten(), dense=nn.Linear(features, dense[0]), activation=nn.ReLU())  # 4096
        self.dropout6 = nn.Dropout(dropout) if dropout_fc6 else nn.Identity()
        self.fc7 = Layer(dense=nn.Linear(dense[0], dense[1]), activation=nn.ReLU())  # 4096
        self.dropout7 = nn.Dropout(dropout)
        self.fc8 = nn.Linear(dense[1], num_classes)  # 1000
        if init == "he":
            initialise_as_he(self, outputs=[self.fc8])
        else:
            {"paper": initialise_as_the_paper, "article": initialise_as_the_article}[init](self)

    def features(self, images: Tensor) -> Tensor:
        """What the convolutions see in the images: (N, maps, side, side)."""
        maps = self.pool1(self.norm1(self.conv1(images)))
        maps = self.pool2(self.norm2(self.conv2(maps)))
        return self.pool5(self.conv5(self.conv4(self.conv3(maps))))

    def forward(self, images: Tensor) -> Tensor:
        units = self.dropout6(self.fc6(self.features(images)))
        return self.fc8(self.dropout7(self.fc7(units)))

    def side_after_pool5(self, in_channels: int, input_size: int) -> int:
        """Side of the maps that fc6 sees, in pixels."""
        try:
            with torch.no_grad():
                return self.features(torch.zeros(1, in_channels, input_size, input_size)).shape[-1]
        except RuntimeError as error:
            raise ValueError(
                f"input_size={input_size} is too small: nothing is left of such images before fc6. The paper's is 224"
            ) from error


@torch.no_grad()
def initialise_as_the_paper(network: AlexNet) -> None:
    """Draw weights from N(0, 0.01²); set biases to 1 in conv2, conv4, conv5, fc6 and fc7, to 0 elsewhere.

    Source: section 5.
    """
    for weighted in weighted_layers(network):
        weighted.weight.normal_(std=0.01)
        if weighted.bias is not None:
            weighted.bias.zero_()
    for layer in (network.conv2, network.conv4, network.conv5, network.fc6, network.fc7):
        for weighted in weighted_layers(layer):
            if weighted.bias is not None:
                weighted.bias.fill_(1.0)
