"""Bad input ends with status 2 and one message that names the key and the remedy; nothing is fetched or trained."""

from pathlib import Path

import pytest

from cnn_experiments.datamodules import mnist_files
from tests.conftest import QUICK, some_of

REFUSED = [
    (["model=lenet"], ["model=lenet", "Did you mean lenet5?"]),
    (["experiment=lenet5_papr"], ["experiment=lenet5_papr", "lenet5_paper"]),
    (["modle=lenet5"], ["modle", "model"]),
    (["c3=full"], ["c3: there is no such key. Did you mean model.c3?"]),
    (["droput=0.5"], ["droput: there is no such key. Did you mean model.dropout?"]),
    (["trainer.max_epoch=3"], ["trainer.max_epoch", "trainer.max_epochs"]),
    (["+trainer.max_epoch=3"], ["trainer.max_epoch", "max_epochs"]),
    (["+trainer.accelerator=cpu"], ["trainer.accelerator"]),
    (["+datamodule.bach_size=3"], ["datamodule.bach_size", "batch_size"]),
    (["+model.droput=0.1"], ["model.droput", "dropout"]),
    (["datamodule.batch_size=-1"], ["datamodule.batch_size=-1", "greater than 0"]),
    (["datamodule.batch_size=many"], ["datamodule.batch_size=many", "integer"]),
    (["datamodule.distortion.scale=2"], ["datamodule.distortion.scale=2", "less than 1"]),
    (["+datamodule.distortion.zoom=2"], ["datamodule.distortion.zoom"]),
    (["model.dropout=1.5"], ["model.dropout=1.5", "less than 1"]),
    (["model.c3=some"], ["model.c3=some", "'partial' or 'full'"]),
    (["model.output=linear"], ["loss=map", "output=rbf", "loss=cross_entropy"]),
    (["model.optimizer.lr=-1"], ["model.optimizer", "learning rate"]),
    (["model.optimizer.lr=fast"], ["model.optimizer.lr=fast"]),
    (["model.optimizer._target_=torch.optim.Adma"], ["model.optimizer._target_", "Adma"]),
    (["model.schedule.decay=fast"], ["model.schedule.decay=fast", "cosine"]),
    (["seed=-1"], ["seed=-1", "greater than or equal to 0"]),
    (["seed=lucky"], ["seed=lucky", "integer"]),
    (["trainer.gpus=two"], ["trainer.gpus=two", "[0,1]"]),
    (["trainer.gpus=-2"], ["trainer.gpus=-2"]),
    (["trainer.max_epochs=-5"], ["trainer", "max_epochs"]),
    (["trainer.precision=half"], ["trainer.precision=half"]),
    (["trainer.limit_train_batches=often"], ["trainer.limit_train_batches=often"]),
    (["resume=nowhere"], ["resume=nowhere", "no run directory"]),
    (["seed=1,2"], ["seed=1,2", "multirun"]),
    (["model.dropout=[[["], ["model.dropout"]),
    (["model.optimizer.momentum=0.9"], ["no such key. To pass the optimizer one more argument, type +model.opt"]),
    (["trainer.accelerator=gpu"], ["trainer.accelerator: there is no such key. cnn-train --help lists all\n"]),
    (["model=alexnet", "model.c3=full"], ["model.c3: there is no such key. cnn-train --help lists all\n"]),
    (["optimizer=sgd"], ["Choose from: muon. Those of torch.optim: model.optimizer._target_=torch.optim.SGD"]),
    (["run=outputs"], ["run: there is no such key. cnn-train --help lists all\n"]),
    (["lenet5"], ["lenet5: this is no setting. Type KEY=VALUE, without spaces; cnn-train --help"]),
    (["--seed=3"], ["--seed=3\n", "Settings have no dashes: KEY=VALUE. cnn-train --help lists them"]),
]


@pytest.mark.parametrize(("arguments", "words"), some_of(REFUSED, 10))
def test_train_refuses(
    run_command, digits: Path, tmp_path: Path, monkeypatch, arguments: list[str], words: list
) -> None:
    def never(folder: Path) -> None:
        raise AssertionError("data was asked for")

    monkeypatch.setattr(mnist_files, "make_ready", never)
    outcome = run_command("train", *arguments)
    assert outcome.status == 2, outcome.error
    for word in words:
        assert word in outcome.error
    assert "Traceback" not in outcome.error + outcome.out
    assert len(outcome.error.strip().splitlines()) <= 10
    assert not list(tmp_path.glob("outputs/*/*"))


