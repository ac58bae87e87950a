"""A file system of its own with little room."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """A new folder with room for a size such as ``64k``; the test is skipped where none can be made."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can make a small disk here")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)
