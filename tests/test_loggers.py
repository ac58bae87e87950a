"""Where figures are logged while a network trains: TensorBoard's table of runs, MLflow, Weights & Biases."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams.backend_context import Context
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from cnn_experiments.errors import UserError
from cnn_experiments.trainers import loggers
from cnn_experiments.trainers.tensorboard import hyperparameters
from tests.conftest import QUICK, QUICK_PHOTOGRAPHS, SMALL_ALEXNET


@pytest.fixture(autouse=True)
def _no_settings_of_trackers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "WANDB_"))]:
        monkeypatch.delenv(name)


def mlflow_client(address: str) -> Any:
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed")
    return mlflow.MlflowClient(address)


def metrics_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "metrics.json").read_text())


def table_of_runs(folder: Path) -> tuple[list[str], list[str]]:
    """The columns of TensorBoard's HParams page, in its order: hyperparameters and figures."""
    multiplexer = EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    backend = Context(TBContext(data_provider=MultiplexerDataProvider(multiplexer, str(folder))))
    runs = backend.hparams_metadata(RequestContext(), "")
    experiment = backend.experiment_from_metadata(RequestContext(), "", True, runs, None)
    return [info.name for info in experiment.hparam_infos], [info.name.tag for info in experiment.metric_infos]


@pytest.mark.parametrize(
    ("runs", "first"),
    [
        ([("model.dropout=0.5", "seed=1"), ("seed=2",)], ["as typed", "model.dropout", "seed"]),
        ([("trainer.early_stopping=3",), ()], ["as typed", "trainer.early_stopping"]),
        ([("model.c3=full",)], ["as typed"]),
    ],
)
def test_the_table_of_runs_begins_with_what_differs_or_was_typed(
    settings: Callable, tmp_path: Path, runs: list[tuple[str, ...]], first: list[str]
) -> None:
    for number, words in enumerate(runs):
        with SummaryWriter(tmp_path / str(number)) as writer:
            _, begun, _ = hparams(hyperparameters(settings(*words)), {})
            writer.file_writer.add_summary(begun)
            for name in ("memory/process_gib", "after_training/test_accuracy", "dead_relus/c1", "val/accuracy"):
                writer.add_scalar(name, 0.5, 1)
    columns, figures = table_of_runs(tmp_path)
    assert columns[: len(first)] == first
    assert figures[0] == "after_training/test_accuracy"


def test_what_was_typed_is_short_and_about_the_result(settings: Callable) -> None:
    words = (
        "experiment=lenet5_paper",
        "model.optimizer.lr=0.00212345678",
        "logging=full",
        "logger=[]",
        "trainer.gpus=0",
    )
    values = hyperparameters(settings(*words))
    assert values["as typed"] == "lenet5_paper lr=0.002123"
    assert (values["trainer.early_stopping"], values["seed"]) == ("null", 42)
    assert not {"logger", "trainer.gpus", "datamodule.num_classes", "datamodule.data_dir"} & values.keys()
    assert hyperparameters(settings())["as typed"] == "defaults"


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("logger=mlfow", "logger=mlfow: there is no such logger. Did you mean mlflow?"),
        ("logger=[mlflow,mlflow]", "logger=[mlflow,mlflow]: mlflow is there twice. Name each logger once"),
        ("logger=5", "logger=5: give the name of a logger (tensorboard, mlflow, wandb), or a list"),
        ("logger={a:1}", "logger={'a': 1}: give the name of a logger"),
    ],
)
def test_wrong_loggers(settings: Callable, word: str, problem: str) -> None:
    with pytest.raises(UserError) as caught:
        settings(word)
    assert str(caught.value).startswith(problem)


def test_loggers_are_named_singly_or_in_a_list(settings: Callable) -> None:
    assert settings().loggers == ("tensorboard",)
    assert settings("logger=mlflow").loggers == ("mlflow",)
    assert settings("logger=[tensorboard,wandb]").loggers == ("tensorboard", "wandb")


def test_a_missing_package_is_named_before_anything_is_loaded(run_command, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    monkeypatch.setenv("CNN_EXPERIMENTS_DATA", str(tmp_path / "nothing"))
    outcome = run_command("train", "logger=[mlflow]", "hydra.run.dir=run")
    assert outcome.status == 2
    assert outcome.error == "logger=mlflow: this needs the extra mlflow: pip install 'cnn_experiments[mlflow]'\n"
    assert not (tmp_path / "run" / "config.yaml").exists()
    assert not (tmp_path / "nothing").exists()


def test_without_any_logger_the_run_directory_has_the_figures(run_command, digits: Path, tmp_path: Path) -> None:
    words = [*QUICK, "trainer.max_epochs=1", "logger=[]", "logging=full", "hydra.run.dir=run"]
    outcome = run_command("train", *words)
    assert outcome.status == 0, outcome.error
    assert "tensorboard" not in outcome.out
    names = {file.name for file in (tmp_path / "run").iterdir()}
    assert {"history.csv", "metrics.json"} <= names
    assert not [name for name in names if "tfevents" in name or "projector" in name]


@pytest.mark.parametrize("recorded", ["wandb", ["tensorboard", "mlflow"]])
def test_a_received_run_writes_nothing_outside_its_folder(
    run_command, trained: Callable, tmp_path: Path, recorded: object
) -> None:
    run = trained("received", "trainer.max_epochs=1")
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**config, "logger": recorded}))
    (run / "metrics.json").write_text(json.dumps({**metrics_of(run), "status": "interrupted"}))
    outcome = run_command("train", "resume=received")
    assert outcome.status == 2
    assert "outside its folder" in outcome.error
    assert not (tmp_path / "outputs").exists()
    assert run_command("train", "resume=received", "logger=tensorboard").status == 0


