"""A run, opened: its figures, its trained network, its data, and its predictions for other images."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cnn_experiments.datamodules.base import ImageData
from cnn_experiments.datamodules.given import as_image_data
from cnn_experiments.errors import UserError
from cnn_experiments.evaluation.checkpoint import Checkpoint, read_checkpoint
from cnn_experiments.evaluation.hardware import Hardware, choose_hardware
from cnn_experiments.evaluation.prediction import Prediction, find_images, predict
from cnn_experiments.evaluation.randomness import untrained_network
from cnn_experiments.evaluation.snapshots import read_snapshot, snapshot_epochs
from cnn_experiments.evaluation.testing import Evaluation, evaluate
from cnn_experiments.inspection.layer_table import copied
from cnn_experiments.runs.directory import RunDirectory, shown
from cnn_experiments.runs.progress_line import progress_line
from cnn_experiments.runs.provenance import differences, provenance
from cnn_experiments.settings.classes import CONFIG_DIRECTORY, KnownClasses
from cnn_experiments.settings.containers import updated
from cnn_experiments.settings.schema import Settings, read_settings

if TYPE_CHECKING:
    from cnn_experiments.explorer.server import Server

log = logging.getLogger(__name__)


class Run:
    """A run directory and what can be done with it.

    `cnn_experiments.train` returns one, and `cnn_experiments.open_run` opens the one in a directory. A notebook shows
    it as a table.

    Args:
        files: the run directory.
        settings: the settings of the run.
        checkpoint: the weights to use; None for the run's best.
        network: the network, if it was given from Python and cannot be built from the settings.
        data: the data set, likewise.
    """

    def __init__(
        self,
        files: RunDirectory,
        settings: Settings,
        checkpoint: Checkpoint | None = None,
        network: nn.Module | None = None,
        data: ImageData | None = None,
    ) -> None:
        self.files, self.settings = files, settings
        self._checkpoint, self._network, self._data = checkpoint, network, data
        self._loaded: nn.Module | None = None
        self._precision = torch.float32
        self._followed: ImageData | None = None

    @property
    def directory(self) -> Path:
        """The run directory."""
        return self.files.path

    @property
    def metrics(self) -> dict[str, Any]:
        """Status and figures, as ``metrics.json`` has them: ``test/accuracy``, ``parameters``, ``train_seconds`` …"""
        return self.files.metrics()

    @property
    def history(self) -> list[dict[str, float]]:
        """The figures of each epoch: ``epoch``, ``step``, ``seconds``, ``train/loss``, ``val/accuracy`` …"""
        return self.files.history()

    @property
    def data(self) -> ImageData:
        """The data set that the run was trained on; its images are used for what the run used them."""
        if self._followed is None:
            # A copy: an object that was given may be used for other runs too.
            self._followed = self.settings.datamodule.build() if self._data is None else copy(self._data)
            self._followed.follow(self.directory)
        return self._followed

    @property
    def hardware(self) -> Hardware:
        """The hardware that the run's settings mean on this machine."""
        return choose_hardware(self.settings.trainer)

    def network(self) -> nn.Module:
        """The network, with the weights of the epoch that was best on the validation images.

        It maps images (N, C, H, W) to scores (N, classes). It is in evaluation mode, on the CPU, and the same
        object each time; where the network was given from Python, a copy of that.

        Raises:
            UserError: there are no weights yet, or they belong to another network.
        """
        network = self._with_weights()
        return network.to("cpu", self._precision)  # a test may have left it elsewhere, in another precision

    def _with_weights(self) -> nn.Module:
        if self._loaded is None:
            checkpoint = self._checkpoint or read_checkpoint(self._best_file(), "run")
            # A copy: an object that was given may be trained again, and be the network of other runs too.
            network = self.settings.network() if self._network is None else copied(self._network)
            checkpoint.load_into(network, "run" if self._checkpoint is None else "checkpoint")
            floats = (weights.dtype for weights in network.parameters() if weights.is_floating_point())
            self._precision = next(floats, torch.float32)
            self._loaded = network.eval()
        return self._loaded

    @property
    def epochs(self) -> list[int]:
        """The epochs after which the weights are known, for `network_at`; 0 is before the first.

        They are those of the run's snapshots (``trainer.snapshots``), and 0 where the network can be built again from
        the settings alone.
        """
        needs_more = self.settings.model.network is None or self.settings.trainer.layer_sequential_init
        begins = [] if needs_more else [0]
        return [*begins, *snapshot_epochs(self.directory)]

    def network_at(self, epoch: int) -> nn.Module:
        """Another network, with the weights after an epoch: in evaluation mode, on the CPU.

        Args:
            epoch: one of `epochs`; 0 for the weights that the training began with, drawn again from the run's seed.

        Raises:
            UserError: the weights after this epoch are not known.
        """
        network = copied(self.network())
        network.load_state_dict(self.weights_at(epoch))
        return network.eval()

    def weights_at(self, epoch: int) -> dict[str, Tensor]:
        """The weights after an epoch, as ``load_state_dict`` takes them; see `network_at`."""
        if epoch == 0:
            if self.settings.trainer.layer_sequential_init:
                raise UserError(
                    "epoch=0: trainer.layer_sequential_init scaled the first weights on the first batch, and they are "
                    "not kept. Look at those of a later epoch"
                )
            return untrained_network(self.settings).state_dict()
        return read_snapshot(self.directory, epoch, self._with_weights())

    def explore(self, with_: "Run | str | Path | None" = None, open: bool = True, port: int = 0) -> "Server":
        """Show the run on a page in the browser: what each layer does with an image, and why.

        Args:
            with_: a second run to show beside it, or its directory.
            open: whether to show the page in the browser; a notebook shows it below the cell.
            port: where the page is served on this machine; 0 for any port that is free.

        Returns:
            What serves the page, until its ``close()`` or the end of the program; a script can ``wait()`` for it.

        Raises:
            UserError: the port is not free, or there are no weights yet.
        """
        from cnn_experiments.evaluation.exploring import start

        other = open_run(with_) if isinstance(with_, (str, Path)) else with_
        return start([self] if other is None else [self, other], port, open)

    def _best_file(self) -> Path:
        """The best checkpoint; the last one if nothing was validated."""
        has_best = self.files.best_checkpoint.exists() or not self.files.last_checkpoint.exists()
        return self.files.best_checkpoint if has_best else self.files.last_checkpoint

    def evaluate(self) -> Evaluation:
        """Test the network on the test images: loss, accuracy, and the probabilities of each image.

        Raises:
            UserError: the data are missing, or there are no weights yet.
            ExperimentError: the data cannot be downloaded.
        """
        hardware = self.hardware
        network = hardware.place(self.network())
        self.data.setup("test")  # it may have a progress line of its own
        with progress_line(self.settings.trainer.progress) as line:
            return evaluate(network, self.data, "test", hardware, test_limit(self.settings), line)

    def test(self) -> dict[str, float]:
        """Test the network on the test images.

        Returns:
            ``test/loss`` and ``test/accuracy``; on the same kind of machine, exactly the values that the run recorded.

        Raises:
            UserError: the data are missing, or there are no weights yet.
            ExperimentError: the data cannot be downloaded.
        """
        return self.evaluate().figures()

    def predict(self, images: str | Path | Sequence[str | Path]) -> list[Prediction]:
        """Classify image files, each prepared as the test images are.

        Args:
            images: a file, a folder (sub-folders included), a pattern such as ``holiday/*.jpg``, or several of these.

        Returns:
            A prediction for each file, sorted by name; that of a file that cannot be read has an ``error``.

        Raises:
            UserError: there are no such files.
        """
        names = [images] if isinstance(images, (str, Path)) else images
        files = [file for name in names for file in find_images(name)]
        hardware = self.hardware
        return list(predict(hardware.place(self.network()), self.data, files, hardware))

    def differences(self) -> list[str]:
        """Sentences on how the software and the data here differ from those of the run."""
        metrics = self.metrics
        found = differences(metrics, provenance())
        recorded = metrics.get("data_fingerprint")
        if recorded is not None and recorded != self.data.fingerprint():
            found.append("the data are not those that the run was trained on: other files, or another selection")
        return found

    def __repr__(self) -> str:
        metrics = self.metrics
        accuracy = metrics.get("test/accuracy")
        tested = "" if accuracy is None else f", test accuracy {_figure(accuracy, '.4f')}"
        return f"Run({shown(self.directory)}: {metrics.get('status', 'not begun')}{tested})"

    def rows(self) -> dict[str, str]:
        """The results of the run, as formatted figures by name."""
        metrics = self.metrics
        validation = metrics.get("val/accuracy")
        return {
            "test accuracy": _figure(metrics.get("test/accuracy"), ".4f"),
            "test loss": _figure(metrics.get("test/loss"), ".4f"),
            "validation accuracy": "none: the last epoch was tested"
            if validation is None
            else f"{_figure(validation, '.4f')} (best epoch, the one tested)",
            "parameters": _figure(metrics.get("parameters"), ",d"),
            "epochs": f"{metrics.get('epochs', '')} ({_figure(metrics.get('steps'), ',d')} steps)",
            "training seconds": _figure(metrics.get("train_seconds"), ".1f"),
            "images/s": _figure(metrics.get("images_per_second"), ",.0f"),
            "run directory": shown(self.directory),
        }

    def title(self) -> str:
        """The network, the data set and the seed."""
        settings = self.settings
        return f"{settings.model.name} on {settings.datamodule.name}, seed {settings.seed}"

    def _repr_html_(self) -> str:
        metrics = self.metrics
        rows = self.rows() if metrics.get("status") == "completed" else {}
        rows = {"status": str(metrics.get("status", "not begun")), **rows, "run directory": str(self.directory)}
        cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows.items())
        return f"<table><caption>{escape(self.title())}</caption>{cells}</table>"


