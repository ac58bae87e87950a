"""Several processes that train one network together: one for each GPU, or a number of them on the CPU.

If torchrun or SLURM starts them, Lightning joins them by itself. Otherwise they are started here. They find each other
through a file in a folder that no other user can open, and talk over the loopback interface: nothing can be reached
from another machine, and what one of them unpickles comes from another of them.
"""

import functools
import json
import logging
import logging.config
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, NoReturn

import psutil
import torch
from filelock import FileLock, Timeout

from cnn_experiments.errors import ExperimentError, UserError
from cnn_experiments.evaluation.hardware import Hardware
from cnn_experiments.runs.files import write_errors_explained
from cnn_experiments.settings.schema import TrainerSettings

log = logging.getLogger(__name__)

SECONDS_STOPPED = 10  # for which a process is left stopped
SECONDS_TO_END = 30  # for a process that was told to end, before it is killed
RAISED_AGAIN: dict[str, type[BaseException]] = {
    kind.__name__: kind for kind in (UserError, ExperimentError, KeyboardInterrupt)
}


class ProcessEndedError(ExperimentError):
    """One of several processes that train together was ended from outside, and so were the others."""


def processes_of(settings: TrainerSettings, hardware: Hardware) -> int:
    """The number of processes that train together, on all machines.

    Raises:
        UserError: torchrun or SLURM has started another number of them, or they are to be on several machines and
            nothing has started them there.
    """
    number = hardware.processes * settings.num_nodes
    started = started_by_others()
    if started is None and settings.num_nodes > 1:
        raise UserError(
            f"trainer.num_nodes={settings.num_nodes}: start the processes on all machines, with torchrun or srun"
        )
    if started not in (None, number):
        raise UserError(
            f"trainer: {started} processes were started, but trainer.devices (or trainer.gpus) and trainer.num_nodes "
            f"mean {number}. Start {number}, or set these keys"
        )
    return number


def started_by_others() -> int | None:
    """The number of processes that torchrun or SLURM has started to train together; None if neither has."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return int(os.environ["WORLD_SIZE"])
    tasks = int(os.environ.get("SLURM_NTASKS", 1))
    return tasks if tasks > 1 else None


def run_in_processes(
    hardware: Hardware, function: Callable[..., Any], arguments: tuple[Any, ...], log_config: Mapping[str, Any] | None
) -> None:
    """Run ``function(*arguments)`` in several processes of this machine, and wait until all are done.

    Args:
        hardware: what they compute on.
        function: the function that each of them runs; it and its arguments must be picklable.
        arguments: its arguments.
        log_config: how the first process prints and logs, for `logging.config.dictConfig`.

    Raises:
        UserError, ExperimentError: the function raised it in one of them, or one died. None is left running.
        KeyboardInterrupt: this process was told to stop, and has stopped them.
    """
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory(prefix="cnn_experiments_") as meeting_place,
        _signals_interrupt(),
        stopped_children_continued(),
    ):
        folder = Path(meeting_place)
        workers = [
            context.Process(target=run_as_one_of_many, args=(rank, hardware, folder, function, arguments, log_config))
            for rank in range(hardware.processes)
        ]
        try:
            for worker in workers:
                worker.start()
            _wait(workers)
        finally:
            ended = {rank: worker.exitcode for rank, worker in enumerate(workers) if worker.exitcode}
            _end(workers)
        if ended:
            _raise_first_failure(folder, hardware.processes, ended)


@contextmanager
def stopped_children_continued() -> Iterator[None]:
    """Continue child processes that something has stopped, for which this process would wait without end.

    If this process is stopped with them, as by Ctrl-Z, nothing is done: they are continued together.
    """
    before = {child.pid for child in multiprocessing.active_children()}
    done = threading.Event()

    def watch() -> None:
        seen: set[int] = set()
        while not done.wait(SECONDS_STOPPED):
            pids = [child.pid for child in multiprocessing.active_children() if child.pid not in before]
            stopped = {pid for pid in pids if pid is not None and is_stopped(pid)}
            for pid in stopped & seen:
                log.warning("process %d, which works for this one, had been stopped and is continued", pid)
                os.kill(pid, signal.SIGCONT)
            seen = stopped

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def is_stopped(pid: int) -> bool:
    """Whether a process has been stopped, as by Ctrl-Z or a debugger."""
    with suppress(psutil.Error):
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    return False


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Take the signals that end a process for Ctrl-C, so that the processes it has started are ended first."""
    handlers = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    handlers = {name: handler for name, handler in handlers.items() if handler != signal.SIG_IGN}  # as nohup wants it
    if threading.current_thread() is not threading.main_thread():  # only a main thread can have handlers
        handlers.clear()
    try:
        for name in handlers:
            signal.signal(name, signal.default_int_handler)
        yield
    finally:
        for name, handler in handlers.items():
            signal.signal(name, handler)


