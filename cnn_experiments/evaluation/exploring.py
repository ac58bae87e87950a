"""What the page of `cnn-explore` shows of a run."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from cnn_experiments.datamodules.base import ImageData
from cnn_experiments.datamodules.in_memory import ImagesInMemory
from cnn_experiments.datamodules.mnist import DIGIT_SIDE, MNIST
from cnn_experiments.errors import ExperimentError, UserError
from cnn_experiments.explorer.subject import CARRIED_RUN, Recorded, Subject, TestImages
from cnn_experiments.inspection.layer_table import copied
from cnn_experiments.runs.arrays import DAMAGED, read_arrays
from cnn_experiments.runs.directory import shown
from cnn_experiments.runs.progress_line import in_notebook
from cnn_experiments.settings.containers import flatten

if TYPE_CHECKING:
    from cnn_experiments.evaluation.run import Run
    from cnn_experiments.explorer.server import Server

CARRIED_IMAGES = "digits.npz"  # a few test images that a run directory may hold: images, labels, index
MOST_BYTES = 2**28  # of such a file and of recorded predictions, packed or unpacked


def start(runs: Sequence["Run"], port: int, open_browser: bool) -> "Server":
    """Serve the page from a thread of its own, and show it in the browser, if asked and not in a notebook.

    Raises:
        UserError: the port is not free, or the page's server is not installed.
    """
    server = explorer_server()
    subjects = [subject_of(run) for run in runs]
    for subject in subjects:  # a thread computes with it, while the run may be tested, on a GPU too
        subject.network = copied(subject.network)
    started: Server = server.Server(subjects, port)
    if open_browser and not in_notebook():
        server.show(started.address)
    return started


def explorer_server() -> Any:
    """The module `explorer.server`, which needs a package that not everybody installs.

    Raises:
        UserError: it is not installed.
    """
    if find_spec("aiohttp") is None:
        raise UserError("explore: this needs the extra explore: pip install 'cnn_experiments[explore]'")
    from cnn_experiments.explorer import server

    return server


def subject_of(run: "Run") -> Subject:
    """What the page shows of a run. Nothing is downloaded: where its data are not here, it is shown without them.

    Raises:
        UserError: there are no weights yet.
    """
    network = run.network()
    data, problem = _data_of(run)
    tests: TestImages | None = None
    if data is not None:
        tests, problem = _tests_of(run, data)
    classes = data.class_names if data is not None else list(map(str, range(run.settings.datamodule.num_classes)))
    return Subject(
        title=run.title(),
        network=network,
        input_shape=run.settings.input_shape if data is None else data.input_shape,
        class_names=list(classes),
        data=data,
        tests=tests,
        problem=problem,
        epochs=run.epochs,
        weights_at=run.weights_at,
        directory="" if run.directory == CARRIED_RUN else shown(run.directory),
        cache=None if run.directory == CARRIED_RUN else run.directory,
        settings=dict(flatten(run.settings.config)),
        metrics=run.metrics,
        history=run.history,
    )


def _data_of(run: "Run") -> tuple[ImageData | None, str]:
    """The data set of a run, and why there is none."""
    try:
        return run.data, ""
    except ExperimentError as error:
        return None, str(error)


def _tests_of(run: "Run", data: ImageData) -> tuple[TestImages | None, str]:
    """The test images of a run: its data set's, or those that its directory holds; and why there are none."""
    reason = "The run's data are not on this machine. Say where they are with datamodule.data_dir=FOLDER"
    recorded = _recorded_of(run.files.predictions_file)
    if data.is_here():
        try:
            images = data.images_of("test")
            if len(images):
                fingerprint = f"{data.fingerprint()} {len(images)}"
                return TestImages(images, fingerprint, _of_these(recorded, images.labels.numpy())), ""
            reason = "The run's data set has no test images"
        except ExperimentError as error:
            reason = str(error)
    carried = run.directory / CARRIED_IMAGES
    if isinstance(data, MNIST) and carried.is_file():
        try:
            return _carried_digits(carried, data, recorded), ""
        except DAMAGED as error:
            reason = f"{shown(carried)} holds no digits ({error})"
    return None, f"{reason}."


def _carried_digits(file: Path, data: MNIST, recorded: tuple[NDArray[Any], Recorded] | None) -> TestImages:
    """The digits that a run directory holds, with what the run recorded of them.

    Raises:
        ValueError, KeyError and others of `DAMAGED`: the file holds something else.
    """
    arrays = read_arrays(file, ("images", "labels", "index"), MOST_BYTES)
    images, labels, index = (arrays[name] for name in ("images", "labels", "index"))
    number = len(labels) if labels.ndim == 1 else -1
    if images.dtype != np.uint8 or images.shape != (number, DIGIT_SIDE, DIGIT_SIDE) or index.shape != (number,):
        raise ValueError("arrays of other shapes")
    if not number or labels.dtype.kind not in "iu" or index.dtype.kind not in "iu":
        raise ValueError("labels that are no numbers")
    if labels.min() < 0 or labels.max() >= data.num_classes or index.min() < 0:
        raise ValueError("labels that do not exist")
    padded = functional.pad(torch.from_numpy(images)[:, None], (data.margin,) * 4)
    of_these = None
    if recorded is not None and index.max() < len(recorded[0]):
        truth, all_of_them = recorded
        picked = Recorded(all_of_them.predictions[index], all_of_them.scores[index])
        of_these = _of_these((truth[index], picked), labels)
    set_of_digits = ImagesInMemory(padded, torch.from_numpy(labels.astype(np.int64)))
    return TestImages(set_of_digits, f"{CARRIED_IMAGES} {index.tolist()}", of_these)


def _recorded_of(file: Path) -> tuple[NDArray[Any], Recorded] | None:
    """The classes of the test images and what the run recorded of each; None where there is no sound record."""
    try:
        arrays = read_arrays(file, ("labels", "predictions", "scores"), MOST_BYTES)
    except DAMAGED:
        return None
    labels, predictions, scores = (arrays[name] for name in ("labels", "predictions", "scores"))
    are_numbers = labels.dtype.kind in "iu" and predictions.dtype.kind in "iu" and scores.dtype.kind == "f"
    if not are_numbers or labels.ndim != 1 or not labels.shape == predictions.shape == scores.shape:
        return None
    return labels, Recorded(predictions.astype(np.int64), scores.astype(np.float64))


def _of_these(recorded: tuple[NDArray[Any], Recorded] | None, labels: NDArray[Any]) -> Recorded | None:
    """What was recorded, if it is about these images: of others, the classes would differ."""
    return recorded[1] if recorded is not None and np.array_equal(recorded[0], labels) else None
