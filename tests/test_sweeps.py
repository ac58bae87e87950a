"""Sweeps: gone on with after an interruption, side by side, as a cluster's jobs, as a search."""

import json
import sqlite3
from pathlib import Path

import pytest
import yaml

from cnn_experiments.commands.hydra_command import EXTRA_OF_PLUGIN
from cnn_experiments.trainers import processes
from tests.conftest import QUICK
from tests.test_runs import assert_same_weights

SETTINGS = [*QUICK, "trainer.max_epochs=2"]


def statuses(folder: Path) -> dict[str, str]:
    """The status of each run in a folder, by the name of its directory."""
    found = {file.parent.name: json.loads(file.read_text())["status"] for file in folder.rglob("metrics.json")}
    return dict(sorted(found.items()))


@pytest.mark.slow
def test_an_interrupted_sweep_goes_on(run_command, digits: Path, tmp_path: Path, stop_in_epoch) -> None:
    jobs = ["-m", *SETTINGS, "model.dropout=0.1", "seed=1,2,3"]
    assert run_command("train", *jobs, "hydra.sweep.dir=whole").status == 0

    stop_in_epoch(1)
    outcome = run_command("train", *jobs, "hydra.sweep.dir='the sweep'")
    assert outcome.status == 130
    assert "cnn-train resume=the sweep" in outcome.error
    assert list(statuses(tmp_path / "the sweep").values()) == ["interrupted"]
    broken = next((tmp_path / "the sweep").rglob("metrics.json")).parent

    stop_in_epoch(-1)
    outcome = run_command("train", "resume=the sweep", "datamodule.num_workers=1")
    assert outcome.status == 0, outcome.error
    assert list(statuses(tmp_path / "the sweep").values()) == ["completed"] * 3
    runs = [sorted((tmp_path / name / "lenet5_mnist").iterdir()) for name in ("whole", "the sweep")]
    assert [run.name for run in runs[0]] == [run.name for run in runs[1]]
    assert broken in runs[1]
    for whole, resumed in zip(*runs, strict=True):
        assert_same_weights(whole, resumed)
    assert not (tmp_path / "outputs").exists()
    assert (tmp_path / "the sweep" / "comparison.html").exists()

    before = [(run / "metrics.json").stat().st_mtime_ns for run in runs[1]]
    outcome = run_command("train", "resume=the sweep")  # nothing is left to do
    assert outcome.status == 0
    assert outcome.out.count("complete; nothing is left") == 3
    assert [(run / "metrics.json").stat().st_mtime_ns for run in runs[1]] == before


@pytest.mark.slow
def test_a_failed_job_is_tried_again(run_command, digits: Path, tmp_path: Path, monkeypatch) -> None:
    from cnn_experiments.trainers.callbacks import EpochReport

    def fail(self, trainer, pl_module) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(EpochReport, "on_validation_start", fail)
        outcome = run_command("train", "-m", *SETTINGS, "seed=1,2", "hydra.sweep.dir=sweep")
    assert outcome.status == 1
    assert outcome.out.count("failed: the disk is full") >= 2
    assert list(statuses(tmp_path / "sweep").values()) == ["failed"] * 2
    assert run_command("train", "resume=sweep").status == 0
    assert list(statuses(tmp_path / "sweep").values()) == ["completed"] * 2


def test_a_resumed_sweep_keeps_its_settings(run_command, digits: Path, tmp_path: Path) -> None:
    assert run_command("train", "-m", *SETTINGS, "trainer.max_epochs=1", "seed=1", "hydra.sweep.dir=sweep").status == 0
    outcome = run_command("train", "resume=sweep", "model.dropout=0.5")
    assert outcome.status == 2
    assert "model.dropout: a resumed sweep keeps the settings" in outcome.error


