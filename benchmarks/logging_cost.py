"""What logging=full costs: LeNet-5 on MNIST with it, beside the default logging.

Runs of `cnn-train` with either in turn, so that whatever else the machine does falls on both. What is timed is an
epoch with its validation and with all that is written, as a user waits for it; each run's first epoch is not counted.

Usage: python benchmarks/logging_cost.py [epochs] [rounds]
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import hydra
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from cnn_experiments.building import build
from cnn_experiments.classifier import Classifier
from cnn_experiments.command import CONFIG_DIRECTORY
from cnn_experiments.configs import plain
from cnn_experiments.runs import Run
from cnn_experiments.trainers.callbacks import BestAndLast, EpochReport, RunDirectoryLogger
from cnn_experiments.trainers.trainer import build_trainer


class Stopwatch(Callback):
    """Seconds from the beginning of an epoch to the beginning of the next."""

    def __init__(self) -> None:
        self.moments: list[float] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.moments.append(time.perf_counter())

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.moments.append(time.perf_counter())

    def seconds(self) -> list[float]:
        """Of each epoch but the first."""
        return [end - begin for begin, end in zip(self.moments[1:-1], self.moments[2:], strict=True)]


def train(logging: str, epochs: int) -> list[float]:
    """Train with some logging; return the seconds of each epoch but the first."""
    with hydra.initialize_config_dir(str(CONFIG_DIRECTORY), version_base="1.3"):
        overrides = [f"logging={logging}", f"trainer.max_epochs={epochs + 1}", "trainer.gpus=0"]
        config = plain(hydra.compose("train", overrides))
    datamodule = build(config["datamodule"], "datamodule", also=["name"])
    stopwatch = Stopwatch()
    with tempfile.TemporaryDirectory() as scratch:
        run = Run(Path(scratch))
        callbacks = [build(config["logging"], "logging"), EpochReport(run), BestAndLast(run), stopwatch]
        logger = RunDirectoryLogger(Path(scratch), first_step=0)
        build_trainer(config["trainer"], logger=logger, callbacks=callbacks).fit(Classifier(config), datamodule)
        logger.experiment.close()
    return stopwatch.seconds()


def main(epochs: int = 2, rounds: int = 3) -> None:
    seconds: dict[str, list[float]] = {"default": [], "full": []}
    for number in range(rounds):
        for logging, measured in seconds.items():
            measured += train(logging, epochs)
            print(f"round {number + 1}, {logging}: {', '.join(f'{value:.2f} s' for value in measured[-epochs:])}")
    median = {logging: statistics.median(measured) for logging, measured in seconds.items()}
    print(f"median of {epochs * rounds} epochs: default {median['default']:.2f} s, full {median['full']:.2f} s")
    print(f"full / default: {median['full'] / median['default']:.3f}")


if __name__ == "__main__":
    main(*(int(number) for number in sys.argv[1:]))
