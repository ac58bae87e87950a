"""What every network has to do, whatever its name: all of conf/model."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from cnn_experiments.inspection.export import TOLERANCE, export_onnx
from cnn_experiments.inspection.layer_outputs import layer_outputs
from cnn_experiments.inspection.layer_table import layer_table
from cnn_experiments.inspection.saliency import choose_layer, grad_cam
from cnn_experiments.logging.dashboard import Dashboard
from cnn_experiments.models.network import Network
from cnn_experiments.settings.classes import CONFIG_DIRECTORY


def names_of_networks() -> list[str]:
    """The words that choose each network: ``model=lenet5`` …"""
    return [f"model={file.stem}" for file in sorted((CONFIG_DIRECTORY / "model").glob("*.yaml"))]


# Settings with which the larger networks take seconds. A network without an entry is tested as it is.
SMALL = {
    "model=alexnet": ("model.input_size=96", "model.maps=[16,16,16,16,16]", "model.dense=[32,32]"),
    "model=googlenet": ("model.input_size=96",),
    "model=alexnet_article": ("model.input_size=96", "model.maps=[16,16,16,16,16]", "model.dense=[32,32]"),
    "model=googlenet_article": ("model.input_size=96",),
}
# What cannot learn as it is: with the article's weights, scores start in the thousands.
TRAINABLE = dict.fromkeys(("model=alexnet_article", "model=googlenet_article"), ("model.init=he",))


class Built(NamedTuple):
    """A network and what it is made for."""

    network: nn.Module
    input_shape: tuple[int, int, int]
    num_classes: int

    def images(self, number: int) -> Tensor:
        """Random network input, always the same."""
        return torch.randn(number, *self.input_shape, generator=torch.Generator().manual_seed(1))

    def labels(self, number: int) -> Tensor:
        """All classes in turn."""
        return torch.arange(number) % self.num_classes


@pytest.fixture(
    params=[pytest.param(name, marks=[pytest.mark.slow] * name.endswith("_article")) for name in names_of_networks()]
)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def built_network(settings: Callable) -> Callable[..., Built]:
    """Build a network by the word that chooses it, with other words."""

    def build(name: str, *words: str) -> Built:
        chosen = settings(name, *SMALL.get(name, ()), *words)
        torch.manual_seed(0)
        return Built(chosen.network(), chosen.input_shape, chosen.datamodule.num_classes)

    return build


def quickest_first() -> list[Any]:
    """All networks; all but the quickest are slow."""
    slow = pytest.mark.slow
    return [pytest.param(name, marks=[slow] * (name != "model=lenet5")) for name in names_of_networks()]


def scores_of(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


def test_shapes(built_network: Callable, name: str) -> None:
    built = built_network(name)
    assert isinstance(built.network, Network)
    for training in (True, False):
        output = built.network.train(training)(built.images(3))
        assert scores_of(output).shape == (3, built.num_classes)
        loss = built.network.loss(output, built.labels(3))
        assert loss.shape == ()
        assert loss.isfinite()
    assert isinstance(output, Tensor)  # a tested network gives its scores alone


def test_gradients_reach_every_parameter(built_network: Callable, name: str) -> None:
    network, *_ = built = built_network(name)
    network.loss(network(built.images(4)), built.labels(4)).backward()
    without = [
        key for key, parameter in network.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert without == []


def test_the_same_seed_gives_the_same_weights(built_network: Callable, name: str) -> None:
    first, second = (built_network(name).network.state_dict() for _ in range(2))
    assert all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.mark.parametrize("name", quickest_first())
def test_it_learns_a_batch_by_heart(built_network: Callable, name: str) -> None:
    network, *_ = built = built_network(name, "model.dropout=0", *TRAINABLE.get(name, ()))
    images, labels = built.images(10), built.labels(10)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-4)

    def knows_all() -> bool:
        with torch.no_grad():
            return bool((network.eval()(images).argmax(1) == labels).all())

    for _ in range(300):
        if knows_all():
            break
        optimizer.zero_grad()
        network.loss(network.train()(images), labels).backward()
        optimizer.step()
    assert knows_all()


def test_saved_and_loaded_it_is_the_same(built_network: Callable, name: str, tmp_path: Path) -> None:
    built = built_network(name)
    torch.save(built.network.state_dict(), tmp_path / "weights.pt")
    torch.manual_seed(5)
    other = built_network(name).network
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    with torch.no_grad():
        assert torch.equal(built.network.eval()(built.images(2)), other.eval()(built.images(2)))


def test_its_table(built_network: Callable, name: str) -> None:
    built = built_network(name)
    modes = [module.training for module in built.network.modules()]
    random_state = torch.get_rng_state()
    table = layer_table(built.network, built.input_shape)
    layers = [layer for layer, module in built.network.named_children() if not isinstance(module, nn.Identity)]
    assert [row.name for row in table.rows if row.depth == 0] == ["input", *layers]
    assert table.parameters == sum(parameter.numel() for parameter in built.network.parameters())
    for count in ("parameters", "connections", "multiply_adds"):
        assert sum(getattr(row, count) for row in table.rows if row.depth == 0) == getattr(table, count) > 0
    outputs = {layer: output for layer, _, output in layer_outputs(built.network, built.images(1))}
    for row in table.rows:
        if row.depth == 0 and row.name in outputs:
            _, maps, *size = outputs[row.name].shape
            assert (row.maps, row.size) == (maps, "×".join(map(str, size)) or "1"), row.name
    assert [module.training for module in built.network.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random_state)


def test_its_layers_can_be_seen(built_network: Callable, name: str) -> None:
    built = built_network(name)
    outputs = {layer: output for layer, _, output in layer_outputs(built.network, built.images(2))}
    assert all(output.isfinite().all() and len(output) == 2 for output in outputs.values())
    with torch.no_grad():
        scores = built.network.eval()(built.images(2))
    assert any(torch.equal(output, scores) for output in outputs.values())


def test_where_it_looks(built_network: Callable, name: str) -> None:
    built = built_network(name)
    layer = choose_layer(built.network, None, built.input_shape)
    heat = grad_cam(built.network, layer, built.images(2), built.labels(2))
    assert heat.shape == (2, *built.input_shape[1:])
    assert 0 <= heat.min() <= heat.max() <= 1


@pytest.mark.parametrize("name", quickest_first())
@pytest.mark.slow
def test_it_exports(built_network: Callable, name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    built = built_network(name)
    classes = [str(number) for number in range(built.num_classes)]
    exported = export_onnx(built.network, built.input_shape, classes, {}, tmp_path / "network.onnx")
    assert exported.difference < TOLERANCE


class RandomData:
    """What the dashboard asks of a data set."""

    def __init__(self, built: Built) -> None:
        self.built = built

    def some_images(self, part: str, number: int) -> Tensor:
        return (self.built.images(min(number, 8)) * 255).clamp(0, 255).byte()

    def network_input(self, images: Tensor, part: str) -> Tensor:
        return images / 255


class Tags(list):
    """Keeps the tags of what TensorBoard's writer would get."""

    def add_scalar(self, tag: str, value: object, step: int) -> None:
        self.append(tag)

    add_histogram = add_image = add_figure = add_scalar


