"""Start many short runs at once, in one folder and with nothing prepared, and see that each is as if it were alone.

python -m tests.endurance.many --runs 50
"""

import argparse
import json
import sys
from pathlib import Path

from tests.endurance.commands import Command, import_everything, made_data
from tests.endurance.results import differences

DIGITS = ("datamodule.validation_size=50", "datamodule.batch_size=16", "trainer.max_epochs=2", "trainer.gpus=0")
PHOTOGRAPHS = (
    "model=alexnet",
    "model.input_size=64",
    "model.maps=[8,8,8,8,8]",
    "model.dense=[16,16]",
    "datamodule.batch_size=8",
    "datamodule.num_workers=1",
    "trainer.max_epochs=2",
    "trainer.gpus=0",
)
SEEDS = 5
LONGEST = 3600  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50, metavar="N", help="how many (default 50)")
    number = parser.parse_args().runs
    import_everything()
    with made_data() as folder:
        commands = [
            Command(folder, [*(PHOTOGRAPHS if run % 2 else DIGITS), f"seed={run // 2 % SEEDS}"], folder / f"{run}.log")
            for run in range(number)
        ]
        wrong = [
            f"run {run}: status {command.wait(LONGEST)}"
            for run, command in enumerate(commands)
            if command.wait(LONGEST)
        ]
        wrong += what_is_wrong(folder, number)
        print(f"{number} runs at once: {'; '.join(wrong) or 'each as if it were alone'}")
    sys.exit(bool(wrong))


def what_is_wrong(folder: Path, number: int) -> list[str]:
    """What is wrong with the runs and with the cache that they prepared together."""
    runs = sorted(file.parent for file in folder.glob("outputs/*/*/metrics.json"))
    wrong = [] if len(runs) == number else [f"{len(runs)} run directories"]
    first_of: dict[tuple[str, int], Path] = {}
    for run in runs:
        metrics = json.loads((run / "metrics.json").read_text())
        if metrics["status"] != "completed":
            wrong.append(f"{run.name}: {metrics['status']}")
            continue
        alike = first_of.setdefault((metrics["model"], metrics["seed"]), run)
        wrong += [f"{run.name} and {alike.name}, of the same seed: {what}" for what in differences(alike, run)]
    caches = [place.name for place in (folder / "data" / "cache").iterdir() if not place.name.endswith(".lock")]
    return wrong if len(caches) == 1 else [*wrong, f"caches: {caches}"]


if __name__ == "__main__":
    main()
