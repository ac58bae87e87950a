"""From a config to an object: what a constructor's signature says is what a config group may hold.

Every key is checked against the annotation of the parameter of its name, so that a wrong value is refused with its
key and a remedy, and a range stands in one place only: at the parameter it belongs to.
"""

import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_method
from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from cnn_experiments.errors import UserError
from cnn_experiments.suggestions import suggest


def build(config: Mapping[str, Any], path: str, also: Iterable[str] = (), **more: Any) -> Any:
    """Call the config's ``_target_`` with its other keys.

    Args:
        config: a config group in plain containers.
        path: where the group stands in the config, for messages, e.g. ``model``.
        also: keys of the group that are for somebody else.
        more: arguments that do not come from the config.

    Raises:
        UserError: a key is unknown, or a value is of the wrong type, out of range, or refused by the constructor.
    """
    target = locate(config, path)
    settings = {key: value for key, value in config.items() if key not in {"_target_", *also}}
    try:
        return target(**check(target, settings, path), **more)
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: {error}") from error


def locate(config: Mapping[str, Any], path: str) -> Callable[..., Any]:
    """The class or function that the config's ``_target_`` names."""
    try:
        return get_method(config["_target_"])
    except (KeyError, InstantiationException, ValueError, ImportError) as error:
        raise UserError(f"{path}._target_={config.get('_target_')}: there is no such class or function") from error


def check(target: Callable[..., Any], settings: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The settings, each converted to the type of the parameter of its name.

    Raises:
        UserError: a key is no parameter of the target, or its value does not fit.
    """
    annotations = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target, include_extras=True)
    known = list(inspect.signature(target).parameters)
    refuse_unknown(settings, known, path)
    return {key: convert(value, annotations.get(key, Any), f"{path}.{key}") for key, value in settings.items()}


def refuse_unknown(keys: Iterable[str], known: Iterable[str], path: str) -> None:
    """Raise a UserError for the first key that is not among the known ones."""
    known = list(known)
    for key in keys:
        if key not in known:
            raise UserError(f"{path}.{key}: there is no such key. {suggest(key, known)}")


def convert(value: Any, annotation: Any, key: str) -> Any:
    """The value as the annotation's type.

    Raises:
        UserError: it does not fit; the message names the key and what would fit.
    """
    if dataclasses.is_dataclass(annotation) and isinstance(value, Mapping):
        refuse_unknown(value, [field.name for field in dataclasses.fields(annotation)], key)
    try:
        adapter = TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:  # a dataclass or a pydantic model brings its own settings
        adapter = TypeAdapter(annotation)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        where = {".".join(str(part) for part in detail["loc"] if part in _keys(value)) for detail in details}
        inner = where.pop() if len(where) == 1 else ""
        key = f"{key}.{inner}" if inner else key
        given = details[0]["input"] if inner else value
        wanted = dict.fromkeys(detail["msg"].removeprefix("Input ") for detail in details)
        raise UserError(f"{key}={given}: {', or '.join(wanted)}") from error


def _keys(value: Any) -> Iterable[Any]:
    return value.keys() if isinstance(value, Mapping) else ()
