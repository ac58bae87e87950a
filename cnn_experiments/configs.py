"""Configs as plain containers."""

from collections.abc import Iterable, Iterator
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf


def plain(config: Any) -> dict[str, Any]:
    """A config as plain containers, its interpolations resolved."""
    return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))


def with_values_of(changed: DictConfig, keys: Iterable[str], config: dict[str, Any]) -> dict[str, Any]:
    """A config with the values of some dotted keys taken from another one."""
    merged = OmegaConf.create(config)
    for key in keys:
        OmegaConf.update(merged, key, OmegaConf.select(changed, key))
    return plain(merged)


def flatten(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested settings with their dotted keys."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
