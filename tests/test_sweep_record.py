"""The record of a sweep: what resumes it, and that nothing else can come out of it."""

import json
import shlex
from pathlib import Path

import pytest
import yaml

from cnn_experiments.errors import UserError
from cnn_experiments.runs.sweep import (
    RECORD,
    is_sweep,
    name_of_job,
    read_record,
    words_of_resumed_sweep,
    write_record,
)

TASK = ["model=lenet5,alexnet", "seed=1,2", "model.dropout=0.5", "datamodule.class_names=[고양이,dog]"]


def sweep_with(folder: Path, **begun: object) -> Path:
    """A folder with a record that somebody wrote."""
    folder.mkdir()
    (folder / RECORD).write_text(yaml.safe_dump({"task": [], "hydra": [], **begun}))
    return folder


def finish(folder: Path, name: str, text: str = '{"status": "completed"}') -> None:
    (folder / "lenet5_mnist" / name).mkdir(parents=True)
    (folder / "lenet5_mnist" / name / "metrics.json").write_text(text)


def test_a_sweep_is_begun_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "the sweep's"
    assert not is_sweep(folder)
    write_record(folder, TASK, ["hydra.sweep.dir=somewhere"])
    assert is_sweep(folder)
    words = words_of_resumed_sweep(str(folder), ["trainer.gpus=0", "launcher=slurm"])
    quoted = str(folder).replace("'", "\\'")
    assert words == ["--multirun", *TASK, "trainer.gpus=0", "launcher=slurm", f"hydra.sweep.dir='{quoted}'"]


def test_the_folder_is_what_hydra_makes_of_it(tmp_path: Path) -> None:
    parser = pytest.importorskip("hydra.core.override_parser.overrides_parser").OverridesParser.create()
    for name in ("the sweep's", r"a\b", r"a\'b", "a,b=c", "한국", "a\\", r"\\'"):
        folder = tmp_path / name
        write_record(folder, ["seed=1"], [])
        (override,) = parser.parse_overrides([words_of_resumed_sweep(folder, [])[-1]])
        assert override.value() == str(folder)


def test_a_record_is_kept(tmp_path: Path) -> None:
    write_record(tmp_path, ["seed=1"], [])
    write_record(tmp_path, ["seed=2"], [])
    assert read_record(tmp_path).task == ["seed=1"]


def test_a_search_keeps_the_number_of_its_trials(tmp_path: Path) -> None:
    write_record(tmp_path, ["seed=1"], ["hydra.sweeper.n_trials=5"], {"trials": 5, "seed": 10})
    finish(tmp_path, "0")
    finish(tmp_path, "1")
    finish(tmp_path, "2", json.dumps({"status": "interrupted"}))
    finish(tmp_path, "3", "[")
    words = words_of_resumed_sweep(tmp_path, [])
    assert words[-2:] == ["hydra.sweeper.n_trials=5", "hydra.sweeper.sampler.seed=12"]
    more = words_of_resumed_sweep(tmp_path, ["hydra.sweeper.n_trials=20"])
    assert [word for word in more if "n_trials" in word] == ["hydra.sweeper.n_trials=20"]


def test_a_search_without_a_seed(tmp_path: Path) -> None:
    write_record(tmp_path, [], [], {"trials": 5, "seed": None})
    words = words_of_resumed_sweep(tmp_path, [])
    assert "hydra.sweeper.n_trials=5" in words
    assert not any("sampler.seed" in word for word in words)


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_a_folder_of_no_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"resume={folder}: this is no run directory.*sweep\.yaml"):
        words_of_resumed_sweep(folder, [])


@pytest.mark.parametrize(
    "word", ["model.dropout=0.5", "+model.new=1", "~model.dropout", "seed=3", "hydra.callbacks.x=1", "launchers=a"]
)
def test_a_resumed_sweep_keeps_its_settings(tmp_path: Path, word: str) -> None:
    write_record(tmp_path, ["seed=1,2"], [])
    with pytest.raises(UserError, match="a resumed sweep keeps the settings it began with"):
        words_of_resumed_sweep(tmp_path, [word])


@pytest.mark.parametrize(
    "word",
    [
        "datamodule.data_dir=/data",
        "trainer.gpus=[0,1]",
        "launcher=slurm",
        "hydra.launcher.partition=gpu",
        "hydra/launcher=joblib",
        "hydra.sweeper.n_jobs=2",
        "-m",
        "--multirun",
    ],
)
def test_what_may_differ(tmp_path: Path, word: str) -> None:
    write_record(tmp_path, ["seed=1,2"], [])
    assert word in words_of_resumed_sweep(tmp_path, [word])


