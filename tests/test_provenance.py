"""The record of how a run came to be."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from cnn_experiments.runs import provenance as module
from cnn_experiments.runs.provenance import CHECKOUT, commit_of, differences, processor, provenance, versions


def git(checkout: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(checkout), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one commit."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    git(checkout, "init", "--quiet")
    (checkout / "file.py").write_text("a = 1\n")
    (checkout / ".gitignore").write_text("outputs\n")
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "-m", "first")
    return checkout


def test_what_is_recorded() -> None:
    found = provenance()
    assert set(found) == {"versions", "commit", "clean", "operating_system", "processor", "logical_cores"}
    assert found["versions"]["python"] == platform.python_version()
    assert {"cnn-experiments", "torch", "pytorch-lightning", "hydra-core"} <= found["versions"].keys()
    assert found["logical_cores"] == os.cpu_count()
    assert platform.system() in found["operating_system"] or platform.system() == "Darwin"
    assert found["processor"] == processor()
    assert json.loads(json.dumps(found)) == found


def test_torch_is_not_imported() -> None:
    program = (
        "import sys; from cnn_experiments.runs.provenance import provenance; provenance();"
        "assert not {'torch', 'numpy', 'hydra'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DISTRIBUTIONS", ("cnn-experiments", "no-such-package"))
    assert set(versions()) == {"python", "cnn-experiments"}


def test_commit(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    assert commit_of(checkout) == {"commit": commit, "clean": True}
    (checkout / "outputs").mkdir()
    (checkout / "outputs" / "run").write_text("ignored")
    assert commit_of(checkout)["clean"] is True
    (checkout / "new.py").write_text("")
    assert commit_of(checkout) == {"commit": commit, "clean": False}
    (checkout / "new.py").unlink()
    (checkout / "file.py").write_text("a = 2\n")
    assert commit_of(checkout)["clean"] is False
    monkeypatch.setenv("GIT_DIR", str(checkout / "elsewhere"))  # as in a hook of another repository
    assert commit_of(checkout)["commit"] == commit


def test_names_of_files_in_any_spelling(checkout: Path) -> None:
    git(checkout, "config", "core.quotePath", "false")
    (checkout / os.fsdecode(b"caf\xe9.py")).touch()
    assert commit_of(checkout) == {"commit": git(checkout, "rev-parse", "HEAD"), "clean": False}


def test_a_folder_in_a_checkout_is_none(checkout: Path) -> None:
    inside = checkout / "venv" / "site-packages"
    inside.mkdir(parents=True)
    assert commit_of(inside) == {"commit": None, "clean": None}


def test_without_git_or_commits(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "--quiet")
    assert commit_of(empty) == {"commit": None, "clean": None}
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert commit_of(checkout) == {"commit": None, "clean": None}


def test_the_checkout_is_the_packages() -> None:
    assert (CHECKOUT / "cnn_experiments" / "__init__.py").is_file()


NOW = {"versions": {"python": "3.11.7", "torch": "2.15.0"}, "commit": "a" * 40, "clean": True}


@pytest.mark.parametrize(
    ("then", "sentences"),
    [
        (NOW, []),
        ({}, []),
        ({**NOW, "versions": {"torch": "2.15.0"}}, []),
        (
            {**NOW, "versions": {"python": "3.12.1", "torch": "2.14.0"}},
            [
                "the run was made with python 3.12.1; here it is 3.11.7",
                "the run was made with torch 2.14.0; here it is 2.15.0",
            ],
        ),
        (
            {**NOW, "versions": {"torchvision": "0.28.0"}},
            ["the run was made with torchvision 0.28.0, which is not installed here"],
        ),
        (
            {**NOW, "commit": "b" * 40},
            ["the run was made from commit bbbbbbbbbbbb; here it is aaaaaaaaaaaa"],
        ),
        ({**NOW, "commit": None, "clean": None}, []),
        ({**NOW, "clean": False}, []),
    ],
)
def test_differences(then: dict, sentences: list[str]) -> None:
    assert differences(then, NOW) == sentences


def test_hostile_records() -> None:
    assert differences({"versions": ["torch"]}, NOW) == []
    found = differences({"versions": {"torch": "\x1b[2J" + "x" * 9_999, "\x1b[2J": "1"}, "commit": ["\x1b"]}, NOW)
    assert len(found) == 2
    assert all("\x1b" not in sentence and len(sentence) < 200 for sentence in found)
