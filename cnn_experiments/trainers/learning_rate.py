"""The learning-rate range test: a short training at a rising rate shows at which rates a network learns.

Smith 2017, "Cyclical learning rates for training neural networks" (WACV), section 3.3, lets the rate rise linearly over
several epochs and watches where the accuracy stops rising. Here the rate rises exponentially from step to step, and the
loss is watched, as in Gugger 2018, "How do you find a good learning rate" (sgugger.github.io). A third of the rate at
which the smoothed loss is lowest is chosen: Smith's rule of thumb for the lower of his two rates is a third or a
quarter of the largest that converges.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from cnn_experiments.datamodules.base import ImageData
from cnn_experiments.errors import ExperimentError
from cnn_experiments.evaluation.hardware import Hardware
from cnn_experiments.evaluation.randomness import randomness_of
from cnn_experiments.inspection.layer_table import copied
from cnn_experiments.runs.formats import as_csv
from cnn_experiments.runs.progress_line import progress_line
from cnn_experiments.settings.schema import Schedule, Settings, TrainerSettings
from cnn_experiments.trainers.adaptive_clipping import adaptive_clipping_of
from cnn_experiments.trainers.classifier import Classifier
from cnn_experiments.trainers.data import LightningData
from cnn_experiments.trainers.progress import RunProgress
from cnn_experiments.trainers.soft_labels import soft_labels_of
from cnn_experiments.trainers.trainer import build_trainer

LOWEST, HIGHEST = 1e-6, 10.0  # rates
STEPS_TO_TENFOLD = 20
STEPS = round(math.log10(HIGHEST / LOWEST) * STEPS_TO_TENFOLD)
WINDOW = 9  # steps over which the loss is smoothed
SHARE = 1 / 3  # of the rate with the lowest loss, to train at
DIVERGED = 4.0  # times the lowest loss so far, as in the fastai library


@dataclass(frozen=True)
class RangeTest:
    """What a range test found.

    Args:
        losses: the training loss of each step, at the rates of `rate_of`.
    """

    losses: Sequence[float]

    @property
    def rates(self) -> list[float]:
        """The learning rate of each step."""
        return [rate_of(step) for step in range(len(self.losses))]

    @property
    def smoothed(self) -> NDArray[np.float64]:
        """The losses, each averaged with its neighbours (a Hann window of `WINDOW` steps), which delays nothing."""
        weights = np.hanning(WINDOW + 2)[1:-1]
        padded = np.pad(np.asarray(self.losses), WINDOW // 2, mode="edge")
        return np.convolve(padded, weights / weights.sum(), mode="valid")

    def choice(self) -> float:
        """A third of the rate with the lowest smoothed loss, to two digits: another seed moves it by more.

        Raises:
            ExperimentError: at no rate does the loss fall by more than it varies from step to step.
        """
        smoothed = self.smoothed
        if len(self.losses) > WINDOW:
            variation = np.std(np.diff(self.losses[: len(smoothed) // 2])) / math.sqrt(2)
            lowest = int(smoothed.argmin())
            if smoothed[lowest] < smoothed[:WINDOW].mean() - variation:
                return float(f"{self.rates[lowest] * SHARE:.2g}")
        raise ExperimentError(
            f"trainer.find_learning_rate=true: the loss did not fall at any rate from {LOWEST:g} to {HIGHEST:g}. Set "
            "model.optimizer.lr, or try another model.init"
        )

    def as_csv(self) -> str:
        """The curve, as the text of ``learning_rates.csv``: rate, loss and smoothed loss of each step."""
        rows = zip(self.rates, self.losses, self.smoothed.tolist(), strict=True)
        return as_csv(("learning_rate", "loss", "smoothed_loss"), [[float(f"{x:.7g}") for x in row] for row in rows])

    def draw(self, writer: SummaryWriter) -> None:
        """Draw the curve for TensorBoard, with the rate that was chosen."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.add_subplot(xscale="log", xlabel="learning rate", ylabel="training loss")
        axes.plot(self.rates, self.losses, color="tab:blue", alpha=0.3, label="of each step")
        axes.plot(self.rates, self.smoothed, color="tab:blue", label="smoothed")
        axes.axvline(self.choice(), color="tab:orange", label=f"chosen: {self.choice():g}")
        axes.legend()
        writer.add_figure("optimizer/learning_rate_search", figure, 0)


def rate_of(step: int) -> float:
    """The learning rate of a step, counted from 0."""
    return LOWEST * 10 ** (step / STEPS_TO_TENFOLD)


class RisingRate(Classifier):
    """A network in training at a rate that rises with each step, until the loss does, too.

    Args:
        network: the network; it is changed.
        settings: of the run.
        data: the data set.
    """

    def __init__(self, network: nn.Module, settings: Settings, data: ImageData) -> None:
        training = replace(settings.training, schedule=Schedule(warmup=0.0, decay="constant"), compile=False)
        soft_labels = soft_labels_of(settings.trainer, data.num_classes)
        clipping = adaptive_clipping_of(settings.trainer, network, data.input_shape)
        super().__init__(network, training, settings.seed, data.num_classes, soft_labels, clipping)
        self.losses: list[float] = []

    def log_training(self, step: int) -> None:
        loss, right, images = self.means_of_recent()
        self.recent.clear()
        self.figures = {"train/loss": float(loss), "train/accuracy": float(right) / images}
        if loss.isfinite():
            self.losses.append(float(loss))
        if not loss.isfinite() or np.mean(self.losses[-WINDOW // 2 :]) > DIVERGED * min(self.losses):
            self.trainer.should_stop = True

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = self.training_settings.optimizer(params=self.network.parameters())
        for group in optimizer.param_groups:
            group["lr"] = 1.0  # of which the schedule gives multiples
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate_of)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def range_test(settings: Settings, hardware: Hardware, network: nn.Module, data: ImageData) -> RangeTest:
    """Train a copy of a network at a rising learning rate. Network and random states are left as they are.

    Args:
        settings: of the run; optimizer, precision, mixing of images, clipping and accumulation of gradients are as
            there.
        hardware: the hardware to compute on.
        network: the network, with its first weights.
        data: the data set.
    """
    with randomness_of(settings.seed), progress_line(settings.trainer.progress) as line:
        classifier = RisingRate(copied(network), settings, data)
        callbacks: list[pl.Callback] = [RunProgress(line, "learning-rate search")] if line else []
        trainer_settings = without_validation(settings.trainer, STEPS)
        trainer = build_trainer(
            trainer_settings,
            hardware,
            logger=False,
            enable_checkpointing=False,
            callbacks=callbacks,
        )
        trainer.fit(classifier, LightningData(data, trainer_settings))
    return RangeTest(classifier.losses)


def without_validation(settings: TrainerSettings, steps: int) -> TrainerSettings:
    """The settings of a trainer that takes so many steps, logs each, and does nothing else.

    Where training images grow, it takes them as they are in the first epoch.
    """
    its_own = {
        "max_steps": steps,
        "max_epochs": -1,
        "max_time": None,
        "min_steps": None,
        "min_epochs": None,
        "limit_val_batches": 0,
        "num_sanity_val_steps": 0,
        "val_check_interval": None,
        "check_val_every_n_epoch": 1,
        "profiler": None,
        "log_every_n_steps": settings.lightning.get("accumulate_grad_batches", 1),
    }
    sizes = settings.training_image_sizes
    return replace(settings, training_image_sizes=sizes and sizes[:1], lightning={**settings.lightning, **its_own})
