"""A process that loads images and is killed, stopped or out of memory does not leave a run waiting for ever."""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pytorch_lightning.strategies import Strategy

from cnn_experiments.datamodules import samplers
from cnn_experiments.trainers import processes
from cnn_experiments.trainers.callbacks import EpochReport
from tests.conftest import QUICK
from tests.test_runs import assert_same_weights

SETTINGS = (*QUICK, "model.dropout=0.3", "datamodule.distortion.rotation=5", "datamodule.num_workers=2")


def in_the_second_epoch(patch: pytest.MonkeyPatch, happens: Callable[[], None]) -> None:
    """Let something happen in the middle of the second epoch."""
    original = EpochReport.on_train_batch_end

    def on_train_batch_end(self: EpochReport, trainer, *arguments: object) -> None:
        original(self, trainer, *arguments)
        if trainer.current_epoch == 1 and arguments[-1] == 3:
            happens()

    patch.setattr(EpochReport, "on_train_batch_end", on_train_batch_end)


def signal_loaders(name: signal.Signals) -> None:
    """Send a signal to the processes that load images."""
    for child in loaders():
        os.kill(child.pid, name)


def loaders() -> list[multiprocessing.Process]:
    """The processes that load images: those forked from this one. Other tests may have left workers of joblib's."""
    return [child for child in multiprocessing.active_children() if type(child).__name__ == "Process"]


def out_of_memory() -> None:
    raise RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried")


def python_out_of_memory() -> None:
    raise MemoryError


@pytest.mark.slow
@pytest.mark.parametrize(
    ("happens", "words"),
    [
        (lambda: signal_loaders(signal.SIGKILL), "a process that loads images has ended or stopped (DataLoader"),
        (out_of_memory, "memory ran out. If there is too little memory, lower datamodule.batch_size"),
        (python_out_of_memory, "memory ran out. If there is too little memory, lower datamodule.batch_size"),
    ],
    ids=["killed", "torch is out of memory", "Python is out of memory"],
)
def test_the_end_of_a_loader_is_said_and_the_run_goes_on(
    run_command: Callable,
    digits: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    happens: Callable[[], None],
    words: str,
) -> None:
    assert run_command("train", *SETTINGS, "hydra.run.dir=whole").status == 0
    with monkeypatch.context() as patch:
        in_the_second_epoch(patch, happens)
        outcome = run_command("train", *SETTINGS, "hydra.run.dir=run")
    assert outcome.status == 1, outcome
    assert words in outcome.error
    assert outcome.error.endswith("Resume with: cnn-train resume=run\n")
    assert len(outcome.error.splitlines()) == 1, outcome.error
    for child in loaders():
        child.join(10)
    assert not loaders()
    metrics = tmp_path / "run" / "metrics.json"
    assert json.loads(metrics.read_text())["status"] == "failed"
    assert run_command("train", "resume=run").status == 0
    assert_same_weights(tmp_path / "whole", tmp_path / "run")


def test_a_lack_of_memory_is_no_damage_of_a_checkpoint(
    run_command: Callable, digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        in_the_second_epoch(patch, out_of_memory)
        assert run_command("train", *QUICK, "hydra.run.dir=run").status == 1

    def full(*arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB")

    with monkeypatch.context() as patch:
        patch.setattr(Strategy, "load_optimizer_state_dict", full)
        outcome = run_command("train", "resume=run")
    assert outcome.status == 1
    assert outcome.error.startswith("memory ran out. If there is too little memory")
    assert run_command("train", "resume=run").status == 0


@pytest.mark.slow
def test_stopped_loaders_go_on(
    run_command: Callable, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_command("train", *SETTINGS, "hydra.run.dir=whole").status == 0
    monkeypatch.setattr(processes, "SECONDS_STOPPED", 0.5)
    in_the_second_epoch(monkeypatch, lambda: signal_loaders(signal.SIGSTOP))
    outcome = run_command("train", *SETTINGS, "hydra.run.dir=run")
    assert outcome.status == 0, outcome
    assert "had been stopped and is continued" in outcome.out
    assert_same_weights(tmp_path / "whole", tmp_path / "run")


class Stuck:
    """Images that never come, as from a disk that has gone."""

    labels = torch.zeros(4, dtype=torch.long)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, draw: samplers.Draw) -> tuple[torch.Tensor, torch.Tensor]:
        time.sleep(60)
        raise AssertionError


def test_images_that_never_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samplers, "MOST_SECONDS_OF_A_BATCH", 1)
    with pytest.raises(RuntimeError, match="DataLoader timed out after 1 seconds"):
        next(iter(samplers.batch_loader(Stuck(), 2, num_workers=1)))


def test_a_damaged_checkpoint_is_called_so(run_command: Callable, trained: Callable[..., Path]) -> None:
    run = trained("run", "trainer.max_epochs=1")
    whole = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    damages: dict[str, object] = {
        "loops": {"fit_loop": None},
        "optimizer_states": [{"state": "none", "param_groups": []}],
        "lr_schedulers": 7,
        "state_dict": {"network.c1.weight": torch.zeros(3)},
        "callbacks": [],
    }
    for name, value in damages.items():
        metrics = run / "metrics.json"
        metrics.write_text(metrics.read_text().replace("completed", "interrupted").replace("failed", "interrupted"))
        torch.save({**whole, name: value}, run / "checkpoints" / "last.ckpt")
        outcome = run_command("train", "resume=run")
        assert outcome.status == 2, (name, outcome)
        assert "last.ckpt is damaged" in outcome.error
        assert len(outcome.error.splitlines()) == 1
