"""AlexNet and GoogLeNet against the papers' tables and the article's shapes, and their layers against formulas."""

import inspect
from collections.abc import Callable
from dataclasses import asdict, is_dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cnn_experiments.inspection.layer_table import layer_table
from cnn_experiments.models.alexnet import AlexNet
from cnn_experiments.models.article import ArticleAlexNet, ArticleGoogLeNet
from cnn_experiments.models.googlenet import AUXILIARY_WEIGHT, GoogLeNet, Inception
from cnn_experiments.models.layers import Layer, LocalResponseNorm, ResponseNormalisation, SamePadding

ARTICLE_LRN = ResponseNormalisation(radius=2, alpha=2e-5, beta=0.75, k=1.0)
PAPER_LRN = ResponseNormalisation(radius=2, alpha=1e-4, beta=0.75, k=2.0)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def shapes(network: nn.Module, side: int) -> dict[str, str]:
    """Of each layer, its maps and their size: ``96@55×55``."""
    rows = layer_table(network, (3, side, side)).rows
    return {row.name: f"{row.maps}@{row.size}" for row in rows if row.depth == 0}


class TestAlexNet:
    @pytest.mark.parametrize(
        ("classes", "groups", "number"),
        [(1000, 2, 60_965_224), (1000, 1, 62_378_344), (2, 2, 56_876_418), (2, 1, 58_289_538)],
    )
    def test_parameters(self, classes: int, groups: int, number: int) -> None:
        with torch.device("meta"):
            assert parameters(AlexNet(num_classes=classes, groups=groups)) == number

    def test_sizes_at_224(self) -> None:
        assert shapes(AlexNet(1000, dense=(8, 8)), 224) == {
            "input": "3@224×224",
            "conv1": "96@55×55",
            "norm1": "96@55×55",
            "pool1": "96@27×27",
            "conv2": "256@27×27",
            "norm2": "256@27×27",
            "pool2": "256@13×13",
            "conv3": "384@13×13",
            "conv4": "384@13×13",
            "conv5": "256@13×13",
            "pool5": "256@6×6",
            "fc6": "8@1",
            "dropout6": "8@1",
            "fc7": "8@1",
            "dropout7": "8@1",
            "fc8": "1000@1",
        }

    def test_sizes_of_the_article(self) -> None:
        def article(side: int) -> dict[str, str]:
            return shapes(ArticleAlexNet(input_size=side, dense=(300, 200)), side)

        at_214, at_224 = article(214), article(224)
        assert (at_214["conv1"], at_214["pool1"], at_214["pool2"]) == ("96@54×54", "96@26×26", "256@12×12")
        assert at_214["conv5"] == "256@12×12"
        assert "pool5" not in at_214
        assert "dropout6" not in at_214
        assert [at_224[name] for name in ("conv1", "pool1", "pool2")] == ["96@56×56", "96@27×27", "256@13×13"]

    def test_sizes_at_112_and_227(self) -> None:
        assert shapes(AlexNet(2, input_size=112, dense=(8, 8)), 112)["pool5"] == "256@2×2"
        assert shapes(AlexNet(2, input_size=227, dense=(8, 8)), 227)["pool5"] == "256@6×6"

    def test_initial_weights_of_the_paper(self) -> None:
        network = AlexNet(2, init="paper", dense=(64, 64))
        assert network.conv3.convolution.weight.std().item() == pytest.approx(0.01, rel=0.02)
        biases = {name: layer.get_parameter(part).unique().tolist() for name, part, layer in biased(network)}
        ones = {"conv2", "conv4", "conv5", "fc6", "fc7"}
        assert biases == {name: [1.0 if name in ones else 0.0] for name in biases}
        assert len(biases) == 8

    def test_groups_do_not_see_each_other(self) -> None:
        network = AlexNet(2, groups=2, dense=(8, 8), lrn=None, init="he").eval()
        maps = torch.randn(1, 96, 27, 27)
        changed = maps.clone()
        changed[:, 48:] += 1
        difference = (network.conv2(changed) - network.conv2(maps)).abs().sum((0, 2, 3))
        assert (difference[:128] == 0).all()
        assert (difference[128:] > 0).any()

    def test_too_small_images_are_refused(self) -> None:
        with pytest.raises(ValueError, match="input_size=48 is too small"):
            AlexNet(input_size=48)

    def test_odd_maps_are_no_groups(self) -> None:
        with pytest.raises(ValueError, match="groups=2"):
            AlexNet(maps=(95, 256, 384, 384, 256), groups=2)


