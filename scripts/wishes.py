"""Measure what docs/wishes.md and docs/wishes.ko.md show: what the author of the article wished for, as it is here.

    make wishes

It needs some minutes, 10 GB of memory and Linux. The photographs whose memory is measured are made up; docs/chelsea.jpg
is the one that goes through both preprocessings. The figures are filled into studies/wishes.md and its Korean twin.
What C3's partial connections do to the accuracy was measured by `make study CLAIMS=partial_connections`.
"""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.memory import make_photographs, peak_of, peak_of_training
from cnn_experiments.commands.from_python import read_words
from cnn_experiments.datamodules.photographs import read_photograph
from cnn_experiments.datamodules.resizing import CANVAS, Resizing
from cnn_experiments.errors import UserError
from cnn_experiments.evaluation.randomness import untrained_network
from cnn_experiments.inspection.layer_table import layer_table
from scripts.claims import ROOT, STUDY_OF_CLAIMS, chosen_claims, read_claims
from scripts.measured import all_findings
from scripts.pages import Figures, fill, table
from scripts.study import STUDY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PHOTOGRAPH = ROOT / "docs" / "chelsea.jpg"
SIDE = 214  # pixels of the article's images
ALL = 25_000  # photographs of Dogs vs. Cats
LOADED, TRAINED = (250, 500, 1000, 2000, 4000), (400, 2000, 10_000, ALL)  # numbers of photographs that are measured
STEPS = "trainer.limit_train_batches=20"
# Of the article's narrow AlexNet: images in memory at once, and how many such batches make a step.
BATCHES = ((32, 1), (128, 1), (256, 1), (32, 8))

# Reads a folder as the article does: each photograph in the corner of a black canvas, shrunk, all of them in one array,
# which is divided by 255. Both arrays, which are there at once, stay long enough to be measured.
LIKE_THE_ARTICLE = """
import sys, time
from pathlib import Path
import numpy as np
from cnn_experiments.datamodules.photographs import read_photograph
from cnn_experiments.datamodules.resizing import Resizing

shrink = Resizing("canvas", int(sys.argv[2]))
images = np.array([shrink(read_photograph(file)) for file in sorted(Path(sys.argv[1]).iterdir())])
floats = images / 255
time.sleep(1)
"""


def memory_of_loading(photographs: Path) -> float:
    """Of a folder of photographs in one array, as the article has them, in MiB."""
    return peak_of([sys.executable, "-c", LIKE_THE_ARTICLE, str(photographs), str(SIDE)], photographs)


def memory_of_batch(images: int, batches: int, photographs: Path, place: Path) -> float:
    """Of a training of the article's narrow AlexNet, in MiB.

    Args:
        images: in memory at once.
        batches: of so many images that make a step.
        photographs: at least as many as a step takes, and 200 for validation and test.
        place: an empty folder.
    """
    words = ["experiment=alexnet_article_narrow", "datamodule.limit=null", f"datamodule.batch_size={images}"]
    steps = [f"trainer.accumulate_grad_batches={batches}", f"trainer.limit_train_batches={2 * batches}"]
    return peak_of_training(photographs, place, [*words, *steps])


def measure_memory(
    loaded: Sequence[int] = LOADED, trained: Sequence[int] = TRAINED, batches: Sequence[tuple[int, int]] = BATCHES
) -> tuple[dict[int, float], dict[int, float], dict[tuple[int, int], float]]:
    """Peaks in MiB: of loading numbers of photographs, of training with numbers of them, and by size of the batch."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        folders = {number: place / f"photographs{number}" for number in {*loaded, *trained}}
        for number, folder in folders.items():
            make_photographs(folder, number)
        of_loading = {number: memory_of_loading(folders[number]) for number in loaded}
        print(f"loading: {of_loading}", flush=True)
        of_training = {number: peak_of_training(folders[number], place / f"run{number}", [STEPS]) for number in trained}
        print(f"training: {of_training}", flush=True)
        enough = place / "enough"
        make_photographs(enough, 2 * max(images * several for images, several in batches) + 200)
        of_batches = {
            (images, several): memory_of_batch(images, several, enough, place / f"batch{images}x{several}")
            for images, several in batches
        }
        print(f"batches: {of_batches}", flush=True)
    return of_loading, of_training, of_batches


def per_photograph(loading: Mapping[int, float]) -> float:
    """What each photograph adds to the memory of loading, in MiB: the slope between the fewest and the most."""
    fewest, most = min(loading), max(loading)
    return (loading[most] - loading[fewest]) / (most - fewest)


def figures_of_memory(
    loading: Mapping[int, float], training: Mapping[int, float], batches: Mapping[tuple[int, int], float]
) -> Figures:
    """Tables, and what all photographs would take if each took as much as those that were measured."""
    each = per_photograph(loading)
    by_batch = [
        [str(images), str(several), str(images * several), f"{peak:,.0f}"]
        for (images, several), peak in batches.items()
    ]
    return {
        "loading": table([[f"{number:,}", f"{peak:,.0f}"] for number, peak in loading.items()]),
        "training": table([[f"{number:,}", f"{peak:,.0f}"] for number, peak in training.items()]),
        "batches": table(by_batch),
        "each": f"{each:.2f}",
        "floats": f"{SIDE * SIDE * 3 * 8 / 2**20:.2f}",
        "bytes": f"{SIDE * SIDE * 3 / 2**20:.2f}",
        "all": f"{each * ALL / 1024:.1f}",
        "lowest": f"{min(training.values()):,.0f}",
        "highest": f"{max(training.values()):,.0f}",
    }


def picture_of_memory(loading: Mapping[int, float], training: Mapping[int, float]) -> "Figure":
    """Memory against the number of photographs, on logarithmic axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    last = max(loading)
    axes.plot(
        list(loading),
        [peak / 1024 for peak in loading.values()],
        "o-",
        color="#c0392b",
        label="all of them in one array",
    )
    beyond = [last, ALL]
    axes.plot(
        beyond,
        [(loading[last] + per_photograph(loading) * (one - last)) / 1024 for one in beyond],
        "--",
        color="#c0392b",
        label="the same, continued",
    )
    axes.plot(
        list(training), [peak / 1024 for peak in training.values()], "s-", color="#2471a3", label="cnn-train, all of it"
    )
    axes.set(xlabel="photographs", ylabel="memory in GiB", xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,g}")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    return figure


