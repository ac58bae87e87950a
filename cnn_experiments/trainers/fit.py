"""Training, from the settings to the record of the results."""

import copy
import gc
import logging
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import nn

from cnn_experiments.datamodules.base import ImageData
from cnn_experiments.errors import ExperimentError, UserError
from cnn_experiments.evaluation.checkpoint import read_checkpoint
from cnn_experiments.evaluation.hardware import Hardware, choose_hardware
from cnn_experiments.evaluation.randomness import randomness_of
from cnn_experiments.evaluation.run import Run, test_limit
from cnn_experiments.evaluation.testing import Evaluation, evaluate, write_answers
from cnn_experiments.inspection.layer_table import layer_table
from cnn_experiments.runs.directory import RunDirectory, is_first_process, rounded, shown, word_for
from cnn_experiments.runs.progress_line import progress_line
from cnn_experiments.runs.provenance import provenance
from cnn_experiments.settings.containers import select
from cnn_experiments.settings.schema import Settings, TrainerSettings
from cnn_experiments.trainers.adaptive_clipping import adaptive_clipping_of
from cnn_experiments.trainers.averaged_weights import AveragedWeights
from cnn_experiments.trainers.callbacks import BestAndLast, DashboardCallback, EpochReport, Snapshots, Stopping
from cnn_experiments.trainers.classifier import Classifier
from cnn_experiments.trainers.cuda_graphs import check_cuda_graphs, recorded_passes_of
from cnn_experiments.trainers.data import LightningData, first_batch, scaled_shape
from cnn_experiments.trainers.failures import damage_explained, damaged, failures_explained
from cnn_experiments.trainers.layer_sequential_init import initialise_layer_by_layer
from cnn_experiments.trainers.learning_rate import range_test
from cnn_experiments.trainers.loggers import RunLoggers, refuse_missing_packages
from cnn_experiments.trainers.memory import freed_memory_kept
from cnn_experiments.trainers.processes import (
    ProcessEndedError,
    processes_of,
    run_in_processes,
    started_by_others,
    stopped_children_continued,
)
from cnn_experiments.trainers.progress import RunProgress
from cnn_experiments.trainers.rehearsal import check_network, check_training_image_sizes
from cnn_experiments.trainers.soft_labels import soft_labels_of
from cnn_experiments.trainers.tensorboard import hyperparameters, write_pages
from cnn_experiments.trainers.trainer import build_trainer, check_batches

log = logging.getLogger(__name__)


def train(
    settings: Settings,
    directory: Path,
    network: nn.Module | None = None,
    data: ImageData | None = None,
    log_config: Mapping[str, Any] | None = None,
    records: Mapping[str, str] | None = None,
) -> Run:
    """Train a network and test its best checkpoint, in as many processes as the settings ask for.

    Args:
        settings: what to train on what, and how.
        directory: the run directory; a run that it holds already is continued.
        network: a network to train instead of the one that the settings name.
        data: a data set to train on, likewise.
        log_config: how the first of several processes prints and logs, for `logging.config.dictConfig`.
        records: further text files that the run directory gets when the run begins: contents by their names.

    Returns:
        The run. Its recorded status is ``completed``; if an error is raised, ``failed`` or ``interrupted``, unless
        nothing had been written yet.

    Raises:
        UserError: a setting is wrong; nothing has been loaded or written.
        ExperimentError: the data cannot be downloaded, or the training diverged.
        KeyboardInterrupt: the user stopped it; it can be resumed.
    """
    files = RunDirectory(directory)
    before = files.metrics()
    if settings.trainer.find_learning_rate and files.config_file.exists():
        settings = settings.with_learning_rate(select(files.config(), "model.optimizer.lr"))
    if before.get("status") == "completed":
        log.info("This run is complete; nothing is left to do in %s", shown(directory))
        return Run(files, settings, network=network, data=data)
    refuse_missing_packages(settings.loggers)
    settings, hardware = on_this_machine(settings, before)
    arguments = (settings, hardware, files, network, data, records or {})
    with status_recorded(files):
        if hardware.processes == 1 or started_by_others() is not None:
            settings = fit(*arguments)
        else:
            try:
                run_in_processes(hardware, fit, arguments, log_config)
            except ProcessEndedError as error:
                raise ExperimentError(f"{error}. Resume with: cnn-train {word_for('resume', directory)}") from None
            if network is not None:  # each process has trained a copy of its own
                use_best_weights(files, network.eval())
    return Run(files, settings, network=network, data=data)


