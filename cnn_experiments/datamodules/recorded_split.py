"""Which photograph a run used for what, as ``split.csv`` in its directory says."""

import csv
import hashlib
import io
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cnn_experiments.datamodules.base import PARTS, Part
from cnn_experiments.datamodules.image_cache import Entry
from cnn_experiments.datamodules.splits import Indices
from cnn_experiments.errors import UserError
from cnn_experiments.runs.files import read_text
from cnn_experiments.runs.formats import as_csv

HEADING = ["file", "class", "used for", "content"]
MOST_BYTES = 256 << 20  # of split.csv; two million photographs take that much


class RecordedImage(NamedTuple):
    """A row of ``split.csv``.

    Args:
        file: its path, relative to the folder of all photographs at that time.
        label: name of its class.
        part: what it was used for; empty if for nothing.
        content: digest of the file; empty in the records of early versions.
    """

    file: str
    label: str
    part: str
    content: str = ""


def as_recorded(entries: Iterable[Entry], part_of: Mapping[int, Part]) -> str:
    """The content of ``split.csv``.

    Args:
        entries: the photographs that can be used.
        part_of: what they are used for, by their places among `entries`.
    """
    rows = ((entry.file, entry.label, part_of.get(place, ""), entry.content) for place, entry in enumerate(entries))
    return as_csv(HEADING, rows)


def parsed(text: str) -> list[RecordedImage]:
    """The rows of ``split.csv``.

    Raises:
        ValueError: the text is something else.
    """
    try:
        heading, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    except csv.Error as error:
        raise ValueError(str(error)) from error
    if heading not in (HEADING, HEADING[:-1]) or any(len(row) != len(heading) for row in rows):
        raise ValueError(f"its columns are not {', '.join(HEADING)}")
    return [RecordedImage(*row) for row in rows]


class RecordedSplit:
    """The split of a run.

    Args:
        file: ``split.csv``; it may come from anybody.
        every: whether all of its photographs must be there.
    """

    def __init__(self, file: Path, every: bool) -> None:
        self.file, self.every = file, every

    @cached_property
    def images(self) -> list[RecordedImage]:
        """The photographs, in the order in which they were split.

        Raises:
            UserError: the file is damaged.
        """
        try:
            images = parsed(read_text(self.file, MOST_BYTES))
            wrong = sorted({image.part for image in images} - {"", *PARTS})
            if wrong:
                raise ValueError(f"photographs are used for {wrong[0]!r}, which is none of {', '.join(PARTS)}")
            if not any(image.part == "training" for image in images):
                raise ValueError("no photograph is used for training")
            if len({image.content or image.file for image in images}) < len(images):
                raise ValueError("a photograph is named twice")
        except ValueError as error:
            raise UserError(
                f"{self.file}: this does not say how a run split its photographs ({error}). Restore the file"
            ) from error
        return images

    def find(self, entries: Sequence[Entry], class_number: Callable[[str], int | None]) -> list[Entry | None]:
        """Where the photographs are now.

        They are recognised by their content, whatever they are called now; in early versions' records by their names.

        Args:
            entries: all files that are there now.
            class_number: gives the number of the class that a label means.

        Returns:
            An entry for each of `images`, with its recorded file and label; None for one that is missing, of another
            class, or not usable any more.
        """
        rows = {entry.pixels: entry.row for entry in entries if entry.row is not None}
        here: dict[tuple[str, int | None], Entry] = {}
        for entry in entries:
            if entry.pixels in rows:  # a duplicate too: the same picture may have come under an earlier name since then
                usable = replace(entry, row=rows[entry.pixels], reason=None)
                number = class_number(str(entry.label))
                here.setdefault((entry.content, number), usable)
                here.setdefault((_spelt_alike(entry.file), number), usable)
        found = []
        for image in self.images:
            now = here.get((image.content or _spelt_alike(image.file), class_number(image.label)))
            found.append(None if now is None else replace(now, file=image.file, label=image.label))
        return found

    def positions(self, part: Part) -> Indices:
        """The places of a part's photographs among `images`, in ascending order."""
        return np.array([place for place, image in enumerate(self.images) if image.part == part], dtype=np.int64)


def fingerprint(entries: Iterable[Entry]) -> str:
    """A digest of the names, classes and contents of photographs, as a run records them."""
    digest = hashlib.sha256()
    for image in parsed(as_recorded(entries, {})):
        digest.update(f"{_spelt_alike(image.file)}\0{image.label}\0{image.content}\n".encode())
    return digest.hexdigest()


def _spelt_alike(name: str) -> str:
    """A file's name in the one of Unicode's spellings that all file systems' become."""
    return unicodedata.normalize("NFC", name)
