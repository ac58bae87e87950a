"""From the config group ``trainer`` to Lightning's Trainer."""

import io
import logging
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import nn

from cnn_experiments.datamodules.base import ImageData, Part
from cnn_experiments.errors import UserError
from cnn_experiments.evaluation.hardware import Hardware
from cnn_experiments.runs.files import write_bytes
from cnn_experiments.settings.constructors import check, refuse_unknown
from cnn_experiments.settings.schema import TrainerSettings
from cnn_experiments.trainers.rehearsal import check_one_image

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
    try:
        return pl.Trainer(
            **{**lightning, "devices": hardware.devices, "enable_progress_bar": False},  # RunProgress shows it
            accelerator=hardware.accelerator,
            plugins=plugins(),
            use_distributed_sampler=False,  # our sampler shares the images out itself
            enable_autolog_hparams=False,  # we write them ourselves, with the final figures
            **more,
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise UserError(f"trainer: {error}") from error


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint completely or not at all: the last good one stays if the disk is full or the machine dies."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(Path(path), content.getvalue())


def plugins() -> list[Any]:
    """How Lightning writes checkpoints, and how it joins the processes that were started here, if any were."""
    formed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return [WholeFiles(), LightningEnvironment()] if formed else [WholeFiles()]


def check_batches(trainer: pl.Trainer, data: ImageData, network: nn.Module) -> None:
    """Refuse settings that leave no batch, or one that the network cannot be trained on, or too short an epoch.

    An epoch is too short if it has fewer batches than the interval between validations.

    Raises:
        UserError: they do.
    """
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        return
    number_of(data, "test", trainer.limit_test_batches, "trainer.limit_test_batches")
    if trainer.overfit_batches:  # type: ignore[attr-defined]
        return
    batches = number_of(data, "training", trainer.limit_train_batches, "trainer.limit_train_batches")
    if batches == len(data.loader("training")) and data.images_in_last_batch(trainer.world_size) == 1:
        check_one_image(network, data.input_shape)
    if trainer.limit_val_batches:
        number_of(data, "validation", trainer.limit_val_batches, "trainer.limit_val_batches")
    every = trainer.val_check_interval
    if isinstance(every, int) and every > batches and trainer.check_val_every_n_epoch and trainer.limit_val_batches:
        raise UserError(
            f"trainer.val_check_interval={every}: an epoch has {batches} batches. Give at most that many, or count "
            "over epochs with trainer.check_val_every_n_epoch=null"
        )


def number_of(data: ImageData, part: Part, limit: int | float, key: str) -> int:
    """The number of batches of a part under a limit: a number of them or a share.

    Raises:
        UserError: none is left.
    """
    batches = len(data.loader(part))
    if not batches:
        raise UserError(f"datamodule: there is no {part} image. Give it some")
    left = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    if not left:
        raise UserError(f"{key}={limit}: this is less than one batch of {batches}. Give a larger share, or a number")
    return left


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
