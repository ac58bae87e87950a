"""A folder of photographs, looked through once: what is sound lies in one file of bytes, the rest in a list.

A cache is a folder with

images.bin    the sound images, one after the other, bytes (size, size, 3) each
index.jsonl   a line for each file: its class, width, height, and either its row in images.bin or why it has none

Both are written as the files are read, into a folder whose name ends in ``.unfinished``, so that an interrupted
preparation goes on where it stopped; the folder gets its own name when all is done.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cnn_experiments.datamodules.photographs import UnusableImageError, read_photograph
from cnn_experiments.datamodules.resizing import Resizing
from cnn_experiments.errors import UserError

VERSION = 1  # of the two files' layout; caches of another version are made anew
CHUNK = 256  # files between two entries in the journal


class Photograph(NamedTuple):
    """A file and the class it is said to show; None where nothing says so."""

    path: Path
    label: str | None


@dataclass
class Entry:
    """What is known of a file.

    ``moments`` are means over the pixels of the resized image, from 0 to 255: of red, green, blue, then of their
    products rr, rg, rb, gg, gb, bb.
    """

    file: str
    label: str | None
    width: int = 0
    height: int = 0
    row: int | None = None
    reason: str | None = None
    content: str = ""  # a digest of the file
    pixels: str = ""  # a digest of the picture; empty where there is none
    moments: tuple[float, ...] = ()


class ImageCache:
    """The sound images of a folder, read from disk as they are asked for; it costs no memory but the page cache."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.size = folder, size
        self._images: np.ndarray | None = None

    def entries(self) -> list[Entry]:
        """What is known of every file, in the order of their names."""
        with (self.folder / "index.jsonl").open() as lines:
            next(lines)
            return [Entry(**json.loads(line)) for line in lines]

    def __getitem__(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Images as bytes, shape (len(rows), size, size, 3)."""
        if self._images is None:  # opened in each process on its own
            self._images = np.memmap(self.folder / "images.bin", np.uint8, "r").reshape(-1, self.size, self.size, 3)
        return self._images[rows]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_images": None}


def prepare_cache(photographs: Sequence[Photograph], root: Path, resizing: Resizing, parent: Path) -> ImageCache:
    """Read, judge and resize every file, unless that has been done.

    Args:
        photographs: the files, in the order that decides which of two equal ones is kept.
        root: the folder they lie in; the cache names them relative to it.
        resizing: how they become squares.
        parent: the folder of all caches.

    Raises:
        UserError: the cache cannot be written, or the disk has no room for it.
    """
    signature = {"version": VERSION, **asdict(resizing), "source": str(root.resolve()), "files": _listing(photographs)}
    name = "-".join([root.name, str(resizing.size), resizing.method, resizing.interpolation, _digest(signature)])
    folder = parent / name
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with FileLock(parent / f"{name}.lock"):
            if not _is_whole(folder, resizing.size):
                shutil.rmtree(folder, ignore_errors=True)
                _build(photographs, root, resizing, folder)
    except OSError as error:
        raise UserError(
            f"datamodule.data_dir: cannot write the cache {folder} ({error.strerror or error}). Choose another folder "
            "or make room; what is done is kept"
        ) from error
    return ImageCache(folder, resizing.size)


def _listing(photographs: Iterable[Photograph]) -> str:
    """A digest of the files' names, sizes and dates: another one if any of them changes."""
    digest = hashlib.sha256()
    for path, label in photographs:
        status = path.stat()
        digest.update(f"{path}\0{label}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _digest(signature: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(signature, sort_keys=True).encode()).hexdigest()[:12]


def _is_whole(folder: Path, size: int) -> bool:
    """Whether a finished cache of this version lies there, with as many images as its index says."""
    index, images = folder / "index.jsonl", folder / "images.bin"
    if not (index.is_file() and images.is_file()):
        return False
    with index.open() as lines:
        try:
            head = json.loads(next(lines))
        except (StopIteration, ValueError):
            return False
    return head.get("version") == VERSION and images.stat().st_size == head.get("images", -1) * size * size * 3


def _build(photographs: Sequence[Photograph], root: Path, resizing: Resizing, folder: Path) -> None:
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    unfinished.mkdir(exist_ok=True)
    bytes_each = resizing.size**2 * 3
    with (unfinished / "journal.jsonl").open("a+") as journal, (unfinished / "images.bin").open("ab") as images:
        done = _read_journal(journal)
        rows = sum(entry.row is not None for entry in done)
        images.truncate(rows * bytes_each)
        needed = (len(photographs) - len(done)) * bytes_each
        free = shutil.disk_usage(unfinished).free
        if needed > free:
            raise UserError(
                f"datamodule.data_dir: the cache {folder} takes up to {needed / 2**30:.1f} GiB more, but the disk has "
                f"{free / 2**30:.1f} GiB left. Make room, choose another folder, or a smaller datamodule.resizing.size"
            )
        judge = _Judge(root, resizing, done)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with (
            ThreadPoolExecutor(os.cpu_count()) as pool,
            Progress(*columns, console=Console(stderr=True), transient=True) as progress,
        ):
            task = progress.add_task("reading photographs", total=len(photographs), completed=len(done))
            for chunk in _chunks(photographs[len(done) :]):
                for entry, image in map(judge.accept, pool.map(judge.look, chunk)):
                    if image is not None:
                        images.write(image.tobytes())
                    done.append(entry)
                images.flush()
                journal.writelines(json.dumps(asdict(entry)) + "\n" for entry in done[-len(chunk) :])
                journal.flush()
                progress.advance(task, len(chunk))
    judge.set_contradictions_aside(done)
    with (unfinished / "index.jsonl").open("w") as index:
        index.write(json.dumps({"version": VERSION, "images": judge.rows}) + "\n")
        index.writelines(json.dumps(asdict(entry)) + "\n" for entry in done)
    (unfinished / "journal.jsonl").unlink()
    os.replace(unfinished, folder)


def _read_journal(journal: IO[str]) -> list[Entry]:
    """The entries of an interrupted preparation; a line that was cut off in the middle is dropped."""
    journal.seek(0)
    entries, sound = [], 0
    for line in iter(journal.readline, ""):
        if not line.endswith("\n"):
            break
        entries.append(Entry(**json.loads(line)))
        sound = journal.tell()
    journal.truncate(sound)
    return entries


def _chunks(photographs: Sequence[Photograph]) -> Iterator[list[Photograph]]:
    rest = iter(photographs)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk


class _Judge:
    """Decides file by file what is used; remembers what it has seen."""

    def __init__(self, root: Path, resizing: Resizing, seen: Iterable[Entry]) -> None:
        self.root, self.resizing = root, resizing
        self.rows = 0
        self.by_pixels: dict[str, Entry] = {}
        self.contradicted: set[str] = set()
        for entry in seen:
            self.remember(entry)

    def look(self, photograph: Photograph) -> tuple[Entry, np.ndarray | None]:
        """An entry for a file by itself, and its image, resized, if it is sound."""
        entry = Entry(photograph.path.relative_to(self.root).as_posix(), photograph.label)
        try:
            content = photograph.path.read_bytes()
            entry.content = hashlib.sha256(content).hexdigest()[:32]
            if photograph.label is None:
                raise UnusableImageError("of no class: it lies in no class folder, and its name begins with none")
            image = read_photograph(photograph.path, content)
        except UnusableImageError as unusable:
            entry.reason = str(unusable)
            return entry, None
        except OSError as error:
            entry.reason = f"cannot be read ({error.strerror})"
            return entry, None
        entry.height, entry.width = image.shape[:2]
        entry.pixels = hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).hexdigest()[:32]
        small = self.resizing(image)
        colours = small[::2, ::2].reshape(-1, 3).astype(np.float32)
        products = colours.T @ colours / len(colours)
        entry.moments = tuple(float(f"{value:.7g}") for value in (*colours.mean(0), *products[np.triu_indices(3)]))
        return entry, small

    def accept(self, looked: tuple[Entry, np.ndarray | None]) -> tuple[Entry, np.ndarray | None]:
        """The same, set aside if an equal image came before; called in the files' order."""
        entry, image = looked
        twin = self.by_pixels.get(entry.pixels)
        if twin is not None:
            kind = "byte for byte" if twin.content == entry.content else "pixel for pixel"
            entry.reason = f"duplicate: {kind} {twin.file}"
            image = None
        if image is not None:
            entry.row = self.rows
        self.remember(entry)
        return entry, image

    def remember(self, entry: Entry) -> None:
        """Count an entry and know its picture again."""
        if entry.row is not None:
            self.rows += 1
        if entry.pixels:
            first = self.by_pixels.setdefault(entry.pixels, entry)
            if first.label != entry.label:
                self.contradicted.add(entry.pixels)

    def set_contradictions_aside(self, entries: Iterable[Entry]) -> None:
        """Use no picture that lies in two classes: nobody knows which is right."""
        for entry in entries:
            if entry.pixels in self.contradicted:
                entry.row = None
                entry.reason = "the same picture lies in two classes"