def biased(network: nn.Module) -> list[tuple[str, str, nn.Module]]:
    return [
        (name, next(key for key, _ in layer.named_parameters() if key.endswith("bias")), layer)
        for name, layer in network.named_children()
        if parameters(layer)
    ]


class TestGoogLeNet:
    @pytest.mark.parametrize(
        ("classes", "auxiliary", "number"),
        [(1000, False, 6_998_552), (1000, True, 13_378_280), (2, False, 5_975_602), (2, True, 10_309_430)],
    )
    def test_parameters(self, classes: int, auxiliary: bool, number: int) -> None:
        assert parameters(GoogLeNet(num_classes=classes, auxiliary=auxiliary)) == number

    def test_sizes_and_multiply_adds_at_224(self) -> None:
        table = layer_table(GoogLeNet(1000), (3, 224, 224))
        assert {row.name: f"{row.maps}@{row.size}" for row in table.rows if row.depth == 0} == {
            "input": "3@224×224",
            "conv1": "64@112×112",
            "pool1": "64@56×56",
            "norm1": "64@56×56",
            "conv2": "192@56×56",
            "norm2": "192@56×56",
            "pool2": "192@28×28",
            "inception3a": "256@28×28",
            "inception3b": "480@28×28",
            "pool3": "480@14×14",
            "inception4a": "512@14×14",
            "inception4b": "512@14×14",
            "inception4c": "512@14×14",
            "inception4d": "528@14×14",
            "inception4e": "832@14×14",
            "pool4": "832@7×7",
            "inception5a": "832@7×7",
            "inception5b": "1024@7×7",
            "pool5": "1024@1×1",
            "dropout": "1024@1",
            "output": "1000@1",
            "auxiliary4a": "1000@1",
            "auxiliary4d": "1000@1",
        }
        assert table.multiply_adds == pytest.approx(1.58e9, rel=0.005)
        assert sum(row.multiply_adds for row in table.rows if row.depth == 0) == table.multiply_adds
        heads = [row for row in table.rows if row.name.startswith("auxiliary")]
        assert [row.kind for row in heads] == ["auxiliary head, training only"] * 2
        assert not any(row.multiply_adds or row.connections for row in heads)

    @pytest.mark.parametrize("padding", ["same", "paper"])
    def test_sizes_at_214(self, padding: str) -> None:
        network = ArticleGoogLeNet(padding=padding)
        found = shapes(network, 214)
        names = ("conv1", "pool1", "pool2", "pool3", "pool4", "pool5", "hidden")
        sides = [found[name].split("@")[1] for name in names]
        expected = {"same": (107, 54, 27, 14, 7, 1), "paper": (107, 53, 26, 13, 6, 1)}[padding]
        assert sides == [*(f"{side}×{side}" for side in expected), "1"]
        assert found["hidden"] == "1000@1"

    def test_a_module_puts_its_branches_side_by_side(self) -> None:
        module = Inception(192, 64, 96, 128, 16, 32, 32)
        maps = torch.randn(2, 192, 9, 9)
        out = module(maps)
        assert out.shape == (2, 256, 9, 9)
        assert torch.equal(out[:, :64], module.branch1x1(maps))
        assert torch.equal(out[:, 64:192], module.branch3x3(maps))
        assert torch.equal(out[:, 192:224], module.branch5x5(maps))
        assert torch.equal(out[:, 224:], module.branch_pool(maps))
        assert module.branch5x5.conv5x5.convolution.kernel_size == (5, 5)

    def test_auxiliary_heads_are_for_training_alone(self) -> None:
        torch.manual_seed(0)
        network = GoogLeNet(2, input_size=96)
        images, labels = torch.randn(2, 3, 96, 96), torch.tensor([0, 1])
        output = network(images)
        assert [scores.shape for scores in output] == [(2, 2)] * 3
        main, *others = [functional.cross_entropy(scores, labels) for scores in output]
        assert network.loss(output, labels).item() == pytest.approx((main + AUXILIARY_WEIGHT * sum(others)).item())
        assert AUXILIARY_WEIGHT == 0.3
        scores = network.eval()(images)
        assert scores.shape == (2, 2)
        assert network.loss(scores, labels) == functional.cross_entropy(scores, labels)

    def test_too_small_images_are_refused(self) -> None:
        with pytest.raises(ValueError, match="input_size=64 is too small"):
            GoogLeNet(input_size=64)
        with pytest.raises(ValueError, match="input_size=30 is too small: pool4"):
            GoogLeNet(input_size=30, auxiliary=False)

    @pytest.mark.parametrize(("side", "auxiliary"), [(31, False), (79, True), (97, True)])
    def test_the_smallest_and_odd_images(self, side: int, auxiliary: bool) -> None:
        network = GoogLeNet(input_size=side, auxiliary=auxiliary)
        output = network(torch.zeros(1, 3, side, side))
        shapes = [scores.shape for scores in output] if auxiliary else [output.shape]
        assert shapes == [(1, 2)] * (3 if auxiliary else 1)


