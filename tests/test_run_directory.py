"""Run directories: written whole or not at all, and read as data even where somebody hostile wrote them."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_experiments.errors import ExperimentError, UserError
from cnn_experiments.runs.directory import RunDirectory, is_first_process, rounded, shown
from cnn_experiments.runs.files import read_text, write_bytes, write_text
from cnn_experiments.runs.records import read_yaml

CONFIG = {"seed": 0, "model": {"name": "lenet5", "classes": ["고양이", "dog"], "rate": 1e-4, "lrn": None}}


NUMBERS = st.integers(-(2**62), 2**62) | st.floats(allow_nan=False)
WORDS = st.sampled_from(["yes", "1e3", "0x10", "1:30", "<<", "=", "~", "", "- a", "[", "#", "*a", "&a", "!b", "a\nb"])
SCALARS = st.none() | st.booleans() | NUMBERS | WORDS | st.text()
PLAIN = st.dictionaries(
    st.text() | WORDS,
    st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20),
)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run that has begun."""
    run = RunDirectory(tmp_path / "run")
    run.start(CONFIG, seed=0, parameters=60_000)
    return run


@settings(max_examples=30, deadline=None)
@given(content=PLAIN, flow=st.sampled_from([None, True, False]))
def test_yaml_is_read_as_pyyaml_reads_it(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any], flow: bool | None
) -> None:
    text = yaml.safe_dump(content, default_flow_style=flow, allow_unicode=True)
    file = tmp_path_factory.mktemp("yaml") / "config.yaml"
    write_text(file, text)
    assert read_yaml(file) == yaml.safe_load(text)


def test_what_is_written_is_read_again(run: RunDirectory) -> None:
    assert run.config() == CONFIG
    assert list(run.config()) == ["seed", "model"]  # in its order
    assert "고양이" in run.config_file.read_text(encoding="utf-8")
    assert run.metrics() == {"status": "running", "seed": 0, "parameters": 60_000}
    run.record(status="completed", **{"test/accuracy": 0.9})
    assert run.metrics() == {"status": "completed", "seed": 0, "parameters": 60_000, "test/accuracy": 0.9}
    assert sorted(file.name for file in run.path.iterdir()) == ["config.yaml", "metrics.json"]


def test_a_run_that_never_began(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "nothing")
    assert run.metrics() == {}
    assert run.history() == []
    run.refuse_links()
    with pytest.raises(UserError, match=r"run=nowhere: this is no run directory, it has no config\.yaml"):
        RunDirectory.existing("nowhere", "run")
    with pytest.raises(UserError, match="there is no such file"):
        run.config()


@pytest.mark.parametrize("key", ["run", "resume"])
def test_a_checkpoint_in_place_of_the_run(tmp_path: Path, key: str) -> None:
    checkpoint = tmp_path / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir()
    checkpoint.touch()
    for place in ("the folder of its run", f"{key}={tmp_path}"):
        with pytest.raises(UserError) as refused:
            RunDirectory.existing(str(checkpoint), key)
        says = f"{key}={checkpoint}: this is a checkpoint, no run directory. Give {place}; cnn-test, cnn-predict and "
        assert str(refused.value) == f"{says}cnn-export take a checkpoint by itself as checkpoint={checkpoint}"
        (tmp_path / "config.yaml").touch()


def test_history(run: RunDirectory) -> None:
    run.history_file.write_text("epoch,seconds,train/loss,val/accuracy\n1,2.5,0.5,\n2,5,0.25,0.9\n")
    assert run.history() == [
        {"epoch": 1, "seconds": 2.5, "train/loss": 0.5},
        {"epoch": 2, "seconds": 5, "train/loss": 0.25, "val/accuracy": 0.9},
    ]


@pytest.mark.parametrize("text", ["epoch,seconds\n1,2,3\n", "epoch\nmany\n", 'epoch\n"1\n', "\x00\nx\n"])
def test_a_broken_history(run: RunDirectory, text: str) -> None:
    run.history_file.write_text(text)
    with pytest.raises(UserError, match=r"history\.csv: this is no table of figures"):
        run.history()


def test_predictions(run: RunDirectory) -> None:
    run.write_predictions([1, 0], np.array([1, 1]), np.array([0.75, 0.25], np.float32))
    with np.load(run.predictions_file, allow_pickle=False) as content:
        assert set(content) == {"labels", "predictions", "scores"}
        assert content["scores"].dtype == np.float32
        assert content["labels"].tolist() == [1, 0]


