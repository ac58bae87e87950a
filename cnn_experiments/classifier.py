"""The one LightningModule: trains, validates and tests any of the networks."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from annotated_types import Ge, Le
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torchmetrics import Metric

from cnn_experiments.building import build, check
from cnn_experiments.errors import ExperimentError
from cnn_experiments.models import Network

Seed = Annotated[int, Ge(0), Le(2**32 - 1)]


@dataclass(frozen=True)
class Schedule:
    """The learning rate over the course of training, as a share of the optimizer's ``lr``.

    Args:
        warmup: share of all steps during which it rises evenly from 0.
        decay: ``cosine`` (falls to 0 at the last step) or ``constant``.
    """

    warmup: Annotated[float, Ge(0), Le(1)]
    decay: Literal["cosine", "constant"]

    def share(self, step: int, steps: float) -> float:
        """Share of the learning rate at a step, of so many in all."""
        rising = self.warmup * steps
        if step < rising:
            return (step + 1) / (rising + 1)
        if self.decay == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising) / max(1.0, steps - rising))))


@dataclass(frozen=True)
class Training:
    """How a network is trained: those keys of the config group ``model`` that are not the network's own."""

    name: str
    compile: bool
    channels_last: bool
    optimizer: dict[str, Any]
    schedule: Schedule


class LossAndAccuracy(Metric):
    """Mean loss and share of right answers over many batches, and over all processes."""

    full_state_update = False
    loss: Tensor
    right: Tensor
    images: Tensor

    def __init__(self) -> None:
        super().__init__()
        for sum_of in ("loss", "right", "images"):
            self.add_state(sum_of, torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, loss: Tensor, right: Tensor, images: int) -> None:
        """Add a batch: its mean loss, the number of right answers and the number of images."""
        self.loss += loss * images
        self.right += right
        self.images += images

    def compute(self) -> dict[str, Tensor]:
        return {"loss": self.loss / self.images, "accuracy": self.right / self.images}


