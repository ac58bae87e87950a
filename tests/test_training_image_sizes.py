"""Training images that are smaller than those of the test, and grow."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cnn_experiments.inspection.layer_table import layer_table
from cnn_experiments.models.alexnet import AlexNet
from cnn_experiments.trainers.data import scaled
from tests.conftest import QUICK_PHOTOGRAPHS, SMALL_ALEXNET
from tests.test_training_aids import checkpoint, interrupt_in_epoch, same

# This network's weights have the same shapes for images of 63 to 94 pixels.
GROWING = (*SMALL_ALEXNET, *QUICK_PHOTOGRAPHS, "model.input_size=80", "trainer.training_image_sizes=[63,71,80]")


@pytest.mark.slow
def test_they_grow_and_a_resumed_run_ends_with_the_same_weights(
    run_command: Callable, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    forward = AlexNet.forward

    def watched(self: AlexNet, images: Tensor) -> Tensor:
        seen.extend([images.shape[-1]] * self.training)
        return forward(self, images)

    words = (*GROWING, "trainer.max_epochs=3")
    with monkeypatch.context() as patch:
        patch.setattr(AlexNet, "forward", watched)
        assert run_command("train", *words, "hydra.run.dir=whole").status == 0
    assert seen[-24:] == [63] * 8 + [71] * 8 + [80] * 8  # 64 photographs in batches of 8, after the rehearsals

    metrics = json.loads((tmp_path / "whole" / "metrics.json").read_text())
    network = AlexNet(input_size=80, maps=(8, 8, 8, 8, 8), dense=(16, 16))
    costs = [layer_table(network, (3, size, size)).multiply_adds for size in (63, 71, 80)]
    assert metrics["multiply_adds"] == costs[-1]
    assert metrics["training_multiply_adds"] == round(sum(costs) / 3)

    with monkeypatch.context() as patch:
        interrupt_in_epoch(patch, 1)
        assert run_command("train", *words, "datamodule.num_workers=1", "hydra.run.dir=broken").status == 130
    assert run_command("train", "resume=broken").status == 0
    assert same(*(checkpoint(tmp_path / run)["state_dict"] for run in ("whole", "broken")))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("trainer.training_image_sizes=[62,80]",), "cannot train on 62 with weights of the same shapes. Use 63 to 80"),
        (("trainer.training_image_sizes=[81]",), "cannot train on 81 with weights of the same shapes. Use 63 to 80"),
        (("trainer.max_epochs=2",), "each size needs an epoch at least, and trainer.max_epochs=2"),
        (("trainer.max_steps=100", "trainer.max_epochs=9"), "with trainer.max_steps=100 does not give it one"),
        (("trainer.training_image_sizes=[]",), "trainer.training_image_sizes=[]: "),
    ],
)
def test_sizes_that_cannot_be(
    run_command: Callable, photographs: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    outcome = run_command("train", *GROWING, *words, "hydra.run.dir=run")
    assert outcome.status == 2
    assert message in outcome.error
    assert not (tmp_path / "run" / "config.yaml").exists()
    assert not (tmp_path / "data").exists()  # nothing was loaded


def test_each_has_its_share_of_the_epochs(settings: Callable) -> None:
    trainer = settings("model=alexnet", "trainer.training_image_sizes=[96,112]", "trainer.max_epochs=5").trainer
    assert [trainer.training_image_size(epoch) for epoch in range(5)] == [96, 96, 96, 112, 112]
    words = ("trainer.training_image_sizes=[112]", "trainer.max_epochs=-1", "trainer.max_steps=10")
    assert settings("model=alexnet", *words).trainer.training_image_size(7) == 112


def test_scaled_images_keep_their_proportions_and_means() -> None:
    images = torch.zeros(1, 1, 4, 8)
    images[..., ::2] = 1.0
    assert scaled(images, 4) is images
    assert scaled(images, 2).shape == (1, 1, 2, 4)
    assert scaled(images, 2)[0, 0, :, 1:3].allclose(torch.tensor(0.5), atol=0.1)
