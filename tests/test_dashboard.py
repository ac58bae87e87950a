"""What logging=full shows of each network, read back from TensorBoard's file."""

import inspect
import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.projector import projector_config_pb2
from torch import nn

from cnn_experiments.inspection import pictures
from cnn_experiments.inspection.layer_outputs import last_hidden_layer, layer_outputs, units_out_of_use
from cnn_experiments.logging.dashboard import Dashboard, with_four_digits, worst_mistakes
from cnn_experiments.models.alexnet import AlexNet
from cnn_experiments.models.googlenet import GoogLeNet
from cnn_experiments.models.lenet5 import LeNet5
from tests.conftest import FIGURES, QUICK, QUICK_PHOTOGRAPHS, SMALL_ALEXNET

LENET5_WEIGHTS = {"c1", "s2", "c3", "s4", "c5", "f6"}
ALEXNET_WEIGHTS = {"conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"}
ALEXNET_OTHERS = {"norm1", "pool1", "norm2", "pool2", "pool5"}
INCEPTIONS = {f"inception{name}" for name in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")}
BRANCHES = {
    f"{name}/{branch}" for name in INCEPTIONS for branch in ("branch1x1", "branch3x3", "branch5x5", "branch_pool")
}
CONV2_PARTS = {"conv2/reduce", "conv2/conv3x3"}
GOOGLENET_OTHERS = {"pool1", "norm1", "norm2", "pool2", "pool3", "pool4", "pool5"}


def shown(run: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(run), size_guidance={"images": 0, "scalars": 0, "histograms": 0})
    accumulator.Reload()
    return accumulator


def scopes(tags: list[str], scope: str) -> set[str]:
    return {tag.removeprefix(f"{scope}/").removesuffix("/norm") for tag in tags if tag.startswith(f"{scope}/")}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            QUICK,
            {
                "weights": LENET5_WEIGHTS,
                "filters": {"c1"},
                "activations": LENET5_WEIGHTS | {"input", "output"},
                "dead_relus": set(),
                "saturated_tanhs": LENET5_WEIGHTS,
            },
        ),
        pytest.param(
            (*SMALL_ALEXNET, *QUICK_PHOTOGRAPHS),
            {
                "weights": ALEXNET_WEIGHTS,
                "filters": {"conv1"},
                "activations": ALEXNET_WEIGHTS | ALEXNET_OTHERS | {"input"},
                "dead_relus": ALEXNET_WEIGHTS - {"fc8"},
                "saturated_tanhs": set(),
            },
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ("model=googlenet", "model.input_size=80", *QUICK_PHOTOGRAPHS, "trainer.limit_train_batches=1"),
            {
                "weights": {"conv1", "conv2", "output", "auxiliary4a", "auxiliary4d"} | INCEPTIONS,
                "filters": {"conv1"},
                "activations": {"input", "conv1", "conv2", "output"}
                | CONV2_PARTS | INCEPTIONS | BRANCHES | GOOGLENET_OTHERS,
                "dead_relus": {"conv1", "conv2"} | CONV2_PARTS | INCEPTIONS | BRANCHES,
                "saturated_tanhs": set(),
            },
            marks=pytest.mark.slow,
        ),
    ],
    ids=["lenet5", "alexnet", "googlenet"],
)  # fmt: skip
def test_every_network_writes_under_the_same_scopes(
    run_command, digits: Path, photographs: Path, tmp_path: Path, monkeypatch, settings: tuple, expected: dict
) -> None:
    if not any("model=" in setting for setting in settings):
        monkeypatch.setenv("CNN_EXPERIMENTS_DATA", str(digits))
    outcome = run_command("train", *settings, *FIGURES, "trainer.max_epochs=1", "logging=full", "hydra.run.dir=run")
    assert outcome.status == 0, outcome.error
    tags = shown(tmp_path / "run").Tags()
    for scope in ("weights", "gradients"):
        assert scopes(tags["histograms"], scope) == scopes(tags["scalars"], scope) == expected["weights"], scope
    for scope in ("filters", "activations"):
        assert scopes(tags["images"], scope) == expected[scope], scope
    for scope in ("dead_relus", "saturated_tanhs"):
        assert scopes(tags["scalars"], scope) == expected[scope], scope
    assert {"confusion/val", "confusion/test", "mistakes/test"} <= set(tags["images"])
    assert {"optimizer/learning_rate", "time/images_per_second", "memory/process_gib"} <= set(tags["scalars"])


