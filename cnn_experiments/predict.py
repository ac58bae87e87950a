"""cnn-predict: tell what is on photographs, with a trained network."""

import csv
import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from cnn_experiments.command import command
from cnn_experiments.errors import UserError
from cnn_experiments.trained import load_trained

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn

    from cnn_experiments.classifier import Classifier
    from cnn_experiments.datamodules.base import ImageDataModule


@command("predict")
def main(config: DictConfig) -> None:
    """Print class and probability of each image and write predictions.csv; name the files that cannot be read.

    With ``saliency=true``, write a picture of each into ``saliency/``: what the network saw, and what in it spoke for
    the class.
    """
    if not isinstance(config.saliency, bool):
        raise UserError(f"saliency={config.saliency}: use true or false")
    files = find_images(config.images)
    classifier, datamodule, settings = load_trained(config)

    from rich.console import Console
    from rich.table import Table

    from cnn_experiments.trainers.trainer import choose_devices, convert_gpus

    accelerator, devices = choose_devices(convert_gpus(settings["trainer"]["gpus"]), 1)
    device = {"cpu": "cpu", "mps": "mps"}.get(accelerator) or f"cuda:{devices[0]}"
    classifier.to(device).eval()
    layer = layer_to_look_at(classifier, settings, config.saliency_layer) if config.saliency else None
    names = datamodule.class_names
    table = Table("file", "class", "probability")
    unreadable = []
    directory = Path(HydraConfig.get().runtime.output_dir)
    target = directory / "predictions.csv"
    above_all = Path(os.path.commonpath([file.absolute().parent for file in files]))
    with target.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "class", "probability", *(f"probability of {name}" for name in names), "error"])
        for told in predict(classifier, datamodule, files):
            if told.error:
                unreadable.append(f"  {told.file}: {told.error}")
                writer.writerow([told.file, *[""] * (len(names) + 2), told.error])
                continue
            name, probability = names[told.best], told.probabilities[told.best]
            shown = [f"{share:.6f}" for share in (probability, *told.probabilities)]
            writer.writerow([told.file, name, *shown, ""])
            table.add_row(str(told.file), name, f"{probability:.3f}")
            if layer is not None:
                below = told.file.absolute().relative_to(above_all)
                picture = directory / "saliency" / below.with_name(f"{below.name}.png")  # a.jpg and a.png may both be
                picture.parent.mkdir(parents=True, exist_ok=True)
                explain(classifier, layer, told, f"{name} {probability:.3f}").save(picture)
    if table.rows:
        console = Console()
        console.width = max(console.width, max(len(str(file)) for file in files) + 40)  # names are not broken
        console.print(table)
    if unreadable:
        print("\n".join([f"{len(unreadable)} of {len(files)} files could not be read:", *unreadable]))
    print(f"written: {target}")
    if config.saliency and table.rows:
        print(f"written: {directory / 'saliency'}: what the network saw, and what spoke for the class (Grad-CAM)")
    if not table.rows:
        raise UserError(f"images={config.images}: none of these files is an image that can be read")


def find_images(images: str | None) -> list[Path]:
    """The files that ``images`` names: one, all in a folder and below, or those that a pattern fits; by name.

    Raises:
        UserError: there are none.
    """
    if images is None:
        raise UserError("images: give a file, a folder or a pattern (images='holiday/*.jpg')")
    path = Path(images).expanduser()
    if path.is_dir():
        found = list(path.rglob("*"))
    elif path.exists():
        found = [path]
    else:
        found = [Path(name) for name in glob.glob(str(path), recursive=True)]
    files = sorted(file for file in found if file.is_file() and not file.name.startswith("."))
    if not files:
        raise UserError(f"images={images}: there are no such files. Give a file, a folder or a pattern ('a/*.jpg')")
    return files


@dataclass(frozen=True)
class Prediction:
    """What the network makes of a file.

    Args:
        file: the image.
        probabilities: one for each class; empty where the file cannot be read.
        error: why it cannot be read, or nothing.
        seen: network input, (C, side, side); of several views the first, which is the middle.
    """

    file: Path
    probabilities: list[float]
    error: str = ""
    seen: "Tensor | None" = None

    @property
    def best(self) -> int:
        """The likeliest class."""
        return max(range(len(self.probabilities)), key=self.probabilities.__getitem__)


def predict(classifier: "Classifier", datamodule: "ImageDataModule", files: Sequence[Path]) -> Iterator[Prediction]:
    """What the network makes of each file; memory is bounded by a batch.

    Args:
        classifier: a trained network, in evaluation mode, on the device to compute on.
        datamodule: the one it was trained with.
        files: the images.
    """
    import torch

    from cnn_experiments.datamodules.photographs import UnusableImageError

    size = datamodule.evaluation_batch_size
    for start in range(0, len(files), size):
        images, errors = {}, {}
        for file in files[start : start + size]:
            try:
                images[file] = datamodule.load(file)
            except UnusableImageError as error:
                errors[file] = str(error)
            except OSError as error:
                errors[file] = error.strerror or str(error)
        told = {file: Prediction(file, [], error) for file, error in errors.items()}
        if images:
            with torch.no_grad():
                views = datamodule.prepare_test(torch.stack(list(images.values())).to(classifier.device))
                probabilities = classifier(views).float().softmax(1).tolist()
            for file, shares, seen in zip(images, probabilities, views, strict=True):
                told[file] = Prediction(file, shares, seen=seen if seen.dim() == 3 else seen[0])
        yield from (told[file] for file in files[start : start + size])


def layer_to_look_at(classifier: "Classifier", settings: dict[str, Any], name: str | None) -> "nn.Module":
    """The layer whose maps tell what spoke for a class.

    Raises:
        UserError: the network has no such layer.
    """
    import torch

    from cnn_experiments.saliency import choose_layer
    from cnn_experiments.summary import image_shape

    image = torch.zeros(1, *image_shape(settings["model"]), device=classifier.device)
    return choose_layer(classifier.network, name, image)


def explain(classifier: "Classifier", layer: "nn.Module", told: Prediction, caption: str) -> "Image":
    """What the network saw of an image, and what in it spoke for the class, as a layer's maps have it."""
    import torch

    from cnn_experiments.saliency import grad_cam, picture_of_saliency

    assert told.seen is not None
    images = told.seen[None]
    heat = grad_cam(classifier.network, layer, images, torch.tensor([told.best], device=images.device))
    return picture_of_saliency(told.seen, heat[0], caption)


if __name__ == "__main__":
    main()
