"""Draw what the layers of a trained network make of a test image, for the walks through the networks in `docs/`.

    python scripts/walk_pictures.py cnn_experiments/explorer/carried_run 0 docs/lenet5_maps.png
    python scripts/walk_pictures.py outputs/alexnet_dogs_vs_cats/… 0 docs/alexnet_maps.png

The number is that of a test image, as the page of `cnn-explore` counts them. A row of the picture is a layer: at most
16 of its maps, or all of its units.
"""

import sys
from pathlib import Path

from matplotlib.figure import Figure

import cnn_experiments as cnn
from cnn_experiments.evaluation.exploring import subject_of
from cnn_experiments.inspection.images import picture_of_input
from cnn_experiments.inspection.layer_outputs import layer_outputs, named_layers
from cnn_experiments.inspection.pictures import picture_of_maps

LAYERS = {
    "lenet5": ("c1", "s2", "c3", "s4", "c5", "f6"),
    "alexnet": ("conv1", "norm1", "pool1", "conv2", "conv3", "conv5", "fc7"),
    "googlenet": (
        *("conv1", "conv2", "inception3a/branch1x1", "inception3a/branch3x3", "inception3a/branch5x5"),
        *("inception3a/branch_pool", "inception4c", "inception5b"),
    ),
}
INCHES, INCHES_OF_A_ROW, DOTS_PER_INCH = 9.0, 1.55, 100
NAMES = 0.2  # share of the width


def main(directory: Path, number: int, target: Path) -> None:
    run = cnn.open_run(directory)
    subject = subject_of(run)
    if subject.data is None or subject.tests is None:
        raise cnn.UserError(subject.problem)
    image = subject.data.network_input(subject.tests.bytes_of([number]), "test")
    found = dict(named_layers(subject.network))
    layers = {name: found[name] for name in LAYERS[run.settings.model.name]}
    rows = [("input", picture_of_input(subject.data, image[0]))]
    for name, _, values in layer_outputs(subject.network, image, layers=layers):
        shape = "×".join(map(str, values.shape[2:])) or "1"
        rows.append((f"{name}\n{values.shape[1]}@{shape}", picture_of_maps(values).permute(1, 2, 0).numpy()))

    figure = Figure(figsize=(INCHES, INCHES_OF_A_ROW * len(rows)), dpi=DOTS_PER_INCH)
    for place, (name, picture) in enumerate(reversed(rows)):
        axes = figure.add_axes((NAMES, (place + 0.04) / len(rows), 1 - NAMES, 0.92 / len(rows)))
        axes.set_axis_off()
        axes.set_anchor("W")
        axes.imshow(picture, interpolation="nearest")
        figure.text(0.01, (place + 0.5) / len(rows), name, va="center")
    figure.savefig(target, pil_kwargs={"optimize": True})
    print(f"{target}: {target.stat().st_size / 1000:.0f} KB, {run.title()}, test image {number}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
