"""What a person sees on the terminal: the progress of a run, and which job of how many a sweep is at."""

import logging
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from cnn_experiments.commands.hydra_command import compose
from cnn_experiments.commands.sweep import number_of_jobs
from cnn_experiments.runs.progress_line import fitted, left, progress_line
from cnn_experiments.trainers.progress import RunProgress
from tests.conftest import QUICK
from tests.terminal import in_terminal
from tests.test_training_aids import interrupt_in_epoch

BAR = re.compile("[▏▎▍▌▋▊▉█]|  (batch|validation) +[0-9]")
PROGRESS = re.compile(r"epoch \d/2  ")  # the line that is drawn anew
EPOCH = re.compile(r"epoch \d/2: ")  # the line that stays
MANY = (*QUICK, "datamodule.batch_size=4", "trainer.max_epochs=2", "hydra.run.dir=run")


class TestTraining:
    @pytest.mark.parametrize("columns", [80, pytest.param(130, marks=pytest.mark.slow)])
    def test_one_line_moves_and_leaves_nothing(
        self, run_command: Callable, digits: Path, monkeypatch: pytest.MonkeyPatch, columns: int
    ) -> None:
        terminal, outcome = in_terminal(columns, monkeypatch, run_command, "train", *MANY)
        assert outcome.status == 0
        drawn = {line for state in terminal.states for line in state if PROGRESS.match(line)}
        assert {line.partition("  ")[0] for line in drawn} == {"epoch 1/2", "epoch 2/2"}
        assert any(re.search(r"loss \d+\.\d{4}  accuracy \d\.\d{4}  .*  \d\d:\d\d left", line) for line in drawn)
        assert any("validation 1/1" in line for line in drawn)
        assert any(line.startswith("test  batch 1/1") for state in terminal.states for line in state)
        assert not any(EPOCH.search(line) and BAR.search(line) for state in terminal.states for line in state)
        for state in terminal.states:  # it is the last line, and does not go on in a second one
            assert not any(PROGRESS.search(line) for line in state[:-1])
            assert not any(BAR.search(line) for line in state[:-1])
        if columns == 130:
            assert any(re.search(r"batch +\d+/88 .* \d+ %  \d\d:\d\d left  [\d,]+ images/s$", line) for line in drawn)
        last = terminal.states[-1]
        assert not any(BAR.search(line) for line in last)
        assert [line[:9] for line in last if EPOCH.match(line)] == ["epoch 1/2", "epoch 2/2"]
        assert max(len(line) for line in last if EPOCH.match(line)) < 80
        assert last[2].startswith("epoch 1/2: ")  # below "loading" and the run directory; no line in between
        assert last[3].startswith("epoch 2/2: ")

    def test_an_interruption_leaves_a_clean_terminal(
        self, run_command: Callable, digits: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        interrupt_in_epoch(monkeypatch, 0)
        words = (*MANY, "trainer.early_stopping=1")
        terminal, outcome = in_terminal(80, monkeypatch, run_command, "train", *words)
        assert outcome.status == 130
        assert not any(BAR.search(line) for line in terminal.states[-1])
        assert terminal.states[-1][-1] == "Interrupted. Resume with: cnn-train resume=run"


def test_what_is_to_be_copied_is_quoted(
    run_command: Callable, digits: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    outcome = run_command("train", *MANY, "trainer.max_epochs=1", "hydra.run.dir=my runs/첫 실행")
    assert " cnn-test 'run=my runs/첫 실행' " in outcome.out
    interrupt_in_epoch(monkeypatch, 0)
    outcome = run_command("train", *MANY, "hydra.run.dir=my runs/둘째")
    assert outcome.error.endswith("Interrupted. Resume with: cnn-train 'resume=my runs/둘째'\n")


def test_a_sweep_says_which_job_it_is_at(
    run_command: Callable, digits: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = ("-m", *QUICK, "trainer.max_epochs=1", "model.dropout=0,1.5", "trainer.enable_progress_bar=false")
    words = (*words, "hydra.sweep.dir=sweep")
    terminal, outcome = in_terminal(130, monkeypatch, run_command, "train", *words)
    assert outcome.status == 1
    assert not any(BAR.search(line) for state in terminal.states for line in state)
    said = [line for line in terminal.states[-1] if line.startswith("job")]
    assert said[0] == "job 1 of 2: model.dropout=0"
    assert said[1].startswith("job 1 completed: test accuracy")
    assert re.fullmatch(r"job 2 of 2: model\.dropout=1\.5; about .* left for the sweep", said[2])
    assert said[3].startswith("job 2 failed: model")
    (log,) = (tmp_path / "sweep").glob("*/0_*/train.log")
    assert "job 1 of 2: model.dropout=0" in log.read_text()


@pytest.mark.parametrize(
    ("words", "jobs"),
    [
        (["-m", "seed=1,2,3", "model.c3=partial,full", "model.dropout=0"], 6),
        (["-m", "seed=range(1,6)"], 5),
        (["-m", "sweeper=optuna", "hydra.sweeper.n_trials=7"], 7),
        (["-m", "experiment=glob(lenet5_*)"], None),
    ],
)
def test_the_number_of_jobs(words: list[str], jobs: int | None) -> None:
    config = compose("train", [word for word in words if "hydra" in word or word.startswith("sweeper")])
    OmegaConf.update(config, "hydra.overrides.task", [word for word in words[1:] if "hydra" not in word])
    assert number_of_jobs(config) == jobs
    if jobs == 6:  # values may be given in the config, too
        config.hydra.sweeper.params = {"model.c5": "1,2", "seed": "8,9"}
        assert number_of_jobs(config) == 12


class TestLine:
    TEXTS = (("epoch 1/9", "batch 1/8", "loss 0.1", ""), (" 5 %", "00:07 left"))

    def test_a_narrow_terminal_does_without_the_dispensable(self) -> None:
        wide, narrow, narrowest = (fitted(width, 0.5, *self.TEXTS, ("batch 1/8", " 5 %")) for width in (80, 40, 20))
        assert re.fullmatch("epoch 1/9  batch 1/8  loss 0.1  [█▌]+ +   5 %  00:07 left", wide)
        assert len(wide) == 80
        assert re.fullmatch("epoch 1/9  loss 0.1  [█▌]+ +00:07 left", narrow)
        assert len(narrow) == 40
        assert narrowest == "epoch 1/9  loss 0.1"

    def test_without_an_end_there_is_no_bar(self) -> None:
        assert fitted(80, None, ("epoch 1", ""), ("", "")) == "epoch 1"

    def test_a_terminal_that_lacks_blocks(self) -> None:
        assert fitted(20, 0.5, ("a",), ("b",), ascii_only=True).isascii()

    def test_what_is_printed_comes_above(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def work() -> None:
            handler = logging.StreamHandler(sys.stdout)
            logger = logging.getLogger("cnn_experiments.of_a_test")
            logger.addHandler(handler)
            with progress_line() as line:
                assert line is not None
                line.show(0.5, ("here",), ("there",))
                assert not line.is_due()
                print("a print")
                print("an error", file=sys.stderr)
                logger.warning("a message")
                print("the beginning", end=" ")
                print("and the end")
                print("no end of line", end="")
            logger.removeHandler(handler)
            assert handler.stream is sys.stdout
            print("after it")

        terminal, _ = in_terminal(60, monkeypatch, work)
        printed = ["a print", "an error", "a message", "the beginning and the end", "no end of line", "after it"]
        assert terminal.states[-1] == printed
        with_line = [state for state in terminal.states if any("here" in line for line in state)]
        assert all(re.fullmatch("here  [█▌]+ +there", state[-1]) for state in with_line)
        assert any("a message" in state for state in with_line)

    def test_where_nobody_sees_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with progress_line() as line:
            assert line is None

        def unwanted() -> None:
            with progress_line(wanted=False) as line:
                assert line is None
            print("only this")

        terminal, _ = in_terminal(60, monkeypatch, unwanted)
        assert terminal.states[-1] == ["only this"]


class TestTimeLeft:
    """Of a run of 4 epochs with 10 steps each; a step takes 1 s, what is between two epochs 5 s."""

    def progress(self) -> RunProgress:
        progress = RunProgress(None)
        progress.all_steps, progress.steps_of_epoch, progress.costs = 40, 10, [1] * 4
        progress._began, progress._first_step, progress._first_epoch = 100.0, 1, 0
        return progress

    def test_in_the_first_epoch_only_steps_are_known(self) -> None:
        progress = self.progress()
        progress.in_steps = 5.0
        assert progress.seconds_left(6, 0) == pytest.approx(34)

    def test_later_what_comes_between_is_known(self) -> None:
        progress = self.progress()
        progress.in_steps, progress.between = 19.0, 10.0
        assert progress.seconds_left(20, 2) == pytest.approx(20 + 2 * 5)

    def test_larger_images_take_longer(self) -> None:
        """Two epochs of images of 10 pixels, two of 20, which take four times as long."""
        progress = self.progress()
        progress.costs, progress.in_steps = [100, 100, 400, 400], 14.0
        assert progress.seconds_left(15, 1) == pytest.approx(5 + 20 * 4)
        assert progress.cost(25) / progress.cost(40) == pytest.approx((20 + 5 * 4) / 100)

    def test_before_anything_is_measured_or_without_an_end(self) -> None:
        progress = self.progress()
        assert progress.seconds_left(1, 0) is None
        progress.all_steps, progress.in_steps = math.inf, 5.0
        assert progress.seconds_left(6, 0) is None

    def test_in_words(self) -> None:
        assert left(83, at_most=False) == "01:23 left"
        assert left(3723, at_most=True) == "at most 1:02:03 left"


def test_a_script_that_knows_notebooks_is_none() -> None:
    """What runs notebooks imports a part of ipykernel, and is no notebook itself."""
    script = "import ipykernel.kernelspec, sys; from cnn_experiments.runs.progress_line import in_notebook; "
    script += "print('ipykernel' in sys.modules, in_notebook())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "True False\n"
