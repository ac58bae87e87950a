"""cnn-predict: classify images with a trained network."""

import hashlib
import io
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig

from cnn_experiments.commands.hydra_command import command, known_classes, output_directory, typed_settings
from cnn_experiments.errors import UserError
from cnn_experiments.runs.files import write_bytes, write_errors_explained, write_text
from cnn_experiments.runs.formats import as_csv, cut, printable, terminal_table

if TYPE_CHECKING:
    from torch import nn

    from cnn_experiments.evaluation.prediction import Prediction

LONGEST_NAME = 230  # bytes of a file name, to which its directory allows 255


def with_images_quoted(words: list[str]) -> list[str]:
    """The words of the command line with the path after ``images=`` in quotes, whatever characters it has."""
    found = [re.fullmatch(r"images=((?!['\"]|null$).+)", word, re.DOTALL) for word in words]
    return [
        f"images={QuotedString(path[1], Quote.single).with_quotes()}" if path else word
        for path, word in zip(found, words, strict=True)
    ]


@command("predict", with_images_quoted)
def main(config: DictConfig) -> None:
    """Print the class and probability of each image and write predictions.csv; list the files that cannot be read.

    With ``saliency=true``, also write a picture of each image to ``saliency/``: the network's input, and the regions
    of it that spoke for the class.
    """
    if not isinstance(config.saliency, bool):
        raise UserError(f"saliency={config.saliency}: use true or false")
    if not isinstance(config.images, str) or not config.images:
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
    above_all = os.path.commonpath([os.path.dirname(os.path.abspath(file)) for file in files])
    names = run.data.class_names

    predictions = []
    for prediction in predict(network, run.data, files, hardware):
        predictions.append(replace(prediction, seen=None))  # memory is bounded by a batch
        if layer is not None and not prediction.error:
            below = Path(os.path.relpath(os.path.abspath(prediction.file), above_all))
            write_saliency(network, layer, prediction, names, directory / "saliency" / picture_of(below))
    heading = ["file", "class", "probability", *(f"probability of {name}" for name in names), "error"]
    rows = [row_of(prediction, len(names)) for prediction in predictions]
    write_text(directory / "predictions.csv", as_csv(heading, rows))
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
    images = prediction.seen[None].to(next(network.parameters()).dtype)
    classes = torch.tensor([names.index(prediction.class_name)], device=images.device)
    heat = grad_cam(network, layer, images, classes)[0]
    caption = f"{cut(printable(prediction.class_name), 40)} {prediction.probability:.3f}"
    content = io.BytesIO()
    picture_of_saliency(prediction.seen, heat, caption).save(content, "png")
    with write_errors_explained(picture.parent):
        picture.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(picture, content.getvalue())


def picture_of(image: Path) -> Path:
    """Where the picture for an image goes: a.jpg and a.png may both be there, and a name may be as long as can be."""
    name = f"{image.name}.png"
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = f"{image.name[:40]}.{hashlib.sha256(os.fsencode(image.name)).hexdigest()[:16]}.png"
    return image.with_name(name)


def print_predictions(predictions: "list[Prediction]") -> None:
    """Print a row for each image, and the files that could not be read."""
    from rich.console import Console
    from rich.measure import Measurement

    rows = [
        [str(prediction.file), cut(prediction.class_name), f"{prediction.probability:.3f}"]
        for prediction in predictions
        if not prediction.error
    ]
    if rows:
        console = Console()
        table = terminal_table("", [["file", "class", "probability"], *rows])
        console.width = max(
            console.width, Measurement.get(console, console.options.update(width=10_000), table).maximum
        )
        console.print(table)
    unreadable = [
        printable(f"  {prediction.file}: {prediction.error}") for prediction in predictions if prediction.error
    ]
    if unreadable:
        print("\n".join([f"{len(unreadable)} of {len(predictions)} files could not be read:", *unreadable]))


if __name__ == "__main__":
    main()
