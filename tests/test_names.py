"""Names of files and folders as file systems allow them; advice that can be typed as it is printed."""

import csv
import io
import os
import shlex
import shutil
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from PIL import Image

from cnn_experiments.datamodules.base import PARTS
from cnn_experiments.datamodules.dogs_vs_cats import DogsVsCats, as_typed
from cnn_experiments.datamodules.dogs_vs_cats_files import as_class_name, find_photographs
from cnn_experiments.errors import UserError

FILE_NAMES = [
    "1²3.jpg",
    "٣.jpg",
    "[a-b].jpg",
    "[red]bold.jpg",
    "a,b;c='d'\"e\".jpg",
    "=1+1.jpg",
    "-rf.jpg",
    "$HOME$.jpg",
    "two\nlines.jpg",
    "escape\x1b[2J.jpg",
    "고양이.jpg",
    unicodedata.normalize("NFD", "고양이 2.jpg"),
    "\u202egpj.exe",
    "n" * 250 + ".jpg",
    "한" * 83 + ".jpg",  # 253 bytes
    os.fsdecode(b"not utf-8 \xff\xfe.jpg"),
    "no ending",
    "two  spaces .jpg",
]
CLASS_NAMES = [
    ("Korean", ["강아지", "고양이"]),
    ("spaces and commas", ["big, bad dog", "small cat"]),
    ("quotes", ["dog's", 'the "cat"']),
    ("brackets", ["[dog]", "{cat}", "(bird)"]),
    ("equals signs", ["a=b", "c:d"]),
    ("backslashes", ["a\\", 'b\\"c', "\\\\d"]),
    ("words of YAML", ["true", "null", "1", "1.5", "nan"]),
    ("dollars", ["$dog", "${cat}", "\\${bird}"]),
    ("dashes", ["-dog", "cat-", "+bird", "~fish", "@ant"]),
    ("accents", ["café", "naïve"]),
]


TYPEABLE = st.characters(exclude_categories=("Cc", "Cs"))