def test_a_folder_without_its_key(run_command, tmp_path: Path) -> None:
    folder = tmp_path / "a run"
    folder.mkdir()
    outcome = run_command("predict", "a run")
    assert outcome == (2, "", "a run: this has no key. Type 'images=a run'\n")
    (folder / "config.yaml").touch()
    for verb, key in (("train", "resume"), ("test", "run"), ("predict", "run"), ("export", "run"), ("explore", "run")):
        outcome = run_command(verb, "a run")
        assert outcome.status == 2
        assert outcome.error == f"a run: this has no key. Type '{key}=a run'\n"
    assert "this is no setting" in run_command("summary", "a run").error


@pytest.mark.parametrize("verb", ["train", "test", "summary", "data"])
def test_groups_that_a_command_does_not_have(run_command, verb: str) -> None:
    outcome = run_command(verb, "search=lenet5")
    assert outcome.error.startswith("search: there is no such key. ")
    assert "Did you mean search" not in outcome.error
    assert "\nsearch: " not in run_command(verb, "--help").out


def test_gpus_without_a_gpu(run_command, digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    for value in ("1", "-1", "[0,1]"):
        outcome = run_command("train", f"trainer.gpus={value}")
        assert outcome.status == 2
        assert "trainer.gpus=" in outcome.error
        assert "no GPU" in outcome.error


def test_a_damaged_data_file(run_command, digits: Path, tmp_path: Path) -> None:
    file = digits / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    file.write_bytes(file.read_bytes()[:-1])
    outcome = run_command("train", *QUICK)
    assert outcome.status == 2
    assert str(file) in outcome.error
    assert not list(tmp_path.glob("outputs/*/*"))


def test_an_output_directory_that_cannot_be_written(run_command, digits: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    outcome = run_command("train", *QUICK, "hydra.run.dir=file/run")
    assert outcome.status == 2
    assert "hydra.run.dir" in outcome.error
    assert "Traceback" not in outcome.error


def test_a_data_folder_that_cannot_be_written(run_command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    outcome = run_command("train", *QUICK, "datamodule.data_dir=file")
    assert outcome.status == 2
    assert "datamodule.data_dir" in outcome.error


def test_test_refuses(run_command, trained, tmp_path: Path) -> None:
    trained("run", "trainer.max_epochs=1")
    trained("other", "trainer.max_epochs=1", "model.c3=full")
    (tmp_path / "photo.ckpt").write_bytes(b"no checkpoint")
    for arguments, words in (
        ([], ["run="]),
        (["run=nowhere"], ["run=nowhere", "no run directory"]),
        (["checkpoint=nowhere.ckpt"], ["checkpoint=nowhere.ckpt", "no such file"]),
        (["checkpoint=photo.ckpt"], ["checkpoint=photo.ckpt", "no checkpoint"]),
        (["run=run", "checkpoint=other/checkpoints/best.ckpt"], ["checkpoint=other", "do not fit"]),
        (["run=run", "seed=3"], ["seed"]),
    ):
        outcome = run_command("test", *arguments)
        assert outcome.status == 2, outcome
        for word in words:
            assert word in outcome.error
        assert "Traceback" not in outcome.error


def test_a_resumed_run_keeps_its_settings(run_command, trained, tmp_path: Path) -> None:
    trained("run", "trainer.max_epochs=1")
    before = {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()}
    outcome = run_command("train", "resume=run", "model.dropout=0.5")
    assert outcome.status == 2
    assert "model.dropout" in outcome.error
    assert before == {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()}


def test_a_resumed_run_takes_no_preset(run_command, trained) -> None:
    trained("run", "trainer.max_epochs=1")
    outcome = run_command("train", "resume=run", "experiment=lenet5_best")
    assert outcome.status == 2
    assert "experiment: a resumed run keeps the settings it began with" in outcome.error


@pytest.mark.parametrize(
    "words",
    [
        ("--cfg", "job", "seed=3", "model.c3=full"),
        ("seed=3", "--cfg", "job", "model.c3=full"),
        ("seed=3", "model.c3=full", "--cfg", "job"),
        ("seed=3", "-c", "job", "++seed=3", "model.c3=full"),
    ],
)
def test_options_stand_before_between_or_behind_settings(run_command, words: tuple[str, ...]) -> None:
    outcome = run_command("train", *words)
    assert outcome.status == 0
    assert "seed: 3" in outcome.out
    assert "c3: full" in outcome.out
