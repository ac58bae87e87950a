"""A run directory: everything needed to resume, test, predict and compare one run.

config.yaml             the resolved config
metrics.json            status, figures, and the software and hardware that produced them
history.csv             figures of each epoch
checkpoints/best.ckpt   weights of the best epoch on the validation images
checkpoints/last.ckpt   everything needed to resume after the last finished epoch
test_predictions.npz    class, predicted class, and score of the correct class, of each test image
events.out.tfevents.*   TensorBoard's
train.log               what was printed
.hydra/                 Hydra's own record, if the run was started from the command line
"""

import csv
import io
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from cnn_experiments.errors import UserError
from cnn_experiments.runs import files
from cnn_experiments.runs.records import read_json, read_yaml

# Keys that say where and on what a run computes, not what: a run may be resumed elsewhere with other values.
MACHINE_KEYS = (
    "datamodule.data_dir",
    "datamodule.num_workers",
    "trainer.devices",
    "trainer.enable_progress_bar",
    "trainer.gpus",
)
MOST_BYTES_OF_HISTORY = 2**26


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
        if not run.config_file.is_file():
            raise UserError(
                f"{key}={directory}: this is no run directory, it has no config.yaml. Give a folder such as "
                "outputs/lenet5_mnist/<date>_<time>_<id>"
            )
        return run

    def config(self) -> dict[str, Any]:
        """The resolved config, in plain containers. Text such as ``${oc.env:HOME}`` stays text.

        Raises:
            UserError: config.yaml is missing, or not what a run writes.
        """
        return read_yaml(self.config_file)

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

    def history(self) -> list[dict[str, float]]:
        """A row of figures for each finished epoch; empty if there is no file. Figures not measured are left out.

        Raises:
            UserError: history.csv is not what a run writes.
        """
        if not self.history_file.exists():
            return []
        text = files.read_text(self.history_file, MOST_BYTES_OF_HISTORY)
        try:
            lines = csv.DictReader(io.StringIO(text, newline=""), strict=True)
            return [{name: float(value) for name, value in row.items() if value} for row in lines]
        except (csv.Error, ValueError, TypeError) as error:
            raise UserError(f"{self.history_file}: this is no table of figures as a run writes it ({error})") from error

    def start(self, config: Mapping[str, Any], **metrics: Any) -> None:
        """Write the config and the first figures, with status ``running``.

        Args:
            config: the resolved config, in plain containers.
            metrics: what is known before the training begins.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        files.write_text(self.config_file, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
        self.record(status="running", **metrics)

    def record(self, **metrics: Any) -> None:
        """Add figures to metrics.json, replacing those of the same name."""
        self.path.mkdir(parents=True, exist_ok=True)
        files.write_text(self.metrics_file, json.dumps({**self.metrics(), **metrics}, indent=2) + "\n")

    def write_predictions(self, labels: Any, predictions: Any, scores: Any) -> None:
        """Write the prediction for each test image, in the order of the test set, to test_predictions.npz.

        Args:
            labels: integers (N,), the classes of the images; an array or a tensor on the CPU, like the others.
            predictions: integers (N,), the classes with the highest scores.
            scores: floats (N,), the scores of the correct classes.
        """
        import numpy as np

        content = io.BytesIO()
        np.savez_compressed(
            content, labels=np.asarray(labels), predictions=np.asarray(predictions), scores=np.asarray(scores)
        )
        files.write_bytes(self.predictions_file, content.getvalue())

    def refuse_links(self) -> None:
        """Raise if a file or folder that the run would write to is a symbolic link; the directory itself may be one.

        Raises:
            UserError: there is such a link.
        """
        if self.path.is_dir():
            inside = sorted(self.path.iterdir())
            files.refuse_links(self.path, inside)
            files.refuse_links(self.path, [file for folder in inside if folder.is_dir() for file in folder.iterdir()])


def is_first_process() -> bool:
    """Whether this process is the one that writes and prints, of those that torchrun or SLURM started together."""
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", 0))) == 0


def shown(directory: Path) -> str:
    """A directory as the user would type it: relative to the current one if it is inside."""
    with suppress(ValueError):
        return str(directory.resolve().relative_to(Path.cwd()))
    return str(directory)


def rounded(figures: Mapping[str, float | None]) -> dict[str, float | None]:
    """Figures rounded to the seven digits of single precision: 0.9893, not 0.989300012588501."""
    return {name: None if value is None else float(f"{value:.7g}") for name, value in figures.items()}
