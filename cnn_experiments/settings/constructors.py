"""From a config group to an object: a constructor's signature says which keys the group may hold, and which values.

Every value is checked against the annotation of the parameter of the same name. A range is therefore written once, at
its parameter, and a wrong value is refused, with its key, before anything is built.
"""

import dataclasses
import dis
import inspect
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, TypeVar

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from cnn_experiments.errors import UserError
from cnn_experiments.settings.suggestions import suggest

Built = TypeVar("Built")


@dataclass(frozen=True)
class Constructor(Generic[Built]):
    """A class (or function), and checked arguments to call it with.

    Args:
        target: the class.
        arguments: its arguments, each of the type that the parameter's annotation asks for.
        path: the config group that they come from, for messages, e.g. ``model``.
    """

    target: Callable[..., Built]
    arguments: Mapping[str, Any]
    path: str

    def __call__(self, **more: Any) -> Built:
        """Build the object.

        Args:
            more: arguments that a config cannot hold, such as the parameters that an optimizer updates.

        Raises:
            UserError: the constructor refused a value. Any other error inside it is raised unchanged.
        """
        try:
            return self.target(**self.arguments, **more)
        except ValueError as error:
            if not is_refusal(error, self.target):
                raise
            raise UserError(f"{self.path}: {error}") from error


def constructor(
    target: Callable[..., Built], settings: Mapping[str, Any], path: str, later: Collection[str] = ()
) -> Constructor[Built]:
    """Check settings against the signature of the class that they are for.

    Args:
        target: a class or function.
        settings: values by parameter name.
        path: where they are in the config, for messages.
        later: names of parameters whose arguments are given when the object is built.

    Raises:
        UserError: a key is not a parameter, a value does not fit its annotation, or a parameter without a default is
            missing.
    """
    arguments = check(target, settings, path)
    try:
        inspect.signature(target).bind(**arguments, **dict.fromkeys(later))
    except TypeError as error:
        raise UserError(f"{path}: {error}") from error
    return Constructor(target, arguments, path)


def check(target: Callable[..., Any], settings: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The settings, each converted to the type of the parameter of the same name.

    Raises:
        UserError: a key is not a parameter of the target, or its value does not fit.
    """
    annotations = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target, include_extras=True)
    parameters = inspect.signature(target).parameters.values()
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        refuse_unknown(settings, [parameter.name for parameter in parameters], path)
    return {key: convert(value, annotations.get(key, Any), f"{path}.{key}") for key, value in settings.items()}


def is_refusal(error: Exception, target: Callable[..., Any]) -> bool:
    """Whether a constructor raised an error to refuse a value: with a ``raise`` in the target's own package.

    A ValueError from elsewhere (``int("x")`` inside a constructor) is a bug, and its traceback should be shown.
    """
    innermost: TracebackType | None = error.__traceback__
    while innermost is not None and innermost.tb_next is not None:
        innermost = innermost.tb_next
    if innermost is None:
        return False
    raised_in = str(innermost.tb_frame.f_globals.get("__name__", ""))
    operation = innermost.tb_frame.f_code.co_code[innermost.tb_lasti]
    same_package = raised_in.partition(".")[0] == target.__module__.partition(".")[0]
    return same_package and operation == dis.opmap["RAISE_VARARGS"]


def refuse_unknown(keys: Iterable[str], known: Iterable[str], path: str) -> None:
    """Raise a UserError for the first key that is not among the known ones."""
    known = list(known)
    for key in keys:
        if key not in known:
            raise UserError(f"{path}.{key}: there is no such key. {suggest(key, known)}")


def convert(value: Any, annotation: Any, key: str) -> Any:
    """The value, converted to the annotation's type.

    Raises:
        UserError: it does not fit; the message names the key and says what would fit.
    """
    for part in (annotation, *typing.get_args(annotation)):
        if dataclasses.is_dataclass(part) and isinstance(value, Mapping):
            refuse_unknown(value, [field.name for field in dataclasses.fields(part)], key)
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:  # a dataclass or a pydantic model brings its own settings
        adapter = TypeAdapter(annotation)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise UserError(_explain(error, value, key)) from error


def _explain(error: ValidationError, value: Any, key: str) -> str:
    """One sentence for everything that validation found wrong with a value."""
    details = error.errors(include_url=False, include_context=False)
    inner_keys = value.keys() if isinstance(value, Mapping) else ()
    where = {".".join(str(part) for part in detail["loc"] if part in inner_keys) for detail in details}
    inner = where.pop() if len(where) == 1 else ""
    given = details[0]["input"] if inner else value
    wanted = dict.fromkeys(detail["msg"].removeprefix("Input ") for detail in details)
    return f"{key}{'.' if inner else ''}{inner}={given}: {', or '.join(wanted)}"
