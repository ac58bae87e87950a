"""Verdicts: whether one configuration is better than another, or whether it can be luck."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cnn_experiments.errors import UserError
from cnn_experiments.runs.comparable import are_paired, circumstances, has_own_images, runs_by_seed, why_not
from cnn_experiments.runs.configuration import Configuration
from cnn_experiments.runs.luck import Luck, contrasts

LEVEL = 0.05


@dataclass(frozen=True)
class Verdict:
    """What can be said of the difference between two configurations.

    Args:
        one: the configuration whose accuracy is the larger part of the difference, if it is above 0.
        other: the one that it is compared with.
        luck: the difference of their mean test accuracies, as a share, and how far it can be luck.
        p: how likely so large a difference is if there is none; of single runs, by the exact McNemar test.
        adjusted_p: the same, with Holm's correction for all verdicts made together.
        together: how many these are: all pairs that could have been compared, where the best was picked from the data.
        images: how many test images each run had.
        circumstances: what differs besides the settings and may matter.
    """

    one: Configuration
    other: Configuration
    luck: Luck
    p: float
    adjusted_p: float
    together: int
    images: int
    circumstances: list[str]

    @property
    def low(self) -> float:
        """The lower end of the 95 % interval; it holds 0 where the exact test of single runs sees no difference."""
        return self.luck.low if self.p < LEVEL or self.luck.value <= 0 else min(0.0, self.luck.low)

    @property
    def high(self) -> float:
        """The upper end of the 95 % interval."""
        return self.luck.high if self.p < LEVEL or self.luck.value >= 0 else max(0.0, self.luck.high)

    @property
    def is_different(self) -> bool:
        """Whether there is a difference, at a chance of error of 5 % for all verdicts made together."""
        return self.adjusted_p < LEVEL

    @property
    def numbers(self) -> tuple[int, int]:
        """The number of runs of each."""
        return len(self.one.runs), len(self.other.runs)

    @property
    def strict_p(self) -> float:
        """The p-value that is corrected if there are several verdicts."""
        return self.p if max(self.numbers) == 1 else self.luck.strict_p

    def interval(self) -> str:
        """The difference in points of a hundred, with its 95 % interval: ``1.2 (0.6 to 1.9)``."""
        value, low, high = (self._points(share) for share in (self.luck.value, self.low, self.high))
        return f"{value} ({low} to {high})"

    def sentence(self) -> str:
        """The verdict in plain words."""
        one, other = (self.one.label, self.other.label) if self.luck.value >= 0 else (self.other.label, self.one.label)
        if self.is_different:
            says = f"{one} is better than {other} by {self._size()}; {self._runs()}, {self.images:,} test images"
        elif self.p < LEVEL:
            says = (
                f"no difference between {one} and {other} can be claimed: {self._size()} would be one for a single "
                f"comparison, not among {self.together} of them"
            )
        else:
            says = (
                f"no difference between {one} and {other} can be seen: with {self._runs()} and {self.images:,} test "
                f"images a gain under {self._points(self.luck.margin)} points would be invisible"
            )
        return "; ".join([says, *self._remarks()])

    def _size(self) -> str:
        ends = [self.low, self.high] if self.luck.value >= 0 else [-self.high, -self.low]
        return f"{self._points(abs(self.luck.value))} points ({self._points(ends[0])} to {self._points(ends[1])})"

    def _points(self, share: float) -> str:
        """A share in points of a hundred, with a digit more where the interval is narrow."""
        text = f"{100 * share:.{2 if self.luck.margin < 0.002 else 1}f}"
        return text.removeprefix("-") if not float(text) else text

    def _runs(self) -> str:
        one, other = self.numbers
        if one != other:
            return f"{one} and {other} runs"
        return "one run each" if one == 1 else f"{one} seeds" if len(self.one.seeds) == one else f"{one} runs"

    def _remarks(self) -> list[str]:
        """What would narrow the interval, and what it does not say."""
        remarks = []
        if max(self.numbers) == 1:
            remarks.append("luck of the seed is not in this interval: more seeds would tell")
        else:
            more = "more seeds" if self.luck.seeds > self.luck.images else "more test images"
            remarks.append(f"{more} would narrow this")
        if min(self.numbers) == 1 < max(self.numbers):
            single, several = (self.one, self.other) if self.numbers[0] == 1 else (self.other, self.one)
            remarks.append(f"luck of the seed is taken to be as large for {single.label} as for {several.label}")
        if self.circumstances:
            remarks.append(f"careful, {', '.join(self.circumstances)}")
        return remarks


@dataclass(frozen=True)
class Verdicts:
    """The verdicts of a comparison.

    Args:
        verdicts: of pairs whose accuracies are comparable.
        left_out: labels of configurations that there is no verdict on, each with the reason.
    """

    verdicts: list[Verdict]
    left_out: list[tuple[str, str]]


def judge(configurations: Sequence[Configuration], baseline: Configuration | None = None) -> Verdicts:
    """Verdicts on pairs of configurations that were tested on the same images.

    Args:
        configurations: the best first.
        baseline: the one that all others are compared with, which should be chosen before looking; without it, the
            best is compared with each of the others, and so is the best of those that were tested on other images.
    """
    if len(configurations) < 2:
        return Verdicts([], [])
    groups, left_out = _groups(configurations, baseline)
    verdicts = [
        verdict for first, *others in groups for verdict in _of_group(first, others, as_baseline=baseline is not None)
    ]
    # Which one is the best was found in the same data: any pair could have become a verdict.
    pairs = sum(len(group) * (len(group) - 1) // 2 for group in groups)
    tests = pairs if baseline is None else len(verdicts)
    chances = [verdict.strict_p if tests > 1 else verdict.p for verdict in verdicts]
    for place, adjusted in enumerate(holm(chances, tests)):
        verdicts[place] = replace(verdicts[place], adjusted_p=adjusted, together=tests)
    return Verdicts(verdicts, left_out)


def _groups(
    configurations: Sequence[Configuration], baseline: Configuration | None
) -> tuple[list[list[Configuration]], list[tuple[str, str]]]:
    """Comparable configurations, the one that the others are compared with first; and those that are not comparable."""
    groups: list[list[Configuration]] = [] if baseline is None else [[baseline]]
    reasons: list[tuple[Configuration, str]] = []
    for configuration in configurations:
        if configuration is baseline:
            continue
        whys = [why_not(group[0], configuration) for group in groups]
        if "" in whys:
            groups[whys.index("")].append(configuration)
            continue
        if whys:
            reasons.append((configuration, whys[0]))
        if baseline is None and not why_not(configuration, configuration):
            groups.append([configuration])
        elif not whys:
            reasons.append((configuration, why_not(configuration, configuration)))
    with_verdict = [group for group in groups if len(group) > 1]
    judged = {id(one) for group in with_verdict for one in group}
    # The first of its group was compared with none of those that came after it.
    known = {id(one) for one, _ in reasons}
    first = [one for one in configurations if with_verdict and id(one) not in judged | known and one is not baseline]
    reasons = [(one, why_not(with_verdict[0][0], one)) for one in first] + reasons
    return groups, [(one.label, why) for one, why in reasons if id(one) not in judged]


def _of_group(first: Configuration, others: list[Configuration], as_baseline: bool) -> list[Verdict]:
    """Verdicts on one configuration and each of the others, without correction."""
    if not others:
        return []
    tables = [answers_of(configuration) for configuration in (first, *others)]
    sign = -1 if as_baseline else 1
    weights = [
        [sign, *(-sign if place == number else 0 for place in range(len(others)))] for number in range(len(others))
    ]
    paired = [are_paired([first, other]) for other in others]
    verdicts = []
    for other, table, luck in zip(
        others, tables[1:], contrasts(tables, weights, paired, has_own_images(first)), strict=True
    ):
        p = luck.p if max(len(tables[0]), len(table)) > 1 else mcnemar(tables[0][0], table[0])
        one, against = (other, first) if as_baseline else (first, other)
        differs = circumstances([first, other])
        verdicts.append(Verdict(one, against, luck, p, p, 1, table.shape[1], differs))
    return verdicts


def answers_of(configuration: Configuration) -> NDArray[np.bool_]:
    """Whether each run, in the order of the seeds, was right on each test image: (S, N)."""
    return np.stack([run.tested.right for run in runs_by_seed(configuration)])


def mcnemar(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """The exact McNemar test: how likely it is that so few of the images on which two runs disagree favour one of them.

    McNemar 1947, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 12, 153-157; in its exact form it is the two-sided binomial test with a chance of one half.

    Args:
        one: whether a run was right on each image, (N,).
        other: the same of the other run.
    """
    from scipy.special import bdtr  # `scipy.stats.binomtest` says the same, and takes seconds to import

    first, second = int((one & ~other).sum()), int((other & ~one).sum())
    return min(1.0, float(2 * bdtr(min(first, second), first + second, 0.5)))


def holm(chances: Sequence[float], tests: int | None = None) -> list[float]:
    """Holm's correction for several tests (Holm 1979, "A simple sequentially rejective multiple test procedure",
    Scandinavian Journal of Statistics 6, 65-70): the chance that any of them errs stays what it is for one.

    Args:
        chances: p-values.
        tests: how many tests there could have been, if these were picked from them by their outcome.

    Returns:
        The corrected ones, in the same order.
    """
    corrected = [1.0] * len(chances)
    number = len(chances) if tests is None else tests
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        largest = max(largest, min(1.0, (number - rank) * chances[place]))
        corrected[place] = largest
    return corrected


def chosen(configurations: Sequence[Configuration], name: str) -> Configuration:
    """The configuration that a user names.

    Args:
        configurations: those of a comparison.
        name: a label; or the directory of one of its runs; or words such as ``model.c3=partial`` or ``c3=partial``,
            which one configuration alone has.

    Raises:
        UserError: none, or more than one, is named so.
    """
    found = [one for one in configurations if one.label == name]
    found = found or [one for one in configurations if any(run.is_in(name) for run in one.runs)]
    found = found or [one for one in configurations if all(one.has(word) for word in name.split())]
    if len(found) == 1:
        return found[0]
    labels = "; ".join(one.label for one in (found or configurations)[:6])
    how_many = f"{len(found)} configurations are" if found else "no configuration is"
    raise UserError(
        f"baseline={name}: {how_many} named so. Give a label, a run directory, or settings that one alone has, such as "
        f"model.c3=partial. There are: {labels}"
    )