def on_this_machine(settings: Settings, before: Mapping[str, Any]) -> tuple[Settings, Hardware]:
    """The settings with the precision that ``auto`` means here, and the hardware; a resumed run keeps its precision.

    Args:
        settings: the settings of the run.
        before: its ``metrics.json``, empty if it begins now.

    Raises:
        UserError: the machine lacks what was asked for, or cannot do it together with other settings, or a resumed run
            would train in another number of processes.
    """
    if settings.trainer.precision == "auto" and isinstance(before.get("precision"), str):
        settings = settings.with_precision(before["precision"])
    hardware = choose_hardware(settings.trainer)
    if settings.trainer.precision == "auto":
        settings = settings.with_precision(hardware.precision)
    number, recorded = processes_of(settings.trainer, hardware), before.get("processes", 0)
    if recorded not in (0, number):
        raise UserError(
            f"trainer.gpus={settings.trainer.gpus}: this trains in {number} process{'es' * (number > 1)} here, and the "
            f"run began in {recorded}, on which its steps depend. Resume it in as many, or start a new run"
        )
    if settings.trainer.find_learning_rate and number > 1:
        raise UserError(
            f"trainer.find_learning_rate=true: this is done in one process, and trainer.gpus={settings.trainer.gpus} "
            f"with trainer.devices={settings.trainer.devices} means {number}. Find the rate in one, and give it to them"
        )
    check_cuda_graphs(settings, hardware, number)
    return settings, hardware


@contextmanager
def status_recorded(files: RunDirectory) -> Iterator[None]:
    """If a run that has begun or gone on does not complete, record in ``metrics.json`` how it ended."""
    try:
        yield
    except Exception as error:
        record_end(files, status="failed", error=str(error) or type(error).__name__)
        raise
    except KeyboardInterrupt:
        record_end(files, status="interrupted")
        raise


def record_end(files: RunDirectory, **how: str) -> None:
    """Record how a run ended, unless it was refused before it went on; if it can be written."""
    with suppress(ExperimentError):
        if is_first_process() and files.metrics().get("status") == "running":
            files.record(**how)


