"""Where a network looks, and a network as a file."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from cnn_experiments.commands import export as export_command
from cnn_experiments.errors import ExperimentError, UserError
from cnn_experiments.inspection import export
from cnn_experiments.inspection.saliency import choose_layer, grad_cam
from cnn_experiments.models.alexnet import AlexNet
from cnn_experiments.models.article import ArticleGoogLeNet, first_convolution, pool
from cnn_experiments.models.googlenet import GoogLeNet
from cnn_experiments.models.layers import (
    PartialConv2d,
    ScaledTanh,
    Subsampling,
)
from cnn_experiments.models.lenet5 import LeNet5
from cnn_experiments.models.local_response_norm import LocalResponseNorm, ResponseNormalisation
from tests.conftest import QUICK


class Bright(nn.Module):
    """Scores: the mean of the first colour, and of the second; the maps are the colours themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Conv2d(3, 3, 1, bias=False)
        self.maps.weight.data = torch.eye(3)[..., None, None]

    def forward(self, images: Tensor) -> Tensor:
        return self.maps(images).mean((2, 3))[:, :2]


def test_grad_cam_finds_what_speaks_for_the_class() -> None:
    network = Bright().eval()
    images = torch.zeros(2, 3, 8, 8)
    images[:, 0, :2, :2] = 1.0  # speaks for class 0
    images[:, 1, 6:, 6:] = 2.0  # speaks for class 1
    heat = grad_cam(network, network.maps, images, torch.tensor([0, 1]))
    assert heat.shape == (2, 8, 8)
    expected = torch.stack([images[0, 0], images[0, 1] / 2])
    torch.testing.assert_close(heat, expected)
    assert not grad_cam(network, network.maps, -images, torch.tensor([0, 1])).any()  # it all speaks against


def test_grad_cam_is_the_papers_formula() -> None:
    torch.manual_seed(0)
    network = AlexNet(num_classes=2, input_size=64, maps=(8, 8, 8, 8, 8), dense=(16, 16), init="he").eval()
    images, classes = torch.randn(3, 3, 64, 64), torch.tensor([0, 1, 1])
    maps = network.conv5(
        network.conv4(network.conv3(network.pool2(network.norm2(network.conv2(first_part(network, images))))))
    )
    maps = maps.detach().requires_grad_()
    scores = network.fc8(network.fc7(network.fc6(network.pool5(maps))))
    (gradients,) = torch.autograd.grad(scores[torch.arange(3), classes].sum(), maps)
    weighted = torch.einsum("nk,nkhw->nhw", gradients.mean((2, 3)), maps).clamp_min(0)
    expected = nn.functional.interpolate(weighted[:, None], (64, 64), mode="bilinear")[:, 0]
    highest = expected.amax((1, 2), keepdim=True)
    heat = grad_cam(network, network.conv5, images, classes)
    assert highest.max() > 0
    torch.testing.assert_close(heat * highest, expected)


def first_part(network: AlexNet, images: Tensor) -> Tensor:
    return network.pool1(network.norm1(network.conv1(images)))


@pytest.mark.parametrize(
    ("network", "side", "expected"),
    [
        (LeNet5(), 32, "s4"),
        (AlexNet(num_classes=2, input_size=64, maps=(8, 8, 8, 8, 8), dense=(16, 16)), 64, "conv5"),
        (GoogLeNet(num_classes=2, input_size=112), 112, "inception5b"),
    ],
)
def test_the_layer_that_is_looked_at(network: nn.Module, side: int, expected: str) -> None:
    assert choose_layer(network, None, (1 if side == 32 else 3, side, side)) is getattr(network, expected)


def test_a_branch_can_be_looked_at() -> None:
    network = GoogLeNet(num_classes=2, input_size=112)
    assert choose_layer(network, "inception3a/branch5x5", (3, 112, 112)) is network.inception3a.branch5x5


def test_a_network_without_maps_cannot_be_looked_at() -> None:
    with pytest.raises(UserError, match="no layer with weights that outputs maps"):
        choose_layer(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), None, (1, 4, 4))


