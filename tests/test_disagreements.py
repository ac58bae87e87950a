"""Test images that one configuration gets right and another wrong, of runs that were made up to be told by hand."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cnn_experiments.errors import UserError
from cnn_experiments.runs.comparison import compare
from cnn_experiments.runs.directory import RunDirectory
from cnn_experiments.runs.disagreements import (
    LONGEST_SIDE,
    MOST_KEPT,
    MOST_SHOWN,
    Disagreements,
    disagreements_of,
    kept_mistakes,
    read_mistakes,
)
from cnn_experiments.runs.page_data import page_data
from tests.test_comparison import write_run

IMAGES = 40


def write_tested(directory: Path, wrong: Sequence[int], seed: int = 1, images: int = IMAGES, **settings: str) -> None:
    """A run that got these images wrong and kept pictures of them, each as grey as its place in the test set."""
    right = np.ones(images, bool)
    right[list(wrong)] = False
    write_run(directory, seed=seed, right=right, **settings)
    kept = kept_mistakes(right)
    pictures = np.broadcast_to(kept[:, None, None, None], (len(kept), 4, 3, 1)).astype(np.uint8)
    RunDirectory(directory).write_mistakes(kept, pictures)


def found_in(folder: Path) -> Disagreements:
    return disagreements_of(compare(folder).configurations)


def places(found: Disagreements) -> list[int]:
    """The places of the images in the test set, which their pictures tell."""
    return [int(np.asarray(Image.open(io.BytesIO(image.picture)))[0, 0]) for image in found.images]


def test_of_two_runs(tmp_path: Path) -> None:
    write_tested(tmp_path / "good", [3, 4], model__init="good")
    write_tested(tmp_path / "poor", [4, 5, 17], model__init="poor")
    found = found_in(tmp_path)
    assert found.counts == {(0, 1): 2, (1, 0): 1}
    assert sorted(places(found)) == [3, 5, 17]
    for image, place in zip(found.images, places(found), strict=True):
        assert image.label == place % 10
        good, poor = image.predicted[0], image.predicted[1]
        assert (good, poor) == (([10], [place % 10]) if place == 3 else ([place % 10], [10]))


def test_most_runs_decide_and_the_clearest_come_first(tmp_path: Path) -> None:
    for seed, good, poor in ((1, [9], [1, 2, 3]), (2, [], [1, 2]), (3, [], [2, 4])):
        write_tested(tmp_path / f"good{seed}", good, seed, model__init="good")
        write_tested(tmp_path / f"poor{seed}", poor, seed, model__init="poor")
    found = found_in(tmp_path)
    assert found.counts == {(0, 1): 2, (1, 0): 0}  # 3 and 4 are wrong in one of three runs alone, and so is 9
    assert places(found) == [2, 1]
    assert found.images[1].predicted == {0: [1, 1, 1], 1: [10, 10, 1]}


def test_half_of_the_runs_are_not_most(tmp_path: Path) -> None:
    for seed, poor in ((1, [1, 2]), (2, [2])):
        write_tested(tmp_path / f"good{seed}", [], seed, model__init="good")
        write_tested(tmp_path / f"poor{seed}", poor, seed, model__init="poor")
    assert places(found_in(tmp_path)) == [2]


def test_runs_on_other_images_have_nothing_to_disagree_on(tmp_path: Path) -> None:
    write_tested(tmp_path / "a", [1], model__init="a")
    write_tested(tmp_path / "b", [2], images=IMAGES + 1, model__init="b")
    write_run(tmp_path / "c", model__init="c")  # whose predictions are not on record
    assert found_in(tmp_path) == Disagreements([], {})


def test_each_seed_may_have_its_own_test_images(tmp_path: Path) -> None:
    for seed in (1, 2):
        settings = {"datamodule__test_size": 0.5}
        write_tested(tmp_path / f"good{seed}", [], seed, model__init="good", **settings)
        write_tested(tmp_path / f"poor{seed}", [seed], seed, model__init="poor", **settings)
    found = found_in(tmp_path)
    assert found.counts == {(0, 1): 2, (1, 0): 0}
    assert sorted(places(found)) == [1, 2]
    assert [image.predicted[1] for image in found.images] == [[10], [10]]


def test_pictures_of_another_run_will_do(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        write_tested(tmp_path / f"good{seed}", [], seed, model__init="good")
        write_tested(tmp_path / f"poor{seed}", [7, 8], seed, model__init="poor")
    RunDirectory(tmp_path / "poor1").mistakes_file.unlink()
    RunDirectory(tmp_path / "poor2").mistakes_file.write_bytes(b"PK\x03\x04")
    assert places(found_in(tmp_path)) == [7, 8]
    RunDirectory(tmp_path / "poor3").mistakes_file.unlink()
    assert found_in(tmp_path) == Disagreements([], {(0, 1): 2, (1, 0): 0})


def test_pictures_are_bounded_and_shared_out_among_pairs(tmp_path: Path) -> None:
    everything = range(256)
    for number in range(4):
        write_tested(tmp_path / str(number), everything[number::4], images=256, model__init=str(number))
    found = found_in(tmp_path)
    assert set(found.counts.values()) == {64}
    assert len(found.images) == MOST_SHOWN
    shown = np.bincount(np.array(places(found)) % 4)
    assert shown.min() >= 50


def test_a_run_keeps_some_mistakes_that_others_keep_too() -> None:
    generator = np.random.default_rng(0)
    wrong = generator.random(5000) < 0.4
    kept = kept_mistakes(~wrong)
    assert len(kept) == MOST_KEPT
    assert wrong[kept].all()
    assert (np.diff(kept) > 0).all()
    assert kept.min() < 500 < 4500 < kept.max()  # not only the first
    less = wrong & (generator.random(5000) < 0.8)
    others = kept_mistakes(~less)
    assert len(set(kept[less[kept]]) & set(others)) == less[kept].sum()  # those that both got wrong, both keep
    assert kept_mistakes(np.array([True, False, True, False])).tolist() == [1, 3]
    assert kept_mistakes(np.ones(3, bool)).tolist() == []


PICTURES = np.zeros((2, 4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ("positions", "images"),
    [
        ([1], PICTURES),
        ([[1, 2]], PICTURES),
        ([1.5, 2.5], PICTURES),
        ([1, 2], PICTURES.astype(np.float32)),
        ([1, 2], PICTURES[..., :2]),
        ([1, 2], PICTURES[..., 0]),
        ([1, 2], np.zeros((2, 0, 4, 3), np.uint8)),
        ([1, 2], np.zeros((2, LONGEST_SIDE + 1, 1, 1), np.uint8)),
        (np.arange(MOST_KEPT + 1), np.zeros((MOST_KEPT + 1, 1, 1, 1), np.uint8)),
    ],
)
def test_what_is_no_picture_is_refused(tmp_path: Path, positions: list[int], images: NDArray[np.uint8]) -> None:
    run = RunDirectory(tmp_path)
    run.write_mistakes(positions, images)
    with pytest.raises(UserError, match="these are no pictures that a run writes"):
        read_mistakes(run.mistakes_file)


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_written_is_read(tmp_path: Path, channels: int) -> None:
    run = RunDirectory(tmp_path)
    largest = np.random.default_rng(0).integers(0, 256, (MOST_KEPT, LONGEST_SIDE, LONGEST_SIDE, channels), np.uint8)
    run.write_mistakes(np.arange(MOST_KEPT), largest)
    pictures = read_mistakes(run.mistakes_file)
    assert list(pictures) == list(range(MOST_KEPT))
    assert (np.stack(list(pictures.values())) == largest).all()


def test_colours_reach_the_page_as_jpeg_and_grey_as_png(tmp_path: Path) -> None:
    write_tested(tmp_path / "good", [], model__init="good")
    write_tested(tmp_path / "poor", [1, 2], model__init="poor")
    (image, _) = page_data(compare(tmp_path))["images"]
    assert image["picture"].startswith("iVBOR")
    orange = np.full((2, 48, 48, 3), (250, 120, 10), np.uint8)
    RunDirectory(tmp_path / "poor").write_mistakes([1, 2], orange)
    (image, _) = found_in(tmp_path).images
    assert image.picture.startswith(b"\xff\xd8")
    shown = np.asarray(Image.open(io.BytesIO(image.picture))).astype(int)
    assert np.abs(shown - orange[0]).max() <= 4