@pytest.mark.parametrize("identifier", ["../../x", 5, "DROP TABLE", "a" * 33])
def test_a_recorded_identifier_is_checked(run_command, trained: Callable, identifier: object) -> None:
    run = trained("received", "trainer.max_epochs=1")
    metrics = {**metrics_of(run), "status": "interrupted", "mlflow_run_id": identifier}
    (run / "metrics.json").write_text(json.dumps(metrics))
    outcome = run_command("train", "resume=received", "logger=mlflow")
    assert outcome.status == 2
    assert "mlflow_run_id is no identifier of a run" in outcome.error


def test_mlflow_has_the_figures_of_a_run_once_however_often_it_was_resumed(
    run_command, trained: Callable, tmp_path: Path, stop_in_epoch: Callable
) -> None:
    pytest.importorskip("mlflow", reason="MLflow is not installed")
    plain = trained("plain")
    stop_in_epoch(2)
    outcome = run_command("train", *QUICK, "logger=[tensorboard,mlflow]", "hydra.run.dir=run")
    assert outcome.status == 130, outcome.error
    client = mlflow_client(f"sqlite:///{tmp_path}/outputs/mlflow.db")
    begun = metrics_of(tmp_path / "run")["mlflow_run_id"]
    assert client.get_run(begun).info.status == "KILLED"

    stop_in_epoch(-1)
    outcome = run_command("train", "resume=run")
    assert outcome.status == 0, outcome.error
    assert "mlflow server --backend-store-uri sqlite:///outputs/mlflow.db" in outcome.out
    experiment = client.get_experiment_by_name("lenet5_mnist")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_id, run.info.status, run.info.run_name) == (begun, "FINISHED", "run")
    assert run.data.params["model.dropout"] == "0.0"
    metrics = metrics_of(tmp_path / "run")
    assert (
        run.data.metrics["after_training/test_accuracy"]
        == metrics["test/accuracy"]
        == metrics_of(plain)["test/accuracy"]
    )
    shown = EventAccumulator(str(tmp_path / "run"), size_guidance={"scalars": 0}).Reload()
    assert {"train/loss", "val/accuracy", "time/images_per_second", "test/loss"} <= run.data.metrics.keys()
    for name in run.data.metrics:
        points = sorted((point.step, point.value) for point in client.get_metric_history(begun, name))
        expected = [(event.step, event.value) for event in shown.Scalars(name)]
        assert [step for step, _ in points] == [step for step, _ in expected], name
        if not name.startswith(("time/", "after_training/train_")):  # those of steps that ran twice differ
            assert [value for _, value in points] == pytest.approx([value for _, value in expected]), name
    weights = [
        torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for run in (plain, tmp_path / "run")
    ]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert "MLFLOW_TRACKING_URI" not in os.environ

    shutil.move(tmp_path / "outputs", tmp_path / "elsewhere")
    (tmp_path / "run" / "metrics.json").write_text(json.dumps({**metrics, "status": "interrupted"}))
    outcome = run_command("train", "resume=run")
    assert outcome.status == 2
    assert "outputs/mlflow.db does not hold the MLflow run that run began" in outcome.error
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_mlflows_server_shows_a_run(run_command, photographs: Path, tmp_path: Path, processes: int) -> None:
    pytest.importorskip("mlflow", reason="MLflow is not installed")
    words = ["trainer.max_epochs=1", *(["trainer=ddp"] if processes == 2 else [])]
    outcome = run_command("train", *SMALL_ALEXNET, *QUICK_PHOTOGRAPHS, *words, "logger=mlflow", "hydra.run.dir=run")
    assert outcome.status == 0, outcome.error
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = f"sqlite:///{tmp_path}/outputs/mlflow.db"
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        store,
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            address = f"http://127.0.0.1:{port}"
            until = time.monotonic() + 120
            while True:
                try:
                    urllib.request.urlopen(f"{address}/health", timeout=5).close()
                    break
                except OSError:
                    assert server.poll() is None
                    assert time.monotonic() < until
                    time.sleep(1)
            assert b"MLflow" in urllib.request.urlopen(address, timeout=30).read()
            client = mlflow_client(address)
            experiment = client.get_experiment_by_name("alexnet_dogs_vs_cats")
            (run,) = client.search_runs([experiment.experiment_id])
            metrics = metrics_of(tmp_path / "run")
            assert (run.info.run_id, run.info.status) == (metrics["mlflow_run_id"], "FINISHED")
            assert run.data.metrics["test/accuracy"] == metrics["test/accuracy"]
        finally:
            server.terminate()


@pytest.mark.slow
def test_wandb_offline(run_command, digits: Path, tmp_path: Path, monkeypatch, stop_in_epoch: Callable) -> None:
    pytest.importorskip("wandb", reason="W&B is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    words = "logger=[tensorboard,wandb]"
    stop_in_epoch(1)
    assert run_command("train", *QUICK, words, "trainer.max_epochs=2", "hydra.run.dir=run").status == 130
    begun = metrics_of(tmp_path / "run")["wandb_run_id"]
    stop_in_epoch(-1)
    outcome = run_command("train", "resume=run", words)
    assert outcome.status == 0, outcome.error
    assert metrics_of(tmp_path / "run")["wandb_run_id"] == begun
    kept = list((tmp_path / "outputs" / "wandb").glob(f"offline-run-*-{begun}/run-{begun}.wandb"))
    assert len(kept) == 2
    assert any(b"after_training/test_accuracy" in file.read_bytes() for file in kept)
    assert not (tmp_path / "run" / "wandb").exists()