def test_looking_leaves_the_network_as_it_was() -> None:
    network = LeNet5(dropout=0.5).train()
    images, classes = torch.randn(2, 1, 32, 32), torch.tensor([3, 4])
    assert torch.equal(grad_cam(network, network.s4, images, classes), grad_cam(network, network.s4, images, classes))
    assert network.training
    assert not network.s4._forward_hooks
    assert all(parameter.grad is None for parameter in network.parameters())


class Exportable(nn.Module):
    """All layers of the articles' networks that ONNX does not have, and an auxiliary head in training."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Sequential(
            first_convolution(3, 6, 7, 2, True, 3),
            pool(same=True),
            LocalResponseNorm(ResponseNormalisation(radius=2, alpha=0.1, beta=0.75, k=1.0)),
            pool(same=False),
            PartialConv2d([[0, 1], [2, 3, 5]], 6, 3),
            Subsampling(2),
            ScaledTanh(),
        )
        self.output = nn.Linear(2 * 2 * 2, 2)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.3)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        scores = self.output(self.maps(images).flatten(1))
        return (scores, scores) if self.training else scores


def test_predicting_with_saliency(run_command, alexnet_run: Path, photographs: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):  # two of the same name, and one that is no image
        (tmp_path / "photos" / folder).mkdir(parents=True)
        (tmp_path / "photos" / folder / "cat.jpg").write_bytes((photographs / "cat.0.jpg").read_bytes())
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no image")
    rows = {}
    for saliency in ("false", "true"):
        outcome = run_command(
            "predict",
            f"run={alexnet_run}",
            "images=photos",
            f"saliency={saliency}",
            f"hydra.run.dir=saliency_{saliency}",
        )
        assert outcome.status == 0, outcome.error
        rows[saliency] = list(csv.reader((tmp_path / f"saliency_{saliency}" / "predictions.csv").open()))
    assert rows["true"] == rows["false"]
    assert not (tmp_path / "saliency_false" / "saliency").exists()
    pictures = sorted((tmp_path / "saliency_true" / "saliency").rglob("*.png"))
    assert [str(picture.relative_to(tmp_path / "saliency_true" / "saliency")) for picture in pictures] == [
        "a/cat.jpg.png",
        "b/cat.jpg.png",
    ]
    pixels = np.asarray(Image.open(pictures[0]))
    assert pixels.shape == (280 + 26, 2 * 280, 3)
    assert not np.array_equal(pixels[26:, :280], pixels[26:, 280:])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("saliency_layer=conv9", "saliency_layer=conv9: there is no such layer with maps. Did you mean conv"),
        ("saliency_layer=fc6", "saliency_layer=fc6: there is no such layer with maps"),
        ("saliency=maybe", "saliency=maybe: use true or false"),
    ],
)
def test_wrong_saliency_settings(run_command, alexnet_run: Path, photographs: Path, setting: str, message: str) -> None:
    outcome = run_command("predict", f"run={alexnet_run}", f"images={photographs}/cat.0.jpg", "saliency=true", setting)
    assert outcome.status == 2
    assert message in outcome.error


@pytest.mark.slow
def test_export(run_command, alexnet_run: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    outcome = run_command("export", f"run={alexnet_run}", "format=onnx")
    assert outcome.status == 0, outcome.error
    assert "the same logits for batches of 1 and 3" in outcome.out
    assert outcome.error == ""
    session = onnxruntime.InferenceSession(alexnet_run / "network.onnx")
    described = session.get_modelmeta().custom_metadata_map
    assert json.loads(described["classes"]) == ["cat", "dog"]
    assert json.loads(described["config"])["model"]["input_size"] == 64
    (logits,) = session.run(None, {"images": np.zeros((5, 3, 64, 64), np.float32)})
    assert logits.shape == (5, 2)
    assert not list(tmp_path.rglob("*.new"))


@pytest.mark.slow
def test_export_of_a_checkpoint(run_command, digits: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    assert run_command("train", *QUICK, "trainer.max_epochs=1", "hydra.run.dir=run").status == 0
    outcome = run_command("export", "checkpoint=run/checkpoints/best.ckpt")
    assert outcome.status == 0, outcome.error
    assert (tmp_path / "run" / "checkpoints" / "best.onnx").exists()


@pytest.mark.slow
def test_the_projects_own_layers_export(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    network, shape = Exportable(), (3, 47, 47)
    exported = export.export_onnx(network, shape, ["cat", "dog"], {"config": {"seed": 0}}, tmp_path / "network.onnx")
    assert 0 <= exported.difference < export.TOLERANCE
    assert network.training
    assert [path.name for path in tmp_path.iterdir()] == ["network.onnx"]


@pytest.mark.slow
def test_the_articles_googlenet_exports(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    network = ArticleGoogLeNet(input_size=96, auxiliary=True, init="he")
    exported = export.export_onnx(network, (3, 96, 96), ["cat", "dog"], {}, tmp_path / "network.onnx")
    assert 0 <= exported.difference < export.TOLERANCE


def test_a_file_with_other_logits_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "as_onnx", lambda *arguments: b"a file")
    monkeypatch.setattr(export, "greatest_difference", lambda expected, file: float("nan"))
    with pytest.raises(ExperimentError, match="the file's logits differ from the network's by nan"):
        export.export_onnx(LeNet5(), (1, 32, 32), list("0123456789"), {}, tmp_path / "network.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_difference_is_of_the_whole_file() -> None:
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    network, other = LeNet5(), LeNet5()
    content = export.as_onnx(network, (1, 32, 32), {})
    assert export.greatest_difference(export.logits_to_compare(network, (1, 32, 32)), content) < 1e-5
    assert export.greatest_difference(export.logits_to_compare(other, (1, 32, 32)), content) > 1e-3
    with torch.no_grad():
        other.f6.dense.bias.fill_(float("nan"))
    assert np.isnan(export.greatest_difference(export.logits_to_compare(other, (1, 32, 32)), content))


class Conditional(nn.Module):
    """A network whose course depends on its images."""

    def forward(self, images: Tensor) -> Tensor:
        return (images if images.sum() > 0 else images + 1).flatten(1)


class OneByOne(nn.Module):
    """A network that is written for each image alone."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([image.flatten() for image in images])


