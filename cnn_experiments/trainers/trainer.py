"""From the config group ``trainer`` to Lightning's Trainer."""

import logging
import sys
import warnings
from typing import Annotated, Any, Literal

import pytorch_lightning as pl
import torch
from annotated_types import Ge
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from cnn_experiments.building import check, convert, refuse_unknown
from cnn_experiments.errors import UserError

GPUs = Annotated[int, Ge(-1)] | list[Annotated[int, Ge(0)]] | None
# Keys of Lightning's that the project sets itself.
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


def build_trainer(settings: dict[str, Any], **more: Any) -> pl.Trainer:
    """Lightning's Trainer with these settings.

    Args:
        settings: the config group ``trainer``: ``gpus``, and Lightning's own keys.
        more: arguments that do not come from the config, such as callbacks.

    Raises:
        UserError: a key is unknown or its value wrong, or there are not as many GPUs as asked for.
    """
    quiet_lightning()
    settings = dict(settings)
    gpus = convert_gpus(settings.pop("gpus"))
    precision = settings["precision"]
    lightning = check(pl.Trainer, {**settings, "precision": None if precision == "auto" else precision}, "trainer")
    refuse_unknown(lightning, set(lightning) - SET_HERE, "trainer")
    accelerator, devices = choose_devices(gpus, lightning.pop("devices"))
    if precision == "auto":
        lightning["precision"] = fastest_precision(accelerator)
    show_progress = lightning.pop("enable_progress_bar") and sys.stderr.isatty()
    try:
        return pl.Trainer(
            **lightning,
            accelerator=accelerator,
            devices=devices,
            enable_progress_bar=show_progress,
            use_distributed_sampler=False,  # our sampler shares the images out itself
            enable_autolog_hparams=False,  # we write them ourselves, with the final figures
            **more,
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise UserError(f"trainer: {error}") from error


def convert_gpus(gpus: Any) -> int | list[int] | None:
    """`trainer.gpus`, if it is one of its forms."""
    try:
        return convert(gpus, GPUs, "trainer.gpus")
    except UserError as error:
        raise UserError(
            f"trainer.gpus={gpus}: give null (a GPU if there is one), 0 (the CPU), a number of GPUs, -1 (all) or "
            "a list of their numbers such as [0,1]"
        ) from error


def choose_devices(gpus: int | list[int] | None, cpus: Any) -> tuple[str, Any]:
    """Lightning's ``accelerator`` and ``devices`` for `trainer.gpus`, and `trainer.devices` where it is the CPU.

    Raises:
        UserError: this machine has not as many GPUs as asked for.
    """
    mac = torch.backends.mps.is_available()
    available = 1 if mac else torch.cuda.device_count()
    if gpus == 0 or (gpus is None and not available):
        return "cpu", cpus
    wanted = gpus if isinstance(gpus, list) else list(range(available if gpus == -1 else gpus or 1))
    if not wanted or max(wanted) >= available:
        have = {0: "no GPU", 1: "one GPU, number 0"}.get(available, f"{available} GPUs, 0 to {available - 1}")
        raise UserError(f"trainer.gpus={gpus}: this machine has {have}. Use trainer.gpus=0 for the CPU")
    return ("mps", 1) if mac else ("gpu", wanted)


def fastest_precision(accelerator: str) -> Literal["bf16-mixed", "32-true"]:
    """What `trainer.precision=auto` is: bf16-mixed where the hardware computes in bf16, 32-true elsewhere."""
    if accelerator == "gpu":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    capabilities = torch.cpu.get_capabilities()
    has_units = any(capabilities.get(unit) for unit in ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16"))
    return "bf16-mixed" if accelerator == "cpu" and has_units else "32-true"


def test_figures(trainer: pl.Trainer) -> dict[str, float]:
    """``test/loss`` and ``test/accuracy`` of the test that the Trainer has just run."""
    return {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("test/")}


def quiet_lightning() -> None:
    """Keep what Lightning says to warnings that a user can do something about."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        for logger in (logging.getLogger(name), logging.getLogger(f"{name}.utilities.rank_zero")):
            logger.setLevel(logging.WARNING)
    for message in (
        ".*treespec.*LeafSpec.*is deprecated",  # about Lightning's own code
        "The number of training batches .* is smaller than the logging interval",  # we log the last one, too
        ".*does not have many workers",  # the images lie in memory: workers would only copy them
        "It is recommended to use .*sync_dist=True",  # our metrics are of all processes already
        "Checkpoint directory .* exists and is not empty",  # a resumed run
    ):
        warnings.filterwarnings("ignore", message)