def test_interpolations_and_tags_stay_text_or_are_refused(run: RunDirectory, tmp_path: Path) -> None:
    run.config_file.write_text("data_dir: ${oc.env:HOME}\nmodel: ${now:%Y}\n")
    assert run.config() == {"data_dir": "${oc.env:HOME}", "model": "${now:%Y}"}
    run.config_file.write_text(f"a: !!python/object/apply:os.mkdir [{tmp_path / 'made'}]\n")
    with pytest.raises(UserError, match=r"config\.yaml: this is no YAML that a run writes"):
        run.config()
    assert not (tmp_path / "made").exists()


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: &d [*c, *c]\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "alias"),
        ("a: &a\n  b: *a\n", "alias"),
        ("a: &a {b: 1}\nc:\n  <<: *a\n", "merge"),
        ("a: " + "[" * 100_000, ""),
        ("a: " + "{b: " * 1_000 + "1" + "}" * 1_000, "levels"),
        ("- " * 100_000 + "a", ""),
        ("a: 1\n" * 300_000, "bytes, which no run writes"),
        ("a: [", "no YAML"),
        ("a: \x07", "no YAML"),
        ("a: !!int x", "no YAML"),
        ("a: 2026-13-45", "no YAML"),
        ("{[1]: 2}: 3", "no YAML"),
        ("", "no mapping"),
        ("- a", "no mapping"),
        ("a", "no mapping"),
        ("1: a", "no name"),
        ("a: [{2: b}]", "no name"),
    ],
)
def test_hostile_yaml(run: RunDirectory, text: str, words: str) -> None:
    run.config_file.write_text(text)
    with pytest.raises(UserError) as raised:
        run.config()
    assert words in str(raised.value)
    assert str(run.config_file) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "no mapping"),
        ('{"status": "comp', "no JSON"),
        ("[" * 200_000, "no JSON"),
        ('{"a": ' * 20_000, "no JSON"),
        ("", "no JSON"),
    ],
)
def test_hostile_json(run: RunDirectory, text: str, words: str) -> None:
    run.metrics_file.write_text(text)
    with pytest.raises(UserError, match=words):
        run.metrics()
    assert run.metrics_file.read_text() == text


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"a: \xe9\n"])
def test_a_file_that_is_no_text(run: RunDirectory, content: bytes) -> None:
    run.config_file.write_bytes(content)
    with pytest.raises(UserError, match="no text in UTF-8"):
        run.config()


def test_a_file_without_an_end(tmp_path: Path) -> None:
    (tmp_path / "device").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    for name in ("device", "pipe"):
        with pytest.raises(UserError, match="no such file"):
            read_text(tmp_path / name, 10)
    (tmp_path / "long").write_text("a" * 11)
    with pytest.raises(UserError, match="more than 10 bytes"):
        read_text(tmp_path / "long", 10)
    assert read_text(tmp_path / "long", 11) == "a" * 11


def test_writing_never_follows_a_link(run: RunDirectory, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("precious")
    for file in (run.config_file, run.metrics_file, run.predictions_file):
        file.unlink(missing_ok=True)
        file.symlink_to(outside)
    run.metrics_file.unlink()
    run.start(CONFIG)
    run.write_predictions([0], [0], [1.0])
    assert outside.read_text() == "precious"
    assert not any(file.is_symlink() for file in run.path.iterdir())


@pytest.mark.parametrize(
    "place", ["config.yaml", "train.log", "checkpoints", "checkpoints/last.ckpt", ".hydra", ".hydra/config.yaml", "any"]
)
@pytest.mark.parametrize("dangling", [False, True])
def test_links_where_a_run_would_write_are_refused(
    run: RunDirectory, tmp_path: Path, place: str, dangling: bool
) -> None:
    outside = tmp_path / "outside"
    if not dangling:
        outside.mkdir() if place in ("checkpoints", ".hydra") else outside.write_text("precious")
    link = run.path / place
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(outside)
    with pytest.raises(UserError, match="this is a symbolic link") as raised:
        run.refuse_links()
    assert str(link) in str(raised.value)


def test_the_directory_itself_may_be_a_link(run: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(run.path)
    same = RunDirectory.existing(str(tmp_path / "link"), "run")
    same.refuse_links()
    same.record(status="completed")
    assert run.metrics()["status"] == "completed"


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    file = tmp_path / "metrics.json"
    contents = [json.dumps({"a": letter * 200_000}) for letter in "xy"]
    write_text(file, contents[0])
    done = threading.Event()

    def write() -> None:
        for number in range(200):
            write_text(file, contents[number % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert file.read_text() in contents
    writer.join()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "metrics.json"
    write_text(file, "old")

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(
        ExperimentError, match=r"metrics\.json: cannot be written \(No space left on device\). Free some"
    ):
        write_bytes(file, b"new")
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_files_are_as_readable_as_others(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        write_text(tmp_path / "file", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_figures_that_are_no_numbers_survive(run: RunDirectory) -> None:
    run.record(status="failed", **{"train/loss": float("nan")})
    assert run.metrics()["train/loss"] != run.metrics()["train/loss"]


def test_rounded() -> None:
    assert rounded({"a": 0.989300012588501, "b": None}) == {"a": 0.9893, "b": None}


def test_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown(tmp_path / "outputs" / "run") == str(Path("outputs") / "run")
    assert shown(Path("/elsewhere")) == "/elsewhere"


@pytest.mark.parametrize(
    ("variables", "first"), [({}, True), ({"RANK": "0"}, True), ({"RANK": "1"}, False), ({"SLURM_PROCID": "2"}, False)]
)
def test_is_first_process(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], first: bool) -> None:
    for name in ("RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_first_process() is first


def test_configs_of_older_runs_are_read(run: RunDirectory) -> None:
    """OmegaConf wrote them before version 0.2."""
    omegaconf = pytest.importorskip("omegaconf")
    omegaconf.OmegaConf.save(omegaconf.OmegaConf.create(CONFIG), run.config_file)
    assert run.config() == CONFIG
    assert yaml.safe_load(run.config_file.read_text(encoding="utf-8")) == CONFIG


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.start({"seed": 1})
    left = [run.path / ".metrics.json.0123456789abcdef", run.path / "checkpoints" / ".last.ckpt.0123456789abcdef"]
    for file in left:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"half")
    (run.path / ".mine").touch()
    run.start({"seed": 1})
    assert not any(file.exists() for file in left)
    assert (run.path / ".mine").exists()


def test_files_are_read_where_the_system_has_no_flag_for_pipes(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"seed": 1}')
    program = (
        "import os, pathlib\n"
        "del os.O_NONBLOCK\n"  # as on Windows
        "from cnn_experiments.runs.directory import RunDirectory\n"
        f"assert RunDirectory(pathlib.Path({str(tmp_path)!r})).metrics() == {{'seed': 1}}"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
