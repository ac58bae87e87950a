"""A full disk or a read-only folder: one sentence, the last good checkpoint stays, and the run goes on later."""

import json
import logging
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from cnn_experiments.trainers.callbacks import BestAndLast
from tests.conftest import QUICK
from tests.small_disk import small_disk
from tests.test_runs import assert_same_weights

FULL = "cannot be written (No space left on device). Free some space"


class Disk:
    """A file system of its own in memory.

    Args:
        path: where it is mounted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.filler = path / "filler"

    def fill(self) -> None:
        """Leave no room for another byte."""
        with self.filler.open("ab", buffering=0) as file, suppress(OSError):
            for size in (2**16, 2**10, 1):
                with suppress(OSError):
                    while file.write(bytes(size)) == size:
                        pass

    def free(self) -> None:
        """Make room again."""
        self.filler.unlink()

    def allow_writing(self, allowed: bool) -> None:
        """Make it writable or read-only, once no file on it is open."""
        for handler in logging.root.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.close()
        subprocess.run(["mount", "-o", f"remount,{'rw' if allowed else 'ro'}", self.path], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of 16 MB."""
    with small_disk(tmp_path / "disk", "16m") as path:
        yield Disk(path)


def fill_at(monkeypatch: pytest.MonkeyPatch, disk: Disk, moment: str, epoch: int) -> None:
    """Fill the disk at a moment of an epoch, from 0."""
    original = getattr(BestAndLast, moment)

    def hook(self: BestAndLast, trainer, *arguments: object) -> None:
        if trainer.current_epoch == epoch:
            disk.fill()
        original(self, trainer, *arguments)

    monkeypatch.setattr(BestAndLast, moment, hook)


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("on_train_epoch_start", marks=pytest.mark.slow),
        pytest.param("on_validation_end", marks=pytest.mark.slow),
        "on_train_epoch_end",
    ],
)
def test_the_disk_is_full_while_a_network_trains(
    run_command: Callable, digits: Path, tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    words = [*QUICK, "model.dropout=0.3"]
    assert run_command("train", *words, "hydra.run.dir=whole").status == 0
    with monkeypatch.context() as patch:
        fill_at(patch, disk, moment, 1)
        outcome = run_command("train", *words, "hydra.run.dir=disk/run")
    assert outcome.status == 1, outcome
    assert FULL in outcome.error
    assert len(outcome.error.splitlines()) == 1, outcome.error
    assert "Traceback" not in outcome.out
    run = disk.path / "run"
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 0
    assert {file.name for file in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert json.loads((run / "metrics.json").read_text())["status"] in ("running", "failed")

    outcome = run_command("train", "resume=disk/run")  # there is still no room
    assert outcome.status == 1, outcome
    assert FULL in outcome.error
    assert len(outcome.error.splitlines()) == 1, outcome.error
    disk.free()
    outcome = run_command("train", "resume=disk/run")
    assert outcome.status == 0, outcome.error
    assert_same_weights(tmp_path / "whole", run)
    assert json.loads((run / "metrics.json").read_text())["status"] == "completed"


def test_the_disk_is_full_from_the_beginning(run_command: Callable, digits: Path, disk: Disk) -> None:
    disk.fill()
    outcome = run_command("train", *QUICK, "hydra.run.dir=disk/run")
    assert outcome.status == 1, outcome
    assert FULL in outcome.error
    assert len(outcome.error.splitlines()) == 1
    assert [file.name for file in disk.path.iterdir()] == ["filler"]


def test_a_read_only_folder(run_command: Callable, digits: Path, disk: Disk) -> None:
    assert run_command("train", *QUICK, "trainer.max_epochs=1", "hydra.run.dir=disk/run").status == 0
    metrics = disk.path / "run" / "metrics.json"
    metrics.write_text(metrics.read_text().replace("completed", "interrupted"))
    disk.allow_writing(False)
    try:
        for word in ("resume=disk/run", "hydra.run.dir=disk/new", "hydra.sweep.dir=disk/sweep"):
            outcome = run_command("train", word, *(["-m"] if "sweep" in word else []))
            assert outcome.status == 2, outcome
            assert "a run cannot be written here (Read-only file system). Choose another folder" in outcome.error
            assert len(outcome.error.splitlines()) == 1
        assert run_command("test", "run=disk/run").status == 0  # which writes nothing
    finally:
        disk.allow_writing(True)
    assert run_command("train", "resume=disk/run").status == 0
