"""Mixed images and smoothed labels."""

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from cnn_experiments.models.googlenet import GoogLeNet
from cnn_experiments.models.lenet5 import LeNet5
from cnn_experiments.models.network import Network
from cnn_experiments.trainers.soft_labels import SoftLabels
from tests.conftest import QUICK

# Image n is n everywhere, and of class n.
IMAGES, LABELS = torch.arange(4.0)[:, None, None, None].expand(4, 1, 6, 6), torch.arange(4)


def test_smoothed_labels() -> None:
    images, labels = SoftLabels(4, smoothing=0.2)(IMAGES, LABELS)
    assert images is IMAGES
    torch.testing.assert_close(labels, torch.eye(4) * 0.8 + 0.05)
    scores = torch.randn(4, 4)
    expected = functional.cross_entropy(scores, LABELS, label_smoothing=0.2)
    torch.testing.assert_close(functional.cross_entropy(scores, labels), expected)


def test_mixup_blends_images_and_labels_alike() -> None:
    torch.manual_seed(1)
    images, labels = SoftLabels(4, mixup=1.0)(IMAGES, LABELS)
    assert (labels > 0).sum() == 8  # two classes each
    torch.testing.assert_close(labels.sum(1), torch.ones(4))
    expected = labels @ torch.arange(4.0)
    torch.testing.assert_close(images, expected[:, None, None, None].expand_as(images))


def test_cutmix_puts_a_rectangle_of_another_image_in() -> None:
    torch.manual_seed(3)
    images, labels = SoftLabels(4, cutmix=1.0, smoothing=0.1)(IMAGES, LABELS)
    shares = torch.stack([(images == number).float().mean((1, 2, 3)) for number in range(4)], 1)
    assert 0 < shares.diagonal().min() < 1
    torch.testing.assert_close(labels, shares * 0.9 + 0.025)


def test_of_two_ways_each_batch_has_one() -> None:
    torch.manual_seed(0)
    soften = SoftLabels(4, mixup=0.4, cutmix=1.0)
    are_blends = {bool(((images % 1) > 0.001).any()) for images, _ in (soften(IMAGES, LABELS) for _ in range(30))}
    assert are_blends == {True, False}


@pytest.mark.parametrize("network", [LeNet5(), LeNet5(loss="mse"), Network()])
def test_a_loss_of_probabilities_is_the_mean_of_the_losses(network: Network) -> None:
    scores, labels = -torch.rand(5, 10) * 100, torch.arange(5)
    one_hot = functional.one_hot(labels, 10).float()
    torch.testing.assert_close(network.loss(scores, one_hot), network.loss(scores, labels))
    blended = network.loss(scores, 0.3 * one_hot + 0.7 * one_hot.roll(1, 1))
    expected = 0.3 * network.loss(scores, labels) + 0.7 * network.loss(scores, labels + 1)
    torch.testing.assert_close(blended, expected)


def test_auxiliary_heads_take_probabilities_too() -> None:
    outputs = tuple(torch.randn(3, 2) for _ in range(3))
    labels = torch.tensor([0, 1, 1])
    loss = GoogLeNet.loss(None, outputs, functional.one_hot(labels, 2).float())
    torch.testing.assert_close(loss, GoogLeNet.loss(None, outputs, labels))


def test_training_with_all_of_it(run_command, digits: Path, tmp_path: Path) -> None:
    words = ["trainer.mixup=0.2", "trainer.cutmix=1.0", "trainer.label_smoothing=0.1", "trainer.max_epochs=2"]
    assert run_command("train", *QUICK, *words, "hydra.run.dir=a").status == 0
    assert run_command("train", *QUICK, *words, "datamodule.num_workers=1", "hydra.run.dir=b").status == 0
    found = [json.loads((tmp_path / run / "metrics.json").read_text()) for run in ("a", "b")]
    for name in ("test/loss", "test/accuracy", "val/accuracy"):
        assert found[0][name] == found[1][name]


@pytest.mark.parametrize(
    "word", ["trainer.mixup=0", "trainer.mixup=-1", "trainer.cutmix=many", "trainer.label_smoothing=1"]
)
def test_impossible_values(run_command, digits: Path, word: str) -> None:
    outcome = run_command("train", *QUICK, word)
    assert outcome.status == 2
    assert word in outcome.error
