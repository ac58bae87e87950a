"""How a sweep closes: a line for each of its runs, and an exit status that says whether all went well."""

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from cnn_experiments.runs import Run


class SweepTable(Callback):
    """Prints the runs of a sweep when all are done; ends the process with status 1 where one did not complete."""

    def on_multirun_end(self, config: DictConfig, **settings: Any) -> None:
        from rich.console import Console
        from rich.table import Table

        directory = Path(config.hydra.sweep.dir)
        runs = [Run(file.parent) for file in sorted(directory.glob("**/metrics.json"), key=job_number)]
        table = Table(title=str(directory))
        for heading in ("run", "status", "validation accuracy", "test accuracy", "training seconds"):
            table.add_column(heading, justify="left" if heading in ("run", "status") else "right", overflow="fold")
        for run in runs:
            metrics = run.metrics()
            table.add_row(
                run.directory.name,
                metrics["status"] + (f": {metrics['error']}" if "error" in metrics else ""),
                shown(metrics.get("val/accuracy"), ".4f"),
                shown(metrics.get("test/accuracy"), ".4f"),
                shown(metrics.get("train_seconds"), ".1f"),
            )
        Console().print(table)
        if any(run.metrics()["status"] != "completed" for run in runs):
            sys.exit(1)


def shown(figure: float | None, form: str) -> str:
    """A figure in a format, or nothing where there is none."""
    return "" if figure is None else format(figure, form)


def job_number(metrics_file: Path) -> int:
    """The number that a job's folder begins with."""
    return int(metrics_file.parent.name.partition("_")[0])
