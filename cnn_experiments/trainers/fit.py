"""Training, from the settings to the record of the results."""

import logging
import os
import random
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn

from cnn_experiments.datamodules.base import ImageData
from cnn_experiments.errors import ExperimentError, UserError
from cnn_experiments.evaluation.checkpoint import read_checkpoint
from cnn_experiments.evaluation.hardware import Hardware, choose_hardware
from cnn_experiments.evaluation.run import Run, test_limit
from cnn_experiments.evaluation.testing import Evaluation, evaluate
from cnn_experiments.inspection.layer_table import layer_table
from cnn_experiments.runs.directory import RunDirectory, is_first_process, rounded, shown
from cnn_experiments.runs.provenance import provenance
from cnn_experiments.settings.schema import Settings
from cnn_experiments.trainers.callbacks import BestAndLast, DashboardCallback, EpochReport
from cnn_experiments.trainers.classifier import Classifier
from cnn_experiments.trainers.data import LightningData
from cnn_experiments.trainers.processes import ProcessEndedError, processes_to_start, run_in_processes
from cnn_experiments.trainers.tensorboard import RunDirectoryLogger, write_pages
from cnn_experiments.trainers.trainer import build_trainer

log = logging.getLogger(__name__)


def train(
    settings: Settings,
    directory: Path,
    network: nn.Module | None = None,
    data: ImageData | None = None,
    log_config: Mapping[str, Any] | None = None,
) -> Run:
    """Train a network and test its best checkpoint, in as many processes as the settings ask for.

    Args:
        settings: what to train on what, and how.
        directory: the run directory; a run that it holds already is continued.
        network: a network to train instead of the one that the settings name.
        data: a data set to train on, likewise.
        log_config: how the first of several processes prints and logs, for `logging.config.dictConfig`.

    Returns:
        The run. Its recorded status is ``completed``; if an error is raised, ``failed`` or ``interrupted``, unless
        nothing had been written yet.

    Raises:
        UserError: a setting is wrong; nothing has been loaded or written.
        ExperimentError: the data cannot be downloaded, or the training diverged.
        KeyboardInterrupt: the user stopped it; it can be resumed.
    """
    files = RunDirectory(directory)
    if files.metrics().get("status") == "completed":
        log.info("This run is complete; nothing is left to do in %s", shown(directory))
        return Run(files, settings, network=network, data=data)
    with status_recorded(files):
        processes = processes_to_start(choose_hardware(settings.trainer))
        if processes == 1:
            fit(settings, files, network, data)
        else:
            try:
                run_in_processes(processes, fit, (settings, files, network, data), log_config)
            except ProcessEndedError as error:
                raise ExperimentError(f"{error}. Resume with: cnn-train resume={shown(directory)}") from None
    return Run(files, settings, network=network, data=data)


@contextmanager
def status_recorded(files: RunDirectory) -> Iterator[None]:
    """If a run does not complete, record in ``metrics.json`` how it ended."""
    try:
        yield
    except Exception as error:
        if files.config_file.exists() and is_first_process():
            files.record(status="failed", error=str(error) or type(error).__name__)
        raise
    except KeyboardInterrupt:
        if files.config_file.exists() and is_first_process():
            files.record(status="interrupted")
        raise


