"""LeNet-5 is the paper's, number by number."""

import inspect

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from cnn_experiments.inspection.layer_table import layer_table
from cnn_experiments.models.initialisation import weighted_layers
from cnn_experiments.models.layers import MatrixConv2d, PartialConv2d, ScaledTanh, Subsampling
from cnn_experiments.models.lenet5 import C3_CONNECTIONS, LeNet5, rbf_centres

# Table I of the paper, as printed: rows are the maps of S2, columns those of C3; X marks a connection.
TABLE_I = """
    X . . . X X X . . X X X X . X X
    X X . . . X X X . . X X X X . X
    X X X . . . X X X . . X . X X X
    . X X X . . X X X X . . X . X X
    . . X X X . . X X X X . X X . X
    . . . X X X . . X X X X . X X X
"""


def paper() -> LeNet5:
    return LeNet5()


def article() -> LeNet5:
    return LeNet5(
        subsampling="average",
        c3="full",
        activation="tanh",
        c5_activation=False,
        output="linear",
        loss="cross_entropy",
        init="article",
    )


def test_the_papers_table_line_by_line() -> None:
    table = layer_table(paper(), (1, 32, 32))
    rows = {row.name: (row.maps, row.size, row.parameters, row.connections) for row in table.rows}
    assert rows == {
        "input": (1, "32×32", 0, 0),
        "c1": (6, "28×28", 156, 122_304),
        "s2": (6, "14×14", 12, 5_880),
        "c3": (16, "10×10", 1_516, 151_600),
        "s4": (16, "5×5", 32, 2_000),
        "c5": (120, "1×1", 48_120, 48_120),
        "f6": (84, "1", 10_164, 10_164),
        "dropout": (84, "1", 0, 0),
        "output": (10, "1", 0, 840),
    }
    assert sum(parameters for *_, parameters, _ in rows.values()) == table.parameters == 60_000
    assert sum(connections for *_, connections in rows.values()) == table.connections == 340_908
    assert table.multiply_adds == 117_600 + 240_000 + 48_000 + 10_080  # of c1, c3 (computed densely), c5 and f6


def test_the_articles_network() -> None:
    network = article()
    assert sum(parameter.numel() for parameter in network.parameters()) == 61_706
    assert [row.activation for row in layer_table(network, (1, 32, 32)).rows] == [
        "", "tanh", "", "tanh", "", "", "tanh", "p = 0.0", "",
    ]  # fmt: skip


def test_zero_padding_to_32_is_tensorflows_same() -> None:
    images = torch.rand(2, 1, 28, 28)
    c1 = article().c1[0]
    same = functional.conv2d(images, c1.weight, c1.bias, padding=2)
    torch.testing.assert_close(c1(functional.pad(images, (2, 2, 2, 2))), same)


class TestFastLayers:
    """What is computed in another way than PyTorch's, since that is faster: the same values and gradients."""

    @pytest.mark.parametrize("shape", [(3, 1, 32, 32), (2, 16, 5, 5), (2, 3, 7, 9), (0, 1, 32, 32)])
    def test_a_convolution_as_a_matrix_product(self, shape: tuple[int, ...]) -> None:
        ours = MatrixConv2d(shape[1], 6, 5).double()
        maps = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        given = (maps, ours.weight, ours.bias)
        theirs = functional.conv2d(*given)
        torch.testing.assert_close(ours(maps), theirs)
        weights = torch.randn_like(theirs)
        found, expected = (torch.autograd.grad((out * weights).sum(), given) for out in (ours(maps), theirs))
        torch.testing.assert_close(found, expected)

    def test_a_batch_is_computed_as_its_images_are(self) -> None:
        c1, images = MatrixConv2d(1, 6, 5), torch.randn(7, 1, 32, 32)
        torch.testing.assert_close(c1(images), torch.cat([c1(image[None]) for image in images]), rtol=0, atol=1e-6)

    def test_in_mixed_precision_the_values_are_of_its_type(self) -> None:
        c1, images = MatrixConv2d(1, 6, 5), torch.randn(2, 1, 32, 32)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = c1(images)
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found.float(), c1(images), rtol=0.02, atol=0.02)

    def test_the_scaled_tanh(self) -> None:
        a = torch.linspace(-12, 12, 1001, dtype=torch.float64, requires_grad=True)
        theirs = 1.7159 * torch.tanh(2 / 3 * a)
        torch.testing.assert_close(ScaledTanh()(a), theirs)
        found, expected = (torch.autograd.grad(out.sum(), a) for out in (ScaledTanh()(a), theirs))
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(ScaledTanh()(a.float()), theirs.float(), rtol=0, atol=5e-7)

    @pytest.mark.parametrize("sides", [(28, 28), (10, 10), (5, 7), (2, 3)])
    def test_subsampling(self, sides: tuple[int, int]) -> None:
        ours = Subsampling(4).double()
        torch.nn.init.uniform_(ours.coefficient, 0.5, 2)
        torch.nn.init.normal_(ours.bias)
        maps = torch.randn(3, 4, *sides, dtype=torch.float64, requires_grad=True)
        given = (maps, ours.coefficient, ours.bias)
        theirs = functional.avg_pool2d(maps, 2) * ours.coefficient + ours.bias
        torch.testing.assert_close(ours(maps), theirs)
        weights = torch.randn_like(theirs)
        found, expected = (torch.autograd.grad((out * weights).sum(), given) for out in (ours(maps), theirs))
        torch.testing.assert_close(found, expected)


