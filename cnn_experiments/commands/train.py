"""cnn-train: train a network, validate it after each epoch, test its best checkpoint, record everything."""

import logging
import os
import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from cnn_experiments.commands.hydra_command import (
    command,
    known_classes,
    output_directory,
    plain,
    resumed_settings,
    typed_words,
)
from cnn_experiments.commands.sweep import released_at_end
from cnn_experiments.errors import ExperimentError, UserError
from cnn_experiments.runs.claim import claimed
from cnn_experiments.runs.directory import MACHINE_KEYS, RunDirectory, is_first_process, shown, word_for
from cnn_experiments.runs.finished import all_settings
from cnn_experiments.runs.formats import in_terminal
from cnn_experiments.runs.sweep import words_of_resumed_sweep
from cnn_experiments.settings.containers import GROUPS
from cnn_experiments.settings.renamed import modernised

if TYPE_CHECKING:
    from cnn_experiments.evaluation.run import Run
    from cnn_experiments.settings.schema import Settings

log = logging.getLogger(__name__)


def checked_resume(words: list[str]) -> list[str]:
    """The words of the command line; for a resumed sweep, those that it was started with.

    Raises:
        UserError: what ``resume=`` names cannot be resumed. Nothing has been written to it.
    """
    folder = next((word.removeprefix("resume=") for word in words if word.startswith("resume=")), None)
    if not folder:
        return words
    if (Path(folder) / "config.yaml").is_file():
        RunDirectory(Path(folder)).refuse_links()  # Hydra opens train.log before anything else is read
        return words
    return words_of_resumed_sweep(folder, [word for word in words if word != f"resume={folder}"])


@released_at_end()
@command("train", checked_resume, announcement="loading PyTorch and Lightning …")
def main(config: DictConfig) -> float | None:
    """Train as the config says, in the directory that Hydra created."""
    in_sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    directory = RunDirectory(Path(config.resume) if config.resume else output_directory())
    try:
        with claimed(directory) if in_sweep else nullcontext():  # a single run's is claimed before Hydra creates it
            run = train_in(directory, config)
    except Exception as error:
        if not in_sweep:
            raise
        record_failure(directory, error)
        return None
    except KeyboardInterrupt:
        raise interrupted(directory, in_sweep) from None
    if not is_first_process():
        return None
    (print_closing_line if in_sweep else print_closing_table)(run)
    accuracy: float | None = run.metrics.get("val/accuracy")  # what a search maximises
    return accuracy


def train_in(directory: RunDirectory, config: DictConfig) -> "Run":
    """Train in a directory as the config says, or go on with the run that is there."""
    if config.resume:
        directory = RunDirectory.existing(config.resume, "resume")
        settings = resumed_settings(directory, typed_words(), plain(config), known_classes(config))
    else:
        settings = new_settings(config, directory)
    from cnn_experiments.trainers.fit import train

    log_config: Any = OmegaConf.to_container(HydraConfig.get().job_logging, resolve=True)
    return train(settings, directory.path, log_config=log_config, records=hydras_record(config))


def hydras_record(config: DictConfig) -> dict[str, str]:
    """The files in which Hydra records a run. It would write them before it is known whether the run begins."""
    hydra = HydraConfig.get()
    contents = {"config": config, "hydra": {"hydra": hydra}, "overrides": hydra.overrides.task}
    return {f".hydra/{name}.yaml": OmegaConf.to_yaml(content) for name, content in contents.items()}


def new_settings(config: DictConfig, directory: RunDirectory) -> "Settings":
    """The settings of a run in the directory that Hydra created for it.

    If the same run is already there, as in a resumed sweep, it is continued.

    Raises:
        UserError: a setting is wrong, another run is already there, or several machines would each create a directory.
    """
    from cnn_experiments.settings.schema import read_settings

    settings = read_settings(plain(config), known_classes(config), tuple(typed_words()))
    if directory.config_file.exists():
        refuse_another_run(directory, settings)
    if settings.trainer.num_nodes > 1 and not any("run.dir=" in word for word in HydraConfig.get().overrides.hydra):
        raise UserError(
            f"trainer.num_nodes={settings.trainer.num_nodes}: give a folder that all machines see, with "
            "hydra.run.dir=PATH"
        )
    return settings