class TestArticle:
    def test_parameters(self) -> None:
        with torch.device("meta"):
            # fc6 sees maps of 12×12 in place of 6×6
            assert parameters(ArticleAlexNet()) == 58_289_538 + 256 * (12 * 12 - 6 * 6) * 4096
            # convolutions, fc6, fc7, fc8
            narrow = 3_747_200 + (256 * 12 * 12 + 1) * 300 + 301 * 200 + 201 * 2
            assert parameters(ArticleAlexNet(dense=(300, 200))) == narrow
            # the dense layer of 1,000 units between the average and the output
            assert parameters(ArticleGoogLeNet()) == 5_975_602 - 1025 * 2 + 1025 * 1000 + 1001 * 2

    @pytest.mark.parametrize(
        ("article", "paper", "same"),
        [
            (ArticleAlexNet, AlexNet, {"padding": "paper", "pool5": True, "dropout_fc6": True, "dense": (16, 16)}),
            (ArticleGoogLeNet, GoogLeNet, {"padding": "paper", "hidden": None}),
        ],
    )
    def test_without_its_departures_it_is_the_papers_network(
        self, article: type[nn.Module], paper: type[nn.Module], same: dict
    ) -> None:
        defaults = {
            name: parameter.default
            for name, parameter in inspect.signature(paper).parameters.items()
            if name != "input_size"
        }
        shared = defaults | {"input_size": 97} | ({"dense": same["dense"]} if "dense" in same else {})
        networks = []
        for network_class, arguments in ((article, shared | same), (paper, shared)):
            torch.manual_seed(0)
            networks.append(network_class(**arguments))
        first, second = (network.state_dict() for network in networks)
        assert list(first) == list(second)
        assert all(torch.equal(value, second[name]) for name, value in first.items())
        outputs = []
        for network in networks:
            torch.manual_seed(1)
            output = network(torch.randn(2, 3, 97, 97))
            outputs.append(output if isinstance(output, tuple) else (output,))
        assert all(torch.equal(one, other) for one, other in zip(*outputs, strict=True))

    def test_fc6_drops_nothing(self) -> None:
        network = ArticleAlexNet(input_size=63, dense=(16, 16))
        assert [type(part) for part in (network.dropout6, network.dropout7)] == [nn.Identity, nn.Dropout]


@pytest.mark.parametrize(
    ("words", "network_class"),
    [
        (["model=alexnet"], AlexNet),
        (["model=googlenet"], GoogLeNet),
        (["experiment=alexnet_article"], ArticleAlexNet),
        (["experiment=googlenet_article"], ArticleGoogLeNet),
    ],
)
def test_every_option_has_a_default_that_the_config_repeats(
    compose: Callable, words: list[str], network_class: type[nn.Module]
) -> None:
    model = compose(*words)["model"]
    assert model["_target_"] == f"{network_class.__module__}.{network_class.__qualname__}"
    for name, parameter in inspect.signature(network_class).parameters.items():
        default = asdict(parameter.default) if is_dataclass(parameter.default) else parameter.default
        assert model[name] == (list(default) if isinstance(default, tuple) else default), name


