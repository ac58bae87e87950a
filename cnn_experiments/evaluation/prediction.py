"""Predictions of a trained network for image files."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from cnn_experiments.datamodules.base import ImageData
from cnn_experiments.datamodules.photographs import UnusableImageError
from cnn_experiments.errors import UserError
from cnn_experiments.evaluation.hardware import Hardware
from cnn_experiments.evaluation.testing import scores_of
from cnn_experiments.runs.folders import walk


@dataclass(frozen=True)
class Prediction:
    """The prediction of a network for an image file.

    Args:
        file: the image.
        class_name: the most likely class; empty if the file cannot be read.
        probability: probability of that class.
        probabilities: probability of each class, by name.
        error: why the file cannot be read; empty if it can.
        seen: network input, (C, side, side); of several views the first, which is the central one.
    """

    file: Path
    class_name: str = ""
    probability: float = 0.0
    probabilities: dict[str, float] = field(default_factory=dict, repr=False)
    error: str = ""
    seen: Tensor | None = field(default=None, repr=False, compare=False)


def find_images(images: str | Path) -> list[Path]:
    """Find image files: one, all in a folder and its sub-folders, or those that match a pattern; sorted by name.

    Links to folders are followed only if they are named. Square brackets may be part of a name.

    Raises:
        UserError: there are none.
    """
    path = Path(images).expanduser()
    if os.path.isdir(path):
        found = [folder / name for folder, names in walk(path) for name in names or []]
    elif os.path.exists(path):
        found = [path]
    else:
        found = _matching(path) or _matching(Path(str(path).replace("[", "[[]")))
    files = sorted({file for file in found if os.path.isfile(file) and not file.name.startswith(".")})
    if not files:
        raise UserError(f"images={images}: there are no such files. Give a file, a folder or a pattern ('a/*.jpg')")
    return files


def _matching(pattern: Path) -> list[Path]:
    """What matches a pattern. ``**`` stands for any number of folders, and for all that is in them at the end."""
    below = pattern.relative_to(pattern.anchor) / ("*" if pattern.name == "**" else "")
    try:
        return list(Path(pattern.anchor).glob(str(below)))
    except (ValueError, NotImplementedError, OSError, RecursionError):  # no pattern, or too deep to follow
        return []


def predict(network: nn.Module, data: ImageData, files: Sequence[Path], hardware: Hardware) -> Iterator[Prediction]:
    """The prediction for each file; memory is bounded by a batch.

    Args:
        network: a trained network in evaluation mode, on its device.
        data: the data set it was trained with, which prepares images for it.
        files: the images.
        hardware: the hardware to compute on.
    """
    for start in range(0, len(files), data.evaluation_batch_size):
        yield from _predict_batch(network, data, files[start : start + data.evaluation_batch_size], hardware)


def _predict_batch(
    network: nn.Module, data: ImageData, files: Sequence[Path], hardware: Hardware
) -> Iterator[Prediction]:
    images: dict[Path, Tensor] = {}
    unreadable: dict[Path, str] = {}
    for file in files:
        try:
            images[file] = data.read_image(file)
        except UnusableImageError as error:
            unreadable[file] = str(error)
        except OSError as error:
            unreadable[file] = error.strerror or str(error)
    predictions = {file: Prediction(file, error=error) for file, error in unreadable.items()}
    if images:
        with torch.no_grad(), hardware.autocast():
            views = data.test_views(hardware.move(torch.stack(list(images.values()))))
            shares = scores_of(network, views.to(hardware.dtype)).float().softmax(1).tolist()
        for file, of_classes, seen in zip(images, shares, views, strict=True):
            best = max(range(len(of_classes)), key=of_classes.__getitem__)
            predictions[file] = Prediction(
                file,
                data.class_names[best],
                of_classes[best],
                dict(zip(data.class_names, of_classes, strict=True)),
                seen=seen if seen.dim() == 3 else seen[0],
            )
    return iter([predictions[file] for file in files])
