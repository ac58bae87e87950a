"""Searches: any number of processes make the trials of one study, and none is lost or made twice."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from cnn_experiments.commands.shared_search import MAKER, fail_lost_trials, signs_of_life, tell
from cnn_experiments.runs.claim import locked
from cnn_experiments.runs.sweep import write_record
from tests.conftest import QUICK
from tests.test_sweeps import PHOTOGRAPHS, folder_of_photographs, statuses


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_processes_share_a_search(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    words = [*PHOTOGRAPHS, f"datamodule.source={folder_of_photographs(tmp_path)}", "trainer.max_epochs=60"]
    words += ["sweeper=optuna", "hydra.sweeper.n_trials=5", "hydra.sweep.dir=search", "seed=7"]
    first = start_training(tmp_path, "-m", *words)
    wait_until(lambda: list(statuses(tmp_path / "search").values()) == ["running"], first)
    second = start_training(tmp_path, "resume=search")
    wait_until(lambda: list(statuses(tmp_path / "search").values()).count("running") == 2, first, second)
    second.kill()
    third = start_training(tmp_path, "resume=search")
    outputs = [process.communicate()[0] for process in (first, third)]

    storage = f"sqlite:///{tmp_path}/search/search.db"
    trials = optuna.load_study(study_name="search", storage=storage).trials
    states = [trial.state.name for trial in trials]
    assert (states.count("COMPLETE"), states.count("FAIL"), len(states)) == (5, 1, 6), outputs
    makers = {trial.system_attrs[MAKER]: trial.state.name for trial in trials}
    assert makers[f"{socket.gethostname()} {second.pid}"] == "FAIL"
    assert makers[f"{socket.gethostname()} {third.pid}"] == "COMPLETE"
    assert len({trial.params["model.optimizer.lr"] for trial in trials}) == 6  # none draws what another has drawn
    found = statuses(tmp_path / "search")
    assert {int(name.partition("_")[0]) for name in found} == set(range(6))  # the folder of a trial has its number
    assert sorted(found.values()) == ["completed"] * 5 + ["running"]
    for trial in trials:
        (run,) = (tmp_path / "search").glob(f"*/{trial.number}_*/metrics.json")
        if trial.state.name == "COMPLETE":
            assert trial.value == json.loads(run.read_text())["val/accuracy"]
    for output in outputs:
        assert "best of the search" in output
        assert "Traceback" not in output
    assert "another process makes trials of this search too" in outputs[1]


def start_training(folder: Path, *words: str) -> subprocess.Popen:
    """Start ``cnn-train`` in a folder, in a process of its own; all that it prints is its output."""
    command = [sys.executable, "-m", "cnn_experiments.train", *words]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_until(condition: Callable[[], bool], *processes: subprocess.Popen) -> None:
    """Wait for something that processes do; fail if one of them ends before."""
    while not condition():
        for process in processes:
            assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)


def trials_of(folder: Path) -> list[optuna.trial.FrozenTrial]:
    """The trials of a search, in their order."""
    return optuna.load_study(study_name="search", storage=f"sqlite:///{folder}/search.db").trials


def test_a_search_makes_as_many_trials_as_it_should_have(run_command, digits: Path, tmp_path: Path) -> None:
    words = [*QUICK, "trainer.max_epochs=1", "trainer.limit_train_batches=2", "seed=7"]
    search = ["sweeper=optuna", "hydra.sweep.dir=search", "hydra.sweeper.n_trials=2"]
    outcome = run_command("train", "-m", *words, *search, "model.dropout=choice(0.1,2.0)")
    # a dropout of 2.0 is refused; a failed trial counts for the process that made it, so that the search ends
    first = trials_of(tmp_path / "search")
    assert len(first) == 2, outcome.error
    for trial in first:
        runs = [json.loads(file.read_text()) for file in (tmp_path / "search").glob(f"*/{trial.number}_*/metrics.json")]
        values = [run.get("val/accuracy") for run in runs if run["status"] == "completed"]
        assert values == ([] if trial.params["model.dropout"] == 2 else [trial.value])
    assert "best of the search" in outcome.out + outcome.error

    assert [trial.state.name for trial in first] == ["FAIL", "COMPLETE"]
    run_command("train", "resume=search")  # makes another one for the one that failed
    assert [trial.state.name for trial in trials_of(tmp_path / "search")] == ["FAIL", "COMPLETE", "COMPLETE"]


def test_a_lost_trial_is_replaced(tmp_path: Path) -> None:
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/search.db", heartbeat_interval=1, grace_period=1)
    study = optuna.create_study(study_name="search", storage=storage)
    trials = [study.ask() for _ in range(4)]
    for trial in trials[:3]:
        storage.record_heartbeat(trial._trial_id)
        trial.set_system_attr(MAKER, "a machine")
    study.tell(trials[0], 0.5)
    fail_lost_trials(study)  # the fourth one shows no sign of life, as of a process that ended while it asked
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "RUNNING", "RUNNING", "FAIL"]
    with signs_of_life(study, trials[2:3]):
        time.sleep(3)
        fail_lost_trials(study)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL", "RUNNING", "FAIL"]
    tell(study, trials[1], 0.9)  # by a process that was only held up
    assert study.best_value == 0.5


def test_a_search_of_other_settings_is_not_joined(run_command, tmp_path: Path) -> None:
    write_record(tmp_path / "search", ["seed=1", "model=lenet5"], [], {"trials": 3, "seed": 1})
    words = ["sweeper=optuna", "hydra.sweep.dir=search"]
    for other in (["seed=1", "model=alexnet"], ["seed=1"]):
        outcome = run_command("train", "-m", *words, *other)
        assert outcome.status == 2
        assert "hydra.sweep.dir=search: another sweep is there already. To take part in it: cnn-train" in outcome.error
    with locked(tmp_path / "sweep"):
        outcome = run_command("train", "-m", "seed=1,2", "hydra.sweep.dir=sweep")
    assert (outcome.status, "another process is training in this folder" in outcome.error) == (2, True)
