"""cnn-compare: which configuration is better, by how much, and at what cost."""

from omegaconf import DictConfig

from cnn_experiments.commands.hydra_command import command, output_directory
from cnn_experiments.runs.comparison import compare
from cnn_experiments.runs.tables import print_comparison, write_comparison


@command("compare")
def main(config: DictConfig) -> None:
    """Print the table; write it as Markdown, and with charts as one HTML page."""
    comparison = compare(config.runs, config.accuracy)
    print_comparison(comparison)
    for file in write_comparison(comparison, output_directory()):
        print(f"written: {file}")


if __name__ == "__main__":
    main()
