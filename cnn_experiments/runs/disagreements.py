"""The test images that one configuration gets right and another wrong, with the small pictures that runs keep.

A run keeps pictures of images that it misclassified, as test_mistakes.npz in its directory says. What one configuration
gets right and another wrong is among the other's mistakes, so that these are all the pictures that are needed.
"""

import io
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, permutations, zip_longest
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cnn_experiments.errors import UserError
from cnn_experiments.runs.arrays import damage_explained, read_arrays
from cnn_experiments.runs.comparable import runs_by_seed
from cnn_experiments.runs.configuration import Configuration
from cnn_experiments.runs.directory import RunDirectory
from cnn_experiments.runs.finished import FinishedRun

MOST_KEPT = 100  # pictures of a run
LONGEST_SIDE = 48  # of a picture, in pixels
MOST_BYTES = MOST_KEPT * 3 * LONGEST_SIDE**2 + 5000  # of all of them, and numpy's header
MOST_SHOWN = 240  # pictures on a page
MOST_READ = 40  # runs whose pictures are looked through for a page
SEED = 20120930  # of the order in which runs keep mistakes

Element = TypeVar("Element")
Image = tuple[str, int]
"""A test image: what tells its test set from others, and its place there."""


@dataclass(frozen=True)
class Disagreement:
    """A test image that some configurations get right and others wrong.

    Args:
        picture: an image file, PNG or JPEG.
        label: its class.
        predicted: the class that each run predicted, by the place of its configuration.
    """

    picture: bytes
    label: int
    predicted: dict[int, list[int]]


@dataclass(frozen=True)
class Disagreements:
    """What configurations disagree on.

    Args:
        images: those of which there are pictures, at most `MOST_SHOWN`.
        counts: by places of two configurations: how many images the first gets right in most of its runs, and the
            second wrong in most of its runs, with or without a picture.
    """

    images: list[Disagreement]
    counts: dict[tuple[int, int], int]


def kept_mistakes(right: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Which mistakes a run keeps pictures of, by their places in the test set, in order.

    Where there are more than `MOST_KEPT`, all runs choose in the same order, drawn once, so that mistakes which several
    runs share are kept by all of them.

    Args:
        right: whether each test image was classified correctly, (N,).
    """
    order = np.random.default_rng(SEED).permutation(len(right))
    return np.sort(order[~right[order]][:MOST_KEPT])


def read_mistakes(file: Path) -> dict[int, NDArray[np.uint8]]:
    """The pictures of a run's mistakes: bytes (H, W, C) by the places of the images in the test set.

    Args:
        file: ``test_mistakes.npz``, which may come from anybody.

    Raises:
        UserError: the file is missing, or not what a run writes.
    """
    with damage_explained(file, "pictures"):
        arrays = read_arrays(file, ("positions", "images"), MOST_BYTES)
        positions, images = arrays["positions"], arrays["images"]
        if positions.dtype.kind not in "iu" or positions.ndim != 1 or len(positions) > MOST_KEPT:
            raise ValueError("no positions")
        if images.dtype != np.uint8 or images.ndim != 4 or len(images) != len(positions):
            raise ValueError("no pictures")
        if not all(0 < side <= LONGEST_SIDE for side in images.shape[1:3]) or images.shape[3] not in (1, 3):
            raise ValueError("no pictures")
    return dict(zip(positions.tolist(), images, strict=True))


def disagreements_of(configurations: Sequence[Configuration]) -> Disagreements:
    """What configurations disagree on, of the images that they were both tested on.

    Args:
        configurations: the best first. The pictures are divided evenly among all pairs; those on which a pair disagrees
            most come first.
    """
    tested = _by_test_set(configurations)
    found: dict[tuple[int, int], list[tuple[float, Image]]] = defaultdict(list)
    for test_set, runs in tested.items():
        shares = {place: np.mean([run.tested.right for run in own], 0) for place, own in runs.items()}
        for one, other in permutations(shares, 2):
            places = ((shares[one] > 0.5) & (shares[other] < 0.5)).nonzero()[0]
            gaps = shares[one][places] - shares[other][places]
            found[one, other] += [(-gap, (test_set, place)) for gap, place in zip(gaps, places.tolist(), strict=True)]
    pictures = _pictures(tested)
    of_pairs = [[image for _, image in sorted(found[pair]) if image in pictures] for pair in sorted(found)]
    chosen = islice(dict.fromkeys(_in_turn(of_pairs)), MOST_SHOWN)
    images = [
        Disagreement(encoded(pictures[test_set, place]), *_answers(tested[test_set], place))
        for test_set, place in chosen
    ]
    return Disagreements(images, {pair: len(images) for pair, images in found.items()})


def _by_test_set(configurations: Sequence[Configuration]) -> dict[str, dict[int, list[FinishedRun]]]:
    """The runs of each configuration, by what they were tested on; without those that have no predictions."""
    found: dict[str, dict[int, list[FinishedRun]]] = defaultdict(lambda: defaultdict(list))
    for place, configuration in enumerate(configurations):
        for run in runs_by_seed(configuration):
            with suppress(OSError, UserError):  # of which the verdicts tell
                test_set = repr((configuration.settings.get("datamodule.name"), *run.test_set))
                found[test_set][place].append(run)
    return found


def _pictures(tested: Mapping[str, Mapping[int, list[FinishedRun]]]) -> dict[Image, NDArray[np.uint8]]:
    """The pictures that runs keep: of one run of each configuration, then of another one."""
    found: dict[Image, NDArray[np.uint8]] = {}
    of_each = [[(test_set, run) for run in own] for test_set, runs in tested.items() for own in runs.values()]
    for test_set, run in islice(_in_turn(of_each), MOST_READ):
        with suppress(OSError, UserError):  # those of other runs will do
            pictures = read_mistakes(RunDirectory(run.directory).mistakes_file)
            found |= {(test_set, place): picture for place, picture in pictures.items()}
    return found


def _in_turn(lists: Sequence[Sequence[Element]]) -> Iterator[Element]:
    """The first of each list, then the second of each, and so on."""
    return (one for turn in zip_longest(*lists) for one in turn if one is not None)


def _answers(runs: Mapping[int, list[FinishedRun]], place: int) -> tuple[int, dict[int, list[int]]]:
    """The class of an image, and the classes that the runs of each configuration predicted."""
    predicted = {number: [int(run.tested.predictions[place]) for run in own] for number, own in runs.items()}
    first = next(run for own in runs.values() for run in own)
    return int(first.tested.labels[place]), predicted


def encoded(picture: NDArray[np.uint8]) -> bytes:
    """A picture (H, W, C) as an image file: PNG if it is grey, JPEG if it has colours, which would take more room."""
    from PIL import Image

    content = io.BytesIO()
    if picture.shape[2] == 1:
        Image.fromarray(picture[:, :, 0]).save(content, "PNG", optimize=True)
    else:
        Image.fromarray(picture).save(content, "JPEG", quality=85)
    return content.getvalue()
