"""Early stopping, the average of the weights and the learning-rate search do what they say, and resume to the bit."""

import csv
import json
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cnn_experiments.errors import ExperimentError
from cnn_experiments.evaluation.run import open_run
from cnn_experiments.trainers import fit
from cnn_experiments.trainers.callbacks import EpochReport
from cnn_experiments.trainers.learning_rate import RangeTest, rate_of
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


def end_in_test(run_command: Callable, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """Train, and press Ctrl-C when the test begins."""

    def evaluate(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(fit, "evaluate", evaluate)
        assert run_command("train", *words).status == 130


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

    def test_a_run_that_was_ended_in_its_test_does_not_train_on(
        self, run_command: Callable, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        end_in_test(run_command, monkeypatch, *QUICK, *self.NOTHING_LEARNED, "hydra.run.dir=run")
        before = checkpoint(tmp_path / "run")
        outcome = run_command("train", "resume=run")
        assert outcome.status == 0, outcome.error
        assert "stopped early: no better validation accuracy in 2 validations" in outcome.out
        assert open_run(tmp_path / "run").metrics["epochs"] == 3
        assert same(checkpoint(tmp_path / "run")["state_dict"], before["state_dict"])

    def test_within_the_first_epoch(self, run_command: Callable, digits: Path, tmp_path: Path) -> None:
        words = (*self.NOTHING_LEARNED, "trainer.val_check_interval=5", "hydra.run.dir=run")
        outcome = run_command("train", *QUICK, *words)
        assert outcome.status == 0, outcome.error
        assert "stopped early: no better validation accuracy in 2 validations" in outcome.out
        assert open_run(tmp_path / "run").metrics["steps"] == 15

    def test_a_training_that_ends_before_its_first_validation(
        self, run_command: Callable, digits: Path, tmp_path: Path
    ) -> None:
        words = ("trainer.max_steps=7", "trainer.early_stopping=1", "hydra.run.dir=run")
        outcome = run_command("train", *QUICK, *words)
        assert outcome.status == 0, outcome.error
        assert "stopped early" not in outcome.out
        assert open_run(tmp_path / "run").metrics["val/accuracy"] is None

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
        weights = {name.removeprefix("network."): value for name, value in last["current_model_state"].items()}
        first, second = run.weights_at(1), run.weights_at(2)  # averages in half precision; the first is of one step
        for name, value in average.items():
            assert torch.allclose(value, 0.75 * first[name] + 0.25 * weights[name], rtol=1e-3, atol=1e-3), name
            assert torch.allclose(value, second[name], rtol=1e-3, atol=1e-3), name
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
        for name in ("test/loss", "test/accuracy"):
            assert f"{name} {open_run('run').metrics[name]}" in figures

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

    def test_a_run_without_validation_that_was_ended_in_its_test_tests_the_average(
        self, run_command: Callable, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        words = (*QUICK, "trainer.weight_average=0.9", "trainer.limit_val_batches=0", "trainer.max_epochs=1")
        assert run_command("train", *words, "hydra.run.dir=whole").status == 0
        end_in_test(run_command, monkeypatch, *words, "hydra.run.dir=broken")
        assert run_command("train", "resume=broken").status == 0
        whole, broken = (open_run(tmp_path / run).metrics for run in ("whole", "broken"))
        assert broken["test/loss"] == whole["test/loss"]

    @pytest.mark.parametrize("value", ["0", "1", "often"])
    def test_an_impossible_decay(self, run_command: Callable, digits: Path, value: str) -> None:
        outcome = run_command("train", *QUICK, f"trainer.weight_average={value}")
        assert outcome.status == 2
        assert f"trainer.weight_average={value}" in outcome.error


class TestLearningRateSearch:
    WORDS = (*QUICK, "model.dropout=0.2", "trainer.max_epochs=2")

    def test_the_run_is_the_one_that_was_given_the_rate(
        self, run_command: Callable, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        interrupt_in_epoch(monkeypatch, 1)
        outcome = run_command("train", *self.WORDS, "trainer.find_learning_rate=true", "hydra.run.dir=found")
        assert outcome.status == 130, outcome.error
        rate = float(re.search(r"found the learning rate: model\.optimizer\.lr=(\S+)", outcome.out)[1])
        outcome = run_command("train", "resume=found")
        assert outcome.status == 0, outcome.error
        assert "found the learning rate" not in outcome.out
        assert run_command("train", *self.WORDS, f"model.optimizer.lr={rate}", "hydra.run.dir=given").status == 0

        found, given = open_run(tmp_path / "found"), open_run(tmp_path / "given")
        assert found.settings.config == given.settings.config
        assert rate != 0.02  # which the model's config has
        for name in ("last", "best"):
            assert same(*(checkpoint(run.directory, name)["state_dict"] for run in (found, given)))
        for one, other in zip(found.history, given.history, strict=True):
            assert {**one, "seconds": 0} == {**other, "seconds": 0}
        with (found.directory / "learning_rates.csv").open() as file:
            rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
        assert min(rows, key=lambda row: row["smoothed_loss"])["learning_rate"] == pytest.approx(3 * rate, rel=0.05)
        assert not (given.directory / "learning_rates.csv").exists()
        assert "optimizer/learning_rate_search" in pictures_of(found.directory)

        again = run_command("train", *self.WORDS, "trainer.find_learning_rate=true", "hydra.run.dir=found")
        assert "This run is complete" in again.out  # as a job of a resumed sweep is

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (("model.optimizer.lr=0.1",), "this replaces model.optimizer.lr, which was given too. Leave one out"),
            (("~model.optimizer.lr",), "there is no model.optimizer.lr that it could replace. Give one"),
            (("trainer.fast_dev_run=true",), "with trainer.fast_dev_run=True there are too few steps to find one"),
            (("trainer=ddp",), "this is done in one process, and trainer.gpus=0 with trainer.devices=2 means 2"),
            (("model.optimizer.weight_decay=1000000",), "the loss did not fall at any rate from 1e-06 to 10. Set"),
        ],
    )
    def test_what_makes_no_sense(
        self, run_command: Callable, digits: Path, tmp_path: Path, words: tuple[str, ...], message: str
    ) -> None:
        outcome = run_command("train", *QUICK, *words, "trainer.find_learning_rate=true", "hydra.run.dir=run")
        assert outcome.status in (1, 2)
        assert outcome.error.startswith(f"trainer.find_learning_rate=true: {message}")
        assert not (tmp_path / "run" / "config.yaml").exists()

    @pytest.mark.parametrize("scale", [1.0, 50.0])
    def test_the_choice_is_a_third_of_the_rate_with_the_lowest_loss(self, scale: float) -> None:
        valley = [scale * (1 + (step - 80) ** 2 / 4000) for step in range(120)]
        assert RangeTest(valley).choice() == pytest.approx(rate_of(80) / 3, rel=0.05)

    def test_noise_is_no_choice(self) -> None:
        noise = torch.randn(120, generator=torch.Generator().manual_seed(1)) * 0.02 + 0.69
        for losses in (noise.tolist(), noise.tolist()[:5], [2.3] * 140):
            with pytest.raises(ExperimentError, match="the loss did not fall at any rate"):
                RangeTest(losses).choice()


def pictures_of(run: Path) -> list[str]:
    """The names of the pictures that TensorBoard shows of a run."""
    events = EventAccumulator(str(run)).Reload()
    return list(events.Tags()["images"])


@torch.no_grad()
def accuracy_of(network: torch.nn.Module, data) -> float:
    """The share of the validation images that a network classifies correctly."""
    network.eval()
    right = [(network(images).argmax(1) == labels).float() for images, labels in data.batches("validation")]
    return float(torch.cat(right).mean())
