"""cnn-predict: classify images with a trained network."""

import csv
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from cnn_experiments.commands.hydra_command import command, known_classes, output_directory, typed_settings
from cnn_experiments.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from cnn_experiments.evaluation.prediction import Prediction


@command("predict")
def main(config: DictConfig) -> None:
    """Print the class and probability of each image and write predictions.csv; list the files that cannot be read.

    With ``saliency=true``, also write a picture of each image to ``saliency/``: the network's input, and the regions
    of it that spoke for the class.
    """
    if not isinstance(config.saliency, bool):
        raise UserError(f"saliency={config.saliency}: use true or false")
    if config.images is None:
        raise UserError("images: give a file, a folder or a pattern (images='holiday/*.jpg')")
    from cnn_experiments.evaluation.prediction import find_images, predict
    from cnn_experiments.evaluation.run import opened
    from cnn_experiments.inspection.saliency import choose_layer

    files = find_images(config.images)
    run = opened(config.run, config.checkpoint, known_classes(config), typed_settings(config))
    hardware = run.hardware
    network = hardware.place(run.network())
    directory = output_directory()
    layer = choose_layer(network, config.saliency_layer, run.data.input_shape) if config.saliency else None
    above_all = Path(os.path.commonpath([file.absolute().parent for file in files]))

    predictions = []
    with (directory / "predictions.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        names = run.data.class_names
        writer.writerow(["file", "class", "probability", *(f"probability of {name}" for name in names), "error"])
        for prediction in predict(network, run.data, files, hardware):
            writer.writerow(row_of(prediction, len(names)))
            predictions.append(replace(prediction, seen=None))  # memory is bounded by a batch
            if layer is not None and not prediction.error:
                below = prediction.file.absolute().relative_to(above_all)
                picture = directory / "saliency" / f"{below}.png"  # a.jpg and a.png may both be there
                write_saliency(network, layer, prediction, names, picture)
    print_predictions(predictions)
    print(f"written: {directory / 'predictions.csv'}")
    if not any(not prediction.error for prediction in predictions):
        raise UserError(f"images={config.images}: none of these files is an image that can be read")
    if layer is not None:
        print(f"written: {directory / 'saliency'}: what the network saw, and what spoke for the class (Grad-CAM)")


def row_of(prediction: "Prediction", classes: int) -> list[object]:
    """A row of predictions.csv."""
    if prediction.error:
        return [prediction.file, *[""] * (classes + 2), prediction.error]
    shares = [f"{share:.6f}" for share in (prediction.probability, *prediction.probabilities.values())]
    return [prediction.file, prediction.class_name, *shares, ""]


def write_saliency(
    network: "nn.Module", layer: "nn.Module", prediction: "Prediction", names: list[str], picture: Path
) -> None:
    """Draw the network's input, and the regions of it that spoke for the class according to a layer's feature maps."""
    import torch

    from cnn_experiments.inspection.saliency import grad_cam, picture_of_saliency

    assert prediction.seen is not None
    images = prediction.seen[None]
    classes = torch.tensor([names.index(prediction.class_name)], device=images.device)
    heat = grad_cam(network, layer, images, classes)[0]
    caption = f"{prediction.class_name} {prediction.probability:.3f}"
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture_of_saliency(prediction.seen, heat, caption).save(picture)


def print_predictions(predictions: "list[Prediction]") -> None:
    """Print a row for each image, and the files that could not be read."""
    from rich.console import Console
    from rich.table import Table

    table = Table("file", "class", "probability")
    for prediction in predictions:
        if not prediction.error:
            table.add_row(str(prediction.file), prediction.class_name, f"{prediction.probability:.3f}")
    if table.rows:
        console = Console()
        console.width = max(console.width, max(len(str(prediction.file)) for prediction in predictions) + 40)
        console.print(table)
    unreadable = [f"  {prediction.file}: {prediction.error}" for prediction in predictions if prediction.error]
    if unreadable:
        print("\n".join([f"{len(unreadable)} of {len(predictions)} files could not be read:", *unreadable]))


if __name__ == "__main__":
    main()
