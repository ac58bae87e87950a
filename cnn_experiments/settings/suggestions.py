"""Suggestions for mistyped words."""

import difflib
from collections.abc import Iterable


def suggest(word: str, known: Iterable[str], only_alike: bool = False) -> str:
    """A sentence that names the known words most similar to the given one, or all of them if none is similar.

    With `only_alike`, the result is empty if none is similar, and ends with a space otherwise.
    """
    known = sorted(set(known))
    alike = difflib.get_close_matches(word, known, n=3, cutoff=0.6)
    if alike:  # the likeliest, and those that are about as likely
        likeness = {other: difflib.SequenceMatcher(None, other, word).ratio() for other in alike}
        alike = [other for other in alike if likeness[other] > likeness[alike[0]] - 0.05]
        return f"Did you mean {' or '.join(alike)}?{' ' if only_alike else ''}"
    return "" if only_alike else f"Choose from: {', '.join(known)}."
