"""Reading YAML, JSON and CSV that may come from anybody: plain data of bounded size and depth; the rest is refused."""

import csv
import io
import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from cnn_experiments.errors import UserError
from cnn_experiments.runs.files import read_text

# Beyond these sizes, reading a file would take many seconds or gigabytes of memory.
MOST_BYTES_OF_YAML = 2**18
MOST_BYTES_OF_JSON = 2**24  # a confusion matrix of 1,000 classes has a million numbers
MOST_BYTES_OF_TABLE = 2**23
MOST_ROWS = 100_000
MOST_COLUMNS = 100
DEEPEST = 50  # levels of nesting
LARGEST = 2**63  # Python cannot print an integer of many thousand digits, or make a float of it
LONGEST_KEPT = 100  # characters of a scalar that is kept in memory, since others are likely to have it too
SCALARS: Any = yaml.SafeLoader("")  # knows which texts are numbers
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast


def read_yaml(file: Path) -> dict[str, Any]:
    """The mapping in a YAML file, in plain containers. Interpolations such as ``${oc.env:HOME}`` stay text.

    Raises:
        UserError: the file is missing, too large, nested too deeply or not YAML, has aliases, or does not hold a
            mapping of names to text, numbers, lists and further mappings.
    """
    text = read_text(file, MOST_BYTES_OF_YAML)
    try:
        return _plain_mapping(_from_events(yaml.parse(text, Loader=LOADER)))
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{file}: this is no YAML that a run writes ({_one_line(error)})") from error


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        UserError: the file is missing, too large, nested too deeply or not JSON, or does not hold an object.
    """
    text = read_text(file, MOST_BYTES_OF_JSON)
    try:
        return _plain_mapping(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: this is no JSON that a run writes ({_one_line(error)})") from error


def read_figures(file: Path) -> list[dict[str, float]]:
    """The rows of a CSV file of figures, by the names in its first line. Empty cells are left out.

    Raises:
        UserError: the file is missing or too large, or is no table of figures.
    """
    lines = csv.reader(io.StringIO(read_text(file, MOST_BYTES_OF_TABLE), newline=""), strict=True)
    try:
        columns = next(lines, [])
        if len(columns) > MOST_COLUMNS or len(set(columns)) < len(columns):
            raise ValueError(f"more than {MOST_COLUMNS} columns, or two of one name")
        rows: list[dict[str, float]] = []
        for cells in filter(None, lines):
            if len(cells) > len(columns) or len(rows) == MOST_ROWS:
                raise ValueError(f"line {lines.line_num}: more cells than columns, or more than {MOST_ROWS:,} rows")
            rows.append({name: float(cell) for name, cell in zip(columns, cells, strict=False) if cell})
        return rows
    except (csv.Error, ValueError) as error:
        raise UserError(f"{file}: this is no table of figures as a run writes it ({_one_line(error)})") from error


def _from_events(events: Iterable[yaml.Event]) -> Any:
    """The content of a YAML document in plain containers, built from the events of its parser.

    PyYAML's own loaders overflow the stack and end the process on text that is nested 100,000 levels deep, so that the
    events have to be looked at in any case.

    Raises:
        ValueError: deep nesting; more than one document; tags; or aliases, with which a small file can expand to a huge
            or endless one.
    """
    top: list[Any] = []
    open_ones: list[list[Any]] = [top]  # the values of each collection that has begun; keys are among those of mappings
    for event in events:
        if isinstance(event, yaml.ScalarEvent):
            if event.tag is not None:
                raise ValueError(f"the tag {event.tag}")
            read = _scalar if len(event.value) <= LONGEST_KEPT else _scalar.__wrapped__
            open_ones[-1].append(read(event.value, event.implicit))
        elif isinstance(event, yaml.CollectionStartEvent):
            if event.tag is not None:
                raise ValueError(f"the tag {event.tag}")
            open_ones.append([])
            if len(open_ones) > DEEPEST:
                raise ValueError(f"more than {DEEPEST} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            values = open_ones.pop()
            is_mapping = isinstance(event, yaml.MappingEndEvent)
            open_ones[-1].append(dict(zip(values[::2], values[1::2], strict=True)) if is_mapping else values)
        elif isinstance(event, yaml.AliasEvent):
            raise ValueError(f"the alias *{event.anchor}")
    if len(top) > 1:
        raise ValueError("more than one document")
    return top[0] if top else None


@lru_cache(4096)  # runs of a sweep have most values in common
def _scalar(text: str, implicit: tuple[bool, bool]) -> Any:
    """The value of a scalar; `implicit` says whether it stands there plain, or quoted."""
    tag = SCALARS.resolve(yaml.ScalarNode, text, implicit)
    return SCALARS.construct_document(yaml.ScalarNode(tag, text))


def _plain_mapping(content: Any) -> dict[str, Any]:
    """The content of a file if it is a mapping; raise ValueError if it is not, or not plain."""
    if not isinstance(content, dict):
        raise ValueError("no mapping of names to values")
    _check_plain(content, 0)
    return content


def _check_plain(content: Any, depth: int) -> None:
    """Raise ValueError unless this is text, a number of ordinary size, or a list or mapping of such."""
    if depth > DEEPEST:
        raise ValueError(f"more than {DEEPEST} levels")
    if isinstance(content, dict):
        if not all(isinstance(key, str) for key in content):
            raise ValueError("a key that is no name")
        content = list(content.values())
    if isinstance(content, list):
        are_integers = set(map(type, content)) == {int}  # such as a matrix of a million counts
        for part in (min(content), max(content)) if are_integers else content:
            _check_plain(part, depth + 1)
    elif isinstance(content, int):
        if abs(content) >= LARGEST:
            raise ValueError(f"a number beyond {LARGEST:.0e}")
    elif content is not None and not isinstance(content, (str, float)):
        raise ValueError(f"a value of the type {type(content).__name__}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
