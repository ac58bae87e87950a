"""Digits made for the tests, and commands run in this process as a user would run them."""

import hashlib
import importlib
import signal
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from cnn_experiments.commands import from_python, resolvers
from cnn_experiments.datamodules import mnist_files
from cnn_experiments.models.lenet5 import rbf_centres
from cnn_experiments.settings.schema import Settings


class Outcome(NamedTuple):
    """What a command did."""

    status: int
    out: str
    error: str


@pytest.fixture
def run_command(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Outcome]:
    """Run ``cnn-<verb> arguments`` in an empty folder, in this process."""
    monkeypatch.chdir(tmp_path)

    def run(verb: str, *arguments: object) -> Outcome:
        module = importlib.import_module(f"cnn_experiments.commands.{verb}")
        monkeypatch.setattr(sys, "argv", [f"cnn-{verb}", *map(str, arguments)])
        resolvers.unique_name.cache_clear()
        status = 0
        try:
            module.main()
        except SystemExit as end:
            status = int(end.code or 0)
        return Outcome(status, *capfd.readouterr())

    return run


@pytest.fixture
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder in which 400 + 100 digits drawn for the test take the place of MNIST's 70,000."""
    folder = tmp_path / "digits"
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    generator = np.random.default_rng(0)
    bitmaps = (rbf_centres().view(10, 12, 7).numpy() > 0).astype(np.uint8)
    checksums = {}
    for part, number in (("train", 400), ("t10k", 100)):
        labels = np.arange(number, dtype=np.uint8) % 10
        images = generator.integers(0, 60, (number, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            top, left = generator.integers(0, 5), generator.integers(0, 14)
            image[top : top + 24, left : left + 14] += np.kron(bitmaps[label], np.full((2, 2), 190, np.uint8))
        contents = {
            f"{part}-images-idx3-ubyte": struct.pack(">4i", 2051, number, 28, 28) + images.tobytes(),
            f"{part}-labels-idx1-ubyte": struct.pack(">2i", 2049, number) + labels.tobytes(),
        }
        for name, content in contents.items():
            (raw / name).write_bytes(content)
            checksums[name] = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(mnist_files, "CHECKSUMS", checksums)
    monkeypatch.setenv("CNN_EXPERIMENTS_DATA", str(folder))
    return folder


@pytest.fixture
def photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as Kaggle's, with 40 reddish cats and 40 bluish dogs of 48 to 80 pixels; it is the default source."""
    folder = tmp_path / "photographs" / "train"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(40):
        for label, colour in (("cat", (200, 60, 40)), ("dog", (40, 60, 200))):
            height, width = generator.integers(48, 80, 2)
            noise = generator.integers(-40, 40, (height, width, 3))
            image = (np.array(colour) + noise).clip(0, 255).astype(np.uint8)
            Image.fromarray(image).save(folder / f"{label}.{number}.jpg", quality=95)
    monkeypatch.setenv("CNN_EXPERIMENTS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("DOGS_VS_CATS", str(folder))
    return folder


# Settings under which a run on those photographs takes seconds.
QUICK_PHOTOGRAPHS = (
    "datamodule.batch_size=8",
    "datamodule.num_workers=0",
    "trainer.max_epochs=2",
    "trainer.gpus=0",
)
# A network that is small enough for that.
SMALL_ALEXNET = ("model=alexnet", "model.input_size=64", "model.maps=[8,8,8,8,8]", "model.dense=[16,16]")

# Settings under which a run on those digits takes a second.
QUICK = (
    "datamodule.validation_size=50",
    "datamodule.batch_size=16",
    "trainer.max_epochs=3",
    "trainer.log_every_n_steps=5",
    "trainer.gpus=0",
)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _interruptible() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever starts the tests in the background ignores it


@pytest.fixture
def compose() -> Callable[..., dict[str, Any]]:
    """The config of ``cnn-train`` with some words, in plain containers."""

    def compose_config(*words: str) -> dict[str, Any]:
        return from_python.composed(list(words))[0]

    return compose_config


@pytest.fixture
def settings() -> Callable[..., Settings]:
    """The settings of ``cnn-train`` with some words."""

    def read(*words: str) -> Settings:
        return from_python.read_words(words, None, None, [])[1]

    return read