def picture(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def fill(folder: Path, seed: int, number: int = 6) -> None:
    folder.mkdir(parents=True)
    for n in range(number):
        picture(100 * seed + n).save(folder / f"{n}.png")


def typed(words: str) -> Any:
    """What a shell and Hydra make of words on the command line."""
    (word,) = shlex.split(words)
    override = OverridesParser.create().parse_override(word)
    return OmegaConf.create({"names": override.value()}).names


@pytest.fixture
def animals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CNN_EXPERIMENTS_DATA", str(tmp_path / "data"))
    return tmp_path / "animals"


def data_of(folder: Path, **settings: Any) -> DogsVsCats:
    return DogsVsCats(**{"source": folder, "image_size": 32, "num_workers": 0, "test_size": 2, **settings})


class TestFiles:
    @pytest.fixture
    def folder(self, photographs: Path, animals: Path) -> Path:
        for label in ("cat", "dog"):
            (animals / label).mkdir(parents=True)
            for number, file in enumerate(sorted(photographs.glob(f"{label}.*"))[: len(FILE_NAMES)]):
                shutil.copy(file, animals / label / FILE_NAMES[number])
        return animals

    def test_every_name_is_read_recorded_and_found_again(self, folder: Path, tmp_path: Path) -> None:
        data = data_of(folder)
        data.setup()
        assert not data.set_aside
        assert len(data.used) == 2 * len(FILE_NAMES)
        run = tmp_path / "run"
        run.mkdir()
        data.write_records(run)
        again = data_of(folder)
        again.follow(run, every=True)
        assert again.fingerprint() == data.fingerprint()
        for part in PARTS:
            assert [again.used[n].row for n in again.split()[part]] == [data.used[n].row for n in data.split()[part]]

    def test_the_record_is_plain_text_without_formulas(self, folder: Path) -> None:
        data = data_of(folder)
        (folder / "cat" / "=empty.jpg").write_bytes(b"")
        for text in data.records().values():
            text.encode()
            cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
            assert not [cell for cell in cells if cell[:1] in ("=", "+", "-", "@")]

    def test_the_command_prints_and_draws_them(self, folder: Path, run_command, tmp_path: Path) -> None:
        for name in ("[red]$empty$.jpg", "\x1b[2J.jpg", os.fsdecode(b"\xff.jpg"), "빈.jpg"):
            (folder / "cat" / name).write_bytes(b"")
        outcome = run_command("data", "datamodule=dogs_vs_cats", f"datamodule.source={folder}", "hydra.run.dir=report")
        assert outcome.status == 0, outcome.error
        assert "\x1b[2J" not in outcome.out + outcome.error
        assert (tmp_path / "report" / "set_aside.png").stat().st_size > 1000
        assert len(list(csv.DictReader((tmp_path / "report" / "set_aside.csv").open()))) == 4

    def test_long_names_of_folders_and_archives(self, photographs: Path, tmp_path: Path) -> None:
        long = tmp_path / ("사진" * 42)  # 252 bytes
        shutil.copytree(photographs, long)
        assert len(data_of(long, data_dir=tmp_path / "data").images_of("training")) > 50
        archive = tmp_path / ("a" * 250 + ".zip")
        with zipfile.ZipFile(archive, "w") as packed:
            for file in photographs.iterdir():
                packed.write(file, file.name)
        assert len(data_of(archive, data_dir=tmp_path / "data").images_of("training")) > 50

    def test_a_folder_that_is_not_utf_8(self, photographs: Path, tmp_path: Path) -> None:
        folder = tmp_path / os.fsdecode(b"\xff\xfe") / "train"
        shutil.copytree(photographs, folder)
        assert len(data_of(folder, data_dir=tmp_path / "data").images_of("training")) > 50


class TestClasses:
    @pytest.mark.parametrize(("names"), [names for _, names in CLASS_NAMES], ids=[what for what, _ in CLASS_NAMES])
    def test_the_advice_can_be_typed(self, animals: Path, names: list[str]) -> None:
        for number, name in enumerate(names):
            fill(animals / name, number)
        with pytest.raises(UserError) as error:
            data_of(animals).setup()
        advice = str(error.value).partition(". Set ")[2].rpartition(", or give")[0]
        chosen = typed(advice)
        assert list(chosen) == sorted(names)
        data = data_of(animals, class_names=list(chosen))
        data.setup()
        assert [sum(data.class_counts(part)[n] for part in PARTS) for n in range(len(names))] == [6] * len(names)
        data.write_records(animals.parent)
        again = data_of(animals, class_names=list(chosen))
        again.follow(animals.parent, every=True)
        for part in PARTS:
            assert again.images_of(part).labels.tolist() == data.images_of(part).labels.tolist()

    def test_names_need_no_quotes(self, animals: Path, run_command) -> None:
        for number, name in enumerate(["big dog", "고양이"]):
            fill(animals / name, number)
        words = ("datamodule=dogs_vs_cats", f"datamodule.source={animals}", "datamodule.class_names=[고양이, big dog]")
        assert run_command("data", *words).status == 0

    def test_through_the_command(self, animals: Path, run_command) -> None:
        for number, name in enumerate(["big, bad 'dog'", "고양이"]):
            fill(animals / name, number)
        words = ("data", "datamodule=dogs_vs_cats", f"datamodule.source={animals}", "datamodule.test_size=2")
        refused = run_command(*words)
        assert refused.status == 2
        advice = refused.error.partition("Set ")[2].rpartition(", or give")[0]
        accepted = run_command(*words, *shlex.split(" ".join(advice.split())))
        assert accepted.status == 0, accepted.error
        assert "고양이" in accepted.out

    @pytest.mark.parametrize("form", ["NFC", "NFD"])
    @pytest.mark.parametrize("given_form", ["NFC", "NFD"])
    def test_spellings_of_unicode(self, animals: Path, form: str, given_form: str) -> None:
        for number, name in enumerate(["강아지", "고양이"]):
            fill(animals / unicodedata.normalize(form, name), number)
        data = data_of(animals, class_names=[unicodedata.normalize(given_form, name) for name in ("고양이", "강아지")])
        data.setup()
        assert data.class_of == {"강아지": 1, "고양이": 0}

    def test_every_spelling_has_the_same_fingerprint(self, tmp_path: Path) -> None:
        fingerprints = set()
        for form in ("NFC", "NFD"):
            for number, name in enumerate(["강아지", "고양이"]):
                fill(tmp_path / form / unicodedata.normalize(form, name), number)
            data = data_of(tmp_path / form, data_dir=tmp_path / "data", class_names=["강아지", "고양이"])
            fingerprints.add(data.fingerprint())
        assert len(fingerprints) == 1

    @pytest.mark.parametrize("name", ["two\nlines", "\x1b[2J", os.fsdecode(b"\xff")])
    def test_names_that_cannot_be_typed(self, animals: Path, name: str) -> None:
        fill(animals / "cat", 0)
        fill(animals / name, 1)
        with pytest.raises(UserError, match=r"control characters.*Rename it"):
            data_of(animals).setup()

    @settings(max_examples=100, derandomize=True, deadline=None)
    @given(st.lists(st.text(TYPEABLE | st.sampled_from("\\\"'${}[],= "), min_size=1, max_size=12), min_size=2))
    @example(["\\", '"', "'", "${a}", "a\\${b}", "\\\\$", " ", "#"])
    def test_any_name_can_be_typed(self, names: list[str]) -> None:
        assert list(typed(as_typed("names", names))) == names


class TestEmptyClasses:
    def test_two_folders_of_one_class_and_none_of_the_other(self, animals: Path) -> None:
        fill(animals / "cat", 0)
        fill(animals / "cats", 1)
        with pytest.raises(UserError, match=r"are of cat, cats, and none of dog\. Set '.*=\[cat,cats\]'"):
            data_of(animals).setup()

    def test_two_folders_of_one_class_where_every_class_is_there(self, animals: Path) -> None:
        for number, name in enumerate(["cat", "Cats", "dog"]):
            fill(animals / name, number)
        data = data_of(animals)
        data.setup()
        assert [sum(data.class_counts(part)[n] for part in PARTS) for n in (0, 1)] == [12, 6]

    def test_a_class_of_which_nothing_can_be_used(self, animals: Path) -> None:
        fill(animals / "cat", 0)
        fill(animals / "dog", 1)
        for file in (animals / "dog").iterdir():
            file.write_bytes(b"no picture")
        with pytest.raises(UserError, match=r"are of cat, and none of dog\. Give a folder with photographs of each"):
            data_of(animals).setup()

    def test_a_class_of_which_nothing_is_left_to_train_on(self, animals: Path) -> None:
        for number, name in enumerate(["bird", "cat", "dog"]):
            fill(animals / name, number)
        with pytest.raises(UserError, match=r"datamodule\.limit=2.*no photograph of dog is left to train on"):
            data_of(animals, class_names=["bird", "cat", "dog"], limit=2).setup()


@pytest.mark.parametrize(("name", "label"), [("Cats", "cats"), ("ÉTÉ", "été"), ("E\u0301", "é")])
def test_class_names_are_compared_in_lower_case(name: str, label: str) -> None:
    assert as_class_name(name) == label


@pytest.mark.parametrize("source", ["~nobody-of-that-name/x", "x" * 5000, "a\0b", "/dev/null", "/proc/self/mem"])
def test_sources_that_are_none(tmp_path: Path, source: str) -> None:
    with pytest.raises(UserError, match=r"datamodule\.source"):
        find_photographs(source, tmp_path)
