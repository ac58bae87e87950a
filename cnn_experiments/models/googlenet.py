"""GoogLeNet: Szegedy and others 2014, "Going Deeper with Convolutions".

https://arxiv.org/abs/1409.4842, table 1 and figures 2 and 3.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from cnn_experiments.models.initialisation import initialise, weighted_layers
from cnn_experiments.models.layers import (
    Count,
    DropoutProbability,
    Layer,
    convolution,
    normalisation,
)
from cnn_experiments.models.local_response_norm import ResponseNormalisation
from cnn_experiments.models.network import Network

AUXILIARY_WEIGHT = 0.3  # of each auxiliary head's loss; section 5


class Inception(nn.Module):
    """Four branches in parallel, their maps concatenated: (N, inputs, H, W) to (N, ones + threes + fives + pool, H, W).

    The branches see a feature at several scales, and the layer above chooses. The 1×1 convolutions before the large
    ones are what makes that affordable: in 3a, reducing 192 maps to 16 before the 5×5 convolution to 32 takes 192·16
    + 16·32·25 = 15,872 multiply-adds a pixel in place of 192·32·25 = 153,600. Source: section 4, figure 2 (b).

    Args:
        inputs: number of input maps.
        ones: maps of the 1×1 convolution (table 1, "#1×1").
        reduce3: maps that the 3×3 convolution sees ("#3×3 reduce").
        threes: maps of the 3×3 convolution ("#3×3").
        reduce5: maps that the 5×5 convolution sees ("#5×5 reduce").
        fives: maps of the 5×5 convolution ("#5×5").
        pool: maps of the 1×1 convolution after the pool ("pool proj").
    """

    def __init__(self, inputs: int, ones: int, reduce3: int, threes: int, reduce5: int, fives: int, pool: int) -> None:
        super().__init__()
        self.branch1x1 = convolution(inputs, ones, 1)
        self.branch3x3 = Layer(reduce=convolution(inputs, reduce3, 1), conv3x3=convolution(reduce3, threes, 3))
        self.branch5x5 = Layer(reduce=convolution(inputs, reduce5, 1), conv5x5=convolution(reduce5, fives, 5))
        self.branch_pool = Layer(pool=nn.MaxPool2d(3, 1, padding=1), project=convolution(inputs, pool, 1))

    def forward(self, maps: Tensor) -> Tensor:
        branches = (self.branch1x1, self.branch3x3, self.branch5x5, self.branch_pool)
        return torch.cat([branch(maps) for branch in branches], 1)


class InceptionWithoutReductions(Inception):
    """The module with which the paper compares its own: the large convolutions see all maps. Source: figure 2 (a).

    The 1×1 convolution after the pool stays, or the number of maps would grow from module to module.
    """

    def __init__(self, inputs: int, ones: int, reduce3: int, threes: int, reduce5: int, fives: int, pool: int) -> None:
        super().__init__(inputs, ones, reduce3, threes, reduce5, fives, pool)
        self.branch3x3 = Layer(conv3x3=convolution(inputs, threes, 3))
        self.branch5x5 = Layer(conv5x5=convolution(inputs, fives, 5))


class AuxiliaryHead(nn.Module):
    """A small classifier on the maps of 4a or 4d, used in training only: (N, inputs, side, side) to (N, num_classes).

    It brings gradients to the middle of a deep network, and makes the features there tell classes apart. Source:
    section 5.

    Args:
        inputs: number of input maps.
        side: their side in pixels, at least 5; 14 in the paper.
        num_classes: number of classes.
    """

    def __init__(self, inputs: int, side: int, num_classes: int) -> None:
        super().__init__()
        pooled = (side - 5) // 3 + 1
        # fmt: off
        self.pool = nn.AvgPool2d(5, stride=3)                     # inputs@4×4
        self.conv = convolution(inputs, 128, 1)                   # 128@4×4
        self.fc = dense_layer(128 * pooled**2, 1024)              # 1024
        self.dropout = nn.Dropout(0.7)
        self.output = nn.Linear(1024, num_classes)
        # fmt: on

    def forward(self, maps: Tensor) -> Tensor:
        # fmt: off
        maps = self.pool(maps)                    # N × inputs × 4 × 4
        maps = self.conv(maps)                    # N × 128 × 4 × 4
        units = self.fc(maps)                     # N × 1024
        units = self.dropout(units)               # N × 1024
        scores: Tensor = self.output(units)       # N × num_classes
        # fmt: on
        return scores


class GoogLeNet(Network):
    """Images (N, in_channels, input_size, input_size) to scores (N, num_classes).

    In training mode with auxiliary heads, to a tuple of such scores: the network's own, then that of the head on 4a and
    that of the head on 4d, or of one of them.

    Args:
        num_classes: number of classes; 1,000 in the paper.
        in_channels: channels of the images.
        input_size: side of the images in pixels; 224 in the paper.
        lrn: constants of the local response normalisation, which the paper does not give; None for none.
        reductions: whether 1×1 convolutions reduce the maps that the large convolutions of the inception modules see.
        dense: units of a dense layer with ReLU on all places of 5b's maps, in place of pool5's average; None for none.
        dropout: probability of dropping a unit before the output in training.
        auxiliary: whether to train with the auxiliary heads on 4a and 4d; or ``"4a"`` or ``"4d"``, with that one alone.
        init: ``paper`` (uniform in ±√(3 / fan-in), as the first public implementation had it; the paper says nothing),
            ``article`` or ``he``.

    Raises:
        ValueError: the images are too small, or there is no such choice.
    """

    def __init__(
        self,
        num_classes: Count = 2,
        in_channels: Count = 3,
        input_size: Count = 224,
        lrn: ResponseNormalisation | None = ResponseNormalisation(radius=2, alpha=2e-5, beta=0.75, k=1.0),  # noqa: B008
        reductions: bool = True,
        dense: Count | None = None,
        dropout: DropoutProbability = 0.4,
        auxiliary: Literal[True, False, "4a", "4d"] = True,
        init: Literal["paper", "article", "he"] = "he",
    ) -> None:
        super().__init__()
        self.check_choices(auxiliary=auxiliary, init=init)
        side = math.ceil(input_size / 2) // 8  # of the maps of 4a, halved four times: 224 → 112 → 56 → 28 → 14
        check_side(side, input_size, bool(auxiliary))
        inception = Inception if reductions else InceptionWithoutReductions
        # Table 1, and the normalisation of figure 3. The average over all places before the output replaces AlexNet's
        # two dense layers and their 54 million weights (section 5). Behind each layer: its output (maps @ size).
        # fmt: off
        self.conv1 = convolution(in_channels, 64, 7, stride=2)                              # 64@112×112
        self.pool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)                              # 64@56×56
        self.norm1 = normalisation(lrn)                                                     # 64@56×56
        self.conv2 = Layer(reduce=convolution(64, 64, 1), conv3x3=convolution(64, 192, 3))  # 192@56×56
        self.norm2 = normalisation(lrn)                                                     # 192@56×56
        self.pool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)                              # 192@28×28
        #                              inputs 1×1  reduce 3×3 reduce 5×5 pool
        self.inception3a = inception(192,  64,  96, 128,  16,  32,  32)                     # 256@28×28
        self.inception3b = inception(256, 128, 128, 192,  32,  96,  64)                     # 480@28×28
        self.pool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)                              # 480@14×14
        self.inception4a = inception(480, 192,  96, 208,  16,  48,  64)                     # 512@14×14
        self.inception4b = inception(512, 160, 112, 224,  24,  64,  64)                     # 512@14×14
        self.inception4c = inception(512, 128, 128, 256,  24,  64,  64)                     # 512@14×14
        self.inception4d = inception(512, 112, 144, 288,  32,  64,  64)                     # 528@14×14
        self.inception4e = inception(528, 256, 160, 320,  32, 128, 128)                     # 832@14×14
        self.pool4 = nn.MaxPool2d(3, stride=2, ceil_mode=True)                              # 832@7×7
        self.inception5a = inception(832, 256, 160, 320,  32, 128, 128)                     # 832@7×7
        self.inception5b = inception(832, 384, 192, 384,  48, 128, 128)                     # 1024@7×7
        self.pool5 = nn.AdaptiveAvgPool2d(1)                                                # 1024@1×1
        self.dropout = nn.Dropout(dropout)                                                  # 1024
        self.output = nn.Linear(1024, num_classes)                                          # 1000 in the paper
        self.auxiliary4a = AuxiliaryHead(512, side, num_classes) if auxiliary in (True, "4a") else None  # training only
        self.auxiliary4d = AuxiliaryHead(528, side, num_classes) if auxiliary in (True, "4d") else None  # training only
        # fmt: on
        if dense is not None:
            self.set_submodule("pool5", dense_layer(1024 * (side // 2) ** 2, dense))
            self.output = nn.Linear(dense, num_classes)
        heads = [head for head in (self.auxiliary4a, self.auxiliary4d) if head is not None]
        initialise(self, init, paper=initialise_as_the_paper, outputs=[self.output, *(head.output for head in heads)])

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        # fmt: off
        maps = self.conv1(images)               # N × 64 × 112 × 112
        maps = self.pool1(maps)                 # N × 64 × 56 × 56
        maps = self.norm1(maps)                 # N × 64 × 56 × 56
        maps = self.conv2(maps)                 # N × 192 × 56 × 56
        maps = self.norm2(maps)                 # N × 192 × 56 × 56
        maps = self.pool2(maps)                 # N × 192 × 28 × 28
        maps = self.inception3a(maps)           # N × 256 × 28 × 28
        maps = self.inception3b(maps)           # N × 480 × 28 × 28
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
        scores: Tensor = self.output(units)     # N × num_classes
        # fmt: on
        heads = ((self.auxiliary4a, maps4a), (self.auxiliary4d, maps4d))
        of_heads = [head(seen) for head, seen in heads if head is not None] if self.training else []
        return (scores, *of_heads) if of_heads else scores

    def loss(self, output: Tensor | tuple[Tensor, ...], labels: Tensor) -> Tensor:
        """Mean cross-entropy of a batch, in training with that of the auxiliary heads.

        Args:
            output: what ``forward`` returned: scores (N, num_classes), or a tuple of such scores.
            labels: class numbers (N,), or the probability of each class (N, num_classes).
        """
        return loss_with_auxiliary_heads(output, labels)


def loss_with_auxiliary_heads(output: Tensor | tuple[Tensor, ...], labels: Tensor) -> Tensor:
    """Mean cross-entropy, plus 0.3 times that of each auxiliary head where there are any. Source: section 5."""
    if isinstance(output, Tensor):
        return functional.cross_entropy(output, labels)
    main, *auxiliary = [functional.cross_entropy(scores, labels) for scores in output]
    return main + AUXILIARY_WEIGHT * sum(auxiliary)


def dense_layer(inputs: int, units: int) -> Layer:
    """A dense layer and its ReLU on all places of all maps: (N, C, H, W), with C·H·W inputs, to (N, units)."""
    return Layer(flatten=nn.Flatten(), dense=nn.Linear(inputs, units), activation=nn.ReLU())


def check_side(side: int, input_size: int, auxiliary: bool) -> None:
    """Raise a ValueError where the maps of inception4a are too small for what follows; `side` is theirs in pixels."""
    if side < 2:
        raise ValueError(f"input_size={input_size} is too small: pool4 has nothing to pool. The paper's is 224")
    if auxiliary and side < 5:
        raise ValueError(
            f"input_size={input_size} is too small: the auxiliary heads need maps of 5×5 at inception4a, which images "
            "of 80 pixels give. Use larger images, or auxiliary=false"
        )


@torch.no_grad()
def initialise_as_the_paper(network: nn.Module) -> None:
    """Draw weights uniformly from ±√(3 / fan-in), whose variance is 1 / fan-in; set biases to 0.2, dense ones to 0.

    The paper does not say how its weights started; these are the values of the first public implementation, Caffe's.
    """
    for layer in weighted_layers(network):
        bound = (3 / layer.weight[0].numel()) ** 0.5
        layer.weight.uniform_(-bound, bound)
        if layer.bias is not None:
            layer.bias.fill_(0.0 if isinstance(layer, nn.Linear) else 0.2)
