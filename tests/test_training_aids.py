"""Early stopping and the average of the weights do what they say, and resume to the bit."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cnn_experiments.evaluation.run import open_run
from cnn_experiments.trainers.callbacks import EpochReport
from tests.conftest import QUICK


def checkpoint(run: Path, name: str = "last") -> dict:
    return torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)


def interrupt_in_epoch(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    """Press Ctrl-C once, in the middle of an epoch, from 0."""
    original = EpochReport.on_train_batch_end
    pressed = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        original(self, trainer, pl_module, outputs, batch, batch_idx)
        if trainer.current_epoch == epoch and batch_idx == 7 and not pressed:
            pressed.append(True)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(EpochReport, "on_train_batch_end", on_train_batch_end)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class TestEarlyStopping:
    NOTHING_LEARNED = ("model.optimizer.lr=1e-12", "trainer.early_stopping=2", "trainer.max_epochs=9")

    def test_it_stops_after_so_many_validations_without_a_better_one(
        self, run_command: Callable, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        outcome = run_command("train", *QUICK, *self.NOTHING_LEARNED, "hydra.run.dir=run")
        assert outcome.status == 0, outcome.error
        assert "stopped early: no better validation accuracy in 2 validations" in outcome.out
        metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
        assert (metrics["status"], metrics["epochs"]) == ("completed", 3)
        interrupt_in_epoch(monkeypatch, 1)
        assert run_command("train", *QUICK, *self.NOTHING_LEARNED, "hydra.run.dir=broken").status == 130
        assert run_command("train", "resume=broken").status == 0
        assert json.loads((tmp_path / "broken" / "metrics.json").read_text())["epochs"] == 3

    @pytest.mark.parametrize("words", [("trainer.early_stopping=0",), ("trainer.early_stopping=soon",)])
    def test_what_makes_no_sense(self, run_command: Callable, digits: Path, words: tuple[str, ...]) -> None:
        outcome = run_command("train", *QUICK, *words)
        assert outcome.status == 2
        assert words[0] in outcome.error

    def test_without_validation(self, run_command: Callable, digits: Path) -> None:
        outcome = run_command("train", *QUICK, "trainer.early_stopping=2", "trainer.limit_val_batches=0")
        assert outcome.status == 2
        assert "trainer.early_stopping=2: with trainer.limit_val_batches=0 nothing is validated" in outcome.error


class TestWeightAverage:
    def test_it_is_the_average_and_is_validated(self, run_command: Callable, digits: Path, tmp_path: Path) -> None:
        words = ("trainer.limit_train_batches=1", "trainer.max_epochs=2", "trainer.snapshots=1", "hydra.run.dir=run")
        assert run_command("train", *QUICK, "trainer.weight_average=0.75", *words).status == 0
        run = open_run(tmp_path / "run")
        last = checkpoint(run.directory)
        average = {name.removeprefix("network."): value for name, value in last["state_dict"].items()}
        first, second = run.weights_at(1), run.weights_at(2)  # in half precision
        for name, value in average.items():
            assert torch.allclose(value, 0.75 * first[name] + 0.25 * second[name], rtol=1e-3, atol=1e-3), name
        assert not same(last["state_dict"], last["current_model_state"])

        run.network().load_state_dict(average)
        assert run.history[-1]["val/accuracy"] == pytest.approx(accuracy_of(run.network(), run.data), abs=1e-6)

    def test_it_is_saved_as_the_best_and_tested(self, run_command: Callable, digits: Path, tmp_path: Path) -> None:
        words = ("trainer.weight_average=0.9", "trainer.max_epochs=1", "hydra.run.dir=run")
        assert run_command("train", *QUICK, *words).status == 0
        last, best = (checkpoint(tmp_path / "run", name) for name in ("last", "best"))
        assert same(best["state_dict"], last["state_dict"])
        assert not same(best["state_dict"], last["current_model_state"])
        figures = run_command("test", "run=run").out
        assert f"test/accuracy {open_run('run').metrics['test/accuracy']}" in figures

    def test_a_resumed_run_ends_with_the_same_average(
        self, run_command: Callable, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        words = (*QUICK, "trainer.weight_average=0.9", "model.dropout=0.2")
        assert run_command("train", *words, "hydra.run.dir=whole").status == 0
        interrupt_in_epoch(monkeypatch, 1)
        assert run_command("train", *words, "hydra.run.dir=broken").status == 130
        assert run_command("train", "resume=broken").status == 0
        for name in ("last", "best"):
            whole, broken = (checkpoint(tmp_path / run, name) for run in ("whole", "broken"))
            assert same(whole["state_dict"], broken["state_dict"])
        whole, broken = (checkpoint(tmp_path / run) for run in ("whole", "broken"))
        assert same(whole["current_model_state"], broken["current_model_state"])
        histories = [open_run(tmp_path / run).history for run in ("whole", "broken")]
        for one, other in zip(*histories, strict=True):
            assert {**one, "seconds": 0} == {**other, "seconds": 0}

    @pytest.mark.parametrize("value", ["0", "1", "often"])
    def test_an_impossible_decay(self, run_command: Callable, digits: Path, value: str) -> None:
        outcome = run_command("train", *QUICK, f"trainer.weight_average={value}")
        assert outcome.status == 2
        assert f"trainer.weight_average={value}" in outcome.error


@torch.no_grad()
def accuracy_of(network: torch.nn.Module, data) -> float:
    """The share of the validation images that a network classifies correctly."""
    network.eval()
    right = [(network(images).argmax(1) == labels).float() for images, labels in data.batches("validation")]
    return float(torch.cat(right).mean())
