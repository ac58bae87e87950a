"""MNIST: 60,000 + 10,000 handwritten digits of 28×28 pixels (LeCun, Cortes, Burges; CC BY-SA 3.0)."""

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.nn import functional

from cnn_experiments.datamodules import mnist_files
from cnn_experiments.datamodules.base import BatchSize, ImageDataModule, Seed, Workers
from cnn_experiments.datamodules.distortion import Distortion
from cnn_experiments.datamodules.loading import ImagesInMemory
from cnn_experiments.datamodules.photographs import read_photograph
from cnn_experiments.datamodules.resizing import Resizing
from cnn_experiments.datamodules.splits import balanced_subset, stratified_split

IMAGE_SIDE = 28
PADDED_SIDE = 32  # as LeNet-5 has them; for larger networks the padded images are enlarged
EVALUATION_BATCH_SIZE = 1000  # bounds the memory that evaluation needs; the figures do not depend on it


class MNIST(ImageDataModule):
    """Digits as float images (N, 1, image_size, image_size), padded all round or enlarged, and labels (N,) from 0 to 9.

    Args:
        data_dir: folder of all data sets; the four files lie in ``MNIST/raw`` below it, as torchvision has them.
        num_classes: 10; networks read it from here.
        channels: 1; likewise.
        batch_size: images in a batch, for each process.
        num_workers: processes that load; the images lie in memory, so 0 is fastest.
        seed: where the split, the order and the distortions come from.
        image_size: side of the images that the network sees, in pixels: padded up to 32, enlarged beyond.
        background: value of white paper (byte 0) and of the padding.
        ink: value of black ink (byte 255).
        validation_size: how many of the 60,000 training images are held out, stratified, to choose the best epoch.
        limit: train on only so many images, the same number of each class; None for all.
        distortion: how far training images are moved, turned, scaled and sheared at random; all 0 for not at all.
    """

    def __init__(
        self,
        data_dir: str,
        num_classes: Annotated[int, Ge(10), Le(10)],
        channels: Annotated[int, Ge(1), Le(1)],
        batch_size: BatchSize,
        num_workers: Workers,
        seed: Seed,
        image_size: Annotated[int, Ge(IMAGE_SIDE)],
        background: float,
        ink: float,
        validation_size: Annotated[int, Ge(10), Le(59_990)],
        limit: Annotated[int, Ge(10)] | None,
        distortion: Distortion,
    ) -> None:
        super().__init__(batch_size, num_workers, seed, EVALUATION_BATCH_SIZE)
        padded = min(image_size, PADDED_SIDE)
        if padded % 2:
            raise ValueError(f"image_size={image_size} is odd, but 28 pixels are padded the same on both sides")
        self.folder = Path(data_dir) / "MNIST" / "raw"
        self.margin, self.image_size = (padded - IMAGE_SIDE) // 2, image_size
        self.background, self.ink = background, ink
        self.validation_size, self.limit, self.distortion = validation_size, limit, distortion
        self.class_names = [str(digit) for digit in range(10)]

    def prepare_data(self) -> None:
        """Make sure that the four files are there and are the right ones; fetch those that are missing."""
        mnist_files.make_ready(self.folder)

    def setup(self, stage: str | None = None) -> None:
        """Read the files and split the training images; once."""
        if stage in ("fit", "validate", None) and not hasattr(self, "training"):
            images, labels = self._read("train")
            train, validation = stratified_split(labels.numpy(), self.validation_size, self.seed)
            if self.limit is not None:
                train = train[balanced_subset(labels[train].numpy(), self.limit, self.seed)]
            self.training = ImagesInMemory(images[train], labels[train])
            self.validation = ImagesInMemory(images[validation], labels[validation])
        if stage in ("test", None) and not hasattr(self, "testing"):
            self.testing = ImagesInMemory(*self._read("t10k"))

    def _read(self, part: str) -> tuple[Tensor, Tensor]:
        images = mnist_files.read_images(self.folder / f"{part}-images-idx3-ubyte")
        images = functional.pad(images, (self.margin,) * 4)  # byte 0 is the background
        return images, mnist_files.read_labels(self.folder / f"{part}-labels-idx1-ubyte")

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        """Bytes to network input, on the device; distorted while training."""
        images, labels = batch
        prepared = self.scaled(images)
        if self.distortion and self.trainer is not None and self.trainer.training:
            prepared = self.distortion(prepared, self.background)
        return self.enlarged(prepared), labels

    def samples(self, number: int) -> dict[str, Tensor]:
        """Training images as they are, and, if they are distorted, as the network gets them."""
        images = self.training.images[:number] / 255
        if not self.distortion:
            return {"before": images}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return {"before": images, "after": self.distortion(images, background=0.0).clamp(0, 1)}

    def load(self, file: Path) -> Tensor:
        """A picture of a digit; where its paper is bright and its ink dark, it is inverted, as MNIST has it."""
        square = Resizing("shorter_side", IMAGE_SIDE, "area")(read_photograph(file))
        grey = square.mean(2)
        if np.median(grey) > 127:
            grey = 255 - grey
        return functional.pad(torch.from_numpy(grey.round().astype(np.uint8))[None], (self.margin,) * 4)

    def prepare(self, images: Tensor) -> Tensor:
        """Bytes to network input."""
        return self.enlarged(self.scaled(images))

    prepare_test = prepare

    def scaled(self, images: Tensor) -> Tensor:
        """Bytes to floats between `background` (byte 0) and `ink` (byte 255)."""
        return (images * ((self.ink - self.background) / 255)).add_(self.background)

    def enlarged(self, images: Tensor) -> Tensor:
        """Images of the side that the network wants."""
        if self.image_size <= PADDED_SIDE:
            return images
        return functional.interpolate(images, size=self.image_size, mode="bilinear")