def _wait(workers: Sequence[SpawnProcess]) -> None:
    """Wait until all processes have ended, or one has failed."""
    running = list(workers)
    while running and not any(worker.exitcode for worker in workers):
        multiprocessing.connection.wait([worker.sentinel for worker in running])
        running = [worker for worker in running if worker.exitcode is None]


def _end(workers: Sequence[SpawnProcess]) -> None:
    """End the processes that are still running, and wait until they have ended."""
    running = [worker for worker in workers if worker.is_alive()]
    for worker in running:
        worker.terminate()
    deadline = time.monotonic() + SECONDS_TO_END
    for worker in running:
        worker.join(max(0.0, deadline - time.monotonic()))
        if worker.is_alive():  # stopped, or deep in a computation
            worker.kill()
            worker.join()


def _raise_first_failure(folder: Path, number: int, ended: Mapping[int, int]) -> NoReturn:
    """Raise the error of the process that failed first, given the exit codes of those that had failed by themselves.

    When one dies, the others may fail a moment later because they have lost it: theirs is not the cause.
    """
    failures = [json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("failure*.json")]
    failures.sort(key=lambda failure: (failure["kind"] not in RAISED_AGAIN, failure["time"]))
    if failures and failures[0]["kind"] in RAISED_AGAIN:
        raise RAISED_AGAIN[failures[0]["kind"]](failures[0]["message"])
    for rank, code in ended.items():
        if code < 0:
            raise ProcessEndedError(
                f"process {rank} of {number} was ended by {signal.Signals(-code).name}, and the others with it. If "
                "memory ran out, lower datamodule.batch_size or the number of processes"
            )
    if failures:
        raise RuntimeError(f"process {failures[0]['rank']} of {number} failed:\n{failures[0]['traceback']}")
    raise ProcessEndedError(f"process {min(ended)} of {number} ended with exit status {ended[min(ended)]}")


def run_as_one_of_many(
    rank: int,
    hardware: Hardware,
    folder: Path,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    log_config: Mapping[str, Any] | None,
) -> None:
    """What each of the processes runs; the first one prints and logs as a single process would."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    number = hardware.processes
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), NODE_RANK="0", WORLD_SIZE=str(number))
    if rank == 0 and log_config is not None:
        logging.config.dictConfig(dict(log_config))
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // number))
    try:
        _join_others(rank, hardware, folder)
        function(*arguments)
        torch.distributed.destroy_process_group()
    except BaseException as error:
        failure = {
            "rank": rank,
            "time": time.time(),
            "kind": type(error).__name__,
            "message": str(error),
            "traceback": traceback.format_exc(),
        }
        partial = folder / f"part{rank}"
        partial.write_text(json.dumps(failure), encoding="utf-8")
        partial.rename(folder / f"failure{rank}.json")
        sys.exit(1)


def _end_with_parent() -> None:
    """End this process, however busy it is, when the one that started it has ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)


def _join_others(rank: int, hardware: Hardware, folder: Path) -> None:
    """Form the group of processes. Lightning finds it formed, and would otherwise open a port to all machines."""
    loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
    if loopback:
        os.environ.update(GLOO_SOCKET_IFNAME=loopback, NCCL_SOCKET_IFNAME=loopback)
    store = torch.distributed.FileStore(str(folder / "store"), hardware.processes)  # type: ignore[attr-defined]
    backend = "nccl" if hardware.accelerator == "gpu" else "gloo"
    torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=hardware.processes)


@functools.cache
def own_gpu() -> list[int] | None:
    """`trainer.gpus` for one of several processes: a GPU that no other process has, until this process ends.

    Returns:
        A list of one GPU; None if there are not several. If there are more processes than GPUs, some share one.
    """
    number = torch.cuda.device_count()
    if number < 2:
        return None
    # Where nobody else can put or hold anything.
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cnn_experiments"
    with write_errors_explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for gpu in range(number):
        lock = FileLock(folder / f"{socket.gethostname()}_gpu{gpu}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        _held.append(lock)
        return [gpu]
    return [os.getpid() % number]


_held: list[FileLock] = []
