"""The numbers that are shown, added up again in double precision, against what torch computed."""

import dataclasses
import json
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cnn_experiments.errors import UserError
from cnn_experiments.inspection import arithmetic as kinds
from cnn_experiments.inspection.arithmetic import Arithmetic, Explanation
from cnn_experiments.inspection.graph import Graph
from cnn_experiments.inspection.layer_outputs import layer_outputs, named_layers
from cnn_experiments.models.alexnet import AlexNet
from cnn_experiments.models.article import ArticleAlexNet, ArticleGoogLeNet
from cnn_experiments.models.googlenet import GoogLeNet
from cnn_experiments.models.layers import Layer
from cnn_experiments.models.lenet5 import C3_CONNECTIONS, LeNet5, rbf_centres

TOLERANCE = 1e-6  # of the sum of the sizes of the terms: what single precision leaves of sums of some thousand terms

Shape = tuple[int, int, int]


class Ordinary(nn.Module):
    """Modules that other networks have: batch normalisation, PyTorch's LRN, average pools with padding, ReLU6."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(3, 6, 3, bias=False, padding="same", dilation=2), nn.BatchNorm2d(6), nn.ReLU6()
        )
        self.norm = nn.LocalResponseNorm(4, alpha=0.5, beta=0.6, k=1.5)
        self.average = nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True)
        self.without = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)
        self.most = nn.MaxPool2d(2, dilation=2, stride=1, padding=1)
        self.adaptive = nn.AdaptiveAvgPool2d((2, 1))
        self.flatten = nn.Flatten()
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Sequential(nn.Linear(12, 7, bias=False), nn.Sigmoid())

    def forward(self, images: Tensor) -> Tensor:
        maps = self.most(self.without(self.average(self.norm(self.block(images)))))
        return self.head(self.relu(self.flatten(self.adaptive(maps))))


NETWORKS: dict[str, tuple[nn.Module, Shape]] = {
    "lenet5": (LeNet5(), (1, 32, 32)),
    "lenet5 of the article": (
        LeNet5(
            subsampling="average",
            c3="full",
            activation="tanh",
            c5_activation=False,
            output="linear",
            loss="cross_entropy",
        ),
        (1, 32, 32),
    ),
    "alexnet": (AlexNet(input_size=96, dense=(40, 30), groups=2), (3, 96, 96)),
    "alexnet of the article": (ArticleAlexNet(input_size=94, maps=(8, 8, 8, 8, 8), dense=(60, 60)), (3, 94, 94)),
    "googlenet": (GoogLeNet(input_size=64, auxiliary=False), (3, 64, 64)),
    "googlenet of the article": (ArticleGoogLeNet(input_size=70, hidden=20), (3, 70, 70)),
    "an ordinary one": (Ordinary(), (3, 22, 19)),
}


def initialised(name: str) -> tuple[nn.Module, Shape, Tensor]:
    """A network with weights as after training, say, and an image."""
    network, shape = NETWORKS[name]
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            fan_in = parameter[0].numel() if parameter.dim() > 1 else 30
            parameter.copy_(torch.randn_like(parameter) * (2 / fan_in) ** 0.5)
        for key, buffer in network.named_buffers():
            if key.endswith(("mean", "var")):
                buffer.copy_(torch.rand_like(buffer) + 0.5)
    return network, shape, torch.randn(1, *shape)


def products(numbers: list, others: list) -> list[float]:
    """The products of two nested lists, place by place; None, which is padding, counts as 0."""
    if not isinstance(numbers, list):
        return [(numbers or 0.0) * others]
    return [product for pair in zip(numbers, others, strict=True) for product in products(*pair)]


def of_convolution(step: kinds.Convolution) -> list[float]:
    terms = products(step.patches, step.kernels)
    size = len(terms) // len(step.maps)
    for place, of_map in enumerate(step.sums):
        assert of_map == pytest.approx(math.fsum(terms[place * size : (place + 1) * size]), rel=1e-12, abs=1e-15)
    return [*terms, step.bias]


def of_average(step: kinds.AveragePooling) -> list[float]:
    values = [value for row in step.values for value in row if value is not None]
    assert step.sum == pytest.approx(math.fsum(values), rel=1e-12, abs=1e-12)
    return [value / step.divisor for value in values]


def of_maximum(step: kinds.MaxPooling) -> list[float]:
    cells = {
        (step.place.top + row * step.dilation[0], step.place.left + column * step.dilation[1]): value
        for row, line in enumerate(step.values)
        for column, value in enumerate(line)
        if value is not None
    }
    assert cells[step.winner] == max(cells.values())
    return [max(cells.values())]


def of_subsampling(step: kinds.TrainedSubsampling) -> list[float]:
    (a, b), (c, d) = step.values
    assert step.mean == pytest.approx((a + b + c + d) / 4, rel=1e-12)
    return [step.coefficient * value / 4 for value in (a, b, c, d)] + [step.bias]


def of_normalisation(step: kinds.LocalNormalisation) -> list[float]:
    assert step.squares == [value * value for value in step.values]
    assert step.value in step.values
    base = step.k + step.alpha * math.fsum(step.squares)
    assert (step.base, step.power) == pytest.approx((base, base**step.beta), rel=1e-12)
    return [step.value / base**step.beta]


def of_batch_normalisation(step: kinds.BatchNormalisation) -> list[float]:
    scale = step.weight / math.sqrt(step.variance + step.epsilon)
    return [step.value * scale, -step.mean * scale, step.bias]


def of_activation(step: kinds.Activation) -> list[float]:
    functions: dict[str, Callable[[float], float]] = {
        "scaled tanh": lambda a: 1.7159 * math.tanh(2 / 3 * a),
        "tanh": math.tanh,
        "ReLU": lambda a: max(0.0, a),
        "ReLU6": lambda a: min(6.0, max(0.0, a)),
        "Sigmoid": lambda a: 1 / (1 + math.exp(-a)),
    }
    return [functions[step.function](step.value)]


def of_dense(step: kinds.Dense) -> list[float]:
    terms = products(step.inputs, step.weights)
    assert step.products == terms
    sizes = [abs(terms[place]) for place in step.largest]
    assert sizes == sorted(map(abs, terms), reverse=True)
    assert math.prod(step.shape) == len(terms)
    return [*terms, step.bias]


def of_distance(step: kinds.Distance) -> list[float]:
    cells = [
        (unit - bit, difference)
        for rows in zip(step.units, step.bitmap, step.differences, strict=True)
        for unit, bit, difference in zip(*rows, strict=True)
    ]
    assert len(cells) == 84
    assert all(difference == expected for expected, difference in cells)
    assert step.distance == pytest.approx(math.fsum(difference**2 for difference, _ in cells), rel=1e-12)
    return [-(difference**2) for difference, _ in cells]


TERMS: dict[type, Callable[..., list[float]]] = {
    kinds.Convolution: of_convolution,
    kinds.TrainedSubsampling: of_subsampling,
    kinds.MaxPooling: of_maximum,
    kinds.AveragePooling: of_average,
    kinds.LocalNormalisation: of_normalisation,
    kinds.BatchNormalisation: of_batch_normalisation,
    kinds.Activation: of_activation,
    kinds.Dense: of_dense,
    kinds.Distance: of_distance,
    kinds.Unchanged: lambda step: [step.result],
}


def check(explanation: Explanation, value: float) -> None:
    """Add up what is shown, step by step, and compare with torch's value."""
    before: float | None = None
    for step in explanation.steps:
        terms = TERMS[type(step)](step)
        size = sum(map(abs, terms))
        assert abs(math.fsum(terms) - step.result) <= TOLERANCE * size + 1e-12, (explanation.layer, step)
        if before is not None:  # each goes on with the result of the last
            assert getattr(step, "value", step.result) == before
        before = step.result
    assert before == explanation.result == value


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * ("googlenet" in name)) for name in NETWORKS]
)
def test_the_numbers_add_up(name: str) -> None:
    network, shape, image = initialised(name)
    graph = Graph(network, shape)
    arithmetic = Arithmetic(graph, image)
    outputs = {layer: output[0] for layer, _, output in layer_outputs(network, image, layers=named_layers(network))}
    assert set(graph.names[1:]) == set(outputs)
    seen = set()
    for index, layer in enumerate(graph.names[1:]):
        maps, height, width = graph.shape(layer)
        values = outputs[layer].reshape(maps, height, width)
        assert torch.equal(arithmetic.outputs(layer).reshape(values.shape), values)
        places = {
            (0, 0, 0),
            (maps - 1, height - 1, width - 1),
            (index % maps, height - 1, 0),
            (maps // 2, height // 2, width // 3),
        }
        places.add(tuple(int(place) for place in torch.unravel_index(values.argmax(), values.shape)))
        for place in places:
            explanation = arithmetic.explain(layer, *place)
            check(explanation, values[place].item())
            seen.update(type(step) for step in explanation.steps)
    for index, share in enumerate(network.eval()(image).softmax(1)[0].tolist()):
        softmax = arithmetic.probability(index)
        exponentials = [math.exp(score - max(softmax.scores)) for score in softmax.scores]
        assert softmax.exponentials == pytest.approx(exponentials)
        assert softmax.result == pytest.approx(exponentials[index] / math.fsum(exponentials), rel=1e-12)
        assert softmax.result == pytest.approx(share, rel=1e-5, abs=1e-30)
    network.train()
    assert seen == KINDS_OF[name.split()[0] if name.startswith(("alexnet", "googlenet")) else name]


CONVOLUTIONAL = {kinds.Convolution, kinds.Activation, kinds.Dense}
KINDS_OF = {
    "lenet5": {*CONVOLUTIONAL, kinds.TrainedSubsampling, kinds.Distance},
    "lenet5 of the article": {*CONVOLUTIONAL, kinds.AveragePooling},
    "alexnet": {*CONVOLUTIONAL, kinds.MaxPooling, kinds.LocalNormalisation},
    "googlenet": {*CONVOLUTIONAL, kinds.MaxPooling, kinds.LocalNormalisation, kinds.AveragePooling, kinds.Unchanged},
    "an ordinary one": {
        *CONVOLUTIONAL,
        kinds.MaxPooling,
        kinds.AveragePooling,
        kinds.LocalNormalisation,
        kinds.BatchNormalisation,
        kinds.Unchanged,
    },
}


def explained(name: str, *place: object) -> Explanation:
    network, shape, image = initialised(name)
    return Arithmetic(Graph(network, shape), image).explain(*place)


def test_c3_has_missing_connections() -> None:
    convolution, activation = explained("lenet5", "c3", 3, 2, 9).steps
    assert (convolution.kind, activation.function) == ("convolution", "scaled tanh")
    assert convolution.source == "s2"
    assert tuple(convolution.maps) == C3_CONNECTIONS[3]
    assert convolution.missing == [0, 1, 2]
    assert convolution.place == (2, 9, 7, 14)
    assert len(convolution.patches) == len(convolution.kernels) == len(convolution.sums) == 3


def test_an_alexnet_map_sees_its_own_group() -> None:
    convolution, _ = explained("alexnet", "conv2", 255, 3, 3).steps
    assert convolution.source == "pool1"
    assert convolution.maps == list(range(48, 96))
    assert convolution.missing == list(range(48))


@pytest.mark.parametrize(("name", "padding"), [("alexnet", 2), ("alexnet of the article", 4)])
def test_padding_is_shown_as_padding(name: str, padding: int) -> None:
    convolution, _ = explained(name, "conv1", 0, 0, 0).steps  # in the article's, padded by a part of its own
    assert convolution.source == "input"
    assert convolution.place == (-padding, -padding, 11 - padding, 11 - padding)
    patch = convolution.patches[2]
    assert all(value is None for row in patch[:padding] for value in row)
    assert all(row[:padding] == [None] * padding for row in patch)
    assert all(value is not None for row in patch[padding:] for value in row[padding:])


def test_padding_never_wins() -> None:
    (step,) = explained("googlenet of the article", "pool1", 5, 17, 17).steps
    assert step.source == "conv1"
    assert step.place == (33, 33, 36, 36)  # of 35 rows and columns
    assert [[value is None for value in row] for row in step.values] == [[False, False, True]] * 2 + [[True] * 3]
    assert max(step.winner) < 35


@pytest.mark.parametrize("pool", [nn.AvgPool2d(3), nn.AvgPool2d(3, count_include_pad=False), nn.MaxPool2d(3)])
def test_zeros_that_a_layer_below_padded_with_count(pool: nn.Module) -> None:
    network = nn.Sequential(nn.ZeroPad2d(1), pool, nn.Flatten(), nn.Linear(4, 2))
    image = -1 - torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    arithmetic = Arithmetic(Graph(network, (1, 4, 4)), image)
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        (step,) = arithmetic.explain("1", 0, row, column).steps
        of_step = of_maximum(step) if isinstance(step, kinds.MaxPooling) else of_average(step)
        assert math.fsum(of_step) == pytest.approx(step.result, rel=1e-6)


def test_a_branch_of_an_inception_module() -> None:
    steps = explained("googlenet", "inception3a", 64 + 128 + 3, 2, 1).steps
    assert [step.kind for step in steps] == ["convolution", "activation", "unchanged"]
    assert steps[0].source == "inception3a/branch5x5/reduce"
    assert (steps[2].function, steps[2].source, steps[2].place) == ("concatenation", "inception3a/branch5x5", (3, 2, 1))
    reduce, _ = explained("googlenet", "inception3a/branch5x5/reduce", 3, 2, 1).steps
    assert reduce.source == "pool2"
    assert explained("googlenet", "inception3a/branch_pool", 3, 2, 1).steps[0].source == "inception3a/branch_pool/pool"


def test_f6_and_the_bitmap() -> None:
    (step,) = explained("lenet5", "output", 7).steps
    assert step.source == "f6"
    assert torch.equal(torch.tensor(step.bitmap).flatten(), rbf_centres()[7])
    assert [len(step.bitmap), len(step.bitmap[0])] == [12, 7]
    dense, _ = explained("lenet5", "f6", 83).steps
    assert (dense.source, dense.shape) == ("c5", (120, 1, 1))


def test_dense_layers_see_through_flattening_and_dropout() -> None:
    assert explained("alexnet", "fc6", 3).steps[0].shape == (256, 2, 2)
    assert explained("alexnet", "fc7", 3).steps[0].source == "fc6"  # dropout6 lies in between
    (step,) = explained("alexnet", "dropout6", 3).steps
    assert (step.function, step.source, step.place) == ("dropout", "fc6", (3, 0, 0))
    (step,) = explained("an ordinary one", "flatten", 3).steps
    assert (step.function, step.source, step.place) == ("flatten", "adaptive", (1, 1, 0))


@pytest.mark.parametrize(("name", "layer"), [("lenet5", "c3"), ("lenet5", "output"), ("googlenet", "inception5b")])
def test_it_becomes_json(name: str, layer: str) -> None:
    plain = dataclasses.asdict(explained(name, layer, 5))
    assert json.loads(json.dumps(plain, allow_nan=False))["layer"] == layer
    assert plain["steps"][0]["kind"] in ("convolution", "RBF")


def test_a_number_that_is_none_is_shown() -> None:
    network, shape, image = initialised("alexnet")
    image[0, 0, 0, 0] = float("nan")
    explanation = Arithmetic(Graph(network, shape), image).explain("pool1", 0, 0, 0)
    assert math.isnan(explanation.result)
    assert explanation.steps[0].winner == (0, 0)


class Adds(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = Layer(convolution=nn.Conv2d(1, 1, 1), activation=nn.Softplus())
        self.odd = nn.PixelShuffle(1)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.layer(images)
        return self.odd(maps + images)


class TestErrors:
    arithmetic = Arithmetic(Graph(Adds(), (1, 4, 4)), torch.ones(1, 1, 4, 4))

    def test_what_is_not_known_is_named(self) -> None:
        with pytest.raises(UserError, match="odd, PixelShuffle: its arithmetic is not known here"):
            self.arithmetic.explain("odd", 0, 1, 1)
        assert [step.kind for step in self.arithmetic.explain("layer", 0, 1, 1).steps] == ["convolution", "activation"]

    @pytest.mark.parametrize(
        ("place", "message"),
        [
            (("input", 0, 0, 0), "layer=input: the image's values are not computed"),
            (("layer", 1, 0, 0), "map=1: layer has 1 of these"),
            (("nothing", 0, 0, 0), "layer=nothing: there is no such layer"),
        ],
    )
    def test_there_is_no_such_value(self, place: tuple, message: str) -> None:
        with pytest.raises(UserError, match=message):
            self.arithmetic.explain(*place)

    def test_there_is_no_such_class(self) -> None:
        arithmetic = Arithmetic(Graph(LeNet5(), (1, 32, 32)), torch.zeros(1, 1, 32, 32))
        with pytest.raises(UserError, match="class=10: there are 10 classes"):
            arithmetic.probability(10)