def fit(settings: Settings, files: RunDirectory, network: nn.Module | None, data: ImageData | None) -> None:
    """Train and test in this process, which may be one of several."""
    with randomness_of(settings.seed):
        hardware = choose_hardware(settings.trainer)
        data = settings.datamodule.build() if data is None else data
        network = settings.network() if network is None else network
        settings.training.optimizer(params=[nn.Parameter(torch.zeros(1))])  # refuses wrong values before data is loaded
        classifier = Classifier(network, settings.training, settings.seed, data.num_classes)
        classifier.save_hyperparameters({"config": dict(settings.config)}, logger=False)  # every checkpoint holds them

        last = files.last_checkpoint if files.last_checkpoint.exists() else None
        logger = RunDirectoryLogger(files.path, first_step=steps_done(last) + 1 if last else 0)
        checkpoints, report = BestAndLast(files), EpochReport(files)
        dashboard = DashboardCallback(settings.logging(), hardware)
        trainer = build_trainer(settings.trainer, hardware, logger=logger, callbacks=[report, dashboard, checkpoints])
        if not trainer.is_global_zero:
            logging.getLogger("cnn_experiments").setLevel(logging.ERROR)  # the first process speaks for all

        data.prepare()
        data.setup("training")
        log.info("%s on %s in %s", settings.model.name, settings.datamodule.name, shown(files.path))
        if trainer.is_global_zero:
            files.start(dict(settings.config), **beginning(settings, network, data, hardware))
            data.write_records(files.path)
            if not last:
                pages = (network, data.input_shape, settings.config, data.samples(16))
                write_pages(logger.experiment, *pages)
        with interruption_raised():
            trainer.fit(classifier, LightningData(data), ckpt_path=last, weights_only=True)
            trainer.strategy.barrier()
            use_best_weights(files, network)
            evaluation = evaluate(hardware.place(network), data, "test", hardware, test_limit(settings))
        if trainer.is_global_zero:
            tested = {"test/loss": evaluation.loss, "test/accuracy": evaluation.accuracy}
            logger.log_metrics(tested, trainer.global_step)
            dashboard.dashboard.write_test(logger.experiment, trainer.global_step, data, evaluation)
            logger.experiment.flush()
            files.write_predictions(evaluation.labels, evaluation.predictions, evaluation.scores)
            files.record(**outcome(trainer, checkpoints, report, data, evaluation))


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


@contextmanager
def interruption_raised() -> Iterator[None]:
    """Raise KeyboardInterrupt where Lightning, stopped by Ctrl-C or SIGTERM, would end the process."""
    try:
        yield
    except SystemExit:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.default_int_handler)  # Lightning ignores it from then on
        raise KeyboardInterrupt from None


def steps_done(last: Path) -> int:
    """The number of optimizer steps before a checkpoint.

    Raises:
        UserError: the file is not a checkpoint of a training run.
    """
    try:
        return int(torch.load(last, map_location="cpu", weights_only=True)["global_step"])
    except Exception as error:  # torch.load raises whatever the bytes of a damaged file lead it to
        raise UserError(
            f"resume: {last} is damaged and training cannot continue from it ({type(error).__name__}). Start a new run"
        ) from error


def use_best_weights(files: RunDirectory, network: nn.Module) -> None:
    """Load the weights of the best epoch if any was validated; otherwise keep those of the last."""
    if files.best_checkpoint.exists():
        read_checkpoint(files.best_checkpoint, "run").load_into(network, "run")


def beginning(settings: Settings, network: nn.Module, data: ImageData, hardware: Hardware) -> dict[str, Any]:
    """The content of ``metrics.json`` at the start: network, data, settings, software and hardware."""
    table = layer_table(network, data.input_shape)
    return {
        "model": settings.model.name,
        "datamodule": settings.datamodule.name,
        "seed": settings.seed,
        "parameters": table.parameters,
        "multiply_adds": table.multiply_adds,
        "overrides": list(settings.overrides),
        "device": hardware.name(),
        "precision": hardware.precision,
        "threads": torch.get_num_threads(),
        "processes": int(os.environ.get("WORLD_SIZE", 1)),
        "data_fingerprint": data.fingerprint(),
        **provenance(),
    }


def outcome(
    trainer: pl.Trainer, checkpoints: BestAndLast, report: EpochReport, data: ImageData, evaluation: Evaluation
) -> dict[str, Any]:
    """What ``metrics.json`` gains at the end: the results."""
    figures = rounded(
        {
            "val/accuracy": checkpoints.best_accuracy,
            "test/loss": evaluation.loss,
            "test/accuracy": evaluation.accuracy,
        }
    )
    return {
        "status": "completed",
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "train_seconds": report.seconds,
        "images_per_second": report.images_per_second,
        "confusion": {"classes": list(data.class_names), "test": evaluation.confusion.tolist()},
        **figures,
    }
