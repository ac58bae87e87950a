"""Where the photographs of Dogs vs. Cats are, in any of the forms that people have them, and where to get them."""

import hashlib
import os
import re
import shutil
import stat
import unicodedata
import zipfile
from pathlib import Path, PurePosixPath
from typing import NoReturn

from filelock import FileLock
from rich.console import Console
from rich.markup import escape as without_markup
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from cnn_experiments.datamodules.downloads import download
from cnn_experiments.datamodules.image_cache import LONGEST_NAME, Photograph
from cnn_experiments.datamodules.photographs import MOST_BYTES, is_image_name
from cnn_experiments.errors import ExperimentError, UserError
from cnn_experiments.runs.formats import printable

MICROSOFT = (
    "https://download.microsoft.com/download/3/E/1/3E1C3F21-ECDB-4869-8368-6DEBA77B919F/kagglecatsanddogs_5340.zip"
)
MICROSOFT_SHA256 = "b7974bd00a84a99921f36ee4403f089853777b5ae8d151c76a86e64900334af9"
DEEPEST = 6  # folders and archives within each other: dogs-vs-cats.zip holds train.zip, which holds train/
MOST_TIMES_LARGER = 100  # is an archive when it is unpacked, of one that takes much room: photographs hardly shrink
MUCH_ROOM = 1 << 30  # bytes
ARCHIVES = ("dogs-vs-cats.zip", "train.zip", "kagglecatsanddogs_5340.zip")  # the first of these that is there is used
WAYS_TO_PROVIDE = (
    "Provide the photographs in one of three ways: Kaggle's dogs-vs-cats.zip, train.zip or train/; Microsoft's "
    "kagglecatsanddogs_5340.zip or PetImages/; or any folder with one sub-folder for each class. Put it into {place}, "
    "or say where it is with datamodule.source=PATH or the environment variable DOGS_VS_CATS"
)


def find_photographs(source: str | Path | None, data_dir: Path) -> tuple[Path, list[Photograph]]:
    """Find the photographs; download them if there are none.

    Args:
        source: a folder or an archive anywhere, which is never written to; None for what lies in
            ``<data_dir>/dogs_vs_cats``, or else for what can be downloaded.
        data_dir: where archives are downloaded and unpacked to.

    Returns:
        The folder that the photographs lie in, and every file in it with its class, by class and name.

    Raises:
        UserError: `source` does not exist or holds nothing of the kind.
        ExperimentError: nothing could be downloaded.
    """
    try:
        folder = _downloaded(data_dir) if source is None else _provided(source, data_dir)
        return folder, _photographs_in(folder)
    except OSError as error:
        place = error.filename or (data_dir if source is None else source)
        key = "datamodule.data_dir" if source is None else "datamodule.source"
        raise UserError(
            f"{key}: cannot read {place} ({error.strerror or error}). Make it readable, or give another folder"
        ) from error


def _provided(source: str | Path, data_dir: Path) -> Path:
    """The folder of the photographs in a place that the user named."""
    place = Path(os.path.expanduser(source))
    if not place.exists():
        raise UserError(f"datamodule.source={source}: there is no such folder or archive")
    return _folder_of(place, data_dir) or _refuse(place, "datamodule.source")


def _downloaded(data_dir: Path) -> Path:
    """The folder of the photographs in the folder of all data sets, or of those that are downloaded to it."""
    own = data_dir / "dogs_vs_cats"
    folder = _folder_of(own, data_dir) if own.is_dir() else None
    return folder or _folder_of(_download(own), data_dir) or _refuse(own, "datamodule.data_dir")


def _refuse(place: Path, key: str) -> NoReturn:
    raise UserError(f"{key}: {place} holds no photographs of dogs and cats. {WAYS_TO_PROVIDE.format(place=place)}")


def _folder_of(place: Path, data_dir: Path, depth: int = 0) -> Path | None:
    """The folder that holds the photographs themselves, or their class folders; None where there is none.

    Args:
        place: a folder or an archive, which may hold others.
        data_dir: where archives are unpacked.
        depth: how many folders and archives `place` lies in; an archive can contain itself without end.
    """
    if depth > DEEPEST:
        return None
    if place.is_file():
        return _folder_of(_unpacked(place, data_dir), data_dir, depth + 1)
    if _has_class_names(place):
        return place
    for inner in ("train", "PetImages"):
        if (place / inner).is_dir() and (found := _folder_of(place / inner, data_dir, depth + 1)):
            return found
    for archive in ARCHIVES:
        if (place / archive).is_file():
            return _folder_of(place / archive, data_dir, depth + 1)
    return place if len(_class_folders(place)) > 1 else None


def _has_class_names(folder: Path) -> bool:
    """Whether files named as Kaggle's lie there, ``cat.0.jpg``."""
    with os.scandir(folder) as files:
        return any(_class_in_name(file.name) for file in files if not file.is_dir())


def _class_in_name(name: str) -> str | None:
    match = re.match(r"(cat|dog)[._-]?\d", name, re.IGNORECASE)
    return match[1].lower() if match else None


def _class_folders(folder: Path) -> list[Path]:
    inside = (inner for inner in folder.iterdir() if inner.is_dir())
    return sorted(inner for inner in inside if not inner.name.startswith((".", "__")))


