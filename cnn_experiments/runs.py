"""A run directory: everything needed to resume, test, predict and compare one run.

config.yaml             the resolved config
metrics.json            status and figures
history.csv             figures of each epoch
checkpoints/best.ckpt   weights of the best epoch on the validation images
checkpoints/last.ckpt   everything, at the end of the last finished epoch
events.out.tfevents.*   TensorBoard's
train.log               what was printed
.hydra/                 Hydra's own record
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from cnn_experiments.configs import plain
from cnn_experiments.errors import UserError

# Keys that say where and on what a run computes, not what: a run may go on elsewhere with others.
MACHINE_KEYS = (
    "datamodule.data_dir",
    "datamodule.num_workers",
    "trainer.devices",
    "trainer.enable_progress_bar",
    "trainer.gpus",
)


class Run:
    """One run directory and its files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config_file = directory / "config.yaml"
        self.metrics_file = directory / "metrics.json"
        self.history_file = directory / "history.csv"
        self.best_checkpoint = directory / "checkpoints" / "best.ckpt"
        self.last_checkpoint = directory / "checkpoints" / "last.ckpt"

    @classmethod
    def existing(cls, directory: str, key: str) -> "Run":
        """The run in a directory.

        Raises:
            UserError: there is none; the message names the key that gave the directory.
        """
        run = cls(Path(directory))
        if not run.config_file.is_file():
            raise UserError(
                f"{key}={directory}: this is no run directory, it has no config.yaml. Give a folder such as "
                "outputs/lenet5_mnist/<date>_<time>_<id>"
            )
        return run

    def config(self) -> dict[str, Any]:
        """The resolved config, in plain containers."""
        return plain(OmegaConf.load(self.config_file))

    def metrics(self) -> dict[str, Any]:
        """Status and figures; empty where there are none yet."""
        return json.loads(self.metrics_file.read_text()) if self.metrics_file.exists() else {}

    def start(self, config: dict[str, Any], **metrics: Any) -> None:
        """Write the config and the first figures, with status ``running``."""
        OmegaConf.save(OmegaConf.create(config), self.config_file)
        self.record(status="running", **metrics)

    def record(self, **metrics: Any) -> None:
        """Add figures to metrics.json, which is replaced as a whole."""
        temporary = self.metrics_file.with_suffix(".json.new")
        temporary.write_text(json.dumps({**self.metrics(), **metrics}, indent=2) + "\n")
        os.replace(temporary, self.metrics_file)


def is_first_process() -> bool:
    """Whether this is the one that writes and prints, of those that torchrun or SLURM started together."""
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", 0))) == 0


def shown(directory: Path) -> str:
    """A directory as the user would type it."""
    with suppress(ValueError):
        return str(directory.resolve().relative_to(Path.cwd()))
    return str(directory)


def rounded(figures: Mapping[str, float | None]) -> dict[str, float | None]:
    """Figures without the digits that single precision makes up: 0.9893, not 0.989300012588501."""
    return {name: None if value is None else float(f"{value:.7g}") for name, value in figures.items()}


def load_checkpoint(file: Path, key: str) -> dict[str, Any]:
    """A checkpoint of this project: ``state_dict``, and the config of its run under ``hyper_parameters.config``.

    Raises:
        UserError: the file is missing or no such checkpoint; the message names the key that gave it.
    """
    import torch

    if not file.is_file():
        raise UserError(
            f"{key}={file}: there is no such file. A run writes checkpoints/best.ckpt after its first epoch"
        )
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
        checkpoint["hyper_parameters"]["config"]["model"]["name"], checkpoint["state_dict"]
    except Exception as error:  # torch.load raises whatever the bytes of a foreign file lead it to
        raise UserError(
            f"{key}={file}: this is no checkpoint of cnn-train. Give one of a run's checkpoints/"
        ) from error
    return checkpoint
