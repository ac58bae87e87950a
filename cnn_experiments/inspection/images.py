"""Images of a data set, and what a network gets of them, as pictures for people."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnn_experiments.datamodules.base import ImageData
from cnn_experiments.datamodules.mnist import MNIST

Picture = NDArray[np.uint8]
"""Red, green and blue, (H, W, 3)."""


def picture_of_bytes(data: ImageData, images: Tensor) -> Picture:
    """Images of a data set as pictures, (N, H, W, 3); digits dark on white, as they were written.

    Args:
        data: the data set.
        images: as it gives them, bytes or floats (N, C, H, W).
    """
    if images.dtype != torch.uint8:  # of an object of the user's own
        low, high = images.amin(), images.amax()
        images = ((images - low) / (high - low).clamp_min(1e-12) * 255).round().to(torch.uint8)
    if isinstance(data, MNIST):
        images = 255 - images
    return _as_colours(images)


def picture_of_input(data: ImageData, image: Tensor) -> Picture:
    """A network input (C, H, W) as a picture (H, W, 3), with the data set's normalisation undone."""
    if isinstance(data, MNIST):
        shares = 1 - (image - data.background) / (data.ink - data.background)
    elif (colours := colours_of(data)) is not None:
        mean, std = (torch.tensor(numbers)[:, None, None] for numbers in colours)
        shares = image * std + mean
    else:
        shares = (image - image.amin()) / (image.amax() - image.amin()).clamp_min(1e-12)
    picture: Picture = _as_colours((shares.clamp(0, 1) * 255).round().to(torch.uint8)[None])[0]
    return picture


def colours_of(data: ImageData | None) -> tuple[list[float], list[float]] | None:
    """What is subtracted from each colour from 0 to 1, and what it is divided by; None where that is not known."""
    mean, std = getattr(data, "mean", None), getattr(data, "std", None)
    if isinstance(data, MNIST) or not isinstance(mean, Tensor) or not isinstance(std, Tensor):
        return None
    return mean.flatten().tolist(), std.flatten().tolist()


def _as_colours(images: Tensor) -> Picture:
    """Bytes (N, C, H, W) as (N, H, W, 3): one channel for all three colours; of more than three, the first three."""
    if images.shape[1] < 3:
        images = images[:, :1].expand(-1, 3, -1, -1)
    colours: Picture = np.ascontiguousarray(images[:, :3].permute(0, 2, 3, 1).cpu().numpy())
    return colours


def reduced(picture: Picture, side: int) -> Picture:
    """A picture with at most so many pixels a side."""
    from PIL import Image

    image = Image.fromarray(picture)
    image.thumbnail((side, side))
    return np.asarray(image)
