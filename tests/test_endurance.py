"""Short forms of the long tests in tests/endurance, which say how to run them in full."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(script: str, *arguments: str) -> str:
    """What a script prints; it fails the test if the script does."""
    command = [sys.executable, "-m", f"tests.endurance.{script}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_killed_runs_end_as_if_never_interrupted() -> None:
    printed = run("kill", "--lenet5=2", "--googlenet=0", "--processes=0", "--sweep=0", "--seed=1")
    assert "lenet5: 2 of 2 as if never interrupted" in printed


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_runs_of_every_kind_end_as_if_never_interrupted() -> None:
    printed = run("kill", "--lenet5=6", "--googlenet=3", "--processes=2", "--sweep=2", "--seed=2")
    assert printed.count("as if never interrupted") == 4


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_many_runs_at_once_are_as_if_alone() -> None:
    assert "20 runs at once: each as if it were alone" in run("many", "--runs=20")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_long_run_and_many_runs_in_one_process_stay_small() -> None:
    printed = run("long", "--epochs=300", "--jobs=8")
    assert "epochs: status 0" in printed
    assert "jobs: status 0" in printed