def test_its_dashboard(built_network: Callable, name: str) -> None:
    network, *_ = built = built_network(name)
    everything = Dashboard(weights=True, gradients=True, filters=True, activations=2, units=True)
    network.loss(network(built.images(4)), built.labels(4)).backward()
    tags = Tags()
    everything.write_gradients(tags, 1, network)
    everything.write_epoch(tags, 1, network, RandomData(built), torch.device("cpu"), nullcontext)
    layers = [layer for layer, module in network.named_children() if list(module.parameters())]
    assert {tag.split("/")[1] for tag in tags if tag.startswith("gradients/")} == set(layers)
    assert {tag.split("/")[1] for tag in tags if tag.startswith("weights/")} == set(layers)
    assert {"memory/process_gib", "activations/input", f"filters/{layers[0]}"} <= set(tags)
    assert {f"activations/{layer}" for layer, _, _ in layer_outputs(network, built.images(1))} <= set(tags)
    assert any(tag.startswith(("dead_relus/", "saturated_tanhs/")) for tag in tags)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_compiles(built_network: Callable, name: str) -> None:
    built = built_network(name, "model.dropout=0")
    expected = scores_of(built.network(built.images(2))).detach()
    built.network.compile()
    output = built.network(built.images(2))
    built.network.loss(output, built.labels(2)).backward()
    torch.testing.assert_close(scores_of(output).detach(), expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())
