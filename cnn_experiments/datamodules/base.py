"""What every data set can do: three parts, batches of bytes, and one way from bytes to what the network gets."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from cnn_experiments.datamodules.samplers import Draw, ImageSet, batch_loader
from cnn_experiments.datamodules.splits import Stream
from cnn_experiments.runs.files import write_text

Part = Literal["training", "validation", "test"]
PARTS: tuple[Part, ...] = get_args(Part)

BatchSize = Annotated[int, Gt(0)]
Workers = Annotated[int, Ge(0)]
Seed = Annotated[int, Ge(0), Le(2**32 - 1)]


class SetAside(NamedTuple):
    """Files of a data set that are not used, for one and the same reason.

    Args:
        reason: why, in a few words.
        files: how many they are.
        example: the first of them.
    """

    reason: str
    files: int
    example: str


class NearDuplicate(NamedTuple):
    """Two files that show the same picture, saved in different ways.

    Args:
        file: the later of the two.
        label: its class.
        part: what it is used for; empty if for nothing.
        first_file: the earlier one.
        first_label: its class.
        first_part: what that is used for.
    """

    file: str
    label: str
    part: str
    first_file: str
    first_label: str
    first_part: str


class ImageData(ABC):
    """Images with labels in three parts, ``training``, ``validation`` and ``test``.

    Images travel as bytes (N, C, H, W), whole batches at a time, and become floats on the device that trains
    (`network_input`); `batches` does both, for use in any training loop. A data set reads and splits its images when
    they are first asked for.

    A subclass defines `class_names`, `input_shape`, `load`, `network_input` and `read_image`, and usually `prepare`.

    Args:
        data_dir: folder of all data sets; None for the environment variable CNN_EXPERIMENTS_DATA, or else ``data``.
        batch_size: training images in a batch, for each process.
        num_workers: processes that load batches; 0 to load in the process that trains.
        seed: what splits, order and augmentation are drawn from.
        evaluation_batch_size: images in a batch of validation or test. Results do not depend on it, memory does.
    """

    class_names: list[str]
    """Names of the classes; an image's label is its class's place in this list."""

    def __init__(
        self,
        data_dir: str | Path | None = None,
        batch_size: BatchSize = 64,
        num_workers: Workers = 0,
        seed: Seed = 42,
        evaluation_batch_size: BatchSize = 1000,
    ) -> None:
        self.data_dir = Path(data_dir if data_dir is not None else os.environ.get("CNN_EXPERIMENTS_DATA", "data"))
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self.evaluation_batch_size = evaluation_batch_size
        self._prepared = False
        self._parts: dict[Part, ImageSet] = {}
        self._next_epoch = 0

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the images that the network gets."""

    def prepare(self) -> None:  # noqa: B027 (there may be nothing to do)
        """Download, check and convert what is needed on disk.

        It may be called several times, and by several processes at once: what is done is not done again.

        Raises:
            UserError: what is there is damaged, or the folder cannot be written.
            ExperimentError: a download failed.
        """

    def is_here(self) -> bool:
        """Whether `prepare` has nothing to download, as far as can be told without reading the files."""
        return True

    def follow(self, directory: Path, every: bool = False) -> None:  # noqa: B027 (there may be no such records)
        """Use the images for what a run used them, whatever has become of their folder since then.

        Call it before `setup`. Images that the run did not know are not used. Where the run has no such records, or the
        data set keeps none, the images are split by the seed.

        Args:
            directory: of the run.
            every: whether all images that the run used must be there, as for training on; if not, `setup` warns of
                missing test and validation images.
        """

    def setup(self, part: Part | None = None) -> None:
        """Read and split the images of one part, or of all; what is there already is not read again.

        Raises:
            UserError: as `prepare`, or nothing is left for a part, or images are missing of a run that is followed.
            ExperimentError: a download failed.
        """
        for one in PARTS if part is None else (part,):
            if one not in PARTS:
                raise ValueError(f"part={one!r}: use {', '.join(PARTS)}")
            if one in self._parts:
                continue
            if not self._prepared:
                self.prepare()
                self._prepared = True
            self._parts |= self.load(one)

    @abstractmethod
    def load(self, part: Part) -> Mapping[Part, ImageSet]:
        """Read a part, once `prepare` is done; `setup` calls this once for each part.

        Returns:
            That part, and others that were read with it: training and validation images usually come together.
        """

    def images_of(self, part: Part) -> ImageSet:
        """The images of a part: ``labels`` (images,), a length, and batches of bytes by `Draw`."""
        self.setup(part)
        return self._parts[part]

    def images_near(self, part: Part, device: torch.device) -> ImageSet:
        """The images of a part for training on a device: on it, if they can be kept there; otherwise `images_of`."""
        return self.images_of(part)

    def loader(
        self, part: Part, epoch: int = 0, shuffle: bool | None = None, device: torch.device | None = None
    ) -> "DataLoader[tuple[Tensor, Tensor]]":
        """Loader of batches: images as bytes (N, C, H, W), and labels (N,).

        Args:
            part: which images.
            epoch: what the order and the augmentation are drawn from, together with the seed.
            shuffle: whether to draw an order and to augment; None for training images alone.
            device: where the batches are needed. They lie there if the images can be kept there, and on the CPU if
                not, or for None.
        """
        shuffle = part == "training" if shuffle is None else shuffle
        batch_size = self.batch_size if part == "training" else self.evaluation_batch_size
        images = self.images_of(part) if device is None else self.images_near(part, device)
        return batch_loader(images, batch_size, self.num_workers, self.seed if shuffle else None, epoch)

    def images_in_last_batch(self, processes: int = 1) -> int:
        """How many images of the last training batch of an epoch a process gets, at least.

        Args:
            processes: how many share each batch.
        """
        rest = len(self.images_of("training")) % (self.batch_size * processes)
        return rest // processes or self.batch_size

    def batches(self, part: Part, epoch: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches as the network gets them: images as floats (N, C, H, W), and labels (N,).

        Training images come shuffled and augmented, in a new order at each call; validation and test images come in
        their own order, one view of each. Nothing is drawn from torch's global random state.

        Args:
            part: which images.
            epoch: of training images, which epoch to draw; None for the next one, counted from 0.
        """
        if part == "training" and epoch is None:
            epoch, self._next_epoch = self._next_epoch, self._next_epoch + 1
        return self._batches(part, self.loader(part, epoch or 0), epoch or 0)

    def _batches(
        self, part: Part, loader: "DataLoader[tuple[Tensor, Tensor]]", epoch: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        origin = np.random.SeedSequence((self.seed, Stream.NETWORK_INPUT, epoch))
        generator = torch.Generator().manual_seed(int(origin.generate_state(1)[0]))
        for images, labels in loader:
            yield self.network_input(images, part, generator), labels

    @abstractmethod
    def network_input(self, images: Tensor, part: Part, generator: torch.Generator | None = None) -> Tensor:
        """Turn images into what the network gets, on the device that they are on.

        Args:
            images: bytes (N, C, H, W), as a loader gives them.
            part: ``training`` augments the images at random; the others do not.
            generator: what to draw from; None for torch's global random state.

        Returns:
            Floats (N, *input_shape).
        """

    def test_views(self, images: Tensor) -> Tensor:
        """Turn images into the views that a test averages over.

        Args:
            images: bytes (N, C, H, W).

        Returns:
            Floats (N, *input_shape), or (N, views, *input_shape), the first of which is `network_input`'s.
        """
        return self.network_input(images, "test")

    @abstractmethod
    def read_image(self, file: Path) -> Tensor:
        """Read an image file of any kind as bytes (C, H, W), ready for `network_input` and `test_views`.

        Raises:
            UnusableImageError: it is no image that can be used; the message says why.
            OSError: the file cannot be read.
        """

    @abstractmethod
    def samples(self, number: int) -> dict[str, Tensor]:
        """The first training images before and, where there is any, after augmentation.

        Args:
            number: how many images.

        Returns:
            ``before`` and ``after``: floats (N, C, H, W) from 0 to 1.
        """

    def some_images(self, part: Part, number: int) -> Tensor:
        """The first images of a part, at most `number`: bytes (N, C, H, W), the same ones each time."""
        images = self.images_of(part)
        return images[Draw(torch.arange(min(number, len(images))))][0]

    def gallery(self, number: int) -> list[NDArray[np.float32]]:
        """The first training images of each class, at most `number`: (N, H, W, C) with values from 0 to 1."""
        images = self.images_of("training")
        rows = [(images.labels == label).nonzero()[:number, 0] for label in range(self.num_classes)]
        return [(images[Draw(row)][0] / 255).permute(0, 2, 3, 1).numpy() for row in rows]

    def class_counts(self, part: Part) -> list[int]:
        """How many images of each class a part has."""
        counts: list[int] = self.images_of(part).labels.bincount(minlength=self.num_classes).tolist()
        return counts

    def set_aside_summary(self) -> list[SetAside]:
        """Which files are not used, by reason, the most frequent first; empty where all are."""
        return []

    def near_duplicates(self) -> list[NearDuplicate]:
        """Pairs of files that show the same picture, saved in different ways; empty where that is not looked for."""
        return []

    def draw(self, directory: Path) -> None:  # noqa: B027 (there may be nothing to do)
        """Draw what is special about this data set into a directory; there may be nothing."""

    def records(self) -> Mapping[str, str]:
        """What a run directory should hold about the data: contents of text files by their names."""
        return {}

    def write_records(self, directory: Path) -> None:
        """Write the files of `records` into a directory."""
        for name, content in self.records().items():
            write_text(directory / name, content)

    @abstractmethod
    def fingerprint(self) -> str:
        """A digest of the images and labels that are used, of all parts together: the same on every machine."""

    def __repr__(self) -> str:
        settings: dict[str, Any] = {"input_shape": self.input_shape, "classes": self.num_classes, "seed": self.seed}
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in settings.items())})"
