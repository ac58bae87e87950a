"""Figures of each layer, compared with what torch says of the tensors themselves."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cnn_experiments.inspection.layer_outputs import layer_outputs, named_layers, units_out_of_use
from cnn_experiments.inspection.layer_statistics import (
    LayerStatistics,
    layer_statistics,
    shared_ranges,
    value_ranges,
)
from cnn_experiments.inspection.layer_table import layer_table
from cnn_experiments.models.alexnet import AlexNet
from cnn_experiments.models.article import ArticleAlexNet, ArticleGoogLeNet
from cnn_experiments.models.googlenet import GoogLeNet
from cnn_experiments.models.lenet5 import LeNet5

SMALL = {"maps": (8, 8, 8, 8, 8), "dense": (16, 16)}
NETWORKS: dict[str, tuple[nn.Module, tuple[int, int, int]]] = {
    "lenet5": (LeNet5(dropout=0.5), (1, 32, 32)),
    "alexnet": (AlexNet(input_size=64, **SMALL), (3, 64, 64)),
    "alexnet of the article": (ArticleAlexNet(input_size=64, init="he", **SMALL), (3, 64, 64)),
    "googlenet": (GoogLeNet(input_size=96), (3, 96, 96)),
    "googlenet of the article": (ArticleGoogLeNet(input_size=64, init="he"), (3, 64, 64)),
}


def batch(shape: tuple[int, int, int], number: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(number, *shape, generator=generator), torch.arange(number) % 2


@pytest.mark.parametrize("name", NETWORKS)
def test_figures_of_every_layer(name: str) -> None:
    network, shape = NETWORKS[name]
    network.train()
    images, labels = batch(shape)
    found = {statistics.layer: statistics for statistics in layer_statistics(network, images, labels)}
    expected = {layer: values for layer, _, values in layer_outputs(network, images, layers=named_layers(network))}
    assert list(found) == list(expected)
    shares = units_out_of_use(network, [images])
    for layer, values in expected.items():
        one = found[layer]
        assert one.shape == tuple(values.shape[1:])
        assert (one.lowest, one.highest) == (values.min().item(), values.max().item())
        assert one.mean == pytest.approx(values.mean().item(), rel=1e-4, abs=1e-6)
        assert one.standard_deviation == pytest.approx(values.std(correction=0).item(), rel=1e-4)
        assert len(one.edges) == len(one.counts) + 1 == 41
        assert sum(one.counts) == values.numel()
        if "/" not in layer:
            assert one.dead == shares.get(f"dead_relus/{layer}")
            assert one.saturated == shares.get(f"saturated_tanhs/{layer}")
        assert one.costs is not None
        assert one.costs.parameters == sum(parameter.numel() for parameter in named_layers(network)[layer].parameters())
        assert (one.weights is None) == (one.weight_gradient is None) == (one.costs.parameters == 0)
    assert sum(one.costs.multiply_adds for layer, one in found.items() if "/" not in layer) == (
        layer_table(network, shape).multiply_adds
    )
    assert network.training
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())


def test_gradients_are_those_of_the_loss() -> None:
    network, shape = NETWORKS["alexnet"]
    images, labels = batch(shape)
    found = {statistics.layer: statistics for statistics in layer_statistics(network, images, labels)}
    network.eval().zero_grad()
    middle = network.pool2(network.norm2(network.conv2(network.pool1(network.norm1(network.conv1(images))))))
    middle.retain_grad()
    units = network.fc7(network.fc6(network.pool5(network.conv5(network.conv4(network.conv3(middle))))))
    functional.cross_entropy(network.fc8(units), labels).backward()
    assert middle.grad is not None
    assert found["pool2"].gradient == pytest.approx(4 * middle.grad.square().mean().sqrt().item(), rel=1e-4)
    of_weights = torch.cat([parameter.grad.flatten() for parameter in network.conv4.parameters()])
    assert found["conv4"].weight_gradient == pytest.approx(of_weights.square().mean().sqrt().item(), rel=1e-4)
    weights = torch.cat([parameter.detach().flatten() for parameter in network.conv4.parameters()])
    assert found["conv4"].weights == pytest.approx(weights.square().mean().sqrt().item(), rel=1e-4)
    network.zero_grad(set_to_none=True)


def test_an_images_gradient_does_not_depend_on_the_batch() -> None:
    network = LeNet5()
    images, labels = batch((1, 32, 32))
    one = layer_statistics(network, images[:1], labels[:1])
    twice = layer_statistics(network, images[:1].repeat(2, 1, 1, 1), labels[:1].repeat(2))
    for first, second in zip(one, twice, strict=True):
        assert first.gradient == pytest.approx(second.gradient, rel=1e-3)


def test_two_networks_share_their_bins() -> None:
    torch.manual_seed(0)
    first, second = LeNet5(), LeNet5(init="article")
    images, labels = batch((1, 32, 32))
    ranges = shared_ranges(value_ranges(first, images), value_ranges(second, images))
    both = [layer_statistics(network, images, labels, ranges, bins=10) for network in (first, second)]
    for one, other in zip(*both, strict=True):
        assert one.edges == other.edges
        assert len(one.counts) == 10
        assert sum(one.counts) == sum(other.counts) == math.prod(one.shape) * 4
        assert one.edges[0] == min(one.lowest, other.lowest)
        assert one.edges[-1] == pytest.approx(max(one.highest, other.highest))
    assert both[0][0].counts != both[1][0].counts


def test_layers_of_only_one_network_keep_their_range() -> None:
    assert shared_ranges({"a": (0, 1), "b": (0, 2)}, {"b": (-1, 1), "c": (5, 6)}) == {
        "a": (0, 1),
        "b": (-1, 2),
        "c": (5, 6),
    }


class Ordinary(nn.Module):
    """A network of one's own: a ReLU that works in place and is always 0, a frozen layer, a functional step."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.relu = nn.ReLU(inplace=True)
        self.dense = nn.Linear(3, 2)
        self.conv.bias.data.fill_(-100.0)
        self.conv.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return self.dense(self.relu(self.conv(images)).mean((2, 3)))


