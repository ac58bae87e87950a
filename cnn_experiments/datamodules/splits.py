"""Which images are held out and which are used: by class, and from the seed alone."""

import numpy as np


def stratified_split(labels: np.ndarray, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Hold `size` examples out at random so that each class keeps its share.

    Args:
        labels: class numbers, shape (N,).
        size: how many examples to hold out, 0 to N.
        seed: the same seed holds out the same examples.

    Returns:
        Indices of the remaining examples and of those held out, each in ascending order.
    """
    generator = np.random.default_rng((seed, 0))
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


def balanced_subset(labels: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Choose `size` examples at random, as evenly over the classes as they allow.

    A class with too few examples gives all of them, and the others make up for it.

    Returns:
        Indices of the chosen examples in ascending order; all where there are no more than `size`.
    """
    generator = np.random.default_rng((seed, 1))
    by_class = [generator.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    # Deal one example of each class in turn until `size` are dealt.
    turn = np.concatenate([np.arange(len(members)) for members in by_class])
    dealt = np.argsort(turn, kind="stable")[:size]
    return np.sort(np.concatenate(by_class)[dealt])
