"""Which test images a run classified correctly, as test_predictions.npz in its directory says."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn_experiments.runs.arrays import damage_explained, read_arrays

MOST_IMAGES = 2**18  # of a test set
MOST_BYTES = 8 * MOST_IMAGES + 1000  # of an array: an integer for each image, and numpy's header


@dataclass(frozen=True)
class Tested:
    """What a run made of its test images, N in the order of the test set.

    Args:
        labels: their classes, (N,).
        predictions: the classes that the run predicted, (N,).
    """

    labels: NDArray[np.integer[Any]]
    predictions: NDArray[np.integer[Any]]

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """Whether each was classified correctly, (N,)."""
        right: NDArray[np.bool_] = self.labels == self.predictions
        return right

    @cached_property
    def digest(self) -> str:
        """A digest of their classes, which is another one where the images are others or in another order."""
        return hashlib.sha256(self.labels.astype("<i8").tobytes()).hexdigest()

    @property
    def accuracy(self) -> float:
        """The share of correct answers."""
        return float(self.right.mean())


def read_predictions(file: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The classes and the predicted classes of a run's test images.

    Args:
        file: ``test_predictions.npz``, which may come from anybody.

    Returns:
        Both as integers (N,).

    Raises:
        UserError: the file is missing, or not what a run writes.
    """
    with damage_explained(file, "predictions"):
        arrays = read_arrays(file, ("labels", "predictions"), MOST_BYTES)
        labels, predictions = (_classes(arrays[name]) for name in ("labels", "predictions"))
        if not 0 < len(labels) == len(predictions) <= MOST_IMAGES:
            raise ValueError("no images, too many, or not a prediction for each")
    return labels, predictions


def read_tested(file: Path) -> Tested:
    """Which test images a run classified correctly.

    Args:
        file: ``test_predictions.npz``, which may come from anybody.

    Raises:
        UserError: the file is missing, or not what a run writes.
    """
    return Tested(*map(_narrow, read_predictions(file)))


def _classes(array: NDArray[Any]) -> NDArray[np.int64]:
    """An array of classes as integers of 64 bits.

    Raises:
        ValueError: it holds something else.
    """
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise ValueError("no classes")
    return array.astype(np.int64)


def _narrow(classes: NDArray[np.int64]) -> NDArray[np.integer[Any]]:
    """Classes in a byte each where there are few, since those of hundreds of runs are in memory together."""
    return classes.astype(np.uint8) if classes.min() >= 0 and classes.max() < 256 else classes
