"""Run folders that were changed at random: what cannot be used is refused in a sentence, and nothing hangs."""

import itertools
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from cnn_experiments.errors import ExperimentError, UserError
from cnn_experiments.runs.directory import RunDirectory
from cnn_experiments.settings.classes import CONFIG_DIRECTORY, KnownClasses
from cnn_experiments.settings.containers import flatten, updated
from cnn_experiments.settings.schema import read_settings

CONFIG = "seed: 0\nmodel: {name: lenet5}\ntrainer: {max_epochs: 3}\n"
BROKEN = (
    *(
        "",
        " ",
        "\n",
        "---",
        "...",
        "---\n---",
        "a",
        "1",
        "null",
        "true",
        "[]",
        "- a",
        "{}",
        ": a",
        "a:",
        "?",
        "? a",
        "!",
    ),
    *("a: [", "a: {", "a: 'b", 'a: "b', "a: b: c", "a:\n- b\n c", "\ta: b", "a: |", "a: >\n b", "%YAML 9.9\n---\na: b"),
    *("a: &b", "a: *b", "a: &a [*a]", "<<: {a: b}", "a: !!binary x", "a: !!set {b}", "a: !!python/name:os.system"),
    *("a: !!python/object/apply:os.system [ls]", "a: !!timestamp x", "a: !own {b: c}", "!!map a", "a: !!float x"),
    *("a: 1e999", "a: .inf", "a: .nan", f"a: {'9' * 5000}", "a: 0x" + "f" * 5000, "a: 2026-99-99", "a: 12:99:99"),
    *("a: b\na: c", "1: a", "null: a", "[a]: b", "{a: b}: c", "? [a]\n: b", "seed: [0]", "model: a", "trainer: []"),
    *(
        "a: \x00",
        "a: \x1b[2J",
        "a: \ud800".encode("utf-8", "surrogatepass").decode("latin1"),
        "\ufeffa: b",
        "a: \u2028",
    ),
    *("[" * 10_000, "{" * 10_000, "- " * 10_000, "a: " * 10_000, "a: 'x" + "\n" * 100_000, "#" * 100_000),
)


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_broken_yaml(tmp_path: Path, text: str) -> None:
    run = RunDirectory(tmp_path)
    run.config_file.write_text(text, encoding="utf-8")
    classes = KnownClasses([CONFIG_DIRECTORY])
    with pytest.raises(UserError) as raised:
        read_settings(run.config(), classes)
    assert len(str(raised.value)) < 1000


@pytest.fixture
def run(trained: Callable[..., Path]) -> RunDirectory:
    """A run of two epochs."""
    return RunDirectory(trained("run", "trainer.max_epochs=2"))


VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**70,
    0.5,
    float("nan"),
    "",
    "x\x1b[2J\ny",
    "../x",
    [],
    [1],
    {},
    {"a": 1},
)


def mutated_bytes(content: bytes, draw: random.Random) -> bytes:
    """A file with a part of it changed, left out, repeated or put elsewhere."""
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 3, 20])):
        place, length = draw.randrange(len(changed) + 1), draw.randrange(1, 40)
        kind = draw.randrange(4)
        if kind == 0:
            changed[place : place + length] = draw.randbytes(length)
        elif kind == 1:
            del changed[place : place + length]
        elif kind == 2:
            changed[place:place] = changed[place : place + length]
        else:
            del changed[place:]
    return bytes(changed)


def mutate(run: RunDirectory, draw: random.Random) -> str:
    """Change something in a run folder; returns what."""
    kind = draw.choice(["value of config", "value of metrics", "bytes", "missing", "folder"])
    if kind == "value of config":
        config = run.config()
        key, value = draw.choice([key for key, _ in flatten(config)]), draw.choice(VALUES)
        run.config_file.write_text(yaml.safe_dump(updated(config, key, value)))
        return f"{key}={value!r}"
    if kind == "value of metrics":
        metrics = run.metrics()
        key, value = draw.choice(sorted(metrics)), draw.choice(VALUES)
        run.metrics_file.write_text(json.dumps({**metrics, key: value}))
        return f"metrics {key}={value!r}"
    file = draw.choice(sorted(path for path in run.path.rglob("*") if path.is_file()))
    if kind == "bytes":
        file.write_bytes(mutated_bytes(file.read_bytes(), draw))
    else:
        file.unlink()
        if kind == "folder":
            file.mkdir()
    return f"{kind}: {file.name}"


def used(run_command: Callable, verb: str, words: list[str], what: str) -> None:
    """Run a command on a changed run folder: it does its work or says in a sentence why not."""
    outcome = run_command(verb, *words)
    assert outcome.status in (0, 1, 2), what
    assert "Traceback" not in outcome.error + outcome.out, what
    assert "\x1b[2J" not in outcome.error + outcome.out, what
    assert (outcome.status == 0) or outcome.error.strip(), what


@pytest.mark.parametrize("number", range(3))
def test_a_changed_run_folder(run_command: Callable, run: RunDirectory, number: int) -> None:
    draw = random.Random(number)
    what = mutate(run, draw)
    used(run_command, "test", ["run=run"], what)
    interrupt(run)
    used(run_command, "train", ["resume=run"], what)


def interrupt(run: RunDirectory) -> None:
    """Make it a run that can be resumed, as far as its record can still be read."""
    try:
        metrics = run.metrics()
    except (ExperimentError, OSError):
        return
    if metrics.get("status") == "completed":
        run.metrics_file.write_text(json.dumps({**metrics, "status": "interrupted"}))


@pytest.mark.parametrize(
    "figures", [{}, {"parameters": float("inf"), "steps": float("nan")}, {"val/accuracy": {"a": 1}, "parameters": "x"}]
)
def test_a_complete_run_with_other_figures(run_command: Callable, run: RunDirectory, figures: dict) -> None:
    run.metrics_file.write_text(json.dumps({"status": "completed", **figures}))
    used(run_command, "train", ["resume=run"], str(figures))


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_many_changed_run_folders(run_command: Callable, run: RunDirectory, tmp_path: Path) -> None:
    whole = shutil.copytree(run.path, tmp_path / "whole")
    for number in range(100, 400):
        draw = random.Random(number)
        shutil.rmtree(run.path)
        shutil.copytree(whole, run.path)
        what = f"{number}: {mutate(run, draw)}"
        used(run_command, "test", ["run=run"], what)
        interrupt(run)
        if number % 3 == 0:
            used(run_command, "train", ["resume=run"], what)


@pytest.mark.parametrize("name", ["state_dict", "hyper_parameters"])
def test_checkpoints_of_another_form(run_command: Callable, run: RunDirectory, name: str) -> None:
    whole_file = torch.load(run.best_checkpoint, weights_only=True)
    ways = itertools.cycle((["run=run"], [f"checkpoint={run.best_checkpoint}"]))
    for value in (None, 1, "a", [], {}, {"network.c1.weight": "a"}, {"config": {"model": 1}}, {"config": None}):
        torch.save({**whole_file, name: value}, run.best_checkpoint)
        used(run_command, "test", next(ways), f"{name}={value!r}")
