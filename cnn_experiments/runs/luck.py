"""How far a difference of accuracies can be luck: of the test images, and of the seeds.

Both vary a measured accuracy: with other test images, or with other seeds, it would have come out otherwise. Right (1)
or wrong (0) of S runs on N images is a table of two ways, and both are drawn at random. Of such a table there is no
exact bootstrap (McCullagh 2000, "Resampling and exchangeable arrays", Bernoulli 6, 285-301). The pigeonhole bootstrap
(Owen 2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1, 386-411) resamples rows and columns
independently; Owen and Eckles (2012, "Bootstrapping data arrays of arbitrary order", Annals of Applied Statistics 6,
895-927) give rows and columns random weights of mean 1 and variance 1 instead, here 0 or 2 with equal chances. Its
variance is that of the seeds, plus that of the images, plus that of single answers (the interaction) thrice. Here each
way is reweighted on its own, so that the variance of single answers, which an analysis of variance gives, counts once:

    variance = seeds · S/(S - 1) + images - single answers

The factor S/(S - 1) makes up for the few seeds. Their part is written out, since a bootstrap over two or three runs has
only a handful of different draws. Student's t, with the degrees of freedom of such a sum (Satterthwaite 1946, "An
approximate distribution of estimates of variance components", Biometrics Bulletin 2, 110-114), makes an interval of it.
Two corrections for few seeds are our own, `LEAST_SHARE` and `degrees_of_freedom`; tests/test_luck.py measures how often
the intervals cover.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DRAWS = 10_000
SEED = 20070614  # of the draws: the same figures each time
CONFIDENCE = 0.95
# Where seeds seem to matter less than single answers, as chance has it with few seeds, this share of the latter counts.
LEAST_SHARE = 0.25
VALUES_AT_ONCE = 2**20  # random weights at a time, which bounds the memory, as does the next
ANSWERS_AT_ONCE = 2**24  # images, times contrasts
MOST_WEIGHTS = 2**28  # beyond 25,000 images that runs differ on, there are fewer draws, of which 1,000 would do
COMMON = 16  # images that were answered alike in all runs are drawn together if there are more of them


@dataclass(frozen=True)
class Luck:
    """A contrast of accuracies, such as the difference of two, and how far it can be luck.

    Args:
        value: the contrast of the means over seeds.
        seeds: the part of the variance that more seeds would lower; nan where there is one run of each.
        images: the part that more test images would lower.
        variance: of the value.
        freedom: degrees of freedom of the variance; infinite where there is one run of each.
        few_freedom: fewer of them, for `strict_p`.
    """

    value: float
    seeds: float
    images: float
    variance: float
    freedom: float
    few_freedom: float

    @property
    def margin(self) -> float:
        """Half the width of the 95 % interval: a smaller value cannot be told from none."""
        from scipy.special import stdtrit

        return float(stdtrit(self.freedom, 0.5 + CONFIDENCE / 2)) * math.sqrt(self.variance)

    @property
    def low(self) -> float:
        """The lower end of the 95 % interval."""
        return self.value - self.margin

    @property
    def high(self) -> float:
        """The upper end of the 95 % interval."""
        return self.value + self.margin

    @property
    def p(self) -> float:
        """How likely a value as far from 0 is if the true one is 0: below 0.05 where the interval leaves out 0."""
        return self._chance(self.freedom)

    @property
    def strict_p(self) -> float:
        """The same for one contrast of several, where much smaller chances count.

        The degrees of freedom are right on average. Far out in the tails, those sweeps count in which the luck of few
        seeds is underestimated by chance; and of several contrasts, these are the ones that stand out.
        """
        return self._chance(self.few_freedom)

    def _chance(self, freedom: float) -> float:
        from scipy.special import stdtr

        return float(2 * stdtr(freedom, -abs(self.value) / math.sqrt(self.variance)))


@dataclass(frozen=True)
class _Parts:
    """The sums of squares of a contrast.

    Args:
        answers: the mean over the seeds of what each image adds to the contrast, (N,).
        seeds: variance by the seeds, single answers included.
        freedom: its degrees of freedom; 0 where there is one run of each.
        single: variance by single answers.
        unit: the effect on an image's answer that one run of all has, for the images not seen.
    """

    answers: Floats
    seeds: float
    freedom: float
    single: float
    unit: float


def contrasts(
    tables: Sequence[NDArray[np.bool_]],
    weights: Sequence[Sequence[float]],
    paired: Sequence[bool],
    own_images: bool = False,
    draws: int = DRAWS,
) -> list[Luck]:
    """Contrasts of mean accuracies with their luck; all of them see the same draws of images.

    Args:
        tables: whether each run of a configuration was right on each image, (S, N): a row for each of its runs.
        weights: for each contrast, the weight of each configuration; a difference has one 1 and one -1.
        paired: for each contrast, whether the rows of its configurations belong together: the same seeds, in order.
        own_images: whether each row has test images of its own, since the seed draws them; all must be paired then.
        draws: how often the images are reweighted.
    """
    means = [table.mean(0) for table in tables]
    parts = []
    for weight, together in zip(weights, paired, strict=True):
        places = [place for place, one in enumerate(weight) if one]
        parts.append(
            _parts(
                [tables[place] for place in places],
                [means[place] for place in places],
                [weight[place] for place in places],
                together,
                own_images,
            )
        )
    if own_images:
        of_images = np.array([part.single for part in parts])  # the rest of it is in what the seeds add
    else:
        step = max(1, ANSWERS_AT_ONCE // len(parts[0].answers))
        blocks = [parts[first : first + step] for first in range(0, len(parts), step)]
        of_images = np.concatenate(
            [images_variance(np.stack([part.answers for part in block], 1), draws) for block in blocks]
        )
    return [_luck(part, float(variance)) for part, variance in zip(parts, of_images, strict=True)]


def _parts(
    tables: list[NDArray[np.bool_]], means: list[Floats], weights: list[float], paired: bool, own_images: bool
) -> _Parts:
    """The sums of squares of one contrast, from the tables that have a weight in it, and their means over the runs."""
    unit = sum(weight**2 / len(table) for table, weight in zip(tables, weights, strict=True)) / 2
    answers = _weighted(means, weights)
    seeds = [len(table) for table in tables]
    if max(seeds) == 1:
        return _Parts(answers, np.nan, 0, 0.0, unit)
    if paired:
        between, within = _mean_squares(_weighted(tables, weights), own_images)
        return _Parts(answers, between / seeds[0], seeds[0] - 1, within / seeds[0], unit)
    squares = [_mean_squares(table) if len(table) > 1 else (np.nan, np.nan) for table in tables]
    if min(seeds) == 1:  # its luck of the seed is unknown: it is taken to be that of the others
        freedom = float(sum(number - 1 for number in seeds))
        known = [(number - 1, *square) for number, square in zip(seeds, squares, strict=True) if number > 1]
        pooled = [sum(one[0] * one[place] for one in known) / freedom for place in (1, 2)]
        between, within = (2 * unit * square for square in pooled)
        return _Parts(answers, between, freedom, within, unit)
    shares = [weight**2 / number for weight, number in zip(weights, seeds, strict=True)]
    each = [share * between for share, (between, _) in zip(shares, squares, strict=True)]
    single = sum(share * within for share, (_, within) in zip(shares, squares, strict=True))
    spread = sum(one**2 / (number - 1) for one, number in zip(each, seeds, strict=True))
    freedom = sum(each) ** 2 / spread if spread else min(seeds) - 1
    most = sum(number - 1 for number in seeds)  # if all configurations vary alike; estimated freedoms are too few
    return _Parts(answers, sum(each), freedom + (most - freedom) / 4, single, unit)


def _weighted(arrays: Sequence[NDArray[Any]], weights: list[float]) -> Floats:
    """The sum of arrays, each times its weight."""
    total = np.zeros(arrays[0].shape)
    for array, weight in zip(arrays, weights, strict=True):
        total += weight * array
    return total


def _mean_squares(table: NDArray[np.generic], own_images: bool = False) -> tuple[float, float]:
    """The variance of the rows' means, and the part of it that comes from single answers."""
    rows, images = table.shape
    values = table.astype(np.float64)
    of_rows = values.mean(1)
    rest = values - of_rows[:, None]
    if not own_images:
        rest -= rest.mean(0)
    freedom = (rows if own_images else rows - 1) * max(1, images - 1)
    return float(of_rows.var(ddof=1)), float((rest**2).sum()) / freedom / images


