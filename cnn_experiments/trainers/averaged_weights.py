"""A moving average of the weights, which often generalises better than the weights of the last step."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EMAWeightAveraging


class AveragedWeights(EMAWeightAveraging):
    """Keeps an exponential moving average of the weights; it is validated, tested and saved in their place.

    After each step, average = decay · average + (1 - decay) · weights, beginning with the weights of the first step
    (Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging", SIAM Journal on Control and
    Optimization 30, 838-855). The training itself goes on with the weights. Buffers of real numbers, such as the
    statistics of a batch normalisation, are averaged too; those of integers, such as C3's table, are copied.

    Args:
        decay: above 0 and below 1.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(decay=decay)

    @property
    def state_key(self) -> str:
        return type(self).__name__

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._device = trainer.strategy.root_device  # of this process; the module is moved there later
        super().setup(trainer, pl_module, stage)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *of_the_step: Any) -> None:
        super().on_train_batch_end(trainer, pl_module, *of_the_step)
        assert self._average_model is not None
        for average, own in zip(self._average_model.module.buffers(), pl_module.buffers(), strict=True):
            if not own.is_floating_point():  # rounded down, 0.9 · 5 + 0.1 · 5 may be 4
                average.copy_(own)

    @contextmanager
    def in_place_of_the_weights(self, module: pl.LightningModule) -> Iterator[None]:
        """Have a module hold the average for a while, as to save it."""
        self._swap_models(module)
        try:
            yield
        finally:
            self._swap_models(module)
