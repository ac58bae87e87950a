"""TensorBoard's event file in the run directory, and its pages other than the scalars."""

import logging
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning_fabric.loggers.tensorboard import TensorBoardLogger as FabricTensorBoardLogger
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard._pytorch_graph import graph
from torch.utils.tensorboard.summary import hparams

from cnn_experiments.inspection.layer_outputs import evaluation_mode
from cnn_experiments.runs.configuration import REPEATED
from cnn_experiments.runs.directory import MACHINE_KEYS
from cnn_experiments.runs.formats import as_typed
from cnn_experiments.runs.sweep import short_words
from cnn_experiments.settings.containers import flatten
from cnn_experiments.settings.schema import GIVEN, Settings

log = logging.getLogger(__name__)

WRITES = "_AsyncWriterThread"  # the thread in which TensorBoard writes
Value = bool | int | float | str


class RunDirectoryLogger(TensorBoardLogger):
    """Writes one event file, into the run directory itself; hyperparameters are in config.yaml, not in a second file.

    Args:
        directory: the run directory.
        first_step: TensorBoard discards what an interrupted run had written from this step on.
    """

    def __init__(self, directory: Path, first_step: int) -> None:
        super().__init__(str(directory), name="", version="", purge_step=first_step)

    def save(self) -> None:
        FabricTensorBoardLogger.save(self)

    def finalize(self, status: str) -> None:
        self.experiment.flush()  # and stays open: the test is written after the fit

    def remove_earlier(self) -> None:
        """Remove the event files of a run that was killed before its first checkpoint, and begins anew."""
        for file in Path(self.log_dir).glob("events.out.tfevents.*"):
            file.unlink()

    def write_success(self) -> None:
        """Write for the page of hyperparameters that the run is complete."""
        *_, success = hparams({}, {})  # type: ignore[no-untyped-call]
        self.experiment.file_writer.add_summary(success)
        self.experiment.flush()

    @contextmanager
    def closed_at_the_end(self) -> Iterator[None]:
        """Close the event file at the end, if one was opened. What cannot be written is raised where it is written."""
        report = threading.excepthook
        try:
            # The thread that writes would print a traceback of an error that the next call raises.
            threading.excepthook = lambda what: None if type(what.thread).__name__ == WRITES else report(what)
            yield
        finally:
            if self._experiment is not None:
                with suppress(OSError):
                    self._experiment.close()
            threading.excepthook = report


def write_pages(
    writer: SummaryWriter,
    network: nn.Module,
    input_shape: tuple[int, int, int],
    settings: Settings,
    samples: Mapping[str, Tensor],
) -> None:
    """Fill TensorBoard's pages other than the scalars: graph, config, charts that overlay, hyperparameters, samples.

    Args:
        writer: TensorBoard's writer.
        network: a network on the CPU.
        input_shape: channels, height and width of its images.
        settings: of the run.
        samples: pictures of training images by name, (N, C, H, W), from 0 to 1.
    """
    from torchvision.utils import make_grid

    for name, images in samples.items():
        writer.add_image(f"samples/{name}", make_grid(images, nrow=8, pad_value=0.5))
    text = yaml.safe_dump(dict(settings.config), sort_keys=False, allow_unicode=True)
    writer.add_text("config", f"```yaml\n{text}```")
    # Without a list of columns, which TensorBoard would take from one run for all, it shows first what differs.
    _, begun, _ = hparams(hyperparameters(settings), {})  # type: ignore[no-untyped-call]
    writer.file_writer.add_summary(begun)  # type: ignore[attr-defined]
    writer.add_custom_scalars(
        {"training": {name: ["Multiline", [f"train/{name}", f"val/{name}"]] for name in ("accuracy", "loss")}}
    )
    model = settings.config["model"]
    write_graph(writer, network, input_shape, None if model.get("_target_") == GIVEN else repr((model, input_shape)))


def hyperparameters(settings: Settings) -> dict[str, Value]:
    """What tells a run from others, for tables of runs: the words that were typed, and the settings one by one.

    TensorBoard's table begins with columns in which runs differ, in the order of their names; ``as typed`` is the first
    of them. All values are there, null as text, since a value that only some runs have would not count as a difference.
    """
    left_out = {*MACHINE_KEYS, *REPEATED, "datamodule.seed"}
    values = flatten({part: settings.config[part] for part in ("seed", "model", "datamodule", "trainer")})
    typed = short_words(word for word in settings.overrides if is_about_result(word.split("=")[0].lstrip("+~")))
    return {
        "as typed": " ".join(typed) or "defaults",
        **{
            key: value if type(value) in (int, float) else as_typed(key, value)
            for key, value in values
            if key not in left_out
        },
    }


def is_about_result(key: str) -> bool:
    """Whether a key that was typed can change what a run computes."""
    return key not in MACHINE_KEYS and key.split(".")[0] not in ("logging", "launcher", "sweeper", "resume", "trust")


def write_graph(
    writer: SummaryWriter, network: nn.Module, input_shape: tuple[int, int, int], settings: str | None
) -> None:
    """Draw the network's graph, if it can be traced; the network is left unchanged.

    torch keeps every network that it traces until the process ends (2.6 MiB for LeNet-5). The jobs of a sweep that
    differ in their seed alone share one graph.

    Args:
        writer: TensorBoard's writer.
        network: a network on the CPU.
        input_shape: channels, height and width of its images.
        settings: what tells its graph from that of others; None if nothing does.
    """
    with warnings.catch_warnings(), evaluation_mode(network):
        warnings.simplefilter("ignore")  # torch.jit.trace, behind it, is deprecated without a successor
        try:
            if settings is None or settings not in _drawn:
                _drawn.clear()
                _drawn[settings] = graph(network, torch.zeros(1, *input_shape))  # type: ignore[no-untyped-call]
            writer.file_writer.add_graph(_drawn[settings])  # type: ignore[attr-defined]
        except Exception as error:  # whatever tracing a network of one's own leads to; training does not need it
            log.warning("TensorBoard shows no graph of this network: it cannot be traced (%s)", error)


_drawn: dict[str | None, Any] = {}  # the last graph
