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
from cnn_experiments.models.article import ArticleAlexNet, ArticleGoogLeNet, pool
from cnn_experiments.models.googlenet import (
    AUXILIARY_WEIGHT,
    AuxiliaryHead,
    GoogLeNet,
    Inception,
    InceptionWithoutReductions,
)
from cnn_experiments.models.initialisation import initialise_as_he, weighted_layers
from cnn_experiments.models.layers import (
    Layer,
    SamePadding,
    is_layer,
    layers_and_branches,
)
from cnn_experiments.models.local_response_norm import LocalResponseNorm, ResponseNormalisation

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
        assert all(layer.weight.abs().max() < 0.07 for layer in weighted_layers(network))
        biases = {name: layer.get_parameter(part).unique().tolist() for name, part, layer in biased(network)}
        ones = {"conv2", "conv4", "conv5", "fc6", "fc7"}
        assert biases == {name: [1.0 if name in ones else 0.0] for name in biases}
        assert len(biases) == 8

    def test_the_paper_layer_by_layer(self) -> None:
        """Section 3.5 and figure 2, written a second time with functions."""
        torch.manual_seed(0)
        network = AlexNet(5, maps=(8, 12, 16, 14, 10), dense=(9, 7), groups=2, init="article").eval()
        weights = network.state_dict()
        normalise = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)  # it divides alpha by 5
        pool = nn.MaxPool2d(kernel_size=3, stride=2)
        images = torch.randn(2, 3, 224, 224)
        maps = pool(normalise(relu_convolution(weights, "conv1", images, stride=4, padding=2)))
        maps = pool(normalise(relu_convolution(weights, "conv2", maps, padding=2, groups=2)))
        maps = relu_convolution(weights, "conv3", maps, padding=1)
        maps = relu_convolution(weights, "conv4", maps, padding=1, groups=2)
        units = pool(relu_convolution(weights, "conv5", maps, padding=1, groups=2)).flatten(1)
        for name in ("fc6", "fc7"):
            units = (units @ weights[f"{name}.dense.weight"].T + weights[f"{name}.dense.bias"]).clamp(min=0)
        scores = units @ weights["fc8.weight"].T + weights["fc8.bias"]
        with torch.no_grad():
            torch.testing.assert_close(network(images), scores)

    def test_parameters_of_what_the_paper_compares_it_with(self) -> None:
        with torch.device("meta"):
            assert parameters(AlexNet(activation="tanh")) == 58_289_538
            assert parameters(AlexNet(overlapping_pools=False)) == 58_289_538  # 55 → 27 → 13 → 6 as well
            # 3·3·256·384 + 384 of conv3 go, and conv4 has 256 inputs in place of 384
            assert parameters(AlexNet(without="conv3")) == 58_289_538 - 885_120 - 3 * 3 * (384 - 256) * 384
            assert parameters(AlexNet(without="conv4")) == 58_289_538 - (3 * 3 * 384 * 384 + 384)
            # conv5 goes, and fc6 has 384 maps of 6×6 in place of 256
            assert parameters(AlexNet(without="conv5")) == 58_289_538 - 884_992 + (384 - 256) * 6 * 6 * 4096

    def test_a_layer_that_is_left_out(self) -> None:
        network = AlexNet(input_size=96, maps=(8, 12, 16, 14, 10), dense=(9, 7), without="conv4", init="paper").eval()
        found = shapes(network, 96)
        assert "conv4" not in found
        assert found["conv3"] == "16@5×5"
        assert found["conv5"] == "10@5×5"
        assert network(torch.randn(2, 3, 96, 96)).shape == (2, 2)

    def test_pools_that_do_not_overlap(self) -> None:
        network = AlexNet(input_size=64, maps=(4, 4, 4, 4, 4), dense=(8, 8), lrn=None, overlapping_pools=False).eval()
        maps = torch.randn(1, 4, 6, 6)
        for layer in (network.pool1, network.pool2, network.pool5):
            assert torch.equal(layer(maps), maps.view(1, 4, 3, 2, 3, 2).amax((3, 5)))
        assert network(torch.randn(1, 3, 64, 64)).shape == (1, 2)

    def test_every_activation_is_a_tanh(self) -> None:
        network = AlexNet(input_size=64, maps=(4, 4, 4, 4, 4), dense=(8, 8), activation="tanh")
        kinds = [type(part) for part in network.modules() if isinstance(part, (nn.ReLU, nn.Tanh))]
        assert kinds == [nn.Tanh] * 7

    def test_dropout_is_in_front_of_fc7_and_fc8(self) -> None:
        network = AlexNet(input_size=63, maps=(4, 4, 4, 4, 4), dense=(64, 64), dropout=0.25)
        assert [network.dropout6.p, network.dropout7.p] == [0.25, 0.25]
        seen = {}
        for name in ("fc7", "fc8"):
            layer = network.get_submodule(name)
            layer.register_forward_hook(lambda _, inputs, output, name=name: seen.update({name: inputs[0]}))
        with torch.no_grad():
            for layer in (network.fc6.dense, network.fc7.dense):  # all units are 1
                layer.weight.zero_()
                layer.bias.fill_(1)
        torch.manual_seed(0)
        network(torch.zeros(20, 3, 63, 63))
        dropped = {name: (units == 0).float().mean().item() for name, units in seen.items()}
        assert dropped == pytest.approx({"fc7": 0.25, "fc8": 0.25}, abs=0.05)

    def test_groups_do_not_see_each_other(self) -> None:
        network = AlexNet(2, groups=2, dense=(8, 8), lrn=None, init="he").eval()
        maps = torch.randn(1, 96, 27, 27)
        changed = maps.clone()
        changed[:, 48:] += 1
        difference = (network.conv2(changed) - network.conv2(maps)).abs().sum((0, 2, 3))
        assert (difference[:128] == 0).all()
        assert (difference[128:] > 0).any()

    def test_too_small_images_are_refused(self) -> None:
        for network_class in (AlexNet, ArticleAlexNet):
            with pytest.raises(ValueError, match="input_size=20 is too small"):
                network_class(input_size=20)
        with pytest.raises(ValueError, match="input_size=62 is too small: pool5"):
            AlexNet(input_size=62)
        AlexNet(input_size=63, dense=(8, 8))
        with pytest.raises(ValueError, match="input_size=30 is too small: nothing is left for fc6"):
            ArticleAlexNet(input_size=30, padding="paper")
        ArticleAlexNet(input_size=31, padding="paper", dense=(8, 8))

    def test_odd_maps_are_no_groups(self) -> None:
        with pytest.raises(ValueError, match="groups=2"):
            AlexNet(maps=(95, 256, 384, 384, 256), groups=2)


