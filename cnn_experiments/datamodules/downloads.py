"""Downloads that are checked, and that continue where an earlier one was interrupted."""

import gzip
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from filelock import FileLock

from cnn_experiments.errors import ExperimentError

TIMEOUT_SECONDS = 30
BLOCK = 1 << 20


def fetch(urls: str | Iterable[str], sha256: str, file: Path) -> Path:
    """Download a file from the first of several places that has it, unless it is there already.

    It appears whole and checked, or not at all; several processes may call this at once.

    Args:
        urls: where the file can be downloaded from. Where a URL ends in ``.gz`` and the file's name does not, what
            comes is unpacked.
        sha256: SHA-256 of the file, in hexadecimal digits.
        file: where to put it; its folder is created.

    Returns:
        The file.

    Raises:
        ExperimentError: none of the URLs has it, or it cannot be written; the message says what was tried.
    """
    failures = []
    for url in [urls] if isinstance(urls, str) else urls:
        try:
            return download(url, sha256, file)
        except (OSError, EOFError, ValueError) as error:
            failures.append(f"  {url}: {error}")
    tried = "\n".join(failures)
    raise ExperimentError(f"{file.name} could not be downloaded. Tried:\n{tried}\nOr put it into {file.parent} by hand")


def download(url: str, sha256: str, file: Path) -> Path:
    """Download a file from one place, like `fetch`.

    Raises:
        OSError, EOFError: the place cannot be reached, or what comes is broken, or the disk is full.
        ValueError: what comes is another file.
    """
    import pooch

    file.parent.mkdir(parents=True, exist_ok=True)
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("WARNING")  # the progress bar says what is downloaded
    try:
        with FileLock(file.with_name(f".{file.name}.lock")):
            pooch.retrieve(url, sha256, file.name, file.parent, downloader=_Downloader(file))
    finally:
        logger.setLevel(level)
    return file


class _Downloader:
    """What pooch calls to download: continues an interrupted download, and unpacks ``.gz``."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __call__(self, url: str, target: str, pooch: Any) -> None:
        packed = url.endswith(".gz") and self.file.suffix != ".gz"
        part = self.file.with_name(f"{self.file.name}{'.gz' if packed else ''}.part")
        _continue_download(url, part)
        if not packed:
            os.replace(part, target)
            return
        try:
            with gzip.open(part) as source, open(target, "wb") as unpacked:
                shutil.copyfileobj(source, unpacked, BLOCK)
        finally:
            part.unlink()


def _continue_download(url: str, part: Path) -> None:
    """Download the rest of a file, of which `part` may hold the beginning."""
    import requests
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    begun = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}  # the bytes as they are, even of a .gz
    if begun:
        headers["Range"] = f"bytes={begun}-"
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as answer:
        if begun and answer.status_code == requests.codes.requested_range_not_satisfiable:
            return  # nothing comes after what is there
        answer.raise_for_status()
        continued = answer.status_code == requests.codes.partial_content
        console = Console(stderr=True)
        with (
            part.open("ab" if continued else "wb") as target,
            Progress(*columns, console=console, transient=True) as progress,
        ):
            total = int(answer.headers.get("Content-Length", 0)) + target.tell()
            task = progress.add_task(f"downloading {part.stem}", total=total or None, completed=target.tell())
            for block in answer.iter_content(BLOCK):
                target.write(block)
                progress.advance(task, len(block))
