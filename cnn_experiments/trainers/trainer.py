"""From the config group ``trainer`` to Lightning's Trainer."""

import logging
import sys
import warnings
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.utilities.exceptions import MisconfigurationException

from cnn_experiments.errors import UserError
from cnn_experiments.evaluation.hardware import Hardware
from cnn_experiments.settings.constructors import check, refuse_unknown
from cnn_experiments.settings.schema import TrainerSettings

# Lightning's keys that the project sets itself.
SET_HERE = {
    "self",
    "accelerator",
    "logger",
    "callbacks",
    "plugins",
    "enable_checkpointing",
    "default_root_dir",
    "use_distributed_sampler",
    "enable_autolog_hparams",
    "barebones",
    "model_registry",
}


def build_trainer(settings: TrainerSettings, hardware: Hardware, **more: Any) -> pl.Trainer:
    """Lightning's Trainer with these settings.

    Args:
        settings: the settings of the config group ``trainer``.
        hardware: the hardware that they mean on this machine.
        more: arguments that do not come from the config, such as callbacks.

    Raises:
        UserError: a key is unknown, or its value is wrong.
    """
    quiet_lightning()
    lightning = check(pl.Trainer, {**settings.lightning, "precision": hardware.precision}, "trainer")
    refuse_unknown(lightning, set(lightning) - SET_HERE, "trainer")
    show_progress = lightning.pop("enable_progress_bar", True) and someone_watches()
    try:
        return pl.Trainer(
            **{**lightning, "devices": hardware.devices},
            accelerator=hardware.accelerator,
            enable_progress_bar=show_progress,
            use_distributed_sampler=False,  # our sampler shares the images out itself
            enable_autolog_hparams=False,  # we write them ourselves, with the final figures
            **more,
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise UserError(f"trainer: {error}") from error


def someone_watches() -> bool:
    """Whether anybody can see a progress bar: on a terminal or in a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def quiet_lightning() -> None:
    """Silence all messages of Lightning but the warnings that a user can act on."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        for logger in (logging.getLogger(name), logging.getLogger(f"{name}.utilities.rank_zero")):
            logger.setLevel(logging.WARNING)
    for message in (
        ".*treespec.*LeafSpec.*is deprecated",  # about Lightning's own code
        "The number of training batches .* is smaller than the logging interval",  # we log the last one, too
        ".*does not have many workers",  # the images lie in memory: workers would only copy them
        "It is recommended to use .*sync_dist=True",  # our metrics are of all processes already
        "Your `IterableDataset` has `__len__` defined",  # a data set of the user's own counts its batches
        "Checkpoint directory .* exists and is not empty",  # a resumed run
    ):
        warnings.filterwarnings("ignore", message)