@pytest.mark.parametrize(
    "word",
    [
        "hydra.run.dir=/tmp/x",
        "+hydra.callbacks.x._target_=os.system",
        "++hydra.job.env_set.PATH=/tmp",
        "hydra/launcher=submitit_local",
        "+hydra/callbacks=x",
        "~hydra.callbacks",
        "model@hydra.sweeper=lenet5",
        "+experiment@hydra=x",
        "model._target_=os.system",
        "++model.optimizer={_target_: os.system, command: id}",
        "model.optimizer={'_target_': os.system}",
        "resume=/home",
        "+resume=/home",
        "--config-dir=/tmp",
        "--config-path",
        "-cd=/tmp",
        "model=../../tmp/x",
        "model=lenet5,../x",
        "experiment=/tmp/x",
        "experiment=choice(lenet5_paper,/tmp/x)",
        "model=file:///tmp/x",
        "model.name=../../../home/x",
        "model.name=/tmp/x",
        "datamodule.name='..'",
        r"model.name='\.\./x'",
        "datamodule.source=${oc.env:HOME}",
        "model.dropout=${oc.create:{a: 1}}",
        "model.name=${cnn.unique_name:}",
        "just words",
        "",
        "a b=c",
    ],
)
def test_hostile_words_are_refused(tmp_path: Path, word: str) -> None:
    folder = sweep_with(tmp_path / "sweep", task=["seed=1,2", word])
    with pytest.raises(UserError) as raised:
        words_of_resumed_sweep(folder, [])
    message = str(raised.value)
    assert str(folder / RECORD) in message
    assert word in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "word",
    [
        "experiment=lenet5_paper",
        "model=lenet5,alexnet",
        "experiment=choice(mine/first,mine/second)",
        "seed=range(1,4)",
        "~model.schedule",
        "+model.note='a/b: c'",
        "model.optimizer.lr=interval(0.0001,0.01)",
        "trainer.limit_train_batches=1.0",
        "datamodule.source=/photographs",
        "datamodule.smallest_side=${model.input_size}",
        "model.maps=[8,8,8,8,8]",
    ],
)
def test_ordinary_words_are_not(tmp_path: Path, word: str) -> None:
    folder = sweep_with(tmp_path / "sweep", task=[word])
    assert word in words_of_resumed_sweep(folder, [])


def test_words_for_hydra_are_typed_again(tmp_path: Path) -> None:
    words = ["hydra.sweep.dir=/elsewhere", "hydra.run.dir=x", "hydra.mode=RUN"]
    words += ["hydra.launcher.partition=gpu", "hydra.job.chdir=true"]
    folder = sweep_with(tmp_path / "sweep", task=["seed=1"], hydra=words)
    with pytest.raises(UserError, match=r"begun with hydra\.launcher\.partition=gpu hydra\.job\.chdir=true"):
        words_of_resumed_sweep(folder, [])
    with pytest.raises(UserError, match=r"hydra\.sweep\.dir: a resumed sweep keeps"):
        words_of_resumed_sweep(folder, [*words, words[0]])
    resumed = words_of_resumed_sweep(folder, ["hydra.launcher.partition=cpu", "hydra.job.chdir=true"])
    assert resumed == [
        "--multirun", "seed=1", "hydra.launcher.partition=cpu", "hydra.job.chdir=true", f"hydra.sweep.dir='{folder}'",
    ]  # fmt: skip


def test_a_refused_word_can_be_typed_again(tmp_path: Path) -> None:
    optimizers = "model.optimizer._target_=torch.optim.SGD,torch.optim.AdamW"
    folder = sweep_with(tmp_path / "sweep", task=[optimizers, "seed=1,2"])
    with pytest.raises(UserError, match="If it is yours, type it again after resume="):
        words_of_resumed_sweep(folder, [])
    words = words_of_resumed_sweep(folder, ["trainer.gpus=0", optimizers])
    assert words[:4] == ["--multirun", optimizers, "seed=1,2", "trainer.gpus=0"]  # in their order
    assert words.count(optimizers) == 1


def test_trust_does_not_come_from_a_file(tmp_path: Path) -> None:
    folder = sweep_with(tmp_path / "sweep", task=["seed=1", "trust=my_networks"])
    with pytest.raises(UserError, match="begun with trust=my_networks, and whose code"):
        words_of_resumed_sweep(folder, [])
    words = words_of_resumed_sweep(folder, ["trust=others"])
    assert [word for word in words if word.startswith("trust")] == ["trust=others"]
    assert name_of_job(0, folder, ["seed=1", "trust=others"]) == "0"


