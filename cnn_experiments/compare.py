"""cnn-compare: which configuration is better, by how much, at what cost."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from cnn_experiments.command import command
from cnn_experiments.comparison import compare_runs, print_comparison, write_comparison
from cnn_experiments.errors import UserError


@command("compare")
def main(config: DictConfig) -> None:
    """Print the table; write it as Markdown, and with pictures as one HTML page."""
    folder = Path(config.runs)
    if not folder.is_dir():
        raise UserError(f"runs={config.runs}: there is no such folder. Give one that holds runs, such as outputs")
    if not isinstance(config.accuracy, float) or not 0 < config.accuracy <= 1:
        raise UserError(f"accuracy={config.accuracy}: give a share of right answers above 0, up to 1.0")
    comparison = compare_runs(folder, config.accuracy)
    if not comparison.configurations and not comparison.others:
        raise UserError(f"runs={config.runs}: there are no runs in this folder. cnn-train makes some")
    print_comparison(comparison)
    for file in write_comparison(comparison, Path(HydraConfig.get().runtime.output_dir)):
        print(f"written: {file}")


if __name__ == "__main__":
    main()