def test_c3_is_a_convolution_with_the_papers_holes() -> None:
    c3 = PartialConv2d(C3_CONNECTIONS, 6, 5)
    torch.nn.init.normal_(c3.weight)
    torch.nn.init.normal_(c3.bias)
    maps = torch.randn(2, 6, 14, 14)
    expected = torch.zeros(2, 16, 10, 10)
    row = 0
    for output_map, inputs in enumerate(C3_CONNECTIONS):
        expected[:, output_map] = c3.bias[output_map]
        for input_map in inputs:
            one = functional.conv2d(maps[:, input_map : input_map + 1], c3.weight[row].view(1, 1, 5, 5))
            expected[:, output_map] += one[:, 0]
            row += 1
    assert row == 60
    torch.testing.assert_close(c3(maps), expected)
    assert (c3.in_channels, c3.out_channels, c3.kernel_size, c3.stride, c3.padding) == (6, 16, 5, 1, 0)
    assert set(c3.state_dict()) == {"weight", "bias"}  # the table is no part of a checkpoint
    # Figure of the paper: maps 0 to 5 see 3, maps 6 to 14 see 4, map 15 sees all.
    assert [len(inputs) for inputs in C3_CONNECTIONS] == [3] * 6 + [4] * 9 + [6]


def test_c3_sees_what_table_1_says() -> None:
    published = [row.split() for row in TABLE_I.strip().splitlines()]
    assert [[seen for seen in range(6) if published[seen][of] == "X"] for of in range(16)] == [
        list(inputs) for inputs in C3_CONNECTIONS
    ]
    assert sum(row.count("X") for row in published) == 60
    kernels = paper().c3[0].dense_weight().abs().sum((2, 3))
    assert (kernels.T > 0).tolist() == [[cell == "X" for cell in row] for row in published]


