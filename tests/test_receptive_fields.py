"""What a value sees, compared with where its gradient is not 0."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cnn_experiments.errors import UserError
from cnn_experiments.inspection.graph import Graph
from cnn_experiments.inspection.layer_outputs import named_layers, watching
from cnn_experiments.inspection.receptive_fields import Geometry, ReceptiveFields, Rectangle
from cnn_experiments.models.alexnet import AlexNet
from cnn_experiments.models.article import ArticleAlexNet, ArticleGoogLeNet
from cnn_experiments.models.googlenet import GoogLeNet
from cnn_experiments.models.lenet5 import C3_CONNECTIONS, LeNet5

Shape = tuple[int, int, int]


class Beginners(nn.Module):
    """A network as many write their first one: functions between modules, and batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, (3, 5), stride=(2, 1), padding=(1, 0))
        self.norm = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 6, 3, dilation=2, padding="same")
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d((2, 3)), nn.Flatten(), nn.Linear(36, 5))

    def forward(self, images: Tensor) -> Tensor:
        maps = functional.relu(self.norm(self.conv1(images)))
        maps = functional.max_pool2d(maps, 3, stride=2, padding=1)
        return functional.log_softmax(self.head(torch.sigmoid(self.conv2(maps))), dim=1)


class Residual(nn.Module):
    """Two ways that meet in a sum, with a stride of 2, and a ReLU that is used twice and works in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.short = nn.Conv2d(2, 4, 1, stride=2)
        self.relu = nn.ReLU(inplace=True)
        self.dense = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.second(self.relu(self.first(images))) + self.short(images)
        return self.dense(self.relu(maps).mean((2, 3)))


NETWORKS: dict[str, tuple[nn.Module, Shape]] = {
    "lenet5": (LeNet5(), (1, 32, 32)),
    "lenet5 of the article": (
        LeNet5(subsampling="average", c3="full", activation="tanh", output="linear", loss="cross_entropy"),
        (1, 32, 32),
    ),
    "alexnet": (AlexNet(input_size=96, maps=(8, 8, 8, 8, 8), dense=(6, 6), groups=2), (3, 96, 96)),
    "alexnet of the article": (ArticleAlexNet(input_size=94, maps=(8, 8, 8, 8, 8), dense=(6, 6)), (3, 94, 94)),
    "googlenet": (GoogLeNet(input_size=64, auxiliary=False), (3, 64, 64)),
    "googlenet of the article": (ArticleGoogLeNet(input_size=70, hidden=20), (3, 70, 70)),
    "a beginner's": (Beginners(), (3, 33, 29)),
    "a residual one": (Residual(), (2, 17, 17)),
}
WITH_GAPS = (
    "a beginner's",
    "a residual one",
)  # parts of a field are not seen


def made_visible(network: nn.Module) -> nn.Module:
    """The network with random weights above 0 that neither fade nor grow, so that no gradient is 0 by chance."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.rand_like(parameter) * 0.9 + 0.1)
            if parameter.dim() > 1:
                parameter /= parameter[0].numel()
    return network.double().eval()


def windows_averaged(
    maps: Tensor, kernel: int, stride: int, padding: int = 0, dilation: int = 1, ceil_mode: bool = False, **_: object
) -> Tensor:
    """In place of a max pool, whose gradient shows the maximum alone."""
    assert dilation == 1
    return functional.avg_pool2d(torch.where(maps.isfinite(), maps, 0.0), kernel, stride, padding, ceil_mode)


