"""What a run trained on, and what it is tested on, stays what it was, whatever becomes of the folder."""

import csv
import hashlib
import logging
import re
import shutil
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from cnn_experiments.datamodules.base import PARTS, Part
from cnn_experiments.datamodules.dogs_vs_cats import DogsVsCats
from cnn_experiments.datamodules.image_cache import Entry, ImageCache
from cnn_experiments.datamodules.mnist import MNIST
from cnn_experiments.datamodules.recorded_split import RecordedSplit, fingerprint
from cnn_experiments.errors import UserError
from cnn_experiments.evaluation.run import open_run


def new(**settings: Any) -> DogsVsCats:
    return DogsVsCats(**{"image_size": 32, "num_workers": 0, "test_size": 20, "validation_size": 10, **settings})


@pytest.fixture
def run(photographs: Path, tmp_path: Path) -> Path:
    """A directory with the records of a run on the photographs for the tests."""
    directory = tmp_path / "run"
    directory.mkdir()
    new().write_records(directory)
    return directory


@pytest.fixture
def followed(run: Path) -> Callable[..., DogsVsCats]:
    """The data set, set up to follow that run."""

    def follow(every: bool = False, **settings: Any) -> DogsVsCats:
        data = new(**settings)
        data.follow(run, every)
        data.setup()
        return data

    return follow


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "split.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def used_for(run: Path, part: str) -> list[str]:
    """The files that the record names for a part."""
    return [row["file"] for row in rows(run) if row["used for"] == part]


def files_of(data: DogsVsCats, part: Part) -> list[str]:
    return [data.used[index].file for index in data.split()[part]]


class TestNothingChanged:
    @pytest.mark.parametrize("settings", [{}, {"limit": 20}, {"seed": 7}])
    def test_everything_is_as_without_a_record(self, photographs: Path, tmp_path: Path, settings) -> None:
        plain, data = new(**settings), new(**settings)
        plain.write_records(tmp_path)
        data.follow(tmp_path, every=True)
        for part in PARTS:
            assert files_of(data, part) == files_of(plain, part)
            for (images, labels), (expected, classes) in zip(data.batches(part), plain.batches(part), strict=True):
                assert torch.equal(images, expected)
                assert torch.equal(labels, classes)
        assert data.fingerprint() == plain.fingerprint()
        assert dict(data.records()) == dict(plain.records())

    def test_following_begins_anew(self, run: Path, photographs: Path) -> None:
        data = new(seed=3)
        data.setup()
        other = files_of(data, "test"), data.components
        data.follow(run)
        assert sorted(files_of(data, "test")) == sorted(used_for(run, "test")) != sorted(other[0])
        assert not torch.equal(data.components, other[1])

    def test_other_data_sets_have_no_such_records(self, digits: Path, run: Path) -> None:
        data = MNIST(data_dir=digits, validation_size=50)
        data.follow(run, every=True)
        assert len(data.images_of("test")) == 100

    def test_a_run_without_a_record(self, photographs: Path, tmp_path: Path, caplog) -> None:
        data = new()
        data.follow(tmp_path)
        assert not caplog.text
        assert len(files_of(data, "test")) == 20
        assert "split.csv: there is no such file, so the photographs are split anew" in caplog.text


