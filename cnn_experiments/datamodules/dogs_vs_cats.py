"""Dogs vs. Cats: photographs in a folder, by class (Kaggle 2013; Microsoft's Asirra); or any other such folder."""

import logging
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, Lt, MinLen
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from cnn_experiments.datamodules.base import PARTS, BatchSize, ImageData, NearDuplicate, Part, Seed, SetAside, Workers
from cnn_experiments.datamodules.dogs_vs_cats_files import as_class_name, find_photographs
from cnn_experiments.datamodules.image_cache import Entry, ImageCache, prepare_cache
from cnn_experiments.datamodules.near_duplicates import find_near_duplicates
from cnn_experiments.datamodules.photographs import read_photograph
from cnn_experiments.datamodules.recorded_split import RecordedSplit, as_recorded, fingerprint
from cnn_experiments.datamodules.resizing import Resizing
from cnn_experiments.datamodules.samplers import Draw, ImageSet
from cnn_experiments.datamodules.splits import Indices, Labels, Stream, balanced_subset, number_of, stratified_split
from cnn_experiments.datamodules.transforms import Augment, Augmentation, light, principal_components
from cnn_experiments.errors import UserError
from cnn_experiments.runs.formats import as_csv, printable

log = logging.getLogger(__name__)

# Files of Kaggle's that show another animal than their names say, or none; found by people who looked.
MISLABELLED = frozenset(
    [f"dog.{n}.jpg" for n in (1773, 2614, 4367, 5604, 8736, 9517, 10237, 10747, 10801, 11299)]
    + [f"cat.{n}.jpg" for n in (4085, 4338, 5351, 5418, 7377, 10712, 11184)]
)
Size = Annotated[int, Ge(1)] | Annotated[float, Gt(0), Lt(1)]  # a number of images, or a share of all
Colour = tuple[float, float, float]
Positive = Annotated[float, Gt(0)]
Side = Annotated[int, Gt(0)]


class CachedImages(Dataset[tuple[Tensor, Tensor]]):
    """Some images of a cache, as bytes (N, 3, H, W), and their labels (N,), fetched a batch at a time.

    Args:
        cache: where the images are.
        rows: their places in it, (images,).
        labels: their class numbers, (images,).
        augment: what changes batches that come with a seed; None for nothing.
        flipped: which images such batches show as mirror images in epochs 0, 2, 4 …, (images,); the others are mirror
            images in epochs 1, 3, 5 …. None for no mirror images but those of `augment`.
    """

    def __init__(
        self,
        cache: ImageCache,
        rows: Indices,
        labels: Labels,
        augment: Augment | None = None,
        flipped: NDArray[np.bool_] | None = None,
    ) -> None:
        self.cache, self.rows, self.labels, self.augment = cache, rows, torch.from_numpy(labels), augment
        self.flipped = flipped

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        indices = draw.indices.numpy()
        images = self.cache[self.rows[indices]]
        if self.augment is not None and draw.seed is not None:
            if self.flipped is not None:
                flipped = self.flipped[indices] ^ bool(draw.epoch % 2)
                images[flipped] = images[flipped, :, ::-1]
            images = self.augment(images, draw.seed)
        return torch.from_numpy(images).permute(0, 3, 1, 2), self.labels[draw.indices]