def _figure(value: Any, form: str) -> str:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or ("d" in form and not math.isfinite(value)):  # what was received may be anything
        return "" if value is None else str(value)
    return format(value if "d" not in form else int(value), form)


def test_limit(settings: Settings) -> int | float | None:
    """The number of batches to test on: a number, a share, or None for all."""
    trainer = settings.trainer
    return int(trainer.fast_dev_run) if trainer.fast_dev_run else trainer.limit_test_batches


def open_run(
    directory: str | Path,
    *,
    trust: str | Iterable[str] = (),
    network: nn.Module | None = None,
    data: Any = None,
) -> Run:
    """Open the run in a directory.

    Everything in the directory is read as data. Classes that its config names are looked up in the list of this
    installation; classes of your own only if you name their module as trusted.

    Args:
        directory: a run directory, such as ``outputs/lenet5_mnist/<date>_<time>_<id>``.
        trust: names of modules of your own whose classes the run may name.
        network: the network, if the run was made with ``train(network=…)``.
        data: the data set, if the run was made with ``train(data=…)``.

    Raises:
        UserError: there is no run, or its config is damaged or names a class that is not in the list.
    """
    files = RunDirectory.existing(str(directory), "run")
    modules = [trust] if isinstance(trust, str) else trust
    settings = read_settings(files.config(), KnownClasses([CONFIG_DIRECTORY], modules))
    return Run(files, settings, network=network, data=None if data is None else as_image_data(data))


def opened(
    run: str | None, checkpoint: str | None, classes: KnownClasses, changes: Mapping[str, Any] | None = None
) -> Run:
    """The run that the keys ``run`` and ``checkpoint`` of a command name.

    Args:
        run: a run directory; None if only a checkpoint is given, which holds the settings of its run.
        checkpoint: a checkpoint to use instead of the run's best.
        classes: the classes that the run may name.
        changes: settings by dotted keys that take precedence over the run's.

    Raises:
        UserError: there is no such run or checkpoint, or the checkpoint belongs to another network.
    """
    if run is None and checkpoint is None:
        raise UserError("run: give a run directory (run=outputs/…), or a checkpoint (checkpoint=PATH)")
    content = None if checkpoint is None else read_checkpoint(Path(checkpoint), "checkpoint")
    if run is not None:
        files = RunDirectory.existing(run, "run")
        config: Mapping[str, Any] = files.config()
    else:
        assert content is not None
        files, config = RunDirectory(content.file.parent.parent), content.config
    for key, value in (changes or {}).items():
        config = updated(config, key, value)
    return Run(files, read_settings(config, classes), content)
