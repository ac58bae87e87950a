"""A run from beginning to end, as a user runs it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.plugins.hparams.api_pb2 import Status

from cnn_experiments.datamodules.samplers import Draw
from cnn_experiments.evaluation import hardware
from cnn_experiments.evaluation.run import open_run
from cnn_experiments.runs.directory import RunDirectory
from cnn_experiments.runs.disagreements import read_mistakes
from tests.conftest import QUICK
from tests.endurance.results import differences


def only_run(folder: Path) -> Path:
    (directory,) = folder.glob("outputs/lenet5_mnist/*")
    return directory


def weights(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


def assert_same_weights(one: Path, other: Path) -> None:
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def events(run: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(run), size_guidance={"tensors": 0, "scalars": 0})
    accumulator.Reload()
    return accumulator


def test_a_run_directory_holds_everything(run_command, digits: Path, tmp_path: Path) -> None:
    outcome = run_command("train", *QUICK, "seed=0")
    assert outcome.status == 0
    run = only_run(tmp_path)
    assert {file.name for file in run.iterdir() if "tfevents" not in file.name} == {
        ".hydra", "checkpoints", "config.yaml", "history.csv", "metrics.json", "test_mistakes.npz",
        "test_predictions.npz", "train.log",
    }  # fmt: skip
    assert {file.name for file in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert len(list(run.glob("events.out.tfevents.*"))) == 1

    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["status"] == "completed"
    assert (metrics["model"], metrics["datamodule"], metrics["seed"]) == ("lenet5", "mnist", 0)
    assert (metrics["parameters"], metrics["epochs"], metrics["steps"]) == (60_000, 3, 66)
    assert metrics["images_per_second"] == pytest.approx(3 * 350 / metrics["train_seconds"])
    assert 0 <= metrics["test/accuracy"] <= 1
    assert f"{metrics['test/accuracy']:.4f}" in outcome.out
    assert "tensorboard --logdir outputs" in outcome.out

    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["seed"] == config["datamodule"]["seed"] == 0
    assert config["model"]["num_classes"] == 10
    assert "epoch 3/3" in (run / "train.log").read_text()


def test_what_tensorboard_shows(run_command, digits: Path, tmp_path: Path) -> None:
    run_command("train", *QUICK, "model.dropout=0.1")
    shown = events(only_run(tmp_path))
    scalars = shown.Tags()["scalars"]
    for name in ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "test/loss", "test/accuracy"):
        assert name in scalars
    # 22 steps an epoch, a mean every 5 and one of the rest.
    assert [event.step for event in shown.Scalars("train/loss")][:6] == [5, 10, 15, 20, 22, 27]
    assert len(shown.Scalars("val/accuracy")) == 3
    rates = [event.value for event in shown.Scalars("optimizer/learning_rate")]
    assert max(rates) <= 0.02
    assert rates[-1] < rates[2]

    nodes = {node.name for node in shown_graph(shown).node}
    for layer in ("c1", "s2", "c3", "s4", "c5", "f6", "output"):
        assert any(f"[{layer}]" in node for node in nodes), layer
    text = shown.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "dropout: 0.1" in text
    session = plugin_data_pb2.HParamsPluginData.FromString(
        shown.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    ).session_start_info
    assert session.hparams["model.dropout"].number_value == 0.1
    assert "dropout=0.1" in session.hparams["as typed"].string_value
    ended = shown.SummaryMetadata("_hparams_/session_end_info").plugin_data.content
    assert plugin_data_pb2.HParamsPluginData.FromString(ended).session_end_info.status == Status.STATUS_SUCCESS
    metrics = json.loads((only_run(tmp_path) / "metrics.json").read_text())
    for name, recorded in (
        ("test_accuracy", "test/accuracy"),
        ("test_loss", "test/loss"),
        ("train_images_per_second", "images_per_second"),
        ("train_seconds", "train_seconds"),
        ("val_accuracy", "val/accuracy"),
    ):
        (event,) = shown.Scalars(f"after_training/{name}")
        assert event.value == pytest.approx(metrics[recorded], rel=1e-6), name
    assert shown.Scalars("time/train_seconds")[-1].value == pytest.approx(metrics["train_seconds"], rel=1e-6)


def shown_graph(shown: EventAccumulator):
    from tensorboard.compat.proto.graph_pb2 import GraphDef

    graph = shown.Graph()
    return graph if isinstance(graph, GraphDef) else GraphDef.FromString(graph.SerializeToString())


def test_test_repeats_the_accuracy(run_command, trained) -> None:
    run = trained("run")
    recorded = json.loads((run / "metrics.json").read_text())
    for arguments in (
        [f"run={run}"],
        [f"checkpoint={run / 'checkpoints/best.ckpt'}"],
        [f"run={run}", f"checkpoint={run / 'checkpoints/best.ckpt'}", "trainer.gpus=0", "datamodule.num_workers=1"],
    ):
        outcome = run_command("test", *arguments)
        assert outcome.status == 0, outcome.error
        figures = dict(line.split() for line in outcome.out.splitlines())
        assert {name: float(value) for name, value in figures.items()} == {
            "test/loss": recorded["test/loss"],
            "test/accuracy": recorded["test/accuracy"],
        }


def test_the_same_seed_gives_the_same_weights(run_command, digits: Path, tmp_path: Path) -> None:
    settings = [*QUICK, "model.dropout=0.3", "datamodule.distortion.shift=2", "trainer.max_epochs=2"]
    for name, more in (
        ("one", ["seed=0"]),
        ("two", ["seed=0", "datamodule.num_workers=2"]),
        ("other", ["seed=1"]),
    ):
        assert run_command("train", *settings, *more, f"hydra.run.dir={name}").status == 0
    assert_same_weights(tmp_path / "one", tmp_path / "two")
    assert not torch.equal(
        weights(tmp_path / "one")["network.c5.convolution.weight"],
        weights(tmp_path / "other")["network.c5.convolution.weight"],
    )


BY_STEPS = ("trainer.max_steps=60", "trainer.val_check_interval=15", "trainer.check_val_every_n_epoch=null")


@pytest.mark.parametrize(
    ("epoch", "more", "on_resuming"),
    [
        pytest.param(1, (), (), marks=pytest.mark.slow),
        (2, (), ("datamodule.num_workers=2",)),
        pytest.param(1, BY_STEPS, (), marks=pytest.mark.slow),
        pytest.param(2, BY_STEPS, (), marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_run_goes_on_as_if_nothing_had_been(
    run_command, digits: Path, tmp_path: Path, stop_in_epoch, epoch: int, more: tuple, on_resuming: tuple
) -> None:
    settings = [*QUICK, "model.dropout=0.3", "datamodule.distortion.rotation=5", *more]
    assert run_command("train", *settings, "hydra.run.dir=whole").status == 0

    stop_in_epoch(epoch)
    outcome = run_command("train", *settings, "hydra.run.dir=broken")
    assert outcome.status == 130
    assert "cnn-train resume=broken" in outcome.error
    broken = tmp_path / "broken"
    assert json.loads((broken / "metrics.json").read_text())["status"] == "interrupted"
    record = (broken / ".hydra" / "overrides.yaml").read_text()

    stop_in_epoch(-1)
    outcome = run_command("train", "resume=broken", *on_resuming)
    assert outcome.status == 0, outcome.error
    assert "Traceback" not in outcome.error
    assert differences(tmp_path / "whole", broken) == []
    assert (broken / ".hydra" / "overrides.yaml").read_text() == record
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
def test_a_run_interrupted_in_its_first_epoch_starts_over(run_command, digits, tmp_path, stop_in_epoch) -> None:
    stop_in_epoch(0)
    assert run_command("train", *QUICK, "hydra.run.dir=broken").status == 130
    stop_in_epoch(-1)
    assert run_command("train", "resume=broken").status == 0
    assert run_command("train", *QUICK, "hydra.run.dir=whole").status == 0
    assert_same_weights(tmp_path / "whole", tmp_path / "broken")
    steps = [event.step for event in events(tmp_path / "broken").Scalars("train/loss")]
    assert steps == sorted(set(steps))


def test_a_run_interrupted_in_its_test_only_tests(run_command, trained, tmp_path: Path) -> None:
    trained("run")
    file = tmp_path / "run" / "metrics.json"
    before, before_weights = json.loads(file.read_text()), weights(tmp_path / "run")
    file.write_text(json.dumps({**before, "status": "interrupted"}))
    for _ in range(2):  # as if it had been ended between its test and the record of it, twice
        file.write_text(json.dumps({**before, "status": "interrupted"}))
        assert run_command("train", "resume=run").status == 0
    assert json.loads(file.read_text()) == before
    assert all(torch.equal(value, before_weights[name]) for name, value in weights(tmp_path / "run").items())
    for name, steps in (("test/loss", [67]), ("val/loss", [22, 44, 66])):
        assert [event.step for event in events(tmp_path / "run").Scalars(name)] == steps
        for several_files in (None, lambda moment: True):  # as `tensorboard --reload_multifile`
            shown = plugin_event_accumulator.EventAccumulator(
                str(tmp_path / "run"), tensor_size_guidance={"scalars": 0}, event_file_active_filter=several_files
            )
            shown.Reload()
            assert [event.step for event in shown.Tensors(name)] == steps


def test_a_complete_run_is_left_as_it_is(run_command, trained, tmp_path: Path) -> None:
    trained("run", "trainer.max_epochs=1")
    before = (tmp_path / "run" / "metrics.json").read_text()
    outcome = run_command("train", "resume=run")
    assert outcome.status == 0
    assert "complete" in outcome.out
    assert (tmp_path / "run" / "metrics.json").read_text() == before


def test_a_sweep_has_a_run_for_each_combination(run_command, digits: Path, tmp_path: Path) -> None:
    outcome = run_command("train", "-m", *QUICK, "trainer.max_epochs=1", "seed=1,2", "model.dropout=0,0.5")
    assert outcome.status == 0, outcome.error
    runs = list(tmp_path.glob("outputs/sweeps/*/lenet5_mnist/*"))
    assert len(runs) == 4
    configs = [yaml.safe_load((run / "config.yaml").read_text()) for run in runs]
    assert {(config["seed"], config["model"]["dropout"]) for config in configs} == {(1, 0), (1, 0.5), (2, 0), (2, 0.5)}
    assert all(json.loads((run / "metrics.json").read_text())["status"] == "completed" for run in runs)
    assert not any("=" in str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))


@pytest.mark.slow
def test_a_failed_job_stops_no_other_and_shows(run_command, digits: Path, tmp_path: Path) -> None:
    outcome = run_command("train", "-m", *QUICK, "trainer.max_epochs=1", "model.dropout=0,1.5,0.5")
    assert outcome.status == 1
    assert "model.dropout=1.5" in outcome.out
    assert "Traceback" not in outcome.out + outcome.error
    metrics = [json.loads(file.read_text()) for file in tmp_path.glob("outputs/sweeps/*/lenet5_mnist/*/metrics.json")]
    assert sorted(run["status"] for run in metrics) == ["completed", "completed", "failed"]


def test_a_diverging_run_says_so(run_command, digits: Path, tmp_path: Path) -> None:
    outcome = run_command(
        "train", *QUICK, "model.optimizer.lr=1e38", "model.schedule.warmup=0", "model.subsampling=average"
    )
    assert outcome.status == 1
    assert "diverged" in outcome.error
    assert "model.optimizer.lr" in outcome.error
    assert "Traceback" not in outcome.error
    metrics = json.loads((only_run(tmp_path) / "metrics.json").read_text())
    assert metrics["status"] == "failed"
    assert "diverged" in metrics["error"]


@pytest.mark.parametrize("preset", ["lenet5_article", "lenet5_paper", "lenet5_best"])
def test_presets_train(run_command, digits: Path, tmp_path: Path, preset: str) -> None:
    quick = [setting for setting in QUICK if "max_epochs" not in setting and "batch_size" not in setting]
    outcome = run_command("train", f"experiment={preset}", *quick, "trainer.max_epochs=2")
    assert outcome.status == 0, outcome.error
    parameters = json.loads((only_run(tmp_path) / "metrics.json").read_text())["parameters"]
    assert parameters == (61_706 if preset == "lenet5_article" else 60_000)


@pytest.mark.slow
def test_it_learns(run_command, digits: Path, tmp_path: Path) -> None:
    run_command("train", *QUICK, "trainer.max_epochs=15")
    assert json.loads((only_run(tmp_path) / "metrics.json").read_text())["test/accuracy"] > 0.8


def test_without_validation_the_last_epoch_is_tested(run_command, digits: Path, tmp_path: Path) -> None:
    outcome = run_command("train", *QUICK, "trainer.limit_val_batches=0")
    assert outcome.status == 0, outcome.error
    metrics = json.loads((only_run(tmp_path) / "metrics.json").read_text())
    assert metrics["val/accuracy"] is None
    assert metrics["test/accuracy"] > 0


def test_steps_that_end_within_an_epoch_are_logged(run_command, digits: Path, tmp_path: Path) -> None:
    words = ("trainer.max_steps=7", "model.schedule.warmup=0", "hydra.run.dir=run")
    assert run_command("train", *QUICK, "trainer.log_every_n_steps=1", *words).status == 0
    losses = [event.value for event in events(tmp_path / "run").Scalars("train/loss")]
    assert len(losses) == 7
    for every, means in ((5, [sum(losses[:5]) / 5, sum(losses[5:]) / 2]), (50, [sum(losses) / 7])):
        again = f"every_{every}"
        outcome = run_command(
            "train", *QUICK, f"trainer.log_every_n_steps={every}", *words[:2], f"hydra.run.dir={again}"
        )
        assert outcome.status == 0, outcome.error
        logged = events(tmp_path / again)
        assert [event.step for event in logged.Scalars("train/loss")] == [5, 7][-len(means) :]
        assert [event.value for event in logged.Scalars("train/loss")] == pytest.approx(means)
        assert open_run(again).history[0]["train/loss"] == pytest.approx(means[-1], rel=1e-6)
        rates = [events(tmp_path / run).Scalars("optimizer/learning_rate")[-1].value for run in ("run", again)]
        assert rates[0] == rates[1] > 0


@pytest.mark.slow
def test_gradient_accumulation_counts_steps(run_command, digits: Path, tmp_path: Path) -> None:
    assert run_command("train", *QUICK, "trainer.accumulate_grad_batches=2", "trainer.precision=bf16-mixed").status == 0
    assert json.loads((only_run(tmp_path) / "metrics.json").read_text())["steps"] == 33


@pytest.mark.parametrize(
    "setting",
    [
        "trainer.fast_dev_run=true",
        pytest.param("trainer.overfit_batches=2", marks=pytest.mark.slow),
        pytest.param("trainer.profiler=simple", marks=pytest.mark.slow),
        "trainer.max_time=00:00:01:00",
        "trainer.limit_train_batches=0.5",
        pytest.param("trainer.detect_anomaly=true", marks=pytest.mark.slow),
        pytest.param("trainer.deterministic=true", marks=pytest.mark.slow),
        pytest.param("trainer.gradient_clip_val=0.5", marks=pytest.mark.slow),
        pytest.param("trainer.reload_dataloaders_every_n_epochs=1", marks=pytest.mark.slow),
        "datamodule.limit=40",
    ],
)
def test_lightnings_own_keys(run_command, digits: Path, tmp_path: Path, setting: str) -> None:
    outcome = run_command("train", *QUICK, "trainer.max_epochs=2", setting)
    assert outcome.status == 0, outcome.error
    assert json.loads((only_run(tmp_path) / "metrics.json").read_text())["status"] == "completed"


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [
        ("64-true", torch.float64),
        pytest.param("bf16-true", torch.bfloat16, marks=pytest.mark.slow),
        pytest.param("16-true", torch.float16, marks=pytest.mark.slow),
    ],
)
def test_weights_of_another_precision(
    run_command, digits: Path, tmp_path: Path, precision: str, dtype: torch.dtype
) -> None:
    words = ("trainer.mixup=0.2", "trainer.max_epochs=1", "logging=full", "hydra.run.dir=run")
    outcome = run_command("train", *QUICK, *words, f"trainer.precision={precision}")
    assert outcome.status == 0, outcome.error
    assert {weight.dtype for weight in weights(tmp_path / "run").values() if weight.is_floating_point()} == {dtype}
    figures = dict(line.split() for line in run_command("test", "run=run").out.splitlines()[-2:])
    assert float(figures["test/loss"]) == open_run("run").metrics["test/loss"]


@pytest.mark.slow
def test_a_compiled_network_has_the_same_checkpoint(run_command, digits: Path, tmp_path: Path) -> None:
    assert run_command("train", *QUICK, "trainer.max_epochs=1", "hydra.run.dir=plain").status == 0
    settings = [*QUICK, "trainer.max_epochs=1", "model.compile=true", "hydra.run.dir=compiled"]
    assert run_command("train", *settings).status == 0
    plain, compiled = weights(tmp_path / "plain"), weights(tmp_path / "compiled")
    assert plain.keys() == compiled.keys()
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value, rtol=1e-3, atol=1e-3)
    assert run_command("test", "run=compiled").status == 0


@pytest.mark.slow
def test_auto_is_recorded_as_what_it_became(
    run_command, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_in_epoch
) -> None:
    words = [*QUICK, "trainer.precision=auto", "hydra.run.dir=run"]
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": True})
    stop_in_epoch(1)
    assert run_command("train", *words).status == 130
    stop_in_epoch(-1)
    run = tmp_path / "run"
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["hyper_parameters"]["config"]["trainer"]["precision"] == "bf16-mixed"
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["precision"] == "bf16-mixed"
    text = events(run).Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "precision: bf16-mixed" in text

    # On another machine it keeps its precision, whether it is resumed as a run or as a job of a sweep.
    monkeypatch.setattr("torch.cpu.get_capabilities", dict)
    hardware.warn_of_slow_bf16.cache_clear()
    outcome = run_command("train", *words)
    assert outcome.status == 0, outcome.error
    assert outcome.out.count("this processor has no units for bf16, which makes training 13 to 17 times slower") == 1
    metrics = json.loads((run / "metrics.json").read_text())
    assert (metrics["status"], metrics["precision"], metrics["test_images"]) == ("completed", "bf16-mixed", 100)
    hardware.warn_of_slow_bf16.cache_clear()
    outcome = run_command("test", "run=run")
    assert f"test/loss {metrics['test/loss']}" in outcome.out
    assert "no units for bf16" in outcome.out

    # Runs of earlier versions recorded `auto` itself, and beside it what it became.
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("bf16-mixed", "auto"))
    assert RunDirectory(run).config()["trainer"]["precision"] == "bf16-mixed"


def test_a_run_records_how_it_came_to_be(run_command, digits: Path, tmp_path: Path) -> None:
    assert run_command("train", *QUICK, "trainer.precision=auto", "hydra.run.dir=run").status == 0
    metrics_file = tmp_path / "run" / "metrics.json"
    metrics = json.loads(metrics_file.read_text())
    assert metrics["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert metrics["versions"].keys() >= {"python", "cnn-experiments", "pytorch-lightning"}
    assert metrics["device"] == "cpu"
    assert metrics["precision"] in ("32-true", "bf16-mixed")  # what auto became
    assert metrics["threads"] == torch.get_num_threads()
    assert metrics["overrides"] == [*QUICK, "trainer.precision=auto"]
    assert {"commit", "clean", "operating_system", "processor", "data_fingerprint"} <= metrics.keys()
    assert "Careful" not in run_command("test", "run=run").out

    metrics["versions"]["torch"] = "1.0.0"
    metrics["data_fingerprint"] = "0" * 64
    metrics_file.write_text(json.dumps(metrics))
    outcome = run_command("test", "run=run")
    assert "Careful, the run was made with torch 1.0.0" in outcome.out
    assert "Careful, the data are not those that the run was trained on" in outcome.out
    assert f"test/accuracy {metrics['test/accuracy']}" in outcome.out


def test_an_unknown_version_of_lightning_is_refused(run_command, digits: Path, monkeypatch) -> None:
    monkeypatch.setattr("cnn_experiments.trainers.lightning_internals.version", lambda name: "3.1.4")
    outcome = run_command("train", *QUICK)
    assert outcome.status == 1
    assert "pytorch-lightning 3.1.4 is installed, but" in outcome.error
    assert "pip install 'pytorch-lightning>=2.6.6,<2.7'" in outcome.error


@pytest.mark.slow
def test_an_epoch_without_validation_has_no_validation_figures(run_command, digits: Path, tmp_path: Path) -> None:
    assert run_command("train", *QUICK, "trainer.check_val_every_n_epoch=2", "trainer.max_epochs=4").status == 0
    lines = (only_run(tmp_path) / "history.csv").read_text().splitlines()
    assert [line.endswith(",,") for line in lines[1:]] == [True, False, True, False]


def test_a_run_is_resumed_in_as_many_processes_as_it_began_in(run_command, digits, tmp_path, stop_in_epoch) -> None:
    stop_in_epoch(1)
    assert run_command("train", *QUICK, "hydra.run.dir=run").status == 130
    stop_in_epoch(-1)
    metrics = tmp_path / "run" / "metrics.json"
    recorded = json.loads(metrics.read_text())
    assert recorded["processes"] == 1
    metrics.write_text(json.dumps({**recorded, "processes": 4}))
    before = {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()}
    outcome = run_command("train", "resume=run", "trainer.gpus=0")
    assert outcome.status == 2
    assert "trainer.gpus=0: this trains in 1 process here, and the run began in 4" in outcome.error
    outcome = run_command("train", "resume=run", "trainer.devices=4")
    assert outcome.status == 2
    assert "trainer.devices: a resumed run keeps the settings it began with" in outcome.error
    assert "num_workers, logger, trainer.enable_progress_bar, trainer.gpus, trainer.snapshots. " in outcome.error
    assert before == {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()}


def test_a_run_is_not_resumed_on_other_data(run_command, digits: Path, tmp_path: Path, stop_in_epoch) -> None:
    stop_in_epoch(1)
    assert run_command("train", *QUICK, "hydra.run.dir=run").status == 130
    stop_in_epoch(-1)
    metrics = tmp_path / "run" / "metrics.json"
    kept = metrics.read_text()
    metrics.write_text(json.dumps({**json.loads(kept), "data_fingerprint": "0" * 64}))
    before = metrics.read_text()
    outcome = run_command("train", "resume=run")
    assert outcome.status == 2
    assert "resume: the data are not those that the run began with" in outcome.error
    assert metrics.read_text() == before
    metrics.write_text(kept)
    assert run_command("train", "resume=run").status == 0


def test_the_error_of_a_failed_run_is_forgotten_when_it_goes_on(run_command, trained) -> None:
    run = RunDirectory(trained("run", "trainer.max_epochs=1"))
    run.record(status="failed", error="no space left")
    assert run.metrics()["error"] == "no space left"
    assert run_command("train", "resume=run").status == 0
    assert "error" not in run.metrics()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trainer.val_check_interval=23"], "trainer.val_check_interval=23: an epoch has 22 batches"),
        (
            ["trainer.val_check_interval=9", "trainer.limit_train_batches=8"],
            "trainer.val_check_interval=9: an epoch has trainer.limit_train_batches=8 batches",
        ),
        (["trainer.limit_train_batches=0.01"], "trainer.limit_train_batches=0.01: this is less than one batch of 22"),
        (["trainer.limit_val_batches=0.01"], "trainer.limit_val_batches=0.01: this is less than one batch of 1"),
        (["trainer.limit_test_batches=0"], "trainer.limit_test_batches=0: this is less than one batch of 1"),
        (["trainer.limit_test_batches=0.5"], "trainer.limit_test_batches=0.5: this is less than one batch of 1"),
        (["trainer.limit_train_batches=0"], "trainer.limit_train_batches=0: "),
        (["trainer.max_epochs=0"], "trainer.max_epochs=0: "),
        (["trainer.max_steps=0"], "trainer.max_steps=0: "),
        (["trainer.max_epochs=-1"], "trainer.max_epochs=-1: the learning rate"),
        (["trainer.log_every_n_steps=0"], "trainer.log_every_n_steps=0: "),
        (["trainer.check_val_every_n_epoch=0"], "trainer.check_val_every_n_epoch=0: "),
        (["trainer.accumulate_grad_batches=0"], "trainer.accumulate_grad_batches=0: "),
        (["trainer.strategy=ddp_spawn", "trainer.devices=2"], "trainer.strategy=ddp_spawn: "),
        (["trainer.devices=0"], "trainer.devices=0: "),
        (["trainer.num_nodes=2", "hydra.run.dir=run"], "trainer.num_nodes=2: start the processes on all machines"),
    ],
)
def test_what_would_end_the_training_later_is_refused(
    run_command, digits: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    outcome = run_command("train", *QUICK, *words)
    assert outcome.status == 2, outcome
    assert message in outcome.error
    assert len(outcome.error.splitlines()) == 1
    assert not list(tmp_path.rglob("metrics.json"))
    assert not list(tmp_path.rglob("*tfevents*"))


def test_processes_that_others_started_must_be_as_many_as_the_settings_mean(
    run_command, digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "2")
    outcome = run_command("train", *QUICK)
    assert outcome.status == 2
    assert (
        "2 processes were started, but trainer.devices (or trainer.gpus) and trainer.num_nodes mean 1" in outcome.error
    )


def test_snapshots_are_the_weights_after_each_epoch(run_command, digits: Path, tmp_path: Path) -> None:
    run_command("train", *QUICK, "trainer.snapshots=1")
    run = open_run(directory := only_run(tmp_path))
    assert run.epochs == [0, 1, 2, 3]
    after = {name.removeprefix("network."): tensor for name, tensor in weights(directory).items()}
    kept = run.weights_at(3)
    assert kept.keys() == after.keys()
    assert all(torch.equal(tensor, after[name].half().float()) for name, tensor in kept.items())
    first, second = run.weights_at(1), run.weights_at(2)
    assert not any(torch.equal(first[name], second[name]) for name, _ in run.network().named_parameters())


@pytest.mark.slow
def test_snapshots_every_second_epoch(run_command, digits: Path, tmp_path: Path) -> None:
    run_command("train", *QUICK, "trainer.snapshots=2")
    assert [file.name for file in (only_run(tmp_path) / "snapshots").iterdir()] == ["epoch_0002.pt"]


@pytest.mark.parametrize("value", ["0", "-1", "often"])
def test_an_impossible_interval_of_snapshots(run_command, digits: Path, value: str) -> None:
    outcome = run_command("train", *QUICK, f"trainer.snapshots={value}")
    assert outcome.status == 2
    assert f"trainer.snapshots={value}" in outcome.error


def test_a_run_without_predictions_gets_them_from_its_test(run_command, trained) -> None:
    run = RunDirectory(trained("run", "trainer.max_epochs=1"))
    before = {name: array.tolist() for name, array in np.load(run.predictions_file).items()}
    run.predictions_file.unlink()
    pictures = read_mistakes(run.mistakes_file)
    run.mistakes_file.unlink()
    outcome = run_command("test", "run=run")
    assert outcome.out.splitlines()[-1] == "written: run/test_predictions.npz, run/test_mistakes.npz"
    wrong = np.nonzero(np.not_equal(before["labels"], before["predictions"]))[0].tolist()
    assert list(pictures) == list(read_mistakes(run.mistakes_file)) == wrong
    images = open_run("run").data.images_of("test")
    for place, picture in pictures.items():  # ink is dark, as on paper
        digit = 255 - images[Draw(torch.tensor([place]))][0][0].permute(1, 2, 0).numpy()
        assert (digit == picture).all()
    assert {name: array.tolist() for name, array in np.load(run.predictions_file).items()} == before
    assert "written" not in run_command("test", "run=run").out

    run.predictions_file.unlink()
    run.record(**{"test/accuracy": 0.5})  # of another test than this one
    assert "written" not in run_command("test", "run=run").out
    assert not run.predictions_file.exists()
