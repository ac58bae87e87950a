"""Photographs as people have them: how they are found, read, judged, cached, split, augmented and classified."""

import csv
import hashlib
import io
import json
import os
import pickle
import shutil
import stat
import subprocess
import sys
import zipfile
from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from cnn_experiments.datamodules import dogs_vs_cats_files, image_cache
from cnn_experiments.datamodules.base import PARTS, Part
from cnn_experiments.datamodules.dogs_vs_cats import DogsVsCats
from cnn_experiments.datamodules.dogs_vs_cats_files import find_photographs
from cnn_experiments.datamodules.image_cache import Entry, Photograph, prepare_cache
from cnn_experiments.datamodules.photographs import UnusableImageError, read_photograph
from cnn_experiments.datamodules.resizing import Resizing
from cnn_experiments.datamodules.samplers import Draw
from cnn_experiments.datamodules.transforms import Augment, Augmentation, light, principal_components
from cnn_experiments.errors import ExperimentError, UserError
from tests.conftest import QUICK_PHOTOGRAPHS, SMALL_ALEXNET
from tests.web import Web

# Learns red from blue in a few epochs.
FAST = ("model.optimizer.lr=0.003", "model.dropout=0")
SMALL = Resizing("shorter_side", 16, "area")


def saved(image: Image.Image, file: Path, **settings: object) -> Path:
    image.save(file, **settings)
    return file


@pytest.fixture
def data(photographs: Path) -> Callable[..., DogsVsCats]:
    """The data set of the photographs for the tests, for a network of 32 pixels, with other settings as needed."""

    def make(**settings: Any) -> DogsVsCats:
        data = DogsVsCats(**{"image_size": 32, "num_workers": 0, **settings})
        data.setup()
        return data

    return make


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as server:
        yield server


