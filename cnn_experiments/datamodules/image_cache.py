"""A folder of photographs, each read once: usable images are kept in one file of bytes, the others are listed.

A cache is a folder with

images.bin    the usable images, one after the other, bytes (size, size, 3) each
index.jsonl   a line for each file: its class, width, height, and either its row in images.bin or why it has none

Both are written while the files are read, into a folder whose name ends in ``.unfinished``, so that an interrupted
preparation continues where it stopped; the folder gets its final name when everything is done.
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
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cnn_experiments.datamodules.near_duplicates import perceptual_hash
from cnn_experiments.datamodules.photographs import UnusableImageError, read_content, read_photograph
from cnn_experiments.datamodules.resizing import Resizing
from cnn_experiments.errors import UserError

VERSION = 2  # of the two files' layout; caches of other versions are made again
CHUNK = 256  # files between two writes to the journal
LONGEST_NAME = 40  # characters of a folder's or archive's name in that of its cache; file systems allow 255 bytes

Bytes = NDArray[np.uint8]


class Photograph(NamedTuple):
    """A file and the name of the class that it is said to show; None where nothing says so."""

    path: Path
    label: str | None


@dataclass
class Entry:
    """What is known about a file.

    Args:
        file: its path, relative to the folder of all photographs.
        label: name of the class that it is said to show.
        width: in pixels; 0 where it is no image.
        height: likewise.
        row: its place in the cache; None where it is not usable.
        reason: why it is not usable; None where it is.
        content: digest of the file.
        pixels: digest of the picture; empty where there is none.
        look: digest of what it looks like, see `perceptual_hash`; empty where there is none.
        moments: means over the pixels of the resized image, from 0 to 255: of red, green, blue, then of their products
            rr, rg, rb, gg, gb, bb.
    """

    file: str
    label: str | None
    width: int = 0
    height: int = 0
    row: int | None = None
    reason: str | None = None
    content: str = ""
    pixels: str = ""
    look: str = ""
    moments: tuple[float, ...] = ()


class ImageCache:
    """The usable images of a folder, read from disk when they are asked for; only the page cache holds them in memory.

    Args:
        folder: the cache.
        size: side of the images, in pixels.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.size = folder, size
        self._images: Bytes | None = None

    def entries(self) -> list[Entry]:
        """What is known about every file, in the order of their names.

        Raises:
            UserError: the cache cannot be read.
        """
        try:
            with (self.folder / "index.jsonl").open(encoding="utf-8") as lines:
                next(lines, None)
                return [Entry(**json.loads(line)) for line in lines]
        except (OSError, ValueError, TypeError) as error:
            raise UserError(
                f"datamodule.data_dir: cannot read the cache {self.folder} ({_reason(error)}). Delete it, and it is "
                "made again; or choose another folder"
            ) from error

    def __getitem__(self, rows: NDArray[np.integer[Any]]) -> Bytes:
        """Images as bytes, (len(rows), size, size, 3)."""
        if self._images is None:  # each process opens the file for itself
            self._images = np.memmap(self.folder / "images.bin", np.uint8, "r").reshape(-1, self.size, self.size, 3)
        return np.asarray(self._images[rows])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_images": None}


def prepare_cache(photographs: Sequence[Photograph], root: Path, resizing: Resizing, parent: Path) -> ImageCache:
    """Read, judge and resize every file, unless that has been done before.

    Args:
        photographs: the files, in the order that decides which of two equal ones is kept.
        root: the folder they lie in; the cache names them relative to it.
        resizing: how they become squares, with a definite size.
        parent: the folder of all caches.

    Raises:
        UserError: the cache cannot be written, or the disk has no room for it.
    """
    signature = {"version": VERSION, **asdict(resizing), "source": str(root.resolve()), "files": _listing(photographs)}
    name = "-".join(
        [root.name[:LONGEST_NAME], str(resizing.side), resizing.method, resizing.interpolation, _digest(signature)]
    )
    folder = parent / name
    try:
        if not _is_whole(folder, resizing.side):
            parent.mkdir(parents=True, exist_ok=True)
            with FileLock(parent / f"{name}.lock"):
                if not _is_whole(folder, resizing.side):
                    shutil.rmtree(folder, ignore_errors=True)
                    _build(photographs, root, resizing, folder)
    except OSError as error:
        raise UserError(
            f"datamodule.data_dir: cannot write the cache {folder} ({_reason(error)}). Choose another folder or make "
            "room; what is done is kept"
        ) from error
    return ImageCache(folder, resizing.side)


def _reason(error: Exception) -> str:
    """What an error says, with the file where it names another than the cache."""
    if not isinstance(error, OSError):
        return "it is damaged"
    return f"{error.strerror or error}: {Path(error.filename).name}" if error.filename else error.strerror or str(error)


