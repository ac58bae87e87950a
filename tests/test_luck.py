"""Intervals and verdicts on made-up sweeps whose true accuracies are known."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtri

from cnn_experiments.runs.luck import contrasts, images_variance
from cnn_experiments.runs.verdicts import holm

DIFFERENCE = ((1, -1),)


class Luck(NamedTuple):
    """Shares of the variance behind each answer; what remains is that of single answers."""

    images: float = 0.6
    own_images: float = 0.02  # of how hard an image is for one configuration alone
    seeds: float = 0.0
    together: float = 0.5  # correlation of the same seed's luck in two configurations


def made_up(
    generator: np.random.Generator, runs: Sequence[int], images: int, accuracies: Sequence[float], luck: Luck
) -> list[NDArray[np.bool_]]:
    """Answers of configurations whose true accuracies, over all images and seeds, are those given.

    An answer is right where a sum of normal variables is above a threshold. Since its variance is 1, the share of right
    answers is the normal distribution's at the threshold, whatever the parts of the sum are.
    """
    image = generator.normal(size=images) * luck.images**0.5
    seed = generator.normal(size=max(runs)) * luck.together**0.5
    single = (1 - luck.images - luck.own_images - luck.seeds) ** 0.5
    tables = []
    for number, accuracy in zip(runs, accuracies, strict=True):
        of_seeds = seed[:number] + generator.normal(size=number) * (1 - luck.together) ** 0.5
        own = generator.normal(size=images) * luck.own_images**0.5
        answers = generator.normal(size=(number, images)) * single + own + image
        tables.append(ndtri(accuracy) + answers + of_seeds[:, None] * luck.seeds**0.5 > 0)
    return tables


def shares(
    sweeps: int, runs: tuple[int, int], images: int, luck: Luck, paired: bool, draws: int = 200
) -> tuple[float, float]:
    """The share of sweeps whose interval holds the true difference; and whose p is below 0.05 where there is none."""
    generator = np.random.default_rng(1)
    covered = alarms = 0
    for _ in range(sweeps):
        (found,) = contrasts(made_up(generator, runs, images, (0.95, 0.94), luck), DIFFERENCE, [paired], draws=draws)
        covered += found.low <= 0.01 <= found.high
        (found,) = contrasts(made_up(generator, runs, images, (0.95, 0.95), luck), DIFFERENCE, [paired], draws=draws)
        alarms += found.p < 0.05
        assert (found.p < 0.05) == (not found.low <= 0 <= found.high)
    return covered / sweeps, alarms / sweeps


# The luck of seeds is nothing; as large as that of 1,000 images; and far larger.
SEEDS = (0.0, 0.001, 0.03)


def of_all_kinds(sweeps: int, of_runs: Sequence[int] = (2, 3, 4, 5, 6, 8, 10)) -> tuple[NDArray[np.bool_], ...]:
    """Whether intervals of sweeps of random kinds hold the true difference; and whether p is below 0.05 without one.

    Numbers of runs and images, accuracies, their difference and the parts of luck are drawn anew for each sweep, over
    wide ranges. Nothing in `contrasts` was chosen by these kinds.
    """
    generator = np.random.default_rng(77)
    covered, alarms = np.zeros((2, sweeps), bool)
    for sweep in range(sweeps):
        paired = bool(generator.integers(2))
        luck = Luck(
            images=generator.uniform(0.3, 0.75),
            own_images=10 ** generator.uniform(-2.5, -0.8),
            seeds=10 ** generator.uniform(-4.5, -1.3) * (generator.random() < 0.85),
            together=generator.uniform(0, 0.9) * paired,
        )
        runs, images = [int(generator.choice(of_runs))] * 2, int(10 ** generator.uniform(2, 3.7))
        accuracy, difference = generator.uniform(0.55, 0.985), float(generator.choice([0.002, 0.005, 0.01, 0.02, 0.04]))
        tables = made_up(generator, runs, images, (accuracy, accuracy - difference), luck)
        (found,) = contrasts(tables, DIFFERENCE, [paired], draws=200)
        covered[sweep] = found.low <= difference <= found.high
        (found,) = contrasts(made_up(generator, runs, images, (accuracy,) * 2, luck), DIFFERENCE, [paired], draws=200)
        alarms[sweep] = found.p < 0.05
        assert alarms[sweep] == (not found.low <= 0 <= found.high)
    return covered, alarms


def test_how_often_intervals_cover() -> None:
    covered, alarms = of_all_kinds(1500)
    assert 0.93 <= covered.mean() <= 0.97
    assert alarms.mean() <= 0.05


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("of_runs", [(2,), (3,), (5,), (10,), (2, 3, 4, 5, 6, 8, 10)])
def test_how_often_intervals_of_many_sweeps_cover(of_runs: Sequence[int]) -> None:
    """10,000 sweeps: 95 % ± 0.4 by chance, and likewise 5 %."""
    covered, alarms = of_all_kinds(10_000, of_runs)
    print(f"{of_runs}: {covered.mean():.4f} {alarms.mean():.4f}")
    assert 0.93 <= covered.mean() <= 0.97
    assert alarms.mean() <= (0.05 if len(of_runs) > 1 else 0.054)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("runs", [2, 3, 5, 10])
def test_how_often_intervals_cover_sharply(runs: int) -> None:
    """1,000 sweeps of each kind, 300 of those with 10,000 images: 95 % ± 1.4 by chance, all kinds together ± 0.4."""
    for images in (200, 1000, 10_000):
        found = []
        for seeds in SEEDS:
            for paired in (True, False):
                for own in (0.02, 0.2):
                    luck = Luck(own_images=own, seeds=seeds, together=0.5 * paired)
                    found.append(shares(1000 if images < 10_000 else 300, (runs, runs), images, luck, paired))
        covered, alarms = np.array(found).T
        assert 0.93 <= covered.mean() <= 0.975, (images, covered)
        assert covered.min() >= 0.9, (images, covered)
        assert covered.max() <= 0.99, (images, covered)
        assert alarms.mean() <= 0.055, (images, alarms)  # 5 %, and chance


@pytest.mark.parametrize(
    ("runs", "paired", "luck"),
    [
        ((1, 1), False, Luck()),
        ((3, 5), False, Luck(seeds=0.003, together=0)),
        ((1, 5), False, Luck(seeds=0.003, together=0)),
    ],
)
def test_other_numbers_of_runs(runs: tuple[int, int], paired: bool, luck: Luck) -> None:
    covered, alarms = shares(600, runs, 500, luck, paired)
    assert 0.925 <= covered <= 0.98
    assert alarms <= 0.07


def test_seeds_that_have_images_of_their_own() -> None:
    generator = np.random.default_rng(2)
    for runs in (3, 5):
        covered = 0
        for _ in range(500):
            sweeps = [made_up(generator, (1, 1), 300, (0.95, 0.94), Luck()) for _ in range(runs)]
            tables = [np.concatenate([sweep[place] for sweep in sweeps]) for place in range(2)]
            (found,) = contrasts(tables, DIFFERENCE, [True], own_images=True)
            covered += found.low <= 0.01 <= found.high
        assert 0.925 <= covered / 500 <= 0.985


@pytest.mark.parametrize("arms", [3, 6])
def test_false_alarms_among_several_arms(arms: int) -> None:
    """The best of arms that are alike is called better than another in at most 5 % of sweeps."""
    generator = np.random.default_rng(5)
    alarms = 0
    for _ in range(300):
        tables = made_up(generator, [3] * arms, 300, [0.9] * arms, Luck(seeds=0.002))
        tables.sort(key=lambda table: -table.mean())
        weights = np.hstack([np.ones((arms - 1, 1)), -np.eye(arms - 1)]).tolist()
        found = contrasts(tables, weights, [True] * (arms - 1), draws=200)
        alarms += min(holm([one.strict_p for one in found], arms * (arms - 1) // 2)) < 0.05
    assert alarms / 300 <= 0.06  # 5 % ± 2.5 by chance


def test_the_draws_give_the_variance_of_a_mean() -> None:
    """With random weights of variance 1 it is the sum of squared deviations over N², which can be told by hand."""
    generator = np.random.default_rng(3)
    answers = np.stack([generator.integers(-1, 2, 500), np.repeat([0, 1], [490, 10]), np.zeros(500)], 1) / 1.0
    expected = answers.var(0) / 500
    found = images_variance(answers)
    assert found == pytest.approx(expected, rel=0.05)
    assert found[2] == 0
    assert list(images_variance(answers)) == list(found)
    # alone or beside others, each mean sees the same draws as long as images answered alike stay alike
    assert images_variance(np.repeat(answers[:, :1], 2, 1)) == pytest.approx(np.repeat(expected[:1], 2), rel=0.05)


def test_parts_by_hand() -> None:
    """Two runs of each on four images: the differences are 1 0 0 0 and 1 1 0 0."""
    one = np.array([[1, 1, 0, 0], [1, 1, 0, 0]], bool)
    other = np.array([[0, 1, 0, 0], [0, 0, 0, 0]], bool)
    (found,) = contrasts([one, other], DIFFERENCE, [True])
    assert found.value == pytest.approx(3 / 8)
    # means 1/4 and 1/2 have the variance 1/32, that of their mean is half of it
    assert found.seeds == pytest.approx(1 / 64)
    # means of images 1, 1/2, 0, 0 have the variance 11/64 (over N), that of their mean a quarter; two images more,
    # each half as large squared, for those that were not seen
    assert found.images == pytest.approx((11 / 256 * 16 + 2 * 0.5) / 36, rel=0.05)
    # the answers less both means are ±1/8, thrice, and ±3/8: 2 (3/64 + 9/64) / 3 over 4 images and 2 runs
    single = 2 * (3 / 64 + 9 / 64) / 3 / 4 / 2
    assert found.variance == pytest.approx(found.images - single + max(1 / 64, 0.25 * single), rel=1e-6)
    assert found.freedom == pytest.approx((found.variance / found.seeds) ** (2 / 2.25), rel=1e-6)  # with two seeds
    assert found.few_freedom == pytest.approx((found.variance / found.seeds) ** (1 / 2.25), rel=1e-6)
    assert found.strict_p > found.p


def analysed(table: NDArray[np.bool_]) -> tuple[float, float]:
    """The variance of a table's runs and that of its single answers, by the sums of squares of two ways."""
    rows, images = table.shape
    mean, of_rows, of_images = table.mean(), table.mean(1), table.mean(0)
    single = sum(
        (float(table[row, image]) - of_rows[row] - of_images[image] + mean) ** 2
        for row in range(rows)
        for image in range(images)
    )
    return sum((of_rows - mean) ** 2) / (rows - 1), single / ((rows - 1) * (images - 1)) / images


