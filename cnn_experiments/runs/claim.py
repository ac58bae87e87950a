"""The right to train in a run directory: one process at a time, and no trace if nothing begins."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from cnn_experiments.errors import UserError
from cnn_experiments.runs.directory import RunDirectory, is_first_process, shown
from cnn_experiments.runs.files import FULL, cannot_write, refuse_links

LOCK = ".lock"


class FolderInUseError(UserError):
    """Another process holds a folder."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder, which is created if need be.

    The lock ends with the process that holds it, however that ends. Processes forked from it do not hold it.

    Raises:
        FolderInUseError: another process holds the folder. Nothing has been written.
        UserError: it cannot be written.
        ExperimentError: the disk is full.
    """
    file = folder / LOCK
    if not is_first_process():  # the first one holds it for all that were started together
        yield
        return
    lock = FileLock(file)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        refuse_links(folder, [file])
        lock.acquire(timeout=0)
    except Timeout:
        raise FolderInUseError(
            f"{shown(folder)}: another process is training in this folder. Wait until it has ended, or choose another "
            "folder"
        ) from None
    except OSError as error:
        if error.errno in FULL:
            raise cannot_write(folder, error) from error
        raise UserError(
            f"{shown(folder)}: a run cannot be written here ({error.strerror}). Choose another folder (hydra.run.dir)"
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink()  # before it is released, so that nobody who has come to hold it loses it
        lock.release()


@contextmanager
def claimed(directory: RunDirectory) -> Iterator[None]:
    """Keep other processes from training in a run directory, and leave it as it was found if no run begins in it.

    Raises:
        UserError: another process is training in it, or it cannot be written, or holds folders in the place of files.
        ExperimentError: the disk is full.
    """
    if not is_first_process():
        yield
        return
    existed = directory.path.exists()
    try:
        with locked(directory.path):
            directory.refuse_folders()
            logged = directory.log_file.stat().st_size if directory.log_file.is_file() else None
            try:
                yield
            finally:
                if not directory.config_file.exists():
                    with suppress(OSError):
                        _restore_log(directory.log_file, logged)
    finally:
        if not existed:
            with suppress(OSError):  # something is in it
                directory.path.rmdir()


def _restore_log(file: Path, size: int | None) -> None:
    """Give a log file the size that it had; None if there was none."""
    if size is None:
        file.unlink(missing_ok=True)
    elif file.stat().st_size > size:
        os.truncate(file, size)
