"""Writing files completely or not at all, and reading them only up to a size."""

import os
import secrets
from pathlib import Path

from cnn_experiments.errors import UserError


def write_bytes(file: Path, content: bytes) -> None:
    """Write a file atomically: a concurrent reader sees the old content or the new, never a part.

    A symbolic link of that name is replaced by the file; its target is not touched.
    """
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as target:  # x: never an existing file, and never through a link
            target.write(content)
        os.replace(temporary, file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(file: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    write_bytes(file, text.encode())


def read_text(file: Path, most: int) -> str:
    """The content of a text file in UTF-8.

    Args:
        file: a file that may come from anybody.
        most: the largest size in bytes.

    Raises:
        UserError: it is missing, not a regular file, too large, or not text.
    """
    if not file.is_file():  # a pipe or a device would never end
        raise UserError(f"{file}: there is no such file")
    with file.open("rb") as source:
        content = source.read(most + 1)
    if len(content) > most:
        raise UserError(f"{file}: the file has more than {most:,} bytes, which no run writes. Remove or replace it")
    try:
        return content.decode()
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
