"""Maps that are off, and what depends on them."""

import pytest
import torch
from torch import Tensor, nn

from cnn_experiments.errors import UserError
from cnn_experiments.inspection.ablation import (
    Ranking,
    layers_to_rank,
    leads,
    maps_by_importance,
    means_of_maps,
    probabilities,
    switched_off,
)
from cnn_experiments.inspection.graph import Graph
from cnn_experiments.inspection.layer_outputs import layer_outputs
from cnn_experiments.models.alexnet import AlexNet
from cnn_experiments.models.article import ArticleAlexNet, ArticleGoogLeNet
from cnn_experiments.models.googlenet import GoogLeNet
from cnn_experiments.models.lenet5 import LeNet5
from tests.explored import PoolsTwice


def image_for(network: nn.Module, side: int, number: int = 1) -> Tensor:
    channels = next(network.parameters()).shape[1] if not isinstance(network, LeNet5) else 1
    return torch.randn(number, channels, side, side, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def lenet5() -> LeNet5:
    torch.manual_seed(0)
    return LeNet5(dropout=0.5, output="linear", loss="cross_entropy", init="he").train()


def by_hand(network: LeNet5, images: Tensor, layer: str, maps: list[int], values: Tensor) -> Tensor:
    """Class probabilities of LeNet-5 with some maps of a layer set to values (maps,)."""
    outputs = images
    with torch.no_grad():
        for name in ("c1", "s2", "c3", "s4", "c5", "f6", "output"):
            outputs = network.get_submodule(name)(outputs)
            if name == layer:
                outputs = outputs.clone()
                outputs[:, maps] = values[maps].view(-1, *[1] * (outputs.dim() - 2)).expand_as(outputs[:, maps])
    return outputs.softmax(1)


def test_the_means_of_a_layer_that_is_used_twice() -> None:
    torch.manual_seed(0)
    network, images = PoolsTwice(), torch.randn(10, 1, 32, 32)
    means = means_of_maps(network, images.split(4))
    *_, last = ((name, output) for name, _, output in layer_outputs(network, images) if name == "pool")
    torch.testing.assert_close(means["pool"], last[1].mean((0, 2, 3)))


@pytest.mark.parametrize(
    ("layer", "maps"), [("c1", [2]), ("s2", [0, 5]), ("c3", None), ("f6", [3, 80]), ("output", [9])]
)
@pytest.mark.parametrize("to_mean", [False, True])
def test_maps_are_switched_off(lenet5: LeNet5, layer: str, maps: list[int] | None, to_mean: bool) -> None:
    images, others = image_for(lenet5, 32, 3), image_for(lenet5, 32, 20) * 2
    means = means_of_maps(lenet5, others.split(7))
    number = len(means[layer])
    chosen = list(range(number)) if maps is None else maps
    values = means[layer] if to_mean else torch.zeros(number)
    found = probabilities(lenet5, images, {layer: maps}, means if to_mean else None)
    torch.testing.assert_close(found, by_hand(lenet5, images, layer, chosen, values))
    assert not torch.allclose(found, probabilities(lenet5, images))
    assert lenet5.training
    assert lenet5.dropout.training
    assert not any(module._forward_hooks for module in lenet5.modules())


def test_means_are_those_over_all_images_and_places(lenet5: LeNet5) -> None:
    images = image_for(lenet5, 32, 10)
    means = means_of_maps(lenet5, images.split(3))
    lenet5.eval()
    maps = lenet5.c1(images)
    torch.testing.assert_close(means["c1"], maps.mean((0, 2, 3)))
    units = lenet5.f6(lenet5.c5(lenet5.s4(lenet5.c3(lenet5.s2(maps)))))
    torch.testing.assert_close(means["f6"], units.mean(0))
    assert "dropout" not in means
    with pytest.raises(ValueError, match="no images"):
        means_of_maps(lenet5, [])


def test_several_layers_and_whole_branches() -> None:
    torch.manual_seed(0)
    network = GoogLeNet(input_size=64, auxiliary=False, num_classes=4).eval()
    images = image_for(network, 64, 2)
    off = {"inception3a/branch5x5": None, "inception4c": range(128, 384), "conv1": [7]}
    same = {"inception3a": range(192, 224), "inception4c/branch3x3": None, "conv1": [7]}
    found = probabilities(network, images, off)
    torch.testing.assert_close(found, probabilities(network, images, same))
    assert not torch.allclose(found, probabilities(network, images), atol=1e-6)
    assert probabilities(network, images, {"inception3a/branch5x5/reduce": [0]}).shape == (2, 4)


def test_hooks_go_when_something_fails(lenet5: LeNet5) -> None:
    with pytest.raises(RuntimeError), switched_off(lenet5, {"c1": [0]}):
        lenet5(torch.zeros(1, 2, 5, 5))
    assert not any(module._forward_hooks for module in lenet5.modules())


@pytest.mark.parametrize(
    ("off", "message"),
    [
        ({"c4": [0]}, "off: there is no layer c4"),
        ({"c1": [6]}, "off: c1 has 6 maps, numbered from 0; there is no map 6"),
        ({"c1": [-1]}, "there is no map -1"),
    ],
)
def test_there_is_no_such_map(lenet5: LeNet5, off: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        probabilities(lenet5, image_for(lenet5, 32), off)
    assert not any(module._forward_hooks for module in lenet5.modules())


def last_of(progress) -> Ranking:
    """The result of a computation, whose progress must be steady and complete."""
    steps = list(progress)
    counts = [step.done for step in steps]
    assert counts == sorted(set(counts))
    assert counts[-1] == steps[-1].total == len(steps[-1].found.maps)
    assert [len(step.found.maps) for step in steps] == counts
    return steps[-1].found


@pytest.mark.parametrize("to_mean", [False, True])
def test_the_ranking_is_that_of_switching_each_map_off(lenet5: LeNet5, to_mean: bool) -> None:
    image = image_for(lenet5, 32)
    means = means_of_maps(lenet5, [image_for(lenet5, 32, 20)]) if to_mean else None
    before = probabilities(lenet5, image)[0]
    ranking = last_of(maps_by_importance(Graph(lenet5, (1, 32, 32)), image, means=means))
    assert ranking.class_index == int(before.argmax())
    assert ranking.before == pytest.approx(before.max().item(), abs=1e-6)
    assert {(one.layer, one.map) for one in ranking.maps} == {
        (layer, map_)
        for layer, number in {"c1": 6, "s2": 6, "c3": 16, "s4": 16, "c5": 120, "f6": 84}.items()
        for map_ in range(number)
    }
    for one in ranking.maps:
        after = probabilities(lenet5, image, {one.layer: [one.map]}, means)[0]
        assert one.drop == pytest.approx((before - after)[ranking.class_index].item(), abs=1e-5)
        assert (one.class_index, one.probability) == (int(after.argmax()), pytest.approx(after.max().item(), abs=1e-5))
    assert [one.drop for one in ranking.maps] == sorted((one.drop for one in ranking.maps), reverse=True)
    assert lenet5.training


@pytest.mark.parametrize(
    ("network", "side", "layers"),
    [
        (
            GoogLeNet(input_size=64, auxiliary=False, num_classes=3),
            64,
            ["inception3a", "pool3", "inception5a/branch_pool"],
        ),
        (ArticleGoogLeNet(input_size=64, num_classes=3, init="he"), 64, ["norm2", "inception5b", "hidden"]),
        (AlexNet(input_size=64, maps=(8, 8, 8, 8, 8), dense=(9, 7), groups=2), 64, None),
        (ArticleAlexNet(input_size=64, maps=(8, 8, 8, 8, 8), dense=(9, 7), init="he"), 64, None),
    ],
)
def test_ranking_in_every_network(network: nn.Module, side: int, layers: list[str] | None) -> None:
    image = image_for(network, side)
    graph = Graph(network, (3, side, side))
    ranking = last_of(maps_by_importance(graph, image, class_index=1, layers=layers, batch_size=50))
    before = probabilities(network, image)[0, 1].item()
    for one in ranking.maps[:: max(1, len(ranking.maps) // 10)]:
        after = probabilities(network, image, {one.layer: [one.map]})[0, 1].item()
        assert one.drop == pytest.approx(before - after, abs=1e-5)


def test_what_is_worth_ranking() -> None:
    googlenet = Graph(GoogLeNet(input_size=96), (3, 96, 96))
    assert layers_to_rank(googlenet) == [
        "conv1",
        "conv2",
        *(f"inception{name}" for name in ["3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"]),
    ]
    body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 3, 3))
    nested = nn.Sequential(nn.Sequential(body, nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 2)))
    assert layers_to_rank(Graph(nested, (1, 6, 6))) == ["0/0/0", "0/0/2", "0/2"]


def test_a_certain_answer_is_ranked_by_scores() -> None:
    assert leads(torch.tensor([[5.0, 1.0, 3.0], [0.0, 2.0, 1.0]]), 0).tolist() == [2.0, -2.0]
    network = nn.Sequential(nn.Conv2d(1, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    network[0].weight.data, network[0].bias.data = torch.ones(3, 1, 1, 1), torch.zeros(3)
    network[3].weight.data, network[3].bias.data = torch.tensor([[100.0, 300, 200], [0, 0, 0]]), torch.zeros(2)
    ranking = last_of(maps_by_importance(Graph(network, (1, 2, 2)), torch.ones(1, 1, 2, 2), layers=["0"]))
    assert [one.drop for one in ranking.maps] == [0, 0, 0]
    assert [one.map for one in ranking.maps] == [1, 2, 0]


def test_it_can_be_stopped(lenet5: LeNet5) -> None:
    progress = maps_by_importance(Graph(lenet5, (1, 32, 32)), image_for(lenet5, 32), layers=["c5"], batch_size=4)
    assert next(progress).done == 4
    progress.close()
    assert lenet5.training
    with pytest.raises(StopIteration):
        next(progress)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": ["c9"]}, "layer=c9: there is no such layer"),
        ({"layers": ["input"]}, "input is the image"),
        ({"class_index": 10}, "class=10: there are 10 classes"),
    ],
)
def test_wrong_questions(lenet5: LeNet5, arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        next(maps_by_importance(Graph(lenet5, (1, 32, 32)), image_for(lenet5, 32), **arguments))
