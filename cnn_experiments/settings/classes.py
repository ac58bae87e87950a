"""The list of classes that a config may name.

A ``_target_`` is looked up here and never imported by the name that a config holds: a checkpoint, a run directory or an
archive is data, and data must not decide which code runs. The list holds

- the classes that the files of this installation's own ``conf/`` name, each for its place in the config;
- the optimizers of ``torch.optim``;
- the classes defined in modules that the user trusts by name (``trust=my_networks``).
"""

import importlib
import inspect
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from cnn_experiments.errors import UserError
from cnn_experiments.settings.suggestions import suggest

PACKAGE = Path(__file__).parent.parent
# Beside the package in a checkout, inside it in an installed wheel.
CONFIG_DIRECTORY = next(path for path in (PACKAGE / "conf", PACKAGE.parent / "conf") if path.is_dir())
PLACES = ("model", "model.optimizer", "datamodule", "logging")  # where a config names a class


class KnownClasses:
    """Looks up which class a ``_target_`` means.

    Args:
        config_folders: folders of this installation's own configs.
        trusted: names of further modules whose classes may be named.

    Raises:
        UserError: a trusted module cannot be found.
    """

    def __init__(self, config_folders: Iterable[Path], trusted: Iterable[str] = ()) -> None:
        self.names: dict[str, set[str]] = defaultdict(set)
        for folder in config_folders:
            for place, name in targets_in(folder):
                self.names[place].add(name)
        self.trusted: dict[str, Callable[..., Any]] = {}
        for module_name in trusted:
            self.trusted |= _classes_of(_import_trusted(module_name))

    def find(self, target: Any, place: str) -> Callable[..., Any]:
        """The class that a ``_target_`` means.

        Args:
            target: the value of ``_target_``.
            place: where in the config it stands, one of `PLACES`.

        Raises:
            UserError: it is not in the list; the message says how to allow a class of one's own.
        """
        if isinstance(target, str):
            if target in self.names[place]:
                return _imported(target, f"{place}._target_={target}")
            if target in self.trusted:
                return self.trusted[target]
            if place == "model.optimizer" and (found := _optimizers().get(target)):
                return found
        module = str(target).rpartition(".")[0] or "my_module"
        raise UserError(
            f"{place}._target_={target}: not among the classes that may be named here "
            f"({', '.join(sorted(self.names[place]))}). {suggest(str(target), self.names[place], only_alike=True)}"
            f"If it is a class of your own, name it in a file of conf/, or add trust={module}"
        )


def targets_in(folder: Path) -> Iterator[tuple[str, str]]:
    """Place and name of each class that a file in a config folder names at one of the `PLACES`."""
    for file in folder.rglob("*.yaml"):
        text = file.read_text(encoding="utf-8")
        if "_target_" not in text:
            continue
        group = "" if "@package _global_" in text else ".".join(file.relative_to(folder).parent.parts)
        yield from _targets(yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)), group)


def _targets(config: Any, place: str) -> Iterator[tuple[str, str]]:
    if not isinstance(config, Mapping):
        return
    if place in PLACES and isinstance(config.get("_target_"), str):
        yield place, config["_target_"]
    for key, value in config.items():
        yield from _targets(value, f"{place}.{key}" if place else str(key))


def _optimizers() -> dict[str, Callable[..., Any]]:
    optim = importlib.import_module("torch.optim")  # not at the top: nothing else here needs torch
    return {
        f"torch.optim.{name}": found
        for name, found in vars(optim).items()
        if inspect.isclass(found) and issubclass(found, optim.Optimizer)
    }


def _classes_of(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """The classes that a module or its submodules define, under both names that a config may use for each."""
    own = (module.__name__, f"{module.__name__}.")
    found: dict[str, Callable[..., Any]] = {}
    for name, value in vars(module).items():
        if inspect.isclass(value) and (value.__module__ == own[0] or value.__module__.startswith(own[1])):
            found |= {f"{module.__name__}.{name}": value, f"{value.__module__}.{value.__qualname__}": value}
    return found


def _import_trusted(name: str) -> ModuleType:
    try:
        return _import(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0] and error.name != name:
            raise  # an import inside the module fails: its author wants to see where
        raise UserError(
            f"trust={name}: there is no module of this name here or among the installed packages. Give the name that "
            "Python imports it by (my_networks for my_networks.py in this folder)"
        ) from error


def _import(name: str) -> ModuleType:
    """Import a module, also from the current folder, where a console script does not look by itself."""
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.append(here)  # last, so that nothing there takes the place of an installed package
    try:
        return importlib.import_module(name)
    finally:
        if added:
            sys.path.remove(here)


def _imported(target: str, setting: str) -> Callable[..., Any]:
    """A class that this installation's conf/ names."""
    module_name, _, name = target.rpartition(".")
    try:
        module = _import(module_name)
    except ModuleNotFoundError as error:
        if not error.name or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # an import inside the module fails: its author wants to see where
        raise UserError(f"{setting}: conf/ names it, but there is no module {error.name}") from error
    found = getattr(module, name, None)
    if not callable(found):
        raise UserError(f"{setting}: {module.__file__} defines no class of this name. {suggest(name, vars(module))}")
    return found  # type: ignore[no-any-return]
