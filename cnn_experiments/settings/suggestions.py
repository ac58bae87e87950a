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
    alike = [other for other in known if other.endswith(f".{word}")][:MOST]
    alike = alike or difflib.get_close_matches(word, known, n=MOST, cutoff=0.6)
    if not alike:
        by_last_part = {other.rpartition(".")[2]: other for other in known}
        parts = difflib.get_close_matches(word.rpartition(".")[2], by_last_part, n=MOST, cutoff=0.75)
        alike = [by_last_part[part] for part in parts]
    if alike:  # the likeliest, and those that are about as likely
        likeness = {other: difflib.SequenceMatcher(None, other, word).ratio() for other in alike}
        alike = [other for other in alike if likeness[other] > max(likeness.values()) - 0.05]
        return f"Did you mean {' or '.join(alike)}?{' ' if only_alike else ''}"
    return "" if only_alike else f"Choose from: {', '.join(known)}."
