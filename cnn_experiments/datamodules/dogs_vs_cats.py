"""Dogs vs. Cats: photographs in a folder, by class (Kaggle 2013; Microsoft's Asirra); or any other such folder."""

import csv
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor
from torch.utils.data import Dataset

from cnn_experiments.datamodules.augmentation import Augment, Augmentation, light, principal_components
from cnn_experiments.datamodules.base import BatchSize, ImageDataModule, Seed, Workers
from cnn_experiments.datamodules.dogs_vs_cats_files import find_photographs
from cnn_experiments.datamodules.image_cache import Entry, ImageCache, prepare_cache
from cnn_experiments.datamodules.loading import Draw
from cnn_experiments.datamodules.photographs import read_photograph
from cnn_experiments.datamodules.resizing import Resizing
from cnn_experiments.datamodules.splits import balanced_subset, stratified_split
from cnn_experiments.errors import UserError

log = logging.getLogger(__name__)

# Kaggle's files that show another animal than their names say, or none; found by those who looked.
MISLABELLED = frozenset(
    [f"dog.{n}.jpg" for n in (1773, 2614, 4367, 5604, 8736, 9517, 10237, 10747, 10801, 11299)]
    + [f"cat.{n}.jpg" for n in (4085, 4338, 5351, 5418, 7377, 10712, 11184)]
)
# A number of images, or a share of all.
Part = Annotated[int, Ge(1)] | Annotated[float, Gt(0), Lt(1)]
Colour = tuple[float, float, float]


class CachedImages(Dataset):
    """Some images of a cache and their labels (N,), fetched a whole batch at once; changed at random if so asked."""

    def __init__(self, cache: ImageCache, rows: np.ndarray, labels: np.ndarray, augment: Augment | None = None) -> None:
        self.cache, self.rows, self.labels, self.augment = cache, rows, torch.from_numpy(labels), augment

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        images = self.cache[self.rows[draw.indices.numpy()]]
        if self.augment is not None and draw.seed is not None:
            images = self.augment(images, draw.seed)
        return torch.from_numpy(images).permute(0, 3, 1, 2), self.labels[draw.indices]


