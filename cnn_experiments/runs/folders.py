"""Folders that may come from anybody: links are not followed, and they may be nested as deeply as the system allows."""

import os
from collections.abc import Iterator
from pathlib import Path


def walk(folder: Path) -> Iterator[tuple[Path, list[str] | None]]:
    """A folder and all folders below it, sorted by name.

    Unlike `os.walk`, it takes folders that are nested more deeply than Python's calls.

    Returns:
        For each, its path and the sorted names of what it holds besides folders; None if it cannot be listed.
    """
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        try:
            with os.scandir(place) as entries:
                found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
        except OSError:
            yield place, None
            continue
        yield place, [name for name, is_folder in found if not is_folder]
        waiting += [place / name for name, is_folder in reversed(found) if is_folder]
