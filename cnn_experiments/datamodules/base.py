"""What all data sets share: three parts, whole batches, an order that a resumed run goes on with."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytorch_lightning as pl
import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor
from torch.utils.data import DataLoader

from cnn_experiments.datamodules.loading import Draw, batch_loader

BatchSize = Annotated[int, Gt(0)]
Workers = Annotated[int, Ge(0)]
Seed = Annotated[int, Ge(0), Le(2**32 - 1)]


class ImageDataModule(pl.LightningDataModule, ABC):
    """Three data sets, ``training``, ``validation`` and ``testing``, each with ``labels``, and the classes' names.

    Args:
        batch_size: images in a batch, for each process.
        num_workers: processes that load.
        seed: where splits, order and random changes come from.
        evaluation_batch_size: images in a batch of validation or test; the figures do not depend on it.
    """

    training: Any
    validation: Any
    testing: Any
    class_names: list[str]

    def __init__(self, batch_size: int, num_workers: int, seed: int, evaluation_batch_size: int) -> None:
        super().__init__()
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self.evaluation_batch_size = evaluation_batch_size
        self.first_epoch = 0

    def state_dict(self) -> dict[str, int]:
        return {"next_epoch": 0 if self.trainer is None else self.trainer.current_epoch + 1}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.first_epoch = state_dict["next_epoch"]  # workers begin to load before Lightning says which epoch it is

    def train_dataloader(self) -> DataLoader:
        overfitting = getattr(self.trainer, "overfit_batches", 0) > 0  # always on the same images
        seed = None if overfitting else self.seed
        return batch_loader(self.training, self.batch_size, self.num_workers, seed, self.first_epoch)

    def val_dataloader(self) -> DataLoader:
        return batch_loader(self.validation, self.evaluation_batch_size, self.num_workers)

    def test_dataloader(self) -> DataLoader:
        return batch_loader(self.testing, self.evaluation_batch_size, self.num_workers)

    @abstractmethod
    def setup(self, stage: str | None = None) -> None:
        """Read and split what a stage (``fit``, ``validate``, ``test``; None for all) needs, once."""

    @abstractmethod
    def samples(self, number: int) -> dict[str, Tensor]:
        """Some training images as they lie in memory, and as the network gets them; (N, C, H, W), from 0 to 1 each."""

    def some_images(self, part: str, number: int) -> Tensor:
        """The first images of the ``validation`` or the ``test`` part, bytes (N, C, H, W): the same ones each time."""
        self.setup("validate" if part == "validation" else "test")
        images = self.validation if part == "validation" else self.testing
        return images[Draw(torch.arange(min(number, len(images))), None)][0]

    @abstractmethod
    def prepare(self, images: Tensor) -> Tensor:
        """Bytes (N, C, H, W) to network input (N, C, side, side)."""

    def gallery(self, number: int) -> list[np.ndarray]:
        """For each class its first training images, at most so many: (N, H, W, C), from 0 to 1."""
        rows = [(self.training.labels == label).nonzero()[:number, 0] for label in range(len(self.class_names))]
        return [(self.training[Draw(row, None)][0] / 255).permute(0, 2, 3, 1).numpy() for row in rows]

    def draw(self, directory: Path) -> None:
        """Draw what is peculiar to this data set into a directory; there may be nothing."""

    @abstractmethod
    def load(self, file: Path) -> Tensor:
        """An image anywhere as bytes (C, H, W), as `prepare_test` takes them.

        Raises:
            UnusableImageError: it cannot be read; the message says why.
        """

    @abstractmethod
    def prepare_test(self, images: Tensor) -> Tensor:
        """Bytes (N, C, H, W) to network input as in the test: (N, C, side, side), or several views of each."""

    def records(self) -> Iterator[tuple[str, str]]:
        """What a run directory is to hold about the data: names of files and their contents."""
        return iter(())

    def write_records(self, directory: Path) -> None:
        """Write those files."""
        for name, content in self.records():
            (directory / name).write_text(content)