def test_a_sweep_of_an_earlier_version_goes_on(run_command, digits: Path, tmp_path: Path) -> None:
    """Keys that came later are not in the configs of its runs: it did what their defaults do, and nothing else."""
    words = [*SETTINGS, "trainer.max_epochs=1", "seed=1"]
    assert run_command("train", "-m", *words, "hydra.sweep.dir=sweep").status == 0
    (run,) = (tmp_path / "sweep" / "lenet5_mnist").iterdir()
    config = yaml.safe_load((run / "config.yaml").read_text())
    for key in ("cuda_graphs", "label_smoothing", "mixup"):
        del config["trainer"][key]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    outcome = run_command("train", "resume=sweep")
    assert outcome.status == 0
    assert "failed" not in outcome.out + outcome.error
    outcome = run_command("train", *words, "trainer.mixup=0.2", f"hydra.run.dir={run}")
    assert outcome.status == 2
    assert "(trainer.mixup is None there, not 0.2)" in outcome.error


def test_a_directory_of_another_run_is_refused(run_command, digits: Path, tmp_path: Path) -> None:
    settings = [*SETTINGS, "trainer.max_epochs=1", "hydra.run.dir=run"]
    assert run_command("train", *settings).status == 0
    before = (tmp_path / "run" / "metrics.json").read_text()
    outcome = run_command("train", *settings, "model.dropout=0.5")
    assert outcome.status == 2
    assert "hydra.run.dir=run: another run is there already (model.dropout is 0.0 there, not 0.5)" in outcome.error
    assert (tmp_path / "run" / "metrics.json").read_text() == before


def test_a_job_that_is_refused_its_directory_counts_as_failed(run_command, digits: Path, tmp_path: Path) -> None:
    words = ["-m", *SETTINGS, "trainer.max_epochs=1", "seed=1", "hydra.sweep.dir=sweep"]
    assert run_command("train", *words, "hydra.sweep.subdir=one").status == 0
    outcome = run_command("train", *words, "hydra.sweep.subdir=one", "model.dropout=0.5")
    assert outcome.status == 1
    assert "another run is there already (model.dropout is 0.0 there, not 0.5)" in outcome.out


