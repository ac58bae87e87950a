"""The beginning and end of a run or sweep: Hydra's callbacks around its jobs."""

import logging
import math
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, read_write

from cnn_experiments.commands.hydra_command import fail
from cnn_experiments.errors import ExperimentError, UserError
from cnn_experiments.runs.claim import FolderInUseError, claimed, locked
from cnn_experiments.runs.directory import RunDirectory, is_first_process, shown, word_for
from cnn_experiments.runs.formats import duration
from cnn_experiments.runs.sweep import (
    RECORD,
    is_complete,
    is_setting_of_jobs,
    number_completed,
    read_record,
    write_record,
)

log = logging.getLogger(__name__)
_until_end = ExitStack()


@contextmanager
def released_at_end() -> Iterator[None]:
    """Release at the end of a command what it has claimed or started: the folder of its run or sweep, or Ray."""
    with _until_end:
        yield


def at_end(function: Callable[[], Any]) -> None:
    """Call a function when the command ends, however it ends."""
    _until_end.callback(function)


def claim(folder: AbstractContextManager[None]) -> None:
    """Keep other processes out of a folder until the end of the command, or end the command if one is there."""
    try:
        _until_end.enter_context(folder)
    except ExperimentError as error:  # Hydra would only warn of what a callback raises
        fail(str(error), 2 if isinstance(error, UserError) else 1)


class Claim(Callback):
    """Claims the directory of a run before Hydra or the run writes to it."""

    def on_run_start(self, config: DictConfig, **settings: Any) -> None:
        claim(claimed(RunDirectory(Path(config.resume or config.hydra.run.dir))))


@contextmanager
def shared_search(folder: Path, config: DictConfig) -> Iterator[None]:
    """The right to take part in a search in a folder, which others may do at the same time.

    The first one holds the folder, as other sweeps do. The sampler of any other is not given the seed, with which it
    would draw the same trials.

    Raises:
        UserError: another search is there; or a sweep of another kind runs there.
    """
    if (folder / RECORD).exists():
        refuse_another_search(folder, config.hydra.overrides.task)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder))
        except FolderInUseError:
            if not (folder / RECORD).exists():
                raise
            with read_write(config.hydra):
                config.hydra.sweeper.sampler.seed = None
            log.info("%s: another process makes trials of this search too", shown(folder))
        yield


def refuse_another_search(folder: Path, words: Iterable[str]) -> None:
    """Raise a UserError if a folder holds a sweep that was begun with other settings."""
    record = read_record(folder)
    kept = {word for word in record.task if is_setting_of_jobs(word)}
    typed = {word for word in words if is_setting_of_jobs(word)}
    if kept != typed or not record.search:
        raise UserError(
            f"hydra.sweep.dir={shown(folder)}: another sweep is there already. To take part in it: cnn-train "
            f"{word_for('resume', folder)}; or choose another folder"
        )


def folder_of_jobs(folder: Path) -> Path:
    """The folder in which TensorBoard names the runs of a sweep by what was swept alone, if one holds them all."""
    from cnn_experiments.runs.finished import run_directories

    kinds = {run.path.parent for run in run_directories([folder])}
    return kinds.pop() if len(kinds) == 1 else folder


class Sweep(Callback):
    """Claims the folder of a sweep, records how a sweep was started, and compares its runs when all are done.

    Each job begins with a line that says which it is and, if the jobs run one after the other, how long all the others
    will take at the mean of those that were completed. Jobs in other processes each have a copy of this object as it
    was when the sweep began.

    The process exits with status 1 if a run did not complete, or was refused a folder in which another one had.
    """

    def __init__(self) -> None:
        self.jobs: int | None = None  # None: not known
        self.fixed: set[str] = set()  # keys that were typed with one value
        self.to_do = 0  # of these, including the one that runs
        self.seconds: list[float] = []  # of each job that was completed here
        self._since = 0.0
        self._is_new = True
        self._refused = False  # a job that this process ran

    def on_multirun_start(self, config: DictConfig, **settings: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        overrides, sweeper = config.hydra.overrides, config.hydra.sweeper
        can_be_shared = "n_trials" in sweeper and "seed" in sweeper.sampler
        claim(shared_search(folder, config) if can_be_shared else locked(folder))
        self.jobs = number_of_jobs(config)
        words = parsed(overrides.task)
        self.fixed = {word.get_key_element() for word in words if not word.is_sweep_override()}
        self.to_do = (self.jobs or 0) - number_completed(folder)
        if not (folder / RECORD).exists():
            search = None
            if "n_trials" in sweeper:
                search = {"trials": sweeper.n_trials, "seed": sweeper.sampler.get("seed")}
            write_record(folder, list(overrides.task), list(overrides.hydra), search)

    def on_job_start(self, config: DictConfig, **settings: Any) -> None:
        if config.hydra.mode != RunMode.MULTIRUN or not is_first_process():
            return
        number = config.hydra.job.num + 1
        of_all = f" of {self.jobs}" if self.jobs and number <= self.jobs else ""  # a search replaces failed trials
        swept = ", ".join(word for word in config.hydra.overrides.task if word.partition("=")[0] not in self.fixed)
        time_left = ""
        if self.seconds and self.jobs:
            time_left = f"; about {duration(self.to_do * sum(self.seconds) / len(self.seconds))} left for the sweep"
        log.info("job %d%s%s%s", number, of_all, f": {swept}" if swept else "", time_left)
        self._since, self._is_new = time.monotonic(), not is_complete(Path(config.hydra.runtime.output_dir))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **settings: Any) -> None:
        if is_first_process() and job_return.status == JobStatus.COMPLETED:
            self._refused |= job_return.return_value is None
        self.to_do -= self._is_new
        if self._is_new and is_complete(Path(config.hydra.runtime.output_dir)):
            self.seconds.append(time.monotonic() - self._since)

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
        if comparison.others or self._refused:
            sys.exit(1)


def number_of_jobs(config: DictConfig) -> int | None:
    """How many jobs a sweep has, None if its sweeper does not say."""
    sweeper = config.hydra.sweeper
    if "n_trials" in sweeper:
        return int(sweeper.n_trials)
    if not sweeper._target_.endswith(".BasicSweeper"):
        return None
    words = [f"{key}={value}" for key, value in (sweeper.params or {}).items()] + list(config.hydra.overrides.task)
    try:
        choices = {
            word.get_key_element(): len(list(word.sweep_string_iterator())) if word.is_sweep_override() else 1
            for word in parsed(words)
        }
    except HydraException:  # of what it cannot sweep, or what it must look up in conf/ first
        return None
    return math.prod(choices.values())


def parsed(words: Iterable[str]) -> list[Override]:
    """Words of the command line that set something, as Hydra understands them."""
    overrides: list[Override] = OverridesParser.create().parse_overrides(list(words))
    return overrides
