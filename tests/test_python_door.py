"""The package as a library: what a notebook or a script does with it."""

import inspect
import logging
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import cnn_experiments as cnn
from cnn_experiments.datamodules.base import PARTS
from cnn_experiments.datamodules.given import as_image_data
from cnn_experiments.datamodules.samplers import Draw
from tests.conftest import QUICK


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: Path) -> Path:
    """An empty folder to work in; the data are a few made digits."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Halves:
    """Bright upper (0) or lower (1) halves, in noise: a data set that knows nothing of this project."""

    class_names = ("upper", "lower")

    def batches(self, part: str) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(["training", "validation", "test"].index(part))
        for _ in range(6 if part == "training" else 2):
            labels = torch.randint(2, (16,), generator=generator)
            images = torch.randn(16, 1, 32, 32, generator=generator) * 0.1
            images[labels == 0, :, :16] += 1
            images[labels == 1, :, 16:] += 1
            yield images, labels


class Tiny(nn.Module):
    """A network that knows nothing of this project."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 5, 4), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4 * 7 * 7, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images).flatten(1))


def test_importing_it_imports_nothing_heavy() -> None:
    code = (
        "import sys, cnn_experiments as cnn; dir(cnn)\n"
        "heavy = {'torch', 'numpy', 'hydra', 'omegaconf', 'pytorch_lightning', 'pydantic', 'yaml', 'rich', 'cv2'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", cnn.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    public = getattr(cnn, name)
    assert public.__doc__
    assert not public.__doc__.startswith(f"{name}(")  # a data class's own signature is no documentation
    if inspect.isclass(public):
        methods = [method for method in vars(public) if not method.startswith("_")]
        undocumented = [
            method for method in methods if callable(vars(public)[method]) and not inherited_doc(public, method)
        ]
        assert not undocumented


def inherited_doc(public: type, method: str) -> str | None:
    return inspect.getdoc(getattr(public, method)) if method not in ("forward", "extra_repr") else "torch's own"


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'LeNet6'"):
        _ = cnn.LeNet6


def test_train_gives_a_run(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])  # as in a notebook, where nobody else prints what is logged
    run = cnn.train(*QUICK, "seed=1")
    assert run.metrics["status"] == "completed"
    assert run.metrics["overrides"] == [*QUICK, "seed=1"]
    assert [row["epoch"] for row in run.history] == [1, 2, 3]
    assert run.history[-1]["val/accuracy"] <= run.metrics["val/accuracy"]
    assert run.directory.parent == Path("outputs/lenet5_mnist")
    assert (run.directory / "train.log").read_text().count("epoch") == 3
    assert capsys.readouterr().out.count("epoch") == 3

    assert run.test() == {name: run.metrics[name] for name in ("test/loss", "test/accuracy")}
    again = cnn.open_run(run.directory)
    assert again.test() == run.test()
    assert not again.differences()
    for run_again in (run, again):
        assert "completed" in repr(run_again)
        assert f"{run.metrics['test/accuracy']:.4f}" in run_again._repr_html_()

    network = run.network()
    assert not network.training
    data = cnn.MNIST(validation_size=50)
    right = sum((network(images).argmax(1) == labels).sum().item() for images, labels in data.batches("test"))
    assert right / 100 == pytest.approx(run.metrics["test/accuracy"])

    predictions = np.load(run.directory / "test_predictions.npz")
    assert (predictions["labels"] == predictions["predictions"]).mean() == pytest.approx(run.metrics["test/accuracy"])
    assert predictions["labels"].tolist() == data.images_of("test").labels.tolist()
    wrong = predictions["labels"] != predictions["predictions"]
    assert (predictions["scores"][wrong] <= 0.5).all()