def places(shape: Shape) -> list[Shape]:
    """The first value, the last, and one in between."""
    maps, height, width = shape
    return sorted({(0, 0, 0), (maps - 1, height - 1, width - 1), (maps // 2, height // 2, width // 3)})


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name == "googlenet of the article" else []) for name in NETWORKS],
)
def test_a_field_is_where_the_gradient_is_not_0(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, shape = NETWORKS[name]
    network = made_visible(network)
    graph = Graph(network, shape)
    monkeypatch.setattr(functional, "max_pool2d", windows_averaged)
    fields = ReceptiveFields(graph)
    images = (torch.rand(1, *shape, dtype=torch.double) + 0.1).requires_grad_()
    outputs: dict[str, Tensor] = {}
    with watching(named_layers(network), outputs.__setitem__):
        network(images)
    outputs = {"input": images, **{layer: outputs[layer] for layer in graph.names[1:]}}
    assert len(outputs) == len(graph.names)
    for index, (layer, output) in enumerate(list(outputs.items())[1:]):
        values = output[0].reshape(graph.shape(layer))
        everywhere = places(graph.shape(layer))
        in_turn = [everywhere[index % len(everywhere)]]  # of the 80 layers and parts of GoogLeNet, which take longest
        for map_, row, column in in_turn if "googlenet" in name else everywhere:
            found = fields.of(layer, row, column, map_)
            assert {"input", layer} <= set(found)
            # what works in place hides what was before it
            others = {other: outputs[other] for other in found if outputs[other] is not output or other == layer}
            gradients = torch.autograd.grad(
                values[map_, row, column], list(others.values()), retain_graph=True, allow_unused=True
            )
            for other, gradient in zip(others, gradients, strict=True):
                if gradient is None or other == layer:  # of a sum's other way, or of the value itself
                    continue
                seen = gradient[0].reshape(graph.shape(other)) != 0
                field = found[other]
                where = (layer, map_, row, column, other)
                assert tuple(seen.any((1, 2)).nonzero()[:, 0].tolist()) == field.maps, where
                assert box_of(seen) == field.pixels, where
                if name not in WITH_GAPS:
                    assert int(seen.sum()) == field.values, where


def box_of(seen: Tensor) -> Rectangle:
    """The smallest rectangle that holds all places that are True in any map."""
    _, rows, columns = seen.nonzero().unbind(1)
    return Rectangle(*map(int, (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)))


class TestLeNet5:
    fields = ReceptiveFields(Graph(LeNet5(), (1, 32, 32)))

    @pytest.mark.parametrize("map_", range(16))
    def test_c3_sees_the_maps_of_table_1(self, map_: int) -> None:
        found = self.fields.of("c3", 4, 7, map_)
        assert list(found) == ["input", "c1", "s2", "c3"]
        assert found["s2"].maps == found["c1"].maps == C3_CONNECTIONS[map_]
        assert found["s2"].pixels == Rectangle(4, 7, 9, 12)
        assert found["c1"].pixels == Rectangle(8, 14, 18, 24)
        assert found["input"].pixels == Rectangle(8, 14, 22, 28)
        assert found["c3"].pixels == Rectangle(4, 7, 5, 8)
        (taken,) = self.fields.taken("c3", (map_, 4, 7)).values()
        assert (taken.layer, taken.values) == ("s2", 25 * len(C3_CONNECTIONS[map_]))

    def test_all_maps_of_a_place(self) -> None:
        assert self.fields.of("c3", 0, 0)["s2"].maps == tuple(range(6))

    def test_sizes_strides_and_offsets(self) -> None:
        expected = {"c1": (5, 1), "s2": (6, 2), "c3": (14, 2), "s4": (16, 4), "c5": (32, 4)}
        for layer, (size, stride) in expected.items():
            assert self.fields.geometry(layer) == Geometry((size, size), (stride, stride), (0, 0))
        assert self.fields.geometry("f6") is self.fields.geometry("output") is None
        assert self.fields.geometry("input") == Geometry((1, 1), (1, 1), (0, 0))

    def test_a_unit_sees_everything(self) -> None:
        found = self.fields.of("output", map=3)
        assert found["input"].values == 1024
        assert found["f6"].maps == tuple(range(84))


def test_padding_and_groups_of_alexnet() -> None:
    network = AlexNet(groups=2)
    fields = ReceptiveFields(Graph(network, (3, 224, 224)))
    assert fields.geometry("conv1") == Geometry((11, 11), (4, 4), (-2, -2))
    assert fields.geometry("conv5") == Geometry((163, 163), (16, 16), (-66, -66))
    corner = fields.of("conv2", 0, 0, 255)
    assert corner["input"].unclipped == Rectangle(-18, -18, 33, 33)
    assert corner["input"].pixels == Rectangle(0, 0, 33, 33)
    (taken,) = fields.taken("conv2", (255, 13, 13)).values()
    assert (taken.layer, taken.maps, taken.values) == ("pool1", tuple(range(48, 96)), 48 * 25)
    assert fields.taken("fc7", (0, 0, 0))["fc6"].values == 4096  # through a dropout


def test_branches_of_googlenet() -> None:
    fields = ReceptiveFields(Graph(GoogLeNet(input_size=112), (3, 112, 112)))
    sides = {"branch1x1": 1, "branch3x3": 3, "branch5x5": 5, "branch_pool": 3}
    maps = {"branch1x1": 0, "branch3x3": 64, "branch5x5": 64 + 128, "branch_pool": 255}
    for branch, side in sides.items():
        assert fields.of(f"inception3a/{branch}", 7, 7)["pool2"].pixels.height == side
        through_one = fields.of("inception3a", 7, 7, maps[branch])
        assert through_one["pool2"].pixels.height == side
        branches = {name.split("/")[1] for name in through_one if name.startswith("inception3a/")}
        assert branches == {branch}
    together = fields.of("inception3a", 7, 7)
    assert together["pool2"].pixels == Rectangle(5, 5, 10, 10)
    assert together["inception3a/branch5x5/reduce"].pixels == Rectangle(5, 5, 10, 10)
    assert together["inception3a/branch3x3/reduce"].pixels == Rectangle(6, 6, 9, 9)
    assert len(together["inception3a/branch3x3/reduce"].maps) == 96
    assert "inception3a/branch5x5/conv5x5" in fields.graph.names
    assert fields.geometry("inception3a") == fields.geometry("inception3a/branch5x5")


def test_names_are_those_of_the_layers_that_run() -> None:
    network = GoogLeNet(input_size=96)  # with auxiliary heads, which run in training only
    graph = Graph(network, (3, 96, 96))
    assert network.training
    assert graph.names[:8] == [
        "input", "conv1", "pool1", "norm1", "conv2", "conv2/reduce", "conv2/conv3x3", "norm2",
    ]  # fmt: skip
    assert not [name for name in graph.names if "auxiliary" in name or "dropout" in name]
    assert graph.names[-2:] == ["pool5", "output"]


class Gathers(nn.Module):
    """A layer that is not known."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.flip(2)


class Depends(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images if images.sum() > 0 else -images


class TestErrors:
    def test_a_module_that_is_not_known_is_named(self) -> None:
        network = nn.Sequential(nn.Conv2d(1, 1, 3), Gathers(), nn.Conv2d(1, 2, 3))
        fields = ReceptiveFields(Graph(network, (1, 9, 9)))
        assert fields.of("0", 1, 1)["input"].pixels == Rectangle(1, 1, 4, 4)
        with pytest.raises(UserError, match="1, Gathers: which places it sees is not known here"):
            fields.of("2", 0, 0)
        with pytest.raises(UserError, match="Gathers"):
            fields.geometry("1")

    @pytest.mark.parametrize(
        "module",
        [
            nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"),
            nn.BatchNorm2d(1, track_running_stats=False),
            nn.ConvTranspose2d(1, 1, 3),
            nn.Linear(9, 9),
            nn.Softmax(dim=3),
        ],
    )
    def test_what_only_looks_known_is_refused(self, module: nn.Module) -> None:
        network = nn.Sequential(nn.Conv2d(1, 1, 1), module)
        with pytest.raises(UserError, match=type(module).__name__):
            ReceptiveFields(Graph(network, (1, 9, 9))).of("1", 0, 0)

    def test_a_function_that_is_not_known_is_named(self) -> None:
        class Crops(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv = nn.Conv2d(1, 1, 1)

            def forward(self, images: Tensor) -> Tensor:
                return self.conv(images.roll(1, 2))

        with pytest.raises(UserError, match="roll: this function cannot be explained here"):
            ReceptiveFields(Graph(Crops(), (1, 4, 4))).of("conv")

    def test_a_network_that_cannot_be_followed(self) -> None:
        with pytest.raises(UserError, match="Depends: its forward cannot be followed"):
            Graph(Depends(), (1, 4, 4))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("c9",), "layer=c9: there is no such layer that runs here. Choose from: c1, c3, c5, f6, input"),
            (("c1", 28, 0), "row=28: c1 has 28 of these, 0 to 27"),
            (("c1", 0, -1), "column=-1"),
            (("c1", 0, 0, 6), "map=6"),
            (("f6", 1, 0, 6), "row=1: f6 has 1 of these"),
        ],
    )
    def test_there_is_no_such_value(self, arguments: tuple, message: str) -> None:
        with pytest.raises(UserError, match=message):
            ReceptiveFields(Graph(LeNet5(), (1, 32, 32))).of(*arguments)


def test_the_network_stays_as_it_was() -> None:
    network = LeNet5(dropout=0.5).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    random_state = torch.get_rng_state()
    ReceptiveFields(Graph(network, (1, 32, 32))).of("output")
    assert network.training
    assert network.dropout.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not any(module._forward_hooks for module in network.modules())
