"""How far a long computation is, with what it has found so far."""

from typing import Generic, NamedTuple, TypeVar

Found = TypeVar("Found")


class Progress(NamedTuple, Generic[Found]):
    """A step of a long computation. Whoever stops asking for the next step stops the computation.

    Args:
        done: how much is done.
        total: how much there is to do.
        found: what is found so far; at the last step, the result.
    """

    done: int
    total: int
    found: Found
