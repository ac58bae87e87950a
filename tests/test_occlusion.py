"""What a grey square over the image changes."""

import copy
import itertools

import pytest
import torch
from torch import Tensor, nn

from cnn_experiments.errors import UserError
from cnn_experiments.inspection.occlusion import HeatMap, centres, occluded, occlusion_map
from cnn_experiments.models.lenet5 import LeNet5


class Corner(nn.Module):
    """Scores: the mean of the top left quarter, and of the bottom right one."""

    def forward(self, images: Tensor) -> Tensor:
        side = images.shape[2] // 2
        return torch.stack([images[..., :side, :side].mean((1, 2, 3)), images[..., side:, side:].mean((1, 2, 3))], 1)


def test_the_square_covers_its_place() -> None:
    image = torch.rand(3, 10, 8)
    hidden = occluded(image, 4, 3, 3)
    changed = (hidden != image).any(0)
    expected = torch.zeros(10, 8, dtype=torch.bool)
    expected[3:6, 2:5] = True
    assert torch.equal(changed, expected)
    torch.testing.assert_close(hidden[:, 4, 3], image.mean((1, 2)))
    assert torch.equal(occluded(image, 4, 3, 3, torch.tensor([1.0, 2.0, 3.0]))[:, 4, 3], torch.tensor([1.0, 2.0, 3.0]))
    assert torch.equal(occluded(image, 4, 3, 0), image)


@pytest.mark.parametrize(("row", "column", "covered"), [(0, 0, 4), (9, 7, 4), (-5, 3, 0), (0, 40, 0), (4, 0, 6)])
def test_a_square_may_reach_beyond_the_edges(row: int, column: int, covered: int) -> None:
    image = torch.arange(80.0).view(1, 10, 8)
    assert int((occluded(image, row, column, 3) != image).sum()) == covered


def last_of(progress) -> HeatMap:
    steps = list(progress)
    counts = [step.done for step in steps]
    assert counts == sorted(set(counts))
    assert counts[-1] == steps[-1].total
    for step in steps:
        assert int((~step.found.probabilities.isnan()).sum()) == step.done
    return steps[-1].found


def test_the_answer_rests_on_a_corner() -> None:
    image = torch.zeros(1, 1, 20, 20)
    image[..., :10, :10] = 4.0
    heat = last_of(occlusion_map(Corner(), image, size=5, stride=2, batch_size=7))
    assert heat.class_index == 0
    assert heat.before == pytest.approx(torch.tensor([4.0, 0.0]).softmax(0)[0].item())
    assert heat.probabilities.shape == (len(heat.rows), len(heat.columns)) == (10, 10)
    inside, outside = heat.probabilities[2, 2], heat.probabilities[2, 9]
    assert inside < heat.before
    assert outside == pytest.approx(heat.before)
    assert heat.probabilities[0, 0] > inside  # less of the corner is hidden there


def test_the_map_is_made_of_single_squares() -> None:
    torch.manual_seed(0)
    network = LeNet5(dropout=0.5, output="linear", loss="cross_entropy", init="he").train()
    image = torch.randn(1, 1, 32, 32)
    heat = last_of(occlusion_map(network, image, class_index=3, colour=torch.tensor([0.5])))
    assert heat.size == 8
    for row, column in ((0, 0), (5, 9), (15, 2)):
        place = heat.rows[row], heat.columns[column]
        hidden = occluded(image[0], *place, 8, torch.tensor([0.5]))
        one = copy.deepcopy(network).eval()(hidden[None]).softmax(1)[0, 3].item()
        assert heat.probabilities[row, column].item() == pytest.approx(one, abs=1e-6)
    assert network.training
    assert network.dropout.training


@pytest.mark.parametrize(("side", "stride"), [(32, 2), (32, 5), (7, 7), (7, 20), (1, 1)])
def test_places_are_even(side: int, stride: int) -> None:
    found = centres(side, stride)
    assert all(0 <= place < side for place in found)
    assert {after - before for before, after in itertools.pairwise(found)} <= {stride}
    assert abs(found[0] - (side - 1 - found[-1])) <= 1
    assert found[0] <= stride


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"size": 0}, "size=0, stride=1: give at least one pixel"), ({"class_index": 2}, "class=2: there are 2 classes")],
)
def test_wrong_questions(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        next(occlusion_map(Corner(), torch.zeros(1, 1, 8, 8), **arguments))


def test_it_can_be_stopped() -> None:
    progress = occlusion_map(Corner(), torch.zeros(1, 1, 8, 8), size=2, stride=1, batch_size=5)
    assert next(progress).done == 5
    progress.close()
