"""Reading YAML and JSON that may come from anybody: plain data of bounded size and depth; anything else is refused."""

import json
from pathlib import Path
from typing import Any

import yaml

from cnn_experiments.errors import UserError
from cnn_experiments.runs.files import read_text

MOST_BYTES_OF_YAML = 2**20
MOST_BYTES_OF_JSON = 2**26  # a confusion matrix of 1,000 classes has a million numbers
DEEPEST = 50  # levels of nesting
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast


def read_yaml(file: Path) -> dict[str, Any]:
    """The mapping in a YAML file, in plain containers. Interpolations such as ``${oc.env:HOME}`` stay text.

    Raises:
        UserError: the file is missing, too large, nested too deeply or not YAML, has aliases, or does not hold a
            mapping with names as keys.
    """
    text = read_text(file, MOST_BYTES_OF_YAML)
    try:
        _check_nesting(text)
        content = yaml.load(text, Loader=LOADER)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{file}: this is no YAML that a run writes ({_one_line(error)})") from error
    return _mapping(file, content)


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        UserError: the file is missing, too large or not JSON, or does not hold an object.
    """
    try:
        return _mapping(file, json.loads(read_text(file, MOST_BYTES_OF_JSON)))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: this is no JSON that a run writes ({_one_line(error)})") from error


def _check_nesting(text: str) -> None:
    """Raise ValueError for deep nesting, and for aliases, with which a small file can expand to a huge or endless one.

    It comes before anything is built: on text that is nested 100,000 levels deep, libyaml's loader overflows the stack
    and ends the process.
    """
    depth = 0
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"the alias *{event.anchor}")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                raise ValueError(f"more than {DEEPEST} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _mapping(file: Path, content: Any) -> dict[str, Any]:
    if not isinstance(content, dict) or not _all_keys_are_names(content):
        raise UserError(f"{file}: this holds no mapping of names to values, as a run writes it")
    return content


def _all_keys_are_names(content: Any) -> bool:
    if isinstance(content, dict):
        return all(isinstance(key, str) and _all_keys_are_names(value) for key, value in content.items())
    return not isinstance(content, list) or all(map(_all_keys_are_names, content))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
