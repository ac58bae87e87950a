"""What a network does while it learns, under the same names for every network, so that runs overlay."""

import math
from collections.abc import Iterator
from typing import Annotated, Any

import psutil
import pytorch_lightning as pl
import torch
from annotated_types import Ge, Gt
from matplotlib.figure import Figure
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import make_grid

from cnn_experiments.classifier import Classifier
from cnn_experiments.models.layers import PartialConv2d, ScaledTanh, is_layer

PROBED_IMAGES = 256  # validation images on which units are called dead or saturated
SATURATED = 0.95  # share of a tanh's bound beyond which it hardly moves any more
MOST_VALUES = 100_000  # drawn evenly from larger tensors for a histogram; norms count all
MOST_MAPS = 16  # of a layer, in a picture of its activations


class Dashboard(Callback):
    """Writes pictures, histograms and shares of each layer to TensorBoard.

    Args:
        every_n_epochs: how often, beside the first and the last epoch.
        memory: ``memory/process_gib``, what the process holds, and ``memory/gpu_gib``, the most it had on the GPU.
        confusion: ``confusion/val`` and ``confusion/test``, how often each class is taken for each.
        mistakes: ``mistakes/test``, so many of the test images with the highest loss among the wrong ones.
        weights: ``weights/<layer>``, histogram and norm.
        gradients: ``gradients/<layer>``, histogram and norm at the last step of an epoch.
        filters: ``filters/<first layer>``, its kernels as pictures.
        activations: ``activations/<layer>``, what so many fixed test images make of each layer.
        units: ``dead_relus/<layer>``, share of maps or units that are 0 everywhere, and ``saturated_tanhs/<layer>``,
            share of values beyond 95 % of the bound; both on the first 256 validation images.
    """

    def __init__(
        self,
        every_n_epochs: Annotated[int, Gt(0)],
        memory: bool,
        confusion: bool,
        mistakes: Annotated[int, Ge(0)],
        weights: bool,
        gradients: bool,
        filters: bool,
        activations: Annotated[int, Ge(0)],
        units: bool,
    ) -> None:
        self.every_n_epochs = every_n_epochs
        self.memory, self.confusion, self.mistakes = memory, confusion, mistakes
        self.weights, self.gradients, self.filters = weights, gradients, filters
        self.activations, self.units = activations, units
        self._worst: list[tuple[float, Tensor, int, Tensor]] = []  # loss, image, label, probabilities

    def is_due(self, trainer: pl.Trainer) -> bool:
        """Whether this epoch is written."""
        epoch = trainer.current_epoch
        return trainer.is_global_zero and (
            epoch % self.every_n_epochs == 0 or epoch + 1 == trainer.max_epochs or trainer.should_stop
        )

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        if self.gradients and trainer.is_last_batch and self.is_due(trainer):
            for name, layer in layers_with_weights(pl_module):
                values = [parameter.grad for parameter in layer.parameters() if parameter.grad is not None]
                if values:
                    write_values(writer_of(trainer), f"gradients/{name}", values, trainer.global_step + 1)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if not self.is_due(trainer):
            return
        writer, step = writer_of(trainer), trainer.global_step
        if self.memory:
            writer.add_scalar("memory/process_gib", psutil.Process().memory_info().rss / 2**30, step)
            if pl_module.device.type == "cuda":
                writer.add_scalar("memory/gpu_gib", torch.cuda.max_memory_allocated() / 2**30, step)
        if self.weights:
            for name, layer in layers_with_weights(pl_module):
                write_values(writer, f"weights/{name}", list(layer.parameters()), step)
        if self.filters:
            name, layer = next(layers_with_weights(pl_module))
            writer.add_image(f"filters/{name}", picture_of_filters(layer), step)
        if self.units or self.activations:
            self.look_inside(trainer, pl_module)

    def look_inside(self, trainer: pl.Trainer, classifier: Classifier) -> None:
        """Write what some images make of each layer, and how many of its units are dead or saturated."""
        writer, step, data = writer_of(trainer), trainer.global_step, trainer.datamodule  # type: ignore[attr-defined]
        if self.activations:
            images = data.prepare(data.some_images("test", self.activations).to(classifier.device))
            writer.add_image("activations/input", make_grid(images.float(), normalize=True, scale_each=True), step)
            for name, _, maps in inside(classifier, images):
                writer.add_image(f"activations/{name}", picture_of_maps(maps), step)
        if self.units:
            images = data.prepare(data.some_images("validation", PROBED_IMAGES).to(classifier.device))
            for name, layer, values in inside(classifier, images):
                kinds = {type(part) for part in layer.modules()}
                if nn.ReLU in kinds:
                    active = values.transpose(0, 1).flatten(1).amax(1) > 0
                    writer.add_scalar(f"dead_relus/{name}", 1 - active.float().mean().item(), step)
                elif kinds & {nn.Tanh, ScaledTanh}:
                    bound = SATURATED * (ScaledTanh.AMPLITUDE if ScaledTanh in kinds else 1)
                    writer.add_scalar(f"saturated_tanhs/{name}", (values.abs() > bound).float().mean().item(), step)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.confusion and not trainer.sanity_checking and self.is_due(trainer):
            self.write_confusion(trainer, pl_module, "val")

    def write_confusion(self, trainer: pl.Trainer, classifier: Classifier, stage: str) -> None:
        """Draw how often each class was taken for each."""
        names = trainer.datamodule.class_names  # type: ignore[attr-defined]
        figure = picture_of_confusion(classifier.confusion[stage], names)
        writer_of(trainer).add_figure(f"confusion/{stage}", figure, trainer.global_step)

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not self.mistakes or not trainer.is_global_zero:
            return
        images, labels = batch
        probabilities = outputs.float().softmax(1)
        losses = -probabilities.gather(1, labels[:, None])[:, 0].log()
        wrong = (outputs.argmax(1) != labels).nonzero()[:, 0]
        for index in wrong[losses[wrong].argsort(descending=True)[: self.mistakes]].tolist():
            image = images[index] if images.dim() == 4 else images[index, 0]
            self._worst.append((losses[index].item(), image.cpu(), int(labels[index]), probabilities[index].cpu()))
        self._worst = sorted(self._worst, key=lambda mistake: -mistake[0])[: self.mistakes]

    def on_test_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.logger is None or not trainer.is_global_zero:
            return
        if self.confusion:
            self.write_confusion(trainer, pl_module, "test")
        if self._worst:
            names = trainer.datamodule.class_names  # type: ignore[attr-defined]
            figure = picture_of_mistakes(self._worst, names)
            writer_of(trainer).add_figure("mistakes/test", figure, trainer.global_step)