def test_alexnets_loss_is_cross_entropy() -> None:
    scores, labels = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    assert AlexNet.loss(nn.Identity(), scores, labels) == functional.cross_entropy(scores, labels)


def relu_convolution(weights: dict[str, Tensor], name: str, maps: Tensor, **window: int) -> Tensor:
    """A convolution of a network's weights, and ReLU."""
    sums = functional.conv2d(maps, weights[f"{name}.convolution.weight"], weights[f"{name}.convolution.bias"], **window)
    return sums.clamp(min=0)


def inceptions(weights: dict[str, Tensor], maps: Tensor, *names: str) -> Tensor:
    """GoogLeNet's modules of these names, one on the other: figure 2 (b), written a second time."""
    for name in (f"inception{name}" for name in names):
        threes = relu_convolution(weights, f"{name}.branch3x3.reduce", maps)
        fives = relu_convolution(weights, f"{name}.branch5x5.reduce", maps)
        around = functional.max_pool2d(maps, kernel_size=3, stride=1, padding=1)
        branches = [
            relu_convolution(weights, f"{name}.branch1x1", maps),
            relu_convolution(weights, f"{name}.branch3x3.conv3x3", threes, padding=1),
            relu_convolution(weights, f"{name}.branch5x5.conv5x5", fives, padding=2),
            relu_convolution(weights, f"{name}.branch_pool.project", around),
        ]
        maps = torch.cat(branches, 1)
    return maps


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

    def test_parameters_of_what_the_paper_compares_it_with(self) -> None:
        with torch.device("meta"):
            # heads: the 1×1 convolution, the dense layer of 1,024 units and the output on 4a; the same on 4d
            of_4a = 512 * 128 + 128 + (128 * 4 * 4 + 1) * 1024 + 1025 * 2
            of_4d = 528 * 128 + 128 + (128 * 4 * 4 + 1) * 1024 + 1025 * 2
            assert of_4a + of_4d == 10_309_430 - 5_975_602
            assert parameters(GoogLeNet(auxiliary="4a")) == 5_975_602 + of_4a
            assert parameters(GoogLeNet(auxiliary="4d")) == 5_975_602 + of_4d
            # 1,024 maps of 7×7 to 512 units, and the output has 512 inputs in place of 1,024
            dense = (1024 * 7 * 7 + 1) * 512 - 512 * 2
            assert parameters(GoogLeNet(auxiliary=False, dense=512)) == 5_975_602 + dense

    def test_without_reductions_the_large_convolutions_see_all_maps(self) -> None:
        # inputs, #3×3 reduce, #3×3, #5×5 reduce and #5×5 of table 1
        table = [
            (192, 96, 128, 16, 32), (256, 128, 192, 32, 96), (480, 96, 208, 16, 48), (512, 112, 224, 24, 64),
            (512, 128, 256, 24, 64), (512, 144, 288, 32, 64), (528, 160, 320, 32, 128), (832, 160, 320, 32, 128),
            (832, 192, 384, 48, 128),
        ]  # fmt: skip
        reductions = sum((inputs + 1) * (reduce3 + reduce5) for inputs, reduce3, _, reduce5, _ in table)
        wider = sum(
            9 * (inputs - reduce3) * threes + 25 * (inputs - reduce5) * fives
            for inputs, reduce3, threes, reduce5, fives in table
        )
        with torch.device("meta"):
            assert parameters(GoogLeNet(auxiliary=False, reductions=False)) == 5_975_602 - reductions + wider
        module = InceptionWithoutReductions(192, 64, 96, 128, 16, 32, 32)
        assert list(dict(module.branch3x3.named_children())) == ["conv3x3"]
        # a multiply-add for each weight and place: 192·32·25 = 153,600 a pixel, as section 4 counts
        assert module.branch5x5.conv5x5.convolution.weight.numel() == 153_600
        assert module(torch.randn(1, 192, 5, 5)).shape == (1, 256, 5, 5)

    @pytest.mark.parametrize(("side", "places"), [(64, 4), (80, 4), (97, 9)])
    def test_a_dense_layer_sees_all_places(self, side: int, places: int) -> None:
        network = GoogLeNet(input_size=side, auxiliary=False, dense=8).eval()
        assert network.pool5.dense.in_features == 1024 * places
        assert network(torch.randn(1, 3, side, side)).shape == (1, 2)

    @pytest.mark.parametrize("place", ["4a", "4d"])
    def test_one_auxiliary_head(self, place: str) -> None:
        torch.manual_seed(0)
        network = GoogLeNet(input_size=96, auxiliary=place)
        network.dropout.p = network.get_submodule(f"auxiliary{place}").dropout.p = 0
        output = network(torch.randn(2, 3, 96, 96))
        assert [scores.shape for scores in output] == [(2, 2)] * 2
        labels = torch.tensor([0, 1])
        main, other = (functional.cross_entropy(scores, labels) for scores in output)
        assert network.loss(output, labels).item() == pytest.approx((main + 0.3 * other).item())
        functional.cross_entropy(output[1], labels).backward()
        assert network.get_submodule(f"inception{place}").branch1x1.convolution.weight.grad.any()
        assert network.inception4e.branch1x1.convolution.weight.grad is None

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

    def test_the_paper_layer_by_layer(self) -> None:
        """Table 1, written a second time with functions."""
        torch.manual_seed(0)
        network = GoogLeNet(5, auxiliary=False, init="paper").eval()
        weights = network.state_dict()

        def pool(maps: Tensor) -> Tensor:
            return functional.max_pool2d(maps, kernel_size=3, stride=2, ceil_mode=True)

        normalise = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)  # it divides alpha by 5
        images = torch.randn(1, 3, 97, 97) * 50
        maps = normalise(pool(relu_convolution(weights, "conv1", images, stride=2, padding=3)))
        maps = relu_convolution(weights, "conv2.reduce", maps)
        maps = pool(normalise(relu_convolution(weights, "conv2.conv3x3", maps, padding=1)))
        maps = pool(inceptions(weights, maps, "3a", "3b"))
        maps = inceptions(weights, maps, "4a", "4b", "4c", "4d", "4e")
        maps = inceptions(weights, pool(maps), "5a", "5b")
        scores = maps.mean((2, 3)) @ weights["output.weight"].T + weights["output.bias"]
        with torch.no_grad():
            torch.testing.assert_close(network(images), scores)

    def test_an_auxiliary_head_layer_by_layer(self) -> None:
        """Section 5, written a second time with functions."""
        torch.manual_seed(0)
        head = AuxiliaryHead(6, side=14, num_classes=5).eval()
        weights = head.state_dict()
        maps = torch.randn(2, 6, 14, 14)
        pooled = functional.avg_pool2d(maps, kernel_size=5, stride=3)
        assert pooled.shape == (2, 6, 4, 4)
        units = relu_convolution(weights, "conv", pooled).flatten(1)
        units = (units @ weights["fc.dense.weight"].T + weights["fc.dense.bias"]).clamp(min=0)
        assert units.shape == (2, 1024)
        with torch.no_grad():
            torch.testing.assert_close(head(maps), units @ weights["output.weight"].T + weights["output.bias"])
        assert head.dropout.p == 0.7

    @pytest.mark.parametrize("network_class", [GoogLeNet, ArticleGoogLeNet])
    def test_an_auxiliary_heads_gradient_reaches_the_trunk(self, network_class: type[nn.Module]) -> None:
        torch.manual_seed(0)
        network = network_class(input_size=96, auxiliary=True, init="he")
        network.dropout.p = network.auxiliary4a.dropout.p = network.auxiliary4d.dropout.p = 0
        _, of_4a, of_4d = network(torch.randn(2, 3, 96, 96))
        in_order = ["conv1", "conv2", "inception3a", "inception3b"]
        in_order += [f"inception4{letter}" for letter in "abcde"] + ["inception5a", "inception5b", "output"]
        for scores, last in ((of_4a, "inception4a"), (of_4d, "inception4d")):
            network.zero_grad()
            functional.cross_entropy(scores, torch.tensor([0, 1])).backward(retain_graph=True)
            reached = [
                name
                for name in in_order
                if all(
                    parameter.grad is not None and parameter.grad.any()
                    for parameter in network.get_submodule(name).parameters()
                )
            ]
            assert reached == in_order[: in_order.index(last) + 1]

    @pytest.mark.parametrize("network_class", [GoogLeNet, ArticleGoogLeNet])
    def test_initial_weights_of_the_first_implementation(self, network_class: type[nn.Module]) -> None:
        torch.manual_seed(0)
        network = network_class(2, input_size=96, init="paper")
        for layer in weighted_layers(network):
            bound = (3 / layer.weight[0].numel()) ** 0.5  # a variance of 1 / fan-in
            assert bound * 0.9 < layer.weight.max() <= bound
            assert -bound <= layer.weight.min() < -bound * 0.9
            assert (layer.bias == (0 if isinstance(layer, nn.Linear) else 0.2)).all()
        assert network.inception3a.branch3x3.conv3x3.convolution.weight.var().item() == pytest.approx(
            1 / (96 * 9), rel=0.02
        )

    @pytest.mark.parametrize("network_class", [GoogLeNet, ArticleGoogLeNet])
    def test_initial_weights_of_he(self, network_class: type[nn.Module]) -> None:
        torch.manual_seed(0)
        network = network_class(1000, input_size=96, auxiliary=True, init="he")
        outputs = [network.output, network.auxiliary4a.output, network.auxiliary4d.output]
        for layer in weighted_layers(network):
            std = 0.01 if layer in outputs else (2 / layer.weight[0].numel()) ** 0.5
            assert layer.weight.std().item() == pytest.approx(std, rel=0.1)
            assert (layer.bias == 0).all()

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

    @pytest.mark.parametrize("network_class", [GoogLeNet, ArticleGoogLeNet])
    def test_auxiliary_heads_are_for_training_alone(self, network_class: type[nn.Module]) -> None:
        torch.manual_seed(0)
        network = network_class(2, input_size=96, auxiliary=True)
        images, labels = torch.randn(2, 3, 96, 96), torch.tensor([0, 1])
        output = network(images)
        assert [scores.shape for scores in output] == [(2, 2)] * 3
        main, *others = [functional.cross_entropy(scores, labels) for scores in output]
        assert network.loss(output, labels).item() == pytest.approx((main + AUXILIARY_WEIGHT * sum(others)).item())
        assert AUXILIARY_WEIGHT == 0.3  # section 5
        scores = network.eval()(images)
        assert scores.shape == (2, 2)
        assert network.loss(scores, labels) == functional.cross_entropy(scores, labels)

    def test_too_small_images_are_refused(self) -> None:
        for network_class in (GoogLeNet, ArticleGoogLeNet):
            with pytest.raises(ValueError, match="input_size=64 is too small: the auxiliary heads"):
                network_class(input_size=64, auxiliary=True)
        with pytest.raises(ValueError, match="input_size=30 is too small: pool4"):
            GoogLeNet(input_size=30, auxiliary=False)

    @pytest.mark.parametrize(("side", "auxiliary"), [(31, False), (79, True), (97, True)])
    def test_the_smallest_and_odd_images(self, side: int, auxiliary: bool) -> None:
        network = GoogLeNet(input_size=side, auxiliary=auxiliary)
        output = network(torch.zeros(1, 3, side, side))
        shapes = [scores.shape for scores in output] if auxiliary else [output.shape]
        assert shapes == [(1, 2)] * (3 if auxiliary else 1)


