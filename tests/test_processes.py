"""Several processes that train one network: the same result, one run directory, no orphan."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

import cnn_experiments as cnn
from cnn_experiments.datamodules.samplers import BatchesInOrder, BatchSampler
from tests.conftest import QUICK
from tests.test_runs import events, weights

# 349 images for training: a last batch with an odd number of them.
SETTINGS = [*QUICK, "datamodule.validation_size=51", "trainer.max_epochs=2"]


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    """Begin a command in a process group of its own, as a terminal does, with one thread for each process."""
    return subprocess.Popen(
        [sys.executable, "-c", BEGIN, *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


BEGIN = "from cnn_experiments.commands.train import main; main()"


@pytest.fixture
def accepted_digits(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The digits of the tests, taken for MNIST's by processes that are started anew, too."""
    from cnn_experiments.datamodules.mnist_files import CHECKSUMS

    patch = tmp_path / "patch"
    patch.mkdir()
    (patch / "sitecustomize.py").write_text(
        "import sys\n"
        "from importlib.abc import MetaPathFinder\n"
        "class Finder(MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name != 'cnn_experiments.datamodules.mnist_files':\n"
        "            return None\n"
        "        sys.meta_path.remove(self)\n"
        "        from importlib.util import find_spec\n"
        "        spec = find_spec(name)\n"
        "        execute = spec.loader.exec_module\n"
        "        def exec_module(module):\n"
        "            execute(module)\n"
        f"            module.CHECKSUMS = {CHECKSUMS!r}\n"
        "        spec.loader.exec_module = exec_module\n"
        "        return spec\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(patch), str(Path(__file__).parents[1])]))
    return digits


@pytest.mark.slow
def test_two_processes_do_what_one_does(run_command, accepted_digits: Path, tmp_path: Path) -> None:
    """In double precision: two sums of gradients are rounded in another order than one, and steps make more of it."""
    one = [*SETTINGS, "trainer.precision=64-true", "datamodule.batch_size=32", "hydra.run.dir=one"]
    two = [*SETTINGS, "trainer.precision=64-true", "datamodule.batch_size=16", "hydra.run.dir=two", "trainer=ddp"]
    assert run_command("train", *one).status == 0
    outcome = run_command("train", *two)
    assert outcome.status == 0, outcome.error
    assert outcome.error == ""
    assert outcome.out.count("epoch 2/2") == 1

    theirs = weights(tmp_path / "two")
    for name, value in weights(tmp_path / "one").items():
        torch.testing.assert_close(theirs[name], value, rtol=0, atol=1e-9)
    metrics = [json.loads((tmp_path / run / "metrics.json").read_text()) for run in ("one", "two")]
    assert metrics[0].keys() == metrics[1].keys()
    for name in ("steps", "epochs", "val/accuracy", "test/accuracy", "confusion"):
        assert metrics[0][name] == metrics[1][name], name
    assert sum(map(sum, metrics[1]["confusion"]["test"])) == 100  # each test image once
    assert metrics[1]["test/loss"] == pytest.approx(metrics[0]["test/loss"], rel=1e-5)
    for name in ("train/loss", "val/loss"):
        curves = [[event.value for event in events(tmp_path / run).Scalars(name)] for run in ("one", "two")]
        assert curves[0] == pytest.approx(curves[1], rel=1e-5), name
    assert len(list((tmp_path / "two").glob("events.out.tfevents.*"))) == 1
    assert not (tmp_path / "outputs").exists()
    predictions = [np.load(tmp_path / run / "test_predictions.npz") for run in ("one", "two")]
    for name in ("labels", "predictions"):  # image by image, in the order of the set
        assert predictions[0][name].tolist() == predictions[1][name].tolist()
    assert predictions[1]["scores"] == pytest.approx(predictions[0]["scores"], abs=1e-5)

    again = run_command("test", "run=two")
    figures = dict(line.split() for line in again.out.splitlines()[-2:])
    assert float(figures["test/accuracy"]) == metrics[1]["test/accuracy"]


@pytest.mark.slow
def test_each_process_trains_a_copy_of_a_network_that_was_given(
    accepted_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trained = []
    for name, more in (("one", ["datamodule.batch_size=32"]), ("two", ["datamodule.batch_size=16", "trainer=ddp"])):
        torch.manual_seed(1)
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32 * 32, 10))
        run = cnn.train(*SETTINGS, *more, "model.optimizer.lr=0.001", f"hydra.run.dir={name}/x/run", network=network)
        trained.append(torch.load(run.directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"])
        best = torch.load(run.directory / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
        assert not network.training
        assert all(torch.equal(tensor, best[f"network.{key}"]) for key, tensor in network.state_dict().items())
    for key, tensor in trained[0].items():
        torch.testing.assert_close(trained[1][key], tensor, rtol=0, atol=2e-6)


@pytest.mark.slow
def test_a_sweep_of_jobs_of_two_processes(run_command, accepted_digits: Path, tmp_path: Path) -> None:
    outcome = run_command("train", "-m", *SETTINGS, "trainer.max_epochs=1", "trainer=ddp", "seed=1,2")
    assert outcome.status == 0, outcome.error
    runs = list(tmp_path.glob("outputs/sweeps/*/lenet5_mnist/*/metrics.json"))
    assert sorted(json.loads(run.read_text())["seed"] for run in runs) == [1, 2]
    assert len(list(tmp_path.rglob("config.yaml"))) == len(list(tmp_path.rglob("multirun.yaml"))) * 2 + 2


@pytest.mark.slow
def test_what_is_wrong_in_one_process_is_said_once(run_command, accepted_digits: Path, tmp_path: Path) -> None:
    outcome = run_command(
        "train", *SETTINGS, "trainer=ddp", "model.optimizer.lr=1e38", "model.schedule.warmup=0",
        "model.subsampling=average", "hydra.run.dir=run",
    )  # fmt: skip
    assert outcome.status == 1
    assert outcome.error.count("diverged") == 1
    assert "Traceback" not in outcome.error
    assert "diverged" in json.loads((tmp_path / "run" / "metrics.json").read_text())["error"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("whom", ["one of them", "all", "the first"])
def test_an_end_leaves_a_run_that_goes_on_and_no_orphan(accepted_digits: Path, tmp_path: Path, whom: str) -> None:
    settings = [*SETTINGS, "trainer=ddp", "trainer.max_epochs=1000", "hydra.run.dir=run"]
    process = start(tmp_path, *settings)
    wait_for(lambda: (tmp_path / "run" / "checkpoints" / "last.ckpt").exists())
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) >= 2
    assert listened_on([psutil.Process(process.pid), *workers]) <= {"127.0.0.1", "::1"}
    if whom == "one of them":
        next(worker for worker in workers if "spawn_main" in " ".join(worker.cmdline())).kill()
    elif whom == "all":
        os.killpg(process.pid, signal.SIGINT)  # Ctrl-C
    else:
        process.kill()
    out = process.communicate(timeout=300)[0]
    wait_for(lambda: not any(worker.is_running() and worker.status() != "zombie" for worker in workers))
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    if whom == "one of them":
        assert (process.returncode, metrics["status"]) == (1, "failed")
        assert "was ended by SIGKILL" in metrics["error"]
        assert "cnn-train resume=run" in out
    elif whom == "all":
        assert (process.returncode, metrics["status"]) == (130, "interrupted")
        assert "cnn-train resume=run" in out
    assert "Traceback" not in out
    config = tmp_path / "run" / "config.yaml"
    finished = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] + 1
    config.write_text(config.read_text().replace("max_epochs: 1000", f"max_epochs: {finished + 1}"))
    resumed = start(tmp_path, "resume=run")
    out = resumed.communicate(timeout=300)[0]
    assert resumed.returncode == 0, out
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["status"] == "completed"


def listened_on(processes: list[psutil.Process]) -> set[str]:
    """The addresses at which these processes can be reached."""
    connections = [connection for process in processes for connection in process.net_connections()]
    return {connection.laddr.ip for connection in connections if connection.status == psutil.CONN_LISTEN}


def wait_for(condition) -> None:
    """Wait until a condition holds, five minutes at most."""
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("waited in vain")


@pytest.mark.slow
def test_torchrun_starts_them_too(accepted_digits: Path, tmp_path: Path) -> None:
    script = tmp_path / "begin.py"
    script.write_text(BEGIN)
    outcome = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", script),
            *(*SETTINGS, "trainer=ddp", "trainer.max_epochs=1"),
        ],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert outcome.returncode == 0, outcome.stderr
    (run,) = tmp_path.glob("outputs/lenet5_mnist/*")
    assert json.loads((run / "metrics.json").read_text())["status"] == "completed"
    assert outcome.stdout.count("test accuracy") == 1


def test_processes_share_out_every_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(kind: type[BatchSampler], size: int, processes: int, seed: int | None) -> list[list[list[int]]]:
        drawn_by = []
        for rank in range(processes):
            monkeypatch.setattr(BatchSampler, "_processes", lambda _, rank=rank: (rank, processes))
            sampler = kind(size, 4, seed)
            draws = [draw.indices.tolist() for draw in sampler]
            assert len(draws) == len(sampler)
            drawn_by.append(draws)
        return drawn_by

    for size in (1, 12, 23, 24, 25, 26):
        tested = drawn(BatchesInOrder, size, 3, None)
        assert len({len(draws) for draws in tested}) == 1
        assert sorted(index for draws in tested for batch in draws for index in batch) == list(range(size))
        trained = drawn(BatchSampler, size, 3, 0)
        assert len({len(draws) for draws in trained}) == 1
        assert all(batch for draws in trained for batch in draws)
        assert len({index for draws in trained for batch in draws for index in batch}) >= size - 2
