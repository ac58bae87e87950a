"""Batches that are fetched whole, in an order that depends on the seed and the epoch alone."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, SequentialSampler

from cnn_experiments.datamodules.splits import Stream

CPU = torch.device("cpu")
MOST_SECONDS_OF_A_BATCH = 600  # from processes that load; after that they are taken to have stopped


class Draw(NamedTuple):
    """Which images make up a batch.

    Args:
        indices: numbers of the images, (N,), on the device that the images are on.
        seed: what their random augmentation is drawn from; None for no augmentation.
        epoch: the epoch, counted from 0.
    """

    indices: Tensor
    seed: tuple[int, ...] | None = None
    epoch: int = 0


class ImageSet(Protocol):
    """Images with labels, fetched a batch at a time."""

    labels: Tensor
    """Class number of each image, (images,)."""

    def __len__(self) -> int: ...

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) as bytes, and their labels (N,)."""


class BatchSampler(Sampler[Draw]):
    """Batches of images in an order drawn from (seed, epoch); several processes share each batch.

    With W processes a batch holds W times `batch_size` images, of which each process takes every W-th: together they do
    what one process would do with the larger batch. No image occurs twice in an epoch. In training, a last batch of
    fewer than W images is left out; in evaluation, some processes get an empty one.

    Args:
        size: number of images.
        batch_size: images in a batch, for each process.
        seed: what the order is drawn from; None for the images' own order.
        epoch: the first epoch to draw the order of.
        device: where the numbers of the images lie: where the images do. They travel there once in an epoch.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        seed: int | None = None,
        epoch: int = 0,
        device: torch.device = CPU,
    ) -> None:
        self.size, self.batch_size, self.seed, self.epoch, self.device = size, batch_size, seed, epoch, device

    def set_epoch(self, epoch: int) -> None:
        """Draw the order of this epoch next (Lightning calls this)."""
        self.epoch = epoch

    def _processes(self) -> tuple[int, int]:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1

    def __iter__(self) -> Iterator[Draw]:
        rank, processes = self._processes()
        order = np.arange(self.size)
        if self.seed is not None:
            order = np.random.default_rng((self.seed, Stream.ORDER, self.epoch)).permutation(self.size)
        batches = torch.split(torch.from_numpy(order).to(self.device), self.batch_size * processes)[: len(self)]
        for number, batch in enumerate(batches):
            seed = None if self.seed is None else (self.seed, Stream.AUGMENTATION, self.epoch, number, rank)
            yield Draw(batch[rank::processes], seed, self.epoch)

    def __len__(self) -> int:
        processes = self._processes()[1]
        whole, rest = divmod(self.size, self.batch_size * processes)
        return whole + (rest >= (1 if self.seed is None else processes))


class BatchesInOrder(BatchSampler, SequentialSampler):  # type: ignore[misc]
    """Batches in the images' own order; its base class tells Lightning that there is no shuffling to turn off."""


def batch_loader(
    images: ImageSet, batch_size: int, num_workers: int, seed: int | None = None, epoch: int = 0
) -> "DataLoader[tuple[Tensor, Tensor]]":
    """Loader of whole batches.

    Args:
        images: where they come from. If they lie on a GPU, the batches do.
        batch_size: images in a batch, for each process.
        num_workers: processes that load; 0 to load in this one.
        seed: what the order is drawn from; None for the images' own order.
        epoch: the first epoch to draw the order of.
    """
    device = images.labels.device
    order = BatchesInOrder if seed is None else BatchSampler
    return DataLoader(
        cast("Dataset[Any]", images),
        sampler=order(len(images), batch_size, seed, epoch, device),
        batch_size=None,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        timeout=MOST_SECONDS_OF_A_BATCH if num_workers else 0,
        pin_memory=torch.cuda.is_available() and device == CPU,
        generator=torch.Generator(),  # of its own, so that loading never draws from the global one
    )
