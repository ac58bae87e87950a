"""The beginning and end of a sweep: Hydra's callback around its jobs."""

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from cnn_experiments.runs.sweep import RECORD, write_record


class Sweep(Callback):
    """Records how a sweep was started, and compares its runs when all are done.

    The process exits with status 1 if a run did not complete.
    """

    def on_multirun_start(self, config: DictConfig, **settings: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        if not (folder / RECORD).exists():
            search = None
            if "n_trials" in config.hydra.sweeper:
                search = {"trials": config.hydra.sweeper.n_trials, "seed": config.hydra.sweeper.sampler.seed}
            overrides = config.hydra.overrides
            write_record(folder, list(overrides.task), list(overrides.hydra), search)

    def on_multirun_end(self, config: DictConfig, **settings: Any) -> None:
        from cnn_experiments.runs.comparison import compare
        from cnn_experiments.runs.tables import print_comparison, write_comparison

        folder = Path(config.hydra.sweep.dir)
        comparison = compare(folder)
        print_comparison(comparison)
        for file in write_comparison(comparison, folder):
            print(f"written: {file}")
        if comparison.others:
            sys.exit(1)
