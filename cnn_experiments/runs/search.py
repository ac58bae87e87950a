"""How much each setting mattered in a search, from the runs that it made.

The search's own database is not read: what a run recorded of itself is enough, and is checked when it is read.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cnn_experiments.errors import UserError
from cnn_experiments.runs.configuration import Configuration, differing_keys
from cnn_experiments.runs.sweep import RECORD, read_record

FEWEST_TRIALS = 5
MOST_KEYS = 20
LARGEST = 1e30  # of a value that counts as a number
DEEPEST = 4  # a run lies so many folders below its sweep's at most
NEEDS = "how much each setting mattered: this needs the extra optuna: pip install 'cnn_experiments[optuna]'"


@dataclass(frozen=True)
class Search:
    """The runs of a search.

    Args:
        values: the value of each run, by the keys that differ.
        accuracies: the validation accuracy of each run, which the search maximised.
        importances: the share that each key had in the differences, by key, the largest first; empty if unknown.
        problem: why it is unknown; empty if it is not.
    """

    values: dict[str, list[Any]]
    accuracies: list[float]
    importances: dict[str, float]
    problem: str


def search_of(configurations: Sequence[Configuration]) -> Search | None:
    """What a search found out about its settings; None unless all runs come from one search, enough of them."""
    runs = [run for one in configurations for run in one.runs if run.metrics.get("val/accuracy") is not None]
    if len(runs) < FEWEST_TRIALS or len({_search_folder(run.directory) for run in runs} - {None}) != 1:
        return None
    if any(_search_folder(run.directory) is None for run in runs):
        return None
    keys = [key for key in differing_keys(configurations) if all(key in run.settings for run in runs)]
    values = {key: [run.settings[key] for run in runs] for key in keys[:MOST_KEYS]}
    accuracies = [float(run.metrics["val/accuracy"]) for run in runs]
    if not values:
        return None
    if find_spec("optuna") is None or find_spec("sklearn") is None:
        return Search(values, accuracies, {}, NEEDS)
    try:
        return Search(values, accuracies, importances(values, accuracies), "")
    except (ImportError, ArithmeticError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        return Search(values, accuracies, {}, f"how much each setting mattered: optuna cannot tell ({error})")


def _search_folder(directory: Path) -> Path | None:
    """The folder of the search that a run belongs to."""
    for folder in list(directory.parents)[:DEEPEST]:
        if (folder / RECORD).is_file():
            try:
                return folder if read_record(folder).search else None
            except UserError:
                return None
    return None


def importances(values: dict[str, list[Any]], accuracies: list[float]) -> dict[str, float]:
    """The share that each key had in the differences of accuracy.

    Optuna computes it from a forest of decision trees: the mean decrease of impurity (Louppe and others 2013,
    "Understanding variable importances in forests of randomized trees"). The trials are given to it in memory.

    Args:
        values: the value of each trial, by key.
        accuracies: the accuracy of each trial.

    Returns:
        Shares that sum to 1, by key, the largest first.
    """
    import warnings

    import optuna

    numbers = {key: _as_numbers(own) for key, own in values.items()}
    kinds = {key: _distribution(own) for key, own in numbers.items()}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            study = optuna.create_study(direction="maximize")
            for place, accuracy in enumerate(accuracies):
                params = {key: own[place] for key, own in numbers.items()}
                study.add_trial(optuna.trial.create_trial(params=params, distributions=kinds, value=accuracy))
            evaluator = optuna.importance.MeanDecreaseImpurityImportanceEvaluator(seed=0)
            found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    finally:
        optuna.logging.set_verbosity(verbosity)
    return {key: float(share) for key, share in found.items()}


def is_number(value: Any) -> bool:
    """Whether a value is a number that can be drawn and computed with."""
    return type(value) in (int, float) and abs(value) < LARGEST


def _as_numbers(values: list[Any]) -> list[Any]:
    """Numbers as floats; anything else as text."""
    if all(map(is_number, values)):
        return [float(value) for value in values]
    return [json.dumps(value) for value in values]


def _distribution(values: list[Any]) -> Any:
    """What optuna is told of a key: the range of its values, or which they are."""
    import optuna

    if isinstance(values[0], str):
        return optuna.distributions.CategoricalDistribution(sorted(set(values)))
    return optuna.distributions.UniformDistribution(min(values), max(values) + 1e-9 * (1 + abs(max(values))))
