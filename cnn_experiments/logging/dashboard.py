"""What a network does while it learns, under the same names for every network, so that runs overlay in TensorBoard."""

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import psutil
import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from cnn_experiments.datamodules.base import ImageData
from cnn_experiments.datamodules.samplers import Draw
from cnn_experiments.inspection.layer_outputs import Context, last_hidden_layer, layer_outputs, units_out_of_use
from cnn_experiments.inspection.pictures import (
    picture_of_confusion,
    picture_of_filters,
    picture_of_images,
    picture_of_maps,
    picture_of_mistakes,
    thumbnails,
)
from cnn_experiments.runs.formats import any_letters_drawn, printable

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from cnn_experiments.evaluation.hardware import Hardware
    from cnn_experiments.evaluation.testing import Evaluation

PROBED_IMAGES = 256  # validation images that show whether units are dead or saturated
IMAGES_AT_ONCE = 32  # of those; the outputs of all layers for all of them would take gigabytes
THUMBNAIL_SIDE, SPRITE_SIDE = 64, 8192  # pixels, at most; browsers take no larger picture of all thumbnails
MOST_VALUES = 100_000  # of a larger tensor, values at even distances make the histogram; norms count all


class Dashboard:
    """Writes pictures, histograms and shares of each layer to TensorBoard.

    Each key says whether, or how much of, something is written; the callback of the training says when.

    Args:
        every_n_epochs: how often, besides the first and the last epoch.
        memory: ``memory/process_gib``, what the process holds, and ``memory/gpu_gib``, the most it held on the GPU.
        confusion: ``confusion/val`` and ``confusion/test``, how often each class is taken for each.
        mistakes: ``mistakes/test``, so many test images: of the misclassified, those with the highest loss.
        weights: ``weights/<layer>``, histogram and norm.
        gradients: ``gradients/<layer>``, histogram and norm at the last step of an epoch.
        filters: ``filters/<layer>``, the kernels of the first layer as pictures.
        activations: ``activations/<layer>``, the output of each layer for so many test images, always the same.
        units: ``dead_relus/<layer>``, share of maps or units that are 0 everywhere, and ``saturated_tanhs/<layer>``,
            share of values beyond 95 % of the bound; both on the first 256 validation images.
        embeddings: the features by which the tested network classifies so many test images, taken at even distances:
            what its last layer gets, for the projector.
    """

    def __init__(
        self,
        every_n_epochs: Annotated[int, Gt(0)] = 1,
        memory: bool = True,
        confusion: bool = True,
        mistakes: Annotated[int, Ge(0)] = 16,
        weights: bool = False,
        gradients: bool = False,
        filters: bool = False,
        activations: Annotated[int, Ge(0)] = 0,
        units: bool = False,
        embeddings: Annotated[int, Ge(0)] = 0,
    ) -> None:
        self.every_n_epochs = every_n_epochs
        self.memory, self.confusion, self.mistakes = memory, confusion, mistakes
        self.weights, self.gradients, self.filters = weights, gradients, filters
        self.activations, self.units, self.embeddings = activations, units, embeddings

    def is_due(self, epoch: int, last: bool) -> bool:
        """Whether an epoch is written; epochs count from 0, and the last one always is."""
        return last or epoch % self.every_n_epochs == 0

    def write_gradients(self, writer: "SummaryWriter", step: int, network: nn.Module) -> None:
        """Write the gradients that a step is about to use."""
        if not self.gradients:
            return
        for name, layer in layers_with_parameters(network):
            gradients = [parameter.grad for parameter in layer.parameters() if parameter.grad is not None]
            if gradients:
                write_values(writer, f"gradients/{name}", gradients, step)

    def write_epoch(
        self,
        writer: "SummaryWriter",
        step: int,
        network: nn.Module,
        data: ImageData,
        device: torch.device,
        context: Context,
    ) -> None:
        """Write what an epoch made of the network.

        Args:
            writer: TensorBoard's.
            step: training steps so far.
            network: in training, on its device; it is left as it is.
            data: the data set it is trained on.
            device: where the network is.
            context: makes the context to compute in, such as autocast.
        """
        precision = next((weights.dtype for weights in network.parameters()), torch.float32)
        if self.memory:
            write_memory(writer, step, device)
        if self.weights:
            for name, layer in layers_with_parameters(network):
                write_values(writer, f"weights/{name}", list(layer.parameters()), step)
        if self.filters:
            write_filters(writer, step, network)
        if self.activations:
            images = data.network_input(data.some_images("test", self.activations).to(device), "test")
            writer.add_image("activations/input", picture_of_images(images), step)
            for name, _, output in layer_outputs(network, images.to(precision), context):
                writer.add_image(f"activations/{name}", picture_of_maps(output), step)
        if self.units:
            batches = torch.split(data.some_images("validation", PROBED_IMAGES), IMAGES_AT_ONCE)
            inputs = (data.network_input(images.to(device), "validation").to(precision) for images in batches)
            for tag, share in units_out_of_use(network, inputs, context).items():
                writer.add_scalar(tag, share, step)

    def write_confusion(
        self, writer: "SummaryWriter", step: int, stage: Literal["val", "test"], counts: Tensor, class_names: list[str]
    ) -> None:
        """Draw how often each class (row) was taken for each (column); `counts` is (classes, classes)."""
        if self.confusion:
            figure = picture_of_confusion(counts, class_names)
            with any_letters_drawn(figure):
                writer.add_figure(f"confusion/{stage}", figure, step)

    def write_mistakes(
        self,
        writer: "SummaryWriter",
        step: int,
        images: Tensor,
        labels: Tensor,
        probabilities: Tensor,
        class_names: list[str],
    ) -> None:
        """Draw test images that were misclassified.

        Args:
            writer: TensorBoard's.
            step: training steps so far.
            images: network input (N, C, H, W), the worst first; none are drawn where N is 0.
            labels: their classes, (N,).
            probabilities: what the network gave each class, (N, classes).
            class_names: names of the classes.
        """
        if self.mistakes and len(images):
            figure = picture_of_mistakes(images, labels, probabilities, class_names)
            with any_letters_drawn(figure):
                writer.add_figure("mistakes/test", figure, step)

    def write_test(
        self,
        writer: "SummaryWriter",
        step: int,
        network: nn.Module,
        data: ImageData,
        evaluation: "Evaluation",
        hardware: "Hardware",
    ) -> None:
        """Draw the confusion of a test, and its worst mistakes, and write the features of some of its images.

        Args:
            writer: TensorBoard's.
            step: training steps so far.
            network: that was tested, on its device.
            data: the data set.
            evaluation: of its test images.
            hardware: what the network was tested on.
        """
        labels, probabilities = torch.from_numpy(evaluation.labels), torch.from_numpy(evaluation.probabilities)
        self.write_confusion(writer, step, "test", torch.from_numpy(evaluation.confusion), data.class_names)
        worst = worst_mistakes(probabilities, labels, self.mistakes)
        if len(worst):
            images = data.network_input(data.images_of("test")[Draw(worst)][0], "test")
            self.write_mistakes(writer, step, images, labels[worst], probabilities[worst], data.class_names)
        if self.embeddings:
            self.write_embeddings(writer, step, network, data, evaluation, hardware)

    def write_embeddings(
        self,
        writer: "SummaryWriter",
        step: int,
        network: nn.Module,
        data: ImageData,
        evaluation: "Evaluation",
        hardware: "Hardware",
    ) -> None:
        """Write the features of some test images, with their classes and small pictures; see `write_test`."""
        tested = len(evaluation.labels)
        number = min(self.embeddings, tested)
        rows = torch.arange(number) * tested // number
        images = data.network_input(data.images_of("test")[Draw(rows)][0], "test")
        outputs = [
            last_hidden_layer(network, hardware.move(some).to(hardware.dtype), hardware.autocast)
            for some in torch.split(images, IMAGES_AT_ONCE)
        ]
        names = [printable(name) for name in data.class_names]  # of folders, which may hold tabs and line ends
        classes = zip(evaluation.labels[rows].tolist(), evaluation.predictions[rows].tolist(), strict=True)
        # What an interrupted run had written here would be overwritten in place, through a link too.
        shutil.rmtree(Path(writer.log_dir) / f"{step:05}", ignore_errors=True)
        writer.add_embedding(
            with_four_digits(torch.cat([features for _, features in outputs]).cpu()),
            metadata=[[names[label], names[predicted]] for label, predicted in classes],
            metadata_header=["class", "predicted"],
            label_img=thumbnails(images, min(THUMBNAIL_SIDE, SPRITE_SIDE // math.ceil(number**0.5))),
            global_step=step,
            tag=outputs[0][0],
        )


def with_four_digits(values: Tensor) -> Tensor:
    """Values rounded to four digits of the largest, as doubles: short when they are written as text."""
    largest = max(values.abs().max().item(), 1e-30)
    return values.double().round(decimals=3 - math.floor(math.log10(largest)))


def worst_mistakes(probabilities: Tensor, labels: Tensor, number: int) -> Tensor:
    """Numbers of the misclassified images with the highest loss, the highest first.

    Args:
        probabilities: (N, classes).
        labels: (N,).
        number: the most to find.
    """
    wrong = (probabilities.argmax(1) != labels).nonzero()[:, 0]
    of_right_class = probabilities[wrong, labels[wrong]]
    return wrong[of_right_class.argsort(stable=True)[:number]]


def layers_with_parameters(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The layers of the paper's table that have parameters, by name."""
    for name, layer in network.named_children():
        if any(True for _ in layer.parameters()):
            yield name, layer


def write_memory(writer: "SummaryWriter", step: int, device: torch.device) -> None:
    """Write how much memory the process holds, and the most it held on the GPU, in GiB."""
    writer.add_scalar("memory/process_gib", psutil.Process().memory_info().rss / 2**30, step)
    if device.type == "cuda":
        writer.add_scalar("memory/gpu_gib", torch.cuda.max_memory_allocated(device) / 2**30, step)


def write_filters(writer: "SummaryWriter", step: int, network: nn.Module) -> None:
    """Draw the kernels of the first layer that has a convolution, if there is one."""
    for name, layer in layers_with_parameters(network):
        picture = picture_of_filters(layer)
        if picture is not None:
            writer.add_image(f"filters/{name}", picture, step)
            return


def write_values(writer: "SummaryWriter", tag: str, tensors: list[Tensor], step: int) -> None:
    """Write a histogram of the values of some tensors, and their Euclidean norm."""
    values = torch.cat([tensor.detach().flatten()[:: math.ceil(tensor.numel() / MOST_VALUES)] for tensor in tensors])
    if values.isfinite().all():
        writer.add_histogram(tag, values.float().cpu(), step)
    norm = torch.stack([tensor.detach().float().norm() for tensor in tensors]).norm()
    writer.add_scalar(f"{tag}/norm", norm.item(), step)
