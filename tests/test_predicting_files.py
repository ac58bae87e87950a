"""Names and kinds of files that predictions are made for, and where these are written."""

import csv
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_experiments.commands.predict import picture_of, with_images_quoted
from cnn_experiments.errors import UserError
from cnn_experiments.evaluation.prediction import find_images

NAMES = [
    b"photo[1].png",
    b"caf\xe9.png",
    b"a\nb\x1b[31m.png",
    b"=cmd.png",
    b"it's {a},b $x$ \\.png",
    "1²3 한국어.png".encode(),
    b"[bold]x[red].png",
    b"y" * 250 + b".png",
]


def odd(folder: Path, name: bytes) -> Path:
    return folder / os.fsdecode(name)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with images of odd names, among things that are none."""
    folder = tmp_path / "pictures"
    (folder / "d[1]").mkdir(parents=True)
    for place in (*(odd(folder, name) for name in NAMES), folder / "d[1]" / "below.png"):
        Image.fromarray(np.zeros((28, 28), np.uint8)).save(os.fsencode(place), "png")
    os.mkfifo(folder / "pipe.png")
    for name in ("one", "two"):
        (folder / name).symlink_to(".", target_is_directory=True)
    (folder / "gone.png").symlink_to("nowhere")
    (folder / "device.png").symlink_to("/dev/zero")
    (folder / "itself.png").symlink_to("itself.png")
    (folder / "empty.png").touch()
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_any_name_is_found(images: Path, name: bytes) -> None:
    assert find_images(odd(images, name)) == [odd(images, name)]


def test_folders_and_patterns(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_folder = {odd(images, name) for name in NAMES} | {images / "empty.png"}
    everything = sorted(in_folder | {images / "d[1]" / "below.png"})
    assert find_images(images) == everything
    assert find_images(f"{images}/**") == everything
    assert find_images(f"{images}/**/*.png") == everything
    assert find_images(f"{images}/*.png") == sorted(in_folder)
    assert find_images(f"{images}/photo[1]*") == [images / "photo[1].png"]
    assert find_images(f"{images}/d[1]/*.png") == [images / "d[1]" / "below.png"]
    assert find_images(f"{images}/[a-e]*.png")[0] == odd(images, NAMES[2])
    monkeypatch.chdir(images)
    assert find_images("*/below.png") == [Path("d[1]/below.png")]
    assert find_images("d[1]/../photo*") == [Path("d[1]/../photo[1].png")]


@pytest.mark.parametrize(
    "name", ["pipe.png", "device.png", "itself.png", "gone.png", "nothing*", "x" * 5000, "a\0b", "**x", "[", "d[1]/x"]
)
def test_what_is_no_file_is_not_opened(images: Path, name: str) -> None:
    with pytest.raises(UserError, match="there are no such files"):
        find_images(images / name)


def test_words_with_images_are_quoted() -> None:
    assert with_images_quoted(["images=a,b[1].jpg", "images='a'", "images=null", "run=a"]) == [
        "images='a,b[1].jpg'",
        "images='a'",
        "images=null",
        "run=a",
    ]


def test_names_of_pictures() -> None:
    assert picture_of(Path("d/a.jpg")) == Path("d/a.jpg.png")
    long = [picture_of(Path("d") / ("x" * 250 + end)) for end in ("a", "b")]
    assert long[0] != long[1]
    assert all(len(picture.name) < 230 and picture.suffix == ".png" for picture in long)
    assert len(os.fsencode(picture_of(Path("한" * 84)).name)) < 230


@pytest.fixture
def run(trained: Callable[..., Path]) -> str:
    trained("run", "trainer.max_epochs=1")
    return "run=run"


def test_predictions_of_files_with_odd_names(run_command: Callable, run: str, images: Path, tmp_path: Path) -> None:
    outcome = run_command("predict", run, f"images={images}", "saliency=true", "hydra.run.dir=out")
    assert outcome.status == 0, outcome.error
    assert "\x1b" not in outcome.out + outcome.error
    for text in ("[bold]x[red].png", r"caf\udce9.png", r"a b\x1b[31m.png", "photo[1].png", "1 of 10 files"):
        assert text in outcome.out
    with (tmp_path / "out" / "predictions.csv").open(newline="", encoding="utf-8") as source:
        rows = list(csv.DictReader(source))
    assert len(rows) == 10
    assert sum(not row["error"] for row in rows) == 9
    assert len(list((tmp_path / "out" / "saliency").rglob("*.png"))) == 9

    for name in NAMES:
        word = f"images={odd(images, name)}"
        assert run_command("predict", run, word, "hydra.run.dir=out").status == 0, name
    os.chdir(images)
    outcome = run_command("predict", f"run={tmp_path / 'run'}", "images==cmd.png", f"hydra.run.dir={tmp_path / 'out'}")
    assert outcome.status == 0, outcome.error
    assert "\n'=cmd.png," in (tmp_path / "out" / "predictions.csv").read_text()


def test_saliency_in_another_precision(run_command: Callable, run: str, tmp_path: Path) -> None:
    Image.new("L", (28, 28)).save(tmp_path / "black.png")
    config = tmp_path / "run" / "config.yaml"
    config.write_text(re.sub("precision: .*", "precision: 64-true", config.read_text()))
    outcome = run_command("predict", run, "images=black.png", "saliency=true", "hydra.run.dir=out")
    assert outcome.status == 0, outcome.error
    assert (tmp_path / "out" / "saliency" / "black.png.png").is_file()


def test_nothing_is_written_through_a_link(run_command: Callable, run: str, images: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "predictions.csv").symlink_to("../precious")
    assert run_command("predict", run, f"images={images}/photo*", "hydra.run.dir=out").status == 0
    assert (tmp_path / "precious").read_text() == "kept"
    assert not (tmp_path / "out" / "predictions.csv").is_symlink()


@pytest.mark.parametrize(
    "word", ["images=", "images=null", "images=${oc.env:NOT_SET}", "images=/dev/zero", "images=~nobody/x"]
)
def test_wrong_images_are_refused(run_command: Callable, word: str) -> None:
    outcome = run_command("predict", "run=nowhere", word)
    assert outcome.status == 2
    assert "images" in outcome.error
    assert "Traceback" not in outcome.error
