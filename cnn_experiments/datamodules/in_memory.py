"""Data sets that fit into memory: a subclass says what its images are called and how they are read."""

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from cnn_experiments.datamodules.base import BatchSize, ImageData, Part, Seed, Workers
from cnn_experiments.datamodules.photographs import read_photograph
from cnn_experiments.datamodules.resizing import Resizing
from cnn_experiments.datamodules.samplers import Draw, ImageSet
from cnn_experiments.datamodules.splits import balanced_subset, number_of, stratified_split
from cnn_experiments.datamodules.transforms import CropAndFlip
from cnn_experiments.errors import UserError

Source = Literal["training", "test"]
Size = Annotated[int, Ge(1)] | Annotated[float, Gt(0), Lt(1)]  # a number of images, or a share of all
Colours = float | tuple[float, ...]
MOST_OF_A_GPU = 0.25  # of its free memory, that the images of a part may take
PositiveColours = Annotated[float, Gt(0)] | tuple[Annotated[float, Gt(0)], ...]


class ImagesInMemory(Dataset[tuple[Tensor, Tensor]]):
    """Images (N, C, H, W) as bytes and labels (N,), fetched a batch at a time."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        return self.images.index_select(0, draw.indices), self.labels.index_select(0, draw.indices)

    def near(self, device: torch.device) -> "ImagesInMemory":
        """The same images on a device, so that batches do not travel; where they are, if its memory is too small."""
        if device.type == "cuda" and self.images.nbytes > MOST_OF_A_GPU * torch.cuda.mem_get_info(device)[0]:
            return self
        return ImagesInMemory(self.images.to(device), self.labels.to(device))


class InMemoryImages(ImageData):
    """Base class of data sets whose images fit into memory.

    A subclass defines `class_names`, `image_shape` and `read`, and `prepare` if it downloads anything. Validation
    images are held out of its training images, stratified by class. Its constructor's arguments are these, unless it
    defines its own.

    Args:
        data_dir: folder of all data sets; None for the environment variable CNN_EXPERIMENTS_DATA, or else ``data``.
        batch_size: training images in a batch, for each process.
        num_workers: processes that load batches. The images lie in memory, so 0 is fastest.
        seed: what the split, the order and the augmentation are drawn from.
        image_size: side of the network's input, in pixels: the images are enlarged to it. None for their own side.
        validation_size: how many training images are held out to choose the best epoch; a number, or a share.
        limit: train on only so many images, the same number of each class; None for all.
        augmentation: what happens to training images at random.
        mean: of the colours from 0 to 1, one for each channel or one for all; it is subtracted.
        std: of the colours, likewise; what is left is divided by it.
    """

    image_shape: tuple[int, int, int]
    """Channels (1 or 3), height and width of the images that `read` returns; height and width are the same."""

    def __init__(
        self,
        data_dir: str | Path | None = None,
        batch_size: BatchSize = 64,
        num_workers: Workers = 0,
        seed: Seed = 42,
        image_size: Annotated[int, Gt(0)] | None = None,
        validation_size: Size = 0.1,
        limit: Annotated[int, Ge(1)] | None = None,
        augmentation: CropAndFlip = CropAndFlip(),  # noqa: B008 (it is frozen)
        mean: Colours = 0.5,
        std: PositiveColours = 0.25,
    ) -> None:
        super().__init__(data_dir, batch_size, num_workers, seed)
        channels, _, side = self.image_shape
        if image_size is not None and image_size < side:
            raise ValueError(
                f"image_size={image_size} is smaller than the {side} pixels of the images: choose a network with a "
                "larger input (model.input_size)"
            )
        self.image_size = side if image_size is None else image_size
        self.validation_size, self.limit, self.augmentation = validation_size, limit, augmentation
        self.mean, self.std = (torch.tensor(colours).view(-1, 1, 1) for colours in (mean, std))
        if not {len(self.mean), len(self.std)} <= {1, channels}:
            raise ValueError(f"mean={mean}, std={std}: give one number each, or one for each of {channels} channels")
        self._digests: dict[Source, bytes] = {}

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return self.image_shape[0], self.image_size, self.image_size

    @abstractmethod
    def read(self, source: Source) -> tuple[Tensor, Tensor]:
        """Read the training or the test images from disk.

        Args:
            source: ``training`` (validation images are held out of these) or ``test``.

        Returns:
            Images as bytes (N, *image_shape), and their labels as integers (N,) from 0 to the number of classes - 1.
        """

    def images_near(self, part: Part, device: torch.device) -> ImageSet:
        images = self.images_of(part)
        return images.near(device) if isinstance(images, ImagesInMemory) and not self.num_workers else images

    def load(self, part: Part) -> Mapping[Part, ImageSet]:
        """The test images; or training and validation images, split.

        Raises:
            UserError: `validation_size` leaves nothing to train on.
            ValueError: `read` returned something else than it should.
        """
        if part == "test":
            return {"test": ImagesInMemory(*self._read_and_check("test"))}
        images, labels = self._read_and_check("training")
        size = number_of(self.validation_size, len(labels))
        if size + self.num_classes > len(labels):
            raise UserError(
                f"datamodule.validation_size={self.validation_size}: of {len(labels)} images nothing is left to train "
                "on. Make it smaller"
            )
        train, validation = stratified_split(labels.numpy(), size, self.seed)
        if self.limit is not None:
            train = train[balanced_subset(labels[train].numpy(), self.limit, self.seed)]
        return {
            "training": ImagesInMemory(images[train], labels[train]),
            "validation": ImagesInMemory(images[validation], labels[validation]),
        }

    def _read_and_check(self, source: Source) -> tuple[Tensor, Tensor]:
        images, labels = self.read(source)
        what = f"{type(self).__name__}.read({source!r}) returned"
        if images.dtype != torch.uint8 or images.shape[1:] != self.image_shape:
            raise ValueError(
                f"{what} images of shape {tuple(images.shape)} and type {images.dtype}: expected "
                f"(N, {', '.join(map(str, self.image_shape))}) and torch.uint8"
            )
        labels = labels.long()
        if labels.shape != images.shape[:1]:
            raise ValueError(f"{what} labels of shape {tuple(labels.shape)} for {len(images)} images")
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < self.num_classes:
            raise ValueError(
                f"{what} labels from {int(labels.min())} to {int(labels.max())}: expected 0 to {self.num_classes - 1}"
            )
        digest = hashlib.sha256(np.ascontiguousarray(images.numpy()).data)
        digest.update(np.ascontiguousarray(labels.numpy()).data)
        self._digests[source] = digest.digest()
        return images, labels

    def network_input(self, images: Tensor, part: Part, generator: torch.Generator | None = None) -> Tensor:
        """Bytes (N, C, H, W) to normalised floats (N, *input_shape); training images are augmented first."""
        if part == "training":
            images = self.augmentation(images, generator)
        mean, std = (colours.to(images.device, non_blocking=True) for colours in (self.mean, self.std))
        return self.enlarged((images / 255 - mean) / std)

    def enlarged(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) of the size that the network gets."""
        if images.shape[-1] == self.image_size:
            return images
        return functional.interpolate(images, size=self.image_size, mode="bilinear")

    def read_image(self, file: Path) -> Tensor:
        channels, _, side = self.image_shape
        square = Resizing("shorter_side", side, "area")(read_photograph(file))
        if channels == 1:
            square = square.mean(2, keepdims=True).round().astype(np.uint8)
        return torch.from_numpy(square).permute(2, 0, 1)

    def samples(self, number: int) -> dict[str, Tensor]:
        images = self.some_images("training", number)
        if not self.augmentation:
            return {"before": images / 255}
        generator = torch.Generator().manual_seed(self.seed)
        return {"before": images / 255, "after": self.augmentation(images, generator) / 255}

    def fingerprint(self) -> str:
        """A digest of all images and labels that `read` returns."""
        self.setup()
        return hashlib.sha256(self._digests["training"] + self._digests["test"]).hexdigest()