def check_luck(found: Any, seeds: float, single: float, freedom: float) -> None:
    assert found.seeds == pytest.approx(seeds, rel=1e-9)
    variance = found.images - min(single, found.images) + max(seeds, 0.25 * single)
    assert found.variance == pytest.approx(variance, rel=1e-9)
    share = max(min(1, seeds / variance), 1e-9)
    assert found.freedom == pytest.approx(min(1e9, freedom * share ** (-2 * freedom / (freedom + 1.25))), rel=1e-9)
    assert found.few_freedom == pytest.approx(freedom * share ** (-freedom / (freedom + 1.25)), rel=1e-9)


@pytest.mark.parametrize("paired", [False, True])
def test_more_runs_of_one_than_of_the_other(paired: bool) -> None:
    generator = np.random.default_rng(8)
    one, other = (generator.random((runs, 40)) < 0.7 + generator.normal(0, 0.05, (runs, 1)) for runs in (4, 3))
    if paired:
        (found,) = contrasts([one[:3], other], DIFFERENCE, [True])
        between, within = analysed(one[:3] * 1.0 - other)
        check_luck(found, between / 3, within / 3, 2)
        return
    (found,) = contrasts([one, other], DIFFERENCE, [False])
    (between_one, within_one), (between_other, within_other) = analysed(one), analysed(other)
    parts = between_one / 4, between_other / 3
    satterthwaite = sum(parts) ** 2 / (parts[0] ** 2 / 3 + parts[1] ** 2 / 2)
    check_luck(found, sum(parts), within_one / 4 + within_other / 3, satterthwaite + (5 - satterthwaite) / 4)