class TestArticle:
    def test_alexnet_layer_by_layer(self) -> None:
        """The article's code, written a second time with functions; at 214 pixels, SAME is 4 before and 5 after."""
        torch.manual_seed(0)
        network = ArticleAlexNet(maps=(8, 12, 16, 14, 10), dense=(9, 7)).eval()
        weights = network.state_dict()
        normalise = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)
        pool = nn.MaxPool2d(kernel_size=3, stride=2)
        images = torch.randn(2, 3, 214, 214)
        padded = functional.pad(images, (4, 5, 4, 5))
        maps = pool(normalise(relu_convolution(weights, "conv1", padded, stride=4)))
        maps = pool(normalise(relu_convolution(weights, "conv2", maps, padding=2)))
        for name in ("conv3", "conv4", "conv5"):
            maps = relu_convolution(weights, name, maps, padding=1)
        units = maps.flatten(1)
        for name in ("fc6", "fc7"):
            units = (units @ weights[f"{name}.dense.weight"].T + weights[f"{name}.dense.bias"]).clamp(min=0)
        scores = units @ weights["fc8.weight"].T + weights["fc8.bias"]
        with torch.no_grad():
            torch.testing.assert_close(network(images), scores)

    def test_googlenet_layer_by_layer(self) -> None:
        """The same of its GoogLeNet; at 98 pixels, SAME is 2 before and 3 after, and 1 on both sides of the pools."""
        torch.manual_seed(0)
        network = ArticleGoogLeNet(5, input_size=98, hidden=20, init="paper").eval()
        weights = network.state_dict()
        normalise = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)

        def pool(maps: Tensor) -> Tensor:
            return functional.max_pool2d(maps, kernel_size=3, stride=2, padding=1)

        images = torch.randn(1, 3, 98, 98) * 50
        padded = functional.pad(images, (2, 3, 2, 3))
        maps = normalise(pool(relu_convolution(weights, "conv1", padded, stride=2)))  # 49 → 25
        maps = relu_convolution(weights, "conv2.reduce", maps)
        maps = pool(normalise(relu_convolution(weights, "conv2.conv3x3", maps, padding=1)))  # 25 → 13
        maps = pool(inceptions(weights, maps, "3a", "3b"))  # 13 → 7
        maps = pool(inceptions(weights, maps, "4a", "4b", "4c", "4d", "4e"))  # 7 → 4
        units = inceptions(weights, maps, "5a", "5b").mean((2, 3))
        units = (units @ weights["hidden.dense.weight"].T + weights["hidden.dense.bias"]).clamp(min=0)
        with torch.no_grad():
            scores = units @ weights["output.weight"].T + weights["output.bias"]
            torch.testing.assert_close(network(images), scores)

    @pytest.mark.parametrize("padding", ["same", "paper"])
    def test_dense_layers_fit_every_size(self, padding: str) -> None:
        with torch.device("meta"):
            for side in (105, 113, 128):
                images = torch.zeros(2, 3, side, side)
                network = ArticleAlexNet(input_size=side, padding=padding, lrn=None)
                assert network(images).shape == (2, 2)
                network = ArticleGoogLeNet(input_size=side, padding=padding, lrn=None, auxiliary=True)
                assert [scores.shape for scores in network(images)] == [(2, 2)] * 3

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
            (ArticleAlexNet, AlexNet, {"padding": "paper", "pool5": True, "dropout_fc6": True}),
            (ArticleGoogLeNet, GoogLeNet, {"padding": "paper", "hidden": None}),
        ],
    )
    def test_without_its_departures_it_is_the_papers_network(
        self, article: type[nn.Module], paper: type[nn.Module], same: dict
    ) -> None:
        defaults = {
            name: parameter.default
            for name, parameter in inspect.signature(paper).parameters.items()
            if name != "input_size" and name in inspect.signature(article).parameters
        }
        shared = defaults | {"input_size": 97} | ({"dense": (16, 16), "groups": 2} if paper is AlexNet else {})
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


