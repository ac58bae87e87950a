"""cnn-compare: which configuration is better, by how much, and at what cost."""

from typing import Any

from omegaconf import DictConfig

from cnn_experiments.commands.hydra_command import command, output_directory, plain
from cnn_experiments.errors import UserError
from cnn_experiments.runs.comparison import compare
from cnn_experiments.runs.tables import print_comparison, write_comparison


@command("compare")
def main(config: DictConfig) -> None:
    """Print the table; write it as Markdown, and with charts as one HTML page."""
    values = plain(config)
    comparison = compare(folders_of(values["runs"]), values["accuracy"])
    print_comparison(comparison)
    for file in write_comparison(comparison, output_directory()):
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
