"""Which images are held out and which are used: stratified by class, and decided by the seed alone."""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Indices = NDArray[np.int64]


class Stream(IntEnum):
    """What random numbers are for. Each use has a stream of its own, seeded with (seed, stream, ...)."""

    SPLIT = 0
    SUBSET = 1
    ORDER = 2
    AUGMENTATION = 3  # of a batch, in the process that loads it
    SAMPLES = 4
    MIX = 5  # of validation and test images
    NETWORK_INPUT = 6  # of a batch, on its device
    FLIPS = 7  # of each image, in the first epoch


def number_of(size: int | float, total: int) -> int:
    """How many images a size stands for: a number of images (int), or a share of `total` (float)."""
    return size if isinstance(size, int) else round(size * total)


def stratified_split(labels: Labels, size: int, seed: int) -> tuple[Indices, Indices]:
    """Hold out `size` examples at random so that each class keeps its share.

    Args:
        labels: class numbers, shape (N,).
        size: how many examples to hold out, 0 to N.
        seed: the same seed holds out the same examples.

    Returns:
        Indices of the remaining examples and of those held out, each in ascending order.
    """
    generator = np.random.default_rng((seed, Stream.SPLIT))
    classes, counts = np.unique(labels, return_counts=True)
    exact = counts * size / max(len(labels), 1)
    quotas = np.floor(exact).astype(int)
    largest_remainders = np.argsort(quotas - exact, kind="stable")[: size - quotas.sum()]
    quotas[largest_remainders] += 1
    held_out = np.concatenate(
        [
            generator.permutation(np.flatnonzero(labels == label))[:quota]
            for label, quota in zip(classes, quotas, strict=True)
        ]
    )
    return np.setdiff1d(np.arange(len(labels)), held_out), np.sort(held_out)


def balanced_subset(labels: Labels, size: int, seed: int) -> Indices:
    """Choose `size` examples at random, as evenly over the classes as possible.

    A class with too few examples contributes all of them, and the other classes make up the difference.

    Args:
        labels: class numbers, shape (N,).
        size: how many examples to choose.
        seed: the same seed chooses the same examples.

    Returns:
        Indices of the chosen examples in ascending order; all of them where there are no more than `size`.
    """
    generator = np.random.default_rng((seed, Stream.SUBSET))
    by_class = [generator.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    # Deal one example of each class in turn until `size` are dealt.
    turn = np.concatenate([np.arange(len(members)) for members in by_class])
    dealt = np.argsort(turn, kind="stable")[:size]
    return np.sort(np.concatenate(by_class)[dealt])
