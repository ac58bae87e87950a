"""What docs/wishes.md shows: memory and preprocessing by the article's way and by ours, and C3's connections."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cnn_experiments.datamodules.photographs import read_photograph
from cnn_experiments.datamodules.resizing import Resizing
from cnn_experiments.errors import UserError
from scripts import wishes
from scripts.claims import STUDIES
from scripts.pages import fill
from tests.test_languages import figures, rows
from tests.test_study import write_arm
from tests.test_verdicts import answers

LOADING, TRAINING = {100: 200.0, 300: 400.0}, {400: 1000.0, 25_000: 990.0}


def test_memory_of_all_photographs_follows_from_that_of_some() -> None:
    found = wishes.figures_of_memory(LOADING, TRAINING, {(32, 8): 1234.5})
    assert found["each"] == "1.00"
    assert found["all"] == f"{25_000 / 1024:.1f}"
    assert (found["floats"], found["bytes"]) == ("1.05", "0.13")  # 214·214·3 numbers of 8 bytes, and of one
    assert (found["lowest"], found["highest"]) == ("990", "1,000")
    assert found["batches"] == "| 32 | 8 | 256 | 1,234 |"


def test_the_network_sees_a_photograph_in_both_ways() -> None:
    photograph = read_photograph(wishes.PHOTOGRAPH)
    canvas, ours = wishes.both_ways(photograph)
    assert canvas.shape == ours.shape == (214, 214, 3)
    found = wishes.figures_of_photograph(photograph)
    width, height = int(found["canvas.width"]), int(found["canvas.height"])
    assert canvas[: height - 1, : width - 1].min(axis=(0, 1)).max() > 0
    assert not canvas[height + 1 :].any()
    assert not canvas[:, width + 1 :].any()
    assert found["canvas.used"] == "54"  # 451·300 of 500·500
    assert Resizing().sized_for(214).side == int(found["ours.size"])
    assert float(found["ours.scale"]) == pytest.approx(245 / 300, abs=0.005)


def test_connections_without_the_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is missing\. Run `make study CLAIMS=partial_connections` first"):
        wishes.figures_of_connections(tmp_path, tmp_path / "none.yaml")


def test_the_page_says_how_many_seeds_are_compared(tmp_path: Path) -> None:
    """Three are enough to compare, of the five that are planned."""
    (claim,) = (one for one in wishes.read_claims() if one.name == "partial_connections")
    for arm, seeds in (("partial", claim.seeds), ("full", claim.seeds[:3])):
        write_arm(tmp_path, replace(claim, seeds=seeds), arm, right=[answers(20 + seed) for seed in seeds])
    assert len(claim.seeds) == 5
    assert wishes.figures_of_connections(tmp_path, tmp_path / "none.yaml")["seeds"] == "3"


def test_the_pages_are_filled_and_say_the_same(tmp_path: Path) -> None:
    (claim,) = (one for one in wishes.read_claims() if one.name == "partial_connections")
    for arm, wrong in (("partial", 40), ("full", 20)):
        write_arm(tmp_path, claim, arm, right=[answers(wrong + seed) for seed in claim.seeds])
    found = wishes.figures_of_connections(tmp_path, tmp_path / "none.yaml")
    assert (found["partial.all.parameters"], found["full.all.parameters"]) == ("60,000", "60,900")
    assert found["partial.c3.multiply_adds"] == found["full.c3.multiply_adds"] == "240,000"
    assert found["gain"].startswith("−2.00 [")
    found |= wishes.figures_of_memory(LOADING, TRAINING, {(32, 1): 1.0})
    found |= wishes.figures_of_photograph(read_photograph(wishes.PHOTOGRAPH))
    english, korean = fill("wishes", found, {}, tmp_path, STUDIES)
    assert "@" not in english.read_text(encoding="utf-8") + korean.read_text(encoding="utf-8")
    assert rows(str(english)) == rows(str(korean))
    assert figures(str(english)) ^ figures(str(korean)) == set()
    for name, picture in (
        ("memory", wishes.picture_of_memory(LOADING, TRAINING)),
        ("photograph", wishes.picture_of_photograph(np.zeros((30, 40, 3), np.uint8))),
    ):
        picture.savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 5000


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_is_measured() -> None:
    loading, training, batches = wishes.measure_memory((20, 220), (300,), ((4, 1), (4, 2)))
    each = (loading[220] - loading[20]) / 200
    assert each == pytest.approx(214 * 214 * 3 * 9 / 2**20, rel=0.2)
    assert training[300] > 300
    assert batches[4, 2] < 1.5 * batches[4, 1]
