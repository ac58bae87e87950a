"""Several processes that train one network together: one for each GPU, or a number of them on the CPU.

If torchrun or SLURM starts them, Lightning joins them by itself. Otherwise they are started here as torchrun would, by
torch's own elastic agent: it watches them, and when one dies it ends the others.
"""

import functools
import getpass
import logging
import logging.config
import os
import signal
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import torch
from filelock import FileLock, Timeout
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from cnn_experiments.errors import ExperimentError, UserError
from cnn_experiments.evaluation.hardware import Hardware


class ProcessEndedError(ExperimentError):
    """One of several processes that train together was ended from outside, and so were the others."""


HANDLED_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def processes_to_start(hardware: Hardware) -> int:
    """The number of processes to start on this machine; 1 if torchrun or SLURM has started them."""
    if "TORCHELASTIC_RUN_ID" in os.environ or int(os.environ.get("SLURM_NTASKS", 1)) > 1:
        return 1
    devices = hardware.devices
    if isinstance(devices, list):
        return len(devices)
    return devices if isinstance(devices, int) and devices > 1 else 1  # what else it may be, Lightning judges


def run_in_processes(
    number: int, function: Callable[..., Any], arguments: tuple[Any, ...], log_config: Mapping[str, Any] | None
) -> None:
    """Run ``function(*arguments)`` in several processes of this machine, and wait until all are done.

    Args:
        number: number of processes.
        function: the function that each of them runs; it and its arguments must be picklable.
        arguments: its arguments.
        log_config: how the first process prints and logs, for `logging.config.dictConfig`.

    Raises:
        UserError, ExperimentError: the function raised it in one of them, or one died. None is left running.
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
    with _handlers_restored():
        try:
            elastic_launch(agent, run_as_one_of_many)(number, function, arguments, log_config)
        except SignalException:
            raise KeyboardInterrupt from None
        except ChildFailedError as error:
            _raise_first_failure(number, error)


@contextmanager
def _handlers_restored() -> Iterator[None]:
    """Restore the signal handlers that the agent replaces; only a main thread has any."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {handled: signal.getsignal(handled) for handled in HANDLED_SIGNALS}
    try:
        yield
    finally:
        for handled, handler in handlers.items():
            signal.signal(handled, handler)


def _raise_first_failure(number: int, error: ChildFailedError) -> NoReturn:
    """Raise the error of the process that failed first."""
    rank, failure = error.get_first_failure()
    if failure.exitcode < 0:
        by = signal.Signals(-failure.exitcode).name
        raise ProcessEndedError(
            f"process {rank} of {number} was ended by {by}, and the others with it. If memory ran out, lower "
            "datamodule.batch_size or the number of processes"
        ) from None
    message = failure.message
    if not isinstance(message, dict):
        raise RuntimeError(f"process {rank} of {number} failed: {message}") from error
    kind, _, text = message["message"].partition(": ")
    known = {kind.__name__: kind for kind in (UserError, ExperimentError)}
    if kind in known:
        raise known[kind](text) from None
    raise RuntimeError(f"process {rank} of {number} failed:\n{message['extraInfo']['py_callstack']}") from None


def run_as_one_of_many(
    number: int, function: Callable[..., Any], arguments: tuple[Any, ...], log_config: Mapping[str, Any] | None
) -> None:
    """What each of the processes runs; the first one prints and logs as a single process would."""
    if os.environ["RANK"] == "0" and log_config is not None:
        logging.config.dictConfig(dict(log_config))
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // number))
    function(*arguments)


@functools.cache
def own_gpu() -> list[int] | None:
    """`trainer.gpus` for one of several processes: a GPU that no other process has, until this process ends.

    Returns:
        A list of one GPU; None if there are not several. If there are more processes than GPUs, some share one.
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