def test_the_paper_layer_by_layer() -> None:
    """Section II.B, written a second time with functions."""
    torch.manual_seed(0)
    network = paper()
    weights = network.state_dict()

    def squash(sums: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(2 / 3 * sums)

    def subsample(maps: Tensor, name: str) -> Tensor:
        four = maps[:, :, ::2, ::2] + maps[:, :, 1::2, ::2] + maps[:, :, ::2, 1::2] + maps[:, :, 1::2, 1::2]
        return squash(four / 4 * weights[f"{name}.coefficient"] + weights[f"{name}.bias"])

    with torch.no_grad():
        for parameter in (network.s2.pooling.coefficient, network.s4.pooling.coefficient):
            parameter.uniform_(0.5, 2)
    images = torch.randn(3, 1, 32, 32)
    maps = squash(functional.conv2d(images, weights["c1.convolution.weight"], weights["c1.convolution.bias"]))
    maps = subsample(maps, "s2.pooling")
    kernels, row = torch.zeros(16, 6, 5, 5), iter(weights["c3.convolution.weight"])
    for of, inputs in enumerate(C3_CONNECTIONS):
        for seen in inputs:
            kernels[of, seen] = next(row)
    maps = squash(functional.conv2d(maps, kernels, weights["c3.convolution.bias"]))
    maps = subsample(maps, "s4.pooling")
    units = squash(maps.flatten(1) @ weights["c5.convolution.weight"].flatten(1).T + weights["c5.convolution.bias"])
    units = squash(units @ weights["f6.dense.weight"].T + weights["f6.dense.bias"])
    distances = (units[:, None] - rbf_centres()).square().sum(2)
    with torch.no_grad():
        torch.testing.assert_close(network(images), -distances)


def test_only_connected_kernels_learn() -> None:
    network = paper()
    network.loss(network(torch.randn(4, 1, 32, 32)), torch.arange(4)).backward()
    weight = network.c3[0].weight
    assert weight.shape == (60, 5, 5)
    assert (weight.grad.abs().sum((1, 2)) > 0).all()


def test_subsampling_is_average_times_coefficient_plus_bias() -> None:
    pooling = Subsampling(2)
    with torch.no_grad():
        pooling.coefficient.copy_(torch.tensor([2.0, -1.0]).view(2, 1, 1))
        pooling.bias.copy_(torch.tensor([0.5, 1.0]).view(2, 1, 1))
    maps = torch.tensor([[1.0, 3.0], [5.0, 7.0]]).expand(1, 2, 2, 2)
    assert pooling(maps).flatten().tolist() == [8.5, -3.0]


def test_scaled_tanh() -> None:
    values = torch.tensor([-3.0, 0.0, 1.0])
    torch.testing.assert_close(ScaledTanh()(values), torch.from_numpy(1.7159 * np.tanh(2 / 3 * values.numpy())))


def test_the_published_bitmaps() -> None:
    centres = rbf_centres()
    assert centres.shape == (10, 84)
    assert set(centres.unique().tolist()) == {-1.0, 1.0}
    assert (centres > 0).sum(1).tolist() == [35, 27, 33, 32, 41, 35, 39, 25, 43, 39]
    distances = {(i, j): int((centres[i] != centres[j]).sum()) for i in range(10) for j in range(i)}
    assert min(distances.values()) == 12 == distances[8, 6]
    assert max(distances.values()) == 50
    seven = ["".join("#" if cell > 0 else "." for cell in row) for row in centres[7].view(12, 7)]
    assert seven[:5] == ["#######", ".....##", ".....##", "....##.", "...##.."]
    bits = ["".join("1" if cell > 0 else "0" for cell in centre) for centre in centres]
    assert [f"{int(digit, 2):021x}" for digit in bits] == [
        "7c00e36c78f1e36c70000", "1871e0c183060c18fc000", "7c01f638618e30c1fc000", "fe0c30c3c0c183c6f8000",
        "7c0003367cf1e3cefc183", "7c03fe0c0f0f03c6f8000", "3cc3060fdcf1e3e6f8000", "fe0c1861830c183060000",
        "7d8f1e37d8f1e3c6f8000", "7d9f1e3cefc1830cf0000",
    ]  # fmt: skip


def test_rbf_scores_are_minus_squared_distances() -> None:
    network = paper()
    features = torch.randn(3, 84)
    expected = -(torch.cdist(features, rbf_centres()) ** 2)
    torch.testing.assert_close(network.output(features), expected, rtol=1e-4, atol=1e-3)
    assert network.output(rbf_centres()).diagonal().tolist() == [0.0] * 10


def test_map_loss_is_equation_9() -> None:
    network = LeNet5(map_constant=2.0).double()
    distances = torch.rand(5, 10, dtype=torch.float64) * 20
    labels = torch.tensor([0, 3, 9, 3, 1])
    expected = 0.0
    for row, label in zip(distances.numpy(), labels.tolist(), strict=True):
        expected += row[label] + np.log(np.exp(-2.0) + np.exp(-row).sum())
    torch.testing.assert_close(network.loss(-distances, labels).item(), expected / 5)


def test_map_loss_as_it_is_unless_told_otherwise() -> None:
    distances = torch.full((1, 10), 1e6)
    distances[0, 4] = 3.0  # log(e^-j + e^-3) with j = 1
    expected = 3 + np.log(np.exp(-1) + np.exp(-3))
    assert LeNet5().loss(-distances, torch.tensor([4])).item() == pytest.approx(expected)


def test_mse_loss_is_equation_8() -> None:
    network = LeNet5(loss="mse")
    distances = torch.rand(5, 10)
    labels = torch.tensor([0, 3, 9, 3, 1])
    torch.testing.assert_close(network.loss(-distances, labels), distances[range(5), labels].mean())


def test_cross_entropy_is_a_third_loss() -> None:
    scores, labels = torch.randn(5, 10), torch.tensor([0, 3, 9, 3, 1])
    assert article().loss(scores, labels) == functional.cross_entropy(scores, labels)


def test_initial_weights_of_the_paper() -> None:
    torch.manual_seed(0)
    network = paper()
    for layer, fan_in in ((network.c1[0], 25), (network.c5[0], 400), (network.f6[1], 120)):
        bound = 2.4 / fan_in
        for drawn in (layer.weight, layer.bias):  # uniformly from -bound to bound
            assert bound / 2 < drawn.max() <= bound
            assert -bound <= drawn.min() < -bound / 2
    row = 0
    for output_map, inputs in enumerate(C3_CONNECTIONS):
        bound = 2.4 / (25 * len(inputs))
        kernels = network.c3[0].weight[row : row + len(inputs)]
        assert bound * 0.8 < kernels.abs().max() <= bound
        assert 0 < network.c3[0].bias[output_map].abs() <= bound
        row += len(inputs)
    for layer in (network.s2.pooling, network.s4.pooling):
        assert (layer.coefficient == 1).all()
        assert (layer.bias == 0).all()


def test_initial_weights_of_the_article() -> None:
    torch.manual_seed(0)
    for layer in weighted_layers(article()):
        assert (layer.bias == 0.1).all()
        assert layer.weight.abs().max() <= 0.2
    weights = article().c5[0].weight  # a normal distribution cut at two deviations has 0.8796 of the deviation
    assert weights.std().item() == pytest.approx(0.08796, rel=0.02)


def test_initial_weights_of_he() -> None:
    torch.manual_seed(0)
    network = LeNet5(init="he")
    assert network.c5[0].weight.std().item() == pytest.approx((2 / 400) ** 0.5, rel=0.02)
    assert (network.c5[0].bias == 0).all()


def test_choices_that_do_not_go_together() -> None:
    with pytest.raises(ValueError, match="output=linear"):
        LeNet5(num_classes=2, output="rbf")
    with pytest.raises(ValueError, match="loss=map"):
        LeNet5(output="linear", loss="map")
    with pytest.raises(ValueError, match="activation=relu never gives the -1"):
        LeNet5(activation="relu")


def test_with_relus_it_has_the_same_parameters() -> None:
    network = LeNet5(activation="relu", output="linear", loss="cross_entropy")
    assert sum(parameter.numel() for parameter in network.parameters()) == 60_000 + 85 * 10  # the output's
    kinds = [row.activation for row in layer_table(network, (1, 32, 32)).rows]
    assert kinds == ["", "ReLU", "ReLU", "ReLU", "ReLU", "ReLU", "ReLU", "p = 0.0", ""]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("input_size", 28),
        ("subsampling", "max"),
        ("c3", "dense"),
        ("activation", "elu"),
        ("output", "softmax"),
        ("loss", "nll"),
        ("init", "xavier"),
    ],
)
def test_a_choice_that_does_not_exist_is_refused(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{key}={value}: there is no such choice. Use "):
        LeNet5(**{key: value})


def test_dropout_drops_in_training_only() -> None:
    network = LeNet5(dropout=0.5)
    images = torch.randn(4, 1, 32, 32)
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))


def test_every_option_has_a_default_that_the_config_repeats(compose) -> None:
    model = compose()["model"]
    for name, parameter in inspect.signature(LeNet5).parameters.items():
        assert model[name] == parameter.default, name