def writer_of(trainer: pl.Trainer) -> SummaryWriter:
    """TensorBoard's writer of a run."""
    return trainer.logger.experiment  # type: ignore[union-attr]


def layers_with_weights(classifier: Classifier) -> Iterator[tuple[str, nn.Module]]:
    """The layers of the paper's table that have parameters."""
    for name, layer in classifier.network.named_children():
        if any(True for _ in layer.parameters()):
            yield name, layer


def inside(classifier: Classifier, images: Tensor) -> Iterator[tuple[str, nn.Module, Tensor]]:
    """Each layer with its name and what it puts out for some images in testing: (N, C, H, W) or (N, units).

    A layer that is made of branches comes with each of them, ``inception3a/branch5x5``.
    """
    outputs: dict[nn.Module, Tensor] = {}
    watched = []
    for name, layer in classifier.network.named_children():
        branches = dict(layer.named_children())
        watched.append((name, layer))
        if not is_layer(layer):
            watched += [(f"{name}/{branch_name}", branch) for branch_name, branch in branches.items()]

    def remember(module: nn.Module, inputs: Any, output: Tensor) -> None:
        outputs[module] = output.float()

    hooks = [module.register_forward_hook(remember) for _, module in watched]
    training = classifier.network.training
    try:
        with torch.no_grad():
            classifier.network.eval()(images)
    finally:
        classifier.network.train(training)
        for hook in hooks:
            hook.remove()
    for name, module in watched:
        if module in outputs and not isinstance(module, (nn.Identity, nn.Dropout)):
            yield name, module, outputs[module]


