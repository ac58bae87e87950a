"""Photographs as arrays: every file that people have is read in the same way, everywhere."""

import io
import os
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

MOST_PIXELS = 50_000_000  # more than cameras that people have; the array would take 150 MB


class UnusableImageError(Exception):
    """An image that cannot or must not be used; the message says why, in a few words."""


def read_photograph(file: Path, content: bytes | None = None) -> NDArray[np.uint8]:
    """Read an image as it is meant to be seen.

    It is rotated as its EXIF orientation says; grayscale and CMYK become RGB; what is transparent becomes white; 16
    bits become 8.

    Args:
        file: an image in any format that Pillow knows.
        content: its bytes, where they have been read already.

    Returns:
        Bytes of red, green and blue, (H, W, 3).

    Raises:
        UnusableImageError: it is empty, no image, truncated, animated, absurdly large, or of another format than its
            name says.
        OSError: the file cannot be read.
    """
    content = file.read_bytes() if content is None else content
    if not content:
        raise UnusableImageError("empty")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata, and about sizes, which are checked here
        image = _opened(content)
        _refuse_unsuitable(image, file)
        try:
            image.load()
            return np.asarray(_as_rgb(ImageOps.exif_transpose(image)))
        except Exception as error:
            reason = "truncated" if "truncated" in str(error) else f"broken ({error})"
            raise UnusableImageError(reason) from error


def _opened(content: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content))
    except UnidentifiedImageError as error:
        raise UnusableImageError("no image") from error
    except Exception as error:  # Pillow's readers raise whatever broken bytes lead them to
        raise UnusableImageError(f"no readable image ({error})") from error


def _refuse_unsuitable(image: Image.Image, file: Path) -> None:
    """Refuse what can be told before the pixels are decoded."""
    expected = Image.registered_extensions().get(file.suffix.lower())
    # Cameras write MPO, several JPEGs in a row, under a JPEG's name; the first of them is the photograph.
    found = "JPEG" if image.format == "MPO" else image.format
    if expected is not None and found != expected:
        raise UnusableImageError(f"in disguise: a {found}, not a {expected}")
    if image.width * image.height > MOST_PIXELS:
        raise UnusableImageError(f"absurdly large: {image.width}×{image.height} pixels")
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise UnusableImageError("animated")


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, dtype=np.float64)
        white = 65535 if values.max() > 255 else 255
        return Image.fromarray((values * (255 / white)).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        on_white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(on_white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def is_image_name(name: str) -> bool:
    """Whether a file's name ends as those of images do."""
    return os.path.splitext(name)[1].lower() in Image.registered_extensions()
