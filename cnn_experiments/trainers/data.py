"""The one LightningDataModule: provides any data set to Lightning's Trainer."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional

from cnn_experiments.datamodules.base import ImageData
from cnn_experiments.errors import UserError
from cnn_experiments.settings.schema import TrainerSettings


class LightningData(pl.LightningDataModule):
    """Batches of a data set; they become network input on the device, a whole batch at a time.

    Args:
        data: the data set.
        settings: the settings of the trainer, which may scale training images.
    """

    def __init__(self, data: ImageData, settings: TrainerSettings) -> None:
        super().__init__()
        self.data, self.settings = data, settings
        self.first_epoch = 0

    def prepare_data(self) -> None:
        self.data.prepare()

    def setup(self, stage: str) -> None:
        self.data.setup("training")

    def state_dict(self) -> dict[str, int]:
        return {"next_epoch": 0 if self.trainer is None else self.trainer.current_epoch + 1}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        epoch = state_dict.get("next_epoch")
        if not isinstance(epoch, int) or epoch < 0:
            raise UserError(f"resume: last.ckpt is damaged: its next epoch is {epoch!r}. Start a new run")
        self.first_epoch = epoch  # workers begin to load before Lightning says which epoch it is

    @property
    def device(self) -> torch.device | None:
        """The GPU of CUDA that this process trains on, where images may be kept; None for other devices."""
        device = None if self.trainer is None else self.trainer.strategy.root_device
        return device if device is not None and device.type == "cuda" else None

    def train_dataloader(self) -> Any:
        overfitting = getattr(self.trainer, "overfit_batches", 0) > 0  # always on the same images
        return self.data.loader("training", self.first_epoch, shuffle=not overfitting, device=self.device)

    def val_dataloader(self) -> Any:
        return self.data.loader("validation", device=self.device)

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        images, labels = batch
        if self.trainer is None or not self.trainer.training:
            return self.data.network_input(images, "validation"), labels
        images = self.data.network_input(images, "training")
        size = self.settings.training_image_size(self.trainer.current_epoch)
        return (images if size is None else scaled(images, size)), labels


def scaled_shape(shape: Sequence[int], size: int) -> tuple[int, int, int]:
    """The shape of an image (C, H, W) at a height of `size` pixels, and a width in proportion."""
    channels, height, width = shape
    return channels, size, round(size * width / height)


def scaled(images: Tensor, size: int) -> Tensor:
    """Images (N, C, H, W) at a height of `size` pixels, see `scaled_shape`; each pixel is a weighted mean."""
    if images.shape[2] == size:
        return images
    return functional.interpolate(images, scaled_shape(images.shape[1:], size)[1:], mode="bilinear", antialias=True)


def first_batch(data: ImageData, settings: TrainerSettings) -> Tensor:
    """The images of the first batch of the training as the network gets them, (N, C, H, W), on the CPU.

    Where `network_input` draws random numbers, they are others than in the training, which draws them on its device.
    """
    images, _ = next(iter(data.batches("training", epoch=0)))
    size = settings.training_image_size(0)
    return images if size is None else scaled(images, size)
