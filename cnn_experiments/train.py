"""cnn-train: train a network, validate it each epoch, test its best checkpoint, record everything."""

import logging
import shutil
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from cnn_experiments.command import command, typed_keys
from cnn_experiments.configs import flatten, plain, with_values_of
from cnn_experiments.errors import ExperimentError, UserError
from cnn_experiments.runs import MACHINE_KEYS, Run, is_first_process, rounded, shown
from cnn_experiments.sweep import arguments_of_resumed_sweep

log = logging.getLogger(__name__)


@command("train", arguments_of_resumed_sweep)
def main(config: DictConfig) -> float | None:
    """Train as the config says, in the directory that Hydra made; in a sweep, a failure is for its own job only."""
    in_sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    run, settings = (resumed_run if config.resume else new_run)(config)
    try:
        from cnn_experiments.trainers.processes import processes_to_start, train_in_processes

        processes = processes_to_start(settings["trainer"])
        if processes > 1:
            train_in_processes(processes, settings, run)
        else:
            train(settings, run)
        if not is_first_process():
            return None
        (print_closing_line if in_sweep else print_closing_table)(run)
        return run.metrics()["val/accuracy"]  # what a search makes as large as it can
    except Exception as error:
        if run.config_file.exists() or in_sweep:
            run.record(status="failed", error=str(error) or type(error).__name__)
        else:
            discard(run)
        if not in_sweep:
            raise
        unforeseen = not isinstance(error, ExperimentError)
        log.error("job %s failed: %s", HydraConfig.get().job.num, error, exc_info=unforeseen)
        return None
    except KeyboardInterrupt:
        if run.config_file.exists():
            run.record(status="interrupted")
        else:
            discard(run)
        whole = Path(HydraConfig.get().sweep.dir) if in_sweep else run.directory
        if not whole.exists():
            raise
        raise KeyboardInterrupt(f"Interrupted. Go on with: cnn-train resume={shown(whole)}") from None


def new_run(config: DictConfig) -> tuple[Run, dict[str, Any]]:
    """A run in the directory that Hydra made for it, and its settings.

    Where the same run is there already, as in a sweep that is gone on with, it is gone on with.

    Raises:
        UserError: another run is there already, or several machines would make a directory each.
    """
    run = Run(Path(HydraConfig.get().runtime.output_dir))
    settings = {key: value for key, value in plain(config).items() if key != "resume"}
    if run.config_file.exists():
        before, now = dict(flatten(run.config())), dict(flatten(settings))
        for key in dict.fromkeys([*now, *before]):
            if now.get(key) != before.get(key) and key not in MACHINE_KEYS:
                raise UserError(
                    f"hydra.run.dir={shown(run.directory)}: another run is there already ({key} is "
                    f"{before.get(key)} there, not {now.get(key)}). Choose another folder"
                )
    if settings["trainer"]["num_nodes"] > 1 and not any(
        "run.dir=" in word for word in HydraConfig.get().overrides.hydra
    ):
        raise UserError(
            f"trainer.num_nodes={settings['trainer']['num_nodes']}: give a folder that all machines see, with "
            "hydra.run.dir=PATH"
        )
    return run, settings


def resumed_run(config: DictConfig) -> tuple[Run, dict[str, Any]]:
    """The interrupted run in the directory that the user gave, and its settings.

    Raises:
        UserError: there is no run, or settings are given that would make it another one.
    """
    run = Run.existing(config.resume, "resume")
    typed = [key for key in typed_keys() if key != "resume"]
    for key in typed:
        if key not in MACHINE_KEYS:
            raise UserError(
                f"{key}: a resumed run keeps the settings it began with, in {run.config_file}; only these can differ: "
                f"{', '.join(MACHINE_KEYS)}. Leave {key} out, or start a new run"
            )
    return run, with_values_of(config, typed, run.config())


