"""Commands in processes that begin within a fraction of a second: forked from one that has imported everything."""

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from cnn_experiments.datamodules import mnist_files
from tests.made_data import make_digits, make_photographs

CHECKSUMS = "ENDURANCE_CHECKSUMS"  # of the drawn digits; processes that the commands start read them from here
if CHECKSUMS in os.environ:
    mnist_files.CHECKSUMS = json.loads(os.environ[CHECKSUMS])

# What Python reports before it changes something on disk.
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}


@contextmanager
def made_data() -> Iterator[Path]:
    """A temporary folder with drawn data, which commands started from here use in place of real data.

    Yields:
        The folder; it is removed at the end.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory(prefix="endurance-") as temporary:
        folder = Path(temporary)
        mnist_files.CHECKSUMS = make_digits(folder / "data")
        os.environ[CHECKSUMS] = json.dumps(mnist_files.CHECKSUMS)
        make_photographs(folder / "photographs")
        os.environ["CNN_EXPERIMENTS_DATA"] = str(folder / "data")
        os.environ["DOGS_VS_CATS"] = str(folder / "photographs")
        yield folder


def import_everything() -> None:
    """Import what training needs, so that forked processes have it."""
    import albumentations  # noqa: F401
    import cv2
    import tensorboard.summary.writer.event_file_writer  # noqa: F401

    import cnn_experiments.commands.train
    import cnn_experiments.inspection.pictures
    import cnn_experiments.trainers.fit  # noqa: F401

    cv2.setNumThreads(0)


class Command:
    """``cnn-train`` in a process of its own, in a process group of its own.

    Args:
        folder: where it runs.
        words: its arguments.
        log: file to which it prints; what is there is kept.
        die_at: it kills itself before the change on disk of this number, counted from 0; None for never.
        environment: variables to set.
        count_changes_in: at its end it writes the number of its changes on disk to this file.
    """

    def __init__(
        self,
        folder: Path,
        words: Iterable[str],
        log: Path,
        die_at: int | None = None,
        environment: dict[str, str] | None = None,
        count_changes_in: Path | None = None,
    ) -> None:
        self.began = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            _be_the_command(folder, list(words), log, die_at, environment or {}, count_changes_in)
        self.status: int | None = None

    def poll(self) -> int | None:
        """Exit status, negative for the signal that ended it; None while it runs."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def wait(self, seconds: float = 600) -> int | None:
        """Wait for its end at most so long; the exit status, or None if it still runs."""
        end = time.monotonic() + seconds
        while self.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        return self.status

    def kill(self) -> None:
        """SIGKILL to the process and, as a machine that loses power, to all processes that it started."""
        with suppress(psutil.NoSuchProcess):
            family = [psutil.Process(self.pid), *psutil.Process(self.pid).children(recursive=True)]
            for process in family:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(family[1:], timeout=20)
        self.wait(20)


def _be_the_command(
    folder: Path,
    words: list[str],
    log: Path,
    die_at: int | None,
    environment: dict[str, str],
    count_changes_in: Path | None,
) -> None:
    status = 1
    try:
        os.setsid()
        os.chdir(folder)
        os.environ.update(environment)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for standard in (1, 2):
            os.dup2(descriptor, standard)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        counter = _ChangeCounter(die_at)
        sys.addaudithook(counter)
        sys.argv = ["cnn-train", *words]

        import torch

        from cnn_experiments.commands import resolvers, train

        torch.set_num_threads(1)
        resolvers.unique_name.cache_clear()
        try:
            train.main()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        if count_changes_in is not None:
            count_changes_in.write_text(str(counter.changes))
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class _ChangeCounter:
    """An audit hook that counts what this process changes on disk, and kills it before a chosen change."""

    def __init__(self, die_at: int | None) -> None:
        self.process, self.die_at, self.changes = os.getpid(), die_at, 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in CHANGES and not (event == "open" and self.opens_for_writing(*arguments)):
            return
        if os.getpid() != self.process:  # a worker that loads data
            return
        if self.changes == self.die_at:
            os.kill(self.process, signal.SIGKILL)
        self.changes += 1

    @staticmethod
    def opens_for_writing(path: Any, mode: Any, flags: int) -> bool:
        return bool(flags & (os.O_WRONLY | os.O_RDWR)) and not str(path).startswith("/dev/")
