"""From a photograph of any size to a square of one size, as the papers and the article did it."""

from dataclasses import dataclass
from typing import Annotated, Literal

import cv2
import numpy as np
from annotated_types import Gt

cv2.setNumThreads(1)  # images are resized side by side; threads inside one of them would only get in the way

INTERPOLATIONS = {
    "area": cv2.INTER_AREA,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}
CANVAS = 500  # side of the article's canvas, in pixels


@dataclass(frozen=True)
class Resizing:
    """How photographs become squares.

    Args:
        method: ``shorter_side`` (scaled until the shorter side has `size` pixels, then the middle cut out; Krizhevsky
            and others 2012, section 2), ``canvas`` (put into the top left corner of a black canvas of 500×500, which
            is then shrunk; the article) or ``squash`` (width and height scaled apart).
        size: side of the square, in pixels.
        interpolation: ``area`` (each new pixel is the mean of those it covers; enlarging is linear), ``linear``,
            ``cubic`` or ``lanczos``.
    """

    method: Literal["shorter_side", "canvas", "squash"]
    size: Annotated[int, Gt(0)]
    interpolation: Literal["area", "linear", "cubic", "lanczos"]

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The square, bytes (size, size, 3), of an image, bytes (H, W, 3)."""
        if self.method == "canvas":
            canvas = np.zeros((CANVAS, CANVAS, 3), np.uint8)
            height, width = min(CANVAS, image.shape[0]), min(CANVAS, image.shape[1])
            canvas[:height, :width] = image[:height, :width]
            return self.scaled(canvas, self.size, self.size)
        if self.method == "squash":
            return self.scaled(image, self.size, self.size)
        height, width = image.shape[:2]
        scale = self.size / min(height, width)
        # Cut first, then scale: the same pixels, without computing those that fall away.
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return self.scaled(image[top : top + side, left : left + side], round(side * scale), round(side * scale))

    def scaled(self, image: np.ndarray, height: int, width: int) -> np.ndarray:
        """The whole image at another size."""
        if image.shape[:2] == (height, width):
            return image
        interpolation = INTERPOLATIONS[self.interpolation]
        if self.interpolation == "area" and (height > image.shape[0] or width > image.shape[1]):
            interpolation = cv2.INTER_LINEAR
        return cv2.resize(image, (width, height), interpolation=interpolation)