def images_variance(answers: Floats, draws: int = DRAWS) -> Floats:
    """The variance of means over images, by reweighting the images at random.

    Args:
        answers: a row for each image and a column for each mean, (N, J).
        draws: how often at most.

    Returns:
        The variance of each mean, (J,).
    """
    images = len(answers)
    kept = np.ascontiguousarray(answers, np.float32)
    _, first_of, counts = np.unique(
        kept.view(np.dtype((np.void, kept.itemsize * kept.shape[1]))).ravel(), return_index=True, return_counts=True
    )
    rows = kept[first_of]
    rows -= (counts @ rows / images).astype(np.float32)
    common = counts > COMMON
    singly = np.repeat(rows[~common], counts[~common], axis=0)
    of_mean_weights = singly.sum(0) + counts[common].astype(np.float32) @ rows[common]
    row_bytes = -(-len(singly) // 8)
    generator = np.random.default_rng(SEED)
    squares = np.zeros(answers.shape[1])
    step = max(1, VALUES_AT_ONCE // max(1, len(singly)))
    draws = min(draws, max(1000, MOST_WEIGHTS // max(1, len(singly))))
    for first in range(0, draws, step):
        number = min(step, draws - first)
        bits = np.frombuffer(generator.bytes(number * row_bytes), np.uint8).reshape(number, row_bytes)
        heads = np.unpackbits(bits, 1, len(singly)).astype(np.float32)
        together = generator.binomial(counts[common], 0.5, (number, int(common.sum()))).astype(np.float32)
        # a weight is 0 or 2, and its mean 1, which is taken off
        sums = 2 * (heads @ singly + together @ rows[common]) - of_mean_weights
        squares += (sums.astype(np.float64) ** 2).sum(0)
    variance: Floats = squares / draws / images**2
    return variance


def _luck(part: _Parts, of_images: float) -> Luck:
    """The parts put together; two more images, one for each side, stand for those that were not seen.

    Without them, 200 images that both networks answer alike would prove that no image is answered otherwise. For one
    run of each it is the adjustment of Bonett and Price (2012, "Adjusted Wald confidence interval for a difference of
    binomial proportions based on paired data", Journal of Educational and Behavioral Statistics 37, 479-488).
    """
    number = len(part.answers)
    of_images = (of_images * number**2 + 2 * part.unit) / (number + 2) ** 2
    value = float(part.answers.mean())
    if not part.freedom:
        return Luck(value, np.nan, of_images, of_images, np.inf, np.inf)
    single = min(part.single, of_images)
    rest = of_images - single
    variance = rest + max(part.seeds, LEAST_SHARE * single)
    freedom, few = (degrees_of_freedom(variance, part.seeds, part.freedom, strict) for strict in (False, True))
    return Luck(value, part.seeds, of_images, variance, freedom, few)


def degrees_of_freedom(variance: float, seeds: float, freedom: float, strict: bool = False) -> float:
    """Degrees of freedom of a variance of which a part is estimated from few seeds, and the rest from many images.

    Satterthwaite's are f · (variance / seeds)², if f are those of the seeds' part. For few seeds this is too many:
    where the seeds' part comes out small by chance, its share of the variance does too. With the exponent 2f / (f +
    1.25) instead of 2, intervals also cover with two and three seeds; for many seeds it is almost 2.

    Args:
        variance: all of it, which is above 0: images that were not seen always add to it.
        seeds: the seeds' part.
        freedom: the degrees of freedom of this part.
        strict: whether they are for one of several contrasts: half the exponent, see `Luck.strict_p`.
    """
    share = min(1.0, seeds / variance)
    exponent = (1 if strict else 2) * freedom / (freedom + 1.25)
    return float(min(1e9, freedom * max(share, 1e-9) ** -exponent))
