"""The test of a network: loss and accuracy on a part of a data set, and the probabilities of each image."""

import math
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn

from cnn_experiments.datamodules.base import ImageData, Part
from cnn_experiments.datamodules.samplers import Draw
from cnn_experiments.errors import UserError
from cnn_experiments.evaluation.hardware import Hardware
from cnn_experiments.inspection.images import picture_of_bytes, reduced
from cnn_experiments.models.network import loss_of
from cnn_experiments.runs.directory import RunDirectory, rounded
from cnn_experiments.runs.disagreements import LONGEST_SIDE, kept_mistakes
from cnn_experiments.runs.progress_line import ProgressLine, counted, percentage
from cnn_experiments.settings.schema import BatchLimit


@dataclass(frozen=True)
class Evaluation:
    """Results of a network on a part of a data set: N images of C classes, in the order of the set.

    Args:
        loss: mean loss.
        accuracy: share of correct predictions.
        labels: class of each image, (N,).
        probabilities: predicted probability of each class, (N, C).
    """

    loss: float
    accuracy: float
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]

    @property
    def predictions(self) -> NDArray[np.int64]:
        """The most likely class of each image, (N,)."""
        likeliest: NDArray[np.int64] = self.probabilities.argmax(1)
        return likeliest

    @property
    def scores(self) -> NDArray[np.float32]:
        """Probability of the correct class of each image, (N,)."""
        return np.take_along_axis(self.probabilities, self.labels[:, None], 1)[:, 0]

    def figures(self) -> dict[str, float]:
        """``test/loss`` and ``test/accuracy``, rounded as ``metrics.json`` has them."""
        return {
            name: float(value or 0)
            for name, value in rounded({"test/loss": self.loss, "test/accuracy": self.accuracy}).items()
        }

    @property
    def confusion(self) -> NDArray[np.int64]:
        """Number of images of each class (row) that were classified as each class (column), (C, C)."""
        classes = self.probabilities.shape[1]
        pairs = self.labels * classes + self.predictions
        return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def scores_of(network: nn.Module, images: Tensor) -> Tensor:
    """Scores (N, classes) for images (N, C, H, W), or for several views of each, (N, views, C, H, W).

    For several views they are the logarithm of the mean of their probabilities, as Krizhevsky and others 2012 (section
    4.1) average the predictions on ten crops.
    """
    if images.dim() == 4:
        scores: Tensor = network(images)
        return scores
    of_views = network(images.flatten(0, 1)).float().log_softmax(1).unflatten(0, images.shape[:2])
    mean: Tensor = of_views.logsumexp(1) - math.log(images.shape[1])
    return mean


def evaluate(
    network: nn.Module,
    data: ImageData,
    part: Part,
    hardware: Hardware,
    limit: BatchLimit = None,
    line: ProgressLine | None = None,
) -> Evaluation:
    """Test a network on a part of a data set; memory is bounded by a batch and the probabilities of each image.

    Processes that train together divide the images among them, and each gets the results for all.

    Args:
        network: a trained network, on its device; it is put into evaluation mode.
        data: the data set.
        part: ``test``, with the mean of several views of each image if the data set says so, or ``validation``.
        hardware: the hardware to compute on.
        limit: a number of batches, or a share of them; None for all.
        line: where to say how far it is.

    Raises:
        UserError: `limit` leaves nothing to test on.
    """
    network.eval()
    loader = data.loader(part)
    batches = len(loader)
    if limit is not None:
        batches = min(limit, batches) if isinstance(limit, int) else int(limit * batches)
    if not batches:
        raise UserError(f"trainer.limit_test_batches={limit}: this leaves no image to test on. Give a larger number")
    total = torch.zeros((), device=hardware.device)
    labels_of: list[NDArray[Any]] = []
    probabilities_of: list[NDArray[Any]] = []
    with torch.inference_mode():
        for number, (images, labels) in enumerate(islice(loader, batches)):
            if line is not None and (number == 0 or line.is_due()):
                line.show(
                    number / batches, [part, counted("batch", number + 1, batches)], [percentage(number / batches)]
                )
            labels_of.append(labels.cpu().numpy())
            if not len(labels):  # the other processes have the last few
                probabilities_of.append(np.zeros((0, data.num_classes), np.float32))
                continue
            images = hardware.move(images)
            views = data.test_views(images) if part == "test" else data.network_input(images, part)
            with hardware.autocast():
                scores = scores_of(network, views.to(hardware.dtype))
                total += loss_of(network, scores, labels.to(scores.device)).float() * len(labels)
            probabilities_of.append(scores.float().softmax(1).cpu().numpy())
    return _of_all_processes(total, labels_of, probabilities_of)


def _of_all_processes(total: Tensor, labels: list[NDArray[Any]], probabilities: list[NDArray[Any]]) -> Evaluation:
    """The results of all processes together; each of W processes has every W-th image of a batch."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(total)
        labels, probabilities = _interleaved(labels), _interleaved(probabilities)
    truth, shares = np.concatenate(labels), np.concatenate(probabilities)
    images = torch.tensor(float(len(truth)))
    right = torch.tensor(float((shares.argmax(1) == truth).sum()))
    return Evaluation((total.cpu() / images).item(), (right / images).item(), truth, shares)


def _interleaved(batches: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """The batches of all processes, reassembled in the order of the set."""
    gathered: list[list[NDArray[Any]]] = [[] for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(gathered, batches)
    whole = []
    for parts in zip(*gathered, strict=True):
        batch = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype)
        for rank, part in enumerate(parts):
            batch[rank :: len(parts)] = part
        whole.append(batch)
    return whole


def write_answers(files: RunDirectory, data: ImageData, evaluation: Evaluation) -> None:
    """Write the prediction for each test image, and small pictures of misclassified ones, into a run directory.

    Args:
        files: the run directory.
        data: the data set.
        evaluation: of its test images.

    Raises:
        ExperimentError: the disk is full, or the directory cannot be written.
    """
    positions = kept_mistakes(evaluation.predictions == evaluation.labels)
    images = np.zeros((0, 1, 1, 3), np.uint8)
    if len(positions):
        pictures = picture_of_bytes(data, data.images_of("test")[Draw(torch.from_numpy(positions))][0])
        images = np.stack([reduced(picture, LONGEST_SIDE) for picture in pictures])
    if (images == images[..., :1]).all():
        images = images[..., :1]
    files.write_predictions(evaluation.labels, evaluation.predictions, evaluation.scores)
    files.write_mistakes(positions, images)