@pytest.mark.parametrize(
    "begun",
    [
        {"task": "seed=1"},
        {"task": [1]},
        {"task": [["seed=1"]]},
        {"task": None},
        {"hydra": {"a": 1}},
        {"search": [1]},
        {"search": {"trials": "5 hydra.run.dir=x", "seed": 1}},
        {"search": {"trials": 1.5}},
        {"search": {"trials": True}},
        {"search": {"trials": -1}},
    ],
)
def test_a_broken_record(tmp_path: Path, begun: dict) -> None:
    folder = sweep_with(tmp_path / "sweep", **begun)
    with pytest.raises(UserError, match=r"sweep\.yaml: "):
        words_of_resumed_sweep(folder, [])


@pytest.mark.parametrize("text", ["", "- a", "a: [", "task: &a [*a]\nhydra: []", "!!python/object/apply:os.getcwd []"])
def test_a_record_that_is_no_mapping(tmp_path: Path, text: str) -> None:
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(UserError, match=r"sweep\.yaml: "):
        words_of_resumed_sweep(tmp_path, [])


@pytest.mark.parametrize(
    "place", ["lenet5_mnist", "lenet5_mnist/0", "lenet5_mnist/0/train.log", "search.db", ".submitit"]
)
def test_links_out_of_the_folder_are_refused(tmp_path: Path, place: str) -> None:
    folder = sweep_with(tmp_path / "sweep", task=["seed=1"])
    link = folder / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(tmp_path / "outside")
    with pytest.raises(UserError, match="this is a symbolic link"):
        words_of_resumed_sweep(folder, [])


def test_links_that_submitit_makes_are_left_alone(tmp_path: Path) -> None:
    folder = sweep_with(tmp_path / "sweep", task=["seed=1"])
    (folder / ".submitit" / "17").mkdir(parents=True)
    (folder / ".submitit" / "17" / "log").symlink_to("elsewhere")
    assert words_of_resumed_sweep(folder, [])


def test_names_of_jobs(tmp_path: Path) -> None:
    write_record(tmp_path, ["model.dropout=0.5", "seed=1,2"], [])
    words = ["model.dropout=0.5", "seed=1", "trainer.gpus=[1]", "model.maps=[8,8]", "model.name='../../x'"]
    name = name_of_job(3, tmp_path, words)
    assert name == "3_seed-1_maps-8,8-_name-..-..-x"
    assert "/" not in name
    assert shlex.quote(name) == name
    assert name_of_job(3, str(tmp_path), [f"model.name={'x' * 500}"]).startswith("3_name-xxx")
    assert len(name_of_job(3, tmp_path, [f"model.name={'x' * 500}"])) <= 120
    assert name_of_job(0, tmp_path, ["seed=1,2"]) == "0"
    words = ["experiment=lenet5_paper", "model.optimizer.lr=0.0031234567", "model.schedule.warmup=0.05"]
    assert name_of_job(1, tmp_path, words) == "1_lenet5_paper_lr-0.003123_warmup-0.05"
    assert name_of_job(1, tmp_path, ["model.name=a", "datamodule.name=b"]) == "1_model.name-a_datamodule.name-b"


def test_a_job_that_began_under_a_long_name_keeps_it(tmp_path: Path) -> None:
    write_record(tmp_path, ["model.dropout=0,0.5"], [])
    before = tmp_path / "lenet5_mnist" / "1_model.dropout-0.5"
    before.mkdir(parents=True)
    (before / "config.yaml").touch()
    assert name_of_job(1, tmp_path, ["model.dropout=0.5"]) == before.name
    assert name_of_job(0, tmp_path, ["model.dropout=0"]) == "0_dropout-0"


def test_where_to_log_outside_the_folder_does_not_come_from_a_file(tmp_path: Path) -> None:
    for logger in ("[tensorboard,mlflow]", "wandb"):
        folder = sweep_with(tmp_path / logger, task=["seed=1", f"logger={logger}"])
        with pytest.raises(UserError, match=r"logger=.*: it writes to what lies outside the folder"):
            words_of_resumed_sweep(folder, [])
        for typed in ("tensorboard", logger):
            assert words_of_resumed_sweep(folder, [f"logger={typed}"])
    assert words_of_resumed_sweep(sweep_with(tmp_path / "own", task=["logger=tensorboard"]), [])
