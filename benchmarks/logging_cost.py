"""What logging=full costs: epochs of LeNet-5 on MNIST with it and with the default logging, in turn in one training.

What is timed is an epoch with its validation and with all that is written. The ratio is one of processor seconds, which
hardly depend on what else the machine does; OMP_NUM_THREADS=1 keeps waiting threads out of them.

Usage: python benchmarks/logging_cost.py [epochs of each]
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import hydra
import pytorch_lightning as pl
from cnn_experiments.building import build
from cnn_experiments.classifier import Classifier
from cnn_experiments.command import CONFIG_DIRECTORY
from cnn_experiments.configs import plain
from pytorch_lightning.callbacks import Callback

from cnn_experiments.runs import Run
from cnn_experiments.trainers.callbacks import BestAndLast, EpochReport, RunDirectoryLogger
from cnn_experiments.trainers.trainer import build_trainer


class InTurn(Callback):
    """Sets the dashboard to one logging and the other, an epoch each, and measures how long each epoch takes."""

    def __init__(self, dashboard: Callback, settings: dict[str, dict[str, Any]]) -> None:
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


def main(epochs: int = 4) -> None:
    with hydra.initialize_config_dir(str(CONFIG_DIRECTORY), version_base="1.3"):
        overrides = [f"trainer.max_epochs={2 * (epochs + 1)}", "trainer.gpus=0"]
        config = plain(hydra.compose("train", overrides))
        loggings = {name: plain(hydra.compose("train", [f"logging={name}"]))["logging"] for name in ("default", "full")}
    datamodule = build(config["datamodule"], "datamodule", also=["name"])
    dashboard = build(config["logging"], "logging")
    in_turn = InTurn(dashboard, loggings)
    with tempfile.TemporaryDirectory() as scratch:
        run = Run(Path(scratch))
        callbacks = [dashboard, EpochReport(run), BestAndLast(run), in_turn]
        logger = RunDirectoryLogger(Path(scratch), first_step=0)
        build_trainer(config["trainer"], logger=logger, callbacks=callbacks).fit(Classifier(config), datamodule)
        logger.experiment.close()
    for what, seconds in (("elapsed", in_turn.seconds), ("processor", in_turn.processor_seconds)):
        default, full = (statistics.median(seconds[name]) for name in ("default", "full"))
        print(f"{what} seconds, median of {epochs} epochs each: default {default:.2f}, full {full:.2f}")
    print(f"full / default: {full / default:.3f}")


if __name__ == "__main__":
    main(*(int(number) for number in sys.argv[1:]))
