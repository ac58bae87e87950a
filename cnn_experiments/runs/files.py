"""Writing files completely or not at all, and reading them only up to a size."""

import errno
import logging
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cnn_experiments.errors import ExperimentError, UserError

# Why writing fails where the program is not at fault, and what to do about it.
FULL = {errno.ENOSPC: "Free some space", errno.EDQUOT: "Free some space, or ask for a larger quota"}
ADVICE = {
    **FULL,
    errno.EROFS: "Choose another folder",
    errno.EACCES: "Make it writable, or choose another folder",
    errno.EPERM: "Make it writable, or choose another folder",
}
# To open a pipe without waiting for somebody to write into it; Windows, where no file is one, knows no such flag.
NOT_WAITING = getattr(os, "O_NONBLOCK", 0)


def write_bytes(file: Path, content: bytes) -> None:
    """Write a file atomically: a concurrent reader sees the old content or the new, never a part.

    The content is on the disk before it takes the place of the old one. A symbolic link of that name is replaced by the
    file; its target is not touched.

    Raises:
        ExperimentError: the disk is full, or the folder cannot be written. The old file is left.
    """
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    with write_errors_explained(file):
        try:
            with temporary.open("xb") as target:  # x: never an existing file, and never through a link
                target.write(content)
                target.flush()
                os.fsync(target.fileno())
            os.replace(temporary, file)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def remove_unfinished(folder: Path) -> None:
    """Remove what writing left in a folder and those in it, one level deep, when the process was killed."""
    for file in [*folder.glob(".*"), *folder.glob("*/.*")]:
        if re.fullmatch(r"\..+\.[0-9a-f]{16}", file.name) and file.is_file() and not file.is_symlink():
            file.unlink()


def write_text(file: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8; see `write_bytes`."""
    write_bytes(file, text.encode())


@contextmanager
def write_errors_explained(place: Path) -> Iterator[None]:
    """Explain in one sentence why nothing can be written.

    Args:
        place: the file or folder that is written to.

    Raises:
        ExperimentError: in the place of an OSError that says that the disk is full or that writing is not allowed.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in ADVICE:
            raise
        raise cannot_write(place, error) from error


def cannot_write(place: Path, error: OSError) -> ExperimentError:
    """What to tell the user when a file or folder cannot be written."""
    return ExperimentError(f"{place}: cannot be written ({error.strerror}). {ADVICE[error.errno or 0]}")


class LogFile(logging.FileHandler):
    """A log file whose trouble ends nothing: that the disk is full is said where more than a message is lost."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """Print no traceback for a message that cannot be written."""

    def close(self) -> None:
        with suppress(OSError):
            super().close()


def read_bytes(file: Path, most: int) -> bytes:
    """The content of a file.

    Args:
        file: a file that may come from anybody.
        most: the largest size in bytes.

    Raises:
        UserError: it is missing, not a regular file, or too large.
    """
    if not file.is_file():
        raise UserError(f"{file}: there is no such file")
    with open(file, "rb", opener=lambda path, flags: os.open(path, flags | NOT_WAITING)) as source:
        if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):  # a pipe or a device would never end
            raise UserError(f"{file}: there is no such file")
        content = source.read(most + 1)
    if len(content) > most:
        raise UserError(f"{file}: the file has more than {most:,} bytes, which no run writes. Remove or replace it")
    return content


def read_text(file: Path, most: int) -> str:
    """The content of a text file in UTF-8.

    Args:
        file: a file that may come from anybody.
        most: the largest size in bytes.

    Raises:
        UserError: it is missing, not a regular file, too large, or not text.
    """
    try:
        return read_bytes(file, most).decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: this is no text in UTF-8. Remove or replace it") from error


def refuse_links(directory: Path, paths: list[Path]) -> None:
    """Raise if one of the paths in a directory is a symbolic link: writing to it would write elsewhere.

    Raises:
        UserError: there is one.
    """
    for path in paths:
        if path.is_symlink():
            raise UserError(
                f"{path}: this is a symbolic link, and what is written here could land outside {directory}. "
                "Put the file or folder itself in its place"
            )