def of_layers(statistics: list[LayerStatistics]) -> dict[str, LayerStatistics]:
    return {one.layer: one for one in statistics}


def test_a_network_of_ones_own() -> None:
    found = of_layers(layer_statistics(Ordinary(), *batch((1, 8, 8))))
    assert found["conv"].highest < -90  # not what the ReLU made of it
    assert found["relu"].dead == 1.0
    assert found["relu"].highest == 0
    assert sum(found["relu"].counts) == 4 * 3 * 36  # a histogram of equal values
    assert found["conv"].gradient == 0
    assert found["relu"].gradient > 0
    assert found["conv"].weight_gradient is None
    assert found["dense"].weight_gradient > 0


class WithItsOwnLoss(Ordinary):
    """A network whose loss is a hundred times cross-entropy."""

    def loss(self, output: Tensor, labels: Tensor) -> Tensor:
        return 100 * nn.functional.cross_entropy(output, labels)


def test_gradients_are_those_of_its_own_loss() -> None:
    of_both = []
    for kind in (Ordinary, WithItsOwnLoss):
        torch.manual_seed(0)
        of_both.append(of_layers(layer_statistics(kind(), *batch((1, 8, 8)))))
    assert of_both[1]["dense"].gradient == pytest.approx(100 * of_both[0]["dense"].gradient)


def test_what_is_no_number_is_in_no_bin() -> None:
    network = Ordinary()
    images, labels = batch((1, 8, 8))
    images[0] = torch.nan
    found = of_layers(layer_statistics(network, images, labels, value_ranges(network, images)))
    assert sum(found["conv"].counts) == 3 * 3 * 36
    assert math.isnan(found["conv"].mean)