@pytest.mark.slow
def test_default_logging_is_cheap_and_full_logging_changes_nothing(run_command, digits: Path, tmp_path: Path) -> None:
    settings = [*QUICK, *FIGURES, "trainer.max_epochs=2", "model.dropout=0.3", "datamodule.distortion.shift=2"]
    for logging in ("default", "full"):
        outcome = run_command("train", *settings, f"logging={logging}", f"hydra.run.dir={logging}")
        assert outcome.status == 0, outcome.error
    tags = shown(tmp_path / "default").Tags()
    assert tags["histograms"] == []
    assert set(tags["images"]) == {
        "samples/before",
        "samples/after",
        "confusion/val",
        "confusion/test",
        "mistakes/test",
    }
    costly = ("weights", "gradients", "dead_relus", "saturated_tanhs")
    assert not any(scopes(tags["scalars"], scope) for scope in costly)
    weights = [
        torch.load(tmp_path / logging / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for logging in ("default", "full")
    ]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_pictures_are_written_every_so_many_epochs_and_in_the_last(run_command, digits: Path, tmp_path: Path) -> None:
    settings = [*QUICK, "logging=full", "logging.every_n_epochs=3", "hydra.run.dir=run"]
    assert run_command("train", *settings).status == 0
    board = shown(tmp_path / "run")
    assert [event.step for event in board.Images("filters/c1")] == [22, 66]
    assert [event.step for event in board.Histograms("gradients/c1")] == [22, 66]


@pytest.mark.parametrize("setting", ["trainer.precision=bf16-mixed", "trainer.fast_dev_run=true"])
def test_full_logging_with_lightnings_keys(run_command, digits: Path, setting: str) -> None:
    outcome = run_command("train", *QUICK, *FIGURES, "trainer.max_epochs=1", "logging=full", setting)
    assert outcome.status == 0, outcome.error


class Recorder:
    """Takes what TensorBoard's writer would get."""

    def __init__(self) -> None:
        self.scalars: dict[str, float] = {}
        self.tags: list[str] = []

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.scalars[tag] = value

    def add_histogram(self, tag: str, values: torch.Tensor, step: int) -> None:
        self.tags.append(tag)

    add_image = add_figure = add_histogram


def test_a_layer_that_cannot_fire_is_dead() -> None:
    network = AlexNet(input_size=64, maps=(8, 8, 8, 8, 8), dense=(16, 16), dropout=0.0)
    with torch.no_grad():
        network.conv2.convolution.weight.zero_()
        network.conv2.convolution.bias.fill_(-100)
        network.conv3.convolution.weight.zero_()
        network.conv3.convolution.bias.copy_(torch.tensor([1.0, -1.0] * 3 + [1.0, 0.0]))
    images = torch.randn(10, 3, 64, 64)
    shares = units_out_of_use(network, images.split(4))
    assert shares["dead_relus/conv2"] == 1.0
    assert shares["dead_relus/conv3"] == 0.5
    with torch.no_grad():
        maps = network.eval().conv1(images)
    assert shares["dead_relus/conv1"] == (maps.amax((0, 2, 3)) <= 0).float().mean().item()


@pytest.mark.parametrize("activation", ["tanh", "scaled_tanh"])
def test_a_layer_that_is_driven_to_its_bound_is_saturated(activation: str) -> None:
    network = LeNet5(activation=activation)
    with torch.no_grad():
        for layer, bias in ((network.c1.convolution, 100.0), (network.c5.convolution, 0.1)):
            layer.weight.zero_()
            layer.bias.fill_(bias)
        network.f6.dense.weight.zero_()
        network.f6.dense.bias.copy_(torch.tensor([-100.0, 0.0, 100.0, 0.5] * 21))
    shares = units_out_of_use(network, torch.randn(10, 1, 32, 32).split(4))
    assert shares["saturated_tanhs/c1"] == 1.0
    assert shares["saturated_tanhs/c5"] == 0.0
    assert shares["saturated_tanhs/f6"] == 0.5


def test_looking_inside_leaves_no_trace() -> None:
    network = LeNet5(dropout=0.5).train()
    network.c3.eval()  # as one does to freeze a layer
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random_state = torch.get_rng_state()
    images = torch.randn(2, 1, 32, 32, generator=torch.Generator())
    outputs = {name: output for name, _, output in layer_outputs(network, images)}
    assert list(outputs) == ["c1", "s2", "c3", "s4", "c5", "f6", "output"]
    assert torch.equal(random_state, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert network.training
    assert network.c1.training
    assert not network.c3.training
    assert not any(module._forward_hooks for module in network.modules())
    with torch.no_grad():
        assert torch.equal(outputs["output"], network.eval()(images))


def test_looking_inside_a_network_that_works_in_place_or_gives_tuples() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)
            self.relu = nn.ReLU(inplace=True)
            self.rnn = nn.LSTM(2, 3, batch_first=True)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.rnn(self.relu(self.conv(images)).flatten(2).transpose(1, 2))[0][:, -1]

    network = Network()
    outputs = {name: output for name, _, output in layer_outputs(network, torch.randn(2, 1, 8, 8))}
    assert (outputs["conv"] < 0).any()
    assert torch.equal(outputs["conv"].relu(), outputs["relu"])
    assert outputs["rnn"].shape == (2, 36, 3)


@pytest.mark.parametrize(
    ("make", "name", "units"),
    [
        (LeNet5, "f6", 84),
        (lambda: LeNet5(output="linear", loss="cross_entropy", dropout=0.5), "f6", 84),
        (lambda: AlexNet(input_size=64, maps=(8, 8, 8, 8, 8), dense=(16, 12)), "fc7", 12),
        (lambda: GoogLeNet(input_size=64, auxiliary=False), "pool5", 1024),
        (lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(True), nn.Flatten(), nn.Linear(3600, 10)), "2", 3600),
        (lambda: nn.Sequential(nn.Sequential(nn.Flatten(), nn.Linear(1024, 6), nn.Linear(6, 10))), "input", 6),
    ],
)
def test_the_features_by_which_a_network_classifies(make: Callable[[], nn.Module], name: str, units: int) -> None:
    network = make()
    shape = (3, 64, 64) if isinstance(network, (AlexNet, GoogLeNet)) else (1, 32, 32)
    images = torch.randn(3, *shape)
    found, features = last_hidden_layer(network.train(), images)
    assert (found, features.shape) == (name, (3, units))
    if name in dict(network.named_children()):
        outputs = {layer: output for layer, _, output in layer_outputs(network, images)}
        assert torch.equal(features, outputs[name].flatten(1))
    assert network.training
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_the_projector_shows_test_images_once(run_command, trained, tmp_path: Path) -> None:
    run = trained("run", "logging.embeddings=40", "trainer.max_epochs=1")
    for status in ("completed", "interrupted"):  # as if it had been ended between its test and the record of it
        if status == "interrupted":
            metrics = json.loads((run / "metrics.json").read_text())
            (run / "metrics.json").write_text(json.dumps({**metrics, "status": status}))
            outcome = run_command("train", "resume=run")
            assert (outcome.status, "warning" in outcome.out) == (0, False)
        config = projector_config_pb2.ProjectorConfig()
        text_format.Parse((run / "projector_config.pbtxt").read_text(), config)
        (embedding,) = config.embeddings
        assert embedding.tensor_name == "f6:00023"
        features = np.loadtxt(run / embedding.tensor_path, delimiter="\t")
        assert features.shape == (40, 84)
        assert features.std(0).min() > 0
        heading, *rows = (run / embedding.metadata_path).read_text().splitlines()
        assert heading == "class\tpredicted"
        with np.load(run / "test_predictions.npz") as tested:
            chosen = np.arange(40) * len(tested["labels"]) // 40
            pairs = zip(tested["labels"][chosen], tested["predictions"][chosen], strict=True)
            assert rows == [f"{label}\t{predicted}" for label, predicted in pairs]
        with Image.open(run / embedding.sprite.image_path) as sprite:
            assert sprite.size == (7 * 32, 7 * 32)


