"""The words of the command line, from Python: ``cnn.train("experiment=lenet5_paper", "trainer.max_epochs=3")``."""

import logging
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from cnn_experiments.commands.hydra_command import compose, explain, keys_of, plain, resumed_settings, with_todays_names
from cnn_experiments.commands.resolvers import unique_name
from cnn_experiments.errors import UserError
from cnn_experiments.runs.claim import claimed
from cnn_experiments.runs.directory import RunDirectory
from cnn_experiments.runs.files import LogFile
from cnn_experiments.runs.formats import PrintableFormatter
from cnn_experiments.settings.classes import CONFIG_DIRECTORY, KnownClasses
from cnn_experiments.settings.schema import GIVEN, Settings, read_settings

if TYPE_CHECKING:
    from torch import nn

    from cnn_experiments.datamodules.base import ImageData
    from cnn_experiments.evaluation.run import Run

TRAINING_KEYS = (
    "name",
    "optimizer",
    "schedule",
    "compile",
    "channels_last",
)  # of the group model; the rest is a network's


def train(
    *overrides: str,
    network: "nn.Module | None" = None,
    data: Any = None,
    trust: str | Iterable[str] = (),
) -> "Run":
    """Train a network, validate it after each epoch, test its best checkpoint, and record it all in a run directory.

    It prints a line for each epoch, and leaves the random states of Python, NumPy and torch as it found them.

    Args:
        overrides: the words of the command line: ``"experiment=lenet5_paper"``, ``"trainer.max_epochs=3"``;
            ``"resume=outputs/…"`` continues an interrupted run.
        network: a network of your own to train instead of the one that the words name: any `torch.nn.Module` from
            images (N, C, H, W) to scores (N, classes). It is trained in place. Its loss is cross-entropy, unless it has
            a method ``loss(output, labels)``. The words ``model.optimizer…`` and ``model.schedule…`` still apply.
        data: a data set of your own: a `cnn_experiments.ImageData`, or any object whose ``batches(part)`` yields
            images (N, C, H, W) and labels (N,) for the parts ``training``, ``validation`` and ``test``.
        trust: names of modules of your own whose classes the config may name.

    Returns:
        The run.

    Raises:
        UserError: a word or an object is wrong; the message says what to write instead.
        ExperimentError: the data cannot be downloaded, or the training diverged.
    """
    for name, given in (("network", network), ("data", data)):
        if isinstance(given, type):
            raise UserError(f"{name}: {given.__name__} is a class. Give an object: {name}={given.__name__}(…)")
    if network is not None:
        from torch import nn

        if not isinstance(network, nn.Module):
            raise UserError(
                f"network: a {type(network).__name__} is no torch.nn.Module. Give one, such as a cnn.LeNet5()"
            )
    if data is not None:
        from cnn_experiments.datamodules.given import as_image_data

        data = as_image_data(data)
    directory, settings = read_words(overrides, network, data, [trust] if isinstance(trust, str) else list(trust))
    with claimed(RunDirectory(directory)), printed_and_logged(directory):
        from cnn_experiments.trainers.fit import train as train_with

        return train_with(settings, directory, network, data)


def read_words(
    words: Iterable[str], network: "nn.Module | None", data: "ImageData | None", trusted: list[str]
) -> tuple[Path, Settings]:
    """The run directory and the settings that the words of a command line ask for.

    Raises:
        UserError: a word is wrong.
    """
    words = with_todays_names([str(word) for word in words])
    refuse_words(words, network, data)
    config, directory = composed([*words, *words_about(data)])
    classes = KnownClasses([CONFIG_DIRECTORY], trusted)
    if config.get("resume"):
        files = RunDirectory.existing(config["resume"], "resume")
        files.refuse_links()
        return files.path, resumed_settings(files, words, config, classes)
    if network is not None:
        kept_keys = {key: config["model"][key] for key in TRAINING_KEYS}
        config["model"] = {"_target_": GIVEN, **kept_keys, "name": name_of(network)}
    if data is not None:
        described = {key: config["datamodule"][key] for key in ("num_classes", "channels", "image_size")}
        config["datamodule"] = {"_target_": GIVEN, "name": name_of(data), **described}
    settings = read_settings(config, classes, tuple(words))
    if network is not None or data is not None:
        directory = directory.parent.with_name(f"{settings.model.name}_{settings.datamodule.name}") / directory.name
    return directory, settings


def refuse_words(words: list[str], network: Any, data: Any) -> None:
    """Raise a UserError for a word that has no meaning from Python, or none for an object that was given."""
    for word in words:
        if word in ("-m", "--multirun") or word.startswith("-"):
            raise UserError(f"{word}: options are for the command line. For a sweep use a loop, or cnn-train -m")
    for key in keys_of(words):
        group, _, name = key.partition(".")
        if data is not None and group == "datamodule":
            raise UserError(f"{key}: the data set was given from Python. Set this there")
        if network is not None and group == "model" and name.split(".")[0] not in TRAINING_KEYS:
            raise UserError(f"{key}: the network was given from Python. Set this there")


def words_about(data: "ImageData | None") -> list[str]:
    """Words for what a network must know about a data set that was given as an object."""
    if data is None:
        return []
    channels, side, _ = data.input_shape
    return [f"datamodule.{key}={value}" for key, value in
            {"num_classes": data.num_classes, "channels": channels, "image_size": side}.items()]  # fmt: skip


def name_of(given: Any) -> str:
    """What to call a network or data set: its ``name``, or its class's."""
    name = getattr(given, "name", None)
    return name if isinstance(name, str) and name else re.sub(r"\W", "_", type(given).__name__.lower())


def composed(words: list[str]) -> tuple[dict[str, Any], Path]:
    """The config of ``cnn-train`` with these words, in plain containers, and the run directory that it names.

    Raises:
        UserError: a word is wrong.
    """
    unique_name.cache_clear()
    try:
        config = compose("train", words)
        directory = Path(config.hydra.run.dir)
        config.pop("hydra")
        return plain(config), directory
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error, "train", words)) from None


@contextmanager
def printed_and_logged(directory: Path) -> Iterator[None]:
    """Write log messages to ``train.log``; print them too, unless the application has set up logging."""
    logger = logging.getLogger("cnn_experiments")
    to_file = LogFile(directory / "train.log", encoding="utf-8")
    to_file.setFormatter(PrintableFormatter("[%(asctime)s][%(levelname)s] %(message)s"))
    handlers: list[logging.Handler] = [to_file]
    if not logger.hasHandlers():
        to_screen = logging.StreamHandler(sys.stdout)
        to_screen.setFormatter(PrintableFormatter("%(message)s"))
        handlers.append(to_screen)
    level = logger.level
    logger.setLevel(logging.INFO)
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        logger.setLevel(level)
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
