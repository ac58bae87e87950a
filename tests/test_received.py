"""What was received is data: hostile checkpoints, run folders and sweep folders call, write and remove nothing."""

import copy
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.conftest import QUICK, some_of

HOSTILE = [  # what a config names, and where
    ("os.system", "model"),
    ("subprocess.call", "model.optimizer"),
    ("builtins.exec", "datamodule"),
    ("planted.Payload", "logging"),
    ("planted.Payload", "model"),
    ("cnn_experiments.trainers.processes.run_in_processes", "model.optimizer"),
    ("cnn_experiments.runs.provenance.commit_of", "datamodule"),  # calls git
    ("cnn_experiments.models.alexnet.nn.Module", "model"),
]
COMMANDS: dict[str, tuple[str, ...]] = {
    "test": (),
    "predict": ("images=image.png",),
    "export": ("output=network.onnx",),
}


@pytest.fixture
def received(trained: Callable[..., Path], tmp_path: Path) -> Path:
    """A run folder as somebody may have sent it; a module that must never be imported lies beside it."""
    run = trained("received", "trainer.max_epochs=2")
    (tmp_path / "planted.py").write_text("open('imported', 'w').close()\nclass Payload: ...\n")
    (tmp_path / "image.png").write_bytes(b"")
    return run


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Everything that a payload would have called, so far."""
    called: list[str] = []
    monkeypatch.setattr(os, "system", lambda *_: called.append("os.system"))
    monkeypatch.setattr("subprocess.call", lambda *_, **__: called.append("subprocess.call"))
    return lambda: called + [name for name in ("imported", "owned") if (tmp_path / name).exists()]


def changed(config: dict[str, Any], place: str, target: str) -> dict[str, Any]:
    """A config in which a place names another class, with an argument that would do harm."""
    config = copy.deepcopy(config)
    group = config
    for part in place.split("."):
        group = group[part]
    group.update({"_target_": target, "command": "touch owned"})
    return config


@pytest.mark.parametrize(("target", "place"), some_of(HOSTILE, 4))
def test_no_config_chooses_what_runs(
    received: Path, watched: Callable, run_command: Callable, target: str, place: str
) -> None:
    config = changed(yaml.safe_load((received / "config.yaml").read_text()), place, target)
    (received / "config.yaml").write_text(yaml.safe_dump(config))
    stranger = torch.load(received / "checkpoints" / "best.ckpt", weights_only=True)
    stranger["hyper_parameters"]["config"] = config
    torch.save(stranger, "stranger.ckpt")
    for verb, words in COMMANDS.items():
        for source in ("run=received", "checkpoint=stranger.ckpt")[: 2 if verb == "test" else 1]:
            outcome = run_command(verb, source, *words)
            assert outcome.status == 2, (verb, source)
            assert f"{place}._target_={target}: not among the classes" in outcome.error
            assert "Traceback" not in outcome.error
    interrupt(received)
    outcome = run_command("train", f"resume={received}")
    assert outcome.status == 2
    assert "not among the classes" in outcome.error
    assert not watched()


def interrupt(run: Path) -> None:
    """Make a completed run one that can be resumed."""
    file = run / "metrics.json"
    file.write_text(file.read_text().replace('"completed"', '"interrupted"'))


def test_a_pickled_payload_is_not_unpickled(received: Path, watched: Callable, run_command: Callable) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Callable, tuple[str]]:
            return eval, ("open('owned', 'w').close()",)

    for name in ("best", "last"):
        content = torch.load(received / "checkpoints" / f"{name}.ckpt", weights_only=True)
        torch.save({**content, "state_dict": Payload()}, received / "checkpoints" / f"{name}.ckpt")
    for verb, words in COMMANDS.items():
        outcome = run_command(verb, "run=received", *words)
        assert (outcome.status, "this is no checkpoint" in outcome.error) == (2, True)
    interrupt(received)
    outcome = run_command("train", "resume=received")
    assert (outcome.status, "is damaged" in outcome.error) == (2, True)
    assert not watched()


def test_interpolations_stay_text(received: Path, run_command: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    config = yaml.safe_load((received / "config.yaml").read_text())
    config["model"]["name"] = "${oc.env:SECRET}"
    (received / "config.yaml").write_text(yaml.safe_dump(config))
    for verb, words in COMMANDS.items():
        outcome = run_command(verb, "run=received", *words)
        assert outcome.status == 2
        assert "hunter2" not in outcome.out + outcome.error
        assert "model.name" in outcome.error


@pytest.mark.parametrize(
    ("callback", "state"),
    [
        ("BestAndLast", {"best_accuracy": "1"}),
        ("BestAndLast", {"best_accuracy": float("nan")}),
        ("BestAndLast", {"best_accuracy": [1.0]}),
        ("EpochReport", {"seconds": -1.0, "images": 1, "history": []}),
        ("EpochReport", {"seconds": 1.0, "images": 1, "history": [{"../../evil": 1.0}]}),
        ("EpochReport", {"seconds": 1.0, "images": 1, "history": [{"epoch": "=cmd()"}]}),
        ("EpochReport", {"seconds": 1.0, "images": True, "history": []}),
    ],
)
def test_the_state_of_callbacks_is_checked(received: Path, run_command: Callable, callback: str, state: dict) -> None:
    hostile_state(received, callback, state)
    outcome = run_command("train", "resume=received")
    assert outcome.status == 2, outcome.error
    assert "resume: last.ckpt is damaged" in outcome.error


def hostile_state(run: Path, callback: str, state: dict[str, Any]) -> None:
    """Put a state for a callback into the last checkpoint, which is then one of an unfinished training."""
    interrupt(run)
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["trainer"]["max_epochs"] = 3
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    file = run / "checkpoints" / "last.ckpt"
    content = torch.load(file, weights_only=True)
    assert callback in content["callbacks"]
    content["callbacks"][callback] = state
    torch.save(content, file)


@pytest.mark.slow
def test_no_path_is_taken_from_the_state_of_a_callback(received: Path, run_command: Callable, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years of work")
    # What Lightning's own ModelCheckpoint keeps, and removes when there is a better one.
    paths = {name: str(precious) for name in ("best_model_path", "last_model_path", "kth_best_model_path", "dirpath")}
    state = {**paths, "best_k_models": {str(precious): torch.tensor(0.0)}, "best_model_score": torch.tensor(0.0)}
    hostile_state(received, "BestAndLast", state)
    assert run_command("train", "resume=received").status == 0
    assert (precious / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("name", ["metrics.json", "history.csv", "config.yaml", "train.log", "checkpoints"])
def test_links_in_a_run_folder_are_not_written_through(
    received: Path, run_command: Callable, tmp_path: Path, name: str
) -> None:
    outside = tmp_path / "outside"
    shutil.move(received / name, outside)
    (received / name).symlink_to(outside)
    before = outside.read_bytes() if outside.is_file() else sorted(outside.iterdir())
    outcome = run_command("train", "resume=received")
    assert outcome.status == 2
    assert "is a symbolic link" in outcome.error
    assert before == (outside.read_bytes() if outside.is_file() else sorted(outside.iterdir()))


@pytest.mark.parametrize(
    "words",
    [
        ["hydra.callbacks.sweep._target_=os.system"],
        ["hydra.searchpath=[file:///tmp/evil]"],
        ["+hydra.callbacks.evil._target_=os.system"],
        ["model._target_=os.system"],
        ["hydra/launcher=joblib"],
        ["hydra.sweep.subdir=../../elsewhere"],
        ["resume=/tmp"],
        ["model.name=../../elsewhere"],
        ["seed=1,2", "--config-dir=/tmp/evil"],
        ["datamodule.source=${oc.env:SECRET}"],
    ],
)
def test_a_sweeps_record_sets_nothing_but_its_jobs(
    run_command: Callable, watched: Callable, digits: Path, tmp_path: Path, words: list[str]
) -> None:
    folder = tmp_path / "sweep"
    folder.mkdir()
    (folder / "sweep.yaml").write_text(yaml.safe_dump({"task": [*QUICK, *words], "hydra": []}))
    outcome = run_command("train", f"resume={folder}")
    assert outcome.status == 2
    assert "sweep.yaml" in outcome.error
    assert [file.name for file in folder.rglob("*")] == ["sweep.yaml"]
    assert not watched()


def test_trust_lets_a_run_name_ones_own_classes(
    run_command: Callable, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_nets.py").write_text(
        "from torch import nn\n\n\n"
        "class Flat(nn.Sequential):\n"
        "    def __init__(self, num_classes: int = 10, **unused: object) -> None:\n"
        "        super().__init__(nn.Flatten(), nn.Linear(32 * 32, num_classes))\n"
    )
    words = ["model._target_=own_nets.Flat", "hydra.run.dir=own", *QUICK, "trainer.max_epochs=1"]
    refused = run_command("train", *words)
    assert refused.status == 2
    assert "add trust=own_nets" in refused.error
    assert run_command("train", *words, "trust=own_nets").status == 0
    assert run_command("test", "run=own").status == 2
    (tmp_path / "other_nets.py").write_text("")
    outcome = run_command("test", "run=own", "trust=other_nets,own_nets")
    assert outcome.status == 0, outcome.error
    assert "test/accuracy" in outcome.out
