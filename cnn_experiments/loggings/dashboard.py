"""What a network does while it learns, under the same names for every network, so that runs overlay."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain
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
from cnn_experiments.models.layers import PartialConv2d, ScaledTanh, layers_and_branches

PROBED_IMAGES = 256  # validation images on which units are called dead or saturated
IMAGES_AT_ONCE = 32  # of those; what all layers make of all of them would take gigabytes
SATURATED = 0.95  # share of a tanh's bound beyond which it hardly moves any more
MOST_VALUES = 100_000  # drawn evenly from larger tensors for a histogram; norms count all
MOST_MAPS, MAPS_IN_A_ROW = 16, 8  # of a layer, in a picture of its activations
UNITS_IN_A_ROW = 20  # dense layers with at most so many units are drawn as one row of them
MOST_CLASSES_WITH_COUNTS = 40  # confusion of more classes is drawn without numbers

Mistake = tuple[float, Tensor, int, Tensor]  # loss, image, label, probabilities of the classes


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
        self._worst: list[Mistake] = []

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
            writer.add_image("activations/input", picture_of_images(images), step)
            for name, _, values in inside(classifier, images):
                writer.add_image(f"activations/{name}", picture_of_maps(values), step)
        if self.units:
            probed = data.some_images("validation", PROBED_IMAGES).split(IMAGES_AT_ONCE)
            batches = (data.prepare(images.to(classifier.device)) for images in probed)
            for tag, share in units_out_of_use(classifier, batches).items():
                writer.add_scalar(tag, share, step)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.confusion and not trainer.sanity_checking and self.is_due(trainer):
            self.write_confusion(trainer, pl_module, "val")

    def write_confusion(self, trainer: pl.Trainer, classifier: Classifier, stage: str) -> None:
        """Draw how often each class was taken for each."""
        names = trainer.datamodule.class_names  # type: ignore[attr-defined]
        figure = picture_of_confusion(classifier.confusion[stage], names)
        writer_of(trainer).add_figure(f"confusion/{stage}", figure, trainer.global_step)

    def on_test_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._worst.clear()

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not self.mistakes or trainer.logger is None:
            return
        images, labels = batch
        probabilities = outputs.float().softmax(1)
        losses = functional.cross_entropy(outputs.float(), labels, reduction="none")
        wrong = (outputs.argmax(1) != labels).nonzero()[:, 0]
        for index in wrong[losses[wrong].argsort(descending=True)[: self.mistakes]].tolist():
            image = images[index] if images.dim() == 4 else images[index, 0]
            self._worst.append((losses[index].item(), image.cpu(), int(labels[index]), probabilities[index].cpu()))
        self._worst = worst(self._worst, self.mistakes)

    def on_test_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.logger is None:
            return
        mistakes = worst(of_all_processes(self._worst), self.mistakes)
        if self.confusion and trainer.is_global_zero:
            self.write_confusion(trainer, pl_module, "test")
        if mistakes and trainer.is_global_zero:
            names = trainer.datamodule.class_names  # type: ignore[attr-defined]
            writer_of(trainer).add_figure("mistakes/test", picture_of_mistakes(mistakes, names), trainer.global_step)


def writer_of(trainer: pl.Trainer) -> SummaryWriter:
    """TensorBoard's writer of a run."""
    return trainer.logger.experiment  # type: ignore[union-attr]


def worst(mistakes: list[Mistake], number: int) -> list[Mistake]:
    """Those with the highest loss, the highest first."""
    return sorted(mistakes, key=lambda mistake: -mistake[0])[:number]