class TestExportErrors:
    @pytest.mark.parametrize("network", [pytest.param(Conditional(), marks=pytest.mark.slow), OneByOne()])
    def test_a_network_that_cannot_be_exported(self, tmp_path: Path, network: nn.Module) -> None:
        pytest.importorskip("onnxruntime")
        with pytest.raises(UserError, match=r"(Conditional|OneByOne): its forward cannot be exported \(.+\)") as raised:
            export.export_onnx(network, (1, 2, 2), list("abcd"), {}, tmp_path / "network.onnx")
        assert str(raised.value).isprintable()
        assert not list(tmp_path.iterdir())

    def test_wrong_settings(self, run_command, alexnet_run: Path) -> None:
        for setting, message in (
            ("format=tflite", "format=tflite: there is no such format. Use format=onnx"),
            ("output=nowhere/a.onnx", "output=nowhere/a.onnx: there is no folder nowhere"),
        ):
            outcome = run_command("export", f"run={alexnet_run}", setting)
            assert outcome.status == 2
            assert message in outcome.error

    def test_a_missing_extra_is_named(self, run_command, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.setattr(export_command, "find_spec", lambda name: None if name == "onnxruntime" else object())
        outcome = run_command("export", "run=anything")
        assert outcome.status == 2
        assert "pip install 'cnn_experiments[export]'" in outcome.error

    def test_other_logits_are_refused(self, run_command, alexnet_run: Path, monkeypatch) -> None:
        monkeypatch.setattr(export, "as_onnx", lambda *arguments: b"a file")
        monkeypatch.setattr(export, "greatest_difference", lambda expected, file: float("nan"))
        outcome = run_command("export", f"run={alexnet_run}")
        assert outcome.status == 1
        assert "the file's logits differ from the network's" in outcome.error
        assert not list(alexnet_run.glob("*.onnx*"))
