"""Several processes that train one network together: one for each GPU, or so many on the CPU.

Where torchrun or SLURM starts them, Lightning finds its place among them by itself. Where nobody has, they are started
here, by torch's own elastic agent, as torchrun would: it watches them, and when one dies it ends the others.
"""

import functools
import getpass
import logging
import logging.config
import os
import signal
import tempfile
import uuid
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from cnn_experiments.errors import ExperimentError, UserError
from cnn_experiments.runs import Run, shown
from cnn_experiments.trainers.trainer import choose_devices, convert_gpus

HANDLED_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def processes_to_start(settings: dict[str, Any]) -> int:
    """How many processes the config group ``trainer`` asks for on this machine; 1 where others have started them.

    Raises:
        UserError: `trainer.gpus` asks for more than there are.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ or int(os.environ.get("SLURM_NTASKS", 1)) > 1:
        return 1
    devices = choose_devices(convert_gpus(settings["gpus"]), settings["devices"])[1]
    if isinstance(devices, list):
        return len(devices)
    return devices if isinstance(devices, int) and devices > 1 else 1  # what else it may be, Lightning judges


def train_in_processes(number: int, settings: dict[str, Any], run: Run) -> None:
    """Run ``train(settings, run)`` in so many processes of this machine, and wait until all are done.

    Raises:
        UserError, ExperimentError: what `train` raised in one of them, or one died. None is left running.
        KeyboardInterrupt: this process was told to stop, and has stopped them.
    """
    for name in logging.root.manager.loggerDict:
        if name.startswith(("torch.distributed.elastic", "torch.multiprocessing")):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what they report is raised below
    agent = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=number,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",  # any free port
        local_addr="localhost",
        max_restarts=0,
        monitor_interval=0.2,
        start_method="spawn",
    )
    job_logging = OmegaConf.to_container(HydraConfig.get().job_logging, resolve=True)
    handlers = {handled: signal.getsignal(handled) for handled in HANDLED_SIGNALS}
    try:
        elastic_launch(agent, train_as_one_of_many)(number, settings, run, job_logging)
    except SignalException:
        raise KeyboardInterrupt from None
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            raise ExperimentError(
                f"process {rank} of {number} was ended by {signal.Signals(-failure.exitcode).name}, and the others "
                "with it; where memory ran out, lower datamodule.batch_size or the number of processes. "
                f"Go on with: cnn-train resume={shown(run.directory)}"
            ) from None
        message = failure.message
        if not isinstance(message, dict):
            raise RuntimeError(f"process {rank} of {number} failed: {message}") from error
        kind, _, text = message["message"].partition(": ")
        known = {kind.__name__: kind for kind in (UserError, ExperimentError)}
        if kind in known:
            raise known[kind](text) from None
        raise RuntimeError(f"process {rank} of {number} failed:\n{message['extraInfo']['py_callstack']}") from None
    finally:
        for handled, handler in handlers.items():
            signal.signal(handled, handler)


def train_as_one_of_many(number: int, settings: dict[str, Any], run: Run, job_logging: dict[str, Any]) -> None:
    """What each of the processes does; the first one prints and logs as the command would."""
    from cnn_experiments.train import train

    if os.environ["RANK"] == "0":
        logging.config.dictConfig(job_logging)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // number))
    train(settings, run)


@functools.cache
def own_gpu() -> list[int] | None:
    """`trainer.gpus` for a process that works beside others: a GPU that none of them has, until this process ends.

    Returns:
        None where there are not several to choose from; where there are more processes than GPUs, some share one.
    """
    number = torch.cuda.device_count()
    if number < 2:
        return None
    for gpu in range(number):
        lock = FileLock(Path(tempfile.gettempdir()) / f"cnn_experiments_{getpass.getuser()}_gpu{gpu}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        _held.append(lock)
        return [gpu]
    return [os.getpid() % number]


_held: list[FileLock] = []
