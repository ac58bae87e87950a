"""The article's AlexNet and GoogLeNet: the papers' networks with departures, each marked in its line.

"The article" is the Korean beginner's tutorial that this project grew from, "CNN 기초 분류기 구조 구현하기". It
built LeNet-5, AlexNet and GoogLeNet by hand in TensorFlow 1. On 2,000 photographs its AlexNet stayed near chance (0.51)
and its GoogLeNet reached 0.65; these classes are for finding out why. Its LeNet-5 is ``LeNet5`` with other arguments.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from cnn_experiments.models import alexnet, googlenet
from cnn_experiments.models.googlenet import AuxiliaryHead, Inception
from cnn_experiments.models.initialisation import initialise
from cnn_experiments.models.layers import (
    Count,
    DropoutProbability,
    Layer,
    SamePadding,
    convolution,
    normalisation,
    output_side,
)
from cnn_experiments.models.local_response_norm import ResponseNormalisation
from cnn_experiments.models.network import Network

Padding = Literal["same", "paper"]


class ArticleAlexNet(Network):
    """Images (N, in_channels, input_size, input_size) to scores (N, num_classes).

    Args:
        num_classes: number of classes.
        in_channels: channels of the images.
        input_size: side of the images in pixels.
        maps: maps of conv1 to conv5.
        dense: units of fc6 and fc7; (300, 200) where the article ran out of memory.
        groups: groups of maps in conv2, conv4 and conv5.
        conv1_stride: pixels from one window of conv1 to the next.
        padding: of conv1: ``same``, TensorFlow's, or ``paper``.
        pool5: whether a pool follows conv5.
        lrn: constants of the local response normalisation; None for none.
        dropout: probability of dropping a unit of fc7, and of fc6 with `dropout_fc6`, in training.
        dropout_fc6: whether units of fc6 are dropped.
        init: ``article``, ``paper`` (of AlexNet) or ``he``.

    Raises:
        ValueError: the images are too small, the maps cannot be divided into groups, or there is no such choice.
    """

    def __init__(
        self,
        num_classes: Count = 2,
        in_channels: Count = 3,
        input_size: Count = 214,
        maps: tuple[Count, Count, Count, Count, Count] = (96, 256, 384, 384, 256),
        dense: tuple[Count, Count] = (4096, 4096),
        groups: Literal[1, 2] = 1,
        conv1_stride: Count = 4,
        padding: Padding = "same",
        pool5: bool = False,
        lrn: ResponseNormalisation | None = ResponseNormalisation(radius=2, alpha=2e-5, beta=0.75, k=1.0),  # noqa: B008
        dropout: DropoutProbability = 0.5,
        dropout_fc6: bool = False,
        init: Literal["paper", "article", "he"] = "article",
    ) -> None:
        super().__init__()
        self.check_choices(groups=groups, padding=padding, init=init)
        alexnet.check_groups(maps, groups)
        m1, m2, m3, m4, m5 = maps
        d6, d7 = dense
        same = padding == "same"
        side = math.ceil(input_size / conv1_stride) if same else output_side(input_size, 11, conv1_stride, 2)  # 54
        for _ in range(3 if pool5 else 2):
            side = output_side(side, kernel=3, stride=2)  # 54 → 26 → 12
        if side < 1:
            raise ValueError(f"input_size={input_size} is too small: nothing is left for fc6. The article's is 214")
        # Behind each layer: its output (maps @ size), and how it departs from AlexNet. Without pool5, fc6 has 36,864
        # inputs in place of 9,216. The dropout of fc6 was computed, but by mistake fc7 was fed from before it.
        # fmt: off
        self.conv1 = first_convolution(in_channels, m1, 11, conv1_stride, same, 2)  # 96@54×54   SAME padding
        self.norm1 = normalisation(lrn)                                             # 96@54×54   k 1, α 2e-5
        self.pool1 = nn.MaxPool2d(3, stride=2)                                      # 96@26×26
        self.conv2 = convolution(m1, m2, kernel=5, groups=groups)                   # 256@26×26  one group
        self.norm2 = normalisation(lrn)                                             # 256@26×26
        self.pool2 = nn.MaxPool2d(3, stride=2)                                      # 256@12×12
        self.conv3 = convolution(m2, m3, kernel=3)                                  # 384@12×12
        self.conv4 = convolution(m3, m4, kernel=3, groups=groups)                   # 384@12×12
        self.conv5 = convolution(m4, m5, kernel=3, groups=groups)                   # 256@12×12
        self.pool5 = nn.MaxPool2d(3, stride=2) if pool5 else nn.Identity()          # 256@12×12  no pool
        self.fc6 = Layer(flatten=nn.Flatten(), dense=nn.Linear(m5 * side**2, d6), activation=nn.ReLU())  # 4096
        self.dropout6 = nn.Dropout(dropout) if dropout_fc6 else nn.Identity()       # 4096       not applied
        self.fc7 = Layer(dense=nn.Linear(d6, d7), activation=nn.ReLU())             # 4096
        self.dropout7 = nn.Dropout(dropout)                                         # 4096
        self.fc8 = nn.Linear(d7, num_classes)                                       # 2
        # fmt: on
        initialise(self, init, paper=alexnet.initialise_as_the_paper, outputs=[self.fc8])

    def forward(self, images: Tensor) -> Tensor:
        # fmt: off
        maps = self.conv1(images)           # N × 96 × 54 × 54
        maps = self.norm1(maps)             # N × 96 × 54 × 54
        maps = self.pool1(maps)             # N × 96 × 26 × 26
        maps = self.conv2(maps)             # N × 256 × 26 × 26
        maps = self.norm2(maps)             # N × 256 × 26 × 26
        maps = self.pool2(maps)             # N × 256 × 12 × 12
        maps = self.conv3(maps)             # N × 384 × 12 × 12
        maps = self.conv4(maps)             # N × 384 × 12 × 12
        maps = self.conv5(maps)             # N × 256 × 12 × 12
        maps = self.pool5(maps)             # N × 256 × 12 × 12
        units = self.fc6(maps)              # N × 4096
        units = self.dropout6(units)        # N × 4096
        units = self.fc7(units)             # N × 4096
        units = self.dropout7(units)        # N × 4096
        scores: Tensor = self.fc8(units)    # N × num_classes
        # fmt: on
        return scores


class ArticleGoogLeNet(Network):
    """Images (N, in_channels, input_size, input_size) to scores (N, num_classes); with heads as ``GoogLeNet``.

    Args:
        num_classes: number of classes.
        in_channels: channels of the images.
        input_size: side of the images in pixels.
        padding: of conv1 and the pools: ``same``, TensorFlow's, or ``paper``.
        lrn: constants of the local response normalisation; None for none.
        hidden: units of a dense layer with ReLU before the output; None for none.
        dropout: probability of dropping a unit before the dense layers in training.
        auxiliary: whether to train with the auxiliary heads on 4a and 4d.
        init: ``article``, ``paper`` (of GoogLeNet) or ``he``.

    Raises:
        ValueError: the images are too small, or there is no such choice.
    """

    def __init__(
        self,
        num_classes: Count = 2,
        in_channels: Count = 3,
        input_size: Count = 214,
        padding: Padding = "same",
        lrn: ResponseNormalisation | None = ResponseNormalisation(radius=2, alpha=2e-5, beta=0.75, k=1.0),  # noqa: B008
        hidden: Count | None = 1000,
        dropout: DropoutProbability = 0.6,
        auxiliary: bool = False,
        init: Literal["paper", "article", "he"] = "article",
    ) -> None:
        super().__init__()
        self.check_choices(padding=padding, init=init)
        same = padding == "same"
        side = math.ceil(input_size / 16) if same else math.ceil(input_size / 2) // 8  # of the maps of 4a
        googlenet.check_side(side, input_size, auxiliary)
        # Behind each layer: its output (maps @ size), and how it departs from GoogLeNet, which has no hidden layer.
        # fmt: off
        self.conv1 = first_convolution(in_channels, 64, 7, 2, same, 3)                      # 64@107×107  SAME padding
        self.pool1 = pool(same)                                                             # 64@54×54    SAME too
        self.norm1 = normalisation(lrn)                                                     # 64@54×54
        self.conv2 = Layer(reduce=convolution(64, 64, 1), conv3x3=convolution(64, 192, 3))  # 192@54×54
        self.norm2 = normalisation(lrn)                                                     # 192@54×54
        self.pool2 = pool(same)                                                             # 192@27×27
        self.inception3a = Inception(192,  64,  96, 128,  16,  32,  32)                     # 256@27×27
        self.inception3b = Inception(256, 128, 128, 192,  32,  96,  64)                     # 480@27×27
        self.pool3 = pool(same)                                                             # 480@14×14
        self.inception4a = Inception(480, 192,  96, 208,  16,  48,  64)                     # 512@14×14
        self.inception4b = Inception(512, 160, 112, 224,  24,  64,  64)                     # 512@14×14
        self.inception4c = Inception(512, 128, 128, 256,  24,  64,  64)                     # 512@14×14
        self.inception4d = Inception(512, 112, 144, 288,  32,  64,  64)                     # 528@14×14
        self.inception4e = Inception(528, 256, 160, 320,  32, 128, 128)                     # 832@14×14
        self.pool4 = pool(same)                                                             # 832@7×7
        self.inception5a = Inception(832, 256, 160, 320,  32, 128, 128)                     # 832@7×7
        self.inception5b = Inception(832, 384, 192, 384,  48, 128, 128)                     # 1024@7×7
        self.pool5 = nn.AdaptiveAvgPool2d(1)                                                # 1024@1×1
        self.dropout = nn.Dropout(dropout)                                                  # 1024        0.6, not 0.4
        self.hidden = Layer(dense=nn.Linear(1024, hidden), activation=nn.ReLU()) if hidden else nn.Identity()
        self.output = nn.Linear(hidden or 1024, num_classes)                                # 2
        self.auxiliary4a = AuxiliaryHead(512, side, num_classes) if auxiliary else None     # no auxiliary heads
        self.auxiliary4d = AuxiliaryHead(528, side, num_classes) if auxiliary else None
        # fmt: on
        heads = [head for head in (self.auxiliary4a, self.auxiliary4d) if head is not None]
        outputs = [self.output, *(head.output for head in heads)]
        initialise(self, init, paper=googlenet.initialise_as_the_paper, outputs=outputs)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        # fmt: off
        maps = self.conv1(images)               # N × 64 × 107 × 107
        maps = self.pool1(maps)                 # N × 64 × 54 × 54
        maps = self.norm1(maps)                 # N × 64 × 54 × 54
        maps = self.conv2(maps)                 # N × 192 × 54 × 54
        maps = self.norm2(maps)                 # N × 192 × 54 × 54
        maps = self.pool2(maps)                 # N × 192 × 27 × 27
        maps = self.inception3a(maps)           # N × 256 × 27 × 27
        maps = self.inception3b(maps)           # N × 480 × 27 × 27
        maps = self.pool3(maps)                 # N × 480 × 14 × 14
        maps4a = self.inception4a(maps)         # N × 512 × 14 × 14
        maps = self.inception4b(maps4a)         # N × 512 × 14 × 14
        maps = self.inception4c(maps)           # N × 512 × 14 × 14
        maps4d = self.inception4d(maps)         # N × 528 × 14 × 14
        maps = self.inception4e(maps4d)         # N × 832 × 14 × 14
        maps = self.pool4(maps)                 # N × 832 × 7 × 7
        maps = self.inception5a(maps)           # N × 832 × 7 × 7
        maps = self.inception5b(maps)           # N × 1024 × 7 × 7
        maps = self.pool5(maps)                 # N × 1024 × 1 × 1
        units = self.dropout(maps.flatten(1))   # N × 1024
        units = self.hidden(units)              # N × 1000
        scores: Tensor = self.output(units)     # N × num_classes
        # fmt: on
        if self.training and self.auxiliary4a is not None and self.auxiliary4d is not None:
            return scores, self.auxiliary4a(maps4a), self.auxiliary4d(maps4d)
        return scores

    def loss(self, output: Tensor | tuple[Tensor, ...], labels: Tensor) -> Tensor:
        """Mean cross-entropy of a batch: as ``GoogLeNet.loss``."""
        return googlenet.loss_with_auxiliary_heads(output, labels)


def first_convolution(inputs: int, outputs: int, kernel: int, stride: int, same: bool, padding: int) -> Layer:
    """A convolution with a stride and its ReLU, with SAME padding or with `padding` zeros on each side."""
    if not same:
        return convolution(inputs, outputs, kernel, stride, padding)
    return Layer(
        padding=SamePadding(kernel, stride),
        convolution=nn.Conv2d(inputs, outputs, kernel, stride),
        activation=nn.ReLU(),
    )


def pool(same: bool) -> nn.Module:
    """GoogLeNet's pool of 3 × 3 every 2 pixels, with SAME padding or as in the paper."""
    if not same:
        return nn.MaxPool2d(3, stride=2, ceil_mode=True)
    return Layer(padding=SamePadding(3, 2, value=-torch.inf), pool=nn.MaxPool2d(3, stride=2))