class DogsVsCats(ImageDataModule):
    """Photographs as float images (N, 3, image_size, image_size) and labels (N,), in the order of the classes' names.

    Each file is read once and kept as bytes of one size on disk (`resizing`); from there a window of the network's size
    is cut out: at random while training, in the middle otherwise.

    Args:
        data_dir: folder of all data sets; downloads and caches go there.
        source: a folder or an archive anywhere; None for ``<data_dir>/dogs_vs_cats``, or a download.
        class_names: what the classes are called; their folders, or files, are called the same, in either number.
        num_classes: how many classes there are; networks read it from here.
        channels: 3; likewise.
        batch_size: images in a batch, for each process.
        num_workers: processes that load and change images.
        seed: where splits, order and random changes come from.
        image_size: side of what the network sees, in pixels.
        resizing: how photographs become squares of one size.
        largest_side: set photographs aside whose width or height is more; the article: 500. None for no bound.
        smallest_side: set photographs aside whose width or height is less, as they would have to be enlarged. None for
            no bound.
        drop_mislabelled: set Kaggle's 17 files aside that are known to show another animal, or none.
        test_size: how many photographs are held out for the test, stratified; a number, or a share of all.
        validation_size: how many are held out to choose the best epoch, likewise.
        limit: train on only so many images, the same number of each class; None for all.
        augmentation: what happens to training images at random.
        test_crops: what the test averages over: 1, the middle; 2, the middle and its mirror image; 10, also the four
            corners and theirs (Krizhevsky and others 2012, section 4.1).
        mean: of red, green and blue, from 0 to 1; is subtracted.
        deviation: of red, green and blue; what is left is divided by it.
    """

    def __init__(
        self,
        data_dir: str,
        source: str | None,
        class_names: list[str],
        num_classes: Annotated[int, Ge(2)],
        channels: Annotated[int, Ge(3), Le(3)],
        batch_size: BatchSize,
        num_workers: Workers,
        seed: Seed,
        image_size: Annotated[int, Gt(0)],
        resizing: Resizing,
        largest_side: Annotated[int, Gt(0)] | None,
        smallest_side: Annotated[int, Gt(0)] | None,
        drop_mislabelled: bool,
        test_size: Part,
        validation_size: Part,
        limit: Annotated[int, Ge(2)] | None,
        augmentation: Augmentation,
        test_crops: Literal[1, 2, 10],
        mean: Colour,
        deviation: tuple[Annotated[float, Gt(0)], Annotated[float, Gt(0)], Annotated[float, Gt(0)]],
    ) -> None:
        super().__init__(batch_size, num_workers, seed, evaluation_batch_size=max(1, 256 // test_crops))
        if resizing.size < image_size:
            raise ValueError(
                f"resizing.size={resizing.size} is smaller than the {image_size} pixels that the network sees "
                "(model.input_size): make it larger, or that smaller"
            )
        if num_classes != len(class_names):
            raise ValueError(f"num_classes={num_classes}, but there are {len(class_names)} class_names: set those")
        self.data_dir, self.source, self.class_names = Path(data_dir), source, class_names
        self.image_size, self.resizing = image_size, resizing
        self.largest_side, self.smallest_side, self.drop_mislabelled = largest_side, smallest_side, drop_mislabelled
        self.test_size, self.validation_size, self.limit = test_size, validation_size, limit
        self.augmentation, self.test_crops = augmentation, test_crops
        self.mean, self.deviation = (torch.tensor(colour)[:, None, None] for colour in (mean, deviation))
        self.cache: ImageCache | None = None

    def prepare_data(self) -> None:
        """Find the photographs, or download them; read, judge and resize each, once."""
        if self.cache is None:
            self.root, photographs = find_photographs(self.source, self.data_dir)
            self.cache = prepare_cache(photographs, self.root, self.resizing, self.data_dir / "cache")
            self._judge()

    def _judge(self) -> None:
        """Choose the photographs to use, by the rules of the config."""
        assert self.cache is not None
        self.entries = self.cache.entries()
        for entry in self.entries:
            if entry.reason is None:
                entry.reason = self._reason_against(entry)
        self.used = [entry for entry in self.entries if entry.reason is None]
        if not self.used:
            raise UserError(
                f"datamodule.source: none of the {len(self.entries)} files in {self.root} can be used. The first, "
                f"{self.entries[0].file}: {self.entries[0].reason}"
            )
        labels = sorted({str(entry.label) for entry in self.used})
        self.class_of = {label: self._class_called(label) for label in labels}
        if None in self.class_of.values() or len(labels) != len(self.class_names):
            raise UserError(
                f"datamodule.class_names=[{','.join(self.class_names)}]: the photographs in {self.root} that can be "
                f"used are of {', '.join(labels)}. Set datamodule.class_names=[{','.join(labels)}], or give another "
                "folder"
            )
        self.set_aside = [entry for entry in self.entries if entry.reason is not None]
        if self.set_aside:
            numbers = f"{len(self.set_aside):,}", f"{len(self.entries):,}"
            log.info("%s of %s files are set aside: set_aside.csv says why", *numbers)

    def _class_called(self, label: str) -> int | None:
        """The number of the class that a folder or file is called after, in the singular or in the plural."""
        names = [name.lower() for name in self.class_names]
        return next((names.index(name) for name in (label, label.removesuffix("s")) if name in names), None)

    def _reason_against(self, entry: Entry) -> str | None:
        if self.largest_side is not None and max(entry.width, entry.height) > self.largest_side:
            return f"larger than {self.largest_side} pixels"
        if self.smallest_side is not None and min(entry.width, entry.height) < self.smallest_side:
            return f"smaller than {self.smallest_side} pixels"
        if self.drop_mislabelled and Path(entry.file).name in MISLABELLED:
            return "known to be mislabelled"
        return None

    def setup(self, stage: str | None = None) -> None:
        """Split the photographs; once."""
        if hasattr(self, "testing"):
            return
        self.prepare_data()
        assert self.cache is not None
        labels = np.array([self.class_of[str(entry.label)] for entry in self.used])
        rows = np.array([entry.row for entry in self.used])
        test_size, validation_size = (
            size if isinstance(size, int) else round(size * len(labels))
            for size in (self.test_size, self.validation_size)
        )
        if test_size + validation_size + len(self.class_names) > len(labels):
            raise UserError(
                f"datamodule.test_size={self.test_size}, datamodule.validation_size={self.validation_size}: of "
                f"{len(labels)} photographs nothing is left to train on. Make them smaller"
            )
        rest, test = stratified_split(labels, test_size, self.seed)
        train, validation = (rest[part] for part in stratified_split(labels[rest], validation_size, self.seed))
        if self.limit is not None:
            train = train[balanced_subset(labels[train], self.limit, self.seed)]
        # In an order that mixes the classes: limit_val_batches then takes some of each.
        mix = np.random.default_rng((self.seed, 5))
        validation, test = mix.permutation(validation), mix.permutation(test)
        self.parts = {"training": train, "validation": validation, "test": test}
        augment = Augment(self.augmentation, self.image_size)
        self.training = CachedImages(self.cache, rows[train], labels[train], augment)
        self.validation = CachedImages(self.cache, rows[validation], labels[validation])
        self.testing = CachedImages(self.cache, rows[test], labels[test])
        moments = np.array([self.used[index].moments for index in train]).mean(0)
        self.components = principal_components(moments / np.array([255.0] * 3 + [255.0**2] * 6))

    def records(self) -> Iterator[tuple[str, str]]:
        """``split.csv``, which photograph is used for what, and ``set_aside.csv``, which is not used and why."""
        split = {index: part for part, indices in self.parts.items() for index in indices}
        yield (
            "split.csv",
            _as_csv(
                ["file", "class", "used for"],
                [[entry.file, entry.label, split.get(index, "")] for index, entry in enumerate(self.used)],
            ),
        )
        yield (
            "set_aside.csv",
            _as_csv(
                ["file", "class", "width", "height", "reason"],
                [[e.file, e.label, e.width, e.height, e.reason] for e in self.set_aside],
            ),
        )

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        """Bytes to network input, on the device: lit while training, several views in the test."""
        images, labels = batch
        if self.trainer is not None and self.trainer.training:
            return self.normalise(self.lit(self.cut(images, 1))), labels
        if self.trainer is not None and self.trainer.testing:
            return self.prepare_test(images), labels
        return self.prepare(images), labels

    def lit(self, images: Tensor) -> Tensor:
        """Bytes to floats from 0 to 1, in another light for each image."""
        images = images / 255
        return light(images, self.components, self.augmentation.lighting) if self.augmentation.lighting else images

    def normalise(self, images: Tensor) -> Tensor:
        """Floats from 0 to 1 to what the network gets."""
        return (images - self.mean.to(images.device)) / self.deviation.to(images.device)

    def prepare(self, images: Tensor, crops: int = 1) -> Tensor:
        """Bytes (N, 3, size, size) to network input: (N, 3, image_size, image_size), or (N, crops, 3, ...)."""
        return self.normalise(self.cut(images, crops) / 255)

    def prepare_test(self, images: Tensor) -> Tensor:
        """Bytes to network input, in as many views as the test has."""
        return self.prepare(images, self.test_crops)

    def cut(self, images: Tensor, crops: int) -> Tensor:
        """Windows of the network's size: the middle; with `crops` 2 its mirror image; with 10 the corners too."""
        side, margin = self.image_size, images.shape[-1] - self.image_size
        places = [(margin // 2, margin // 2)]
        if crops == 10:
            places += [(0, 0), (0, margin), (margin, 0), (margin, margin)]
        windows = [images[..., top : top + side, left : left + side] for top, left in places]
        if crops == 1:
            return windows[0]
        return torch.stack(windows + [window.flip(-1) for window in windows], 1)

    def samples(self, number: int) -> dict[str, Tensor]:
        """Training images as they are cut out of the middle, and as they are changed for the network."""
        picked = Draw(torch.arange(len(self.training))[:: max(1, len(self.training) // number)][:number], None)
        before, _ = self.training[picked]  # without a seed nothing is changed
        after, _ = self.training[picked._replace(seed=(self.seed, 4))]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return {"before": self.cut(before, 1) / 255, "after": self.lit(after).clamp(0, 1)}

    def draw(self, directory: Path) -> None:
        """Draw widths against heights, and what was set aside."""
        from cnn_experiments.datamodules.pictures import draw_set_aside, draw_sizes

        draw_sizes(self.used, self.image_size, directory / "sizes.png")
        if self.set_aside:
            draw_set_aside(self.set_aside, self.root, directory / "set_aside.png")

    def load(self, file: Path) -> Tensor:
        return torch.from_numpy(self.resizing(read_photograph(file))).permute(2, 0, 1)


def _as_csv(heading: list[str], rows: list[list[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heading)
    writer.writerows(rows)
    return text.getvalue()
