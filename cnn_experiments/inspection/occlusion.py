"""Which part of an image an answer rests on: a grey square hides it, part by part.

Source: Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 4.2.
https://arxiv.org/abs/1311.2901. The square is grey there; here it has the mean colour of the image, which is neither
ink nor paper whatever the preprocessing, unless another is given.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cnn_experiments.errors import UserError
from cnn_experiments.inspection.layer_outputs import evaluation_mode, first_tensor
from cnn_experiments.inspection.progress import Progress


@dataclass(frozen=True)
class HeatMap:
    """The probability of a class with each part of the image hidden: low where the answer rests on that part.

    Args:
        class_index: the class.
        before: its probability with nothing hidden.
        rows: where the centres of the squares lie, in pixels from the top.
        columns: likewise, from the left.
        probabilities: (rows, columns); nan where it is not computed yet.
        size: side of the square in pixels.
    """

    class_index: int
    before: float
    rows: list[int]
    columns: list[int]
    probabilities: Tensor
    size: int


def occluded(image: Tensor, row: int, column: int, size: int, colour: Tensor | None = None) -> Tensor:
    """An image with a square over it, which may reach beyond the edges.

    Args:
        image: network input (C, H, W).
        row: of the square's centre.
        column: likewise.
        size: side of the square in pixels; 0 hides nothing.
        colour: of the square as the network sees it, (C,); None for the mean of the image.

    Returns:
        Another image, (C, H, W).
    """
    top, left = row - size // 2, column - size // 2
    colour = image.mean((1, 2)) if colour is None else colour.to(image)
    hidden = image.clone()
    hidden[:, max(0, top) : max(0, top + size), max(0, left) : max(0, left + size)] = colour[:, None, None]
    return hidden


def occlusion_map(
    network: nn.Module,
    image: Tensor,
    class_index: int | None = None,
    size: int | None = None,
    stride: int | None = None,
    colour: Tensor | None = None,
    batch_size: int = 32,
) -> Iterator[Progress[HeatMap]]:
    """The probability of a class with a square over each place of a grid.

    Args:
        network: any network; it is run in evaluation mode, and stays as it is.
        image: network input (1, C, H, W), on the network's device.
        class_index: the class; None for the most likely one.
        size: side of the square in pixels; None for a quarter of the image's.
        stride: pixels from one place to the next; None for a third of the square.
        colour: of the square as the network sees it, (C,); None for the mean of the image.
        batch_size: how many places are tried at once.

    Yields:
        Progress in places, after each batch; the heat map fills from the top.

    Raises:
        UserError: there is no such class, or the square or stride is less than a pixel.
    """
    height, width = image.shape[2:]
    size = max(1, min(height, width) // 4) if size is None else size
    stride = max(1, size // 3) if stride is None else stride
    if size < 1 or stride < 1:
        raise UserError(f"size={size}, stride={stride}: give at least one pixel")
    shares = _probabilities(network, image)[0]
    class_index = int(shares.argmax()) if class_index is None else class_index
    if not 0 <= class_index < len(shares):
        raise UserError(f"class={class_index}: there are {len(shares)} classes, 0 to {len(shares) - 1}")
    rows, columns = centres(height, stride), centres(width, stride)
    places = [(row, column) for row in rows for column in columns]
    found = torch.full((len(places),), torch.nan)
    for start in range(0, len(places), batch_size):
        batch = places[start : start + batch_size]
        hidden = torch.stack([occluded(image[0], row, column, size, colour) for row, column in batch])
        found[start : start + len(batch)] = _probabilities(network, hidden)[:, class_index].cpu()
        heat = found.clone().view(len(rows), len(columns))
        yield Progress(
            start + len(batch),
            len(places),
            HeatMap(class_index, shares[class_index].item(), rows, columns, heat, size),
        )


def centres(side: int, stride: int) -> list[int]:
    """Places at even distances along a side, as far from one edge as from the other."""
    number = max(1, side // stride)
    return [(side - (number - 1) * stride) // 2 + place * stride for place in range(number)]


def _probabilities(network: nn.Module, images: Tensor) -> Tensor:
    with evaluation_mode(network), torch.no_grad():
        scores = first_tensor(network.forward(images))
    assert scores is not None
    return scores.float().softmax(1)
