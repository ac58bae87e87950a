"""From a photograph of any size to a square of one size, as the papers and the article did it."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import cv2
import numpy as np
from annotated_types import Gt
from numpy.typing import NDArray

cv2.setNumThreads(1)  # images are resized side by side; threads within one would only get in the way

Bytes = NDArray[np.uint8]

INTERPOLATIONS = {
    "area": cv2.INTER_AREA,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}
CANVAS = 500  # side of the article's canvas, in pixels
MARGIN = 256 / 224  # Krizhevsky and others 2012 crop 224 pixels from 256


@dataclass(frozen=True)
class Resizing:
    """How photographs become squares.

    Args:
        method: ``shorter_side`` (scale until the shorter side has `size` pixels, then crop the middle; Krizhevsky and
            others 2012, section 2), ``canvas`` (put into the top left corner of a black canvas of 500×500 pixels, then
            shrink that; the article) or ``squash`` (scale width and height independently).
        size: side of the square, in pixels; None for 256/224 of the network's input.
        interpolation: ``area`` (each new pixel is the mean of those it covers; enlarging is linear), ``linear``,
            ``cubic`` or ``lanczos``.
    """

    method: Literal["shorter_side", "canvas", "squash"] = "shorter_side"
    size: Annotated[int, Gt(0)] | None = None
    interpolation: Literal["area", "linear", "cubic", "lanczos"] = "area"

    def sized_for(self, image_size: int) -> "Resizing":
        """The same with a definite size, which suits a network's input of `image_size` pixels.

        Raises:
            ValueError: `size` is smaller than the network's input.
        """
        size = round(image_size * MARGIN) if self.size is None else self.size
        if size < image_size:
            raise ValueError(
                f"resizing.size={size} is smaller than the {image_size} pixels that the network sees "
                "(model.input_size): make it larger, or that smaller"
            )
        return replace(self, size=size)

    @property
    def side(self) -> int:
        """The definite size, in pixels."""
        if self.size is None:
            raise ValueError("size=None depends on the network's input: call sized_for(image_size) first")
        return self.size

    def __call__(self, image: Bytes) -> Bytes:
        """The square, bytes (size, size, 3), of an image, bytes (H, W, 3)."""
        height, width = image.shape[:2]
        if self.method == "canvas":
            canvas = np.zeros((CANVAS, CANVAS, 3), np.uint8)
            canvas[:height, :width] = image[:CANVAS, :CANVAS]
            image = canvas
        elif self.method == "shorter_side":
            # Crop first, then scale: the same pixels, without computing those that would be cropped.
            shorter = min(height, width)
            top, left = (height - shorter) // 2, (width - shorter) // 2
            image = image[top : top + shorter, left : left + shorter]
        return self._scaled(image)

    def _scaled(self, image: Bytes) -> Bytes:
        """The whole image at the square's size."""
        height, width = image.shape[:2]
        if height == width == self.side:
            return image
        interpolation = INTERPOLATIONS[self.interpolation]
        if self.interpolation == "area" and self.side > min(height, width):
            interpolation = cv2.INTER_LINEAR
        return np.asarray(cv2.resize(image, (self.side, self.side), interpolation=interpolation), dtype=np.uint8)
