"""How a sweep closes: with the comparison of its runs, and an exit status that says whether all went well."""

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class SweepComparison(Callback):
    """Compares the runs of a sweep when all are done; ends the process with status 1 where one did not complete."""

    def on_multirun_end(self, config: DictConfig, **settings: Any) -> None:
        from cnn_experiments.comparison import compare_runs, print_comparison, write_comparison

        directory = Path(config.hydra.sweep.dir)
        comparison = compare_runs(directory, accuracy=0.9)
        print_comparison(comparison)
        for file in write_comparison(comparison, directory):
            print(f"written: {file}")
        if comparison.others:
            sys.exit(1)
