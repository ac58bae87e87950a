"""The one LightningModule: trains and validates any network."""

from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torchmetrics import Metric

from cnn_experiments.errors import ExperimentError
from cnn_experiments.models.network import loss_of
from cnn_experiments.settings.schema import TrainingSettings
from cnn_experiments.trainers.adaptive_clipping import AdaptiveClipping
from cnn_experiments.trainers.cuda_graphs import RecordedPasses
from cnn_experiments.trainers.soft_labels import SoftLabels


class LossAndAccuracy(Metric):
    """Mean loss and accuracy over many batches and all processes."""

    full_state_update = False
    loss: Tensor
    right: Tensor
    images: Tensor

    def __init__(self) -> None:
        super().__init__()
        for sum_of in ("loss", "right", "images"):
            self.add_state(sum_of, torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, loss: Tensor, right: Tensor, images: int) -> None:
        """Add a batch: its mean loss, the number of correct predictions and the number of images."""
        self.loss += loss * images
        self.right += right
        self.images += images

    def compute(self) -> dict[str, Tensor]:
        """``loss`` and ``accuracy`` over everything that was added."""
        return {"loss": self.loss / self.images, "accuracy": self.right / self.images}


class Confusion(Metric):
    """How often each class (row) was classified as each (column), over many batches and all processes."""

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
    """The number of images whose highest score (N, classes) is that of their label (N,)."""
    return (scores.argmax(1) == labels).sum()


class Classifier(pl.LightningModule):
    """A network in training.

    Args:
        network: any module from images (N, C, H, W) to scores (N, num_classes). In training it may return a tuple
            that begins with its scores; it then needs a method ``loss(output, labels)``. Without one, the loss is
            cross-entropy.
        training: optimizer, schedule, compilation and memory format.
        seed: what dropout and augmentation are drawn from.
        num_classes: number of classes.
        soft_labels: mixes training images and smooths their labels; None for neither.
        clipping: clips gradients in place of Lightning; None for Lightning's clipping, if there is any.
        passes: runs the network in training steps; None to call it.
    """

    def __init__(
        self,
        network: nn.Module,
        training: TrainingSettings,
        seed: int,
        num_classes: int,
        soft_labels: SoftLabels | None = None,
        clipping: AdaptiveClipping | None = None,
        passes: RecordedPasses | None = None,
    ) -> None:
        super().__init__()
        self.soft_labels, self.clipping, self.passes = soft_labels, clipping, passes
        self.network, self.training_settings, self.seed = network, training, seed
        if training.channels_last:
            self.network.to(memory_format=torch.channels_last)
        self.train_metric, self.val_metric = LossAndAccuracy(), LossAndAccuracy()
        self.confusion_metric = Confusion(num_classes)
        self.confusion: Tensor | None = None  # of the last validation
        self.figures: dict[str, float] = {}  # the last of each in this epoch: train/loss, val/accuracy ...
        self.recent: list[tuple[Tensor, Tensor, int]] = []  # loss, right answers and images of each step not yet logged
        self.rate: float | Tensor = 0.0  # learning rate of the last step

    def forward(self, images: Tensor) -> Any:
        """The output of the network for images (N, C, H, W)."""
        return self.network(images)

    def setup(self, stage: str) -> None:
        if self.training_settings.compile:
            self.network.compile()  # in place, so that checkpoints keep their names

    def on_train_epoch_start(self) -> None:
        # Dropout and augmentation draw from here on. The seed depends on the run's seed, the epoch and the process
        # alone, so that a resumed run draws what an uninterrupted one would have drawn.
        origin = np.random.SeedSequence((self.seed, self.current_epoch, self.global_rank))
        torch.manual_seed(int(origin.generate_state(1)[0]))
        self.figures.clear()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        images, labels = batch[0].to(self.dtype), batch[1]
        if self.soft_labels is not None:
            images, labels = self.soft_labels(images, labels)
        output = self.network(images) if self.passes is None else self.passes(images, is_first=batch_index == 0)
        loss = loss_of(self.network, output, labels)
        labels = labels.argmax(1) if labels.dim() == 2 else labels  # of mixed images, the class of the larger part
        scores = output[0] if isinstance(output, tuple) else output  # the others are of auxiliary heads
        self.rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.recent.append((loss.detach(), right_answers(scores, labels), len(labels)))
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if (batch_index + 1) % every == 0 or self.trainer.is_last_batch:
            self.log_training(self.global_step + 1)
        return loss * self.weight_of(len(labels))

    def weight_of(self, images: int) -> float | Tensor:
        """Weight of this process's loss in the mean over processes, such that all images of a batch count equally."""
        if self.trainer.world_size == 1 or not self.trainer.is_last_batch:
            return 1.0
        local = torch.tensor(float(images), device=self.device)
        of_all: Tensor = self.trainer.strategy.reduce(local, reduce_op="sum")
        return images * self.trainer.world_size / of_all

    def means_of_recent(self) -> tuple[Tensor, Tensor, int]:
        """Of the steps not yet logged, in this process: mean loss, number of right answers, number of images."""
        losses, right, images = map(list, zip(*self.recent, strict=True))
        weights = torch.tensor(images, device=self.device) / sum(images)
        return (torch.stack(losses) * weights).sum(), torch.stack(right).sum(), sum(images)

    def log_training(self, step: int) -> None:
        """Log the means over the steps since the last call, in all processes.

        Args:
            step: the number of optimizer steps, with the one that is being taken.

        Raises:
            ExperimentError: the loss is no longer a number.
        """
        self.train_metric.update(*self.means_of_recent())
        self.recent.clear()
        means = self.train_metric.compute()
        self.train_metric.reset()
        if not means["loss"].isfinite():
            raise ExperimentError(
                f"the training loss became {means['loss'].item()} in epoch {self.current_epoch + 1}: the training "
                "diverged. Lower model.optimizer.lr, lengthen model.schedule.warmup or try another model.init"
            )
        scalars = {f"train/{name}": float(value) for name, value in means.items()}
        self.figures.update(scalars)
        for logger in self.loggers:
            logger.log_metrics({**scalars, "optimizer/learning_rate": float(self.rate)}, step)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        images, labels = batch
        if not len(labels):  # the other processes have the last few
            return
        scores = self.network(images.to(self.dtype))
        loss = loss_of(self.network, scores, labels)
        self.val_metric.update(loss, right_answers(scores, labels), len(labels))
        self.confusion_metric.update(scores, labels)

    def on_validation_epoch_end(self) -> None:
        means = self.val_metric.compute()
        self.log_dict({f"val/{name}": value for name, value in means.items()}, logger=False)  # for callbacks
        scalars = {f"val/{name}": float(value) for name, value in means.items()}
        self.figures.update(scalars)
        for logger in self.loggers:  # Lightning's own logging would write one step too low
            logger.log_metrics(scalars, self.global_step)
        self.val_metric.reset()
        self.confusion = self.confusion_metric.compute().cpu()
        self.confusion_metric.reset()

    def on_train_end(self) -> None:
        if self.passes is not None:
            self.passes.forget()

    def configure_gradient_clipping(self, *optimizer_and_amount: Any, **amount: Any) -> None:
        if self.clipping is None:
            super().configure_gradient_clipping(*optimizer_and_amount, **amount)
        else:
            self.clipping()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = self.training_settings.optimizer(params=self.network.parameters())
        schedule, steps = self.training_settings.schedule, self.trainer.estimated_stepping_batches
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule.share(step, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
