"""A network that cannot be trained on its images is refused before they are loaded."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import cnn_experiments as cnn
from cnn_experiments.errors import UserError
from cnn_experiments.models.alexnet import AlexNet
from cnn_experiments.trainers.rehearsal import check_network

SHAPE = (1, 12, 12)


class Own(nn.Module):
    """A network with dropout and batch normalisation, which draw random numbers and keep count."""

    def __init__(self, inputs: int = 144, classes: int = 3) -> None:
        super().__init__()
        self.normal = nn.BatchNorm2d(1)
        self.dense = nn.Linear(inputs, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.dense(nn.functional.dropout(self.normal(images).flatten(1), training=self.training))


class WithHead(Own):
    """One that in training returns what its missing loss would have to put together."""

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        scores = super().forward(images)
        return (scores, scores) if self.training else scores


def test_a_network_that_fits_is_left_as_it_was() -> None:
    network = Own().double()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.random.get_rng_state()
    check_network(network, SHAPE, 3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert network.dense.weight.dtype == torch.float64


def test_a_tuple_in_evaluation_mode_is_refused() -> None:
    class Pair(Own):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            scores = super().forward(images)
            return scores, scores

    with pytest.raises(UserError, match=r"evaluation mode Pair gives a tuple\. It must give scores alone"):
        check_network(Pair(), SHAPE, 3)


@pytest.mark.parametrize(
    ("network", "kind", "words"),
    [
        (Own(inputs=100), RuntimeError, "shapes cannot be multiplied"),
        (WithHead(), TypeError, "must be Tensor, not tuple"),
    ],
)
def test_an_error_of_the_network_is_raised_as_it_is(network: nn.Module, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words) as raised:
        check_network(network, SHAPE, 3)
    assert "2 blank images 2×1×12×12" in raised.value.__notes__[0]


@pytest.mark.parametrize("classes", [2, 5])
def test_a_score_for_each_class_is_needed(classes: int) -> None:
    with pytest.raises(UserError, match=f"gives scores of the shape 2×{classes}, but the data set has 3 classes"):
        check_network(Own(classes=classes), SHAPE, 3)


def test_images_of_another_size_than_the_network_was_built_for() -> None:
    with pytest.raises(
        UserError, match=r"model.input_size=64: .* 12×12 pixels, which do not fit AlexNet \(.*too small"
    ):
        check_network(AlexNet(in_channels=1, input_size=64, num_classes=3), SHAPE, 3, input_size=64)


class Digits:
    """A data set of one's own."""

    def batches(self, part: str) -> Iterator[tuple[Tensor, Tensor]]:
        yield torch.zeros(60, *SHAPE), torch.arange(60) % 3


def test_nothing_is_loaded_or_written_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cnn_experiments.trainers.fit.load", lambda *_: pytest.fail("images were loaded"))
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        cnn.train("trainer.gpus=0", network=Own(inputs=100), data=Digits())
    assert not list(tmp_path.rglob("*.yaml"))


class Normalised(nn.Module):
    """It normalises one value per unit, which takes more than one image."""

    def __init__(self) -> None:
        super().__init__()
        self.dense, self.normal = nn.Linear(144, 3), nn.BatchNorm1d(3)

    def forward(self, images: Tensor) -> Tensor:
        return self.normal(self.dense(images.flatten(1)))


class LastOfOne:
    """Batches of 20, and a last one of a single image."""

    class_names = ("a", "b", "c")

    def batches(self, part: str) -> Iterator[tuple[Tensor, Tensor]]:
        for size in (20, 20, 1):
            yield torch.randn(size, *SHAPE), torch.arange(size) % 3


@pytest.mark.filterwarnings("ignore:Found 1 module")  # Lightning's, of the frozen layer
def test_a_last_batch_of_one_image_is_found_before_it_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("trainer.gpus=0", "trainer.max_epochs=1", "logger=[]")
    with pytest.raises(UserError, match=r"a single image, and Normalised cannot .*more than 1 value per channel"):
        cnn.train(*words, network=Normalised(), data=LastOfOne())
    assert not list(tmp_path.rglob("*.yaml"))
    frozen = Normalised()
    frozen.normal.eval()
    assert cnn.train(*words, network=frozen, data=LastOfOne()).metrics["status"] == "completed"
    few = cnn.train(*words, "trainer.limit_train_batches=2", network=Normalised(), data=LastOfOne())
    assert few.metrics["status"] == "completed"
    assert cnn.train(*words, network=Own(), data=LastOfOne()).metrics["status"] == "completed"


@pytest.mark.parametrize(("size", "last"), [(50, 50), (51, 44), (349, 1), (400, 350)])
def test_images_in_the_last_batch(digits: Path, size: int, last: int) -> None:
    assert cnn.MNIST(validation_size=50, batch_size=size).images_in_last_batch() == last  # of 350


@pytest.mark.parametrize(("size", "processes", "least"), [(100, 2, 75), (58, 3, 58), (87, 4, 87), (69, 5, 1)])
def test_processes_share_the_last_batch(digits: Path, size: int, processes: int, least: int) -> None:
    assert cnn.MNIST(validation_size=50, batch_size=size).images_in_last_batch(processes) == least
