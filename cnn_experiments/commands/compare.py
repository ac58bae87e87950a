"""cnn-compare: which configuration is better, by how much, and at what cost."""

import gc
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig

from cnn_experiments.commands.hydra_command import command, output_directory, plain
from cnn_experiments.errors import UserError
from cnn_experiments.runs.comparison import compare
from cnn_experiments.runs.tables import FORMATS, print_comparison, write_comparison

# Options of Hydra's whose value is a word of its own.
OPTIONS_WITH_VALUES = {"--cfg", "-c", "--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp"}
OPTIONS_WITH_VALUES |= {"--info", "-i", "--package", "-p"}


def with_plain_words(words: list[str]) -> list[str]:
    """The arguments with folders that were given as plain words in ``runs=``, and a baseline quoted for Hydra.

    Raises:
        UserError: folders were given both as words and as ``runs=``.
    """
    folders: list[str] = []
    others: list[str] = []
    takes_value = False
    for word in words:
        is_folder = not takes_value and word[:1] not in ("", "-", "~", "+") and "=" not in word
        takes_value = word in OPTIONS_WITH_VALUES
        (folders if is_folder else others).append(_readable(word))
    if not folders:
        return others
    if any(word.startswith("runs=") for word in others):
        raise UserError(f"{folders[0]}: give the folders either as words or as runs=, not both")
    return [*others, f"runs=[{','.join(map(_quoted, folders))}]"]


def _readable(word: str) -> str:
    """A word as Hydra reads it: a label may hold what means something to Hydra, and commas stand in a list."""
    key, _, value = word.partition("=")
    if key == "baseline" and value[:1] not in ("", "'", '"'):
        return f"{key}={_quoted(value)}"
    return f"{key}=[{value}]" if key == "format" and "," in value and value[0] != "[" else word


def _quoted(text: str) -> str:
    return str(QuotedString(text, Quote.single).with_quotes())


@command("compare", with_plain_words)
def main(config: DictConfig) -> None:
    """Print the table; write it as Markdown, and with charts as one HTML page."""
    values = plain(config)
    formats = values["format"] if isinstance(values["format"], list) else [values["format"]]
    if not set(map(str, formats)) <= set(FORMATS):
        raise UserError(f"format={values['format']}: give one of {', '.join(FORMATS)}, or a list such as md,csv")
    gc.disable()  # hundreds of runs are a million objects, which are needed to the end
    comparison = compare(folders_of(values["runs"]), values["accuracy"], values["baseline"])
    print_comparison(comparison)
    for file in write_comparison(comparison, output_directory(), formats):
        print(f"written: {file}")


def folders_of(runs: Any) -> list[str]:
    """The folders and patterns that the key ``runs`` names; a folder's name may look like a number.

    Raises:
        UserError: it names none.
    """
    names = runs if isinstance(runs, list) else [runs]
    if not names or not all(isinstance(name, (str, int, float)) for name in names):
        raise UserError(f"runs={runs}: give a folder that holds runs, a pattern such as 'outputs/lenet5*', or a list")
    return [str(name) for name in names]


if __name__ == "__main__":
    main()
