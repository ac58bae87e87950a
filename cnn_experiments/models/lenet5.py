"""LeNet-5: LeCun, Bottou, Bengio, Haffner 1998, "Gradient-Based Learning Applied to Document Recognition".

The defaults are the paper's; the article's network has ``subsampling="average"``, ``c3="full"``,
``activation="tanh"``, ``c5_activation=False``, ``output="linear"``, ``loss="cross_entropy"`` and ``init="article"``.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from cnn_experiments.models import Network
from cnn_experiments.models.layers import (
    Count,
    DropoutProbability,
    Layer,
    PartialConv2d,
    ScaledTanh,
    Subsampling,
    fan_in,
    initialise_as_he,
    initialise_as_the_article,
    weighted_layers,
)

# Table I: the maps of S2 that each of the 16 maps of C3 sees.
C3_CONNECTIONS = (
    (0, 1, 2),
    (1, 2, 3),
    (2, 3, 4),
    (3, 4, 5),
    (0, 4, 5),
    (0, 1, 5),
    (0, 1, 2, 3),
    (1, 2, 3, 4),
    (2, 3, 4, 5),
    (0, 3, 4, 5),
    (0, 1, 4, 5),
    (0, 1, 2, 5),
    (0, 1, 3, 4),
    (1, 2, 4, 5),
    (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)

# Figure 3: the digits drawn on 7×12 cells, one hexadecimal number a digit, row by row, the first cell in the highest
# bit (84 bits), 1 for black.
RBF_BITMAPS = (
    0x7C00E36C78F1E36C70000,
    0x1871E0C183060C18FC000,
    0x7C01F638618E30C1FC000,
    0xFE0C30C3C0C183C6F8000,
    0x7C0003367CF1E3CEFC183,
    0x7C03FE0C0F0F03C6F8000,
    0x3CC3060FDCF1E3E6F8000,
    0xFE0C1861830C183060000,
    0x7D8F1E37D8F1E3C6F8000,
    0x7D9F1E3CEFC1830CF0000,
)


def rbf_centres() -> Tensor:
    """The ten bitmaps as vectors, shape (10, 84): +1 for a black cell, -1 for a white one."""
    return torch.tensor([[1.0 if bitmap >> (83 - cell) & 1 else -1.0 for cell in range(84)] for bitmap in RBF_BITMAPS])


class RadialBasisFunctions(nn.Module):
    """Score of a class: minus the squared distance from F6 to the class's bitmap, -Σ_j (x_j - w_ij)².

    Maps (N, 84) to (N, 10). The centres are fixed. Source: equation 7 (the paper's y_i is minus our score).
    """

    centres: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centres", rbf_centres())

    def forward(self, features: Tensor) -> Tensor:
        return -(features[:, None, :] - self.centres).square().sum(2)


class LeNet5(Network):
    """Images (N, in_channels, 32, 32) to scores (N, num_classes).

    Args:
        num_classes: number of classes; 10 with ``output="rbf"``, which has a bitmap for each digit.
        in_channels: colours of the images; 1 in the paper.
        input_size: side of the images in pixels; F6 has room for 32 alone.
        subsampling: S2 and S4 as in the paper (``trained`` coefficient and bias, then the activation), or the plain
            ``average`` of the article.
        c3: ``partial`` connections of C3 to S2 by the paper's table I, or ``full``.
        activation: ``scaled_tanh`` as in the paper, or ``tanh``.
        c5_activation: whether C5 has an activation; in the article it has none.
        output: ``rbf`` as in the paper, or ``linear``.
        loss: the paper's ``map`` (equation 9) or ``mse`` (equation 8), which need ``rbf``; or ``cross_entropy``.
        map_constant: j of equation 9. The paper gives no value.
        dropout: probability of dropping a unit of F6 while training; 0 in the paper and in the article.
        init: ``paper`` (uniform within ±2.4 / fan-in, appendix A), ``article`` or ``he``.

    Raises:
        ValueError: two of the choices do not go together.
    """

    def __init__(
        self,
        num_classes: Count = 10,
        in_channels: Count = 1,
        input_size: Literal[32] = 32,
        subsampling: Literal["trained", "average"] = "trained",
        c3: Literal["partial", "full"] = "partial",
        activation: Literal["scaled_tanh", "tanh"] = "scaled_tanh",
        c5_activation: bool = True,
        output: Literal["rbf", "linear"] = "rbf",
        loss: Literal["map", "mse", "cross_entropy"] = "map",
        map_constant: float = 1.0,
        dropout: DropoutProbability = 0.0,
        init: Literal["paper", "article", "he"] = "paper",
    ) -> None:
        super().__init__()
        if output == "rbf" and num_classes != 10:
            raise ValueError(f"output=rbf has one bitmap for each of 10 digits, not {num_classes}: use output=linear")
        if loss != "cross_entropy" and output != "rbf":
            raise ValueError(f"loss={loss} measures distances to bitmaps: use output=rbf, or loss=cross_entropy")
        self.loss_name, self.map_constant = loss, map_constant
        squash = ScaledTanh if activation == "scaled_tanh" else nn.Tanh

        def subsample(maps: int) -> nn.Module:
            if subsampling == "average":
                return Layer(pooling=nn.AvgPool2d(2))
            return Layer(pooling=Subsampling(maps), activation=squash())

        c3_convolution = nn.Conv2d(6, 16, 5) if c3 == "full" else PartialConv2d(C3_CONNECTIONS, 6, 5)
        # The paper's table                                                           maps@size   parameters
        self.c1 = Layer(convolution=nn.Conv2d(in_channels, 6, 5), activation=squash())  # 6@28×28         156
        self.s2 = subsample(6)  # 6@14×14                                                                  12
        self.c3 = Layer(convolution=c3_convolution, activation=squash())  # 16@10×10                    1,516
        self.s4 = subsample(16)  # 16@5×5                                                                  32
        self.c5 = Layer(convolution=nn.Conv2d(16, 120, 5), activation=squash() if c5_activation else None)  # 48,120
        self.f6 = Layer(flatten=nn.Flatten(), dense=nn.Linear(120, 84), activation=squash())  # 84      10,164
        self.dropout = nn.Dropout(dropout)
        self.output = RadialBasisFunctions() if output == "rbf" else nn.Linear(84, num_classes)  # 10         0 or 850
        {"paper": initialise_as_the_paper, "article": initialise_as_the_article, "he": initialise_as_he}[init](self)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.s4(self.c3(self.s2(self.c1(images))))
        features = self.f6(self.c5(maps))
        return self.output(self.dropout(features))

    def loss(self, output: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of a batch: scores (N, num_classes), labels (N,) of class numbers."""
        if self.loss_name == "cross_entropy":
            return super().loss(output, labels)
        distance = -output.gather(1, labels[:, None])[:, 0]  # y of the right class
        if self.loss_name == "mse":
            return distance.mean()
        rubbish = output.new_full((len(output), 1), -self.map_constant)  # a class of its own for what is no digit
        return (distance + torch.cat([output, rubbish], 1).logsumexp(1)).mean()


@torch.no_grad()
def initialise_as_the_paper(network: nn.Module) -> None:
    """Draw weights and biases uniformly within ±2.4 / fan-in. Source: appendix A.

    The sub-sampling coefficients start at 1 and their biases at 0: the paper does not single them out.
    """
    for weighted in weighted_layers(network):
        of_weight, of_bias = fan_in(weighted)
        weighted.weight.uniform_(-1, 1).mul_(2.4 / of_weight)
        if weighted.bias is not None:
            weighted.bias.uniform_(-1, 1).mul_(2.4 / of_bias)