def test_predictions(folder: Path) -> None:
    run = cnn.train(*QUICK, "trainer.max_epochs=1")
    Image.new("L", (40, 40), 255).save(folder / "white.png")
    (folder / "broken.png").write_bytes(b"no image")
    broken, white = run.predict([str(folder / "broken.png"), folder / "white.png"])
    assert broken.error
    assert broken.error.startswith("no image")
    assert white.class_name in white.probabilities
    assert white.probability == max(white.probabilities.values())
    assert sum(white.probabilities.values()) == pytest.approx(1)
    assert [prediction.file.name for prediction in run.predict(str(folder / "*.png"))] == ["broken.png", "white.png"]
    with pytest.raises(cnn.UserError, match="there are no such files"):
        run.predict("nowhere.png")


def test_the_words_mean_what_they_mean_on_the_command_line(folder: Path, run_command: Callable) -> None:
    words = [*QUICK, "model.c3=full", "model.dropout=0.2", "seed=3"]
    run = cnn.train(*words)
    assert run_command("train", *words, "hydra.run.dir=typed").status == 0
    typed = cnn.open_run("typed")
    for name in ("test/accuracy", "test/loss", "val/accuracy", "steps", "multiply_adds"):
        assert run.metrics[name] == typed.metrics[name]
    state = typed.network().state_dict()
    assert all(value.equal(state[name]) for name, value in run.network().state_dict().items())


def test_it_leaves_random_states_and_logging_as_they_were(folder: Path) -> None:
    random.seed(7), np.random.seed(7), torch.manual_seed(7)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    handlers = list(logging.getLogger("cnn_experiments").handlers)
    cnn.train(*QUICK, "trainer.max_epochs=1")
    assert states[:2] == (random.getstate(), np.random.get_state()[1].tolist())
    assert states[2].equal(torch.get_rng_state())
    assert logging.getLogger("cnn_experiments").handlers == handlers


@pytest.mark.slow
def test_twice_in_one_process_and_in_a_thread(folder: Path) -> None:
    runs = [cnn.train(*QUICK, "trainer.max_epochs=1")]
    errors = []

    def work() -> None:
        try:
            runs.append(cnn.train(*QUICK, "trainer.max_epochs=1"))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not errors
    assert runs[0].directory != runs[1].directory
    assert runs[0].metrics["test/loss"] == runs[1].metrics["test/loss"]


@pytest.mark.slow
def test_beside_another_hydra_application(folder: Path, digits: Path) -> None:
    (folder / "conf").mkdir()
    (folder / "conf" / "config.yaml").write_text("mine: ${length:abc}\n")
    (folder / "app.py").write_text(
        "import hydra\n"
        "from omegaconf import OmegaConf\n"
        "OmegaConf.register_new_resolver('length', len)\n"  # a name that others may well choose
        "@hydra.main(version_base='1.3', config_path='conf', config_name='config')\n"
        "def main(config):\n"
        "    import cnn_experiments as cnn\n"
        "    from hydra.core.hydra_config import HydraConfig\n"
        "    from tests.conftest import QUICK\n"
        "    from cnn_experiments.datamodules import mnist_files\n"
        "    mnist_files.make_ready = lambda folder: None\n"
        "    run = cnn.train(*QUICK, 'trainer.max_epochs=1')\n"
        "    assert config.mine == 3 and HydraConfig.get().job.name == 'app', HydraConfig.get().job.name\n"
        "    print('accuracy', run.metrics['test/accuracy'])\n"
        "main()\n"
    )
    path = str(Path(__file__).parents[1])
    out = subprocess.run(
        [sys.executable, "app.py"],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert out.returncode == 0, out.stderr
    assert "accuracy 0." in out.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model.c3=ful"], r"model.c3=ful: should be 'partial' or 'full'"),
        (["modle=lenet5"], "modle: there is no such key. Did you mean model"),
        (["model=alexnt"], "model=alexnt: there is no such model. Did you mean alexnet"),
        (["model.optimizer.lr=-1"], "model.optimizer: Invalid learning rate: -1"),
        (["-m", "seed=1,2"], "-m: options are for the command line"),
        (["seed=1,2"], "seed=1,2"),
        (["resume=nowhere"], "resume=nowhere: this is no run directory"),
    ],
)
def test_errors_are_the_commands_sentences(folder: Path, words: list[str], message: str) -> None:
    with pytest.raises(cnn.UserError, match=message):
        cnn.train(*words)
    assert not list(folder.rglob("config.yaml"))


