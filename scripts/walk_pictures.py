"""Draw what the layers of a trained network make of an image, for the walks through the networks in `docs/`.

    python scripts/walk_pictures.py cnn_experiments/explorer/carried_run 0 docs/lenet5_maps.png
    python scripts/walk_pictures.py outputs/alexnet_dogs_vs_cats/… docs/chelsea.jpg docs/alexnet_maps.png

The image is a file, or the number of a test image, as the page of `cnn-explore` counts them. A row of the picture is a
layer: at most 16 of its maps, or all of its units.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

import cnn_experiments as cnn
from cnn_experiments.evaluation.exploring import subject_of
from cnn_experiments.inspection.images import picture_of_input
from cnn_experiments.inspection.layer_outputs import layer_outputs, named_layers
from cnn_experiments.inspection.pictures import IMAGE_SIDE, enlarged, picture_of_maps

LAYERS = {
    "lenet5": ("c1", "s2", "c3", "s4", "c5", "f6"),
    "alexnet": ("conv1", "norm1", "pool1", "conv2", "conv3", "conv5", "fc7"),
    "googlenet": (
        *("conv1", "conv2", "inception3a/branch1x1", "inception3a/branch3x3", "inception3a/branch5x5"),
        *("inception3a/branch_pool", "inception4c", "inception5b"),
    ),
}
NAMES, GAP, LETTERS = 170, 16, 14  # pixels: width of the column of names, between rows, height of the letters


def main(directory: Path, chosen: str, target: Path) -> None:
    """Draw the picture.

    Args:
        directory: of the run.
        chosen: an image file, or the number of a test image.
        target: the PNG to be written.

    Raises:
        UserError: the run's data set is not there.
    """
    run = cnn.open_run(directory)
    subject = subject_of(run)
    if subject.data is None or subject.tests is None:
        raise cnn.UserError(subject.problem)
    pixels = subject.tests.bytes_of([int(chosen)]) if chosen.isdigit() else subject.data.read_image(Path(chosen))[None]
    image = subject.data.network_input(pixels, "test")
    found = dict(named_layers(subject.network))
    layers = {name: found[name] for name in LAYERS[run.settings.model.name]}
    shown = torch.from_numpy(picture_of_input(subject.data, image[0])).permute(2, 0, 1)
    rows = [("input", bytes_of(enlarged(shown[None] / 255, IMAGE_SIDE)[0]))]
    for name, _, values in layer_outputs(subject.network, image, layers=layers):
        shape = "x".join(map(str, values.shape[2:])) or "1"  # Pillow's font has no ×
        rows.append((f"{name}\n{values.shape[1]}@{shape}", bytes_of(picture_of_maps(values))))

    width = NAMES + max(picture.shape[1] for _, picture in rows)
    height = sum(picture.shape[0] + GAP for _, picture in rows)
    drawing = Image.new("RGB", (width, height), "white")
    pen, top = ImageDraw.Draw(drawing), GAP // 2
    for name, picture in rows:
        drawing.paste(Image.fromarray(picture), (NAMES, top))
        pen.text((GAP // 2, top + picture.shape[0] // 2), name, fill="black", anchor="lm", font_size=LETTERS)
        top += picture.shape[0] + GAP
    drawing.save(target, optimize=True)
    print(f"{target}: {target.stat().st_size / 1000:.0f} KB, {run.title()}, {chosen}")


def bytes_of(picture: torch.Tensor) -> np.ndarray:
    """A picture (3, H, W) from 0 to 1 as bytes (H, W, 3)."""
    return (picture.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
