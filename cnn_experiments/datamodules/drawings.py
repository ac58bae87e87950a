"""Pictures of a data set: how many images there are, what they look like, how large they are, what is not used."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn_experiments.datamodules.image_cache import Entry, ImageCache
from cnn_experiments.datamodules.photographs import UnusableImageError, read_photograph
from cnn_experiments.runs.formats import any_letters_drawn, in_picture

COLOURS = ("orange", "blue", "green", "red", "purple", "brown", "pink", "gray")
MARKERS = "os^Dv"  # the next classes have the same colours and another marker
MOST_SET_ASIDE = 24  # pictures of files that are not used
MOST_PAIRS = 12
LONGEST_LABEL = 34  # characters


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure  # slow to import

    return Figure(figsize=(width, height), layout="constrained")


def draw_counts(counts: Mapping[str, Sequence[int]], class_names: Sequence[str], file: Path) -> None:
    """Draw bars of how many images of each class each part has.

    Args:
        counts: for each part (training, validation, test), the number of images of each class.
        class_names: names of the classes.
        file: where to save the picture.
    """
    figure = _figure(max(5, 0.7 * len(class_names) + 2), 4)
    axes = figure.subplots()
    width = 0.8 / len(counts)
    for number, (part, of_class) in enumerate(counts.items()):
        places = np.arange(len(class_names)) + (number - (len(counts) - 1) / 2) * width
        bars = axes.bar(places, of_class, width, label=part)
        axes.bar_label(bars, fmt="{:,.0f}", fontsize=7, rotation=0 if len(class_names) < 5 else 90, padding=2)
    axes.set(ylabel="images", xticks=range(len(class_names)), xticklabels=list(map(_label, class_names)))
    axes.margins(y=0.15)
    axes.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    _save(figure, file)


def draw_samples(images: Sequence[NDArray[np.float32]], class_names: Sequence[str], file: Path) -> None:
    """Draw a row of images for each class.

    Args:
        images: for each class some images, (N, H, W, 3) or (N, H, W, 1), from 0 to 1.
        class_names: names of the classes.
        file: where to save the picture.
    """
    columns = max(1, *(len(of_class) for of_class in images))
    figure = _figure(columns, len(images) + 0.2)
    grid = figure.subplots(len(images), columns, squeeze=False)
    for row, of_class, name in zip(grid, images, class_names, strict=True):
        for axes in row:
            axes.set_axis_off()
        for axes, image in zip(row, of_class, strict=False):
            axes.imshow(image, cmap="gray_r", vmin=0, vmax=1)
        row[0].set_title(_label(name), loc="left", fontsize=9)
    _save(figure, file)


def draw_sizes(entries: Sequence[Entry], side: int, file: Path) -> None:
    """Draw widths against heights, as the article does, and say how many are smaller than the network's input.

    Args:
        entries: the photographs.
        side: of the network's input, in pixels.
        file: where to save the picture.
    """
    figure = _figure(6, 5.5)
    axes = figure.subplots()
    for number, label in enumerate(sorted({str(entry.label) for entry in entries})):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number // len(COLOURS) % len(MARKERS)]
        sizes = Counter((entry.width, entry.height) for entry in entries if entry.label == label and entry.width)
        if sizes:
            widths, heights = zip(*sizes, strict=True)
            area = [4 + 2 * np.sqrt(files) for files in sizes.values()]
            look = {"color": f"tab:{colour}", "marker": marker, "alpha": 0.35, "linewidths": 0}
            axes.scatter(widths, heights, s=area, label=_label(label), **look)
    smaller = sum(0 < min(entry.width, entry.height) < side for entry in entries)
    axes.axvline(side, color="black", linewidth=0.8, linestyle=":")
    axes.axhline(side, color="black", linewidth=0.8, linestyle=":")
    axes.set(xlabel="width (pixels)", ylabel="height (pixels)")
    axes.set_title(
        f"{len(entries):,} photographs; {smaller:,} are smaller than the input of {side} pixels", fontsize=10
    )
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.legend()
    _save(figure, file)


def draw_set_aside(entries: Sequence[Entry], root: Path, file: Path) -> None:
    """Draw the first of the files that are not used, with names and reasons; a cross where there is no picture.

    Args:
        entries: the files that are not used.
        root: the folder they lie in.
        file: where to save the picture.
    """
    shown = entries[:MOST_SET_ASIDE]
    columns = 6
    rows = max(1, -(-len(shown) // columns))
    figure = _figure(columns * 2, rows * 2.3)
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.set_axis_off()
    for axes, entry in zip(figure.axes, shown, strict=False):
        try:
            axes.imshow(_thumbnail(read_photograph(root / entry.file)))
        except (UnusableImageError, OSError):
            axes.plot([0, 1, np.nan, 0, 1], [0, 1, np.nan, 1, 0], color="0.8")
        axes.set_title(f"{_label(Path(entry.file).name)}\n{_label(str(entry.reason))}", fontsize=6)
    figure.suptitle(f"set aside: {len(entries):,}" + (f", the first {len(shown)}" if len(entries) > len(shown) else ""))
    _save(figure, file)


def draw_pairs(pairs: Sequence[tuple[Entry, Entry]], cache: ImageCache, file: Path) -> None:
    """Draw the first pairs of files that show the same picture, next to each other.

    Args:
        pairs: the files.
        cache: where their images are.
        file: where to save the picture.
    """
    shown = pairs[:MOST_PAIRS]
    rows = -(-len(shown) // 3)
    figure = _figure(12, rows * 2.3)
    grid = figure.subplots(rows, 6, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    entries = [entry for pair in shown for entry in pair]
    images = cache[np.array([entry.row for entry in entries])]
    for axes, entry, image in zip(grid.flat, entries, images, strict=False):
        axes.imshow(image)
        axes.set_title(_label(Path(entry.file).name), fontsize=6)
    figure.suptitle(
        f"{len(pairs):,} pairs of near-duplicates" + (f", the first {MOST_PAIRS}" if len(pairs) > MOST_PAIRS else "")
    )
    _save(figure, file)


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Every so many pixels of an image (H, W, 3), at least 200 of each side where it has them."""
    step = max(1, min(image.shape[:2]) // 200)
    return image[::step, ::step]


def _label(text: str) -> str:
    return in_picture(text, LONGEST_LABEL)


def _save(figure: Any, file: Path) -> None:
    with any_letters_drawn(figure):
        figure.savefig(file, dpi=120)
