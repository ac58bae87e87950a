"""A run directory: everything needed to resume, test, predict and compare one run.

config.yaml             the resolved config
metrics.json            status, figures, and the software and hardware that produced them
history.csv             figures of each epoch
checkpoints/best.ckpt   weights of the best epoch on the validation images
checkpoints/last.ckpt   everything needed to resume after the last finished epoch
learning_rates.csv      rate and loss of each step of the learning-rate search, if there was one
snapshots/epoch_*.pt    weights after some epochs, in half precision, if trainer.snapshots asks for them
test_predictions.npz    class, predicted class, and score of the correct class, of each test image
test_mistakes.npz       small pictures of misclassified test images
events.out.tfevents.*   TensorBoard's
projector_config.pbtxt  and a folder named by a step: for TensorBoard's projector, if logging.embeddings asks for them
train.log               what was printed
.hydra/                 Hydra's own record, if the run was started from the command line
"""

import io
import json
import os
import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from cnn_experiments.errors import ExperimentError, UserError
from cnn_experiments.runs import files
from cnn_experiments.runs.records import read_figures, read_json, read_yaml
from cnn_experiments.settings.containers import select, updated

# Keys that say where and on what a run computes, what it keeps and where it logs, not what it computes: a run may be
# resumed elsewhere with other values. The number of processes is not among them: with it, the images of a step and the
# number of steps change.
MACHINE_KEYS = (
    "datamodule.data_dir",
    "datamodule.num_workers",
    "logger",
    "trainer.enable_progress_bar",
    "trainer.gpus",
    "trainer.snapshots",
)

# The entries of metrics.json with the identifiers that other loggers gave a run, and their form.
RECORDED_RUNS = {"mlflow": "mlflow_run_id", "wandb": "wandb_run_id"}
IDENTIFIER = re.compile("[0-9a-z]{8,32}")


