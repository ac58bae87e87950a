"""A trained network and its data module, from a run or from a checkpoint: what testing and predicting begin with."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from cnn_experiments.command import typed_keys
from cnn_experiments.configs import with_values_of
from cnn_experiments.errors import UserError
from cnn_experiments.runs import Run, load_checkpoint

if TYPE_CHECKING:
    from cnn_experiments.classifier import Classifier
    from cnn_experiments.datamodules.base import ImageDataModule


def load_trained(config: DictConfig) -> "tuple[Classifier, ImageDataModule, dict[str, Any]]":
    """The network that ``run`` or ``checkpoint`` of a command's config name, its data module, and its settings.

    The settings are the run's, but for those of the groups that were typed on the command line.

    Raises:
        UserError: there is no such run or checkpoint, or the checkpoint is of another network.
    """
    if config.run is None and config.checkpoint is None:
        raise UserError("run: give a run directory (run=outputs/…), or a checkpoint (checkpoint=PATH)")
    run = None if config.run is None else Run.existing(config.run, "run")
    if run is None or config.checkpoint is not None:
        file, key = Path(config.checkpoint), "checkpoint"
    else:
        file, key = run.best_checkpoint, "run"
    checkpoint = load_checkpoint(file, key)
    settings = run.config() if run else checkpoint["hyper_parameters"]["config"]
    settings = with_values_of(config, [key for key in typed_keys() if key.split(".")[0] in settings], settings)

    from cnn_experiments.building import build
    from cnn_experiments.classifier import Classifier

    classifier = Classifier(settings)
    trained, expected = checkpoint["hyper_parameters"]["config"]["model"]["name"], settings["model"]["name"]
    try:
        classifier.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        raise UserError(
            f"{key}={file}: its weights, of a {trained}, do not fit the {expected} that {config.run} describes. "
            "Leave run out, or give a checkpoint of the same network"
        ) from error
    return classifier, build(settings["datamodule"], "datamodule", also=["name"]), settings
