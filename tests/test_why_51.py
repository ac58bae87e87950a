"""Why the article's AlexNet stayed at 51 %: the theory, and the pages that are written from runs."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from cnn_experiments.errors import UserError
from cnn_experiments.models.article import ArticleAlexNet
from scripts import signals
from scripts.claims import read_claims
from scripts.pages import SUFFIXES
from scripts.study import run_claims
from scripts.why_51 import FILE, judged, write_pages
from tests.conftest import QUICK_PHOTOGRAPHS
from tests.test_languages import figures, rows
from tests.test_study import write_arm

SIDE = 95
MAPS = (32, 32, 32, 32, 32)


def test_what_cutting_the_tails_off_leaves_of_a_normal_distribution() -> None:
    torch.manual_seed(0)
    drawn = torch.nn.init.trunc_normal_(torch.empty(1_000_000), std=0.1, a=-0.2, b=0.2)
    assert signals.truncated_std(0.1) == pytest.approx(drawn.std().item(), rel=2e-3)


@pytest.mark.parametrize("init", signals.INITS)
def test_theory_says_how_large_signals_and_gradients_are(init: signals.Init) -> None:
    torch.manual_seed(0)
    images, labels = torch.rand(8, 3, SIDE, SIDE), torch.arange(8) % 2
    networks = [ArticleAlexNet(2, 3, SIDE, MAPS, (256, 256), init=init, lrn=None) for _ in range(4)]
    found = signals.means([signals.signals(network, init, images, labels) for network in networks])
    assert [one.layer for one in found] == ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
    assert found[-2].inputs == 256
    for one in found[1:]:
        assert one.growth[1] == pytest.approx(one.growth[0], rel=0.3), one
        assert one.backward is not None
        assert one.backward[1] == pytest.approx(one.backward[0], rel=0.3), one
    assert found[0].backward is None


def test_values_outside_of_the_image_are_no_inputs() -> None:
    network = ArticleAlexNet(2, 3, SIDE, MAPS, (8, 8))
    assert signals.inputs_inside(network.conv3, 1) == 32  # of 3×3, the middle alone
    assert signals.inputs_inside(network.conv3, 2) == 32 * 4
    side = math.ceil(SIDE / 4)
    starts = [4 * place - (4 * (side - 1) + 11 - SIDE) // 2 for place in range(side)]  # TensorFlow's SAME
    inside = [min(start + 11, SIDE) - max(start, 0) for start in starts]
    assert signals.inputs_inside(network.conv1, SIDE) == pytest.approx(3 * (sum(inside) / side) ** 2, rel=1e-5)


def test_theory_says_how_far_adams_first_step_goes() -> None:
    torch.manual_seed(0)
    images, labels = torch.rand(8, 3, SIDE, SIDE), torch.arange(8) % 2
    network = ArticleAlexNet(2, 3, SIDE, MAPS, (256, 256), init="he", lrn=None)
    before = [weight.detach().clone() for weight in network.parameters()]
    found = signals.first_steps(network, "he", 1e-4, images, labels)
    theory, measured = found["fc7"]
    assert theory == pytest.approx(1e-4 * 256 / math.sqrt(2 * math.pi))
    assert 0.3 * theory < measured < 1.5 * theory
    changes = [(new - old).abs().max().item() for new, old in zip(network.parameters(), before, strict=True)]
    assert changes == pytest.approx([1e-4] * len(changes), rel=0.01)


def test_the_first_loss_is_the_size_of_the_scores_or_ln_2() -> None:
    images, labels = torch.rand(8, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2
    large, losses, squares = 100 * images, [], []
    for seed in range(30):
        torch.manual_seed(seed)
        network = ArticleAlexNet(2, 3, SIDE, MAPS, (256, 256), lrn=None)
        losses.append(signals.loss_of(network, large, labels))
        with torch.no_grad():
            squares.append(network.eval()(large).square().mean().item())
    theory = signals.first_loss_by_theory(network, "article", large)
    assert theory > 50
    measured = sum(losses) / 30
    assert measured == pytest.approx(math.sqrt(sum(squares) / 30 / math.pi), rel=0.25)
    assert theory < measured < 3 * theory  # max pools, of which theory knows nothing, choose the largest values
    he = ArticleAlexNet(2, 3, SIDE, MAPS, (256, 256), init="he")
    assert signals.first_loss_by_theory(he, "he", images) == math.log(2)
    assert signals.loss_of(he, images, labels) == pytest.approx(math.log(2), abs=0.05)


def study(folder: Path) -> Path:
    """The study's file with networks and runs that take seconds."""
    plan = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    small = "model.maps=[8,8,8,8,8] model.dense=[16,16]"
    size = f"experiment=alexnet_article model.input_size=63 datamodule.resizing.size=63 {small}"
    limits = "datamodule.limit=48 datamodule.test_size=16 datamodule.validation_size=16"
    plan["sizes"]["alexnet"]["words"] = f"{size} {limits} {' '.join(QUICK_PHOTOGRAPHS)} trainer.max_epochs=1"
    (claim,) = plan["claims"]
    claim["arms"] |= {"narrow": "model.dense=[8,8]", "more_images": "datamodule.augmentation.flip=0.5"}
    claim["arms"]["augmented"] = "datamodule.augmentation.flip=0.5 datamodule.resizing.size=72"
    claim["seeds"] = [1]
    untrained = plan["untrained"]
    untrained["seeds"] = [1]
    untrained["networks"] = {name: f"{words} {small}" for name, words in untrained["networks"].items()}
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(plan), encoding="utf-8")
    return file


def test_runs_of_two_machines_are_not_taken_for_one(tmp_path: Path) -> None:
    (claim,) = read_claims(FILE)
    for arm in claim.arms:
        devices = ["cpu"] * (len(claim.seeds) - 1) + ["cuda" if arm == "he" else "cpu"]
        write_arm(tmp_path, claim, arm, metrics=[{"device": device} for device in devices])
    with pytest.raises(UserError, match=r"he: the runs differ in more than their seed: .* device=cpu, .* device=cuda"):
        judged(claim, tmp_path)


@pytest.mark.slow
def test_both_pages_are_written_from_runs_and_hold_the_same_figures(
    run_command: Callable, photographs: Path, tmp_path: Path
) -> None:
    file, root, folder = study(tmp_path), tmp_path / "outputs", tmp_path / "docs"
    folder.mkdir()
    (claim,) = read_claims(file)

    def start(words: list[str]) -> int:
        status: int = run_command("train", *words).status
        return status

    assert run_claims([claim], root, start) == 0
    assert run_claims([claim], root, lambda words: pytest.fail(f"it trains again: {words}")) == 0
    written = write_pages(file, root, folder)
    assert sorted(one.name for one in written) == ["why_51.ko.md", "why_51.md", "why_51_arms.png", "why_51_signals.png"]
    english, korean = (folder / f"why_51{suffix}" for suffix in SUFFIXES.values())
    assert "@" not in english.read_text(encoding="utf-8") + korean.read_text(encoding="utf-8")
    assert rows(str(english)) == rows(str(korean))
    assert figures(str(english)) ^ figures(str(korean)) == set()
    accuracy = next(root.rglob("article/**/metrics.json")).read_text(encoding="utf-8")
    line = next(line for line in english.read_text(encoding="utf-8").splitlines() if line.startswith("| `article` |"))
    assert f"{yaml.safe_load(accuracy)['test/accuracy']:.3f}" in line