@pytest.mark.parametrize("network_class", [AlexNet, ArticleAlexNet, GoogLeNet, ArticleGoogLeNet])
def test_a_choice_that_does_not_exist_is_refused(network_class: type[nn.Module]) -> None:
    with pytest.raises(ValueError, match=r"^init=xavier: there is no such choice\. Use paper or article or he$"):
        network_class(init="xavier")


class TestLocalResponseNorm:
    @pytest.mark.parametrize("constants", [ARTICLE_LRN, PAPER_LRN, ResponseNormalisation(1, 0.3, 0.5, 1.5)])
    def test_against_the_formula(self, constants: ResponseNormalisation) -> None:
        maps = torch.randn(2, 7, 3, 4, dtype=torch.float64) * 50
        expected = torch.empty_like(maps)
        for i in range(7):
            neighbours = maps[:, max(0, i - constants.radius) : i + constants.radius + 1]
            expected[:, i] = maps[:, i] / (constants.k + constants.alpha * neighbours.square().sum(1)) ** constants.beta
        torch.testing.assert_close(LocalResponseNorm(constants)(maps), expected)

    @pytest.mark.parametrize(("constants", "alpha"), [(ARTICLE_LRN, 1e-4), (PAPER_LRN, 5e-4)])
    @pytest.mark.parametrize("maps", [96, 3])
    def test_against_pytorch_which_divides_alpha_by_the_size(
        self, constants: ResponseNormalisation, alpha: float, maps: int
    ) -> None:
        values = torch.randn(2, maps, 5, 5, dtype=torch.float64) * 100
        theirs = nn.LocalResponseNorm(5, alpha=alpha, beta=0.75, k=constants.k)
        torch.testing.assert_close(LocalResponseNorm(constants)(values), theirs(values))

    @pytest.mark.parametrize("constants", [ARTICLE_LRN, ResponseNormalisation(2, 0.3, 0.75, 1.0)])
    def test_its_derivative(self, constants: ResponseNormalisation) -> None:
        maps = (torch.randn(2, 7, 2, 3, dtype=torch.float64) * 3).requires_grad_()
        assert torch.autograd.gradcheck(LocalResponseNorm(constants), (maps,))

    def test_channels_last_and_half_precision(self) -> None:
        maps = torch.randn(2, 96, 5, 5) * 10
        normalise = LocalResponseNorm(PAPER_LRN)
        expected = normalise(maps)
        torch.testing.assert_close(normalise(maps.contiguous(memory_format=torch.channels_last)), expected)
        torch.testing.assert_close(normalise(maps.bfloat16()).float(), expected, rtol=0.02, atol=0.02)


class TestSamePadding:
    @pytest.mark.parametrize(
        ("side", "kernel", "stride", "before", "after"),
        [
            (224, 11, 4, 3, 4),
            (214, 11, 4, 4, 5),
            (214, 7, 2, 2, 3),
            (107, 3, 2, 1, 1),
            (112, 3, 2, 0, 1),
            (5, 1, 2, 0, 0),
        ],
    )
    def test_the_odd_row_and_column_go_to_the_bottom_right(
        self, side: int, kernel: int, stride: int, before: int, after: int
    ) -> None:
        images = torch.ones(1, 1, side, side)
        padded = SamePadding(kernel, stride)(images)
        assert padded.shape == (1, 1, side + before + after, side + before + after)
        assert (padded[0, 0, before : before + side, before : before + side] == 1).all()
        assert padded.sum() == side * side
        assert (padded.shape[-1] - kernel) // stride + 1 == -(-side // stride)

    def test_a_pool_takes_nothing_from_the_padding(self) -> None:
        pool = Layer(padding=SamePadding(3, 2, value=-torch.inf), pool=nn.MaxPool2d(3, 2))
        maps: Tensor = -torch.rand(1, 2, 7, 8) - 1
        assert pool(maps).isfinite().all()
        assert pool(maps).shape == (1, 2, 4, 4)
