"""Checkpoints, read as data."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cnn_experiments.errors import UserError

PREFIX = "network."  # of the network's weights in the checkpoint of its LightningModule


@dataclass(frozen=True)
class Checkpoint:
    """The parts of a checkpoint that testing and prediction need.

    Args:
        file: the file it was read from.
        weights: parameters and buffers of the network by name.
        config: the config of its run, in plain containers.
    """

    file: Path
    weights: dict[str, Tensor]
    config: Mapping[str, Any]

    def load_into(self, network: nn.Module, key: str) -> None:
        """Load the weights into a network.

        Raises:
            UserError: they belong to another network; the message names the key that gave the checkpoint.
        """
        try:
            network.load_state_dict(self.weights)
        except RuntimeError as error:
            model = self.config["model"]
            raise UserError(
                f"{key}={self.file}: its weights, of a {model.get('name')}, do not fit the {type(network).__name__} "
                "that the config describes. Give a checkpoint of the same network"
            ) from error


def read_checkpoint(file: Path, key: str) -> Checkpoint:
    """Read a checkpoint of this project; nothing in it is executed (``weights_only=True``).

    Raises:
        UserError: the file is missing or not such a checkpoint; the message names the key that gave it.
    """
    if not file.is_file():
        raise UserError(
            f"{key}={file}: there is no such file. A run writes checkpoints/best.ckpt after its first epoch"
        )
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        config, state = content["hyper_parameters"]["config"], content["state_dict"]
        weights = {name.removeprefix(PREFIX): value for name, value in state.items() if name.startswith(PREFIX)}
        sound = isinstance(config["model"], Mapping) and all(isinstance(value, Tensor) for value in weights.values())
    except Exception as error:  # torch.load raises whatever the bytes of a foreign file lead it to
        raise UserError(
            f"{key}={file}: this is no checkpoint of cnn-train. Give one of a run's checkpoints/"
        ) from error
    if not sound or not weights:
        raise UserError(f"{key}={file}: this is no checkpoint of cnn-train. Give one of a run's checkpoints/")
    return Checkpoint(file, weights, config)
