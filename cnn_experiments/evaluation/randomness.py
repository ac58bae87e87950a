"""All randomness of a run from one seed, and the weights that it begins with."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from cnn_experiments.settings.schema import Settings


@contextmanager
def randomness_of(seed: int) -> Iterator[None]:
    """Draw all randomness from a seed, and restore the caller's random states at the end."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def untrained_network(settings: Settings) -> nn.Module:
    """The network of a run as its training began, in training mode.

    Raises:
        UserError: the network was given from Python.
    """
    with randomness_of(settings.seed):
        if settings.datamodule.data is not None:
            settings.datamodule.build()  # before the network, as in training: it may draw, too
        return settings.network()