@contextmanager
def modules_spared_by_the_garbage_collector() -> Iterator[None]:
    """Look for garbage only among objects that are made from here on, and once among all of these at the end.

    Python puts a full collection off until a quarter as many objects are new as there are in all. With the hundreds of
    thousands that the imported modules hold, the pictures drawn after each epoch would fill 70 MiB before it came.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.collect()
        gc.unfreeze()


@modules_spared_by_the_garbage_collector()  # to the end, when nothing refers to the trainer any more
def fit(
    settings: Settings,
    hardware: Hardware,
    files: RunDirectory,
    network: nn.Module | None,
    data: ImageData | None,
    records: Mapping[str, str],
) -> Settings:
    """Train and test in this process, one of several perhaps; the settings, with the learning rate that was found."""
    with randomness_of(settings.seed), failures_explained(files), freed_memory_kept():
        data = settings.datamodule.build() if data is None else data
        network = network_of_this_process(settings, network)
        settings.training.optimizer(params=[nn.Parameter(torch.zeros(1))])  # refuses wrong values before data is loaded
        soft_labels = soft_labels_of(settings.trainer, data.num_classes)
        built_for = settings.config["model"].get("input_size") if settings.model.network else None
        check_network(network, data.input_shape, data.num_classes, soft_labels, built_for)
        check_training_image_sizes(network, data.input_shape, settings.trainer.training_image_sizes or ())
        last = files.last_checkpoint if files.last_checkpoint.exists() else None
        loggers = RunLoggers(settings, files, first_step=steps_done(last) + 1 if last else 0)
        decay, patience = settings.trainer.weight_average, settings.trainer.early_stopping
        averaged = AveragedWeights(decay) if decay else None
        checkpoints, report = BestAndLast(files, averaged), EpochReport(files)
        dashboard = DashboardCallback(settings.logging(), hardware)
        stopping = Stopping(patience) if patience else None
        callbacks: list[Callback] = [stopping] if stopping else []  # before the dashboard, which draws the last epoch
        callbacks += [report, *([dashboard] if loggers.tensorboard else [])]
        callbacks += [Snapshots(files, settings.trainer.snapshots, averaged), checkpoints]
        callbacks += [averaged] if averaged else []
        trainer = build_trainer(settings.trainer, hardware, logger=loggers.all, callbacks=callbacks)
        if not trainer.is_global_zero:
            logging.getLogger("cnn_experiments").setLevel(logging.ERROR)  # the first process speaks for all

        resumed = files.config_file.exists()
        load(data, files, resumed)
        check_batches(trainer, data, network)
        log.info("%s on %s in %s", settings.model.name, settings.datamodule.name, shown(files.path))
        scale_first_weights(settings.trainer, network, data, last)
        search = None
        if settings.trainer.find_learning_rate:
            with interruption_raised():
                search = range_test(settings, hardware, network, data)
            settings = settings.with_learning_rate(search.choice())
            log.info("found the learning rate: model.optimizer.lr=%g", search.choice())
            records = {**records, "learning_rates.csv": search.as_csv()}
        clipping = adaptive_clipping_of(settings.trainer, network, data.input_shape)
        passes = recorded_passes_of(settings, hardware, network)
        classifier = Classifier(
            network, settings.training, settings.seed, data.num_classes, soft_labels, clipping, passes
        )
        classifier.save_hyperparameters({"config": dict(settings.config)}, logger=False)  # every checkpoint holds them
        with loggers.closed_at_the_end(), stopped_children_continued():
            if trainer.is_global_zero:
                begun = beginning(settings, network, data, hardware, trainer.world_size)
                begun |= loggers.begin(hyperparameters(settings))
                records = {} if resumed else {**records, **data.records()}
                files.start(dict(settings.config), records, **begun)
                if loggers.tensorboard and not last:
                    loggers.tensorboard.remove_earlier()
                    pages = (network, data.input_shape, settings, data.samples(16))
                    write_pages(loggers.tensorboard.experiment, *pages)
                if loggers.tensorboard and search:
                    search.draw(loggers.tensorboard.experiment)
            with (
                progress_line(settings.trainer.progress and trainer.is_global_zero) as line,
                interruption_raised(),
            ):
                if line:
                    trainer.callbacks.append(RunProgress(line))  # type: ignore[attr-defined]
                with damage_explained(report, last):
                    trainer.fit(classifier, LightningData(data, settings.trainer), ckpt_path=last, weights_only=True)
                if stopping and stopping.has_stopped:
                    log.info("stopped early: no better validation accuracy in %d validations", patience)
                trainer.strategy.barrier()
                use_best_weights(files, network)
                own = hardware.of_process(trainer.strategy.root_device)
                evaluation = evaluate(own.place(network), data, "test", own, test_limit(settings), line)
            if trainer.is_global_zero:
                after_training = trainer.global_step + 1  # a step that a run resumed after its training discards
                results = outcome(trainer, checkpoints, report, data, evaluation)
                results |= training_costs(settings, network, data, trainer.current_epoch)
                loggers.log(final_figures(results), after_training)
                if loggers.tensorboard:
                    dashboard.dashboard.write_test(
                        loggers.tensorboard.experiment, after_training, network, data, evaluation, hardware
                    )
                write_answers(files, data, evaluation)
                loggers.complete()
                files.record(**results)
    return settings


def network_of_this_process(settings: Settings, given: nn.Module | None) -> nn.Module:
    """The network to train: the given one, or that of the settings; in one of several processes, a copy.

    What processes that are started here are given has its weights in memory that they share.
    """
    if given is None:
        return settings.network()
    are_several = torch.distributed.is_available() and torch.distributed.is_initialized()
    network = copy.deepcopy(given) if are_several else given
    # An earlier training has left it in evaluation mode. Parts alone that are in this mode are meant to stay in it.
    return network if network.training else network.train()


def load(data: ImageData, files: RunDirectory, resumed: bool) -> None:
    """Load the images; for a resumed run, those that it began with.

    Raises:
        UserError: the data cannot be used, or are not those that the run began with.
    """
    if resumed:
        data.follow(files.path, every=True)
    data.prepare()
    data.setup("training")
    recorded = files.metrics().get("data_fingerprint") if resumed else None
    if recorded not in (None, data.fingerprint()):
        raise UserError(
            "resume: the data are not those that the run began with: other files, or another selection of them. "
            "Restore them (datamodule.data_dir or datamodule.source says where they were), or start a new run"
        )


def scale_first_weights(settings: TrainerSettings, network: nn.Module, data: ImageData, last: Path | None) -> None:
    """Initialise the weights on the first batch if the settings want it, and the run is not resumed from a checkpoint.

    Where several processes train together, the weights of the first one go to all when Lightning joins them.
    """
    if settings.layer_sequential_init and last is None:
        number = initialise_layer_by_layer(network, first_batch(data, settings))
        log.info("the weights of %d layers were scaled on the first batch", number)


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
        raise damaged(last, error) from error


def use_best_weights(files: RunDirectory, network: nn.Module) -> None:
    """Load the weights of the best epoch; of the last one if none was validated; none if there was no epoch."""
    for checkpoint in (files.best_checkpoint, files.last_checkpoint):
        if checkpoint.exists():
            read_checkpoint(checkpoint, "run").load_into(network, "run")
            return


def beginning(
    settings: Settings, network: nn.Module, data: ImageData, hardware: Hardware, processes: int
) -> dict[str, Any]:
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
        "processes": processes,
        "data_fingerprint": data.fingerprint(),
        **provenance(),
    }


def outcome(
    trainer: pl.Trainer, checkpoints: BestAndLast, report: EpochReport, data: ImageData, evaluation: Evaluation
) -> dict[str, Any]:
    """What ``metrics.json`` gains at the end: the results."""
    return {
        "status": "completed",
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "train_seconds": report.seconds,
        "images_per_second": report.images_per_second,
        "test_images": len(evaluation.labels),
        "confusion": {"classes": list(data.class_names), "test": evaluation.confusion.tolist()},
        **rounded({"val/accuracy": checkpoints.best_accuracy}),
        **evaluation.figures(),
    }


def training_costs(settings: Settings, network: nn.Module, data: ImageData, epochs: int) -> dict[str, int]:
    """``training_multiply_adds``: those of a training image, in the mean over the epochs, if these were scaled."""
    if not settings.trainer.training_image_sizes:
        return {}
    epochs_of = Counter(settings.trainer.training_image_size(epoch) for epoch in range(epochs))
    of_sizes = [
        number * layer_table(network, scaled_shape(data.input_shape, size)).multiply_adds
        for size, number in epochs_of.items()
        if size is not None
    ]
    return {"training_multiply_adds": round(sum(of_sizes) / max(1, epochs))}


def final_figures(results: Mapping[str, Any]) -> dict[str, float]:
    """What loggers get after the training: the figures of the test, and those that tables of runs show.

    TensorBoard's table of hyperparameters begins with the first five figures in the order of their names, and shows the
    last value of each: these are the figures of the tested weights and of the whole training.
    """
    table = {
        "test_accuracy": results["test/accuracy"],
        "test_loss": results["test/loss"],
        "train_images_per_second": results["images_per_second"],
        "train_seconds": results["train_seconds"],
        "val_accuracy": results["val/accuracy"],
    }
    tested = {name: results[name] for name in ("test/loss", "test/accuracy")}
    return tested | {f"after_training/{name}": value for name, value in table.items() if value is not None}