def refuse_another_run(directory: RunDirectory, settings: "Settings") -> None:
    """Raise a UserError if a directory holds a run with other settings."""
    kept = {key: value for key, value in modernised(directory.config()).items() if key in GROUPS}
    before, now = all_settings(kept), all_settings(settings.config)
    if now["trainer.precision"] == "auto":  # it became one at the beginning of that run, which keeps it
        now["trainer.precision"] = before.get("trainer.precision")
    if now.get("trainer.find_learning_rate"):  # likewise
        now |= {key: before.get(key) for key in ("trainer.find_learning_rate", "model.optimizer.lr")}
    for key in dict.fromkeys([*now, *before]):
        if now.get(key) != before.get(key) and key not in MACHINE_KEYS:
            raise UserError(
                f"hydra.run.dir={shown(directory.path)}: another run is there already ({key} is {before.get(key)} "
                f"there, not {now.get(key)}). Choose another folder"
            )


def record_failure(directory: RunDirectory, error: Exception) -> None:
    """Record that a job of a sweep failed; the other jobs continue."""
    if not directory.config_file.exists():
        directory.record(status="failed", error=str(error) or type(error).__name__)
    unforeseen = not isinstance(error, ExperimentError)
    log.error("job %s failed: %s", HydraConfig.get().job.num + 1, error, exc_info=unforeseen)


def interrupted(directory: RunDirectory, in_sweep: bool) -> KeyboardInterrupt:
    """The exception to raise when the user stopped a run; its message says how to resume, if anything has begun."""
    whole = Path(HydraConfig.get().sweep.dir) if in_sweep else directory.path
    begun = in_sweep or directory.config_file.exists()
    return KeyboardInterrupt(f"Interrupted. Resume with: cnn-train {word_for('resume', whole)}" if begun else "")


def print_closing_line(run: "Run") -> None:
    """Print the outcome of a job of a sweep."""
    rows = run.rows()
    log.info(
        "job %s completed: test accuracy %s after %s s in %s",
        HydraConfig.get().job.num + 1,
        rows["test accuracy"],
        rows["training seconds"],
        shown(run.directory),
    )


def print_closing_table(run: "Run") -> None:
    """Print the outcome of the run and what to type next."""
    from rich.console import Console
    from rich.table import Table

    rows = {
        **run.rows(),
        **commands_that_show(run),
        "test it again": f"cnn-test {word_for('run', run.directory)}",
    }
    table = Table("figure", "value", title=run.title())
    for row in rows.items():
        table.add_row(*map(in_terminal, row))
    console = Console()
    console.width = max(console.width, max(map(len, rows.values())) + 30)  # what is to be copied must not be broken
    console.print(table)


def commands_that_show(run: "Run") -> dict[str, str]:
    """What to type to see a run in the loggers that it wrote to."""
    from cnn_experiments.trainers.loggers import MLFLOW_ADDRESS, MLFLOW_FILE

    rows = {}
    if "tensorboard" in run.settings.loggers:
        rows["see it"] = f"tensorboard --logdir {shlex.quote(folder_of_runs(run))}"
    if "mlflow" in run.settings.loggers and not os.environ.get(MLFLOW_ADDRESS):
        rows["see it in MLflow"] = f"mlflow server --backend-store-uri sqlite:///{MLFLOW_FILE}"
    return rows


def folder_of_runs(run: "Run") -> str:
    """The folder to show a run in TensorBoard with others; the run itself if it has a place of its own."""
    kind = f"{run.settings.model.name}_{run.settings.datamodule.name}"
    return shown(run.directory.parents[1] if run.directory.parent.name == kind else run.directory)


if __name__ == "__main__":
    main()