def of_all_processes(values: list[Any]) -> list[Any]:
    """The lists of all processes in one; each of them has to ask."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return values
    lists: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(lists, values)
    return list(chain.from_iterable(lists))


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
    watched = layers_and_branches(classifier.network)

    def remember(module: nn.Module, inputs: Any, output: Tensor) -> None:
        outputs[module] = output.float()

    hooks = [module.register_forward_hook(remember) for module in watched.values()]
    training = classifier.network.training
    try:
        with torch.no_grad(), classifier.trainer.precision_plugin.forward_context():
            classifier.network.eval().forward(images)  # a compiled network would pass the hooks by
    finally:
        classifier.network.train(training)
        for hook in hooks:
            hook.remove()
    for name, module in watched.items():
        if module in outputs and not isinstance(module, (nn.Identity, nn.Dropout)):
            yield name, module, outputs[module]


def units_out_of_use(classifier: Classifier, batches: Iterable[Tensor]) -> dict[str, float]:
    """Shares of all units by what they are logged as: ``dead_relus/<layer>`` or ``saturated_tanhs/<layer>``."""
    highest: dict[str, Tensor] = {}  # value of each map or unit
    saturated: dict[str, list[Tensor]] = defaultdict(list)  # share of each image's values
    for images in batches:
        for name, layer, values in inside(classifier, images):
            kinds = {type(part) for part in layer.modules()}
            if nn.ReLU in kinds:
                of_these = values.transpose(0, 1).flatten(1).amax(1)
                highest[name] = of_these.maximum(highest.get(name, of_these))
            elif kinds & {nn.Tanh, ScaledTanh}:
                bound = SATURATED * (ScaledTanh.AMPLITUDE if ScaledTanh in kinds else 1)
                saturated[name].append((values.abs() > bound).flatten(1).float().mean(1))
    dead = {f"dead_relus/{name}": (values <= 0).float().mean().item() for name, values in highest.items()}
    return dead | {f"saturated_tanhs/{name}": torch.cat(parts).mean().item() for name, parts in saturated.items()}


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
    rows = math.ceil(len(kernels) ** 0.5)
    return make_grid(enlarged(kernels, 66), rows, padding=6, normalize=True, scale_each=True, pad_value=1.0)


def picture_of_images(images: Tensor) -> Tensor:
    """Images as the network gets them, side by side: (3, H, W), from 0 to 1."""
    return make_grid(enlarged(images.float().cpu(), 128), normalize=True, scale_each=True, pad_value=1.0)


def picture_of_maps(values: Tensor) -> Tensor:
    """Some maps of a layer for each image, or its dense units as a small map or a row: (3, H, W), from 0 to 1.

    Of many maps some are taken evenly, so that each branch of a layer has its share. A map has the same scale for all
    images, so that they can be compared.
    """
    values = values.cpu()
    is_dense = values.dim() == 2 or values.shape[2:] == (1, 1)
    number = min(MOST_MAPS, values.shape[1])
    maps = as_maps(values.flatten(1)) if is_dense else values[:, torch.arange(number) * values.shape[1] // number]
    low, high = maps.amin((0, 2, 3), keepdim=True), maps.amax((0, 2, 3), keepdim=True)
    scaled = (maps - low) / (high - low).clamp(min=1e-12)
    size = 72 if maps.shape[1] > 1 else 144
    blocks = [make_grid(enlarged(of_image[:, None], size), MAPS_IN_A_ROW, 1, pad_value=0.5) for of_image in scaled]
    is_square = maps.shape[1] == 1 and maps.shape[2] > 1
    return make_grid(blocks, len(blocks) if is_square else 1, padding=6, pad_value=1.0)


def as_maps(units: Tensor) -> Tensor:
    """Units (N, units) as one map each, (N, 1, H, W): a row of few, a rectangle of many; F6 becomes its 12×7 cells."""
    number = units.shape[1]
    side = math.isqrt(number)
    columns = number
    if number > UNITS_IN_A_ROW:
        columns = next((width for width in range(side, side // 2, -1) if number % width == 0), side)
    return functional.pad(units, (0, -number % columns)).view(len(units), 1, -1, columns)


def enlarged(images: Tensor, size: int) -> Tensor:
    """Small images with each pixel repeated, so that they are at most `size` pixels wide; larger ones as they are."""
    return functional.interpolate(images, scale_factor=max(1, size // images.shape[-1]), mode="nearest")


def picture_of_confusion(confusion: Tensor, class_names: list[str]) -> Figure:
    """How often each class (row) was taken for each (column), and the share of its images."""
    shares = confusion / confusion.sum(1, keepdim=True).clamp(min=1)
    number_of_classes, longest = len(class_names), max(map(len, class_names))
    side = min(18, max(2.6, 0.5 * number_of_classes))  # inches
    margin = 0.55 + 0.09 * longest  # known beforehand: fitting it to the text would mean to draw everything twice
    whole = side + margin + 0.1
    figure = Figure(figsize=(whole, whole))
    axes = figure.add_axes((margin / whole, margin / whole, side / whole, side / whole))
    axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    if number_of_classes <= MOST_CLASSES_WITH_COUNTS:
        for row, column in confusion.nonzero().tolist():
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{int(confusion[row, column]):,}", ha="center", va="center", color=colour)
    axes.set(xlabel="taken for", ylabel="is", xticks=range(number_of_classes), yticks=range(number_of_classes))
    room = 6 if number_of_classes < 4 else 3  # letters that stand beside each other
    axes.set_xticklabels(class_names, rotation=90 if longest > room else 0)
    axes.set_yticklabels(class_names)
    return figure


def picture_of_mistakes(mistakes: list[Mistake], class_names: list[str]) -> Figure:
    """Images with what they are, and what they were taken for with which probability."""
    columns = math.ceil(len(mistakes) ** 0.5)
    rows = math.ceil(len(mistakes) / columns)
    figure = Figure(figsize=(1.9 * columns, 2.3 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, (_, image, label, probabilities) in zip(grid.flat, mistakes, strict=False):
        scaled = (image - image.min()) / (image.max() - image.min()).clamp(min=1e-12)
        axes.imshow(scaled.permute(1, 2, 0).float().numpy(), cmap="gray")
        taken = int(probabilities.argmax())
        axes.set_title(
            f"is {class_names[label]} ({percent(probabilities[label].item())})\n"
            f"taken for {class_names[taken]} ({percent(probabilities[taken].item())})",
            fontsize=9,
        )
    return figure


def percent(share: float) -> str:
    """A probability with one digit, but never as 0% or 100%, which it is not."""
    if share < 0.001:
        return "<0.1%"
    return ">99.9%" if share > 0.999 else f"{share:.1%}"