def test_open_run_of_nothing(folder: Path) -> None:
    with pytest.raises(cnn.UserError, match="run=outputs: this is no run directory"):
        cnn.open_run("outputs")


@pytest.mark.slow
def test_an_interrupted_run_is_resumed_from_python(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cnn_experiments.trainers.callbacks import EpochReport

    whole = cnn.train(*QUICK)
    with monkeypatch.context() as patched:
        reported = EpochReport.on_train_epoch_end

        def stop(self: EpochReport, trainer: object, module: object) -> None:
            reported(self, trainer, module)
            if len(self.history) == 2:
                raise KeyboardInterrupt

        patched.setattr(EpochReport, "on_train_epoch_end", stop)
        with pytest.raises(KeyboardInterrupt):
            cnn.train(*QUICK, "hydra.run.dir=stopped")
    assert cnn.open_run("stopped").metrics["status"] == "interrupted"
    resumed = cnn.train("resume=stopped")
    assert resumed.metrics["test/loss"] == whole.metrics["test/loss"]
    assert [row["val/loss"] for row in resumed.history] == [row["val/loss"] for row in whole.history]
    with pytest.raises(cnn.UserError, match=r"model.dropout: a resumed run keeps the settings"):
        cnn.train("resume=stopped", "model.dropout=0.5")


def test_ones_own_network_and_data(folder: Path) -> None:
    network, data = Tiny(2), Halves()
    before = network.head.weight.clone()
    run = cnn.train("trainer.max_epochs=3", "trainer.gpus=0", network=network, data=data)
    assert run.metrics["test/accuracy"] > 0.9
    assert (run.metrics["model"], run.metrics["datamodule"]) == ("tiny", "halves")
    assert run.metrics["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert run.metrics["multiply_adds"] == 4 * 25 * 49 + 196 * 2
    assert run.metrics["confusion"]["classes"] == ["upper", "lower"]
    assert run.directory.parent.name == "tiny_halves"
    assert not before.equal(network.head.weight)
    right = sum((network.eval()(images).argmax(1) == labels).sum().item() for images, labels in data.batches("test"))
    assert right / 32 == pytest.approx(run.metrics["test/accuracy"])

    with pytest.raises(cnn.UserError, match=r"network was given from Python .* cnn.open_run\(directory, network="):
        cnn.open_run(run.directory).network()
    with pytest.raises(cnn.UserError, match="data set was given from Python"):
        cnn.open_run(run.directory, network=Tiny(2)).test()
    again = cnn.open_run(run.directory, network=Tiny(2), data=data)
    assert again.test() == {name: run.metrics[name] for name in ("test/loss", "test/accuracy")}
    with pytest.raises(cnn.UserError, match="do not fit the Tiny"):
        cnn.open_run(run.directory, network=Tiny(3)).network()


class Remembering(Tiny):
    """Remembers whether its normalisation was in training mode when the network was trained."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.modes: list[bool] = []

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.modes.append(self.features[1].training)
        return super().forward(images)


def test_ones_own_network_is_trained_again(folder: Path) -> None:
    network, data = Remembering(2), Halves()
    first = cnn.train("trainer.max_epochs=1", "trainer.gpus=0", network=network, data=data)
    assert first.test()["test/loss"] == first.metrics["test/loss"]
    network.modes.clear()
    second = cnn.train("trainer.max_epochs=1", "trainer.gpus=0", "seed=1", network=network, data=data)
    assert len(network.modes) >= 6  # as many batches as there are: nothing of it was left in evaluation mode
    assert all(network.modes)
    assert first.metrics["test/loss"] != second.metrics["test/loss"]
    for run in (first, second, first):  # each has weights of its own
        assert run.test()["test/loss"] == run.metrics["test/loss"]

    network.train().features[1].eval()  # a normalisation that is to stay as it is
    network.modes.clear()
    cnn.train("trainer.max_epochs=1", "trainer.gpus=0", network=network, data=data)
    assert not any(network.modes)


def test_a_test_leaves_the_network_as_it_was(folder: Path) -> None:
    run = cnn.train(*QUICK, "trainer.max_epochs=1", "trainer.precision=64-true")
    images = torch.zeros(2, 1, 32, 32)
    before = run.network()(images)
    assert run.test()["test/accuracy"] == run.metrics["test/accuracy"]
    assert torch.equal(run.network()(images), before)


def test_ones_own_network_on_our_data_and_ours_on_ones_own(folder: Path) -> None:
    words = [word for word in QUICK if "epochs" not in word]
    run = cnn.train(*words, "trainer.max_epochs=2", "model.optimizer.lr=0.01", network=Tiny(10))
    assert run.settings.training.optimizer.arguments["lr"] == 0.01
    assert run.settings.datamodule.name == "mnist"
    run = cnn.train("model.output=linear", "model.loss=cross_entropy", "trainer.max_epochs=1", data=Halves())
    assert run.network().output.out_features == 2


IMAGES, LABELS = torch.zeros(4, 1, 32, 32), torch.arange(4) % 2


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES.numpy(), LABELS.numpy(), "gives batches of ndarray and ndarray. Give tensors"),
        (IMAGES, LABELS[:3], r"gives images \(4, 1, 32, 32\) and labels \(3,\)"),
        (IMAGES, LABELS[:, None], r"gives images \(4, 1, 32, 32\) and labels \(4, 1\)"),
        (IMAGES[:, :, :28], LABELS, r"gives images of several shapes, \(1, 28, 32\) and \(1, 32, 32\)"),
        (IMAGES[:0], LABELS[:0], "gives a batch without images"),
    ],
)
def test_a_later_batch_of_ones_own_data_is_wrong(folder: Path, images: Tensor, labels: Tensor, message: str) -> None:
    class Data:
        def batches(self, part: str) -> list[tuple[Tensor, Tensor]]:
            return [(IMAGES, LABELS), (images, labels) if part == "test" else (IMAGES, LABELS)]

    with pytest.raises(cnn.UserError, match=rf"data: Data.batches\('test'\) {message}"):
        cnn.train("trainer.max_epochs=1", "trainer.gpus=0", network=Tiny(2), data=Data())
    assert not list(folder.rglob("metrics.json"))


@pytest.mark.parametrize(
    ("words", "given", "message"),
    [
        (["datamodule.batch_size=3"], {"data": Halves()}, "datamodule.batch_size: the data set was given from Python"),
        (["model.c3=full"], {"network": Tiny(10)}, "model.c3: the network was given from Python"),
        ([], {"data": [1, 2]}, r"a list has no method batches\(part\)"),
        ([], {"data": Halves}, r"^data: Halves is a class. Give an object: data=Halves\(…\)"),
        ([], {"network": Tiny}, r"^network: Tiny is a class. Give an object: network=Tiny\(…\)"),
        ([], {"network": "lenet5"}, r"^network: a str is no torch.nn.Module. Give one"),
        (["trainer.gpus=0"], {"network": Tiny(2), "data": Halves()}, None),
        ([], {"network": Tiny(10), "data": Halves()}, "gives scores of the shape 2×10, but the data set has 2 classes"),
    ],
)
def test_what_can_be_given(folder: Path, words: list[str], given: dict, message: str | None) -> None:
    if message is None:
        assert cnn.train(*words, "trainer.max_epochs=1", **given).metrics["status"] == "completed"
        return
    with pytest.raises(cnn.UserError, match=message):
        cnn.train(*words, **given)


def test_an_error_inside_ones_own_network_is_raised_as_it_is(folder: Path) -> None:
    class Broken(Tiny):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) + "x"

    with pytest.raises(TypeError, match="unsupported operand") as raised:
        cnn.train(*QUICK, network=Broken(10))
    assert "2 blank images 2×1×32×32" in raised.value.__notes__[0]


def test_plain_objects_have_all_their_defaults(digits: Path) -> None:
    for network, shape in (
        (cnn.LeNet5(), (2, 1, 32, 32)),
        (cnn.AlexNet(), (1, 3, 224, 224)),
        (cnn.GoogLeNet(), (1, 3, 224, 224)),
    ):
        with torch.no_grad():
            assert network.eval()(torch.zeros(shape)).shape == (shape[0], 10 if shape[1] == 1 else 2)
    data = cnn.MNIST(validation_size=50)
    images, labels = next(iter(data.batches("training")))
    assert images.shape == (128, 1, 32, 32)
    assert images.dtype == torch.float32
    loss = cnn.LeNet5().loss(cnn.LeNet5()(images), labels)
    assert loss.isfinite()


class Numbered(Halves):
    """The same data with other class numbers.

    Args:
        numbers: gives them, of 0 and 1.
    """

    def __init__(self, numbers: Callable[[Tensor], Tensor]) -> None:
        self.numbers = numbers

    def batches(self, part: str) -> Iterator[tuple[Tensor, Tensor]]:
        return ((images, self.numbers(labels)) for images, labels in super().batches(part))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_class_numbers_are_any_integers(folder: Path, dtype: torch.dtype) -> None:
    words = [word for word in QUICK if not word.startswith("datamodule")]
    run = cnn.train(*words, "trainer.max_epochs=1", network=Tiny(2), data=Numbered(lambda labels: labels.to(dtype)))
    assert sum(map(sum, run.metrics["confusion"]["test"])) == 32
    assert np.load(run.directory / "test_predictions.npz")["labels"].dtype == np.int64


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (Tensor.float, r"Numbered.batches\('training'\) gives labels of the type torch.float32. Give class numbers"),
        (lambda labels: labels == 1, "labels of the type torch.bool"),
        (Tensor.numpy, r"Numbered.batches\('training'\) gives batches of Tensor and ndarray. Give tensors"),
        (lambda labels: labels + 1, "class numbers from 1 to 2, but there are 2 classes. Number them from 0 to 1"),
        (lambda labels: labels - 1, "class numbers from -1 to 0, but there are 2 classes"),
    ],
)
def test_what_are_no_class_numbers(numbers: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(cnn.UserError, match=message):
        as_image_data(Numbered(numbers)).setup()


def test_data_of_ones_own_that_name_no_classes() -> None:
    class Numbered:
        """Images of 2×2 pixels whose value is 10 and their number; only the test has an image of the last class."""

        def batches(self, part: str) -> Iterator[tuple[Tensor, Tensor]]:
            for numbers, labels in ((range(3), [0, 1, 2]), (range(3, 5), [2, 3 if part == "test" else 1])):
                values = torch.tensor([10.0 + number for number in numbers])
                yield values[:, None, None, None].expand(-1, 1, 2, 2), torch.tensor(labels)

    data = as_image_data(Numbered())
    assert (data.class_names, data.input_shape, data.batch_size) == (["0", "1", "2", "3"], (1, 2, 2), 3)
    assert {part: data.class_counts(part) for part in PARTS} == {
        "training": [1, 2, 2, 0],
        "validation": [1, 2, 2, 0],
        "test": [1, 1, 2, 1],
    }
    images, labels = data.images_of("training")[Draw(torch.tensor([4, 0, 2, 4]))]
    assert images[:, 0, 0, 1].tolist() == [14, 10, 12, 14]
    assert labels.tolist() == [1, 0, 2, 1]
    assert data.samples(5)["before"][:, 0, 1, 0].tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_comparison_from_python(folder: Path) -> None:
    for seed in (1, 2):
        cnn.train(*QUICK, f"seed={seed}", "trainer.max_epochs=1")
    comparison = cnn.compare("outputs")
    assert "2" in comparison._repr_html_()
    frame = comparison.to_pandas()
    assert frame.shape[0] >= 1
    assert "lenet5" in str(comparison) == repr(comparison)
