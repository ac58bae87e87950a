"""Configurations: completed runs that differ only in their seed."""

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cnn_experiments.runs.finished import FinishedRun
from cnn_experiments.runs.formats import as_typed, cut

# What follows from other settings and would only repeat them.
REPEATED = {
    "datamodule._target_",
    "datamodule.channels",
    "datamodule.image_size",
    "datamodule.num_classes",
    "model._target_",
    "model.in_channels",
    "model.num_classes",
}
LONGEST_LABEL = 1000  # characters


@dataclass
class Configuration:
    """Completed runs that differ only in their seed.

    Args:
        runs: at least one.
        label: distinguishes it from the others in a comparison.
    """

    runs: list[FinishedRun]
    label: str = ""

    @property
    def settings(self) -> dict[str, Any]:
        """Its settings, by dotted keys."""
        return self.runs[0].settings

    @property
    def name(self) -> str:
        """The preset, or the model."""
        return self.runs[0].name

    @property
    def seeds(self) -> list[Any]:
        """The distinct seeds, in order."""
        return sorted({run.metrics.get("seed") for run in self.runs}, key=str)

    def _values(self, name: str) -> list[float]:
        """A figure of each run; empty if a run lacks it."""
        values = [run.metrics[name] for run in self.runs if run.metrics.get(name) is not None]
        return values if len(values) == len(self.runs) else []

    def mean(self, name: str) -> float | None:
        """Mean of a figure over the runs; None if a run lacks it."""
        values = self._values(name)
        return statistics.fmean(values) if values else None

    def std(self, name: str) -> float | None:
        """Sample standard deviation of a figure over the runs; None if there is only one, or one lacks it."""
        values = self._values(name)
        return statistics.stdev(values) if len(values) > 1 else None

    def seconds_to(self, accuracy: float) -> float:
        """Median over the runs; infinity if half of them never reached the accuracy."""
        return statistics.median_high([run.seconds_to(accuracy) for run in self.runs])

    def has(self, word: str) -> bool:
        """Whether it has a setting, typed as ``model.c3=partial`` or ``c3=partial``, or is named by the word."""
        key, equals, value = word.partition("=")
        if not equals:
            return word == self.name
        return any(
            as_typed(own, self.settings[own]) == value for own in self.settings if key in (own, without_group(own))
        )

    def rank(self) -> tuple[float, float]:
        """The sorting key of configurations: test accuracy, then validation accuracy."""
        test, validation = self.mean("test/accuracy"), self.mean("val/accuracy")
        return -1 if test is None else test, -1 if validation is None else validation


def grouped(runs: Iterable[FinishedRun]) -> list[Configuration]:
    """The runs by configuration, labelled, the best first."""
    groups: dict[str, list[FinishedRun]] = defaultdict(list)
    for run in runs:
        groups[json.dumps(run.settings, sort_keys=True)].append(run)
    configurations = [Configuration(runs) for runs in groups.values()]
    configurations.sort(key=Configuration.rank, reverse=True)
    label(configurations)
    return configurations


def differing_keys(configurations: Iterable[Configuration]) -> list[str]:
    """The keys whose values differ between configurations, or that only some of them have."""
    all_settings = [configuration.settings for configuration in configurations]
    keys = dict.fromkeys(key for settings in all_settings for key in settings)
    return [
        key
        for key in keys
        if key not in REPEATED and len({repr(settings.get(key, "absent")) for settings in all_settings}) > 1
    ]


def label(configurations: list[Configuration]) -> None:
    """Label each configuration with its preset or model, and with how it differs from others of that name."""
    alike: dict[tuple[str, str], list[Configuration]] = defaultdict(list)
    for configuration in configurations:
        alike[configuration.name, str(configuration.settings.get("datamodule.name", "?"))].append(configuration)
    several_data_sets = len({data for _, data in alike}) > 1
    for (name, data), same_name in alike.items():
        keys = differing_keys(same_name)
        for configuration in same_name:
            settings = configuration.settings
            values = [f"{without_group(key)}={as_typed(key, settings[key])}" for key in keys if key in settings]
            words = [f"{name} on {data}" if several_data_sets else name, *values]
            configuration.label = cut(" ".join(words), LONGEST_LABEL)


def without_group(key: str) -> str:
    """A dotted key without its group: dropout, optimizer.lr, optimizer."""
    return (key.partition(".")[2] or key).removesuffix("._target_")
