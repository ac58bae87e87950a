"""GoogLeNet: Szegedy and others 2014, "Going Deeper with Convolutions".

The defaults are the paper's. The article's network has ``padding="same"``, ``hidden=1000`` (a dense layer before the
output), ``dropout=0.6`` and ``init="article"``.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

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

AUXILIARY_WEIGHT = 0.3  # of each auxiliary head's loss; section 5


def convolution(inputs: int, outputs: int, kernel: int) -> Layer:
    """A convolution that keeps the size, and its ReLU."""
    return Layer(convolution=nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), activation=nn.ReLU())


class Inception(nn.Module):
    """Four branches side by side: (N, inputs, H, W) to (N, ones + threes + fives + pool, H, W).

    The columns of the paper's table 1: maps of the 1×1 convolution; of the 3×3 and what they are reduced to first;
    of the 5×5 likewise; and of the projection after the pool. Source: figure 2 (b).
    """

    def __init__(self, inputs: int, ones: int, reduce3: int, threes: int, reduce5: int, fives: int, pool: int) -> None:
        super().__init__()
        self.branch1x1 = convolution(inputs, ones, 1)
        self.branch3x3 = Layer(reduce=convolution(inputs, reduce3, 1), conv3x3=convolution(reduce3, threes, 3))
        self.branch5x5 = Layer(reduce=convolution(inputs, reduce5, 1), conv5x5=convolution(reduce5, fives, 5))
        self.branch_pool = Layer(pool=nn.MaxPool2d(3, 1, padding=1), project=convolution(inputs, pool, 1))
        self.out_channels = ones + threes + fives + pool

    def forward(self, maps: Tensor) -> Tensor:
        branches = (self.branch1x1, self.branch3x3, self.branch5x5, self.branch_pool)
        return torch.cat([branch(maps) for branch in branches], 1)


class AuxiliaryHead(nn.Module):
    """A small classifier on the maps of 4a or 4d, for training only: (N, inputs, side, side) to (N, num_classes).

    Source: section 5.
    """

    def __init__(self, inputs: int, side: int, num_classes: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(5, 3)  # 14×14 gives 4×4
        self.conv = convolution(inputs, 128, 1)
        features = 128 * ((side - 5) // 3 + 1) ** 2
        self.fc = Layer(flatten=nn.Flatten(), dense=nn.Linear(features, 1024), activation=nn.ReLU())
        self.dropout = nn.Dropout(0.7)
        self.output = nn.Linear(1024, num_classes)

    def forward(self, maps: Tensor) -> Tensor:
        return self.output(self.dropout(self.fc(self.conv(self.pool(maps)))))


class GoogLeNet(Network):
    """Images (N, in_channels, input_size, input_size) to scores (N, num_classes).

    While training with auxiliary heads, to a tuple of three such scores: the network's own, then those heads'.

    Args:
        num_classes: number of classes; 1,000 in the paper.
        in_channels: colours of the images.
        input_size: side of the images in pixels; 224 in the paper.
        padding: ``paper`` (conv1 by 3 all round, pools rounded up), or TensorFlow's ``same`` of the article.
        lrn: constants of the normalisation after pool1 and conv2; None for none.
        hidden: units of a dense layer with ReLU before the output, which the article has; None for none.
        dropout: probability of dropping a unit before the output while training.
        auxiliary: whether to train with the auxiliary heads on 4a and 4d.
        init: ``paper`` (uniform within ±√(3 / fan-in), as the authors' framework had by default; the paper says
            nothing), ``article`` or ``he``.

    Raises:
        ValueError: the images are too small.
    """

    def __init__(
        self,
        num_classes: Count = 1000,
        in_channels: Count = 3,
        input_size: Count = 224,
        padding: Literal["paper", "same"] = "paper",
        lrn: ResponseNormalisation | None = ResponseNormalisation(radius=2, alpha=2e-5, beta=0.75, k=1.0),  # noqa: B008
        hidden: Count | None = None,
        dropout: DropoutProbability = 0.4,
        auxiliary: bool = True,
        init: Literal["paper", "article", "he"] = "he",
    ) -> None:
        super().__init__()
        same = padding == "same"

        def normalisation() -> nn.Module:
            return nn.Identity() if lrn is None else LocalResponseNorm(lrn)

        def pool() -> nn.Module:
            if not same:
                return nn.MaxPool2d(3, 2, ceil_mode=True)
            return Layer(padding=SamePadding(3, 2, value=-torch.inf), pool=nn.MaxPool2d(3, 2))

        # Table 1, at 224×224                                                                maps@size
        self.conv1 = Layer(
            padding=SamePadding(7, 2) if same else None,
            convolution=nn.Conv2d(in_channels, 64, 7, 2, padding=0 if same else 3),
            activation=nn.ReLU(),
        )  # 64@112×112
        self.pool1 = pool()  # 64@56×56
        self.norm1 = normalisation()
        self.conv2 = Layer(reduce=convolution(64, 64, 1), conv3x3=convolution(64, 192, 3))  # 192@56×56
        self.norm2 = normalisation()
        self.pool2 = pool()  # 192@28×28
        #                                 1×1  3×3      5×5      pool
        self.inception3a = Inception(192, 64, 96, 128, 16, 32, 32)  # 256@28×28
        self.inception3b = Inception(256, 128, 128, 192, 32, 96, 64)  # 480@28×28
        self.pool3 = pool()  # 480@14×14
        self.inception4a = Inception(480, 192, 96, 208, 16, 48, 64)  # 512@14×14
        self.inception4b = Inception(512, 160, 112, 224, 24, 64, 64)  # 512@14×14
        self.inception4c = Inception(512, 128, 128, 256, 24, 64, 64)  # 512@14×14
        self.inception4d = Inception(512, 112, 144, 288, 32, 64, 64)  # 528@14×14
        self.inception4e = Inception(528, 256, 160, 320, 32, 128, 128)  # 832@14×14
        self.pool4 = pool()  # 832@7×7
        self.inception5a = Inception(832, 256, 160, 320, 32, 128, 128)  # 832@7×7
        self.inception5b = Inception(832, 384, 192, 384, 48, 128, 128)  # 1024@7×7
        self.pool5 = nn.AdaptiveAvgPool2d(1)  # 1024@1×1, the average over all places
        self.dropout = nn.Dropout(dropout)
        self.hidden: nn.Module = nn.Identity()
        if hidden is not None:
            self.hidden = Layer(dense=nn.Linear(1024, hidden), activation=nn.ReLU())
        self.output = nn.Linear(hidden or 1024, num_classes)  # 1000
        self.auxiliary4a = self.auxiliary4d = None
        if auxiliary:
            side = self.side_of_4a(in_channels, input_size)
            self.auxiliary4a = AuxiliaryHead(512, side, num_classes)
            self.auxiliary4d = AuxiliaryHead(528, side, num_classes)
        outputs = [self.output] + [head.output for head in (self.auxiliary4a, self.auxiliary4d) if head is not None]
        if init == "he":
            initialise_as_he(self, outputs)
        else:
            {"paper": initialise_as_the_paper, "article": initialise_as_the_article}[init](self)

    def until_4a(self, images: Tensor) -> Tensor:
        """The maps of inception4a, (N, 512, side, side)."""
        maps = self.norm1(self.pool1(self.conv1(images)))
        maps = self.pool2(self.norm2(self.conv2(maps)))
        maps = self.pool3(self.inception3b(self.inception3a(maps)))
        return self.inception4a(maps)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        maps4a = self.until_4a(images)
        maps4d = self.inception4d(self.inception4c(self.inception4b(maps4a)))
        maps = self.pool4(self.inception4e(maps4d))
        maps = self.inception5b(self.inception5a(maps))
        units = self.dropout(self.pool5(maps).flatten(1))
        scores = self.output(self.hidden(units))
        if self.training and self.auxiliary4a is not None and self.auxiliary4d is not None:
            return scores, self.auxiliary4a(maps4a), self.auxiliary4d(maps4d)
        return scores

    def loss(self, output: Tensor | tuple[Tensor, ...], labels: Tensor) -> Tensor:
        """Mean cross-entropy of a batch; that of each auxiliary head is added with weight 0.3. Source: section 5."""
        if isinstance(output, Tensor):
            return super().loss(output, labels)
        losses = [functional.cross_entropy(scores, labels) for scores in output]
        return losses[0] + AUXILIARY_WEIGHT * sum(losses[1:])

    def side_of_4a(self, in_channels: int, input_size: int) -> int:
        """Side of the maps that the auxiliary heads see, in pixels."""
        try:
            with torch.no_grad():
                side = self.until_4a(torch.zeros(1, in_channels, input_size, input_size)).shape[-1]
        except RuntimeError:
            side = 0
        if side < 5:
            raise ValueError(
                f"input_size={input_size} is too small: the auxiliary heads need maps of 5×5 at inception4a, which "
                f"images of 80 pixels give. Use larger images, or auxiliary=false"
            )
        return side


@torch.no_grad()
def initialise_as_the_paper(network: nn.Module) -> None:
    """Draw weights uniformly within ±√(3 / fan-in); set biases to 0.2, those of dense layers to 0.

    The paper says nothing of it; these are the choices of the first public model of it.
    """
    for weighted in weighted_layers(network):
        bound = (3 / weighted.weight[0].numel()) ** 0.5
        weighted.weight.uniform_(-bound, bound)
        if weighted.bias is not None:
            weighted.bias.fill_(0.0 if isinstance(weighted, nn.Linear) else 0.2)
