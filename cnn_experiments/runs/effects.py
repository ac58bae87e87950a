"""What each setting of a full grid changes: main effects and two-way interactions, with their intervals."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from cnn_experiments.runs.comparable import are_paired, has_own_images, why_not
from cnn_experiments.runs.configuration import Configuration, differing_keys, without_group
from cnn_experiments.runs.formats import as_typed, chance
from cnn_experiments.runs.luck import Luck, contrasts
from cnn_experiments.runs.verdicts import LEVEL, answers_of, holm

MOST_CELLS = 1000  # of a grid
MOST_EFFECTS = 100  # of more, only those of each key's last value are computed

Change = tuple[str, Any, Any]
"""A key, and its values after and before."""


@dataclass(frozen=True)
class Effect:
    """What changes the test accuracy, on average over all values of the other keys of a grid.

    Args:
        changes: one change of a key for a main effect; two for an interaction, which is how much both together change
            beyond the sum of what each changes alone: what one changes with the other, less what it changes without.
        luck: the effect, as a share of the test images, and how far it can be luck.
        adjusted_p: how likely so large an effect is if there is none, with Holm's correction for all effects.
    """

    changes: tuple[Change, ...]
    luck: Luck
    adjusted_p: float

    @property
    def name(self) -> str:
        """What is changed: ``dropout: 0 → 0.2``, or ``dropout: 0 → 0.2 × c3: partial → full``."""
        return " × ".join(
            f"{without_group(key)}: {as_typed(key, before)} → {as_typed(key, after)}"
            for key, after, before in self.changes
        )

    @property
    def is_one(self) -> bool:
        """Whether there is such an effect, at a chance of error of 5 % for all effects together."""
        return self.adjusted_p < LEVEL

    def row(self) -> list[str]:
        """A row of a table, see `HEADING`."""
        digits = 2 if self.luck.margin < 0.002 else 1
        value, low, high = (f"{100 * share:+.{digits}f}" for share in (self.luck.value, self.luck.low, self.luck.high))
        says = "" if self.is_one else "can be luck"
        return [self.name, f"{value} ({low} to {high})", chance(self.adjusted_p), says]


HEADING = ["change", "test accuracy in points (95 % interval)", "p", ""]


def effects_of(configurations: Sequence[Configuration]) -> list[Effect]:
    """Main effects and two-way interactions of the keys in which configurations differ.

    A main effect is the difference between the mean accuracy of all configurations with one value of a key and that of
    those with its first value; an interaction is the difference of two such differences (Box, Hunter, Hunter,
    "Statistics for Experimenters", chapter on factorial designs). Both are contrasts of the means, and their luck is
    that of `contrasts`, from the same draws as the verdicts'.

    Args:
        configurations: of a comparison.

    Returns:
        Main effects, then interactions; none unless the configurations are a full grid of at least two keys, each
        combination of their values once, all tested on the same images.
    """
    values = grid_of(configurations)
    if not values or any(why_not(configurations[0], one) for one in configurations):
        return []
    wanted = list(_changes(values, every=True))
    if len(wanted) > MOST_EFFECTS:
        wanted = list(_changes(values, every=False))
    weights = [[_weight(one, changes, values) for one in configurations] for changes in wanted]
    paired = are_paired(configurations)
    own_images = has_own_images(configurations[0])
    if own_images and not paired:
        return []
    tables = [answers_of(one) for one in configurations]
    lucks = contrasts(tables, weights, [paired] * len(weights), own_images)
    adjusted = holm([luck.strict_p for luck in lucks])
    return [Effect(*parts) for parts in zip(wanted, lucks, adjusted, strict=True)]


def grid_of(configurations: Sequence[Configuration]) -> dict[str, list[Any]]:
    """The keys in which configurations differ, each with its values in order; empty if they are no full grid."""
    if not 4 <= len(configurations) <= MOST_CELLS:
        return {}
    keys = differing_keys(configurations)
    if any(key not in one.settings for one in configurations for key in keys):
        return {}
    values = {key: _in_order([one.settings[key] for one in configurations]) for key in keys}
    cells = {tuple(repr(one.settings[key]) for key in keys) for one in configurations}
    is_full = len(cells) == len(configurations) == prod(map(len, values.values()))
    return values if is_full and len(keys) > 1 else {}


def _in_order(values: list[Any]) -> list[Any]:
    """Distinct values: numbers by size, false before true, the rest as one would sort their names; null first."""
    distinct = {repr(value): value for value in values}.values()
    return sorted(
        distinct,
        key=lambda value: (0, value, "") if isinstance(value, (int, float)) else (-(value is None), 0, str(value)),
    )


def _changes(values: dict[str, list[Any]], every: bool) -> Iterator[tuple[Change, ...]]:
    """The main effects and the interactions of a grid: of every value of a key, or only of the last."""
    of_key = {key: [(key, after, own[0]) for after in (own[1:] if every else own[-1:])] for key, own in values.items()}
    for changes in of_key.values():
        yield from ((change,) for change in changes)
    for first, second in itertools.combinations(of_key.values(), 2):
        yield from itertools.product(first, second)


def _weight(configuration: Configuration, changes: tuple[Change, ...], values: dict[str, list[Any]]) -> float:
    """The weight of a configuration in an effect: the others' values are averaged over."""
    weight = 1.0
    for key, after, before in changes:
        own = repr(configuration.settings[key])
        weight *= (own == repr(after)) - (own == repr(before))
    changed = {key for key, _, _ in changes}
    return weight / prod(len(own) for key, own in values.items() if key not in changed)