def test_runs_that_are_as_accurate_as_each_other() -> None:
    """Where seeds seem to add nothing, the degrees of freedom begin with those of the fewer runs."""
    one, other = (np.stack([np.roll(np.arange(40) < 30, run) for run in range(runs)]) for runs in (2, 4))
    (found,) = contrasts([one, other], DIFFERENCE, [False])
    (_, within_one), (_, within_other) = analysed(one), analysed(other)
    check_luck(found, 0, within_one / 2 + within_other / 4, 1 + (4 - 1) / 4)


def test_one_run_against_several_has_their_luck() -> None:
    generator = np.random.default_rng(9)
    one, other, third = (generator.random((runs, 40)) < 0.7 for runs in (1, 3, 5))
    (found,) = contrasts([one, other], DIFFERENCE, [False])
    between, within = analysed(other)
    check_luck(found, (1 + 1 / 3) * between, (1 + 1 / 3) * within, 2)
    # of two with several runs, their variances are pooled by their degrees of freedom, 2 and 4
    (found,) = contrasts([one, other, third], [[1, -0.5, -0.5]], [False])
    pooled = [(2 * two + 4 * four) / 6 for two, four in zip(analysed(other), analysed(third), strict=True)]
    unit = 1 + 0.25 / 3 + 0.25 / 5
    check_luck(found, unit * pooled[0], unit * pooled[1], 6)


def test_one_run_each_is_bonett_and_price() -> None:
    """30 and 10 of 200: (31 - 11) / 202 has the variance (42/202 - (20/202)²) / 202."""
    one = np.repeat([True, False, True], [30, 10, 160])[None]
    other = np.repeat([False, True, True], [30, 10, 160])[None]
    (found,) = contrasts([one, other], DIFFERENCE, [False])
    assert found.value == pytest.approx(0.1)
    assert found.variance == pytest.approx((42 / 202 - (20 / 202) ** 2) / 202, rel=0.05)
    assert np.isnan(found.seeds)
    assert found.margin == pytest.approx(1.959964 * found.variance**0.5)


def test_runs_that_answer_alike_prove_little() -> None:
    (found,) = contrasts([np.ones((3, 200), bool)] * 2, DIFFERENCE, [True])
    assert found.value == 0
    assert 0.003 < found.margin < 0.03
    assert found.p == 1


def test_many_configurations_share_the_draws_and_take_bounded_time() -> None:
    generator = np.random.default_rng(4)
    tables = made_up(generator, [10] * 20, 2000, np.linspace(0.9, 0.99, 20).tolist(), Luck(seeds=0.001))
    weights = [[1, *(-1 if place == number else 0 for place in range(19))] for number in range(19)]
    together = contrasts(tables, weights, [True] * 19)
    assert [found.value for found in together] == pytest.approx(
        [tables[0].mean() - table.mean() for table in tables[1:]]
    )
    assert sum(found.p < 0.05 for found in together) > 10
