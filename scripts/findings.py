"""What the runs of a claim say: whether it holds here, does not, or cannot be told at this size."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cnn_experiments.errors import UserError
from cnn_experiments.runs.comparison import compare
from cnn_experiments.runs.configuration import Configuration
from cnn_experiments.runs.finished import FinishedRun
from cnn_experiments.runs.verdicts import LEVEL, Verdict, holm
from scripts.claims import Claim
from scripts.pages import Machine, machine_of

Outcome = Literal["holds", "does_not", "cannot_be_told", "not_run"]


@dataclass(frozen=True)
class Difference:
    """How another arm compares with the one that the claim says is better.

    Args:
        other: the name of the other arm.
        value: by how much the claim's arm is better: points of a hundred, or how many times; below 0, or below 1 where
            it is times, it is worse.
        low: the lower end of the 95 % interval; that of an exact count is the value.
        high: the upper end.
        sentence: the comparison's own verdict on test accuracies; empty for other figures.
    """

    other: str
    value: float
    low: float
    high: float
    sentence: str = ""


@dataclass(frozen=True)
class Arm:
    """The completed runs of an arm.

    Args:
        runs: how many.
        accuracy: their mean test accuracy; None if one of them was not tested.
        parameters: of the network; None if a run did not record them.
    """

    runs: int
    accuracy: float | None
    parameters: float | None


@dataclass(frozen=True)
class Finding:
    """What the runs of a claim say.

    Args:
        claim: the claim.
        outcome: whether it holds.
        differences: from each of the arms that it is about.
        arms: the completed runs of each arm.
        why: why its arms cannot be compared, if they cannot.
        compared: the seeds of the runs that are compared.
        machine: what the runs were computed with.
    """

    claim: Claim
    outcome: Outcome
    differences: list[Difference] = field(default_factory=list)
    arms: dict[str, Arm] = field(default_factory=dict)
    why: str = ""
    compared: tuple[int, ...] = ()
    machine: Machine = field(default_factory=dict)

    @property
    def seeds(self) -> int:
        """How many runs of each arm are compared; where none are, how many there are to be."""
        return len(self.compared or self.claim.seeds)

    @property
    def is_complete(self) -> bool:
        """Whether the runs of all seeds of the claim are compared."""
        return set(self.compared) >= set(self.claim.seeds)


def find(claim: Claim, root: Path) -> Finding:
    """What the runs of a claim say.

    Args:
        claim: the claim.
        root: the folder of the study.
    """
    runs = claim.runs_to_compare(root)
    if not runs:
        return Finding(claim, "not_run")
    arms = {}
    for arm, directories in runs.items():
        configurations = compare(directories).configurations
        if len(configurations) != 1:
            return Finding(claim, "cannot_be_told", why=f"the runs of {arm} differ in more than their seed")
        arms[arm] = configurations[0]
    outcome, differences, why = _judge(claim, arms)
    return Finding(
        claim,
        outcome,
        differences,
        {arm: Arm(len(one.runs), one.mean("test/accuracy"), one.mean("parameters")) for arm, one in arms.items()},
        why,
        tuple(run.metrics["seed"] for run in arms[claim.better].runs),
        machine_of([run for one in arms.values() for run in one.runs]),
    )


_Judgement = tuple[Outcome, list[Difference], str]  # the last says why there is none


def _judge(claim: Claim, arms: dict[str, Configuration]) -> _Judgement:
    match claim.figure:
        case "test_accuracy":
            return _by_test_accuracy(claim, arms)
        case "multiply_adds" | "parameters":
            return _by_count(claim, arms)
        case _:
            return _by_seed(claim, arms)


def _by_test_accuracy(claim: Claim, arms: dict[str, Configuration]) -> _Judgement:
    """By the comparison's verdicts, whose interval holds the luck of the seeds and of the test images."""
    verdicts, why = verdicts_of(claim, arms)
    if why:
        return "cannot_be_told", [], why
    differences = [
        Difference(arm, -100 * one.luck.value, -100 * one.high, -100 * one.low, one.sentence())
        for arm, one in verdicts.items()
    ]
    certain = [one.is_different for one in verdicts.values()]
    if claim.margin:
        return _within(claim.margin, differences), differences, ""
    return _outcome([one.value for one in differences], certain), differences, ""


def only_configuration(runs: Sequence[Path], folder: Path) -> Configuration:
    """The configuration of runs that differ in their seeds alone.

    Args:
        runs: their folders, or one that holds them all.
        folder: what to name if they differ in more.

    Raises:
        UserError: they do.
    """
    configurations = compare(runs).configurations
    if len(configurations) != 1:
        labels = ", ".join(one.label for one in configurations)
        raise UserError(f"{folder}: the runs differ in more than their seed: {labels}")
    return configurations[0]


def verdicts_of(claim: Claim, arms: Mapping[str, Configuration]) -> tuple[dict[str, Verdict], str]:
    """The comparison's verdict on each other arm against the one that the claim says is better.

    Args:
        claim: the claim.
        arms: the completed runs of each arm, with the same seeds.

    Returns:
        The verdicts, and why there is none on some of the arms; empty if there is one on each.
    """
    directories = [run.directory for arm in (claim.better, *claim.others) for run in arms[arm].runs]
    judged = compare(directories, baseline=arms[claim.better].runs[0].directory).judged
    verdicts = {
        arm: verdict
        for arm in claim.others
        for verdict in judged.verdicts
        if verdict.one.runs[0].is_in(str(arms[arm].runs[0].directory))
    }
    why = dict.fromkeys(why for _, why in judged.left_out)
    return verdicts, "; ".join(why) if len(verdicts) < len(claim.others) else ""


