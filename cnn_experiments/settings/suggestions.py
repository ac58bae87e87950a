"""Suggestions for mistyped words."""

import difflib
from collections.abc import Iterable

MOST = 3


def suggest(word: str, known: Iterable[str], only_alike: bool = False) -> str:
    """A sentence that names the known words most similar to the given one, or all of them if none is similar.

    A dotted word is also known by its last part: ``c3`` suggests ``model.c3``.

    With `only_alike`, the result is empty if none is similar, and ends with a space otherwise.
    """
    known = sorted(set(known))
    group, _, last_part = word.rpartition(".")
    alike = [other for other in known if other.endswith(f".{word}")][:MOST]
    if not alike and group in (other.rpartition(".")[0] for other in known):  # what both have makes them no more alike
        siblings = [other for other in known if other.rpartition(".")[0] == group]
        alike = _alike_in_last_part(last_part, siblings, cutoff=0.6)
    elif not alike:
        alike = difflib.get_close_matches(word, known, n=MOST, cutoff=0.6)
    alike = alike or _alike_in_last_part(last_part, known, cutoff=0.75)
    if alike:  # the likeliest, and those that are about as likely
        likeness = {other: difflib.SequenceMatcher(None, other, word).ratio() for other in alike}
        alike = [other for other in alike if likeness[other] > max(likeness.values()) - 0.05]
        return f"Did you mean {' or '.join(alike)}?{' ' if only_alike else ''}"
    return "" if only_alike else f"Choose from: {', '.join(known)}."


def _alike_in_last_part(last_part: str, known: Iterable[str], cutoff: float) -> list[str]:
    by_last_part = {other.rpartition(".")[2]: other for other in known}
    return [by_last_part[part] for part in difflib.get_close_matches(last_part, by_last_part, n=MOST, cutoff=cutoff)]