def test_features_are_written_with_four_digits() -> None:
    values = with_four_digits(torch.tensor([[1234.56, 0.4], [0.0, -2.0]]))
    assert values.tolist() == [[1235.0, 0.0], [0.0, -2.0]]
    assert with_four_digits(torch.tensor([[0.00123456, 0.0]])).tolist() == [[0.001235, 0.0]]
    assert with_four_digits(torch.zeros(2, 2)).tolist() == [[0.0, 0.0]] * 2


def test_small_pictures() -> None:
    assert pictures.thumbnails(torch.rand(2, 3, 200, 100), 64).shape == (2, 3, 64, 32)
    assert pictures.thumbnails(torch.rand(2, 1, 28, 28), 64).shape == (2, 3, 28, 28)
    small = pictures.thumbnails(torch.rand(2, 5, 128, 128) * 9, 64)
    assert small.shape == (2, 3, 64, 64)
    assert 0 <= small.min() <= small.max() <= 1


def test_looking_inside_in_mixed_precision() -> None:
    contexts = []

    def autocast() -> torch.autocast:
        contexts.append(torch.autocast("cpu", torch.bfloat16))
        return contexts[-1]

    network = LeNet5()
    images = torch.randn(4, 1, 32, 32)
    outputs = {name: output for name, _, output in layer_outputs(network, images, autocast)}
    assert {output.dtype for output in outputs.values()} == {torch.float32}
    assert torch.equal(outputs["c1"], outputs["c1"].bfloat16().float())
    units_out_of_use(network, images.split(2), autocast)
    assert len(contexts) == 3


