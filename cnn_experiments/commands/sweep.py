"""The beginning and end of a run or sweep: Hydra's callbacks around its jobs."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from cnn_experiments.commands.hydra_command import fail
from cnn_experiments.errors import ExperimentError, UserError
from cnn_experiments.runs.claim import claimed, locked
from cnn_experiments.runs.directory import RunDirectory, shown
from cnn_experiments.runs.sweep import RECORD, write_record

_claims = ExitStack()


@contextmanager
def claims_released() -> Iterator[None]:
    """Release at the end of a command what it has claimed: the folder of its run or sweep."""
    with _claims:
        yield


def claim(folder: AbstractContextManager[None]) -> None:
    """Keep other processes out of a folder until the end of the command, or end the command if one is there."""
    try:
        _claims.enter_context(folder)
    except ExperimentError as error:  # Hydra would only warn of what a callback raises
        fail(str(error), 2 if isinstance(error, UserError) else 1)


class Claim(Callback):
    """Claims the directory of a run before Hydra or the run writes to it."""

    def on_run_start(self, config: DictConfig, **settings: Any) -> None:
        claim(claimed(RunDirectory(Path(config.resume or config.hydra.run.dir))))


def folder_of_jobs(folder: Path) -> Path:
    """The folder in which TensorBoard names the runs of a sweep by what was swept alone, if one holds them all."""
    from cnn_experiments.runs.finished import run_directories

    kinds = {run.path.parent for run in run_directories([folder])}
    return kinds.pop() if len(kinds) == 1 else folder


class Sweep(Callback):
    """Claims the folder of a sweep, records how a sweep was started, and compares its runs when all are done.

    The process exits with status 1 if a run did not complete.
    """

    def on_multirun_start(self, config: DictConfig, **settings: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        claim(locked(folder))
        if not (folder / RECORD).exists():
            search = None
            if "n_trials" in config.hydra.sweeper:
                search = {"trials": config.hydra.sweeper.n_trials, "seed": config.hydra.sweeper.sampler.seed}
            overrides = config.hydra.overrides
            write_record(folder, list(overrides.task), list(overrides.hydra), search)

    def on_multirun_end(self, config: DictConfig, **settings: Any) -> None:
        from cnn_experiments.runs.comparison import compare
        from cnn_experiments.runs.tables import print_comparison, write_comparison

        folder = Path(config.hydra.sweep.dir)
        comparison = compare(folder)
        print_comparison(comparison)
        if "tensorboard" in config.logger:
            print(f"see the curves: tensorboard --logdir {shlex.quote(shown(folder_of_jobs(folder)))}")
        for file in write_comparison(comparison, folder):
            print(f"written: {file}")
        if comparison.others:
            sys.exit(1)