def write_values(writer: SummaryWriter, tag: str, tensors: list[Tensor], step: int) -> None:
    """A histogram of values, and their Euclidean norm."""
    values = torch.cat([tensor.detach().flatten()[:: math.ceil(tensor.numel() / MOST_VALUES)] for tensor in tensors])
    if values.isfinite().all():
        writer.add_histogram(tag, values.float().cpu(), step)
    norm = torch.stack([tensor.detach().float().norm() for tensor in tensors]).norm()
    writer.add_scalar(f"{tag}/norm", norm.item(), step)


def picture_of_filters(layer: nn.Module) -> Tensor:
    """The kernels of a layer's convolution side by side, enlarged: (3, H, W), from 0 to 1."""
    weighted = next(part for part in layer.modules() if isinstance(part, (nn.Conv2d, PartialConv2d)))
    kernels = weighted.dense_weight() if isinstance(weighted, PartialConv2d) else weighted.weight
    kernels = kernels.detach().float().cpu()
    if kernels.shape[1] not in (1, 3):
        kernels = kernels.mean(1, keepdim=True)
    kernels = functional.interpolate(kernels, scale_factor=max(1, 66 // kernels.shape[-1]), mode="nearest")
    return make_grid(kernels, nrow=math.ceil(len(kernels) ** 0.5), normalize=True, scale_each=True, pad_value=0.5)


def picture_of_maps(values: Tensor) -> Tensor:
    """The first maps of a layer, a row for each image; dense units as a small map each: (3, H, W), from 0 to 1."""
    if values.dim() == 2 or values.shape[2:] == (1, 1):
        units = values.flatten(1)
        number = units.shape[1]
        columns = next(width for width in range(math.isqrt(number), 0, -1) if number % width == 0)
        maps = units.view(len(units), 1, number // columns, columns)
    else:
        maps = values[:, :MOST_MAPS]
    scale = max(1, 72 // maps.shape[-1])
    images, number = maps.shape[:2]
    low, high = maps.amin((0, 2, 3), keepdim=True), maps.amax((0, 2, 3), keepdim=True)
    scaled = ((maps - low) / (high - low).clamp(min=1e-12)).flatten(0, 1)[:, None]
    enlarged = functional.interpolate(scaled, scale_factor=scale, mode="nearest")
    return make_grid(enlarged.cpu(), nrow=number if number > 1 else images, pad_value=0.5)


def picture_of_confusion(confusion: Tensor, class_names: list[str]) -> Figure:
    """How often each class (row) was taken for each (column), and the share of its images."""
    shares = confusion / confusion.sum(1, keepdim=True).clamp(min=1)
    side = max(3.5, 0.55 * len(class_names) + 1)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in torch.cartesian_prod(*[torch.arange(len(class_names))] * 2).tolist():
        number, share = int(confusion[row, column]), float(shares[row, column])
        if number:
            axes.text(column, row, f"{number:,}", ha="center", va="center", color="white" if share > 0.5 else "black")
    axes.set(xlabel="taken for", ylabel="is", xticks=range(len(class_names)), yticks=range(len(class_names)))
    axes.set_xticklabels(class_names)
    axes.set_yticklabels(class_names)
    return figure


def picture_of_mistakes(mistakes: list[tuple[float, Tensor, int, Tensor]], class_names: list[str]) -> Figure:
    """Images with what they are, and what they were taken for with which probability."""
    columns = min(8, len(mistakes))
    rows = math.ceil(len(mistakes) / columns)
    figure = Figure(figsize=(1.7 * columns, 2.1 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, (_, image, label, probabilities) in zip(grid.flat, mistakes, strict=False):
        scaled = (image - image.min()) / (image.max() - image.min()).clamp(min=1e-12)
        axes.imshow(scaled.permute(1, 2, 0).float(), cmap="gray")
        taken = int(probabilities.argmax())
        axes.set_title(
            f"is {class_names[label]} ({probabilities[label]:.1%})\ntaken for {class_names[taken]} "
            f"({probabilities[taken]:.1%})",
            fontsize=8,
        )
    return figure
