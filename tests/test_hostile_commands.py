"""Any value of any key is either refused in a sentence or begins a training that can be done."""

import math
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, seed, settings
from hypothesis import strategies as st
from torch import nn

from cnn_experiments.commands import from_python
from cnn_experiments.errors import ExperimentError
from cnn_experiments.evaluation.hardware import choose_hardware
from cnn_experiments.inspection.layer_table import layer_table
from cnn_experiments.models.network import loss_of
from cnn_experiments.settings.containers import flatten
from cnn_experiments.settings.schema import Settings
from cnn_experiments.trainers.classifier import Classifier
from cnn_experiments.trainers.processes import processes_of
from cnn_experiments.trainers.rehearsal import check_network
from cnn_experiments.trainers.trainer import build_trainer
from tests.conftest import SMALL_ALEXNET

STARTS: tuple[tuple[str, ...], ...] = (
    (),
    ("experiment=lenet5_paper",),
    ("model=lenet5", "datamodule=dogs_vs_cats", "datamodule.channels=1"),
    SMALL_ALEXNET,
    ("model=googlenet",),
)
NUMBERS = (-2, -1, 0, 1, 2, 3, 7, 28, 64, 1000)
FIGURES = (-1.0, 0.0, 1e-300, 0.1, 0.5, 1.0, 1.5, 1e300, math.inf, -math.inf, math.nan)
TEXTS = (
    *("null", "true", "false", "''", "abc", "고양이", "..", "a/b", "-", "1e3", "0x10", "1_000", "00:00:01:00", "\\,"),
    *("[]", "[1]", "[1,2,3]", "[[1]]", "[a,b]", "{}", "{a:1}", "{_target_:os.system}", "[null]", "[true]"),
    *("${seed}", "${nowhere}", "${oc.env:NOT_SET}", "${oc.env:HOME}", "${datamodule}", "cosine", "sgd", "[0.5,0.5]"),
)
VALUES = st.one_of(st.sampled_from(NUMBERS), st.sampled_from(FIGURES), st.sampled_from(TEXTS))


@cache
def keys(start: tuple[str, ...]) -> list[str]:
    """The keys that a command with these words has."""
    return [key for key, _ in flatten(from_python.composed(list(start))[0]) if key not in ("resume", "trust")]


COMMANDS = st.sampled_from(STARTS).flatmap(
    lambda start: st.lists(st.tuples(st.sampled_from(keys(start)), VALUES), min_size=1, max_size=3).map(
        lambda pairs: [*start, *(f"{key}={value}" for key, value in pairs)]
    )
)


def begin(words: list[str]) -> None:
    """Do all that a training does before it loads images, and a step on images of the right shape."""
    _, chosen = from_python.read_words(words, None, None, [])
    hardware = choose_hardware(chosen.trainer)
    processes_of(chosen.trainer, hardware)
    data = chosen.datamodule.build()
    network = chosen.network()
    chosen.training.optimizer(params=[nn.Parameter(torch.zeros(1))])
    chosen.logging()
    build_trainer(chosen.trainer, hardware, logger=False)
    layer_table(network, data.input_shape)
    check_network(network, data.input_shape, data.num_classes)
    step(chosen, network, data.input_shape, data.num_classes)


def step(chosen: Settings, network: nn.Module, shape: tuple[int, int, int], classes: int) -> None:
    """Train on two images."""
    classifier = Classifier(network, chosen.training, chosen.seed, classes)
    optimizer = chosen.training.optimizer(params=classifier.network.parameters())
    output = network.train()(torch.rand(2, *shape))
    loss_of(network, output, torch.tensor([0, classes - 1])).backward()
    optimizer.step()
    assert chosen.training.schedule.share(0, 100) <= 1


def is_refused_or_begins(words: list[str]) -> None:
    try:
        begin(words)
    except ExperimentError as error:
        message = str(error)
        assert message, words
        assert len(message) < 2000, words


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("commands"))
    monkeypatch.delenv("NOT_SET", raising=False)


QUIETLY: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}


@seed(1998)
@example(["datamodule.channels=2"])
@settings(max_examples=4, **QUIETLY)
@given(COMMANDS)
def test_some_overrides(words: list[str]) -> None:
    is_refused_or_begins(words)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@settings(max_examples=5000, **QUIETLY)
@given(COMMANDS)
def test_many_overrides(words: list[str]) -> None:
    is_refused_or_begins(words)