class TestReading:
    def test_every_kind_becomes_rgb(self, tmp_path: Path) -> None:
        red = Image.new("RGB", (20, 10), (255, 0, 0))
        half = red.convert("RGBA")
        half.putalpha(0)
        eight = Image.fromarray(np.full((10, 20), 255, np.uint16))
        sixteen = Image.fromarray(np.full((10, 20), 257 * 128, np.uint16))
        files = {
            saved(red, tmp_path / "rgb.png"): (255, 0, 0),
            saved(red.convert("L"), tmp_path / "grey.png"): (76, 76, 76),
            saved(red.convert("1"), tmp_path / "binary.png"): None,
            saved(red.convert("P"), tmp_path / "palette.gif"): (255, 0, 0),
            saved(red.convert("CMYK"), tmp_path / "cmyk.jpg", quality=100): (255, 0, 0),
            saved(half, tmp_path / "transparent.png"): (255, 255, 255),
            saved(sixteen, tmp_path / "sixteen_bits.png"): (128, 128, 128),
            saved(eight, tmp_path / "eight_of_sixteen_bits.png"): (255, 255, 255),
            saved(red, tmp_path / "two.jpg", format="MPO", save_all=True, append_images=[half.convert("RGB")]): None,
        }
        for file, colour in files.items():
            image = read_photograph(file)
            assert (image.shape, image.dtype) == ((10, 20, 3), np.uint8), file
            if colour is not None:
                assert np.abs(image.reshape(-1, 3).mean(0) - colour).max() < 3, file

    def test_it_is_turned_as_the_camera_was_held(self, tmp_path: Path) -> None:
        image = Image.new("RGB", (20, 10))
        image.paste((255, 255, 255), (0, 0, 10, 10))  # the left half is white
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned clockwise
        array = read_photograph(saved(image, tmp_path / "turned.jpg", exif=exif, quality=100))
        assert array.shape == (20, 10, 3)
        assert array[:8].mean() > 250
        assert array[12:].mean() < 5

    def test_what_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = saved(Image.effect_noise((64, 64), 50), tmp_path / "whole.jpg").read_bytes()
        frames = [Image.new("L", (8, 8), 80 * number) for number in range(3)]
        contents = {"empty.jpg": b"", "text.jpg": b"no picture at all", "cut.jpg": whole[: len(whole) // 2]}
        for name, content in contents.items():
            (tmp_path / name).write_bytes(content)
        frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
        for name in ("disguised.jpg", "DISGUISED.JPG"):
            saved(Image.new("RGB", (8, 8)), tmp_path / name, format="PNG")
        saved(Image.new("1", (10_000, 10_000)), tmp_path / "huge.png")
        for name, reason in {
            "empty.jpg": "empty",
            "text.jpg": "no image",
            "cut.jpg": "truncated",
            "moving.gif": "animated",
            "disguised.jpg": "in disguise: a PNG, not a JPEG",
            "DISGUISED.JPG": "in disguise: a PNG, not a JPEG",
            "huge.png": "absurdly large: 10000×10000 pixels",
        }.items():
            with pytest.raises(UnusableImageError, match=f"^{reason}"):
                read_photograph(tmp_path / name)


class TestResizing:
    IMAGE = np.zeros((100, 200, 3), np.uint8)
    IMAGE[:, 50:150] = 255

    def test_the_paper_cuts_the_middle_out(self) -> None:
        square = Resizing("shorter_side", 50, "area")(self.IMAGE)
        assert square.shape == (50, 50, 3)
        assert (square == 255).all()
        assert np.array_equal(Resizing("shorter_side", 50, "area")(self.IMAGE.transpose(1, 0, 2)), square)

    def test_the_article_has_a_black_canvas(self) -> None:
        square = Resizing("canvas", 250, "area")(np.full((100, 200, 3), 255, np.uint8))
        assert square.shape == (250, 250, 3)
        assert (square[:50, :100] == 255).all()
        assert square[50:].max() == square[:, 100:].max() == 0
        large = np.zeros((800, 900, 3), np.uint8)
        large[:500, :500] = 255
        assert Resizing("canvas", 250, "area")(large).min() == 255  # the top left corner

    @pytest.mark.parametrize("side", [101, 150, 201])
    def test_enlarging_is_linear(self, side: int) -> None:
        """Also where only one side is enlarged: of a column or a row there are no areas to take the mean of."""
        noise = np.random.default_rng(0).integers(0, 256, (100, 200, 3), dtype=np.uint8)
        for image in (noise, noise.transpose(1, 0, 2)):
            assert np.array_equal(Resizing("squash", side, "area")(image), Resizing("squash", side, "linear")(image))

    def test_squashed(self) -> None:
        square = Resizing("squash", 40, "linear")(self.IMAGE)
        assert square.shape == (40, 40, 3)
        assert square[:, :9].max() == 0
        assert square[:, 11:29].min() == 255


class TestCache:
    @pytest.fixture
    def files(self, photographs: Path) -> list[Photograph]:
        return find_photographs(str(photographs), photographs.parent / "data")[1]

    def test_what_is_wrong_is_set_aside_with_its_reason(self, photographs: Path, data) -> None:
        cat = photographs / "cat.0.jpg"
        shutil.copy(cat, photographs / "cat.100.jpg")  # byte for byte
        Image.open(cat).save(photographs / "cat.101.png")  # pixel for pixel, in another format
        shutil.copy(photographs / "dog.3.jpg", photographs / "cat.102.jpg")  # in both classes
        (photographs / "dog.103.jpg").write_bytes(cat.read_bytes()[:-300])
        (photographs / "dog.104.jpg").write_bytes(b"")
        (photographs / "Thumbs.db").write_bytes(b"whatever Windows leaves behind")
        module = data()
        reasons = {entry.file: entry.reason for entry in module.set_aside}
        both = "the same picture lies in two classes"
        assert reasons == {
            "cat.100.jpg": "duplicate: byte for byte cat.0.jpg",
            "cat.101.png": "duplicate: pixel for pixel cat.0.jpg",
            "cat.102.jpg": both,
            "dog.3.jpg": both,
            "dog.103.jpg": "truncated",
            "dog.104.jpg": "empty",
            "Thumbs.db": "of no class: it lies in no class folder, and its name begins with none",
        }
        records = dict(module.records())
        listed = {row["file"]: row["reason"] for row in csv.DictReader(io.StringIO(records["set_aside.csv"]))}
        assert listed == reasons
        assert len(module.used) == 79

    def test_images_are_what_resizing_makes_of_the_files(self, files: list[Photograph], tmp_path: Path) -> None:
        root = files[0].path.parent
        cache = prepare_cache(files, root, SMALL, tmp_path / "cache")
        for number in (0, 17, 79):
            entry = cache.entries()[number]
            assert entry.file == files[number].path.name
            expected = SMALL(read_photograph(files[number].path))
            assert np.array_equal(cache[np.array([entry.row])][0], expected)
            assert entry.moments[:3] == pytest.approx(expected[::2, ::2].reshape(-1, 3).mean(0), rel=1e-5)
        sent = pickle.dumps(cache)  # to a process that loads: without the images, which it reads itself
        assert len(sent) < 1000
        assert np.array_equal(pickle.loads(sent)[np.arange(79)], cache[np.arange(79)])

    def test_each_file_is_read_once(self, files: list[Photograph], tmp_path: Path, monkeypatch) -> None:
        root = files[0].path.parent
        first = prepare_cache(files, root, SMALL, tmp_path / "cache")
        monkeypatch.setattr(image_cache, "read_photograph", None)  # would fail
        assert prepare_cache(files, root, SMALL, tmp_path / "cache").folder == first.folder

    @pytest.mark.parametrize("change", ["a file", "the size", "the interpolation"])
    def test_another_source_or_size_is_another_cache(self, files, tmp_path: Path, change: str) -> None:
        root = files[0].path.parent
        first = prepare_cache(files, root, SMALL, tmp_path / "cache")
        resizing = SMALL
        if change == "a file":
            files[3].path.write_bytes(files[4].path.read_bytes())
        elif change == "the size":
            resizing = Resizing("shorter_side", 20, "area")
        else:
            resizing = Resizing("shorter_side", 16, "linear")
        assert prepare_cache(files, root, resizing, tmp_path / "cache").folder != first.folder

    def test_an_interrupted_preparation_goes_on(self, files, tmp_path: Path, monkeypatch) -> None:
        root = files[0].path.parent
        whole = prepare_cache(files, root, SMALL, tmp_path / "whole")
        monkeypatch.setattr(image_cache, "CHUNK", 10)
        seen: list[str] = []

        def read(file: Path, content: bytes) -> np.ndarray:
            seen.append(file.name)
            if len(seen) == 35:
                raise KeyboardInterrupt
            return read_photograph(file, content)

        monkeypatch.setattr(image_cache, "read_photograph", read)
        with pytest.raises(KeyboardInterrupt):
            prepare_cache(files, root, SMALL, tmp_path / "cache")
        unfinished = next((tmp_path / "cache").glob("*.unfinished"))
        with (unfinished / "images.bin").open("ab") as images:  # what was written last may be there in part
            images.write(b"half an image")
        with (unfinished / "journal.jsonl").open("a") as journal:
            journal.write('{"file": "cat.3')
        before = len(set(seen))
        usage = namedtuple("usage", ("total", "used", "free"))(10**9, 10**9, 50 * 16 * 16 * 3)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)  # room for the 50 that are missing
        cache = prepare_cache(files, root, SMALL, tmp_path / "cache")
        assert before + len(seen) < 2 * len(files)  # not all over again
        assert seen.count("cat.0.jpg") == 1
        for name in ("images.bin", "index.jsonl"):
            assert (cache.folder / name).read_bytes() == (whole.folder / name).read_bytes()

    @pytest.mark.parametrize(("images", "believed"), [(3, 4), (2, 4), (1, 2), (0, 0)])
    def test_a_journal_is_believed_as_far_as_images_were_written(
        self, tmp_path: Path, images: int, believed: int
    ) -> None:
        entries = [Entry(str(number), "cat", row=row) for number, row in enumerate((0, None, 1, None))]
        lines = [json.dumps(asdict(entry)) + "\n" for entry in entries]
        with (tmp_path / "journal.jsonl").open("w+") as journal:
            journal.writelines(lines)
            read = image_cache._read_journal(journal, images)
        assert [(entry.file, entry.row) for entry in read] == [(entry.file, entry.row) for entry in entries[:believed]]
        assert (tmp_path / "journal.jsonl").read_text() == "".join(lines[:believed])

    @pytest.mark.parametrize("damage", ["another version", "no index", "cut off"])
    def test_a_damaged_or_older_cache_is_made_anew(self, files, tmp_path: Path, damage: str) -> None:
        root = files[0].path.parent
        folder = prepare_cache(files, root, SMALL, tmp_path / "cache").folder
        index, images = folder / "index.jsonl", folder / "images.bin"
        sound = images.read_bytes()
        if damage == "another version":
            head, _, rest = index.read_text().partition("\n")
            index.write_text(json.dumps({**json.loads(head), "version": 0}) + "\n" + rest)
        elif damage == "no index":
            index.unlink()
        else:
            images.write_bytes(sound[:-5])
        cache = prepare_cache(files, root, SMALL, tmp_path / "cache")
        assert images.read_bytes() == sound
        assert len(cache.entries()) == len(files)

    def test_a_full_disk_is_said_before_anything_is_read(self, files, tmp_path: Path, monkeypatch) -> None:
        usage = namedtuple("usage", ("total", "used", "free"))(10**9, 10**9, 1000)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
        with pytest.raises(UserError, match=r"datamodule\.data_dir: the cache .* takes up to .* GiB"):
            prepare_cache(files, files[0].path.parent, SMALL, tmp_path / "cache")

    def test_rules_of_size_are_keys(self, photographs: Path, data) -> None:
        saved(Image.effect_noise((64, 64), 50).convert("RGB"), photographs / "cat.64.png")
        sizes = {file.name: Image.open(file).size for file in photographs.iterdir()}
        small = data(smallest_side=64)
        assert {entry.reason for entry in small.set_aside} == {"smaller than 64 pixels"}
        assert {entry.file for entry in small.used} == {name for name, size in sizes.items() if min(size) >= 64}
        large = data(largest_side=64)
        assert {entry.reason for entry in large.set_aside} == {"larger than 64 pixels"}
        assert {entry.file for entry in large.used} == {name for name, size in sizes.items() if max(size) <= 64}
        assert small.cache.folder == large.cache.folder  # such rules need no other cache

    def test_known_mislabelled_files(self, photographs: Path, data) -> None:
        (photographs / "dog.1.jpg").rename(photographs / "dog.1773.jpg")
        assert not data().set_aside
        assert [entry.file for entry in data(drop_mislabelled=True).set_aside] == ["dog.1773.jpg"]


class TestFinding:
    def found(self, source: Path, data_dir: Path) -> dict[str, int]:
        labels = [photograph.label for photograph in find_photographs(str(source), data_dir)[1]]
        return {str(label): labels.count(label) for label in set(labels)}

    def zipped(self, folder: Path, archive: Path, prefix: str) -> Path:
        with zipfile.ZipFile(archive, "w") as packed:
            for file in sorted(folder.rglob("*")):
                if file.is_file():
                    packed.write(file, f"{prefix}{file.relative_to(folder)}")
        return archive

    def by_class(self, photographs: Path, folder: Path, names: tuple[str, str]) -> Path:
        for label, name in zip(("cat", "dog"), names, strict=True):
            (folder / name).mkdir(parents=True)
            for file in photographs.glob(f"{label}.*"):
                shutil.copy(file, folder / name / file.name.partition(".")[2])
        return folder

    def test_every_form_that_people_have(
        self, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dogs_vs_cats_files, "MOST_BYTES", 100_000)  # of a photograph; archives have more
        out = tmp_path / "data"
        expected = {"cat": 40, "dog": 40}
        assert self.found(photographs, out) == expected
        assert self.found(photographs.parent, out) == expected
        train_zip = self.zipped(photographs, tmp_path / "train.zip", "train/")
        assert self.found(train_zip, out) == expected
        (tmp_path / "kaggle").mkdir()
        shutil.copy(train_zip, tmp_path / "kaggle")
        both = self.zipped(tmp_path / "kaggle", tmp_path / "dogs-vs-cats.zip", "")
        assert self.found(both, out) == expected
        assert self.found(tmp_path / "kaggle", out) == expected
        pets = self.by_class(photographs, tmp_path / "microsoft" / "PetImages", ("Cat", "Dog"))
        (pets / "Cat" / "Thumbs.db").write_bytes(b"left behind")
        for hidden in (".cache", "__MACOSX"):
            (pets / hidden).mkdir()
            shutil.copy(photographs / "cat.0.jpg", pets / hidden)
        assert self.found(pets, out) == self.found(pets.parent, out) == {"cat": 41, "dog": 40}
        archive = self.zipped(tmp_path / "microsoft", tmp_path / "kagglecatsanddogs_5340.zip", "")
        assert self.found(archive, out) == {"cat": 41, "dog": 40}

    def test_files_come_by_class_and_number(self, photographs: Path, tmp_path: Path) -> None:
        found = find_photographs(photographs, tmp_path / "data")[1]
        names = [f"{label}.{number}.jpg" for label in ("cat", "dog") for number in range(40)]
        assert [photograph.path.name for photograph in found] == names

    def test_an_archive_is_unpacked_once_unless_it_changes(self, photographs: Path, tmp_path: Path) -> None:
        archive = self.zipped(photographs, tmp_path / "train.zip", "train/")
        first, again = (find_photographs(archive, tmp_path / "data")[0] for _ in range(2))
        os.utime(archive, (0, 0))
        assert first == again != find_photographs(archive, tmp_path / "data")[0]

    def test_of_several_archives_kaggles_whole_one_comes_first(
        self, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        unpacked: list[str] = []
        monkeypatch.setattr(
            dogs_vs_cats_files, "_unpacked", lambda file, data_dir: unpacked.append(file.name) or photographs
        )
        (tmp_path / "source").mkdir()
        for name in ("kagglecatsanddogs_5340.zip", "train.zip", "dogs-vs-cats.zip"):
            (tmp_path / "source" / name).touch()
            find_photographs(tmp_path / "source", tmp_path / "data")
        assert unpacked == ["kagglecatsanddogs_5340.zip", "train.zip", "dogs-vs-cats.zip"]

    def test_any_folder_of_classes(self, photographs: Path, tmp_path: Path, data) -> None:
        folder = self.by_class(photographs, tmp_path / "animals", ("horse", "zebra"))
        module = data(source=folder, class_names=["horse", "zebra"])
        assert (len(module.used), module.class_names) == (80, ["horse", "zebra"])
        with pytest.raises(UserError, match=r"Set 'datamodule.class_names=\[horse,zebra\]'"):
            data(source=folder)
        plural = self.by_class(photographs, tmp_path / "plural", ("cats", "dogs"))
        assert data(source=plural).class_of == {"cats": 0, "dogs": 1}

    def test_the_source_is_never_written_to(self, photographs: Path, data, tmp_path: Path) -> None:
        archive = self.zipped(photographs, photographs.parent / "train.zip", "train/")
        shutil.rmtree(photographs)
        before = {file: file.stat().st_mtime_ns for file in photographs.parent.rglob("*")}
        data(source=archive)
        assert {file: file.stat().st_mtime_ns for file in photographs.parent.rglob("*")} == before

    @pytest.mark.parametrize("name", ["../evil.jpg", "/evil.jpg", "train/../../evil.jpg", "C:/evil.jpg", "link.jpg"])
    def test_archives_that_reach_outside_are_refused(self, tmp_path: Path, name: str) -> None:
        with zipfile.ZipFile(tmp_path / "train.zip", "w") as packed:
            packed.writestr("train/cat.0.jpg", b"harmless")
            member = zipfile.ZipInfo(name)
            if name == "link.jpg":
                member.external_attr = (stat.S_IFLNK | 0o777) << 16
            packed.writestr(member, b"/etc/passwd")
        with pytest.raises(UserError, match="Nothing was unpacked"):
            find_photographs(str(tmp_path / "train.zip"), tmp_path / "data")
        assert not list(tmp_path.rglob("evil*"))
        assert not list(tmp_path.rglob("cat.0.jpg"))

    def test_a_broken_archive(self, tmp_path: Path) -> None:
        (tmp_path / "train.zip").write_bytes(b"PK but no more")
        with pytest.raises(UserError, match=r"no sound zip archive.*Fetch it again"):
            find_photographs(str(tmp_path / "train.zip"), tmp_path / "data")

    @pytest.mark.parametrize("what", ["missing", "nothing in it", "one class", "an empty class", "no dogs"])
    def test_sources_that_hold_nothing(self, photographs: Path, tmp_path: Path, what: str) -> None:
        source = tmp_path / "source"
        words = {"missing": "no such folder", "nothing in it": "three ways", "one class": "holds no photographs"}
        if what == "nothing in it":
            source.mkdir()
        elif what == "an empty class":
            self.by_class(photographs, source, ("cat", "dog"))
            shutil.rmtree(source / "dog")
            (source / "dog").mkdir()
        elif what == "one class":
            self.by_class(photographs, source, ("cat", "dog"))
            shutil.rmtree(source / "dog")
        elif what == "no dogs":
            source = photographs
            for file in photographs.glob("dog*"):
                file.unlink()
        with pytest.raises(UserError, match=words.get(what, "has no")) as error:
            find_photographs(str(source), tmp_path / "data")
        assert "datamodule.source" in str(error.value)
        assert str(source) in str(error.value)

    def test_nothing_there_and_no_network(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dogs_vs_cats_files, "MICROSOFT", "http://127.0.0.1:9/microsoft.com.zip")  # nobody listens
        monkeypatch.setitem(sys.modules, "kagglehub", None)
        with pytest.raises(ExperimentError) as error:
            find_photographs(None, tmp_path)
        for words in ("Kaggle", "microsoft.com", "Connection refused", "three ways", "DOGS_VS_CATS", str(tmp_path)):
            assert words in str(error.value)

    def test_microsofts_archive_is_downloaded_once(self, photographs, tmp_path, monkeypatch, web: Web) -> None:
        pets = self.by_class(photographs, tmp_path / "microsoft" / "PetImages", ("Cat", "Dog"))
        content = self.zipped(pets.parent, tmp_path / "source.zip", "").read_bytes()
        web.files["/pets.zip"] = content
        monkeypatch.setattr(dogs_vs_cats_files, "MICROSOFT", f"{web.address}/pets.zip")
        monkeypatch.setattr(dogs_vs_cats_files, "MICROSOFT_SHA256", hashlib.sha256(content).hexdigest())
        monkeypatch.setitem(sys.modules, "kagglehub", None)
        own = tmp_path / "data" / "dogs_vs_cats"
        own.mkdir(parents=True)
        (own / "kagglecatsanddogs_5340.zip.part").write_bytes(content[:1000])
        assert len(find_photographs(None, tmp_path / "data")[1]) == 80
        assert len(find_photographs(None, tmp_path / "data")[1]) == 80
        assert web.asked == [("/pets.zip", "bytes=1000-")]
        shutil.rmtree(own)
        monkeypatch.setattr(dogs_vs_cats_files, "MICROSOFT_SHA256", "0" * 64)
        with pytest.raises(ExperimentError, match="does not match"):
            find_photographs(None, tmp_path / "data")
        assert not list(own.glob("kaggle*"))


class TestSplits:
    def test_stratified_and_written_down(self, photographs: Path, data) -> None:
        module = data(test_size=20, validation_size=0.25, seed=3)
        sizes = {part: len(indices) for part, indices in module.split().items()}
        assert sizes == {"training": 40, "validation": 20, "test": 20}
        for part in PARTS:
            assert module.class_counts(part) == [sizes[part] // 2] * 2
        manifest = list(csv.DictReader(io.StringIO(dict(module.records())["split.csv"])))
        assert len({row["file"] for row in manifest}) == 80
        by_part = {part: [row["file"] for row in manifest if row["used for"] == part] for part in sizes}
        assert {part: len(files) for part, files in by_part.items()} == sizes
        assert all(row["file"].startswith(row["class"]) for row in manifest)
        again = data(test_size=20, validation_size=0.25, seed=3)
        assert dict(again.records()) == dict(module.records())
        other = data(test_size=20, validation_size=0.25, seed=4)
        assert dict(other.records()) != dict(module.records())

    def test_a_limit_takes_training_images_alone(self, photographs: Path, data) -> None:
        whole, limited = data(), data(limit=20)
        assert limited.class_counts("training") == [10, 10]
        for part in ("validation", "test"):
            assert np.array_equal(whole.split()[part], limited.split()[part])
        assert set(limited.split()["training"]) <= set(whole.split()["training"])

    def test_nothing_left_to_train_on(self, photographs: Path, data) -> None:
        module = data(test_size=70, validation_size=8)
        assert module.class_counts("training") == [1, 1]
        with pytest.raises(UserError, match=r"datamodule\.test_size=71, .*: of 80 photographs nothing is left"):
            data(test_size=71, validation_size=8)


class TestAugmentation:
    EVERYTHING = Augmentation(crop_area=(0.3, 1.0), shift=0.1, scale=0.1, rotation=10, colour_jitter=0.2)

    def images(self, module: DogsVsCats, workers: int, epoch: int) -> torch.Tensor:
        module.num_workers = workers
        return torch.cat([images for images, _ in module.loader("training", epoch)])

    def test_the_same_for_any_number_of_workers_and_new_each_epoch(self, data) -> None:
        module = data(augmentation=self.EVERYTHING, batch_size=8)
        alone = self.images(module, 0, epoch=0)
        assert alone.shape == (64, 3, 32, 32)
        assert torch.equal(alone, self.images(module, 2, epoch=0))
        assert torch.equal(alone, self.images(data(augmentation=self.EVERYTHING, batch_size=8), 3, epoch=0))
        assert not torch.equal(alone.sort(0)[0], self.images(module, 0, epoch=1).sort(0)[0])
        other = data(augmentation=self.EVERYTHING, batch_size=8, seed=7)
        assert not torch.equal(alone, self.images(other, 0, epoch=0))

    @pytest.mark.parametrize("area", [0.2, 0.4, 0.7, 1.0])
    def test_crops_are_enlarged_without_blocks(self, area: float) -> None:
        ramp = np.linspace(0, 255, 80).astype(np.uint8)[:, None, None].repeat(80, 1).repeat(3, 2)
        augmentation = Augmentation(crop_area=(area, area), crop_ratio=(1.0, 1.0), flip=0.0)
        column = Augment(augmentation, 70)(ramp[None], (1,))[0, :, 0, 0].astype(float)
        step = 255 / 79 * np.sqrt(area) * 80 / 70  # from a pixel to the next
        assert np.abs(np.diff(column)[2:-2] - step).max() < 1.5

    def test_each_change_has_the_amount_that_is_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NO_ALBUMENTATIONS_UPDATE", "")
        monkeypatch.delenv("NO_ALBUMENTATIONS_UPDATE")
        augmentation = Augmentation(
            (0.3, 1.0), (0.5, 2.0), flip=0.25, shift=0.1, scale=0.2, rotation=10, colour_jitter=0.3
        )
        steps = {type(step).__name__: step.get_transform_init_args() for step in augmentation.pipeline(32).transforms}
        assert os.environ["NO_ALBUMENTATIONS_UPDATE"] == "1"  # or its import would look for a new version
        assert list(steps) == ["Affine", "RandomResizedCrop", "HorizontalFlip", "ColorJitter"]
        wanted = {
            "Affine": {
                "p": 1,
                "rotate": (-10, 10),
                "scale": {"x": (0.8, 1.2), "y": (0.8, 1.2)},
                "translate_percent": {"x": (-0.1, 0.1), "y": (-0.1, 0.1)},
                "border_mode": cv2.BORDER_REFLECT_101,
            },
            "RandomResizedCrop": {
                "p": 1,
                "size": (32, 32),
                "scale": (0.3, 1.0),
                "ratio": (0.5, 2.0),
                "interpolation": cv2.INTER_LINEAR,
                "area_for_downscale": "image",
            },
            "HorizontalFlip": {"p": 0.25},
            "ColorJitter": {
                "p": 1,
                "brightness": (0.7, 1.3),
                "contrast": (0.7, 1.3),
                "saturation": (0.7, 1.3),
                "hue": (0, 0),
            },
        }
        for name, amounts in wanted.items():
            assert {key: steps[name][key] for key in amounts} == amounts
        (crop,) = Augmentation(flip=0, lighting=0).pipeline(32).transforms
        assert (type(crop).__name__, crop.height, crop.width, crop.p) == ("RandomCrop", 32, 32, 1)
        for only in ({"shift": 0.1}, {"scale": 0.1}, {"rotation": 1}):
            assert type(Augmentation(**only).pipeline(32).transforms[0]).__name__ == "Affine"

    def test_no_two_batches_change_alike(self, data) -> None:
        module = data()
        training = module.images_of("training")
        training.rows[:] = training.rows[0]  # the same photograph throughout
        images = self.images(module, 2, epoch=0)
        assert len(images.flatten(1).unique(dim=0)) > 20

    def test_alternating_flips(self, data) -> None:
        """Each image is a mirror image in every other epoch, half of them in the first, by any number of processes."""
        alternating = Augmentation(flip="alternating", lighting=0)
        module = data(augmentation=alternating, resizing=Resizing(size=32), batch_size=5)
        plain = data(augmentation=Augmentation(flip=0, lighting=0), resizing=Resizing(size=32), batch_size=5)
        flips = []
        for epoch, workers in enumerate((0, 2, 1)):
            pairs = zip(self.images(module, workers, epoch), self.images(plain, 0, epoch), strict=True)
            are_flipped = [not torch.equal(image, original) for image, original in pairs]
            pairs = zip(self.images(module, workers, epoch), self.images(plain, 0, epoch), are_flipped, strict=True)
            assert all(torch.equal(image, original.flip(-1)) for image, original, flipped in pairs if flipped)
            order = torch.cat([draw.indices for draw in module.loader("training", epoch).sampler])
            flips.append(torch.tensor(are_flipped)[order.argsort()])
        assert torch.equal(flips[0], ~flips[1])
        assert torch.equal(flips[0], flips[2])
        assert 16 < flips[0].sum() < 48
        other = data(augmentation=alternating, resizing=Resizing(size=32), seed=7)
        assert not np.array_equal(other.images_of("training").flipped, module.images_of("training").flipped)

    def test_trivial_augment(self, data) -> None:
        """Most images change, after all else, and no global random numbers are drawn, for any number of workers."""
        module, plain = (
            data(augmentation=Augmentation(trivial_augment=trivial, lighting=0), batch_size=8)
            for trivial in (True, False)
        )
        state = torch.random.get_rng_state()
        images, unchanged = self.images(module, 0, epoch=0), self.images(plain, 0, epoch=0)
        assert torch.equal(torch.random.get_rng_state(), state)
        assert images.dtype == torch.uint8
        assert images.shape == unchanged.shape
        changes = [not torch.equal(image, before) for image, before in zip(images, unchanged, strict=True)]
        assert 32 < sum(changes) < 64  # "none" is one of the 14, and others change little
        assert torch.equal(images, self.images(module, 2, epoch=0))
        assert not torch.equal(images.sort(0)[0], self.images(module, 0, epoch=1).sort(0)[0])

    def test_where_nothing_changes_images_are_as_in_the_cache(self, data) -> None:
        module = data(augmentation=Augmentation(flip=0), resizing=Resizing(size=32))
        training = module.images_of("training")
        draw = next(iter(module.loader("training").sampler))
        images, labels = training[draw]
        expected = torch.from_numpy(module.cache[training.rows[draw.indices.numpy()]]).permute(0, 3, 1, 2)
        assert torch.equal(images, expected)
        assert torch.equal(labels, training.labels[draw.indices])

    def test_lighting_is_the_papers(self) -> None:
        generator = np.random.default_rng(0)
        colours = generator.multivariate_normal([0.5, 0.4, 0.3], np.diag([0.04, 0.01, 0.0025]), 100_000)
        products = colours.T @ colours / len(colours)
        components = principal_components(np.concatenate([colours.mean(0), products[np.triu_indices(3)]]))
        lengths = components.norm(dim=0).sort()[0]
        assert lengths.tolist() == pytest.approx([0.0025, 0.01, 0.04], rel=0.03)  # eigenvalues
        torch.manual_seed(0)
        images = torch.full((20_000, 3, 2, 2), 0.5)
        change = light(images, components, std=0.1) - 0.5
        assert torch.equal(change[:, :, 0, 0], change[:, :, 1, 1])  # the same for each pixel of an image
        stds = change[:, :, 0, 0].std(0)
        assert stds.tolist() == pytest.approx([0.004, 0.001, 0.00025], rel=0.05)

    def test_lighting_is_of_the_training_photographs(self, data) -> None:
        """Their components, side by side and squared, are the square of their colours' covariance."""
        module = data(test_size=40)
        rows = [module.used[place].row for place in module.split()["training"]]
        pixels = module.cache[np.array(rows)][:, ::2, ::2].reshape(-1, 3) / 255
        covariance = torch.from_numpy(np.cov(pixels.T, bias=True)).float()
        torch.testing.assert_close(module.components @ module.components.T, covariance @ covariance)

    def test_views_of_the_test(self, data) -> None:
        module = data(resizing=Resizing(size=40))
        images = torch.arange(40 * 40, dtype=torch.float32).view(1, 1, 40, 40).expand(2, 3, 40, 40)
        assert torch.equal(module.crops(images, 1), images[..., 4:36, 4:36])
        two, ten = module.crops(images, 2), module.crops(images, 10)
        assert two.shape == (2, 2, 3, 32, 32)
        assert torch.equal(two[:, 1], two[:, 0].flip(-1))
        assert ten.shape == (2, 10, 3, 32, 32)
        for place, (top, left) in enumerate([(4, 4), (0, 0), (0, 8), (8, 0), (8, 8)]):
            assert torch.equal(ten[:, place], images[..., top : top + 32, left : left + 32])
        assert torch.equal(ten[:, 5:], ten[:, :5].flip(-1))
        stored = module.some_images("test", 3)
        views = module.test_views(stored)
        assert views.shape == (3, 10, 3, 32, 32)
        assert torch.equal(views[:, 0], module.network_input(stored, "test"))
        assert data(test_crops=1).test_views(stored).shape == (3, 3, 32, 32)

    def test_samples_before_and_after(self, data) -> None:
        module = data()
        state = torch.get_rng_state()
        samples = module.samples(6)
        assert {name: tuple(images.shape) for name, images in samples.items()} == {
            "before": (6, 3, 32, 32),
            "after": (6, 3, 32, 32),
        }
        assert not torch.equal(samples["before"], samples["after"])
        stored = module.images_of("training")[Draw(torch.arange(0, 60, 10))][0]  # from all over the 64
        assert torch.equal(samples["before"], module.crops(stored, 1) / 255)
        assert all(images.min() >= 0 and images.max() <= 1 for images in samples.values())
        assert torch.equal(state, torch.get_rng_state())


class TestNetworkInput:
    """Batches of photographs as any training loop can use them."""

    @pytest.mark.parametrize("part", ["training", "validation", "test"])
    def test_batches_are_floats_as_the_network_gets_them(self, data, part: Part) -> None:
        module = data(batch_size=16)
        batches = list(module.batches(part))
        images, labels = (torch.cat(tensors) for tensors in zip(*batches, strict=True))
        assert images.shape == (len(module.images_of(part)), *module.input_shape)
        assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
        assert sorted(labels.tolist()) == sorted(module.images_of(part).labels.tolist())
        assert -3 < images.min() < 0 < images.max() < 3

    def test_evaluation_takes_the_middle(self, data) -> None:
        module = data()
        images, labels = next(module.batches("test"))
        stored, expected = module.images_of("test")[Draw(torch.arange(len(labels)))]
        margin = (stored.shape[-1] - 32) // 2
        middle = stored[..., margin : margin + 32, margin : margin + 32] / 255
        torch.testing.assert_close(images, (middle - module.mean) / module.std)
        assert torch.equal(labels, expected)

    def test_training_batches_repeat_by_epoch_and_leave_the_random_state_alone(self, data) -> None:
        states = torch.get_rng_state(), np.random.get_state()[1].copy()
        module = data(batch_size=16)
        first, second = (torch.cat([images for images, _ in module.batches("training")]) for _ in range(2))
        assert not torch.equal(first, second)
        other = data(batch_size=16, num_workers=2)
        for epoch, expected in enumerate((first, second)):
            again = torch.cat([images for images, _ in other.batches("training", epoch=epoch)])
            assert torch.equal(again, expected)
        assert torch.equal(states[0], torch.get_rng_state())
        assert np.array_equal(states[1], np.random.get_state()[1])

    def test_lighting_alone_is_random_on_the_device(self, data) -> None:
        images = torch.full((4, 3, 32, 32), 128, dtype=torch.uint8)
        lit = data().network_input(images, "training", torch.Generator().manual_seed(1))
        assert torch.equal(lit, data().network_input(images, "training", torch.Generator().manual_seed(1)))
        assert lit[:, 0, 0, 0].unique().numel() == 4
        dark = data(augmentation=Augmentation(lighting=0))
        assert torch.equal(dark.network_input(images, "training"), dark.network_input(images, "test"))

    def test_an_image_file_becomes_what_the_cache_has(self, photographs: Path, data) -> None:
        module = data()
        entry = module.used[5]
        expected = torch.from_numpy(module.cache[np.array([entry.row])][0]).permute(2, 0, 1)
        assert torch.equal(module.read_image(photographs / entry.file), expected)


class TestFingerprint:
    def test_it_depends_on_the_files_that_are_used_alone(self, photographs: Path, data, tmp_path: Path) -> None:
        fingerprint = data().fingerprint()
        elsewhere = shutil.copytree(photographs, tmp_path / "elsewhere" / "train")
        assert data(source=elsewhere.parent, seed=3, resizing=Resizing(size=40)).fingerprint() == fingerprint
        (elsewhere / "dog.104.jpg").write_bytes(b"")
        assert data(source=elsewhere).fingerprint() == fingerprint
        assert data(source=elsewhere, largest_side=64).fingerprint() != fingerprint
        (elsewhere / "dog.1.jpg").unlink()
        assert data(source=elsewhere).fingerprint() != fingerprint


class TestSettings:
    def test_everything_has_a_default(self, photographs: Path, tmp_path: Path) -> None:
        data = DogsVsCats()
        assert (data.source, data.data_dir) == (str(photographs), tmp_path / "data")
        assert (data.input_shape, data.num_classes, data.class_names) == ((3, 224, 224), 2, ["cat", "dog"])
        assert data.resizing == Resizing("shorter_side", 256, "area")

    def test_resizing_smaller_than_the_network(self) -> None:
        with pytest.raises(ValueError, match=r"resizing\.size=100 .* 224 pixels"):
            DogsVsCats(resizing=Resizing(size=100))

    def test_what_is_set_aside_is_summed_up(self, photographs: Path, data) -> None:
        assert data().set_aside_summary() == []
        for number in (77, 78):
            (photographs / f"cat.{number}.jpg").write_bytes(b"")
        shutil.copy(photographs / "dog.0.jpg", photographs / "dog.79.jpg")
        assert data().set_aside_summary() == [("empty", 2, "cat.77.jpg"), ("duplicate", 1, "dog.79.jpg")]


class TestCommands:
    def test_train_test_and_predict(self, run_command, photographs: Path, tmp_path: Path) -> None:
        outcome = run_command(
            "train", *SMALL_ALEXNET, *QUICK_PHOTOGRAPHS, "hydra.run.dir=run", "trainer.max_epochs=8", *FAST
        )
        assert outcome.status == 0, outcome.error
        run = tmp_path / "run"
        metrics = json.loads((run / "metrics.json").read_text())
        assert (metrics["status"], metrics["model"], metrics["datamodule"]) == ("completed", "alexnet", "dogs_vs_cats")
        assert metrics["test/accuracy"] > 0.8  # red against blue
        assert {"split.csv", "set_aside.csv"} <= {file.name for file in run.iterdir()}
        again = run_command("test", "run=run")
        assert f"test/accuracy {metrics['test/accuracy']}" in again.out

        (photographs / "notes.txt").write_text("no picture")
        outcome = run_command("predict", "run=run", f"images={photographs}", "hydra.run.dir=predicted")
        assert outcome.status == 0, outcome.error
        assert "1 of 81 files could not be read" in outcome.out
        with (tmp_path / "predicted" / "predictions.csv").open() as stream:
            rows = list(csv.DictReader(stream))
        right = [row for row in rows if row["class"] and Path(row["file"]).name.startswith(row["class"])]
        assert len(rows) == 81
        assert len(right) > 60
        for row in rows:
            if row["class"]:
                shares = [float(row[f"probability of {name}"]) for name in ("cat", "dog")]
                assert sum(shares) == pytest.approx(1, abs=1e-5)
                assert float(row["probability"]) == max(shares)
        one = run_command("predict", "run=run", f"images={photographs}/cat.1?.jpg")
        assert one.out.count("cat.1") == 10

    def test_predict_refuses(self, run_command, photographs: Path, alexnet_run: Path, tmp_path: Path) -> None:
        (tmp_path / "broken").mkdir()
        (tmp_path / "broken" / "a.jpg").write_bytes(b"")
        for arguments, words in {
            ("run=run",): "images: give a file",
            ("run=run", "images=nowhere"): "images=nowhere: there are no such files",
            ("run=run", "images=broken"): "images=broken: none of these files",
            ("run=nowhere", f"images={photographs}"): "run=nowhere",
        }.items():
            outcome = run_command("predict", *arguments)
            assert outcome.status == 2
            assert words in outcome.error

    @pytest.mark.parametrize("model", ["alexnet", "googlenet"])
    @pytest.mark.slow
    def test_these_networks_train_on_digits_too(self, run_command, digits: Path, tmp_path: Path, model: str) -> None:
        small = {"alexnet": SMALL_ALEXNET[2:], "googlenet": ("model.auxiliary=false",)}[model]
        outcome = run_command(
            "train",
            f"model={model}",
            "datamodule=mnist",
            "model.input_size=64",
            *small,
            "datamodule.validation_size=20",
            "datamodule.limit=20",
            "trainer.max_epochs=1",
            "trainer.gpus=0",
        )
        assert outcome.status == 0, outcome.error

    @pytest.mark.slow
    def test_googlenet_with_auxiliary_heads_resumes_exactly(self, run_command, photographs: Path, tmp_path) -> None:
        settings = ("model=googlenet", "model.input_size=80", *QUICK_PHOTOGRAPHS, "datamodule.limit=16")
        assert run_command("train", *settings, "hydra.run.dir=whole").status == 0
        command = [sys.executable, "-m", "cnn_experiments.commands.train", *settings, "hydra.run.dir=parts"]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch 1/"):
                process.send_signal(2)
                break
        process.communicate()
        if process.returncode == 0:
            pytest.skip("it was done before it could be interrupted")
        assert process.returncode == 130
        assert run_command("train", "resume=parts").status == 0
        first, second = (
            torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
            for name in ("whole", "parts")
        )
        assert all(torch.equal(first[key], second[key]) for key in first)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["model=lenet5"], ["output=rbf", "output=linear"]),
            (["model=alexnet", "model.input_size=40"], ["model: input_size=40 is too small"]),
            (["model=googlenet", "model.input_size=64"], ["model: input_size=64", "auxiliary=false"]),
            (["model=alexnet", "model.groups=3"], ["model.groups=3"]),
            (["model=alexnet", "model.maps=[1,2]"], ["model.maps"]),
            (["model=alexnet", "datamodule.resizing.size=100"], ["resizing.size=100", "224"]),
            (["model=alexnet", "datamodule.resizing.method=crop"], ["datamodule.resizing.method=crop", "canvas"]),
            (["model=alexnet", "datamodule.augmentation.flip=2"], ["datamodule.augmentation.flip=2"]),
            (["model=alexnet", "datamodule.augmentation.flip=always"], ["flip=always", "'alternating'"]),
            (["model=alexnet", "datamodule.test_crops=5"], ["datamodule.test_crops=5"]),
            (["model=alexnet", "datamodule.source=/nowhere"], ["datamodule.source=/nowhere"]),
            (["model=alexnet", "datamodule.test_size=1.5"], ["datamodule.test_size=1.5"]),
            ([*SMALL_ALEXNET, "datamodule.test_size=0.005"], ["datamodule: there is no test image. Give it some"]),
        ],
    )
    def test_train_refuses(self, run_command, photographs: Path, tmp_path: Path, arguments, words) -> None:
        outcome = run_command("train", "datamodule=dogs_vs_cats", *arguments)
        assert outcome.status == 2, outcome.error
        assert "Traceback" not in outcome.error
        for word in words:
            assert word in outcome.error
        assert not list(tmp_path.glob("outputs/*/*"))

    def test_a_folder_of_broken_files(self, run_command, photographs: Path, tmp_path: Path) -> None:
        for file in photographs.iterdir():
            file.write_bytes(file.read_bytes()[:50])
        outcome = run_command("train", "model=alexnet", *QUICK_PHOTOGRAPHS)
        assert outcome.status == 2
        assert "none of the 80 files" in outcome.error

    def test_data_reports_and_draws(self, run_command, photographs: Path, tmp_path: Path) -> None:
        (photographs / "cat.77.jpg").write_bytes(b"")
        outcome = run_command("data", "datamodule=dogs_vs_cats", "model.input_size=32", "hydra.run.dir=report")
        assert outcome.status == 2  # there is no model to have an input size
        outcome = run_command("data", "datamodule=dogs_vs_cats", "hydra.run.dir=report")
        assert outcome.status == 0, outcome.error
        for words in ("training", "validation", "test", "64", "set aside", "empty", "cat.77.jpg"):
            assert words in outcome.out
        report = {file.name for file in (tmp_path / "report").iterdir()}
        pictures = {"counts.png", "sizes.png", "samples.png", "set_aside.png"}
        assert pictures | {"split.csv", "set_aside.csv"} <= report
        for picture in pictures:
            assert np.asarray(Image.open(tmp_path / "report" / picture)).std() > 5


@pytest.mark.slow
def test_albumentations_is_imported_for_training_alone_and_asks_nobody(photographs: Path) -> None:
    code = (
        "import os, sys\n"
        "from cnn_experiments.datamodules.dogs_vs_cats import DogsVsCats\n"
        "data = DogsVsCats(image_size=32)\n"
        "data.setup('test')\n"
        "print('albumentations' in sys.modules, 'matplotlib' in sys.modules, 'torchvision' in sys.modules)\n"
        "data.setup('training')\n"
        "print('albumentations' in sys.modules, os.environ['NO_ALBUMENTATIONS_UPDATE'])\n"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.stdout.split() == ["False", "False", "False", "True", "1"], process.stderr
