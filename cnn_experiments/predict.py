"""cnn-predict: tell what is on photographs, with a trained network."""

import csv
import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from cnn_experiments.command import command
from cnn_experiments.errors import UserError
from cnn_experiments.trained import load_trained

if TYPE_CHECKING:
    from cnn_experiments.classifier import Classifier
    from cnn_experiments.datamodules.base import ImageDataModule


@command("predict")
def main(config: DictConfig) -> None:
    """Print class and probability of each image and write predictions.csv; name the files that cannot be read."""
    files = find_images(config.images)
    classifier, datamodule, settings = load_trained(config)

    from rich.console import Console
    from rich.table import Table

    from cnn_experiments.trainers.trainer import choose_devices, convert_gpus

    accelerator, devices = choose_devices(convert_gpus(settings["trainer"]["gpus"]), 1)
    device = {"cpu": "cpu", "mps": "mps"}.get(accelerator) or f"cuda:{devices[0]}"
    names = datamodule.class_names
    table = Table("file", "class", "probability")
    unreadable = []
    target = Path(HydraConfig.get().runtime.output_dir) / "predictions.csv"
    with target.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "class", "probability", *(f"probability of {name}" for name in names), "error"])
        for file, probabilities, error in predict(classifier.to(device).eval(), datamodule, files):
            if error:
                unreadable.append(f"  {file}: {error}")
                writer.writerow([file, *[""] * (len(names) + 2), error])
            else:
                best = max(range(len(names)), key=probabilities.__getitem__)
                shown = [f"{probability:.6f}" for probability in (probabilities[best], *probabilities)]
                writer.writerow([file, names[best], *shown, ""])
                table.add_row(str(file), names[best], f"{probabilities[best]:.3f}")
    if table.rows:
        console = Console()
        console.width = max(console.width, max(len(str(file)) for file in files) + 40)  # names are not broken
        console.print(table)
    if unreadable:
        print("\n".join([f"{len(unreadable)} of {len(files)} files could not be read:", *unreadable]))
    print(f"written: {target}")
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


def predict(
    classifier: "Classifier", datamodule: "ImageDataModule", files: Sequence[Path]
) -> Iterator[tuple[Path, list[float], str]]:
    """Each file with the probability of each class, or with why it cannot be read; memory is bounded by a batch.

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
        probabilities: dict[Path, list[float]] = {}
        if images:
            with torch.inference_mode():
                batch = torch.stack(list(images.values())).to(classifier.device)
                shares = classifier(datamodule.prepare_test(batch)).float().softmax(1).tolist()
            probabilities = dict(zip(images, shares, strict=True))
        for file in files[start : start + size]:
            yield file, probabilities.get(file, []), errors.get(file, "")


if __name__ == "__main__":
    main()
