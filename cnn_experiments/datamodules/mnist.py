"""MNIST: 60,000 + 10,000 handwritten digits of 28×28 pixels (LeCun, Cortes, Burges; CC BY-SA 3.0)."""

import hashlib
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.nn import functional

from cnn_experiments.datamodules import mnist_files
from cnn_experiments.datamodules.base import BatchSize, Part, Seed, Workers
from cnn_experiments.datamodules.in_memory import InMemoryImages, Source
from cnn_experiments.datamodules.photographs import read_photograph
from cnn_experiments.datamodules.resizing import Resizing
from cnn_experiments.datamodules.transforms import Distortion

DIGIT_SIDE = 28
PADDED_SIDE = 32  # as LeNet-5 has them; for larger networks the padded images are enlarged
FILES: dict[Source, str] = {"training": "train", "test": "t10k"}  # what their names begin with


class MNIST(InMemoryImages):
    """Digits as floats (N, 1, image_size, image_size), padded on all sides or enlarged, and labels (N,) from 0 to 9.

    Args:
        data_dir: folder of all data sets; None for the environment variable CNN_EXPERIMENTS_DATA, or else ``data``.
            The four files lie in ``MNIST/raw`` below it, as torchvision has them.
        batch_size: training images in a batch, for each process.
        num_workers: processes that load batches. The images lie in memory, so 0 is fastest.
        seed: what the split, the order and the distortions are drawn from.
        image_size: side of the images that the network sees, in pixels: padded up to 32, enlarged beyond.
        background: value of white paper (byte 0) and of the padding. With -0.1 and 1.175 the mean of all pixels is
            about 0 and the variance about 1, which speeds up learning (LeCun and others 1998, section II.B).
        ink: value of black ink (byte 255).
        validation_size: how many of the 60,000 training images are held out, stratified, to choose the best epoch.
        limit: train on only so many images, the same number of each class; None for all.
        distortion: how training images are translated, scaled, rotated and sheared at random; all 0 for not at all.
    """

    def __init__(
        self,
        data_dir: str | Path | None = None,
        batch_size: BatchSize = 128,
        num_workers: Workers = 0,
        seed: Seed = 42,
        image_size: Annotated[int, Ge(DIGIT_SIDE)] = PADDED_SIDE,
        background: float = -0.1,
        ink: float = 1.175,
        validation_size: Annotated[int, Ge(10), Le(59_990)] = 5000,
        limit: Annotated[int, Ge(10)] | None = None,
        distortion: Distortion = Distortion(),  # noqa: B008 (it is frozen)
    ) -> None:
        padded = min(image_size, PADDED_SIDE)
        if padded % 2:
            raise ValueError(f"image_size={image_size} is odd, but 28 pixels are padded equally on both sides")
        self.class_names = [str(digit) for digit in range(10)]
        self.image_shape = (1, padded, padded)
        super().__init__(data_dir, batch_size, num_workers, seed, image_size, validation_size, limit)
        self.folder = self.data_dir / "MNIST" / "raw"
        self.margin = (padded - DIGIT_SIDE) // 2
        self.background, self.ink, self.distortion = background, ink, distortion

    def is_here(self) -> bool:
        return all(
            (self.folder / name).exists() or (self.folder / f"{name}.gz").exists() for name in mnist_files.CHECKSUMS
        )

    def prepare(self) -> None:
        """Check the four files; download those that are missing."""
        mnist_files.make_ready(self.folder)

    def read(self, source: Source) -> tuple[Tensor, Tensor]:
        images = mnist_files.read_images(self.folder / f"{FILES[source]}-images-idx3-ubyte")
        labels = mnist_files.read_labels(self.folder / f"{FILES[source]}-labels-idx1-ubyte")
        return functional.pad(images, (self.margin,) * 4), labels  # byte 0 is the background

    def network_input(self, images: Tensor, part: Part, generator: torch.Generator | None = None) -> Tensor:
        """Bytes (N, 1, H, W) to floats from `background` to `ink`, (N, *input_shape); training images are distorted."""
        digits = (images * ((self.ink - self.background) / 255)).add_(self.background)
        if part == "training" and self.distortion:
            digits = self.distortion(digits, self.background, generator)
        return self.enlarged(digits)

    def read_image(self, file: Path) -> Tensor:
        """A picture of a digit; where its paper is bright and its ink dark, it is inverted, as MNIST has it."""
        grey = Resizing("shorter_side", DIGIT_SIDE, "area")(read_photograph(file)).mean(2)
        if np.median(grey) > 127:
            grey = 255 - grey
        return functional.pad(torch.from_numpy(grey.round().astype(np.uint8))[None], (self.margin,) * 4)

    def samples(self, number: int) -> dict[str, Tensor]:
        images = self.some_images("training", number) / 255
        if not self.distortion:
            return {"before": images}
        generator = torch.Generator().manual_seed(self.seed)
        return {"before": images, "after": self.distortion(images, 0.0, generator).clamp(0, 1)}

    def fingerprint(self) -> str:
        """A digest of the four files, which `prepare` has checked."""
        names_and_digests = "".join(f"{name} {digest}\n" for name, digest in sorted(mnist_files.CHECKSUMS.items()))
        return hashlib.sha256(names_and_digests.encode()).hexdigest()