def both_ways(photograph: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """What a network of the article's input sees of a photograph: by the article's preprocessing, and by ours."""
    ours = Resizing().sized_for(SIDE)(photograph)
    margin = (ours.shape[0] - SIDE) // 2
    return Resizing("canvas", SIDE)(photograph), ours[margin : margin + SIDE, margin : margin + SIDE]


def figures_of_photograph(photograph: NDArray[np.uint8]) -> Figures:
    """Of both preprocessings."""
    height, width = photograph.shape[:2]
    scale, side = SIDE / CANVAS, Resizing().sized_for(SIDE).side
    return {
        "side": str(SIDE),
        "width": str(width),
        "height": str(height),
        "canvas.width": str(round(width * scale)),
        "canvas.height": str(round(height * scale)),
        "canvas.scale": f"{scale:.2f}",
        "canvas.used": f"{100 * width * height / CANVAS**2:.0f}",
        "ours.scale": f"{side / min(width, height):.2f}",
        "ours.size": str(side),
    }


def picture_of_photograph(photograph: NDArray[np.uint8]) -> "Figure":
    """A photograph as it is, and as a network sees it after either preprocessing."""
    from matplotlib.figure import Figure

    canvas, ours = both_ways(photograph)
    height, width = photograph.shape[:2]
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    titles = (f"the photograph, {width}×{height}", f"black canvas, {SIDE}×{SIDE}", f"shorter side, {SIDE}×{SIDE}")
    for axes, image, title in zip(figure.subplots(1, 3), (photograph, canvas, ours), titles, strict=True):
        axes.imshow(image, interpolation="nearest")
        axes.set_title(title, fontsize=10)
        axes.axis("off")
    return figure


def figures_of_connections(root: Path = STUDY, measured: Path = STUDY_OF_CLAIMS.measured) -> Figures:
    """What C3's partial connections save and cost, by layer tables and by what the study found.

    Args:
        root: the folder of the study's runs.
        measured: the file of what it found.

    Raises:
        UserError: it has not been measured.
    """
    found: Figures = {}
    for c3 in ("partial", "full"):
        settings = read_words([f"model.c3={c3}"], None, None, [])[1]
        network = layer_table(untrained_network(settings), settings.input_shape)
        (layer,) = (row for row in network.rows if row.name == "c3")
        for where, costs in (("c3", layer), ("all", network)):
            found[f"{c3}.{where}.parameters"] = f"{costs.parameters:,}"
            found[f"{c3}.{where}.connections"] = f"{costs.connections:,}"
            found[f"{c3}.{where}.multiply_adds"] = f"{costs.multiply_adds:,}"
    (claim,) = chosen_claims(read_claims(), ["partial_connections"])
    (finding,) = all_findings([claim], root, measured)
    if not finding.differences:
        raise UserError(f"{measured}: {claim.name} is missing. Run `make study CLAIMS={claim.name}` first")
    for name, arm in finding.arms.items():
        found[f"{name}.accuracy"] = f"{arm.accuracy:.4f}"
    (one,) = finding.differences
    found["gain"] = f"{one.value:+.2f} [{one.low:+.2f}, {one.high:+.2f}]".replace("-", "−")
    found["seeds"] = str(finding.seeds)
    return found


def main(folder: Path = ROOT / "docs") -> int:
    """Measure everything, and write pages and pictures; the exit status."""
    photograph = read_photograph(PHOTOGRAPH)
    try:
        if sys.platform != "linux":
            raise UserError("make wishes: memory is read from /proc, so it needs Linux")
        figures = figures_of_connections() | figures_of_photograph(photograph)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    loading, training, batches = measure_memory()
    figures |= figures_of_memory(loading, training, batches)
    pictures = {
        "wishes_memory.png": picture_of_memory(loading, training),
        "wishes_photograph.png": picture_of_photograph(photograph),
    }
    for name, picture in pictures.items():
        picture.savefig(folder / name, dpi=110)
    for file in fill("wishes", figures, {}, folder):
        print(f"written: {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