def _outcome(values: Sequence[float], certain: Sequence[bool]) -> Outcome:
    """Whether a claim holds: its arm is certainly better than each of the others.

    Args:
        values: by how much it is better than each.
        certain: whether that can be told from luck, at an error of 5 % for all of them together.
    """
    if any(sure and value < 0 for value, sure in zip(values, certain, strict=True)):
        return "does_not"
    return "holds" if all(certain) else "cannot_be_told"


def _within(margin: float, differences: Sequence[Difference]) -> Outcome:
    """Whether an arm is as good as another: the interval excludes that it is worse by more than the margin."""
    if any(one.high < -100 * margin for one in differences):
        return "does_not"
    return "holds" if all(one.low > -100 * margin for one in differences) else "cannot_be_told"


def _by_count(claim: Claim, arms: dict[str, Configuration]) -> _Judgement:
    """By parameters or multiply-adds, which are exact."""
    differences = []
    for arm in claim.others:
        own, other = arms[claim.better].mean(claim.figure), arms[arm].mean(claim.figure)
        if not own or not other:
            return "cannot_be_told", [], f"the runs did not record {claim.figure}"
        differences.append(Difference(arm, other / own, other / own, other / own))
    fewer = all(one.value > 1 and one.value >= claim.factor for one in differences)
    return "holds" if fewer else "does_not", differences, ""


def _by_seed(claim: Claim, arms: dict[str, Configuration]) -> _Judgement:
    """By a figure of each run, with Student's t over the differences of runs with the same seed."""
    differences, chances = [], []
    values = {}
    for arm in (claim.better, *claim.others):
        measured = {run.metrics.get("seed"): figure_of(claim, run) for run in arms[arm].runs}
        known = {seed: value for seed, value in measured.items() if value is not None}
        if len(known) < len(measured):
            return "cannot_be_told", [], f"the runs of {arm} did not record the figure"
        values[arm] = [known[seed] for seed in sorted(known, key=str)]
    for arm in claim.others:
        each = [sign_of(claim) * (other - own) for own, other in zip(values[claim.better], values[arm], strict=True)]
        *figures, chance = students_t(each)
        told = map(math.exp, figures) if is_times(claim) else (100 * one for one in figures)
        differences.append(Difference(arm, *told))
        chances.append((figures[0], chance))
    certain = [chance < LEVEL for chance in holm([chance for _, chance in chances])]
    return _outcome([mean for mean, _ in chances], certain), differences, ""


def is_times(claim: Claim) -> bool:
    """Whether differences are told as how many times, not in points."""
    return claim.figure in ("epochs", "epochs_of_validation", "multiply_adds", "parameters")


def sign_of(claim: Claim) -> int:
    """1 where less of the figure is better, -1 where more is."""
    return -1 if claim.figure == "training_accuracy" else 1


def figure_of(claim: Claim, run: FinishedRun) -> float | None:
    """The figure of a run that is compared; of epochs the logarithm, whose differences are how many times."""
    if claim.figure in ("epochs", "epochs_of_validation"):
        name = "train/accuracy" if claim.figure == "epochs" else "val/accuracy"
        epochs = epochs_to(run.history, name, 1 - claim.error)
        return None if epochs is None else math.log(epochs)
    last = run.history[-1] if run.history else {}
    training, validation = last.get("train/accuracy"), last.get("val/accuracy")
    if training is None or claim.figure == "training_accuracy":
        return training
    return None if validation is None else training - validation


def epochs_to(history: Sequence[dict[str, float]], name: str, accuracy: float) -> float | None:
    """Epochs until an accuracy is reached, on a straight line between two epochs, and before the first from 0.

    A run that never reaches it counts as one that did at its end: how many times longer it takes than another is then
    rather too small.

    Args:
        history: a row of figures for each epoch.
        name: of the accuracy.
        accuracy: what is to be reached.

    Returns:
        A number above 0; None if the accuracy was not recorded.
    """
    before, epoch_before = 0.0, 0.0
    rows = [row for row in history if name in row]
    for row in rows:
        if row[name] >= accuracy:
            share = (accuracy - before) / (row[name] - before)
            return epoch_before + share * (row["epoch"] - epoch_before)
        before, epoch_before = row[name], row["epoch"]
    return rows[-1]["epoch"] if rows else None


def students_t(values: Sequence[float]) -> tuple[float, float, float, float]:
    """The mean of some values, both ends of its 95 % interval, and how likely so large a mean is if it is 0.

    Args:
        values: at least two.
    """
    from scipy.stats import ttest_1samp

    mean = statistics.fmean(values)
    if len(set(values)) == 1:
        return mean, mean, mean, 1.0 if mean == 0 else 0.0
    result = ttest_1samp(values, 0)
    low, high = result.confidence_interval(0.95)
    return mean, float(low), float(high), float(result.pvalue)
