"""The progress of a run on the terminal: one line, from the first step to the last."""

import math
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, EarlyStopping, Timer

from cnn_experiments.runs.progress_line import ProgressLine, counted, left, percentage
from cnn_experiments.settings.schema import TrainerSettings
from cnn_experiments.trainers.classifier import Classifier

SECONDS_TO_FIGURES = 1.0  # after which loss and accuracy are shown before they are logged


class RunProgress(Callback):
    """Shows epoch, batch, training loss and accuracy of the last steps, the share of the whole run, and the time left.

    That time is of the steps that remain and of what comes between them (validation, checkpoints, pictures), each at
    the mean of what it took in this session so far; where training images grow, a step takes longer in proportion to
    their pixels. The test after the training is not in it.

    Args:
        line: where to show it.
        title: what to show in place of the epoch.
    """

    def __init__(self, line: ProgressLine, title: str = "") -> None:
        self.line, self.title = line, title
        self.all_steps = math.inf
        self.steps_of_epoch = 1
        self.costs: list[int] = []  # what a step costs in each epoch: pixels of an image, or 1 where all are alike
        self.figures: dict[str, float] = {}  # as shown
        self._logged: dict[str, float] = {}
        self._figures_since = 0.0
        # Everything is measured from the end of the session's first batch, which may compile or load.
        self._began: float | None = None
        self._first_step = self._first_epoch = 0
        self.in_steps = self.between = 0.0  # seconds in steps; seconds between them, up to the last finished epoch
        self.images = 0
        self._since: float | None = None  # when the step began; None: something else is done

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.all_steps = trainer.estimated_stepping_batches
        self.steps_of_epoch = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
        if math.isfinite(self.all_steps):
            settings: TrainerSettings = trainer.datamodule.settings  # type: ignore[attr-defined]
            epochs = range(math.ceil(self.all_steps / self.steps_of_epoch))
            self.costs = [(settings.training_image_size(epoch) or 1) ** 2 for epoch in epochs]
        self._show(trainer, counted("batch", 0, trainer.num_training_batches))

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._began is not None:
            self.between = time.monotonic() - self._began - self.in_steps

    def on_train_batch_start(self, *arguments: Any) -> None:
        if self._since is None:
            self._since = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Classifier)
        now = time.monotonic()
        if self._began is None or self._since is None:
            self._began, self._first_step, self._first_epoch = now, trainer.global_step, trainer.current_epoch
        else:
            self.in_steps += now - self._since
            self.images += len(batch[1]) * trainer.world_size
        self._since = now
        if self.line.is_due():
            self._read_figures(pl_module, now)
            self._show(trainer, counted("batch", batch_idx + 1, trainer.num_training_batches))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since = None

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since = None

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        assert isinstance(pl_module, Classifier)
        if not trainer.sanity_checking and (batch_idx == 0 or self.line.is_due()):
            self._read_figures(pl_module, time.monotonic())
            self._show(trainer, counted("validation", batch_idx + 1, trainer.num_val_batches[0]))

    def _read_figures(self, classifier: Classifier, now: float) -> None:
        """Take the means that were logged last, or, where they are old, those over the steps since then."""
        logged = {name: classifier.figures[name] for name in ("train/loss", "train/accuracy") if classifier.figures}
        if logged and logged != self._logged:
            self.figures, self._logged, self._figures_since = logged, logged, now
        elif classifier.recent and now - self._figures_since > SECONDS_TO_FIGURES:
            loss, right, images = classifier.means_of_recent()  # of this process; on a GPU it waits for the last step
            self.figures, self._figures_since = (
                {"train/loss": float(loss), "train/accuracy": float(right) / images},
                now,
            )

    def _show(self, trainer: pl.Trainer, place: str) -> None:
        of_all = f"/{trainer.max_epochs}" if (trainer.max_epochs or -1) > 0 else ""
        epoch = self.title or f"epoch {trainer.current_epoch + 1}{of_all}"
        loss, accuracy = (
            f"{name} {self.figures[f'train/{name}']:.4f}" if self.figures else "" for name in ("loss", "accuracy")
        )
        share, time_left = self._share_and_time_left(trainer)
        percent = "" if share is None else percentage(share)
        speed = f"{self.images / self.in_steps:,.0f} images/s" if self.in_steps else ""
        dispensable = (speed, place, percent) if place.startswith("batch") else (speed, percent)
        self.line.show(
            share,
            (epoch, place, loss, accuracy),
            (percent, time_left, speed),
            (*dispensable, accuracy, loss, place, time_left),
        )

    def _share_and_time_left(self, trainer: pl.Trainer) -> tuple[float | None, str]:
        """The share of the run that is done, None if it has no end, and the time that it takes at the most."""
        share = self.cost(trainer.global_step) / self.cost(self.all_steps) if math.isfinite(self.all_steps) else None
        seconds = self.seconds_left(trainer.global_step, trainer.current_epoch)
        may_end_before = False
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            may_end_before |= isinstance(callback, EarlyStopping)
            if isinstance(callback, Timer) and (remaining := callback.time_remaining()) is not None:
                elapsed = callback.time_elapsed()
                share = max(share or 0.0, min(1.0, elapsed / max(elapsed + remaining, 1e-9)))
                seconds = max(0.0, min(math.inf if seconds is None else seconds, remaining))
        return share, "" if seconds is None else left(seconds, at_most=may_end_before)

    def seconds_left(self, step: int, epoch: int) -> float | None:
        """The seconds that the steps after this one will take; None if that cannot be known, or not yet."""
        if self._began is None or step <= self._first_step or not math.isfinite(self.all_steps):
            return None
        seconds_each = self.in_steps / (self.cost(step) - self.cost(self._first_step))
        steps = (self.cost(self.all_steps) - self.cost(step)) * seconds_each
        epochs_done = epoch - self._first_epoch
        epochs_left = self.all_steps / self.steps_of_epoch - epoch
        return steps + (epochs_left * self.between / epochs_done if epochs_done > 0 else 0.0)

    def cost(self, step: float) -> int:
        """What the steps before this one cost; `costs` says in what unit."""
        epochs, steps = divmod(int(step), self.steps_of_epoch)
        return sum(self.costs[:epochs]) * self.steps_of_epoch + sum(self.costs[epochs : epochs + 1]) * steps
