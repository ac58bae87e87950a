"""Classic convolutional networks, to train, inspect and compare.

>>> import cnn_experiments as cnn
>>> run = cnn.train("experiment=lenet5_paper", "trainer.max_epochs=3")
>>> run.metrics["test/accuracy"], run.predict("digit.png")

Nothing heavy is imported until it is used.
"""

import importlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnn_experiments.commands.from_python import train
    from cnn_experiments.datamodules.base import ImageData
    from cnn_experiments.datamodules.dogs_vs_cats import DogsVsCats
    from cnn_experiments.datamodules.in_memory import InMemoryImages
    from cnn_experiments.datamodules.mnist import MNIST
    from cnn_experiments.errors import ExperimentError, UserError
    from cnn_experiments.evaluation.prediction import Prediction
    from cnn_experiments.evaluation.run import Run, open_run
    from cnn_experiments.inspection.layer_table import LayerTable, layer_table
    from cnn_experiments.models.alexnet import AlexNet
    from cnn_experiments.models.googlenet import GoogLeNet
    from cnn_experiments.models.lenet5 import LeNet5
    from cnn_experiments.models.network import Network
    from cnn_experiments.runs.comparison import Comparison, compare

__all__ = [
    "MNIST",
    "AlexNet",
    "Comparison",
    "DogsVsCats",
    "ExperimentError",
    "GoogLeNet",
    "ImageData",
    "InMemoryImages",
    "LayerTable",
    "LeNet5",
    "Network",
    "Prediction",
    "Run",
    "UserError",
    "compare",
    "layer_table",
    "open_run",
    "train",
]

_MODULES = {
    "commands.from_python": ("train",),
    "datamodules.base": ("ImageData",),
    "datamodules.dogs_vs_cats": ("DogsVsCats",),
    "datamodules.in_memory": ("InMemoryImages",),
    "datamodules.mnist": ("MNIST",),
    "errors": ("ExperimentError", "UserError"),
    "evaluation.prediction": ("Prediction",),
    "evaluation.run": ("Run", "open_run"),
    "inspection.layer_table": ("LayerTable", "layer_table"),
    "models.alexnet": ("AlexNet",),
    "models.googlenet": ("GoogLeNet",),
    "models.lenet5": ("LeNet5",),
    "models.network": ("Network",),
    "runs.comparison": ("Comparison", "compare"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

try:
    __version__ = version("cnn-experiments")
except PackageNotFoundError:  # run from a folder that was never installed
    __version__ = "unknown"

# `python -m cnn_experiments.train` finds commands/train.py.
__path__.append(str(Path(__file__).parent / "commands"))


def __getattr__(name: str) -> Any:
    """Import a public name from the file it lives in when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
