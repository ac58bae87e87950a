"""launcher=ray: jobs on a Ray that is started for them, lost and resumed."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
import yaml

from tests.test_runs import assert_same_weights
from tests.test_sweeps import PHOTOGRAPHS, folder_of_photographs, statuses

pytestmark = pytest.mark.skipif(
    not find_spec("ray"), reason="the extra ray is not installed"
)  # imported, it reads settings


@pytest.fixture
def rays_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What Ray's processes need, and that none is left."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # weights are the same, bit for bit, with the same number of threads
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 32)  # so that none is written to the home folder
    yield
    assert not [process for process in psutil.Process().children(recursive=True) if is_rays(process)]


def is_rays(process: psutil.Process) -> bool:
    return process.is_running() and any("ray::" in word or "raylet" in word for word in words_of(process))


def words_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@contextmanager
def killed_once(job: str, file: Path) -> Iterator[list[int]]:
    """Kill the process that runs a job as soon as a file is there that was not there before, or is newer."""
    before = file.stat().st_mtime_ns if file.exists() else 0
    killed: list[int] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set() and not killed:
            if file.exists() and file.stat().st_mtime_ns > before:
                for process in psutil.Process().children(recursive=True):
                    if words_of(process)[:1] == [f"ray::{job}"]:
                        process.send_signal(signal.SIGKILL)
                        killed.append(process.pid)
            time.sleep(0.01)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        stop.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_lost_job_is_listed_begun_again_and_resumed(run_command, rays_own: None, tmp_path: Path) -> None:
    settings = [*PHOTOGRAPHS, f"datamodule.source={folder_of_photographs(tmp_path)}", "trainer.max_epochs=20", "seed=1"]
    assert run_command("train", *settings, "model.dropout=0.5", "hydra.run.dir=alone").status == 0
    sweep = [*settings, "launcher=ray", "hydra.sweep.dir=sweep", "model.dropout=0.5,1.5"]
    run = tmp_path / "sweep" / "alexnet_dogs_vs_cats" / "0_dropout-0.5"
    last = run / "checkpoints" / "last.ckpt"

    with killed_once("job 1", last) as killed:
        outcome = run_command("train", "-m", *sweep, "hydra.launcher.max_retries=0")
    assert len(killed) == 1, outcome.error
    assert outcome.status == 1
    assert "job 1 of 2: model.dropout=0.5" in outcome.out
    assert "job 1 was lost: " in outcome.out
    assert "job 2 failed: model.dropout=1.5: should be less than 1" in outcome.out
    assert list(statuses(tmp_path / "sweep").values()) == ["interrupted", "failed"]
    assert f"interrupted: {run.relative_to(tmp_path)}" in outcome.out

    with killed_once("job 1", last) as killed:
        outcome = run_command("train", "resume=sweep", "launcher=ray", "hydra.launcher.max_retries=1")
    assert len(killed) == 1, outcome.error
    assert outcome.status == 1  # of the other job
    assert list(statuses(tmp_path / "sweep").values()) == ["completed", "failed"]
    assert outcome.out.count("job 1 of 2") == 2
    assert "epoch 1/20" not in outcome.out  # neither of them began anew
    assert_same_weights(tmp_path / "alone", run)


def test_rays_settings_reach_its_launcher(run_command) -> None:
    outcome = run_command("train", "launcher=ray", "hydra.launcher.address=auto", "--cfg", "hydra")
    launcher = yaml.safe_load(outcome.out)["hydra"]["launcher"]
    assert launcher["_target_"].endswith("RayLauncher")
    assert {key: value for key, value in launcher.items() if key != "_target_"} == {
        "address": "auto", "cpus_per_job": 1, "gpus_per_job": None, "max_retries": 3,
    }  # fmt: skip


def test_only_a_sweep_that_needs_them_imports_ray_and_optuna() -> None:
    code = (
        "import sys; from cnn_experiments.commands.train import main; sys.argv[1:] = ['--cfg', 'hydra']; main(); "
        "assert 'hydra_plugins.hydra_cnn_experiments' in sys.modules; "
        "sys.exit(' '.join({'ray', 'optuna', 'torch'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
