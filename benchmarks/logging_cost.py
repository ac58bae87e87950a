"""What logging=full costs: epochs of LeNet-5 on MNIST with it and with the default logging, in turn in one training.

What is timed is an epoch with its validation and with all that is written. The ratio is one of processor seconds, which
hardly depend on what else the machine does; OMP_NUM_THREADS=1 keeps waiting threads out of them.

Usage: python benchmarks/logging_cost.py [epochs of each]
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from cnn_experiments.commands.from_python import read_words
from cnn_experiments.evaluation.hardware import choose_hardware
from cnn_experiments.logging.dashboard import Dashboard
from cnn_experiments.runs.directory import RunDirectory
from cnn_experiments.trainers.callbacks import BestAndLast, DashboardCallback, EpochReport
from cnn_experiments.trainers.classifier import Classifier
from cnn_experiments.trainers.data import LightningData
from cnn_experiments.trainers.tensorboard import RunDirectoryLogger
from cnn_experiments.trainers.trainer import build_trainer


class InTurn(Callback):
    """Sets the dashboard to one logging and the other, an epoch each, and measures how long each epoch takes."""

    def __init__(self, dashboard: Dashboard, settings: dict[str, dict[str, Any]]) -> None:
        self.dashboard, self.settings = dashboard, settings
        self.began = self.processor_began = 0.0
        self.seconds: dict[str, list[float]] = {name: [] for name in settings}
        self.processor_seconds: dict[str, list[float]] = {name: [] for name in settings}

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.end_epoch(trainer.current_epoch - 1)
        for key, value in self.settings[self.logging_of(trainer.current_epoch)].items():
            setattr(self.dashboard, key, value)  # its attributes are called as its keys
        self.began, self.processor_began = time.perf_counter(), time.process_time()

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.end_epoch(trainer.current_epoch - 1)

    def logging_of(self, epoch: int) -> str:
        """The logging of an epoch."""
        return list(self.settings)[epoch % len(self.settings)]

    def end_epoch(self, epoch: int) -> None:
        """Keep how long an epoch took; the first of each logging warms up."""
        if epoch < len(self.settings):
            return
        seconds, of_processor = time.perf_counter() - self.began, time.process_time() - self.processor_began
        self.seconds[self.logging_of(epoch)].append(seconds)
        self.processor_seconds[self.logging_of(epoch)].append(of_processor)
        print(f"epoch {epoch}, {self.logging_of(epoch)}: {seconds:.2f} s, processor {of_processor:.2f} s", flush=True)


def main(epochs: int = 4, words: Sequence[str] = ()) -> None:
    """Time so many epochs with each logging, with further words of cnn-train."""
    settings = read_words([f"trainer.max_epochs={2 * (epochs + 1)}", "trainer.gpus=0", *words], None, None, [])[1]
    loggings = {
        name: dict(read_words([f"logging={name}"], None, None, [])[1].logging.arguments) for name in ("default", "full")
    }
    hardware, data, dashboard = choose_hardware(settings.trainer), settings.datamodule.build(), settings.logging()
    in_turn = InTurn(dashboard, loggings)
    with tempfile.TemporaryDirectory() as scratch:
        run = RunDirectory(Path(scratch))
        callbacks = [DashboardCallback(dashboard, hardware), EpochReport(run), BestAndLast(run), in_turn]
        logger = RunDirectoryLogger(Path(scratch), first_step=0)
        trainer = build_trainer(settings.trainer, hardware, logger=logger, callbacks=callbacks)
        classifier = Classifier(settings.network(), settings.training, settings.seed, data.num_classes)
        trainer.fit(classifier, LightningData(data, settings.trainer))
        logger.experiment.close()
    for what, seconds in (("elapsed", in_turn.seconds), ("processor", in_turn.processor_seconds)):
        default, full = (statistics.median(seconds[name]) for name in ("default", "full"))
        print(f"{what} seconds, median of {epochs} epochs each: default {default:.2f}, full {full:.2f}")
    print(f"full / default: {full / default:.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4)
