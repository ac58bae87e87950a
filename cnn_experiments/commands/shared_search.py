"""sweeper=optuna: a search whose trials are made by any number of processes, through the storage of its study."""

import functools
import logging
import math
import os
import socket
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from hydra.core.utils import JobReturn
from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl, create_params_from_overrides
from omegaconf import OmegaConf
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.trial import Trial, TrialState

from cnn_experiments.errors import ExperimentError

log = logging.getLogger(__name__)

LOCK = ".search.lock"
MAKER = "process"  # attribute of a trial that names the process that makes it
HEARTBEAT = 10  # seconds between the signs of life of a trial
GRACE = 60  # seconds without one after which a trial counts as lost
POLL = 1.0  # seconds between two looks at the trials of other processes


class Search(OptunaSweeperImpl):
    """Hydra's sweeper for Optuna, with another loop over the trials: ``n_trials`` counts those of all processes.

    A process makes trials until the study has enough, and waits for those that others make. While a trial is made, its
    process writes a sign of life into the storage; without one for `GRACE` seconds the trial counts as lost, and
    another one takes its place. A trial that failed counts for the process that made it, so that a search ends in which
    all fail; whoever resumes the search makes others for them.
    """

    def sweep(self, arguments: list[str]) -> None:
        """Make trials until the study has ``n_trials``."""
        if isinstance(self.sampler, functools.partial):  # a grid, which is made by one process
            super().sweep(arguments)
            return
        self._process_searchspace_config()
        distributions, fixed = create_params_from_overrides([*self._parse_sweeper_params_config(), *arguments])
        searched = {name: distribution for name, distribution in distributions.items() if name not in fixed}
        study = self.open_study()
        failed = 0
        while True:
            trials = self.next_trials(study, failed)
            if trials:
                failed += self.make(study, trials, self._configure_trials(trials, searched, fixed))
            elif not study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                break
            else:
                time.sleep(POLL)
        self.write_best(study)

    @property
    def folder(self) -> Path:
        return Path(self.sweep_dir)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from asking for trials."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / LOCK):
            yield

    def open_study(self) -> optuna.Study:
        """The study in the storage, created if need be."""
        storage = self.storage
        with self.alone():  # two processes cannot create the tables, or the study, at once
            if isinstance(storage, str) and not storage.startswith("redis"):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ExperimentalWarning)
                    storage = optuna.storages.RDBStorage(storage, heartbeat_interval=HEARTBEAT, grace_period=GRACE)
            return optuna.create_study(
                study_name=self.study_name,
                storage=storage,
                sampler=self.sampler,
                directions=self._get_directions(),
                load_if_exists=True,
            )

    def next_trials(self, study: optuna.Study, failed: int) -> list[Trial]:
        """The trials to make next, at most ``n_jobs``; none if there are enough.

        Args:
            study: the search.
            failed: how many trials of this process failed.
        """
        storage = study._storage
        with self.alone():
            fail_lost_trials(study)
            counted = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.RUNNING))
            number = max(0, min(self.n_jobs, self.n_trials - len(counted) - failed))
            trials = [study.ask() for _ in range(number)]
            for trial in trials:
                storage.record_heartbeat(trial._trial_id)
                trial.set_system_attr(MAKER, f"{socket.gethostname()} {os.getpid()}")
            return trials

    def make(self, study: optuna.Study, trials: Sequence[Trial], overrides: Sequence[Sequence[str]]) -> int:
        """Run the jobs of some trials, and tell the study their results.

        Returns:
            How many failed.

        Raises:
            ExperimentError: a larger share of them failed than ``max_failure_rate``.
        """
        assert self.launcher is not None
        told = 0
        try:
            with signs_of_life(study, trials):
                returns: Sequence[JobReturn] = self.launcher.launch(overrides, initial_job_idx=trials[0].number)
            values = [result.return_value for result in returns]
            for trial, value in zip(trials, values, strict=True):
                tell(study, trial, value)
                told += 1
        finally:
            for trial in trials[told:]:  # of an interrupted search: others need not wait until they count as lost
                tell(study, trial, None)
        failed = sum(not is_number(value) for value in values)
        if failed / len(trials) > self.max_failure_rate:
            raise ExperimentError(
                f"hydra.sweeper.max_failure_rate={self.max_failure_rate:g}: {failed} of {len(trials)} trials failed"
            )
        return failed

    def write_best(self, study: optuna.Study) -> None:
        """Print and write the best trial, if any was completed."""
        with suppress(ValueError):
            best = study.best_trial
            log.info("best of the search: %s with a validation accuracy of %.4f", best.params, best.value)
            results = {"name": "optuna", "best_params": best.params, "best_value": best.value}
            OmegaConf.save(OmegaConf.create(results), self.folder / "optimization_results.yaml")


def fail_lost_trials(study: optuna.Study) -> None:
    """Have the trials count as failed whose process has ended without a result. Nobody else may ask for trials."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if MAKER not in trial.system_attrs:  # it ended while it asked, or was an earlier version, without signs of life
            study.tell(trial.number, state=TrialState.FAIL)


@contextmanager
def signs_of_life(study: optuna.Study, trials: Sequence[Trial]) -> Iterator[None]:
    """Write signs of life of trials into the storage."""
    storage, stop = study._storage, threading.Event()
    interval = storage.get_heartbeat_interval()

    def write() -> None:
        while not stop.wait(interval):
            for trial in trials:
                with suppress(StorageInternalError):  # busy for a moment; the next one counts as well
                    storage.record_heartbeat(trial._trial_id)
        storage.remove_session()

    thread = threading.Thread(target=write, daemon=True)
    if interval:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        if interval:
            thread.join()


def is_number(value: Any) -> bool:
    """Whether a job returned the accuracy of its run."""
    return isinstance(value, float) and math.isfinite(value)


def tell(study: optuna.Study, trial: Trial, value: Any) -> None:
    """Tell the study what a trial reached; anything but a number is a failure."""
    try:
        if is_number(value):
            study.tell(trial, value)
        else:
            study.tell(trial, state=TrialState.FAIL)
    except RuntimeError:  # the process was held up for so long that others took the trial for lost
        log.warning("trial %d was taken for lost, and another one has its place", trial.number + 1)
