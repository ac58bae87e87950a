"""Folders of data that several people share: whoever cannot write there is served all the same, or told why not."""

import multiprocessing
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cnn_experiments.datamodules import dogs_vs_cats_files, image_cache, mnist_files
from cnn_experiments.datamodules.dogs_vs_cats import DogsVsCats
from cnn_experiments.datamodules.mnist import MNIST
from cnn_experiments.errors import UserError
from tests.made_data import make_digits, make_photographs

NOBODY = 65534


def answer_of(work: Callable[[], object]) -> str:
    """What some work returns or which sentence it ends with, for somebody who cannot write to this user's files."""
    if os.geteuid():
        return _answer(work)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe()

    def as_nobody() -> None:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        sender.send(_answer(work))

    process = context.Process(target=as_nobody)
    process.start()
    answer = receiver.recv() if receiver.poll(60) else "no answer"
    process.join()
    return str(answer)


def _answer(work: Callable[[], object]) -> str:
    try:
        return str(work())
    except UserError as error:
        return f"UserError: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that everybody can read, with photographs in it."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        make_photographs(Path(folder) / "train")
        yield Path(folder)


@pytest.fixture
def closed(shared: Path) -> Iterator[Callable[[], None]]:
    """Takes away the right to write to the folders of data, also from their owner, until the end of the test."""

    def change(mode: int) -> None:
        for folder, _, _ in os.walk(shared / "data"):
            os.chmod(folder, mode)

    yield lambda: change(0o555)
    change(0o755)


def photographs_of(shared: Path, source: Path) -> DogsVsCats:
    return DogsVsCats(data_dir=shared / "data", source=source, image_size=32, num_workers=0)


def number_used(shared: Path, source: Path) -> int:
    data = photographs_of(shared, source)
    data.setup("test")
    return len(data.used)


class TestReadOnly:
    def test_a_finished_cache_serves_everybody(self, shared: Path, closed) -> None:
        assert number_used(shared, shared / "train") == 80
        closed()
        assert answer_of(lambda: number_used(shared, shared / "train")) == "80"

    def test_an_unpacked_archive_serves_everybody(self, shared: Path, closed) -> None:
        with zipfile.ZipFile(shared / "train.zip", "w") as packed:
            for file in (shared / "train").iterdir():
                packed.write(file, f"train/{file.name}")
        assert number_used(shared, shared / "train.zip") == 80
        closed()
        assert answer_of(lambda: number_used(shared, shared / "train.zip")) == "80"

    def test_what_a_killed_process_unpacked_is_removed(self, shared: Path) -> None:
        with zipfile.ZipFile(shared / "train.zip", "w") as packed:
            for file in (shared / "train").iterdir():
                packed.write(file, f"train/{file.name}")
        assert number_used(shared, shared / "train.zip") == 80
        (unpacked,) = (place for place in (shared / "data" / "unpacked").iterdir() if place.is_dir())
        partial = unpacked.with_name(f".{unpacked.name}.partial")
        unpacked.rename(partial)
        shutil.copy(partial / "train" / "cat.0.jpg", partial / "train" / "cat.1000.jpg")
        assert number_used(shared, shared / "train.zip") == 80
        assert not partial.exists()

    def test_digits_serve_everybody(self, shared: Path, closed, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mnist_files, "CHECKSUMS", make_digits(shared / "data"))
        closed()
        images = answer_of(lambda: len(MNIST(shared / "data", validation_size=50).images_of("test")))
        assert images == "100"

    def test_a_cache_that_cannot_be_written(self, shared: Path, closed) -> None:
        (shared / "data").mkdir()
        closed()
        answer = answer_of(lambda: number_used(shared, shared / "train"))
        assert re.match(r"UserError: datamodule\.data_dir: cannot write the cache .*Permission denied", answer)
        assert "Choose another folder" in answer

    def test_an_archive_that_cannot_be_unpacked(self, shared: Path, closed) -> None:
        with zipfile.ZipFile(shared / "train.zip", "w") as packed:
            packed.writestr("train/cat.0.jpg", b"x")
        (shared / "data").mkdir()
        closed()
        answer = answer_of(lambda: number_used(shared, shared / "train.zip"))
        assert re.match(r"UserError: datamodule\.data_dir: cannot unpack .*Permission denied", answer)

    def test_digits_that_cannot_be_unpacked(self, shared: Path, closed, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mnist_files, "CHECKSUMS", make_digits(shared / "data"))
        raw = shared / "data" / "MNIST" / "raw"
        packed = raw / "train-images-idx3-ubyte"
        shutil.move(packed, packed.with_name(f"{packed.name}.gz"))
        closed()
        answer = answer_of(lambda: MNIST(shared / "data").prepare())
        assert answer.startswith("UserError: datamodule.data_dir: ")


