"""Nested settings in plain containers, and their dotted keys."""

from collections.abc import Iterator, Mapping
from typing import Any

# A run is described by these groups of its config; others are the commands' own.
GROUPS = ("seed", "model", "datamodule", "trainer", "logging", "logger")


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested settings, with dotted keys such as ``model.optimizer.lr``."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def select(config: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key; None if a part of the key is missing."""
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def updated(config: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A copy of nested settings in which a dotted key has another value."""
    first, _, rest = key.partition(".")
    if not rest:
        return {**config, first: value}
    inner = config.get(first)
    return {**config, first: updated(inner if isinstance(inner, Mapping) else {}, rest, value)}