class DogsVsCats(ImageData):
    """Photographs as floats (N, 3, image_size, image_size) and labels (N,), in the order of the classes' names.

    Each file is read once and kept on disk as bytes of one size (`resizing`). From there a window of the network's size
    is cropped: at random in training, from the middle otherwise.

    Args:
        data_dir: folder of all data sets, for downloads and caches; None for the environment variable
            CNN_EXPERIMENTS_DATA, or else ``data``.
        source: a folder or an archive anywhere; None for the environment variable DOGS_VS_CATS, or else for
            ``<data_dir>/dogs_vs_cats``, or else for a download.
        class_names: names of the classes; their folders or files are called the same, in the singular or the plural.
        batch_size: training images in a batch, for each process.
        num_workers: processes that load and augment images.
        seed: what splits, order and augmentation are drawn from.
        image_size: side of the network's input, in pixels.
        resizing: how photographs become squares of one size.
        largest_side: leave out photographs whose width or height is larger, in pixels; the article: 500. None for no
            bound.
        smallest_side: leave out photographs whose width or height is smaller, in pixels: they would have to be
            enlarged. None for no bound.
        drop_mislabelled: leave out 17 of Kaggle's files that are known to show another animal, or none.
        drop_near_duplicates: of photographs that show the same picture, saved in different ways, use only the first.
        test_size: how many photographs are held out for the test, stratified; a number, or a share of all.
        validation_size: how many are held out to choose the best epoch, likewise.
        limit: train on only so many photographs, the same number of each class; None for all.
        augmentation: what happens to training photographs at random.
        test_crops: the views that a test averages over: 1, the middle; 2, also its mirror image; 10, also the four
            corners and theirs (Krizhevsky and others 2012, section 4.1).
        mean: of red, green and blue, from 0 to 1; it is subtracted.
        std: of red, green and blue; what is left is divided by it.
    """

    def __init__(
        self,
        data_dir: str | Path | None = None,
        source: str | Path | None = None,
        class_names: Annotated[Sequence[str], MinLen(2)] = ("cat", "dog"),
        batch_size: BatchSize = 64,
        num_workers: Workers = 2,
        seed: Seed = 42,
        image_size: Side = 224,
        resizing: Resizing = Resizing(),  # noqa: B008 (it is frozen)
        largest_side: Side | None = None,
        smallest_side: Side | None = None,
        drop_mislabelled: bool = False,
        drop_near_duplicates: bool = False,
        test_size: Size = 0.1,
        validation_size: Size = 0.1,
        limit: Annotated[int, Ge(2)] | None = None,
        augmentation: Augmentation = Augmentation(),  # noqa: B008 (it is frozen)
        test_crops: Literal[1, 2, 10] = 10,
        mean: Colour = (0.488, 0.455, 0.417),
        std: tuple[Positive, Positive, Positive] = (0.229, 0.224, 0.225),
    ) -> None:
        super().__init__(data_dir, batch_size, num_workers, seed, evaluation_batch_size=max(1, 256 // test_crops))
        self.source = source if source is not None else os.environ.get("DOGS_VS_CATS") or None
        self.class_names = list(class_names)
        self._numbers = {as_class_name(name): number for number, name in enumerate(class_names)}
        self.image_size, self.resizing = image_size, resizing.sized_for(image_size)
        self.largest_side, self.smallest_side, self.drop_mislabelled = largest_side, smallest_side, drop_mislabelled
        self.drop_near_duplicates = drop_near_duplicates
        self.test_size, self.validation_size, self.limit = test_size, validation_size, limit
        self.augmentation, self.test_crops = augmentation, test_crops
        self.mean, self.std = (torch.tensor(colour)[:, None, None] for colour in (mean, std))
        self._split: dict[Part, Indices] = {}
        self._recorded: RecordedSplit | None = None
        self._without_record: Path | None = None

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return 3, self.image_size, self.image_size

    def is_here(self) -> bool:
        own = self.data_dir / "dogs_vs_cats"
        return self.source is not None or (own.is_dir() and any(own.iterdir()))

    def follow(self, directory: Path, every: bool = False) -> None:
        file = directory / "split.csv"
        self._recorded = RecordedSplit(file, every) if file.exists() else None
        self._without_record = None if file.exists() else file
        self._prepared, self._parts, self._split = False, {}, {}
        for derived in ("cache", "components", "_near_duplicates"):
            vars(self).pop(derived, None)

    def prepare(self) -> None:
        """Find the photographs, or download them; read, judge and resize each, once.

        Raises:
            UserError: there are no usable photographs, or they are of other classes than `class_names`, or not those of
                the run that is followed.
            ExperimentError: they could not be downloaded.
        """
        if hasattr(self, "cache"):
            return
        self.root, photographs = find_photographs(self.source, self.data_dir)
        cache = prepare_cache(photographs, self.root, self.resizing, self.data_dir / "cache")
        entries = cache.entries()
        if self._recorded is None:
            self._choose(entries)
        else:
            self._find(entries, self._recorded)
        self.set_aside = [entry for entry in entries if entry.reason is not None]
        self.cache = cache

    def _choose(self, entries: list[Entry]) -> None:
        """Set `used`: the photographs that the rules of the config leave."""
        for entry in entries:
            if entry.reason is None:
                entry.reason = self._reason_against(entry)
        self.used = [entry for entry in entries if entry.reason is None]
        if self.drop_near_duplicates:
            for later, first in find_near_duplicates([entry.look for entry in self.used]):
                self.used[later].reason = self.used[later].reason or f"near-duplicate: {self.used[first].file}"
            self.used = [entry for entry in self.used if entry.reason is None]
        if not self.used:
            raise UserError(
                f"datamodule.source: none of the {len(entries)} files in {self.root} can be used. The first, "
                f"{printable(entries[0].file)}: {printable(str(entries[0].reason))}"
            )
        self.class_of = self._classes_of(self.used)
        if len(self.used) < len(entries):
            number = len(entries) - len(self.used)
            log.info("%s of %s files are set aside: set_aside.csv says why", f"{number:,}", f"{len(entries):,}")

    def _find(self, entries: list[Entry], recorded: RecordedSplit) -> None:
        """Set `used`: the photographs that the followed run had, in its order."""
        found = recorded.find(entries, self._class_number)
        missing = [image.file for image, entry in zip(recorded.images, found, strict=True) if entry is None]
        if missing and recorded.every:
            raise UserError(
                f"datamodule.source: {len(missing):,} of the {len(found):,} photographs that the run used are missing "
                f"from {self.root}, or are others now; the first is {printable(missing[0])}. Restore them, or start a "
                "new run"
            )
        self.used = [entry for entry in found if entry is not None]
        numbers = {label: self._class_number(label) for label in {str(entry.label) for entry in self.used}}
        self.class_of = {label: number for label, number in numbers.items() if number is not None}
        here = np.array([entry is not None for entry in found], dtype=bool)
        self._places = np.where(here, here.cumsum() - 1, -1)  # of the run's photographs in `used`

    def _reason_against(self, entry: Entry) -> str | None:
        """Why a sound photograph is left out, by the rules of the config."""
        if self.largest_side is not None and max(entry.width, entry.height) > self.largest_side:
            return f"larger than {self.largest_side} pixels"
        if self.smallest_side is not None and min(entry.width, entry.height) < self.smallest_side:
            return f"smaller than {self.smallest_side} pixels"
        if self.drop_mislabelled and Path(entry.file).name in MISLABELLED:
            return "known to be mislabelled"
        return None

    def _class_number(self, label: str) -> int | None:
        """The number of the class that a label means: its name, in the singular or the plural; None for no class."""
        name = as_class_name(label)
        # In split.csv, a label that begins like a formula has an apostrophe before it.
        names = (
            spelling for written in (name, name.removeprefix("'")) for spelling in (written, written.removesuffix("s"))
        )
        return next((self._numbers[spelling] for spelling in names if spelling in self._numbers), None)

    def _classes_of(self, entries: Iterable[Entry]) -> dict[str, int]:
        """The class number of each label; every class must have one."""
        labels = sorted({str(entry.label) for entry in entries})
        known = {label: number for label in labels if (number := self._class_number(label)) is not None}
        empty = [name for number, name in enumerate(self.class_names) if number not in known.values()]
        if not empty and len(known) == len(labels):
            return known
        none_of = f", and none of {', '.join(empty)}" if empty else ""
        advice = "Give a folder with photographs of each class"
        if len(labels) > 1:
            advice = f"Set {as_typed('datamodule.class_names', labels)}, or give another folder"
        raise UserError(
            f"datamodule.class_names=[{','.join(self.class_names)}]: the photographs in {self.root} that can be used "
            f"are of {', '.join(labels)}{none_of}. {advice}"
        )

    def load(self, part: Part) -> Mapping[Part, ImageSet]:
        """One part of the photographs.

        Raises:
            UserError: the sizes of the parts leave nothing to train on, or all photographs of the part are missing.
        """
        labels = np.array([self.class_of[str(entry.label)] for entry in self.used])
        rows = np.array([entry.row for entry in self.used])
        chosen = self.split()[part]
        if self._recorded is not None:
            self._say_what_is_missing(part, self._recorded)
        if part != "training":
            return {part: CachedImages(self.cache, rows[chosen], labels[chosen])}
        flipped = None
        if self.augmentation.flip == "alternating":
            flipped = np.random.default_rng((self.seed, Stream.FLIPS)).random(len(chosen)) < 0.5
        augment = Augment(self.augmentation, self.image_size)
        return {part: CachedImages(self.cache, rows[chosen], labels[chosen], augment, flipped)}

    def _say_what_is_missing(self, part: Part, recorded: RecordedSplit) -> None:
        positions = recorded.positions(part)
        missing = positions[self._places[positions] < 0]
        if not len(missing):
            return
        left = len(positions) - len(missing)
        what = (
            f"{len(missing):,} of the {len(positions):,} {part} photographs of {recorded.file.parent} are missing from "
            f"{self.root}, or are others now; the first is {printable(recorded.images[missing[0]].file)}"
        )
        if not left:
            raise UserError(f"datamodule.source: {what}. Restore them")
        if part != "training":
            log.warning("%s. Only the %s that are left are used", what, f"{left:,}")

    def split(self) -> Mapping[Part, Indices]:
        """Which of `used` each part has: indices by part.

        Raises:
            UserError: the sizes of the parts leave nothing to train on.
        """
        if not self._split:
            self.prepare()
            drawn = (
                self._drawn() if self._recorded is None else {part: self._recorded.positions(part) for part in PARTS}
            )
            # In an order that mixes the classes, so that the first few batches have some of each.
            mix = np.random.default_rng((self.seed, Stream.MIX))
            validation, test = mix.permutation(drawn["validation"]), mix.permutation(drawn["test"])
            self._split = {"training": drawn["training"], "validation": validation, "test": test}
            if self._recorded is not None:
                places = {part: self._places[positions] for part, positions in self._split.items()}
                self._split = {part: of_part[of_part >= 0] for part, of_part in places.items()}
        return self._split

    def _drawn(self) -> dict[Part, Indices]:
        """A split by the seed: indices in ascending order."""
        if self._without_record is not None:
            log.warning(
                "%s: there is no such file, so the photographs are split anew. If some were added or removed since the "
                "run, photographs that it trained on may be among those of the test",
                printable(str(self._without_record)),
            )
        labels = np.array([self.class_of[str(entry.label)] for entry in self.used])
        test_size, validation_size = (number_of(size, len(labels)) for size in (self.test_size, self.validation_size))
        if test_size + validation_size + len(self.class_names) > len(labels):
            raise UserError(
                f"datamodule.test_size={self.test_size}, datamodule.validation_size={self.validation_size}: of "
                f"{len(labels)} photographs nothing is left to train on. Make them smaller"
            )
        rest, test = stratified_split(labels, test_size, self.seed)
        train, validation = (rest[part] for part in stratified_split(labels[rest], validation_size, self.seed))
        if self.limit is not None:
            train = train[balanced_subset(labels[train], self.limit, self.seed)]
        counts = np.bincount(labels[train], minlength=len(self.class_names))
        if not counts.all():
            empty = self.class_names[counts.argmin()]
            raise UserError(
                f"datamodule.limit={self.limit}, datamodule.test_size={self.test_size}, "
                f"datamodule.validation_size={self.validation_size}: no photograph of {empty} is left to train on. Use "
                "a larger limit, or smaller test and validation sizes"
            )
        return {"training": train, "validation": validation, "test": test}

    def network_input(self, images: Tensor, part: Part, generator: torch.Generator | None = None) -> Tensor:
        """Bytes (N, 3, H, W) to normalised floats (N, *input_shape).

        The middle of each image, unless it is of the network's size already. Training images, which were cropped and
        augmented when they were loaded, are lit at random here.
        """
        colours = self.crops(images, 1) / 255
        if part == "training":
            colours = self._lit(colours, generator)
        return self._normalised(colours)

    def test_views(self, images: Tensor) -> Tensor:
        """Bytes (N, 3, H, W) to normalised floats: (N, *input_shape), or (N, test_crops, *input_shape) for several."""
        return self._normalised(self.crops(images, self.test_crops) / 255)

    def crops(self, images: Tensor, number: int) -> Tensor:
        """Windows of the network's size from images (N, 3, H, W).

        Args:
            images: bytes or floats.
            number: 1 for the middle, 2 for its mirror image too, 10 for the corners and theirs as well.

        Returns:
            (N, 3, image_size, image_size) for 1, else (N, number, 3, image_size, image_size).
        """
        side, margin = self.image_size, images.shape[-1] - self.image_size
        places = [(margin // 2, margin // 2)]
        if number == 10:
            places += [(0, 0), (0, margin), (margin, 0), (margin, margin)]
        windows = [images[..., top : top + side, left : left + side] for top, left in places]
        if number == 1:
            return windows[0]
        return torch.stack(windows + [window.flip(-1) for window in windows], 1)

    def _lit(self, colours: Tensor, generator: torch.Generator | None) -> Tensor:
        """Colours from 0 to 1, each image in another light; in place."""
        if not self.augmentation.lighting:
            return colours
        return light(colours, self.components, self.augmentation.lighting, generator)

    @cached_property
    def components(self) -> Tensor:
        """Principal components of the training photographs' colours, (3 colours, 3 components)."""
        moments = np.array([self.used[index].moments for index in self.split()["training"]]).mean(0)
        return principal_components(moments / np.array([255.0] * 3 + [255.0**2] * 6))

    def _normalised(self, colours: Tensor) -> Tensor:
        mean, std = (of_all.to(colours.device, non_blocking=True) for of_all in (self.mean, self.std))
        return (colours - mean) / std

    def read_image(self, file: Path) -> Tensor:
        return torch.from_numpy(self.resizing(read_photograph(file))).permute(2, 0, 1)

    def samples(self, number: int) -> dict[str, Tensor]:
        """Training photographs, from all over the set: the middle, and what augmentation makes of them."""
        training = self.images_of("training")
        picked = torch.arange(len(training))[:: max(1, len(training) // number)][:number]
        before, _ = training[Draw(picked)]
        after, _ = training[Draw(picked, (self.seed, Stream.SAMPLES))]
        generator = torch.Generator().manual_seed(self.seed)
        return {"before": self.crops(before, 1) / 255, "after": self._lit(after / 255, generator).clamp(0, 1)}

    def set_aside_summary(self) -> list[SetAside]:
        self.prepare()
        reasons = [(str(entry.reason).partition(":")[0].partition(" (")[0], entry.file) for entry in self.set_aside]
        examples = dict(reversed(reasons))
        counts = Counter(reason for reason, _ in reasons)
        return [SetAside(reason, files, examples[reason]) for reason, files in counts.most_common()]

    @cached_property
    def _near_duplicates(self) -> list[tuple[int, int]]:
        """Pairs of `used` that show the same picture, the later one first."""
        self.prepare()
        return find_near_duplicates([entry.look for entry in self.used])

    def near_duplicates(self) -> list[NearDuplicate]:
        parts = self._parts_of_used()
        described = [(entry.file, str(entry.label), parts.get(place, "")) for place, entry in enumerate(self.used)]
        return [NearDuplicate(*described[later], *described[first]) for later, first in self._near_duplicates]

    def draw(self, directory: Path) -> None:
        """Draw widths against heights (``sizes.png``), what is not used, and near-duplicates."""
        from cnn_experiments.datamodules.drawings import draw_pairs, draw_set_aside, draw_sizes

        self.prepare()
        draw_sizes(self.used, self.image_size, directory / "sizes.png")
        if self.set_aside:
            draw_set_aside(self.set_aside, self.root, directory / "set_aside.png")
        if self._near_duplicates:
            pairs = [(self.used[first], self.used[later]) for later, first in self._near_duplicates]
            draw_pairs(pairs, self.cache, directory / "near_duplicates.png")

    def _parts_of_used(self) -> dict[int, Part]:
        """What the photographs are used for, by their places in `used`; some are used for nothing."""
        return {index: part for part, indices in self.split().items() for index in indices.tolist()}

    def records(self) -> Mapping[str, str]:
        """``split.csv``, which photograph is used for what, and ``set_aside.csv``, which is not used and why."""
        part_of = self._parts_of_used()
        set_aside = ((entry.file, entry.label, entry.width, entry.height, entry.reason) for entry in self.set_aside)
        return {
            "split.csv": as_recorded(self.used, part_of),
            "set_aside.csv": as_csv(["file", "class", "width", "height", "reason"], set_aside),
        }

    def fingerprint(self) -> str:
        """A digest of the names, classes and contents of the files that are used."""
        self.prepare()
        return fingerprint(self.used)


def as_typed(key: str, names: Sequence[str]) -> str:
    """A list as a shell and Hydra understand it on the command line."""
    plain = re.compile(r"(?!(?:true|false|null|nan|inf)$)[a-z_][a-z_0-9-]*", re.ASCII | re.IGNORECASE)
    return shlex.quote(f"{key}=[{','.join(name if plain.fullmatch(name) else _quoted(name) for name in names)}]")


def _quoted(name: str) -> str:
    """A word in the quotes of Hydra, which takes backslashes for themselves except before a quote or ``${``."""
    name = re.sub(r"(\\*)\$\{", r"\1\1\\${", name)
    return '"' + re.sub(r'(\\*)("|$)', lambda found: found[1] * 2 + ('\\"' if found[2] else ""), name) + '"'
