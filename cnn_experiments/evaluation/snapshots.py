"""The weights of a run after some of its epochs, small enough to keep: ``snapshots/epoch_0003.pt``."""

import io
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from cnn_experiments.errors import UserError
from cnn_experiments.runs.files import write_bytes, write_errors_explained

FOLDER = "snapshots"
NAME = re.compile(r"epoch_(\d{4,6})\.pt")
MOST_EPOCHS = 10_000
SPARE_BYTES = 2**20  # of a file, beside its numbers


def snapshot_file(directory: Path, epoch: int) -> Path:
    """Where a run keeps its weights after an epoch, counted from 1."""
    return directory / FOLDER / f"epoch_{epoch:04d}.pt"


def write_snapshot(directory: Path, epoch: int, network: nn.Module) -> None:
    """Keep the weights of a network after an epoch, in half precision.

    Args:
        directory: of the run.
        epoch: which epoch, counted from 1.
        network: the network.

    Raises:
        ExperimentError: the file cannot be written.
    """
    weights = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in network.state_dict().items()
    }
    content = io.BytesIO()
    torch.save({name: tensor.cpu() for name, tensor in weights.items()}, content)
    file = snapshot_file(directory, epoch)
    with write_errors_explained(file):
        file.parent.mkdir(exist_ok=True)
    write_bytes(file, content.getvalue())


def snapshot_epochs(directory: Path) -> list[int]:
    """The epochs after which a run kept its weights, in order."""
    try:
        names = sorted(file.name for file in (directory / FOLDER).iterdir())[:MOST_EPOCHS]
    except OSError:  # no such folder
        return []
    epochs = {int(found[1]) for name in names if (found := NAME.fullmatch(name))}
    return sorted(epoch for epoch in epochs if epoch > 0 and snapshot_file(directory, epoch).is_file())


def read_snapshot(directory: Path, epoch: int, network: nn.Module) -> dict[str, Tensor]:
    """The weights of a network after an epoch. They may come from anybody: nothing in the file is executed.

    Args:
        directory: of the run.
        epoch: which epoch, counted from 1.
        network: a network of the kind.

    Returns:
        Parameters and buffers by name, as the network's ``load_state_dict`` takes them, in its own precision.

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    file = snapshot_file(directory, epoch)
    if not file.is_file():
        raise UserError(f"epoch={epoch}: {file} is missing. A run keeps its weights with trainer.snapshots=1")
    expected = network.state_dict()
    largest = sum(tensor.numel() * max(4, tensor.element_size()) for tensor in expected.values()) + SPARE_BYTES
    damaged = UserError(f"epoch={epoch}: {file} holds no weights of this network. Remove it")
    if file.stat().st_size > largest:
        raise damaged
    try:
        weights = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever the bytes of a foreign file lead it to
        raise damaged from error
    if not isinstance(weights, dict) or weights.keys() != expected.keys():
        raise damaged
    for name, tensor in weights.items():
        if not isinstance(tensor, Tensor) or tensor.shape != expected[name].shape or tensor.is_complex():
            raise damaged
    return {name: tensor.to(expected[name].dtype) for name, tensor in weights.items()}