class TestMissing:
    @pytest.mark.parametrize("number", [1, 6])
    def test_no_image_changes_its_part(self, run: Path, photographs: Path, followed, caplog, number: int) -> None:
        for name in used_for(run, "training")[:number]:
            (photographs / name).unlink()
        anew = new()
        anew.setup()
        assert set(files_of(anew, "test")) & set(used_for(run, "training"))  # the finding: tested on what it had learnt
        with caplog.at_level(logging.WARNING):
            data = followed()
        assert not caplog.records
        assert set(files_of(data, "test")) == set(used_for(run, "test"))
        assert set(files_of(data, "training")) < set(used_for(run, "training"))

    def test_the_order_of_those_that_are_left(self, run: Path, photographs: Path, followed) -> None:
        whole = files_of(followed(), "test")
        gone = {whole[3], whole[11]}
        for name in gone:
            (photographs / name).unlink()
        data = followed()
        assert files_of(data, "test") == [name for name in whole if name not in gone]
        expected = [data.class_of[name[:3]] for name in whole if name not in gone]
        assert data.images_of("test").labels.tolist() == expected

    def test_missing_test_images_are_said(self, run: Path, photographs: Path, followed, caplog) -> None:
        gone = used_for(run, "test")[2:5]
        for name in gone:
            (photographs / name).unlink()
        followed()
        assert f"3 of the 20 test photographs of {run} are missing" in caplog.text
        assert f"the first is {gone[0]}. Only the 17 that are left are used" in caplog.text

    def test_a_changed_image_is_another(self, run: Path, photographs: Path, followed, caplog) -> None:
        name = used_for(run, "test")[0]
        Image.effect_noise((60, 60), 80).convert("RGB").save(photographs / name)
        assert name not in files_of(followed(), "test")
        assert "1 of the 20 test photographs" in caplog.text

    def test_none_left(self, run: Path, photographs: Path, followed) -> None:
        for name in used_for(run, "test"):
            (photographs / name).unlink()
        with pytest.raises(UserError, match=r"datamodule\.source: 20 of the 20 test photographs"):
            followed()

    @pytest.mark.parametrize("part", PARTS)
    def test_resuming_needs_every_image(self, run: Path, photographs: Path, followed, part: str) -> None:
        name = used_for(run, part)[0]
        (photographs / name).unlink()
        with pytest.raises(UserError, match=rf"1 of the 80 photographs .* the first is {re.escape(name)}"):
            followed(every=True)


class TestMoved:
    def test_new_files_are_not_used(self, run: Path, photographs: Path, followed) -> None:
        recorded = followed()
        for number in range(5):
            Image.effect_noise((60, 60), 90).convert("RGB").save(photographs / f"cat.00{number}.png")
        Image.open(photographs / "dog.7.jpg").save(photographs / "dog.0.png")  # the same picture under an earlier name
        data = followed(every=True)
        assert all(files_of(data, part) == files_of(recorded, part) for part in PARTS)
        assert data.fingerprint() == recorded.fingerprint() != new().fingerprint()

    @pytest.mark.parametrize("names", [("cat", "dog"), ("Cats", "Dogs")])
    def test_another_layout(self, run: Path, photographs: Path, tmp_path: Path, followed, names) -> None:
        kaggle = followed()
        for label, name in zip(("cat", "dog"), names, strict=True):
            (tmp_path / "moved" / name).mkdir(parents=True)
            for file in photographs.glob(f"{label}.*"):
                shutil.copy(file, tmp_path / "moved" / name / f"{100 - int(file.name.split('.')[1])}.jpg")
        moved = followed(every=True, source=tmp_path / "moved")
        for part in PARTS:
            ours, theirs = (next(data.batches(part, epoch=0)) for data in (moved, kaggle))
            assert torch.equal(ours[0], theirs[0])
            assert torch.equal(ours[1], theirs[1])
        assert moved.fingerprint() == kaggle.fingerprint()

    def test_an_image_that_changed_its_class(self, run: Path, photographs: Path, followed, caplog) -> None:
        name = next(name for name in used_for(run, "test") if name.startswith("cat"))
        (photographs / name).rename(photographs / "dog.99.jpg")
        data = followed()
        assert len(files_of(data, "test")) == 19
        assert name in caplog.text

    def test_an_early_record_goes_by_names(self, run: Path, photographs: Path, followed) -> None:
        expected = files_of(followed(), "test")
        lines = (run / "split.csv").read_text().splitlines()
        (run / "split.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines) + "\n")
        (photographs / expected[0]).unlink()
        data = followed()
        assert files_of(data, "test") == expected[1:]
        assert rows(run)[0].keys() == {"file", "class", "used for"}

    def test_an_early_record_in_another_spelling(self, tmp_path: Path) -> None:
        composed, decomposed = (unicodedata.normalize(form, "café.jpg") for form in ("NFC", "NFD"))
        for then, now in ((composed, decomposed), (decomposed, composed)):
            (tmp_path / "split.csv").write_text(f"file,class,used for\n{then},cat,training\n", encoding="utf-8")
            entry = Entry(now, "cat", row=0, content="c0", pixels="p0")
            found = RecordedSplit(tmp_path / "split.csv", every=True).find([entry], {"cat": 0}.get)
            assert found == [replace(entry, file=then)]

    def test_the_fingerprint_of_names_classes_and_contents(self) -> None:
        """Runs on the same photographs are known by it, so it must not change."""
        entries = [Entry(unicodedata.normalize("NFD", "é.jpg"), "cat", content="c0"), Entry("b", "dog", content="c1")]
        digest = hashlib.sha256("\u00e9.jpg\0cat\0c0\nb\0dog\0c1\n".encode()).hexdigest()
        assert fingerprint(entries) == digest


class TestReceived:
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "does not say how"),
            (b"\xff\xfe\x00", "UTF-8"),
            (b"file,class\na,b\n", "its columns are not file, class, used for, content"),
            (b"file,class,used for,content\ncat.0.jpg,cat,test\n", "its columns are not"),
            (b'file,class,used for,content\n"cat.0.jpg', "does not say how"),
            (b"file,class,used for,content\ncat.0.jpg,cat,exam,00\n", "'exam'.*none of training, validation, test"),
            (b"file,class,used for,content\na,cat,test,1\n", "no photograph is used for training"),
            (b"file,class,used for\na,cat,test\na,cat,training\n", "named twice"),
            (b"file,class,used for,content\na,cat,test,1\nb,cat,training,1\n", "named twice"),
            (b"file,class,used for\n" + b"a" * 200_000 + b",cat,test\n", "field larger than field limit"),
        ],
    )
    def test_a_damaged_record(self, run: Path, followed, content: bytes, words: str) -> None:
        (run / "split.csv").write_bytes(content)
        with pytest.raises(UserError, match=words) as error:
            followed()
        assert str(run / "split.csv") in str(error.value)

    def test_image_files_can_be_read_all_the_same(self, run: Path, photographs: Path) -> None:
        (run / "split.csv").write_bytes(b"\x00")
        data = new()
        data.follow(run)
        assert data.read_image(photographs / "cat.0.jpg").shape == (3, 37, 37)

    def test_a_record_of_something_else(self, run: Path, followed) -> None:
        (run / "split.csv").write_text("file,class,used for,content\nx.jpg,horse,test,00\ny.jpg,zebra,training,01\n")
        with pytest.raises(UserError, match="1 of the 1 training photographs"):
            followed()