def _listing(photographs: Iterable[Photograph]) -> str:
    """A digest of the files' names, sizes and dates: another one if any of them changes.

    The date of the last change of a file's status is one of them: copying may carry over the date of the content, and
    anybody can set that one.
    """
    digest = hashlib.sha256()
    for path, label in photographs:
        try:
            status = path.stat()
        except OSError as error:
            raise UserError(
                f"datamodule.source: cannot read {path} ({error.strerror}). Remove or restore it"
            ) from error
        dates = f"{status.st_mtime_ns}\0{status.st_ctime_ns}"
        digest.update(os.fsencode(f"{path}\0{label}\0{status.st_size}\0{dates}\n"))
    return digest.hexdigest()


def _digest(signature: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(signature, sort_keys=True).encode()).hexdigest()[:12]


def _is_whole(folder: Path, size: int) -> bool:
    """Whether a finished cache of this version lies there, with as many images as its index says."""
    index, images = folder / "index.jsonl", folder / "images.bin"
    if not (index.is_file() and images.is_file()):
        return False
    with index.open(encoding="utf-8") as lines:
        try:
            head = json.loads(next(lines))
            whole: bool = images.stat().st_size == head["images"] * size * size * 3
            return whole and head["version"] == VERSION
        except (StopIteration, ValueError, KeyError, TypeError):
            return False


def _build(photographs: Sequence[Photograph], root: Path, resizing: Resizing, folder: Path) -> None:
    """Write a cache, or what is missing from an unfinished one."""
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    unfinished.mkdir(exist_ok=True)
    bytes_each = resizing.side**2 * 3
    with (unfinished / "journal.jsonl").open("a+") as journal, (unfinished / "images.bin").open("ab") as images:
        done = _read_journal(journal, images.tell() // bytes_each)
        images.truncate(sum(entry.row is not None for entry in done) * bytes_each)
        _refuse_full_disk(folder, (len(photographs) - len(done)) * bytes_each)
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


def _refuse_full_disk(folder: Path, needed: int) -> None:
    """Say before anything is read that the disk has no room for so many bytes."""
    free = shutil.disk_usage(folder.parent).free
    if needed > free:
        raise UserError(
            f"datamodule.data_dir: the cache {folder} takes up to {needed / 2**30:.1f} GiB more, but the disk has "
            f"{free / 2**30:.1f} GiB left. Make room, choose another folder, or a smaller datamodule.resizing.size"
        )


def _read_journal(journal: IO[str], images: int) -> list[Entry]:
    """The entries of an interrupted preparation, up to the first that was written in part or not at all.

    Args:
        journal: its file; what is not used is removed.
        images: how many images were written.
    """
    journal.seek(0)
    entries, sound, rows = [], 0, 0
    for line in iter(journal.readline, ""):
        try:
            entry = Entry(**json.loads(line))
        except (ValueError, TypeError):
            break
        rows += entry.row is not None
        if rows > images or not line.endswith("\n"):
            break
        entries.append(entry)
        sound = journal.tell()
    journal.truncate(sound)
    return entries


def _chunks(photographs: Sequence[Photograph]) -> Iterator[list[Photograph]]:
    rest = iter(photographs)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk


class _Judge:
    """Decides file by file which are usable, and remembers the pictures that it has seen."""

    def __init__(self, root: Path, resizing: Resizing, seen: Iterable[Entry]) -> None:
        self.root, self.resizing = root, resizing
        self.rows = 0
        self.by_pixels: dict[str, Entry] = {}
        self.contradicted: set[str] = set()
        for entry in seen:
            self.remember(entry)

    def look(self, photograph: Photograph) -> tuple[Entry, Bytes | None]:
        """Judge a file by itself: its entry, and its image, resized, if it is usable. Runs in several threads."""
        entry = Entry(photograph.path.relative_to(self.root).as_posix(), photograph.label)
        try:
            content = read_content(photograph.path)
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
        pixels = hashlib.sha256(f"{image.shape}".encode())
        pixels.update(np.ascontiguousarray(image).data)
        entry.pixels = pixels.hexdigest()[:32]
        entry.look = perceptual_hash(image)
        small = self.resizing(image)
        colours = small[::2, ::2].reshape(-1, 3).astype(np.float32)
        products = colours.T @ colours / len(colours)
        entry.moments = tuple(float(f"{value:.7g}") for value in (*colours.mean(0), *products[np.triu_indices(3)]))
        return entry, small

    def accept(self, looked: tuple[Entry, Bytes | None]) -> tuple[Entry, Bytes | None]:
        """The same, but not usable if an equal picture came before; called in the order of the files."""
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
        """Count an entry, and recognise its picture from now on."""
        if entry.row is not None:
            self.rows += 1
        if entry.pixels:
            first = self.by_pixels.setdefault(entry.pixels, entry)
            if first.label != entry.label:
                self.contradicted.add(entry.pixels)

    def set_contradictions_aside(self, entries: Iterable[Entry]) -> None:
        """Use no picture that lies in two classes: nobody knows which of them is right."""
        for entry in entries:
            if entry.pixels in self.contradicted:
                entry.row = None
                entry.reason = "the same picture lies in two classes"