class TestLeftovers:
    """What another user has left behind where this one wants to write."""

    @pytest.mark.parametrize("what", ["lock", "unfinished"])
    def test_of_a_cache(self, shared: Path, what: str) -> None:
        folder = photographs_of(shared, shared / "train")
        folder.prepare()
        cache = folder.cache.folder
        shutil.rmtree(cache)
        left = cache.with_name(f"{cache.name}.{what}")
        if what == "unfinished":
            left.mkdir()
            cache.with_name(f"{cache.name}.lock").unlink()
        left.chmod(0o555 if left.is_dir() else 0o444)
        cache.parent.chmod(0o777)
        answer = answer_of(lambda: number_used(shared, shared / "train"))
        assert re.match(r"UserError: datamodule\.data_dir: cannot write the cache .*Permission denied: .*", answer)
        assert "Choose another folder" in answer

    def test_photographs_that_cannot_be_read(self, shared: Path) -> None:
        (shared / "train").chmod(0o700)
        if os.geteuid():
            (shared / "train").chmod(0o000)
        answer = answer_of(lambda: number_used(shared, shared / "train"))
        (shared / "train").chmod(0o755)
        assert answer.startswith(f"UserError: datamodule.source: cannot read {shared / 'train'} (Permission denied)")

    def test_a_file_that_cannot_be_read(self, shared: Path) -> None:
        (shared / "train" / "cat.3.jpg").chmod(0o000)
        (shared / "data").mkdir()
        (shared / "data").chmod(0o777)

        def reason() -> object:
            data = photographs_of(shared, shared / "train")
            data.prepare()
            return [(entry.file, entry.reason) for entry in data.set_aside]

        assert answer_of(reason) == "[('cat.3.jpg', 'cannot be read (Permission denied)')]"


def test_nothing_is_locked_where_everything_is_there(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist_files, "CHECKSUMS", make_digits(shared / "data"))
    number_used(shared, shared / "train")
    for module in (image_cache, mnist_files):
        monkeypatch.setattr(module, "FileLock", None)  # would fail
    monkeypatch.setattr(dogs_vs_cats_files.zipfile, "ZipFile", None)
    assert number_used(shared, shared / "train") == 80
    assert len(MNIST(shared / "data", validation_size=50).images_of("test")) == 100


class TestChangedInPlace:
    def test_a_picture_of_the_same_size_and_date(self, shared: Path) -> None:
        """Dates of the content can be set, as copying with dates does; that of the last change cannot."""
        data = photographs_of(shared, shared / "train")
        data.prepare()
        first, second = shared / "train" / "cat.0.jpg", shared / "train" / "cat.1.jpg"
        size = max(first.stat().st_size, second.stat().st_size)
        for file in (first, second):
            file.write_bytes(file.read_bytes().ljust(size, b"\0"))
            os.utime(file, (1, 1))
        before = photographs_of(shared, shared / "train")
        before.prepare()
        content = second.read_bytes()
        first.write_bytes(content)
        os.utime(first, (1, 1))
        after = photographs_of(shared, shared / "train")
        after.prepare()
        assert after.cache.folder != before.cache.folder
        assert [entry.reason for entry in after.set_aside] == ["duplicate: byte for byte cat.0.jpg"]