class RunDirectory:
    """The files of one run.

    What is read from them is data: its form and size are checked, and nothing in it is executed or resolved.

    Args:
        path: the directory; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.yaml"
        self.metrics_file = path / "metrics.json"
        self.history_file = path / "history.csv"
        self.best_checkpoint = path / "checkpoints" / "best.ckpt"
        self.last_checkpoint = path / "checkpoints" / "last.ckpt"
        self.predictions_file = path / "test_predictions.npz"
        self.mistakes_file = path / "test_mistakes.npz"
        self.log_file = path / "train.log"

    @classmethod
    def existing(cls, directory: str, key: str) -> "RunDirectory":
        """The run in a directory.

        Args:
            directory: as the user gave it.
            key: the key or argument that gave it, for the message.

        Raises:
            UserError: there is no run in it.
        """
        run = cls(Path(directory))
        if run.path.suffix == ".ckpt" and run.path.is_file():
            above = run.path.resolve().parent.parent
            place = f"{key}={above}" if cls(above).config_file.is_file() else "the folder of its run"
            raise UserError(
                f"{key}={directory}: this is a checkpoint, no run directory. Give {place}; cnn-test, cnn-predict and "
                f"cnn-export take a checkpoint by itself as checkpoint={directory}"
            )
        if not run.config_file.is_file():
            raise UserError(
                f"{key}={directory}: this is no run directory, it has no config.yaml. Give a folder such as "
                "outputs/lenet5_mnist/<date>_<time>_<id>"
            )
        return run

    def config(self) -> dict[str, Any]:
        """The resolved config, in plain containers. Text such as ``${oc.env:HOME}`` stays text.

        The precision ``auto``, which older runs recorded, is replaced with what it became.

        Raises:
            UserError: config.yaml is missing, or not what a run writes.
        """
        config = read_yaml(self.config_file)
        if select(config, "trainer.precision") == "auto" and isinstance(became := self.metrics().get("precision"), str):
            return updated(config, "trainer.precision", became)
        return config

    def metrics(self) -> dict[str, Any]:
        """Status and figures; empty if there are none yet.

        Raises:
            UserError: metrics.json is not what a run writes.
        """
        return read_json(self.metrics_file) if self.metrics_file.exists() else {}

    def overrides(self) -> tuple[str, ...]:
        """The words that were typed to begin the run; none where they were not recorded."""
        words = self.metrics().get("overrides")
        return tuple(word for word in words if isinstance(word, str)) if isinstance(words, list) else ()

    def recorded_run(self, logger: str) -> str | None:
        """The identifier that MLflow or W&B gave the run; None if none was recorded.

        Raises:
            UserError: metrics.json is not what a run writes.
        """
        entry = RECORDED_RUNS[logger]
        identifier = self.metrics().get(entry)
        if identifier is not None and not (isinstance(identifier, str) and IDENTIFIER.fullmatch(identifier)):
            raise UserError(f"{self.metrics_file}: {entry} is no identifier of a run. Remove it")
        return identifier

    def history(self) -> list[dict[str, float]]:
        """A row of figures for each finished epoch; empty if there is no file. Figures not measured are left out.

        Raises:
            UserError: history.csv is not what a run writes.
        """
        return read_figures(self.history_file) if self.history_file.exists() else []

    def start(self, config: Mapping[str, Any], records: Mapping[str, str] | None = None, **metrics: Any) -> None:
        """Write the config and the first figures, with status ``running``.

        Args:
            config: the resolved config, in plain containers.
            records: further text files of a run that begins: contents by their names, which may be in a folder.
            metrics: what is known before the training begins.

        Raises:
            ExperimentError: the disk is full, or the directory cannot be written. Where there was no run, none is left.
        """
        files.remove_unfinished(self.path)
        made: list[Path] = []
        text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
        try:
            for name, content in {
                **(records or {}),
                self.config_file.name: text,
            }.items():  # it makes it a run: the last
                place = self.path / name
                made += [] if place.exists() else [place]
                with files.write_errors_explained(place):
                    place.parent.mkdir(parents=True, exist_ok=True)
                files.write_text(place, content)
        except ExperimentError:
            for place in made:
                with suppress(OSError):
                    place.unlink(missing_ok=True)
                    place.parent.rmdir()  # which it does only if it is empty
            raise
        self.record(status="running", **metrics)

    def record(self, **metrics: Any) -> None:
        """Add figures to metrics.json, replacing those of the same name; an error stays until there is a new status."""
        self.path.mkdir(parents=True, exist_ok=True)
        before = self.metrics()
        if "status" in metrics:
            before.pop("error", None)
        files.write_text(self.metrics_file, json.dumps({**before, **metrics}, indent=2) + "\n")

    def write_predictions(self, labels: Any, predictions: Any, scores: Any) -> None:
        """Write the prediction for each test image, in the order of the test set, to test_predictions.npz.

        Args:
            labels: integers (N,), the classes of the images; an array or a tensor on the CPU, like the others.
            predictions: integers (N,), the classes with the highest scores.
            scores: floats (N,), the scores of the correct classes.
        """
        _write_arrays(self.predictions_file, labels=labels, predictions=predictions, scores=scores)

    def write_mistakes(self, positions: Any, images: Any) -> None:
        """Write small pictures of misclassified test images to test_mistakes.npz.

        Args:
            positions: integers (K,), the places of the images in the test set; an array, or a tensor on the CPU.
            images: bytes (K, H, W, C), likewise.
        """
        _write_arrays(self.mistakes_file, positions=positions, images=images)

    def refuse_folders(self) -> None:
        """Raise if there is a folder where the run would write a file, or the other way round.

        Raises:
            UserError: there is one.
        """
        for file in (
            *(self.config_file, self.metrics_file, self.history_file, self.log_file, self.predictions_file),
            *(self.mistakes_file, self.best_checkpoint, self.last_checkpoint),
        ):
            if file.is_dir() or file.parent.is_file():
                place = file if file.is_dir() else file.parent
                raise UserError(
                    f"{place}: a run writes another kind of thing here. Remove it, or choose another folder"
                )

    def refuse_links(self) -> None:
        """Raise if a file or folder that the run would write to is a symbolic link; the directory itself may be one.

        Raises:
            UserError: there is such a link.
        """
        if self.path.is_dir():
            inside = sorted(self.path.iterdir())
            files.refuse_links(self.path, inside)
            files.refuse_links(self.path, [file for folder in inside if folder.is_dir() for file in folder.iterdir()])


def _write_arrays(file: Path, **arrays: Any) -> None:
    """Write arrays, or tensors on the CPU, as a compressed .npz."""
    import numpy as np

    content = io.BytesIO()
    plain: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    np.savez_compressed(content, **plain)
    files.write_bytes(file, content.getvalue())


def is_first_process() -> bool:
    """Whether this process is the one that writes and prints, of those that torchrun or SLURM started together."""
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", 0))) == 0


def shown(directory: Path) -> str:
    """A directory as the user would type it: relative to the current one if it is inside."""
    with suppress(ValueError):
        return str(directory.resolve().relative_to(Path.cwd()))
    return str(directory)


def word_for(key: str, directory: Path) -> str:
    """A key and a directory as one word of a command line, to be copied: in quotes where a shell needs them."""
    return shlex.quote(f"{key}={shown(directory)}")


def rounded(figures: Mapping[str, float | None]) -> dict[str, float | None]:
    """Figures rounded to the seven digits of single precision: 0.9893, not 0.989300012588501."""
    return {name: None if value is None else float(f"{value:.7g}") for name, value in figures.items()}