class TestCommands:
    def test_a_run_is_never_tested_on_what_it_trained_on(
        self, run_command, photographs: Path, alexnet_run: Path, tmp_path: Path
    ) -> None:
        run = tmp_path / "run"
        tested = sorted(used_for(run, "test"))
        (photographs / used_for(run, "training")[0]).unlink()
        same = run_command("test", "run=run")
        assert same.status == 0, same.error
        data = open_run(run).data
        assert isinstance(data, DogsVsCats)
        assert sorted(files_of(data, "test")) == tested
        (photographs / tested[0]).unlink()
        fewer = run_command("test", "run=run")
        assert fewer.status == 0
        assert f"the first is {tested[0]}. Only the {len(tested) - 1} that are left are used" in fewer.out + fewer.error

    @pytest.mark.parametrize("change", ["missing", "added"])
    def test_resuming(self, run_command, photographs: Path, alexnet_run: Path, tmp_path: Path, change: str) -> None:
        metrics = tmp_path / "run" / "metrics.json"
        metrics.write_text(metrics.read_text().replace('"completed"', '"interrupted"'))
        record = (tmp_path / "run" / "split.csv").read_bytes()
        name = used_for(tmp_path / "run", "training")[0]
        if change == "missing":
            (photographs / name).unlink()
        else:
            Image.effect_noise((60, 60), 80).convert("RGB").save(photographs / "cat.00.png")
        outcome = run_command("train", "resume=run")
        assert (tmp_path / "run" / "split.csv").read_bytes() == record
        assert outcome.status == (2 if change == "missing" else 0), outcome.error
        assert (f"the first is {name}" in " ".join(outcome.error.split())) == (change == "missing")

    def test_the_index_is_read_once(
        self, run_command, photographs: Path, alexnet_run: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read: list[ImageCache] = []
        entries = ImageCache.entries
        monkeypatch.setattr(ImageCache, "entries", lambda cache: read.append(cache) or entries(cache))
        assert run_command("test", "run=run").status == 0
        assert len(read) == 1

    def test_a_data_set_that_was_given_follows_too(
        self, run_command, photographs: Path, alexnet_run: Path, tmp_path: Path
    ) -> None:
        given = new(image_size=64, seed=5)
        data = open_run(tmp_path / "run", data=given).data
        assert isinstance(data, DogsVsCats)
        assert sorted(files_of(data, "test")) == sorted(used_for(tmp_path / "run", "test"))
        assert sorted(files_of(given, "test")) != sorted(files_of(data, "test"))
