"""Data made for tests: digits and photographs that a network learns in seconds."""

import hashlib
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from cnn_experiments.models.lenet5 import rbf_centres


def make_digits(data_dir: Path) -> dict[str, str]:
    """Write 400 + 100 drawn digits in MNIST's format, where they take the place of its 70,000.

    Args:
        data_dir: folder of all data sets.

    Returns:
        SHA-256 by file name, as `mnist_files.CHECKSUMS` has them.
    """
    raw = data_dir / "MNIST" / "raw"
    raw.mkdir(parents=True)
    generator = np.random.default_rng(0)
    bitmaps = (rbf_centres().view(10, 12, 7).numpy() > 0).astype(np.uint8)
    checksums = {}
    for part, number in (("train", 400), ("t10k", 100)):
        labels = np.arange(number, dtype=np.uint8) % 10
        images = generator.integers(0, 60, (number, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            top, left = generator.integers(0, 5), generator.integers(0, 14)
            image[top : top + 24, left : left + 14] += np.kron(bitmaps[label], np.full((2, 2), 190, np.uint8))
        contents = {
            f"{part}-images-idx3-ubyte": struct.pack(">4i", 2051, number, 28, 28) + images.tobytes(),
            f"{part}-labels-idx1-ubyte": struct.pack(">2i", 2049, number) + labels.tobytes(),
        }
        for name, content in contents.items():
            (raw / name).write_bytes(content)
            checksums[name] = hashlib.sha256(content).hexdigest()
    return checksums


def make_photographs(folder: Path) -> None:
    """Fill a new folder, named as Kaggle's files are, with 40 reddish cats and 40 bluish dogs of 48 to 80 pixels."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(40):
        for label, colour in (("cat", (200, 60, 40)), ("dog", (40, 60, 200))):
            height, width = generator.integers(48, 80, 2)
            noise = generator.integers(-40, 40, (height, width, 3))
            image = (np.array(colour) + noise).clip(0, 255).astype(np.uint8)
            Image.fromarray(image).save(folder / f"{label}.{number}.jpg", quality=95)
