"""A training step on blank images, before any image is loaded: what cannot be trained is found out in a second."""

from bisect import bisect_left
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cnn_experiments.errors import UserError
from cnn_experiments.inspection.layer_table import copied
from cnn_experiments.models.network import loss_of
from cnn_experiments.trainers.data import scaled_shape
from cnn_experiments.trainers.soft_labels import SoftLabels

IMAGES = 2  # batch normalisation takes no fewer


def check_network(
    network: nn.Module,
    input_shape: tuple[int, int, int],
    num_classes: int,
    soft_labels: SoftLabels | None = None,
    input_size: int | None = None,
) -> None:
    """Take the forward and the backward pass of a training step, and test, on blank images.

    A copy of the network does it: the network itself is not touched, and no random numbers are drawn.

    Args:
        network: the network that is to be trained.
        input_shape: of an image of the data set: channels, height and width.
        num_classes: of the data set.
        soft_labels: what the training does to images and labels.
        input_size: side of the images that the network was built for, in pixels; None if that is not known.

    Raises:
        UserError: the network does not have a score for each class, or fails on images of another size than it was
            built for.
        Exception: whatever the network or its loss raises, with a note on the images that it was given.
    """
    images, labels = torch.zeros(IMAGES, *input_shape), torch.linspace(0, num_classes - 1, IMAGES).long()
    name = type(network).__name__
    try:
        with torch.random.fork_rng(devices=[]):
            trial = copied(network).cpu().float()
            with torch.no_grad():
                check_scores(trial.eval()(images), name, num_classes)
            mixed, targets = (images, labels) if soft_labels is None else soft_labels(images, labels)
            loss_of(trial, trial.train()(mixed), targets).backward()  # type: ignore[no-untyped-call]
    except Exception as error:
        height, width = input_shape[1:]
        if input_size not in (None, height) and not isinstance(error, UserError):
            raise UserError(
                f"model.input_size={input_size}: the images of this data set have {height}×{width} pixels, which do "
                f"not fit {name} ({error}). Make model.input_size and datamodule.image_size the same"
            ) from error
        shape = "×".join(map(str, images.shape))
        error.add_note(
            f"{name} was tried on {IMAGES} blank images {shape} (N × channels × height × width) of {num_classes} "
            "classes. Nothing has been loaded or written"
        )
        raise


def check_one_image(network: nn.Module, input_shape: tuple[int, int, int]) -> None:
    """See whether a network can be trained on a single image, where this is what the last batch of an epoch has.

    Args:
        network: the network, as it is trained; it is not touched, and no random numbers are drawn.
        input_shape: of an image of the data set: channels, height and width.

    Raises:
        UserError: it cannot, as with batch normalisation of one value per channel.
    """
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            copied(network).cpu().float()(torch.zeros(1, *input_shape))
    except Exception as error:  # whatever the network raises
        name = type(network).__name__
        raise UserError(
            f"datamodule: the last training batch of an epoch has a single image, and {name} cannot be trained on "
            f"one ({error}). Choose another size of the batches"
        ) from error


def check_scores(scores: object, name: str, num_classes: int) -> None:
    """Raise a UserError if the output of a network in evaluation mode is not a score for each image and class."""
    if not isinstance(scores, Tensor):
        raise UserError(
            f"model: in evaluation mode {name} gives a {type(scores).__name__}. It must give scores alone, "
            f"{IMAGES}×{num_classes} for {IMAGES} images: images × classes"
        )
    if scores.shape != (IMAGES, num_classes):
        raise UserError(
            f"model: for {IMAGES} images {name} gives scores of the shape {'×'.join(map(str, scores.shape))}, but the "
            f"data set has {num_classes} classes. Its output must be {IMAGES}×{num_classes}: images × classes"
        )


def check_training_image_sizes(network: nn.Module, input_shape: tuple[int, int, int], sizes: Sequence[int]) -> None:
    """See whether a network can be trained on images that are smaller than those it is tested on.

    Args:
        network: the network; it is not touched, and no random numbers are drawn.
        input_shape: of an image that it is tested on: channels, height and width.
        sizes: heights of training images, in pixels; none if they are as large as those of the test.

    Raises:
        UserError: one is larger than that of the test, or the network's weights do not have the same shapes for it.
    """
    if not sizes:
        return
    height = input_shape[1]
    trial = copied(network).cpu().float().train()

    def fits(size: int) -> bool:
        try:
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                trial(torch.zeros(IMAGES, *scaled_shape(input_shape, size)))
        except Exception:  # whatever the network raises
            return False
        return True

    for size in sizes:
        if size > height or not fits(size):
            least = bisect_left(range(1, height), True, key=fits) + 1
            raise UserError(
                f"trainer.training_image_sizes={list(sizes)}: {type(network).__name__}, whose images have {height} "
                f"pixels in the test, cannot train on {size} with weights of the same shapes. Use {least} to {height}"
            )
