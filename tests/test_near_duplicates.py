"""Photographs that were saved again are found, whatever they were saved as, and no others."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from cnn_experiments.datamodules import near_duplicates
from cnn_experiments.datamodules.dogs_vs_cats import DogsVsCats
from cnn_experiments.datamodules.near_duplicates import MOST_BITS, find_near_duplicates, perceptual_hash


def scene(seed: int, width: int = 400, height: int = 300) -> Image.Image:
    """A picture with large and small structures and fine grain, as photographs have."""
    generator = np.random.default_rng(seed)
    layers = np.zeros((height, width, 3))
    for cells in (4, 16, 64):
        coarse = generator.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        layers += np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)) / 3
    return Image.fromarray((layers + generator.normal(0, 4, layers.shape)).clip(0, 255).astype(np.uint8))


def saved_again(image: Image.Image, **settings: object) -> Image.Image:
    content = io.BytesIO()
    image.save(content, **{"format": "JPEG", "quality": 75, **settings})
    return Image.open(content).convert("RGB")


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "good JPEG": lambda image: saved_again(image, quality=90),
    "poor JPEG": lambda image: saved_again(image, quality=15),
    "WebP": lambda image: saved_again(image, format="WEBP"),
    "smaller": lambda image: saved_again(image.resize((image.width // 4, image.height // 4))),
    "larger": lambda image: saved_again(image.resize((image.width * 2, image.height * 2))),
    "stretched": lambda image: saved_again(image.resize((image.width + 40, image.height))),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "cropped": lambda image: image.crop((5, 4, image.width - 5, image.height - 4)),
}


def bits(first: str, second: str) -> int:
    return (int(first, 16) ^ int(second, 16)).bit_count()


class TestHash:
    @pytest.mark.parametrize("kind", COPIES)
    def test_copies_differ_in_few_bits(self, kind: str) -> None:
        for seed in range(10):
            image = scene(seed)
            hashes = [perceptual_hash(np.asarray(picture)) for picture in (image, COPIES[kind](image))]
            assert bits(*hashes) <= MOST_BITS

    def test_different_pictures_differ_in_many(self) -> None:
        hashes = [perceptual_hash(np.asarray(scene(seed))) for seed in range(60)]
        assert all(len(digits) == 64 for digits in hashes)
        assert min(bits(a, b) for a in hashes for b in hashes if a != b) > 1.5 * MOST_BITS

    def test_one_colour_looks_like_nothing(self) -> None:
        assert perceptual_hash(np.full((50, 60, 3), 77, np.uint8)) == ""

    def test_a_faint_picture_looks_like_the_strong_one(self) -> None:
        strong = np.asarray(scene(1))
        faint = (128 + (strong - 128.0) / 12).round().astype(np.uint8)
        assert faint.mean(2).std() < 5
        assert bits(perceptual_hash(strong), perceptual_hash(faint)) <= MOST_BITS

    def test_red_and_blue_weigh_as_they_do_in_grey(self) -> None:
        red, blue = (scene(seed).getchannel("G") for seed in (1, 2))
        image = Image.merge("RGB", (red, Image.new("L", red.size), blue))
        hashes = [perceptual_hash(np.asarray(picture)) for picture in (image, COPIES["grey"](image))]
        assert bits(*hashes) <= MOST_BITS

    def test_half_of_the_bits_are_set(self) -> None:
        assert int(perceptual_hash(np.asarray(scene(1))), 16).bit_count() == 128


class TestPairs:
    def test_pairs_at_the_bound_and_beyond(self) -> None:
        first = int("5" * 64, 16)
        near, far = (first ^ (2**changed - 1) for changed in (MOST_BITS, MOST_BITS + 1))
        hashes = [f"{number:064x}" for number in (first, near, far)]
        assert find_near_duplicates(hashes) == [(1, 0), (2, 1)]

    def test_as_one_by_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        generator = np.random.default_rng(0)
        hashes = [generator.bytes(32).hex() for _ in range(100)]
        for place in (30, 31, 70, 99):
            hashes[place] = f"{int(hashes[3], 16) ^ (1 << place):064x}"
        hashes[50] = ""
        expected = [
            (later, first)
            for later in range(100)
            for first in range(later)
            if hashes[later] and hashes[first] and bits(hashes[later], hashes[first]) <= MOST_BITS
        ]
        assert len(expected) == 10
        for rows in (7, 100, 1000):
            monkeypatch.setattr(near_duplicates, "ROWS", rows)
            assert find_near_duplicates(hashes) == expected

    def test_many_copies_take_bounded_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(near_duplicates, "MOST_EACH", 3)
        pairs = find_near_duplicates(["0f" * 32] * 50)
        assert pairs == [(later, first) for later in range(1, 50) for first in range(min(later, 3))]

    @pytest.mark.parametrize("hashes", [[], [""], ["", ""]])
    def test_nothing_to_compare(self, hashes: list[str]) -> None:
        assert find_near_duplicates(hashes) == []


class TestDogsVsCats:
    @pytest.fixture
    def copied(self, photographs: Path) -> Path:
        """The folder, with scenes of which four are copies: three of cat.200, and one of another class."""
        for number in range(200, 205):
            scene(number).save(photographs / f"cat.{number}.jpg", quality=95)
            scene(number + 100).save(photographs / f"dog.{number}.jpg", quality=95)
        COPIES["smaller"](scene(200)).save(photographs / "cat.301.jpg")
        COPIES["poor JPEG"](scene(200)).save(photographs / "cat.302.png")
        COPIES["grey"](scene(200)).save(photographs / "dog.303.jpg")
        COPIES["larger"](scene(301)).save(photographs / "dog.304.jpg")
        return photographs

    COPIED = {  # noqa: RUF012
        ("cat.301.jpg", "cat.200.jpg"),
        ("cat.302.png", "cat.200.jpg"),
        ("cat.302.png", "cat.301.jpg"),
        ("dog.303.jpg", "cat.200.jpg"),
        ("dog.303.jpg", "cat.301.jpg"),
        ("dog.303.jpg", "cat.302.png"),
        ("dog.304.jpg", "dog.201.jpg"),
    }

    @pytest.mark.parametrize("method", ["shorter_side", "canvas", "squash"])
    def test_they_are_found(self, copied: Path, method: str) -> None:
        from cnn_experiments.datamodules.resizing import Resizing

        data = DogsVsCats(image_size=32, resizing=Resizing(method))
        pairs = data.near_duplicates()
        assert {(pair.file, pair.first_file) for pair in pairs} == self.COPIED
        part_of = {row["file"]: row["used for"] for row in csv.DictReader(io.StringIO(data.records()["split.csv"]))}
        for pair in pairs:
            assert (pair.label, pair.first_label) == (pair.file[:3], pair.first_file[:3])
            assert (pair.part, pair.first_part) == (part_of[pair.file], part_of[pair.first_file])

    def test_they_are_used_unless_the_config_says_otherwise(self, copied: Path) -> None:
        data = DogsVsCats(image_size=32)
        data.prepare()
        assert not data.set_aside

    def test_all_but_the_first_are_set_aside(self, copied: Path) -> None:
        data = DogsVsCats(image_size=32, drop_near_duplicates=True)
        data.prepare()
        assert {entry.file: entry.reason for entry in data.set_aside} == {
            "cat.301.jpg": "near-duplicate: cat.200.jpg",
            "cat.302.png": "near-duplicate: cat.200.jpg",
            "dog.303.jpg": "near-duplicate: cat.200.jpg",
            "dog.304.jpg": "near-duplicate: dog.201.jpg",
        }
        assert data.set_aside_summary() == [("near-duplicate", 4, "cat.301.jpg")]
        assert data.near_duplicates() == []

    def test_the_command_lists_and_draws_them(self, copied: Path, run_command, tmp_path: Path) -> None:
        outcome = run_command("data", "datamodule=dogs_vs_cats", "hydra.run.dir=report")
        assert outcome.status == 0, outcome.error
        assert "near-duplicates: the same picture, saved again" in outcome.out
        with (tmp_path / "report" / "near_duplicates.csv").open() as stream:
            rows = list(csv.DictReader(stream))
        assert {(row["file"], row["near-duplicate of"]) for row in rows} == self.COPIED
        assert np.asarray(Image.open(tmp_path / "report" / "near_duplicates.png")).std() > 5

    def test_the_command_is_silent_where_there_are_none(self, photographs: Path, run_command, tmp_path: Path) -> None:
        outcome = run_command("data", "datamodule=dogs_vs_cats", "hydra.run.dir=report")
        assert "near-duplicates" not in outcome.out
        assert not list((tmp_path / "report").glob("near_duplicates*"))
