"""Digits made for the tests, and commands run in this process as a user would run them."""

import importlib
import logging
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from hydra._internal.hydra import Hydra

from cnn_experiments.commands import from_python, resolvers
from cnn_experiments.datamodules import mnist_files
from cnn_experiments.settings.schema import Settings
from tests.made_data import make_digits, make_photographs

GET_MODE = Hydra.get_mode
BROWSER = Path("/usr/bin/chromium-headless-shell")


def some_of(cases: list[tuple[Any, ...]], number: int) -> list[Any]:
    """Cases for `pytest.mark.parametrize` that are much alike: so many, at even distances; the others are slow."""
    quick = {place * len(cases) // number for place in range(number)}
    slow = pytest.mark.slow
    return [pytest.param(*case, marks=[slow] * (place not in quick)) for place, case in enumerate(cases)]


class Outcome(NamedTuple):
    """What a command did."""

    status: int
    out: str
    error: str


def typed_mode(hydra: Hydra, config_name: str | None, overrides: list[str]) -> Any:
    """Hydra composes the whole config once only to see whether it sets ``hydra.mode``; ours do not, unless it is typed.

    It takes a third of the time of a command that is refused.
    """
    return GET_MODE(hydra, config_name, overrides) if any("hydra.mode" in word for word in overrides) else None


@pytest.fixture
def run_command(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Outcome]:
    """Run ``cnn-<verb> arguments`` in an empty folder, in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Hydra, "get_mode", typed_mode)

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
    checksums = make_digits(folder)
    monkeypatch.setattr(mnist_files, "CHECKSUMS", checksums)
    monkeypatch.setenv("CNN_EXPERIMENTS_DATA", str(folder))
    return folder


@pytest.fixture
def trained(
    run_command: Callable[..., Outcome], digits: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """A run on those digits with `QUICK` and other words: trained for the first test, copied for the others."""

    def run_in(name: str, *words: str) -> Path:
        kept = tmp_path_factory.getbasetemp() / "trained" / "_".join(("run", *words))
        return trained_once(run_command, tmp_path / name, kept, *QUICK, *words, data_dir=digits)

    return run_in


@pytest.fixture
def stop_in_epoch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Press Ctrl-C in the middle of an epoch, from 0."""
    from cnn_experiments.trainers.callbacks import EpochReport

    original = EpochReport.on_train_batch_end

    def stop(epoch: int) -> None:
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
            original(self, trainer, pl_module, outputs, batch, batch_idx)
            if trainer.current_epoch == epoch and batch_idx == 7:
                signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(EpochReport, "on_train_batch_end", on_train_batch_end)

    yield stop
    signal.signal(signal.SIGINT, signal.default_int_handler)


def trained_once(run_command: Callable[..., Outcome], run: Path, kept: Path, *words: str, **places: Path) -> Path:
    """Train in a folder for the first test that asks for it, and copy the run for the others.

    Args:
        run_command: the fixture of that name.
        run: the run directory.
        kept: where the run is kept for the tests that follow.
        words: of the command.
        places: where this test has its data, by key.
    """
    if kept.exists():
        shutil.copytree(kept, run)
    else:
        outcome = run_command("train", *words, f"hydra.run.dir={run}")
        assert outcome.status == 0, outcome.error
        shutil.copytree(run, kept)
    point_to(run, **places)
    return run


def point_to(run: Path, **places: Path) -> None:
    """Have the config of a run name other places of its data."""
    config = run / "config.yaml"
    text = config.read_text()
    for key, place in places.items():
        text = re.sub(rf"(?m)^(  {key}:).*$", rf"\1 {place}", text)
    config.write_text(text)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, driven by Playwright; tests that need it are skipped where one of them is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if not BROWSER.exists():
        pytest.skip(f"there is no browser at {BROWSER}")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=str(BROWSER), args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture
def photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as Kaggle's, with 40 reddish cats and 40 bluish dogs of 48 to 80 pixels; it is the default source."""
    folder = tmp_path / "photographs" / "train"
    make_photographs(folder)
    monkeypatch.setenv("CNN_EXPERIMENTS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("DOGS_VS_CATS", str(folder))
    return folder


@pytest.fixture
def alexnet_run(
    run_command: Callable[..., Outcome], photographs: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run of one epoch on those photographs, in the folder ``run``: trained for the first test, copied for others."""
    kept = tmp_path_factory.getbasetemp() / "trained" / "alexnet"
    words = (*SMALL_ALEXNET, *QUICK_PHOTOGRAPHS, "trainer.max_epochs=1")
    places = {"data_dir": tmp_path / "data", "source": photographs}
    return trained_once(run_command, tmp_path / "run", kept, *words, **places)


NO_FIGURES = ("logging.confusion=false", "logging.mistakes=0")  # which take matplotlib a third of a second each

# Settings under which a run on those photographs takes seconds.
QUICK_PHOTOGRAPHS = (
    "datamodule.batch_size=8",
    "datamodule.num_workers=0",
    "trainer.max_epochs=2",
    "trainer.gpus=0",
    *NO_FIGURES,
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
    *NO_FIGURES,
)

# The figures that these do without.
FIGURES = ("logging.confusion=true", "logging.mistakes=2")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """Hydra's handlers of log messages end with the test; the stream that they write to does too."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers).difference(handlers):
        if not type(handler).__module__.startswith("_pytest."):
            root.removeHandler(handler)
    root.setLevel(level)


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
