"""launcher=ray: the jobs of a sweep as tasks of Ray, on the machines of a cluster or on this one."""

import logging
import os
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from cnn_experiments.commands.sweep import at_end
from cnn_experiments.errors import ExperimentError, UserError
from cnn_experiments.runs.directory import RunDirectory, word_for
from cnn_experiments.runs.sweep import is_complete

if TYPE_CHECKING:
    from hydra_plugins.hydra_cnn_experiments import RayLauncher

log = logging.getLogger(__name__)

# What Ray reads from the environment. Unless told, it reports its use to its makers, leaves out lines that several jobs
# print, and colours lines in files too.
DEFAULTS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0", "RAY_COLOR_PREFIX": "0"}
OBJECT_STORE = 80 * 2**20  # bytes, about the least that Ray accepts: jobs exchange files, not objects
PASSED_ON = ("CNN_EXPERIMENTS_DATA", "DOGS_VS_CATS")  # variables of this process that say where its data are
SECONDS_TO_STOP = 30.0  # for the jobs to record that they were interrupted
SECONDS_TO_PRINT = 1.0  # for what the last jobs printed to arrive: Ray looks for it every tenth of a second


def launch(launcher: "RayLauncher", job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
    """Run jobs as tasks of Ray, and wait for all of them.

    Ray begins a job again whose process or machine was lost. The job finds its folder and continues from its last
    checkpoint, as a resumed one does. A job that was lost too often is recorded as interrupted, and the others go on.

    Returns:
        What each job returned, in their order; None for a lost one.

    Raises:
        UserError: there is no cluster at the address, or this machine has too little for a job.
    """
    defaults = DEFAULTS | ({"RAY_AUTH_MODE": "token"} if launcher.address and has_token() else {})
    os.environ.update({name: value for name, value in defaults.items() if name not in os.environ})
    import ray

    setup_globals()
    configure_log(launcher.config.hydra.hydra_logging, launcher.config.hydra.verbose)
    if not ray.is_initialized():
        connect(launcher)
    gpus = launcher.gpus_per_job
    if gpus is None:
        gpus = min(1, ray.cluster_resources().get("GPU", 0))
    needs = {"num_cpus": launcher.cpus_per_job, "num_gpus": gpus}
    task = ray.remote(max_retries=launcher.max_retries, **needs)(run)
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    configs, tasks = [], []
    for number, overrides in enumerate(job_overrides, initial_job_idx):
        config = launcher.hydra_context.config_loader.load_sweep_config(launcher.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = f"{config.hydra.job.name}_{number}"
            config.hydra.job.num = number
        job = (launcher.hydra_context, launcher.task_function, config, Singleton.get_state())
        configs.append(config)
        tasks.append(task.options(name=f"job {number + 1}").remote(Path.cwd(), environment, *job))
    try:
        outcomes = [outcome(task, config) for task, config in zip(tasks, configs, strict=True)]
    except KeyboardInterrupt:
        stop(tasks)
        word = word_for("resume", Path(launcher.config.hydra.sweep.dir))
        raise KeyboardInterrupt(f"Interrupted. Resume with: cnn-train {word}") from None
    time.sleep(SECONDS_TO_PRINT)
    return outcomes


def has_token() -> bool:
    """Whether there is a token to show to a cluster. A Ray of this machine's own makes one where there is none."""
    given = any(name in os.environ for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return given or (Path.home() / ".ray" / "auth_token").is_file()


def connect(launcher: "RayLauncher") -> None:
    """Connect to the cluster at the launcher's address, or start Ray on this machine, until the command ends."""
    import ray

    at_end(ray.shutdown)
    quiet = {"configure_logging": False, "logging_level": logging.ERROR}
    if launcher.address is None:
        ray.init(address="local", include_dashboard=False, object_store_memory=OBJECT_STORE, **quiet)
        for key, needed, kind in (
            ("cpus_per_job", launcher.cpus_per_job, "CPU"),
            ("gpus_per_job", launcher.gpus_per_job, "GPU"),
        ):
            there = ray.cluster_resources().get(kind, 0)
            if (needed or 0) > there:
                raise UserError(
                    f"hydra.launcher.{key}={needed:g}: this machine has {there:g}. Give a job no more than that"
                )
        return
    try:
        ray.init(address=launcher.address, **quiet)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"hydra.launcher.address={launcher.address}: no Ray cluster can be reached there with the token of this "
            f"machine, ~/.ray/auth_token ({reason}). Start one with ray start --head, or leave the address out"
        ) from error


def run(
    folder: Path,
    environment: Mapping[str, str],
    hydra_context: HydraContext,
    task_function: TaskFunction,
    config: DictConfig,
    singletons: dict[Any, Any],
) -> JobReturn:
    """Run a job, in a process of Ray's.

    Args:
        folder: the current folder of the process that launched the job.
        environment: variables of that process.
        hydra_context: Hydra's.
        task_function: what runs for each job.
        config: of the job.
        singletons: Hydra's state.

    Raises:
        ExperimentError: the folder is not there.
    """
    try:
        os.chdir(folder)
    except OSError as error:
        raise ExperimentError(f"{folder}: not on the machine {platform.node()} ({error.strerror})") from error
    os.environ.update(environment)
    setup_globals()
    Singleton.set_state(singletons)
    HydraConfig.instance().set_config(config)
    return run_job(
        hydra_context=hydra_context,
        task_function=task_function,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )


def outcome(task: Any, config: DictConfig) -> JobReturn:
    """Wait for a job. One that was lost counts as done, without a result; its run says that it was interrupted."""
    import ray

    try:
        returned: JobReturn = ray.get(task)
        return returned
    except ray.exceptions.RayError as error:
        reason = str(getattr(error, "cause", None) or error).strip().partition("\n")[0]
    log.error("job %d was lost: %s", config.hydra.job.num + 1, reason)
    directory = Path(config.hydra.sweep.dir) / config.hydra.sweep.subdir
    if not is_complete(directory):
        RunDirectory(directory).record(status="interrupted", error=reason)
    return JobReturn(cfg=config, status=JobStatus.COMPLETED)


def stop(tasks: Sequence[Any]) -> None:
    """Press Ctrl-C in all jobs, and give those that run the time to record it."""
    import ray

    for task in tasks:
        ray.cancel(task, force=False)
    ray.wait(list(tasks), num_returns=len(tasks), timeout=SECONDS_TO_STOP)