@pytest.mark.parametrize(
    ("network_class", "words"),
    [
        (AlexNet, {"groups": 3}),
        (ArticleAlexNet, {"groups": 3}),
        (ArticleAlexNet, {"padding": "valid"}),
        (ArticleGoogLeNet, {"padding": "valid"}),
    ],
)
def test_other_choices_that_do_not_exist(network_class: type[nn.Module], words: dict) -> None:
    [(key, value)] = words.items()
    with pytest.raises(ValueError, match=rf"^{key}={value}: there is no such choice"):
        network_class(**words)


def test_he_weights_of_a_single_unit() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(5000, 1)
    initialise_as_he(layer)
    assert layer.weight.std().item() == pytest.approx((2 / 5000) ** 0.5, rel=0.05)


def test_layers_and_their_branches() -> None:
    network = nn.ModuleDict(
        {"conv": Layer(convolution=nn.Conv2d(3, 192, 1)), "inception": Inception(192, 64, 96, 128, 16, 32, 32)}
    )
    assert is_layer(network["conv"])
    assert is_layer(nn.Conv2d(3, 4, 1))
    assert not is_layer(network["inception"])
    layers = layers_and_branches(network)
    assert list(layers) == [
        "conv",
        "inception",
        *(f"inception/{branch}" for branch in ("branch1x1", "branch3x3", "branch5x5", "branch_pool")),
    ]
    assert layers["inception/branch5x5"] is network["inception"].branch5x5
    assert layers["inception"] is network["inception"]


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

    def test_exported_it_is_the_same(self) -> None:
        maps, normalise = torch.randn(2, 7, 3, 4) * 5, LocalResponseNorm(ResponseNormalisation(1, 0.3, 0.5, 1.5))
        exported = torch.export.export(normalise, (maps,)).module()
        assert not any("cnn_experiments" in str(node.target) for node in exported.graph.nodes)
        torch.testing.assert_close(exported(maps), normalise(maps))

    @pytest.mark.parametrize(
        "constants", [ARTICLE_LRN, ResponseNormalisation(2, 0.3, 0.75, 1.0), ResponseNormalisation(1, 0.3, 0.5, 1.5)]
    )
    def test_its_derivative(self, constants: ResponseNormalisation) -> None:
        maps = (torch.randn(2, 7, 2, 3, dtype=torch.float64) * 3).requires_grad_()
        assert torch.autograd.gradcheck(LocalResponseNorm(constants), (maps,))

    @pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
    @pytest.mark.parametrize("shape", [(5, 96, 13, 13), (3, 4, 300, 300), (0, 96, 2, 2)])
    def test_images_are_taken_some_at_a_time(self, shape: tuple[int, ...], layout: torch.memory_format) -> None:
        """Forwards and backwards as PyTorch, though several of these fit, one does, and there are none."""
        maps = (torch.randn(shape) * 20).contiguous(memory_format=layout).requires_grad_()
        gradient = torch.randn(shape)
        found, expected = [], []
        for outcome, normalise in (
            (found, LocalResponseNorm(ARTICLE_LRN)),
            (expected, nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)),
        ):
            normalised = normalise(maps)
            outcome += [normalised.detach(), *torch.autograd.grad(normalised, maps, gradient)]
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-5)
        assert found[0].stride() == maps.stride()

    def test_the_derivative_in_half_precision(self) -> None:
        maps = (torch.randn(2, 96, 3, 3) * 10).bfloat16()
        exact, rough = maps.float().requires_grad_(), maps.clone().requires_grad_()
        normalise = LocalResponseNorm(PAPER_LRN)
        normalise(exact).square().sum().backward()
        with torch.autocast("cpu", torch.bfloat16):
            normalised = normalise(rough)
        assert normalised.dtype == torch.bfloat16
        normalised.square().sum().backward()
        torch.testing.assert_close(rough.grad.float(), exact.grad, rtol=0.02, atol=0.05)

    @pytest.mark.slow
    @pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
    def test_it_is_compiled(self, layout: torch.memory_format) -> None:
        network = nn.Sequential(nn.Conv2d(3, 8, 3), LocalResponseNorm(PAPER_LRN), nn.ReLU()).to(memory_format=layout)
        images = torch.randn(2, 3, 9, 9).contiguous(memory_format=layout)
        compiled = torch.compile(network, fullgraph=True)
        torch.testing.assert_close(compiled(images), network(images))
        found, expected = (
            torch.autograd.grad(each(images).sum(), network.parameters()) for each in (compiled, network)
        )
        torch.testing.assert_close(found, expected)

    def test_its_constants_are_shown(self) -> None:
        shown = "LocalResponseNorm(ResponseNormalisation(radius=2, alpha=2e-05, beta=0.75, k=1.0))"
        assert repr(LocalResponseNorm(ARTICLE_LRN)) == shown

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
        maps: Tensor = -torch.rand(1, 2, 7, 8) - 1
        pooled = pool(same=True)(maps)
        assert pooled.shape == (1, 2, 4, 4)
        assert (pooled <= -1).all()
        assert torch.equal(pooled[:, :, 1:3, :3], functional.max_pool2d(maps[:, :, 1:6], 3, 2))
