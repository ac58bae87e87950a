"""Gradients that are clipped by the norms of the weights."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from cnn_experiments.evaluation.run import open_run
from cnn_experiments.models.alexnet import AlexNet
from cnn_experiments.models.googlenet import GoogLeNet
from cnn_experiments.models.lenet5 import LeNet5
from cnn_experiments.trainers.adaptive_clipping import AdaptiveClipping, last_layer
from tests.conftest import QUICK
from tests.test_training_aids import checkpoint, interrupt_in_epoch, same


class Two(nn.Module):
    """A convolution with two maps and a dense layer, which is defined first and runs last."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(2, 2)
        self.convolution = nn.Conv2d(1, 2, (1, 2))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.dense(self.convolution(images).flatten(1))


class Scaled(Two):
    """The same, with a parameter of its own beside its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images * self.scale)


def test_the_papers_formula_by_hand() -> None:
    network = Two()
    convolution, dense = network.convolution, network.dense
    with torch.no_grad():
        convolution.weight.copy_(torch.tensor([[3.0, 4.0], [0.0, 0.0]]).view(2, 1, 1, 2))  # of the norms 5 and 0
        convolution.bias.copy_(torch.tensor([0.6, 0.8]))  # 1, together
    convolution.weight.grad = torch.tensor([[0.0, 2.0], [0.0, 0.01]]).view(2, 1, 1, 2)
    convolution.bias.grad = torch.tensor([0.03, 0.04])  # 0.05: less than 0.1 of 1
    dense.weight.grad, dense.bias.grad = torch.full((2, 2), 1e6), torch.full((2,), 1e6)
    AdaptiveClipping(0.1, network, (1, 1, 2))()
    expected = torch.tensor([[0.0, 0.5], [0.0, 1e-4]]).view(2, 1, 1, 2)  # 0.1 of 5, and of 0.001 in place of 0
    torch.testing.assert_close(convolution.weight.grad, expected)
    torch.testing.assert_close(convolution.bias.grad, torch.tensor([0.03, 0.04]))
    assert dense.weight.grad.eq(1e6).all()  # the last layer is left alone
    assert dense.bias.grad.eq(1e6).all()

    convolution.bias.grad.mul_(4)  # 0.2
    convolution.weight.grad.zero_()
    AdaptiveClipping(0.1, network, (1, 1, 2))()
    torch.testing.assert_close(convolution.bias.grad, torch.tensor([0.06, 0.08]))
    assert convolution.weight.grad.eq(0).all()


@pytest.mark.parametrize(
    ("network", "shape", "last"),
    [
        (LeNet5(), (1, 32, 32), "f6.dense"),  # the centres of its output layer are fixed
        (AlexNet(input_size=64, maps=(2, 2, 2, 2, 2), dense=(2, 2)), (3, 64, 64), "fc8"),
        (Scaled(), (1, 1, 2), "dense"),
        (GoogLeNet(input_size=80), (3, 80, 80), "output"),  # not that of a head, which tests do not use
    ],
)
def test_the_last_layer(network: nn.Module, shape: tuple[int, int, int], last: str) -> None:
    assert last_layer(network, shape) == last


@pytest.mark.slow
def test_a_run_is_clipped_learns_and_resumes(
    run_command: Callable, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sgd = ("model.optimizer._target_=torch.optim.SGD", "model.optimizer.lr=1", "model.optimizer.weight_decay=0")
    words = (*QUICK, *sgd)
    few = ("trainer.adaptive_clipping=1e-9", "trainer.limit_train_batches=2", "trainer.max_epochs=1")
    assert run_command("train", *words, *few, "hydra.run.dir=still").status == 0
    run = open_run(tmp_path / "still")
    before, after = run.weights_at(0), run.network().state_dict()
    assert {name for name in before if not before[name].allclose(after[name], atol=1e-5)} == {
        "f6.dense.weight",
        "f6.dense.bias",
    }

    words = (*words, "trainer.adaptive_clipping=0.02")
    assert run_command("train", *words, "hydra.run.dir=whole").status == 0
    losses = [row["train/loss"] for row in open_run(tmp_path / "whole").history]
    assert losses[-1] < 0.9 * losses[0]
    with monkeypatch.context() as patch:
        interrupt_in_epoch(patch, 1)
        assert run_command("train", *words, "hydra.run.dir=broken").status == 130
    assert run_command("train", "resume=broken").status == 0
    assert same(*(checkpoint(tmp_path / run)["state_dict"] for run in ("whole", "broken")))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("trainer.adaptive_clipping=0",), "trainer.adaptive_clipping=0: "),
        (("trainer.adaptive_clipping=0.1", "trainer.gradient_clip_val=1"), "trainer.gradient_clip_val=1.0 clips"),
        (
            ("trainer.adaptive_clipping=0.1", "trainer.precision=16-mixed", "model.optimizer.fused=true"),
            "Set model.optimizer.fused=false",
        ),
    ],
)
def test_what_makes_no_sense(run_command: Callable, digits: Path, words: tuple[str, ...], message: str) -> None:
    outcome = run_command("train", *QUICK, *words)
    assert outcome.status == 2
    assert message in outcome.error
