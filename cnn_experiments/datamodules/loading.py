"""Batches out of images that lie in memory, a whole batch at a time, in an order that comes from the seed alone."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, SequentialSampler


class Draw(NamedTuple):
    """Which images make up a batch, and where what is random about them comes from; None where nothing is."""

    indices: Tensor
    seed: tuple[int, ...] | None


class ImagesInMemory(Dataset):
    """Images (N, C, H, W) as bytes and labels (N,), fetched a whole batch at once."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        return self.images.index_select(0, draw.indices), self.labels.index_select(0, draw.indices)


class BatchSampler(Sampler):
    """Batches of images, in an order drawn from (seed, epoch); several processes share each batch out.

    With W processes a batch holds W times `batch_size` images, and each process takes every W-th of them, so that
    what one process would do with the larger batch, W processes do together. No image is drawn twice in an epoch. In
    training a last batch of fewer than W images is left out; elsewhere some processes get an empty one.

    Args:
        size: number of images.
        batch_size: images in a batch, for each process.
        seed: where the order comes from, or None for the images' own order.
        epoch: the first epoch to draw the order of.
    """

    def __init__(self, size: int, batch_size: int, seed: int | None = None, epoch: int = 0) -> None:
        self.size, self.batch_size, self.seed, self.epoch = size, batch_size, seed, epoch

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
            order = np.random.default_rng((self.seed, 2, self.epoch)).permutation(self.size)
        for number, batch in enumerate(torch.from_numpy(order).split(self.batch_size * processes)[: len(self)]):
            seed = None if self.seed is None else (self.seed, 3, self.epoch, number, rank)
            yield Draw(batch[rank::processes], seed)

    def __len__(self) -> int:
        processes = self._processes()[1]
        whole, rest = divmod(self.size, self.batch_size * processes)
        return whole + (rest >= (1 if self.seed is None else processes))


class BatchesInOrder(BatchSampler, SequentialSampler):  # type: ignore[misc]
    """The same in the images' own order; Lightning knows by the base class that there is no shuffling to turn off."""


def batch_loader(
    dataset: Any, batch_size: int, num_workers: int, seed: int | None = None, epoch: int = 0
) -> DataLoader:
    """Loader of a data set that takes a `Draw`; shuffled where a seed is given, from an epoch on."""
    sampler: BatchSampler = BatchesInOrder(len(dataset), batch_size)
    if seed is not None:
        sampler = BatchSampler(len(dataset), batch_size, seed, epoch)
    return DataLoader(
        dataset,
        sampler=sampler,
        batch_size=None,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # its own, so that loading never draws from the training's
    )
