"""Photographs as arrays: every file that people have is read in the same way, everywhere."""

import io
import os
import threading
import warnings
from contextlib import nullcontext
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

MOST_PIXELS = 50_000_000  # more than cameras that people have; the array would take 150 MB
MOST_BYTES = 100_000_000  # of a file; more than such an image takes in any format that people use
# Pillow knows many more formats. Some of their readers start other programs (EPS), or only pass files on to others.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
LARGE = 8_000_000  # pixels; decoding such an image may take a gigabyte for a moment
_one_large_at_a_time = threading.Lock()


class UnusableImageError(Exception):
    """An image that cannot or must not be used; the message says why, in a few words.

    Args:
        reason: the message.
        kind: what it comes down to: ``empty``, ``unknown``, ``broken``, ``large`` or ``animated``; no text for anything
            else.
    """

    def __init__(self, reason: str, kind: str = "") -> None:
        super().__init__(reason)
        self.kind = kind


def read_photograph(file: Path, content: bytes | None = None) -> NDArray[np.uint8]:
    """Read an image as it is meant to be seen.

    It is rotated as its EXIF orientation says; grayscale and CMYK become RGB; what is transparent becomes white; 16
    bits become 8.

    Args:
        file: an image in one of the `FORMATS`.
        content: its bytes, where they have been read already.

    Returns:
        Bytes of red, green and blue, (H, W, 3).

    Raises:
        UnusableImageError: it is empty, no image, truncated, animated, absurdly large, or of another format than its
            name says.
        OSError: the file cannot be read.
    """
    content = read_content(file) if content is None else content
    if not content:
        raise UnusableImageError("empty", "empty")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata, and about sizes, which are checked here
        image = _opened(content)
        _refuse_unsuitable(image, file)
        with _one_large_at_a_time if image.width * image.height > LARGE else nullcontext():
            try:
                image.load()
                ImageOps.exif_transpose(image, in_place=True)  # copies nothing where there is nothing to turn
                return np.asarray(_as_rgb(image))
            except Exception as error:
                reason = "truncated" if "truncated" in str(error) else f"broken ({error})"
                raise UnusableImageError(reason, "broken") from error


def read_content(file: Path) -> bytes:
    """The bytes of an image file.

    Raises:
        UnusableImageError: it has more than `MOST_BYTES`; it is not read then.
        OSError: the file cannot be read.
    """
    with file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > MOST_BYTES:
            raise UnusableImageError(f"absurdly large: {size / 1e6:,.0f} MB", "large")
        return stream.read(MOST_BYTES)


@cache
def _readable_formats() -> tuple[str, ...]:
    """Those of the `FORMATS` that this installation of Pillow was built with."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _opened(content: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content), formats=_readable_formats())
    except UnidentifiedImageError as error:
        reason = f"no image (of the formats {', '.join(_readable_formats())})"
        if _is_heic(content):
            reason = "HEIC, which is not read: save it as JPEG"
        raise UnusableImageError(reason, "unknown") from error
    except Exception as error:  # Pillow's readers raise whatever broken bytes lead them to
        raise UnusableImageError(f"no readable image ({error})", "broken") from error


def _is_heic(content: bytes) -> bool:
    """Whether bytes begin as a photograph of a phone does that saves the format HEIC, which Pillow does not read."""
    return content[4:8] == b"ftyp" and any(brand in content[8:64] for brand in (b"heic", b"heix", b"hevc"))


def _refuse_unsuitable(image: Image.Image, file: Path) -> None:
    """Refuse what can be told before the pixels are decoded."""
    expected = _format_of_name(file.name)
    # Cameras write MPO, several JPEGs in a row, under a JPEG's name; the first of them is the photograph.
    found = "JPEG" if image.format == "MPO" else image.format
    if expected is not None and found != expected:
        raise UnusableImageError(f"in disguise: a {found}, not a {expected}")
    if image.width * image.height > MOST_PIXELS:
        raise UnusableImageError(f"absurdly large: {image.width}×{image.height} pixels", "large")
    try:
        animated = image.format != "MPO" and getattr(image, "is_animated", False)
    except Exception as error:  # to answer this, Pillow reads on in a GIF
        raise UnusableImageError(f"broken ({error})", "broken") from error
    if animated:
        raise UnusableImageError("animated", "animated")


def _format_of_name(name: str) -> str | None:
    """The format that the end of a file's name stands for."""
    stands_for = Image.registered_extensions().get(os.path.splitext(name)[1].lower())
    return "JPEG" if stands_for == "MPO" else stands_for


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        white = 65535 if values.max() > 255 else 255
        return Image.fromarray((values * (255 / white)).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        on_white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(on_white, image.convert("RGBA")).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def is_image_name(name: str) -> bool:
    """Whether a file's name ends as those of images do."""
    return _format_of_name(name) in _readable_formats()
