"""Reading numpy's .npz files that may come from anybody: plain arrays of bounded size; the rest is refused."""

import io
import math
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn_experiments.errors import UserError
from cnn_experiments.runs.files import read_bytes

# What reading something else raises: numpy's errors, and zipfile's.
DAMAGED = (
    UserError,
    ValueError,
    KeyError,
    OSError,
    EOFError,
    NotImplementedError,
    RecursionError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
PACKED_AS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what numpy writes


def read_arrays(file: Path, names: Sequence[str], most: int) -> dict[str, NDArray[Any]]:
    """Some arrays of an .npz file.

    Args:
        file: the file.
        names: the arrays to read; others are not looked at.
        most: the largest size in bytes of the file, and of each array.

    Raises:
        UserError, ValueError, KeyError and others of `DAMAGED`: it is missing, too large, or holds something else.
    """
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(read_bytes(file, most))) as archive:
        for name in names:
            member = archive.getinfo(f"{name}.npy")
            if member.file_size > most or member.compress_type not in PACKED_AS:
                raise ValueError(f"{name} is too large, or packed in another way than numpy's")
            with archive.open(member) as packed:  # reads no more than the size that it says
                arrays[name] = array_of(packed.read(most))
    return arrays


@contextmanager
def damage_explained(file: Path, what: str) -> Iterator[None]:
    """Explain in one sentence that a file holds something else than a run writes.

    Args:
        file: the file that is read meanwhile.
        what: what it should hold.

    Raises:
        UserError: in the place of whatever of `DAMAGED` reading it raised.
    """
    try:
        yield
    except UserError:
        raise
    except DAMAGED as error:
        raise UserError(f"{file}: these are no {what} that a run writes. Remove it") from error


def array_of(content: bytes) -> NDArray[Any]:
    """The array of an .npy, whose header must name as many bytes as there are, before any memory is taken for them.

    Raises:
        ValueError: it is none, or holds Python objects.
    """
    source = io.BytesIO(content)
    if np.lib.format.read_magic(source) != (1, 0):
        raise ValueError("another version of numpy's format")
    try:
        shape, by_columns, kind = np.lib.format.read_array_header_1_0(source)
    except Exception as error:  # numpy and Python's parser raise whatever the bytes of a foreign file lead them to
        raise ValueError("no header of an array") from error
    shape = tuple(map(int, shape))  # numpy takes true for a size here, and not below
    start, number = source.tell(), math.prod(shape)
    if kind.hasobject or number * kind.itemsize != len(content) - start:
        raise ValueError("an array of another size than it says")
    values = np.frombuffer(content, kind, number, start) if number else np.empty(0, kind)
    array: NDArray[Any] = values.reshape(shape, order="F" if by_columns else "C").copy()
    return array
