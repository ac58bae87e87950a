"""One process at a time trains in a folder, and a command that refuses leaves a folder as it was."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cnn_experiments.errors import ExperimentError, UserError
from cnn_experiments.runs.claim import claimed, locked
from cnn_experiments.runs.directory import RunDirectory
from tests.conftest import QUICK

SHORT = (*QUICK, "trainer.max_epochs=1")


def content(folder: Path) -> dict[str, bytes]:
    """Every file in a folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_second_process_is_refused_until_the_first_is_done(tmp_path: Path) -> None:
    with locked(tmp_path / "run"):
        with pytest.raises(UserError, match="another process is training in this folder"), locked(tmp_path / "run"):
            pass
        assert (tmp_path / "run" / ".lock").exists()
    with locked(tmp_path / "run"):
        pass
    assert not (tmp_path / "run" / ".lock").exists()


HOLDER = """
import multiprocessing, os, sys, time
from pathlib import Path
from cnn_experiments.runs.claim import locked

def load_images():  # as its worker processes do; the line says that it has begun, and so has let go of the lock
    print(os.getpid(), flush=True)
    time.sleep(60)

with locked(Path(sys.argv[1])):
    multiprocessing.get_context("fork").Process(target=load_images).start()
    time.sleep(60)
"""


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no processes are forked here")
def test_a_killed_process_leaves_no_lock_even_where_its_children_live(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    try:
        with pytest.raises(UserError, match="another process"), locked(tmp_path):
            pass
        holder.kill()
        holder.wait()
        os.kill(child, 0)  # it lives
        with locked(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        holder.kill()


@pytest.mark.parametrize("existed", [False, True])
def test_a_folder_in_which_nothing_began_is_as_it_was(tmp_path: Path, existed: bool) -> None:
    run = RunDirectory(tmp_path / "run")
    if existed:
        run.path.mkdir()
        run.log_file.write_text("somebody's\n")
    before = content(tmp_path)

    def download() -> None:
        with claimed(run), run.log_file.open("a") as log:
            log.write("downloading\n")
            raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        download()
    assert content(tmp_path) == before
    assert run.path.exists() is existed


def test_a_folder_in_which_a_run_began_stays(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    with claimed(run):
        run.start({"seed": 0})
        run.log_file.write_text("epoch 1\n")
    assert sorted(content(tmp_path / "run")) == ["config.yaml", "metrics.json", "train.log"]


def test_somebodys_files_are_kept_byte_for_byte(run_command: Callable, digits: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / ".hydra").mkdir(parents=True)
    for name in (".hydra/config.yaml", ".hydra/overrides.yaml", "train.log", "thesis.tex"):
        (folder / name).write_text(f"this is {name}\n")
    before = content(folder)
    outcome = run_command("train", *SHORT, "model.dropout=2", "hydra.run.dir=mine")
    assert outcome.status == 2, outcome.error
    assert content(folder) == before
    labels = digits / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1])
    outcome = run_command("train", *SHORT, "hydra.run.dir=mine")
    assert outcome.status == 2, outcome.error
    assert content(folder) == before


def test_two_cannot_resume_one_run(run_command: Callable, digits: Path, tmp_path: Path) -> None:
    assert run_command("train", *SHORT, "hydra.run.dir=run").status == 0
    metrics = tmp_path / "run" / "metrics.json"
    metrics.write_text(metrics.read_text().replace("completed", "interrupted"))
    with locked(tmp_path / "run"):
        before = content(tmp_path / "run")
        for words in (["resume=run"], [*SHORT, "hydra.run.dir=run"], [*SHORT, "seed=1", "hydra.run.dir=run"]):
            outcome = run_command("train", *words)
            assert outcome.status == 2, outcome
            assert outcome.error == (
                "run: another process is training in this folder. Wait until it has ended, or choose another folder\n"
            )
        assert content(tmp_path / "run") == before
    assert run_command("train", "resume=run").status == 0
    assert not (tmp_path / "run" / ".lock").exists()


@pytest.mark.slow
def test_two_cannot_resume_one_sweep(run_command: Callable, digits: Path, tmp_path: Path) -> None:
    assert run_command("train", "-m", *SHORT, "seed=1,2", "hydra.sweep.dir=sweep").status == 0
    before = content(tmp_path / "sweep")
    with locked(tmp_path / "sweep"):
        outcome = run_command("train", "resume=sweep")
    assert outcome.status == 2
    assert outcome.error.startswith("sweep: another process is training in this folder")
    assert content(tmp_path / "sweep") == before


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_of_many_that_start_in_one_folder_at_once_one_trains(digits: Path, tmp_path: Path) -> None:
    from cnn_experiments.datamodules.mnist_files import CHECKSUMS

    code = (
        f"from cnn_experiments.datamodules import mnist_files; mnist_files.CHECKSUMS = {CHECKSUMS!r}\n"
        "from cnn_experiments.commands.train import main; main()"
    )
    words = [*QUICK, "trainer.max_epochs=2000", "hydra.run.dir=run"]
    starts = [
        subprocess.Popen(
            [sys.executable, "-c", code, *words, f"seed={seed}"],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in range(5)
    ]
    try:
        for _ in range(3000):
            ended = [process for process in starts if process.poll() is not None]
            if len(ended) == 4 and (tmp_path / "run" / "metrics.json").exists():
                break
            time.sleep(0.1)
        assert [process.returncode for process in ended] == [2] * 4
        assert all("another process is training" in process.communicate()[1] for process in ended)
        (winner,) = set(starts) - set(ended)
        winner.send_signal(signal.SIGINT)
        assert winner.wait(120) == 130
        recorded = (tmp_path / "run" / ".hydra" / "overrides.yaml").read_text()
        assert f"seed={starts.index(winner)}" in recorded
    finally:
        for process in starts:
            process.kill()


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="a run cannot be written here"), locked(tmp_path / "file" / "run"):
        pass

    def full(*arguments: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(ExperimentError, match="No space left on device") as raised, locked(tmp_path / "run"):
        pass
    assert not isinstance(raised.value, UserError)


@pytest.mark.parametrize("name", ["train.log", "metrics.json", "checkpoints/last.ckpt"])
def test_a_folder_in_the_place_of_a_file(run_command: Callable, digits: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "run" / name).mkdir(parents=True)
    outcome = run_command("train", *SHORT, "hydra.run.dir=run")
    assert outcome.status == 2, outcome
    assert f"{name}: a run writes another kind of thing here. Remove it" in outcome.error
    assert len(outcome.error.splitlines()) == 1


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(UserError, match="checkpoints: a run writes another kind"), claimed(RunDirectory(tmp_path)):
        pass


def test_a_link_in_the_place_of_the_lock(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(outside)
    with pytest.raises(UserError, match="this is a symbolic link"), locked(tmp_path / "run"):
        pass
    assert outside.read_text() == "precious"
