"""Pictures of what is inside a network and of what it gets wrong: images (3, H, W) from 0 to 1, or figures."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from cnn_experiments.models.layers import PartialConv2d
from cnn_experiments.runs.formats import in_picture, text_width

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_MAPS, MAPS_IN_A_ROW = 16, 8  # of a layer, in a picture of its outputs
UNITS_IN_A_ROW = 20  # dense layers with at most so many units are drawn as one row of them
IMAGES_IN_A_ROW = 8
MOST_CLASSES_WITH_COUNTS = 40  # the confusion of more classes is drawn without numbers
KERNEL_SIDE, IMAGE_SIDE, MAP_SIDE, UNITS_SIDE = 66, 128, 72, 144  # pixels to which smaller ones are enlarged


def picture_of_filters(layer: nn.Module) -> Tensor | None:
    """The kernels of a layer's first convolution side by side, each from its lowest weight (0) to its highest (1).

    Kernels over 1 or 3 maps are drawn in gray or in colour; of others, the mean over their maps.

    Args:
        layer: any module; None is returned where it has no two-dimensional convolution.
    """
    convolutions = (part for part in layer.modules() if isinstance(part, (nn.Conv2d, PartialConv2d)))
    convolution = next(convolutions, None)
    if convolution is None:
        return None
    kernels = convolution.dense_weight() if isinstance(convolution, PartialConv2d) else convolution.weight
    kernels = kernels.detach().float().cpu()
    if kernels.shape[1] not in (1, 3):
        kernels = kernels.mean(1, keepdim=True)
    columns = math.ceil(len(kernels) ** 0.5)
    return side_by_side(enlarged(scaled(kernels), KERNEL_SIDE), columns, gap=6, gap_value=1.0)


def picture_of_images(images: Tensor) -> Tensor:
    """Network inputs (N, C, H, W) side by side, each from its lowest value (0) to its highest (1)."""
    images = scaled(images.detach().float().cpu())
    return side_by_side(enlarged(images, IMAGE_SIDE), IMAGES_IN_A_ROW, gap=2, gap_value=1.0)


def picture_of_maps(values: Tensor) -> Tensor:
    """What a layer outputs for each image: at most 16 of its maps, or all of its dense units as one small map.

    Of many maps some are taken at even distances, so that each branch of a layer has its share. A map has the same
    scale
    for all images, so that they can be compared.

    Args:
        values: (N, C, H, W) or (N, units).
    """
    values = values.detach().float().cpu()
    if values.dim() != 4 or values.shape[2:] == (1, 1):
        maps = as_maps(values.flatten(1))
    else:
        number = min(MOST_MAPS, values.shape[1])
        maps = values[:, torch.arange(number) * values.shape[1] // number]
    low, high = maps.amin((0, 2, 3), keepdim=True), maps.amax((0, 2, 3), keepdim=True)
    maps = (maps - low) / (high - low).clamp(min=1e-12)
    size = MAP_SIDE if maps.shape[1] > 1 else UNITS_SIDE
    blocks = [side_by_side(enlarged(of_image[:, None], size), MAPS_IN_A_ROW, gap=1, gap_value=0.5) for of_image in maps]
    is_square = maps.shape[1] == 1 and maps.shape[2] > 1
    return side_by_side(torch.stack(blocks), len(blocks) if is_square else 1, gap=6, gap_value=1.0)


def as_maps(units: Tensor) -> Tensor:
    """Units (N, units) as one map each, (N, 1, H, W): few in a row, many in a rectangle; F6 becomes its 12×7 cells."""
    number = units.shape[1]
    columns = number
    if number > UNITS_IN_A_ROW:
        root = math.isqrt(number)
        columns = next((width for width in range(root, root // 2, -1) if number % width == 0), root)
    return functional.pad(units, (0, -number % columns)).view(len(units), 1, -1, columns)


def scaled(images: Tensor) -> Tensor:
    """Images (N, C, H, W), each from its lowest value (0) to its highest (1)."""
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    return (images - low) / (high - low).clamp(min=1e-5)


def thumbnails(images: Tensor, side: int) -> Tensor:
    """Network inputs (N, C, H, W) as small pictures (N, 3, H', W'), neither side of which is longer than `side`."""
    images = scaled(images.detach().float().cpu())
    if images.shape[1] not in (1, 3):
        images = images.mean(1, keepdim=True)
    share = min(1.0, side / max(images.shape[2:]))
    size = [max(1, int(pixels * share)) for pixels in images.shape[2:]]
    return functional.interpolate(images, size, mode="area").expand(-1, 3, -1, -1)


def enlarged(images: Tensor, size: int) -> Tensor:
    """Small images (N, C, H, W) with each pixel repeated, up to `size` pixels wide; larger ones as they are."""
    return functional.interpolate(images, scale_factor=max(1, size // images.shape[-1]), mode="nearest")


def side_by_side(images: Tensor, columns: int, gap: int, gap_value: float) -> Tensor:
    """Images (N, C, H, W) with C 1 or 3 as one picture (3, H', W'), in rows and with gaps around them.

    Args:
        images: the images.
        columns: how many make a row.
        gap: pixels around each.
        gap_value: brightness of the gaps and of places without an image.
    """
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    framed = functional.pad(images.expand(-1, 3, -1, -1), (gap, 0, gap, 0), value=gap_value)
    framed = functional.pad(framed, (0, 0, 0, 0, 0, 0, 0, rows * columns - len(images)), value=gap_value)
    picture = framed.view(rows, columns, *framed.shape[1:]).permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)
    return functional.pad(picture, (0, gap, 0, gap), value=gap_value)


def picture_of_confusion(counts: Tensor, class_names: list[str]) -> "Figure":
    """How often each class (row) was taken for each (column), coloured by the share of the row.

    Args:
        counts: (classes, classes).
        class_names: their names.
    """
    from matplotlib.figure import Figure

    class_names = list(map(in_picture, class_names))
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
    number_of_classes, longest = len(class_names), max(map(text_width, class_names))
    inches = min(18, max(2.6, 0.5 * number_of_classes))
    margin = 0.55 + 0.09 * longest  # by the longest name: measuring the text would take as long as drawing it
    whole = inches + margin + 0.1
    figure = Figure(figsize=(whole, whole))
    axes = figure.add_axes((margin / whole, margin / whole, inches / whole, inches / whole))
    axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    if number_of_classes <= MOST_CLASSES_WITH_COUNTS:
        for row, column in counts.nonzero().tolist():
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{int(counts[row, column]):,}", ha="center", va="center", color=colour)
    axes.set(xlabel="taken for", ylabel="is", xticks=range(number_of_classes), yticks=range(number_of_classes))
    letters_that_fit = 6 if number_of_classes < 4 else 3
    axes.set_xticklabels(class_names, rotation=90 if longest > letters_that_fit else 0)
    axes.set_yticklabels(class_names)
    return figure


def picture_of_mistakes(images: Tensor, labels: Tensor, probabilities: Tensor, class_names: list[str]) -> "Figure":
    """Images, each with its class, the class it was taken for, and the probabilities of both.

    Args:
        images: network input (N, C, H, W).
        labels: classes (N,).
        probabilities: what the network gives each class, (N, classes).
        class_names: names of the classes.
    """
    from matplotlib.figure import Figure

    titles = []
    for label, of_classes in zip(labels.tolist(), probabilities.tolist(), strict=True):
        taken = max(range(len(of_classes)), key=of_classes.__getitem__)
        titles.append(
            f"is {in_picture(class_names[label])} ({percent(of_classes[label])})\n"
            f"taken for {in_picture(class_names[taken])} ({percent(of_classes[taken])})"
        )
    columns = math.ceil(len(images) ** 0.5)
    rows = math.ceil(len(images) / columns)
    longest = max(text_width(line) for title in titles for line in title.splitlines())
    width = max(1.9, 0.075 * longest)  # inches: measuring the text would take as long as drawing it
    figure = Figure(figsize=(width * columns, 2.3 * rows))
    pixels = scaled(images.detach().float().cpu()).permute(0, 2, 3, 1).numpy()
    for place, (image, title) in enumerate(zip(pixels, titles, strict=True)):
        row, column = divmod(place, columns)
        axes = figure.add_axes((column / columns, (rows - 1 - row + 0.03) / rows, 1 / columns, 0.78 / rows))
        axes.set_axis_off()
        axes.imshow(image, cmap="gray")
        axes.set_title(title, fontsize=9)
    return figure


def percent(share: float) -> str:
    """A probability in percent with one digit; never 0% or 100%, which a softmax does not reach."""
    if share < 0.001:
        return "<0.1%"
    return ">99.9%" if share > 0.999 else f"{share:.1%}"