def _photographs_in(folder: Path) -> list[Photograph]:
    """Every file with its class, by class and name (numbers in names by size)."""
    if _has_class_names(folder):
        photographs = [Photograph(file, _class_in_name(file.name)) for file in folder.iterdir() if file.is_file()]
        for label in ("cat", "dog"):
            if not any(photograph.label == label for photograph in photographs):
                raise UserError(f"datamodule.source: {folder} has no {label}s (files named {label}.0.jpg and so on)")
    else:
        photographs = []
        for inner in _class_folders(folder):
            if printable(inner.name) != inner.name:
                raise UserError(
                    f"datamodule.source: the class folder {inner} has a name with control characters, or with bytes "
                    "that are not UTF-8. Rename it"
                )
            files = [file for file in inner.rglob("*") if file.is_file()]
            if not any(is_image_name(file.name) for file in files):
                raise UserError(
                    f"datamodule.source: the class folder {inner} has no images. Put some in, or remove the folder"
                )
            photographs += [Photograph(file, as_class_name(inner.name)) for file in files]
    return sorted(photographs, key=_natural)


def as_class_name(name: str) -> str:
    """A class's name in lower case; file systems spell accents and Korean syllables in different ways, this in one."""
    return unicodedata.normalize("NFC", name).lower()


def _natural(photograph: Photograph) -> list[str]:
    """Sorts cat.9.jpg before cat.10.jpg."""
    return [f"{int(part):012d}" if part.isdecimal() else part for part in re.split(r"(\d+)", str(photograph.path))]


def _unpacked(archive: Path, data_dir: Path) -> Path:
    """The folder under `data_dir` that an archive is unpacked to, which is done once.

    Raises:
        UserError: it is no sound archive, or a member would lie outside the folder, or the disk has no room.
    """
    status = archive.stat()
    identity = hashlib.sha256(os.fsencode(f"{archive.resolve()}\0{status.st_size}\0{status.st_mtime_ns}")).hexdigest()
    target = data_dir / "unpacked" / f"{archive.stem[:LONGEST_NAME]}-{identity[:12]}"
    if target.is_dir():
        return target
    partial = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")), zipfile.ZipFile(archive) as packed:
            if not target.is_dir():  # no other process was faster
                shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
                try:
                    partial.mkdir()
                    _extract(packed, archive, partial)
                    partial.rename(target)
                finally:
                    shutil.rmtree(partial, ignore_errors=True)
    except UserError:
        raise
    except OSError as error:
        raise UserError(
            f"datamodule.data_dir: cannot unpack {archive} to {target} ({error.strerror or error}). Choose another "
            "folder or make room"
        ) from error
    except Exception as error:  # zipfile and its decompressors raise whatever broken bytes lead them to
        raise UserError(f"datamodule.source: {archive} is no sound zip archive ({error}). Fetch it again") from error
    return target


def _extract(packed: zipfile.ZipFile, archive: Path, folder: Path) -> None:
    members = [member for member in packed.infolist() if not member.is_dir()]
    for member in members:
        _refuse_dangerous(member, archive)
    needed = sum(member.file_size for member in members)
    if needed > max(MUCH_ROOM, MOST_TIMES_LARGER * archive.stat().st_size):
        raise UserError(
            f"datamodule.source: {archive} takes {needed / 2**30:.1f} GiB unpacked, more than {MOST_TIMES_LARGER} "
            "times its size, which no photographs do. Nothing was unpacked"
        )
    if needed > shutil.disk_usage(folder).free:
        raise UserError(
            f"datamodule.data_dir: {archive} takes {needed / 2**30:.1f} GiB unpacked, more than the disk of "
            f"{folder.parent} has left. Make room, or choose another folder"
        )
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        for member in progress.track(members, description=f"unpacking {without_markup(printable(archive.name))}"):
            packed.extract(member, folder)


def _refuse_dangerous(member: zipfile.ZipInfo, archive: Path) -> None:
    """Refuse a file of an archive that would be written elsewhere, or is larger than any photograph.

    No more of a file is unpacked than the size that the archive gives for it.
    """
    path = PurePosixPath(member.filename.replace("\\", "/"))
    what = ""
    if stat.S_ISLNK(member.external_attr >> 16):
        what = "is a link"
    elif path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1]):
        what = "lies outside it"
    elif member.file_size > MOST_BYTES and path.suffix.lower() != ".zip":
        what = f"would take {member.file_size / 1e6:,.0f} MB, more than any photograph"
    if what:
        raise UserError(
            f"datamodule.source: {archive}: its member {printable(member.filename)} {what}. Nothing was unpacked"
        )


def _download(folder: Path) -> Path:
    """Kaggle's archive if kagglehub is installed and lets us, or else Microsoft's; in `folder`."""
    failures = []
    try:
        import kagglehub
    except ImportError:
        failures.append("  Kaggle: needs the extra, pip install 'cnn-experiments[kaggle]', and an account there")
    else:
        try:
            return Path(kagglehub.competition_download("dogs-vs-cats"))
        except Exception as error:  # kagglehub raises its own and its libraries' errors
            failures.append(f"  Kaggle, through kagglehub: {error}")
    try:
        return download(MICROSOFT, MICROSOFT_SHA256, folder / "kagglecatsanddogs_5340.zip")
    except (OSError, ValueError) as error:
        failures.append(f"  {MICROSOFT}: {error}")
    tried = "\n".join(failures)
    ways = WAYS_TO_PROVIDE.format(place=folder)
    raise ExperimentError(f"Dogs vs. Cats could not be downloaded. Tried:\n{tried}\n{ways}")
