"""What the pictures of a data set show: read from the figures, before they become pixels."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cnn_experiments.datamodules import drawings
from cnn_experiments.datamodules.image_cache import Entry


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that are saved, once they have been laid out."""
    found: list[Any] = []
    save = drawings._save

    def keep(figure: Any, file: Path) -> None:
        save(figure, file)
        assert file.stat().st_size > 1000
        found.append(figure)

    monkeypatch.setattr(drawings, "_save", keep)
    return found


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_counts_are_bars_side_by_side_with_their_numbers(drawn: list[Any], tmp_path: Path) -> None:
    counts = {"training": [1200, 800], "validation": [30, 20], "test": [7, 9]}
    drawings.draw_counts(counts, ["cat", "dog"], tmp_path / "counts.png")
    (axes,) = drawn[0].axes
    bars = [(round(bar.get_x() + bar.get_width() / 2, 6), bar.get_height()) for bar in axes.patches]
    step = 0.8 / 3
    assert bars == [
        (round(number + offset * step, 6), height)
        for offset, heights in zip((-1, 0, 1), counts.values(), strict=True)
        for number, height in enumerate(heights)
    ]
    assert texts(axes) == ["1,200", "800", "30", "20", "7", "9"]
    assert {text.get_rotation() for text in axes.texts} == {0}
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(counts)
    assert [text.get_text() for text in axes.get_xticklabels()] == ["cat", "dog"]
    assert list(axes.get_xticks()) == [0, 1]
    assert axes.get_ylabel() == "images"


def test_counts_of_many_classes_stand_upright_in_a_wide_picture(drawn: list[Any], tmp_path: Path) -> None:
    for classes in (4, 5, 10):
        names = [f"class{number}" for number in range(classes)]
        drawings.draw_counts({"training": [5] * classes}, names, tmp_path / "counts.png")
    rotations = [{text.get_rotation() for text in figure.axes[0].texts} for figure in drawn]
    assert rotations == [{0}, {90}, {90}]
    assert [figure.get_figwidth() for figure in drawn] == [5, 5.5, 9]


def test_samples_are_a_row_for_each_class(drawn: list[Any], tmp_path: Path) -> None:
    images = [np.full((number, 4, 4, 1), number / 10, np.float32) for number in (3, 1)]
    drawings.draw_samples(images, ["zero", "a name that is far too long for a title"], tmp_path / "samples.png")
    axes = drawn[0].axes
    assert len(axes) == 6
    assert [[float(image.get_array().max()) for image in one.images] for one in axes] == [
        *[[pytest.approx(0.3)]] * 3,
        [pytest.approx(0.1)],
        [],
        [],
    ]
    assert {image.get_clim() for one in axes for image in one.images} == {(0, 1)}
    assert {image.get_cmap().name for one in axes for image in one.images} == {"gray_r"}
    assert [one.get_title("left") for one in axes] == ["zero", "", "", "a name that is far too long for a…", "", ""]
    assert not any(one.axison for one in axes)


def test_sizes_are_points_whose_area_grows_with_their_number(drawn: list[Any], tmp_path: Path) -> None:
    sizes = [("cat", 50, 40), ("cat", 50, 40), ("dog", 20, 60), ("dog", 32, 32), ("dog", 0, 0)]
    entries = [Entry(f"{n}.jpg", label, width, height) for n, (label, width, height) in enumerate(sizes)]
    drawings.draw_sizes(entries, 32, tmp_path / "sizes.png")
    (axes,) = drawn[0].axes
    points = [(one.get_offsets().tolist(), one.get_sizes().tolist()) for one in axes.collections]
    assert points == [([[50, 40]], [pytest.approx(4 + 2 * 2**0.5)]), ([[20, 60], [32, 32]], [6, 6])]
    assert axes.get_title() == "5 photographs; 1 are smaller than the input of 32 pixels"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["cat", "dog"]
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[32, 0], [32, 1]], [[0, 32], [1, 32]]]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("width (pixels)", "height (pixels)")
    assert (axes.get_xlim()[0], axes.get_ylim()[0]) == (0, 0)


def test_sizes_of_every_class_are_drawn(drawn: list[Any], tmp_path: Path) -> None:
    entries = [Entry(f"{number}.jpg", f"class {number:02}", 50, 40) for number in range(20)]
    drawings.draw_sizes(entries, 32, tmp_path / "sizes.png")
    (axes,) = drawn[0].axes
    looks = [(*one.get_facecolor()[0], one.get_paths()[0].vertices.tobytes()) for one in axes.collections]
    assert len(set(looks)) == len(looks) == 20


def test_files_that_are_set_aside_have_a_picture_or_a_cross(drawn: list[Any], tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((450, 700, 3), np.uint8))
    (tmp_path / "1.png").write_bytes(b"no image")
    entries = [Entry(f"{number}.png", "cat", reason=f"reason {number}") for number in range(25)]
    drawings.draw_set_aside(entries[:7], tmp_path, tmp_path / "few.png")
    drawings.draw_set_aside(entries, tmp_path, tmp_path / "many.png")
    few, many = drawn
    assert [len(figure.axes) for figure in drawn] == [12, 24]
    assert few.axes[0].images[0].get_array().shape == (225, 350, 3)  # every second pixel: at least 200 of each side
    assert [len(one.lines) for one in few.axes] == [0, *[1] * 6, *[0] * 5]
    assert [one.get_title() for one in few.axes[:2]] == ["0.png\nreason 0", "1.png\nreason 1"]
    assert not any(one.axison for one in few.axes)
    assert few.get_suptitle() == "set aside: 7"
    assert many.get_suptitle() == "set aside: 25, the first 24"


def test_pairs_of_near_duplicates_stand_side_by_side(drawn: list[Any], tmp_path: Path) -> None:
    images = np.stack([np.full((4, 4, 3), number, np.uint8) for number in range(26)])
    entries = [Entry(f"folder/{number}.jpg", "cat", 4, 4, row=number) for number in range(26)]
    pairs = list(zip(entries[::2], entries[1::2], strict=True))
    drawings.draw_pairs(pairs[:4], images, tmp_path / "few.png")  # type: ignore[arg-type]
    drawings.draw_pairs(pairs, images, tmp_path / "many.png")  # type: ignore[arg-type]
    few, many = drawn
    assert [len(figure.axes) for figure in drawn] == [12, 24]
    assert [int(one.images[0].get_array()[0, 0, 0]) for one in few.axes if one.images] == list(range(8))
    assert [one.get_title() for one in few.axes[:9]] == [*[f"{number}.jpg" for number in range(8)], ""]
    assert not any(one.axison for one in few.axes)
    assert few.get_suptitle() == "4 pairs of near-duplicates"
    assert many.get_suptitle() == "13 pairs of near-duplicates, the first 12"