def train(settings: dict[str, Any], run: Run) -> None:
    """Train a network and test its best checkpoint.

    Args:
        settings: the resolved config, in plain containers.
        run: where everything is written, by the first process alone. What it holds already is gone on with.

    Raises:
        UserError: a setting is wrong; nothing has been loaded or written.
        ExperimentError: data cannot be fetched, or the training diverged.
        KeyboardInterrupt: the user stopped it; it can be resumed.
    """
    if run.metrics().get("status") == "completed":
        log.info("This run is complete; nothing is left to do in %s", shown(run.directory))
        return

    import pytorch_lightning as pl
    import torch

    from cnn_experiments.building import build, convert
    from cnn_experiments.classifier import Classifier, Seed
    from cnn_experiments.summary import size_of
    from cnn_experiments.trainers.callbacks import BestAndLast, EpochReport, RunDirectoryLogger, write_pages
    from cnn_experiments.trainers.trainer import build_trainer, test_figures

    pl.seed_everything(convert(settings["seed"], Seed, "seed"), verbose=False)
    datamodule = build(settings["datamodule"], "datamodule", also=["name"])
    classifier = Classifier(settings)

    last = run.last_checkpoint if run.last_checkpoint.exists() else None
    steps = torch.load(last, weights_only=True)["global_step"] if last else 0
    logger = RunDirectoryLogger(run.directory, first_step=steps + 1 if last else 0)
    checkpoints, report = BestAndLast(run), EpochReport(run)
    dashboard = build(settings["logging"], "logging")
    trainer = build_trainer(settings["trainer"], logger=logger, callbacks=[report, dashboard, checkpoints])
    if not trainer.is_global_zero:
        logging.getLogger("cnn_experiments").setLevel(logging.ERROR)  # the first process speaks for all

    datamodule.prepare_data()
    datamodule.setup("fit")
    log.info("%s on %s in %s", settings["model"]["name"], settings["datamodule"]["name"], shown(run.directory))
    if trainer.is_global_zero:
        run.start(
            settings,
            model=settings["model"]["name"],
            datamodule=settings["datamodule"]["name"],
            seed=settings["seed"],
            **size_of(classifier.network, settings["model"]),
        )
        datamodule.write_records(run.directory)
        if not last:
            write_pages(logger.experiment, classifier.network, settings, datamodule.samples(16))
    try:
        trainer.fit(classifier, datamodule, ckpt_path=last, weights_only=True)
        tested_checkpoint = run.best_checkpoint if run.best_checkpoint.exists() else run.last_checkpoint
        trainer.test(classifier, datamodule, tested_checkpoint, weights_only=True, verbose=False)
    except SystemExit:  # what Lightning makes of Ctrl-C and SIGTERM
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from None

    figures = rounded({"val/accuracy": checkpoints.best_accuracy, **test_figures(trainer)})
    if trainer.is_global_zero:
        run.record(
            status="completed",
            epochs=trainer.current_epoch,
            steps=trainer.global_step,
            train_seconds=report.seconds,
            images_per_second=report.images_per_second,
            confusion={"classes": datamodule.class_names, "test": classifier.confusion["test"].tolist()},
            **figures,
        )


def print_closing_line(run: Run) -> None:
    """Print what a job of a sweep came to."""
    metrics = run.metrics()
    log.info(
        "job %s completed: test accuracy %.4f after %.1f s in %s",
        HydraConfig.get().job.num,
        metrics["test/accuracy"],
        metrics["train_seconds"],
        shown(run.directory),
    )


def print_closing_table(run: Run) -> None:
    """Print what the run came to and what to type next."""
    from rich.console import Console
    from rich.table import Table

    metrics = run.metrics()
    rows = {
        "test accuracy": f"{metrics['test/accuracy']:.4f}",
        "test loss": f"{metrics['test/loss']:.4f}",
        "validation accuracy": "none: the last epoch was tested"
        if metrics["val/accuracy"] is None
        else f"{metrics['val/accuracy']:.4f} (best epoch, the one tested)",
        "parameters": f"{metrics['parameters']:,}",
        "epochs": f"{metrics['epochs']} ({metrics['steps']:,} steps)",
        "training seconds": f"{metrics['train_seconds']:.1f}",
        "images/s": f"{metrics['images_per_second']:,.0f}",
        "run directory": shown(run.directory),
        "see it": "tensorboard --logdir outputs",
        "test it again": f"cnn-test run={shown(run.directory)}",
    }
    table = Table("figure", "value", title=f"{metrics['model']} on {metrics['datamodule']}, seed {metrics['seed']}")
    for row in rows.items():
        table.add_row(*row)
    console = Console()
    console.width = max(console.width, max(map(len, rows.values())) + 30)  # what is to be copied must not be broken
    console.print(table)


def discard(run: Run) -> None:
    """Remove the directory of a run that never began, if it holds nothing but Hydra's record and an empty log."""
    shutil.rmtree(run.directory / ".hydra", ignore_errors=True)
    (run.directory / "train.log").unlink(missing_ok=True)
    with suppress(OSError):
        run.directory.rmdir()


if __name__ == "__main__":
    main()
