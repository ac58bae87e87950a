"""Run directories and subjects for tests of the page, made without training."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from cnn_experiments.evaluation.exploring import subject_of
from cnn_experiments.evaluation.randomness import untrained_network
from cnn_experiments.evaluation.run import Run, open_run
from cnn_experiments.evaluation.snapshots import write_snapshot
from cnn_experiments.evaluation.testing import write_answers
from cnn_experiments.explorer.subject import Subject
from cnn_experiments.runs.directory import RunDirectory
from cnn_experiments.settings.schema import Settings

WORDS = {
    "lenet5": ("datamodule.validation_size=50",),
    "alexnet": (
        "model=alexnet",
        "model.input_size=64",
        "model.maps=[8,8,8,8,8]",
        "model.dense=[16,16]",
        "datamodule.num_workers=0",
    ),
    "googlenet": ("model=googlenet", "model.input_size=48", "model.auxiliary=false", "datamodule.num_workers=0"),
}


def changed(network: nn.Module, amount: float) -> nn.Module:
    """The network with other weights, as training would have changed them."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += amount * parameter.std(correction=0) * torch.randn(parameter.shape, generator=generator)
    return network


def write_run(folder: Path, settings: Settings, predictions: bool = True, snapshots: tuple[int, ...] = ()) -> Run:
    """Write a run directory as a training of two epochs would have, and open it."""
    files = RunDirectory(folder)
    files.start(dict(settings.config), model=settings.model.name, epochs=2, **{"test/accuracy": 0.5})
    network = changed(untrained_network(settings), 0.2)
    settings.datamodule.build().write_records(folder)
    (folder / "checkpoints").mkdir()
    weights = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"hyper_parameters": {"config": dict(settings.config)}, "state_dict": weights}, files.best_checkpoint)
    files.history_file.write_text("epoch,step,seconds,val/accuracy\n1,10,1.5,0.4\n2,20,3.0,0.6\n")
    for epoch in snapshots:
        write_snapshot(folder, epoch, changed(untrained_network(settings), 0.1 * epoch))
    run = open_run(folder)
    if predictions:
        write_answers(files, run.data, run.evaluate())
    return run


def subject(folder: Path, read: Callable[..., Settings], name: str, *words: str, **how: Any) -> Subject:
    """What the page shows of a run of a small network, by the name of its model."""
    return subject_of(write_run(folder, read(*WORDS[name], "trainer.gpus=0", *words), **how))


def photograph(size: tuple[int, int] = (80, 60)) -> bytes:
    """An image file."""
    content = io.BytesIO()
    Image.effect_noise(size, 80).convert("RGB").save(content, "JPEG")
    return content.getvalue()


def blank_page(width: int, height: int) -> bytes:
    """A small file of a picture that may have many pixels."""
    content = io.BytesIO()
    Image.new("1", (width, height)).save(content, "PNG")
    return content.getvalue()


class PoolsTwice(nn.Module):
    """A network of one's own that uses its pool twice, and flattens maps in between."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.pool, self.conv2 = nn.Conv2d(1, 3, 5), nn.MaxPool2d(2), nn.Conv2d(3, 5, 5)
        self.places, self.mean, self.output = nn.Flatten(2), nn.AdaptiveAvgPool1d(1), nn.Linear(5, 10)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.pool(self.conv2(self.pool(self.conv1(images))))
        return self.output(self.mean(self.places(maps)).flatten(1))
