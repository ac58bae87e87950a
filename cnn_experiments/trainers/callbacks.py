"""What is written while a network trains: checkpoints, figures of each epoch, TensorBoard's extra pages."""

import csv
import logging
import time
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from lightning_fabric.loggers import TensorBoardLogger as FabricTensorBoardLogger
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger
from torch import nn
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams
from torchvision.utils import make_grid

from cnn_experiments.configs import flatten
from cnn_experiments.runs import MACHINE_KEYS, Run, rounded

log = logging.getLogger(__name__)


class RunDirectoryLogger(TensorBoardLogger):
    """Writes one event file into the run directory itself; hyperparameters are in config.yaml, not in a second file."""

    def __init__(self, directory: Path, first_step: int) -> None:
        # TensorBoard drops what an interrupted run had written from this step on.
        super().__init__(str(directory), name="", version="", purge_step=first_step)

    def save(self) -> None:
        FabricTensorBoardLogger.save(self)

    def finalize(self, status: str) -> None:
        self.experiment.flush()  # and stays open: Lightning calls this after the fit and again after the test


class BestAndLast(ModelCheckpoint):
    """Writes ``best.ckpt``, the weights of the best validation, and ``last.ckpt``, all of the last finished epoch."""

    def __init__(self, run: Run) -> None:
        super().__init__(
            run.best_checkpoint.parent,
            filename=run.best_checkpoint.stem,
            monitor="val/accuracy",
            mode="max",
            save_on_train_epoch_end=False,
            save_weights_only=True,
            enable_version_counter=False,
        )
        self.last_file = run.last_checkpoint

    @property
    def best_accuracy(self) -> float | None:
        """Accuracy of ``best.ckpt`` on the validation images; None where nothing was validated."""
        return None if self.best_model_score is None else float(self.best_model_score)

    @property
    def state_key(self) -> str:
        return type(self).__name__  # Lightning's is spelled out anew several times a step

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        trainer.save_checkpoint(self.last_file)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put Lightning's counters of ``last.ckpt`` to the beginning of the next epoch.

        They stand at the end of an epoch's last step, and what Lightning makes of that on resuming depends on
        ``max_steps`` and ``val_check_interval``: it may skip the hooks of the next epoch, or count one too many.
        """
        loops = checkpoint["loops"]["fit_loop"]
        for count in ("total", "current"):
            loops["epoch_progress"][count]["completed"] = loops["epoch_progress"][count]["processed"]
        steps = loops["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]
        for progress in (
            loops["epoch_loop.batch_progress"],
            loops["epoch_loop.scheduler_progress"],
            steps["step"],
            steps["zero_grad"],
        ):
            progress["current"] = dict.fromkeys(progress["current"], 0)
        loops["epoch_loop.batch_progress"]["is_last_batch"] = False


class EpochReport(Callback):
    """Measures training time, without validation and pictures; prints, logs and keeps the figures of each epoch.

    ``history.csv`` has a line for each epoch; ``seconds`` there are of all training so far.
    """

    COLUMNS = ("epoch", "step", "seconds", "train/loss", "train/accuracy", "val/loss", "val/accuracy")

    def __init__(self, run: Run) -> None:
        self.history_file = run.history_file
        self.history: list[dict[str, Any]] = []
        self.seconds, self.images = 0.0, 0
        self.epoch_seconds, self._epoch_images = 0.0, 0
        self._since: float | None = None  # when the time that is not yet counted began; None: the clock stands still

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "images": self.images, "history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds, self.images = state_dict["seconds"], state_dict["images"]
        self.history = state_dict["history"]

    @property
    def images_per_second(self) -> float:
        """Training images a second over the whole run, in all processes."""
        return self.images / self.seconds if self.seconds else 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.epoch_seconds, self._epoch_images, self._since = 0.0, 0, time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._epoch_images += len(batch[1]) * trainer.world_size

    def on_train_batch_start(self, *arguments: Any) -> None:
        if self._since is None:  # validation in the middle of an epoch is over
            self._since = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.stop_the_clock()

    def stop_the_clock(self) -> None:
        """Count the time since the clock was started, once what the GPU still has to do is done."""
        if self._since is not None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.epoch_seconds += time.perf_counter() - self._since
            self._since = None

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.stop_the_clock()
        self.seconds += self.epoch_seconds
        self.images += self._epoch_images
        speed = self._epoch_images / self.epoch_seconds
        if trainer.logger is not None:
            scalars = {"time/epoch_seconds": self.epoch_seconds, "time/images_per_second": speed}
            trainer.logger.log_metrics(scalars, trainer.global_step)
        measured = {
            name: float(trainer.callback_metrics[name]) for name in self.COLUMNS if name in trainer.callback_metrics
        }
        when = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step, "seconds": round(self.seconds, 3)}
        self.history.append({**when, **rounded(measured)})
        if trainer.is_global_zero:
            with self.history_file.open("w", newline="") as target:
                writer = csv.DictWriter(target, self.COLUMNS)
                writer.writeheader()
                writer.writerows(self.history)
        figures = ", ".join(f"{name} {value:.4f}" for name, value in measured.items())
        of_all = f"/{trainer.max_epochs}" if (trainer.max_epochs or -1) > 0 else ""
        log.info(
            "epoch %d%s: %s (%.1f s, %s images/s)",
            trainer.current_epoch + 1,
            of_all,
            figures,
            self.epoch_seconds,
            f"{speed:,.0f}",
        )


# Keys that only repeat others.
REPEATED_KEYS = (
    "datamodule._target_",
    "datamodule.channels",
    "datamodule.num_classes",
    "datamodule.seed",
    "datamodule.image_size",
    "model._target_",
)


def write_pages(
    writer: SummaryWriter, network: nn.Module, config: dict[str, Any], samples: dict[str, torch.Tensor]
) -> None:
    """Fill TensorBoard's pages beside the scalars: graph, config, charts that overlay, hyperparameters, samples.

    Args:
        writer: where to.
        network: a network on the CPU.
        config: the resolved config, in plain containers.
        samples: pictures of training images by name, (N, C, H, W), from 0 to 1.
    """
    for name, images in samples.items():
        writer.add_image(f"samples/{name}", make_grid(images, nrow=8, pad_value=0.5))
    writer.add_text("config", f"```yaml\n{yaml.safe_dump(config, sort_keys=False, allow_unicode=True)}```")
    # HParams takes numbers, truth values and text; what cannot make runs differ would only crowd its table.
    settings = {
        key: value if isinstance(value, (bool, int, float)) else str(value)
        for key, value in flatten({part: config[part] for part in ("seed", "model", "datamodule", "trainer")})
        if value is not None and key not in MACHINE_KEYS and key not in REPEATED_KEYS
    }
    for summary in hparams(settings, {"test/accuracy": None, "val/accuracy": None}):
        writer._get_file_writer().add_summary(summary)
    writer.add_custom_scalars(
        {"training": {name: ["Multiline", [f"train/{name}", f"val/{name}"]] for name in ("accuracy", "loss")}}
    )
    model = config["model"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit.trace, behind add_graph, is deprecated without a successor
        network.eval()
        writer.add_graph(network, torch.zeros(1, model["in_channels"], model["input_size"], model["input_size"]))
        network.train()
