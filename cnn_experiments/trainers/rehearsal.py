"""A training step on blank images, before any image is loaded: what cannot be trained is found out in a second."""

import torch
from torch import nn

from cnn_experiments.errors import UserError
from cnn_experiments.evaluation.testing import loss_of
from cnn_experiments.inspection.layer_table import copied
from cnn_experiments.trainers.soft_labels import SoftLabels

IMAGES = 2  # batch normalisation takes no fewer


def check_network(
    network: nn.Module, input_shape: tuple[int, int, int], num_classes: int, soft_labels: SoftLabels | None = None
) -> None:
    """Take the forward and the backward pass of a training step, and test, on blank images.

    A copy of the network does it: the network itself is not touched, and no random numbers are drawn.

    Args:
        network: the network that is to be trained.
        input_shape: of an image of the data set: channels, height and width.
        num_classes: of the data set.
        soft_labels: what the training does to images and labels.

    Raises:
        UserError: the network does not have a score for each class.
        Exception: whatever the network or its loss raises, with a note on the images that it was given.
    """
    images, labels = torch.zeros(IMAGES, *input_shape), torch.linspace(0, num_classes - 1, IMAGES).long()
    name = type(network).__name__
    try:
        with torch.random.fork_rng(devices=[]):
            trial = copied(network).cpu().float()
            mixed, targets = (images, labels) if soft_labels is None else soft_labels(images, labels)
            loss_of(trial, trial.train()(mixed), targets).backward()  # type: ignore[no-untyped-call]
            with torch.no_grad():
                scores = trial.eval()(images)
    except Exception as error:
        shape = "×".join(map(str, images.shape))
        error.add_note(
            f"{name} was tried on {IMAGES} blank images {shape} (N × channels × height × width) of {num_classes} "
            "classes. Nothing has been loaded or written"
        )
        raise
    if scores.shape != (IMAGES, num_classes):
        raise UserError(
            f"model: for {IMAGES} images {name} gives scores of the shape {'×'.join(map(str, scores.shape))}, but the "
            f"data set has {num_classes} classes. Its output must be {IMAGES}×{num_classes}: images × classes"
        )