class Confusion(Metric):
    """How often each class (row) was taken for each (column), over many batches and all processes."""

    full_state_update = False
    counts: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.add_state("counts", torch.zeros(num_classes, num_classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, scores: Tensor, labels: Tensor) -> None:
        """Add a batch: scores (N, classes), labels (N,)."""
        pairs = labels * self.num_classes + scores.argmax(1)
        self.counts += pairs.bincount(minlength=self.counts.numel()).view_as(self.counts)

    def compute(self) -> Tensor:
        return self.counts


def right_answers(scores: Tensor, labels: Tensor) -> Tensor:
    """How many of the highest scores (N, classes) are those of the labels (N,)."""
    return (scores.argmax(1) == labels).sum()


class Classifier(pl.LightningModule):
    """A network in training.

    The whole config is its only hyperparameter, in plain containers: a checkpoint needs nothing else to be loaded.

    Args:
        config: the whole config of the run, resolved, in plain containers.

    Raises:
        UserError: a value in ``model`` is wrong; the message names its key.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.save_hyperparameters({"config": config})
        model, self.seed = config["model"], config["seed"]
        ours = {key: value for key, value in model.items() if key in Training.__dataclass_fields__}
        self.training_settings = Training(**check(Training, ours, "model"))
        self.network: Network = build(model, "model", also=ours)
        if self.training_settings.channels_last:
            self.network.to(memory_format=torch.channels_last)
        self.build_optimizer([nn.Parameter(torch.zeros(1))])  # refuses wrong settings before anything is loaded
        self.train_metric, self.val_metric, self.test_metric = LossAndAccuracy(), LossAndAccuracy(), LossAndAccuracy()
        self.confusion_metric = Confusion(model["num_classes"])
        self.confusion: dict[str, Tensor] = {}  # of the last validation, ``val``, and of the test, ``test``
        self.recent: list[tuple[Tensor, Tensor, int]] = []  # loss, right answers and images of each step not yet logged

    def forward(self, images: Tensor) -> Tensor:
        """Scores (N, classes) of images (N, C, H, W), or of several views of each, (N, views, C, H, W).

        For several views: the logarithm of the mean of their probabilities, as Krizhevsky and others 2012 (section
        4.1) average the predictions on ten crops.
        """
        if images.dim() == 4:
            return self.network(images)
        scores = self.network(images.flatten(0, 1)).float().log_softmax(1).unflatten(0, images.shape[:2])
        return scores.logsumexp(1) - math.log(images.shape[1])

    def setup(self, stage: str) -> None:
        if self.training_settings.compile:
            self.network.compile()  # in place, so that checkpoints keep their names

    def on_train_epoch_start(self) -> None:
        # Dropout and distortions draw from here on: from the seed, the epoch and the process, and from nothing that
        # happened before, so that a resumed run draws what an uninterrupted one would have drawn.
        origin = np.random.SeedSequence((self.seed, self.current_epoch, self.global_rank))
        torch.manual_seed(int(origin.generate_state(1)[0]))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        images, labels = batch
        output = self.network(images)
        loss = self.network.loss(output, labels)
        scores = output[0] if isinstance(output, tuple) else output  # the others are of auxiliary heads
        self.recent.append((loss.detach(), right_answers(scores, labels), len(labels)))
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if (batch_index + 1) % every == 0 or self.trainer.is_last_batch:
            self.log_training()
        return loss * self.weight_of(len(labels))

    def weight_of(self, images: int) -> float | Tensor:
        """What this process's loss counts in the mean over processes, so that all images of a batch count the same."""
        if self.trainer.world_size == 1 or not self.trainer.is_last_batch:
            return 1.0
        of_all = self.trainer.strategy.reduce(torch.tensor(float(images), device=self.device), reduce_op="sum")
        return images * self.trainer.world_size / of_all

    def log_training(self) -> None:
        """Write the means over the steps since the last time, in all processes."""
        losses, right, images = map(list, zip(*self.recent, strict=True))
        weights = torch.tensor(images, device=self.device) / sum(images)
        self.train_metric.update((torch.stack(losses) * weights).sum(), torch.stack(right).sum(), sum(images))
        self.recent.clear()
        means = self.train_metric.compute()
        self.train_metric.reset()
        if not means["loss"].isfinite():
            raise ExperimentError(
                f"the training loss became {means['loss'].item()} in epoch {self.current_epoch + 1}: the training "
                "diverged. Lower model.optimizer.lr, lengthen model.schedule.warmup or try another model.init"
            )
        scalars = {f"train/{name}": value for name, value in means.items()}
        self.trainer.callback_metrics.update(scalars)
        scalars["optimizer/learning_rate"] = self.trainer.optimizers[0].param_groups[0]["lr"]
        if self.logger is not None:
            self.logger.log_metrics({name: float(value) for name, value in scalars.items()}, self.global_step + 1)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        self.evaluate(self.val_metric, batch)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        return self.evaluate(self.test_metric, batch)

    def evaluate(self, metric: LossAndAccuracy, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Add a batch to the figures of a whole set; give its scores."""
        images, labels = batch
        if not len(labels):  # the other processes have the last few
            return torch.zeros(0, self.confusion_metric.num_classes, device=self.device)
        scores = self(images)
        metric.update(self.network.loss(scores, labels), right_answers(scores, labels), len(labels))
        self.confusion_metric.update(scores, labels)
        return scores

    def on_validation_epoch_end(self) -> None:
        self.log_evaluation("val", self.val_metric)

    def on_test_epoch_end(self) -> None:
        self.log_evaluation("test", self.test_metric)

    def log_evaluation(self, stage: str, metric: LossAndAccuracy) -> None:
        """Write the figures of the whole set."""
        scalars = {f"{stage}/{name}": value for name, value in metric.compute().items()}
        self.log_dict(scalars, logger=False)  # for callbacks; Lightning's own step would be one too low
        if self.logger is not None:
            self.logger.log_metrics({name: float(value) for name, value in scalars.items()}, self.global_step)
        metric.reset()
        self.confusion[stage] = self.confusion_metric.compute().cpu()
        self.confusion_metric.reset()

    def build_optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer of the config, for the given parameters."""
        return build(self.training_settings.optimizer, "model.optimizer", params=parameters)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = self.build_optimizer(self.network.parameters())
        schedule, steps = self.training_settings.schedule, self.trainer.estimated_stepping_batches
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule.share(step, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
