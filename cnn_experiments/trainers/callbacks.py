"""Callbacks that write while a network trains: checkpoints, the figures of each epoch, what the layers do."""

import csv
import io
import logging
import time
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, Checkpoint, EarlyStopping
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason
from torch.utils.tensorboard import SummaryWriter

from cnn_experiments.errors import UserError
from cnn_experiments.evaluation.hardware import Hardware
from cnn_experiments.evaluation.snapshots import write_snapshot
from cnn_experiments.logging.dashboard import Dashboard
from cnn_experiments.runs.directory import RunDirectory, rounded
from cnn_experiments.runs.files import write_text
from cnn_experiments.trainers.averaged_weights import AveragedWeights
from cnn_experiments.trainers.classifier import Classifier
from cnn_experiments.trainers.lightning_internals import begin_next_epoch

log = logging.getLogger(__name__)

FIGURES = ("loss", "accuracy")


class BestAndLast(Checkpoint):
    """Writes ``best.ckpt``, the weights of the best validation, and ``last.ckpt``, the state after the last epoch.

    Args:
        directory: the run directory.
        averaged: the average of the weights that is saved as the best in their place, if there is one.
    """

    def __init__(self, directory: RunDirectory, averaged: AveragedWeights | None = None) -> None:
        self.directory, self.averaged = directory, averaged
        self.best_accuracy: float | None = None  # of best.ckpt on the validation images; None: nothing was validated

    @property
    def state_key(self) -> str:
        return type(self).__name__  # Lightning's is spelled out anew several times a step

    def state_dict(self) -> dict[str, Any]:
        return {"best_accuracy": self.best_accuracy}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # A checkpoint is data: of its state one number is taken, and no path. Before version 0.2 it was a tensor.
        best = state_dict.get("best_accuracy", state_dict.get("best_model_score"))
        self.best_accuracy = None if best is None else number(best, "the best accuracy", least=0, most=1)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        accuracy = pl_module.figures.get("val/accuracy")
        if trainer.sanity_checking or trainer.fast_dev_run or accuracy is None:  # type: ignore[attr-defined]
            return
        if self.best_accuracy is None or accuracy > self.best_accuracy:
            self.best_accuracy = accuracy
            with self.averaged.in_place_of_the_weights(pl_module) if self.averaged else nullcontext():
                trainer.save_checkpoint(self.directory.best_checkpoint, weights_only=True)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.save_checkpoint(self.directory.last_checkpoint)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        begin_next_epoch(checkpoint)


class Stopping(EarlyStopping):
    """Stops the training after some validations in a row without a better accuracy.

    A run that was ended after that, as in its test, does not train on when it is resumed.

    Args:
        patience: how many validations.
    """

    def __init__(self, patience: int) -> None:
        # After each validation: an epoch that max_steps ends may have none.
        super().__init__("val/accuracy", mode="max", patience=patience, check_on_train_epoch_end=False)

    @property
    def state_key(self) -> str:
        return "EarlyStopping{'monitor': 'val/accuracy', 'mode': 'max'}"  # Lightning's, as in earlier versions

    @property
    def has_stopped(self) -> bool:
        """Whether it has stopped the training, in this session or an earlier one."""
        return self.stopping_reason != EarlyStoppingReason.NOT_STOPPED

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or self.has_stopped


class Snapshots(Callback):
    """Keeps the weights after every few epochs, for pictures of how they formed.

    Args:
        directory: the run directory.
        every: number of epochs from one snapshot to the next; None for none.
        averaged: the average of the weights that is kept in their place, if there is one.
    """

    def __init__(self, directory: RunDirectory, every: int | None, averaged: AveragedWeights | None = None) -> None:
        self.directory, self.every, self.averaged = directory, every, averaged

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        epoch = trainer.current_epoch + 1
        if self.every and epoch % self.every == 0 and trainer.is_global_zero:
            with self.averaged.in_place_of_the_weights(pl_module) if self.averaged else nullcontext():
                write_snapshot(self.directory.path, epoch, pl_module.network)


