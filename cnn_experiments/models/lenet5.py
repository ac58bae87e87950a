"""LeNet-5: LeCun, Bottou, Bengio, Haffner 1998, "Gradient-Based Learning Applied to Document Recognition".

http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf, section II.B and figure 2.

The defaults are the paper's. The network of the article has ``subsampling="average"``, ``c3="full"``,
``activation="tanh"``, ``c5_activation=False``, ``output="linear"``, ``loss="cross_entropy"`` and ``init="article"``.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from cnn_experiments.models.initialisation import fan_in, initialise, weighted_layers
from cnn_experiments.models.layers import (
    Count,
    DropoutProbability,
    Layer,
    MatrixConv2d,
    PartialConv2d,
    ScaledTanh,
    Subsampling,
)
from cnn_experiments.models.network import Network

# Table I: the maps of S2 that each of the 16 maps of C3 sees. Seeing different inputs, the maps cannot all learn the
# same feature; and the number of connections stays down (151,600 in place of 241,600).
C3_CONNECTIONS = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),  # every three neighbours, in a circle
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),  # every four neighbours
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),  # some fours that are not all neighbours
    (0, 1, 2, 3, 4, 5),  # all
)  # fmt: skip

# Figure 3: each digit drawn on 12 rows of 7 cells. 84 bits in hexadecimal, row by row, first cell first; 1 is black.
RBF_BITMAPS = (
    0x7C00E36C78F1E36C70000,  # 0
    0x1871E0C183060C18FC000,  # 1
    0x7C01F638618E30C1FC000,  # 2
    0xFE0C30C3C0C183C6F8000,  # 3
    0x7C0003367CF1E3CEFC183,  # 4
    0x7C03FE0C0F0F03C6F8000,  # 5
    0x3CC3060FDCF1E3E6F8000,  # 6
    0xFE0C1861830C183060000,  # 7
    0x7D8F1E37D8F1E3C6F8000,  # 8
    0x7D9F1E3CEFC1830CF0000,  # 9
)


def rbf_centres() -> Tensor:
    """The ten bitmaps as vectors, (10, 84): +1 for a black cell, -1 for a white one."""
    return torch.tensor([[1.0 if bitmap >> (83 - cell) & 1 else -1.0 for cell in range(84)] for bitmap in RBF_BITMAPS])


class RadialBasisFunctions(nn.Module):
    """The output layer: how well the 84 units of F6 match the bitmap of each digit, -Σ_j (x_j - w_ij)².

    Digits that look alike have bitmaps that are alike, and what is no digit is far from all of them, which a one-hot
    code could not express. At ±1 the bitmaps ask F6's tanh for values well within its range. Source: equation 7
    (whose y_i, a penalty, is minus our score).

    Shapes: (N, 84) to (N, 10). The centres are fixed, not trained.
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
        in_channels: channels of the images.
        input_size: side of the images in pixels; C5 turns maps into single units at 32 only.
        subsampling: S2 and S4 ``trained``, a coefficient and a bias for each map, then the activation; or ``average``,
            the plain pooling of the article.
        c3: ``partial``, the connections of table I, or ``full``.
        activation: ``scaled_tanh`` (equation 6), ``tanh``, or ``relu`` with ``output="linear"``.
        c5_activation: whether C5 has an activation; in the article it has none.
        output: ``rbf`` (equation 7) or ``linear``.
        loss: ``map`` (equation 9) or ``mse`` (equation 8), both for ``output="rbf"``; or ``cross_entropy``.
        map_constant: j of equation 9, for which the paper gives no value.
        dropout: probability of dropping a unit of F6 in training; neither the paper nor the article has it.
        init: ``paper`` (uniform in ±2.4 / fan-in, appendix A), ``article`` or ``he``.

    Raises:
        ValueError: two of the choices contradict each other, or there is no such choice.
    """

    def __init__(
        self,
        num_classes: Count = 10,
        in_channels: Count = 1,
        input_size: Literal[32] = 32,
        subsampling: Literal["trained", "average"] = "trained",
        c3: Literal["partial", "full"] = "partial",
        activation: Literal["scaled_tanh", "tanh", "relu"] = "scaled_tanh",
        c5_activation: bool = True,
        output: Literal["rbf", "linear"] = "rbf",
        loss: Literal["map", "mse", "cross_entropy"] = "map",
        map_constant: float = 1.0,
        dropout: DropoutProbability = 0.0,
        init: Literal["paper", "article", "he"] = "paper",
    ) -> None:
        super().__init__()
        self.check_choices(input_size=input_size, subsampling=subsampling, c3=c3, activation=activation)
        self.check_choices(output=output, loss=loss, init=init)
        if output == "rbf" and num_classes != 10:
            raise ValueError(f"output=rbf has one bitmap for each of 10 digits, not {num_classes}: use output=linear")
        if loss != "cross_entropy" and output != "rbf":
            raise ValueError(f"loss={loss} measures distances to bitmaps: use output=rbf, or loss=cross_entropy")
        if activation == "relu" and output == "rbf":
            raise ValueError(
                "activation=relu never gives the -1 of a bitmap's white cells: use output=linear, or a tanh"
            )
        self.loss_name, self.map_constant = loss, map_constant
        squash = {"scaled_tanh": ScaledTanh, "tanh": nn.Tanh, "relu": nn.ReLU}[activation]
        c5_squash = squash() if c5_activation else None
        scorer = RadialBasisFunctions() if output == "rbf" else nn.Linear(84, num_classes)
        c3_convolution = PartialConv2d(C3_CONNECTIONS, 6, 5) if c3 == "partial" else nn.Conv2d(6, 16, 5)

        def subsample(maps: int) -> Layer:
            if subsampling == "average":
                return Layer(pooling=nn.AvgPool2d(2))
            return Layer(pooling=Subsampling(maps), activation=squash())

        # Images of 32 × 32 leave room around the digits, which are 20 × 20 at most: the end of a stroke or a corner,
        # wherever it is, can lie in the middle of the window that a unit of C3 sees. C5 is called a convolution
        # because it would give out more than 1 × 1 on larger images. Behind each layer: output (maps @ size),
        # parameters, connections.
        # fmt: off
        self.c1 = Layer(convolution=MatrixConv2d(in_channels, 6, 5), activation=squash())    # 6@28×28     156  122,304
        self.s2 = subsample(6)                                                                # 6@14×14      12    5,880
        self.c3 = Layer(convolution=c3_convolution, activation=squash())                      # 16@10×10  1,516  151,600
        self.s4 = subsample(16)                                                               # 16@5×5       32    2,000
        self.c5 = Layer(convolution=MatrixConv2d(16, 120, 5), activation=c5_squash)          # 120@1×1  48,120   48,120
        self.f6 = Layer(flatten=nn.Flatten(), dense=nn.Linear(120, 84), activation=squash())  # 84       10,164   10,164
        self.dropout = nn.Dropout(dropout)                                                    # 84
        self.output = scorer                                                                  # 10            0      840
        # fmt: on
        initialise(self, init, paper=initialise_as_the_paper)

    def forward(self, images: Tensor) -> Tensor:
        # fmt: off
        maps = self.c1(images)                 # N × 6 × 28 × 28
        maps = self.s2(maps)                   # N × 6 × 14 × 14
        maps = self.c3(maps)                   # N × 16 × 10 × 10
        maps = self.s4(maps)                   # N × 16 × 5 × 5
        maps = self.c5(maps)                   # N × 120 × 1 × 1
        units = self.f6(maps)                  # N × 84
        units = self.dropout(units)            # N × 84
        scores: Tensor = self.output(units)    # N × 10
        # fmt: on
        return scores

    def loss(self, output: Tensor, labels: Tensor) -> Tensor:
        """The paper's MAP or MSE criterion, or cross-entropy, as the constructor's ``loss`` says; mean of a batch.

        With y_i the squared distance to the bitmap of class i (minus our score) and D the right class:

        - MSE is y_D: it pulls F6 towards the right bitmap, and ignores the others;
        - MAP is y_D + log(e^-j + Σ_i e^-y_i): it pushes F6 away from wrong bitmaps too, but only from near ones,
          since a distance well beyond j adds nothing. e^-j stands for one more class, what is no digit.

        Args:
            output: scores (N, num_classes).
            labels: class numbers (N,), or probabilities of classes (N, num_classes), which weight the distances.
        """
        if self.loss_name == "cross_entropy":
            return super().loss(output, labels)
        right_distance = -(output.gather(1, labels[:, None])[:, 0] if labels.dim() == 1 else (output * labels).sum(1))
        if self.loss_name == "mse":
            return right_distance.mean()
        no_digit = output.new_full((len(output), 1), -self.map_constant)
        return (right_distance + torch.cat([output, no_digit], 1).logsumexp(1)).mean()


@torch.no_grad()
def initialise_as_the_paper(network: nn.Module) -> None:
    """Draw weights and biases uniformly from ±2.4 / fan-in, which keeps sums where a tanh is steep. Source: appendix A.

    Sub-sampling coefficients stay 1 and their biases 0, which the paper does not mention.
    """
    for layer in weighted_layers(network):
        weight_fan_in, bias_fan_in = fan_in(layer)
        layer.weight.uniform_(-1, 1).mul_(2.4 / weight_fan_in)
        if layer.bias is not None:
            layer.bias.uniform_(-1, 1).mul_(2.4 / bias_fan_in)
