"""What ends a run through no fault of its settings or of the program, said in one sentence."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cnn_experiments.errors import ExperimentError, UserError
from cnn_experiments.runs.directory import RunDirectory, word_for
from cnn_experiments.runs.files import FULL, cannot_write
from cnn_experiments.trainers.callbacks import EpochReport

OUT_OF_MEMORY = re.compile("can't allocate memory|not enough memory|out of memory")  # what torch says


@contextmanager
def damage_explained(report: EpochReport, last: Path | None) -> Iterator[None]:
    """Say that a checkpoint is damaged if training cannot go on from it, unless memory runs out while it is read.

    Raises:
        UserError: it is, instead of whatever its content leads Lightning to.
    """
    try:
        yield
    except (ExperimentError, OSError):
        raise
    except Exception as error:
        if last is None or report.began or is_lack_of_memory(error):
            raise
        raise damaged(last, error) from error


@contextmanager
def failures_explained(files: RunDirectory) -> Iterator[None]:
    """Say in one sentence what ended a run where neither its settings nor the program are at fault.

    Raises:
        ExperimentError: the disk is full, memory ran out, or a process that loads images has ended or stopped.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise cannot_write(files.path, error) from error
    except (MemoryError, RuntimeError) as error:
        if is_lack_of_memory(error):
            what = "memory ran out"
        elif str(error).startswith("DataLoader"):
            what = f"a process that loads images has ended or stopped ({str(error).partition('. ')[0]})"
        else:
            raise
        raise ExperimentError(
            f"{what}. If there is too little memory, lower datamodule.batch_size or datamodule.num_workers. Resume "
            f"with: cnn-train {word_for('resume', files.path)}"
        ) from error


def is_lack_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out, on the GPU or elsewhere."""
    is_of_torch = isinstance(error, RuntimeError) and OUT_OF_MEMORY.search(str(error)) is not None
    return is_of_torch or isinstance(error, MemoryError)


def damaged(last: Path, error: Exception) -> UserError:
    """What to tell the user about a checkpoint that training cannot continue from."""
    return UserError(
        f"resume: {last} is damaged and training cannot continue from it ({type(error).__name__}). Start a new run"
    )
