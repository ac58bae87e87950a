"""A sweep: how it is gone on with after an interruption, and how it closes, with the comparison of its runs."""

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from cnn_experiments.errors import UserError
from cnn_experiments.runs import MACHINE_KEYS

RECORD = "sweep.yaml"  # in a sweep's folder: what was typed
MACHINE_GROUPS = ("launcher", "hydra.launcher")  # what may differ beside MACHINE_KEYS


class Sweep(Callback):
    """Records how a sweep was begun; compares its runs when all are done.

    The process ends with status 1 where a run did not complete.
    """

    def on_multirun_start(self, config: DictConfig, **settings: Any) -> None:
        record = Path(config.hydra.sweep.dir) / RECORD
        if not record.exists():
            record.parent.mkdir(parents=True, exist_ok=True)
            begun: dict[str, Any] = {group: list(config.hydra.overrides[group]) for group in ("task", "hydra")}
            if "n_trials" in config.hydra.sweeper:
                begun["search"] = {"trials": config.hydra.sweeper.n_trials, "seed": config.hydra.sweeper.sampler.seed}
            record.write_text(yaml.safe_dump(begun))

    def on_multirun_end(self, config: DictConfig, **settings: Any) -> None:
        from cnn_experiments.comparison import compare_runs, print_comparison, write_comparison

        directory = Path(config.hydra.sweep.dir)
        comparison = compare_runs(directory, accuracy=0.9)
        print_comparison(comparison)
        for file in write_comparison(comparison, directory):
            print(f"written: {file}")
        if comparison.others:
            sys.exit(1)


def arguments_of_resumed_sweep(arguments: list[str]) -> list[str]:
    """What begins the sweep again that ``resume=FOLDER`` names, in its folder; other arguments as they are.

    Its jobs find their own folders again: those that are complete are left as they are, the others go on. A search
    makes as many new trials as it lacks, with all it has learned from those that are complete.

    Raises:
        UserError: something else is given that would make it another sweep.
    """
    folder = next((word.removeprefix("resume=") for word in arguments if word.startswith("resume=")), "")
    record = Path(folder) / RECORD
    if not folder or not record.exists():
        return arguments
    typed = [word for word in arguments if word != f"resume={folder}"]
    for word in typed:
        key = word.split("=")[0].lstrip("+~")
        if not key.startswith("-") and key not in MACHINE_KEYS and not key.startswith(MACHINE_GROUPS):
            raise UserError(
                f"{key}: a resumed sweep keeps the settings it began with, in {record}; only these can differ: "
                f"{', '.join((*MACHINE_KEYS, *MACHINE_GROUPS))}. Leave {key} out, or start a new sweep"
            )
    begun = yaml.safe_load(record.read_text())
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    more = [f"hydra.sweep.dir='{quoted}'"]
    if search := begun.get("search"):
        statuses = [json.loads(file.read_text())["status"] for file in Path(folder).rglob("metrics.json")]
        completed = statuses.count("completed")
        more.append(f"hydra.sweeper.n_trials={max(0, search['trials'] - completed)}")
        more.append(f"hydra.sweeper.sampler.seed={search['seed'] + completed}")  # or it would draw the same again
    return ["--multirun", *begun["hydra"], *begun["task"], *typed, *more]


def name_of_sweep_job(number: int, folder: str, overrides: Iterable[str]) -> str:
    """A folder name for a job of a sweep: its number and what was swept, without characters that trouble anyone.

    Args:
        number: of the job.
        folder: the sweep's.
        overrides: all that are set for this job; those that were typed as they are have not been swept.
    """
    typed = yaml.safe_load((Path(folder) / RECORD).read_text())["task"]
    swept = [word for word in overrides if word not in typed and word.split("=")[0] not in MACHINE_KEYS]
    return re.sub(r"[^\w.,+-]+", "-", "_".join([str(number), *swept]))[:120].rstrip("-_,")


OmegaConf.register_new_resolver("name_of_sweep_job", name_of_sweep_job)