@pytest.mark.parametrize(("launcher", "seeds"), [("local_parallel", [1, 2]), ("slurm_local", [2])])
@pytest.mark.slow
def test_jobs_side_by_side(
    run_command, digits: Path, tmp_path: Path, monkeypatch, launcher: str, seeds: list[int]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # weights are the same, bit for bit, with the same number of threads
    photographs = folder_of_photographs(tmp_path)  # real files: other processes check MNIST's
    settings = [*PHOTOGRAPHS, f"datamodule.source={photographs}", f"launcher={launcher}", "hydra.sweep.dir=sweep"]
    outcome = run_command("train", "-m", *settings, f"seed={','.join(map(str, seeds))}", "model.dropout=0.5,1.5")
    assert outcome.status == 1
    assert sorted(statuses(tmp_path / "sweep").values()) == ["completed"] * len(seeds) + ["failed"] * len(seeds)
    assert (tmp_path / "sweep" / "comparison.md").read_text().count("model.dropout=1.5") == len(seeds)

    alone = [*PHOTOGRAPHS, f"datamodule.source={photographs}", "seed=2", "model.dropout=0.5", "hydra.run.dir=alone"]
    assert run_command("train", *alone).status == 0
    (twin,) = (tmp_path / "sweep").glob("*/*dropout-0.5*" if len(seeds) == 1 else "*/*seed-2*dropout-0.5*")
    assert_same_weights(tmp_path / "alone", twin)


def test_slurms_settings_reach_its_launcher(run_command, tmp_path: Path) -> None:
    outcome = run_command("train", "launcher=slurm", "hydra.launcher.partition=gpu", "--cfg", "hydra")
    launcher = yaml.safe_load(outcome.out)["hydra"]["launcher"]
    assert launcher["_target_"].endswith("SlurmLauncher")
    assert (launcher["partition"], launcher["gpus_per_node"], launcher["array_parallelism"]) == ("gpu", 1, 8)


def test_each_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    own = processes.own_gpu.__wrapped__
    monkeypatch.setattr(processes.torch.cuda, "device_count", lambda: 1)
    assert own() is None
    monkeypatch.setattr(processes.torch.cuda, "device_count", lambda: 2)
    held: list = []
    monkeypatch.setattr(processes, "_held", held)
    assert own() == [0]
    assert own() == [1]
    assert own() in ([0], [1])  # more processes than GPUs
    held.pop(0).release()
    assert own() == [0]


@pytest.mark.parametrize("network", ["lenet5", "alexnet", "googlenet"])
def test_each_network_has_a_search(run_command, tmp_path: Path, network: str) -> None:
    outcome = run_command("train", f"model={network}", "sweeper=optuna", "--cfg", "hydra")
    assert outcome.status == 0, outcome.error
    sweeper = yaml.safe_load(outcome.out)["hydra"]["sweeper"]
    assert sweeper["direction"] == "maximize"
    assert "interval" in sweeper["params"]["model.optimizer.lr"]
    assert len(sweeper["params"]) == 4
    named = run_command("train", f"model={network}", "--cfg", "job").out
    config = yaml.safe_load(named)
    for key in sweeper["params"]:  # each is a key of the config
        part = config
        for name in key.split("."):
            assert name in part, key
            part = part[name]


@pytest.mark.slow
def test_a_search_survives_an_interruption(run_command, digits: Path, tmp_path: Path, stop_in_epoch) -> None:
    search = ["-m", *SETTINGS, "trainer.max_epochs=1", "sweeper=optuna", "hydra.sweeper.n_trials=3"]
    search += ["hydra.sweep.dir=search", "datamodule.batch_size=choice(16,32)"]
    from cnn_experiments.trainers.callbacks import EpochReport

    trials = []
    original = EpochReport.on_fit_start

    def count(self, trainer, pl_module) -> None:
        trials.append(1)
        if len(trials) == 2:
            raise KeyboardInterrupt
        original(self, trainer, pl_module)

    pytest.MonkeyPatch().setattr(EpochReport, "on_fit_start", count)
    try:
        outcome = run_command("train", *search)
    finally:
        EpochReport.on_fit_start = original
    assert outcome.status == 130, outcome.error
    assert "cnn-train resume=search" in outcome.error
    outcome = run_command("train", "resume=search")
    with sqlite3.connect(tmp_path / "search" / "search.db") as database:
        values = database.execute("select value from trial_values").fetchall()
        rates = database.execute(
            "select param_value from trial_params where param_name='model.optimizer.lr'"
        ).fetchall()
    assert len(values) == 3
    assert len({rate for (rate,) in rates}) == 4  # three, and that of the trial that was cut off
    completed = [
        json.loads(file.read_text())
        for file in (tmp_path / "search").rglob("metrics.json")
        if json.loads(file.read_text())["status"] == "completed"
    ]
    assert sorted(run["val/accuracy"] for run in completed) == pytest.approx(sorted(value for (value,) in values))
    assert "Traceback" not in outcome.error


@pytest.mark.parametrize(
    ("setting", "extra"),
    [
        ("launcher=local_parallel", "parallel"),
        ("launcher=slurm", "slurm"),
        ("launcher=ray", "ray"),
        ("sweeper=optuna", "optuna"),
    ],
)
def test_a_missing_extra_is_named(run_command, tmp_path: Path, monkeypatch, setting: str, extra: str) -> None:
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    Plugins.instance()  # which adds to the store what it finds
    store = ConfigStore.instance()
    kept = {
        group: {name: node for name, node in options.items() if name.removesuffix(".yaml") not in EXTRA_OF_PLUGIN}
        if isinstance(options, dict)
        else options
        for group, options in store.repo["hydra"].items()
    }
    monkeypatch.setitem(store.repo, "hydra", kept)
    outcome = run_command("train", "-m", setting, "seed=1,2")
    assert outcome.status == 2
    assert f"pip install 'cnn_experiments[{extra}]'" in outcome.error


PHOTOGRAPHS = [
    "model=alexnet", "model.input_size=64", "model.maps=[8,8,8,8,8]", "model.dense=[16,16]",
    "datamodule.batch_size=8", "datamodule.num_workers=0", "trainer.max_epochs=1", "trainer.gpus=0",
]  # fmt: skip


def folder_of_photographs(tmp_path: Path) -> Path:
    """A few photographs, and their cache, for processes that are started anew."""
    import numpy as np
    from PIL import Image

    folder = tmp_path / "photographs"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(20):
        for label in ("cat", "dog"):
            image = generator.integers(0, 255, (70, 70, 3), dtype=np.uint8)
            Image.fromarray(image).save(folder / f"{label}.{number}.jpg")
    return folder