def test_the_norm_of_gradients() -> None:
    network = LeNet5()
    images, labels = torch.randn(8, 1, 32, 32), torch.arange(8)
    network.loss(network(images), labels).backward()
    recorder = Recorder()
    Dashboard().write_gradients(recorder, 1, network)
    assert recorder.scalars == {}
    Dashboard(gradients=True).write_gradients(recorder, 1, network)
    for name in LENET5_WEIGHTS:
        squares = sum(float(parameter.grad.square().sum()) for parameter in getattr(network, name).parameters())
        assert recorder.scalars[f"gradients/{name}/norm"] == pytest.approx(squares**0.5, rel=1e-5), name


def test_a_network_without_convolutions() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    recorder = Recorder()
    Dashboard(memory=False, weights=True, filters=True).write_epoch(
        recorder, 1, network, None, torch.device("cpu"), nullcontext
    )
    assert recorder.tags == ["weights/1"]


def test_when_an_epoch_is_written() -> None:
    dashboard = Dashboard(every_n_epochs=3)
    assert [epoch for epoch in range(8) if dashboard.is_due(epoch, last=epoch == 7)] == [0, 3, 6, 7]


def test_every_key_has_a_default_that_the_config_repeats(compose: Callable) -> None:
    config = compose()["logging"]
    for name, parameter in inspect.signature(Dashboard).parameters.items():
        assert config[name] == parameter.default, name


def test_the_worst_mistakes() -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.99, 0.01], [0.7, 0.3]])
    labels = torch.tensor([1, 0, 1, 1, 0])  # images 0, 1 and 3 are wrong
    assert worst_mistakes(probabilities, labels, 2).tolist() == [3, 0]
    assert worst_mistakes(probabilities, labels, 9).tolist() == [3, 0, 1]
    assert worst_mistakes(probabilities, labels, 0).tolist() == []


def test_pictures() -> None:
    names = ["cat", "a dog with a long name"]
    counts = torch.tensor([[3, 1], [0, 4]])
    (axes,) = pictures.picture_of_confusion(counts, names).axes
    assert sorted(text.get_text() for text in axes.texts) == ["1", "3", "4"]
    assert [label.get_text() for label in axes.get_yticklabels()] == names

    images, labels = torch.rand(3, 3, 8, 8), torch.tensor([1, 1, 1])
    probabilities = torch.tensor([[0.9999, 0.0001]] * 3)
    titles = [axes.get_title() for axes in pictures.picture_of_mistakes(images, labels, probabilities, names).axes]
    assert titles == ["is a dog with a long name (<0.1%)\ntaken for cat (>99.9%)"] * 3

    for values in (torch.rand(4, 256, 6, 6), torch.rand(4, 84), torch.rand(4, 1009), torch.zeros(4, 2, 1, 1)):
        picture = pictures.picture_of_maps(values)
        assert picture.shape[0] == 3
        assert 0 <= picture.min() <= picture.max() <= 1
        assert max(picture.shape) < 1400
    assert pictures.as_maps(torch.rand(2, 84)).shape == (2, 1, 12, 7)
    assert pictures.as_maps(torch.rand(2, 10)).shape == (2, 1, 1, 10)


def test_images_side_by_side_are_torchvisions_grid() -> None:
    from torchvision.utils import make_grid

    for number, channels, columns in ((7, 3, 3), (4, 1, 8), (9, 1, 3)):
        images = torch.rand(number, channels, 5, 4) * 9
        expected = make_grid(images, columns, padding=2, normalize=True, scale_each=True, pad_value=0.5)
        found = pictures.side_by_side(pictures.scaled(images), columns, gap=2, gap_value=0.5)
        torch.testing.assert_close(found, expected)


def test_pictures_do_not_count_as_training_time(run_command, digits: Path, tmp_path: Path, monkeypatch) -> None:
    def draw_slowly(*arguments: object) -> None:
        time.sleep(3)

    monkeypatch.setattr(Dashboard, "write_epoch", draw_slowly)
    settings = [*QUICK, "trainer.max_epochs=1", "logging.units=true", "hydra.run.dir=run"]
    assert run_command("train", *settings, "trainer.check_val_every_n_epoch=2").status == 0
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["train_seconds"] < 3