class EpochReport(Callback):
    """Measures training time, without validation and pictures; prints, logs and records the figures of each epoch.

    ``history.csv`` has a row for each epoch; its ``seconds`` are those of all training so far.

    Args:
        directory: the run directory.
    """

    COLUMNS = ("epoch", "step", "seconds", "train/loss", "train/accuracy", "val/loss", "val/accuracy")

    def __init__(self, directory: RunDirectory) -> None:
        self.history_file = directory.history_file
        self.history: list[dict[str, Any]] = []
        self.seconds, self.images = 0.0, 0
        self.epoch_seconds, self._epoch_images = 0.0, 0
        self.began = False  # whether training has begun, which comes after everything is restored
        self._since: float | None = None  # when the time that is not yet counted began; None: the clock stands still

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "images": self.images, "history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = number(state_dict.get("seconds"), "the training time")
        self.images = int(number(state_dict.get("images"), "the number of images"))
        rows = state_dict.get("history")
        columns = set(self.COLUMNS)
        if not isinstance(rows, list) or not all(isinstance(row, dict) and set(row) <= columns for row in rows):
            raise UserError("resume: last.ckpt is damaged: its history is no table of figures. Start a new run")
        self.history = [{name: as_figure(name, value) for name, value in row.items()} for row in rows]

    @property
    def images_per_second(self) -> float:
        """Training images per second over the whole run, in all processes."""
        return self.images / self.seconds if self.seconds else 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.began = True

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.epoch_seconds, self._epoch_images, self._since = 0.0, 0, time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._epoch_images += len(batch[1]) * trainer.world_size

    def on_train_batch_start(self, *arguments: Any) -> None:
        if self._since is None:  # validation in the middle of an epoch is over
            self._since = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.stop_the_clock()

    def stop_the_clock(self) -> None:
        """Count the time since the clock was started, once the GPU has finished its work."""
        if self._since is not None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.epoch_seconds += time.perf_counter() - self._since
            self._since = None

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        self.stop_the_clock()
        if pl_module.recent:  # max_steps or max_time has ended the epoch before its last batch
            pl_module.log_training(trainer.global_step)
        self.seconds += self.epoch_seconds
        self.images += self._epoch_images
        speed = self._epoch_images / self.epoch_seconds
        times = {"epoch_seconds": self.epoch_seconds, "train_seconds": self.seconds, "images_per_second": speed}
        for logger in trainer.loggers:
            logger.log_metrics({f"time/{name}": value for name, value in times.items()}, trainer.global_step)
        measured = {name: pl_module.figures[name] for name in self.COLUMNS if name in pl_module.figures}
        when = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step, "seconds": round(self.seconds, 3)}
        self.history.append({**when, **rounded(measured)})
        if trainer.is_global_zero:
            write_text(self.history_file, self.as_csv())
        of_all = f"/{trainer.max_epochs}" if (trainer.max_epochs or -1) > 0 else ""
        log.info("epoch %d%s: %s, %.1f s", trainer.current_epoch + 1, of_all, in_words(measured), self.epoch_seconds)

    def as_csv(self) -> str:
        """The figures of each epoch, as the text of ``history.csv``."""
        text = io.StringIO()
        writer = csv.DictWriter(text, self.COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.history)
        return text.getvalue()


def in_words(measured: Mapping[str, float]) -> str:
    """The figures of an epoch, short enough for a line of 80 characters: loss 0.0412 (val 0.0498), accuracy ..."""
    of_validation = {name: f" (val {measured[f'val/{name}']:.4f})" for name in FIGURES if f"val/{name}" in measured}
    return ", ".join(f"{name} {measured[f'train/{name}']:.4f}{of_validation.get(name, '')}" for name in FIGURES)


def number(value: Any, what: str, least: float = 0.0, most: float = float("inf")) -> float:
    """Check a number from a checkpoint, which may come from anybody.

    Raises:
        UserError: it is not a number, or out of range.
    """
    value = value.item() if isinstance(value, torch.Tensor) and value.numel() == 1 else value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise UserError(f"resume: last.ckpt is damaged: {what} is {value!r}. Start a new run")
    return float(value)


def as_figure(name: str, value: Any) -> int | float | None:
    """Check a figure of a history that was read from a checkpoint."""
    if value is None:
        return None
    figure = number(value, name)
    return int(figure) if name in ("epoch", "step") else figure


class DashboardCallback(Callback):
    """Decides when the dashboard writes what.

    Args:
        dashboard: the dashboard.
        hardware: the hardware that the network computes on.
    """

    def __init__(self, dashboard: Dashboard, hardware: Hardware) -> None:
        self.dashboard, self.hardware = dashboard, hardware

    def is_due(self, trainer: pl.Trainer) -> bool:
        """Whether to write this epoch: in the first process, every few epochs and at the end."""
        last = trainer.current_epoch + 1 == trainer.max_epochs or trainer.should_stop
        return trainer.is_global_zero and self.dashboard.is_due(trainer.current_epoch, last)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        assert isinstance(pl_module, Classifier)
        if self.dashboard.gradients and trainer.is_last_batch and self.is_due(trainer):
            self.dashboard.write_gradients(writer_of(trainer), trainer.global_step + 1, pl_module.network)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        if self.is_due(trainer):
            self.dashboard.write_epoch(
                writer_of(trainer),
                trainer.global_step,
                pl_module.network,
                trainer.datamodule.data,  # type: ignore[attr-defined]
                pl_module.device,
                self.hardware.autocast,
            )

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        if self.dashboard.confusion and not trainer.sanity_checking and self.is_due(trainer):
            assert pl_module.confusion is not None
            names = trainer.datamodule.data.class_names  # type: ignore[attr-defined]
            self.dashboard.write_confusion(writer_of(trainer), trainer.global_step, "val", pl_module.confusion, names)


def writer_of(trainer: pl.Trainer) -> SummaryWriter:
    """The TensorBoard writer of a run."""
    writer: SummaryWriter = trainer.logger.experiment  # type: ignore[union-attr]
    return writer
