"""How long whole commands train on MNIST, and what accuracy they reach: the seconds that an experiment costs.

Each command runs in a process of its own, from start to end, once for each seed; the commands take turns. The data
should lie in the data folder already. Beside the seconds of the command are those of its training alone, which others
report: 99.04 % in one epoch of 0.8 seconds on a small GPU, for one, with another network of 215,000 parameters.

Usage: python benchmarks/mnist_time.py [seeds] [command ...]

A command is the words of cnn-train in quotes, such as "experiment=lenet5_fast". It may begin with the path of another
cnn-train, such as that of an older version.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(sys.executable).with_name("cnn-train")
COMMANDS = ["experiment=lenet5_paper trainer.max_epochs=10", "", "experiment=lenet5_fast"]


class Outcome(NamedTuple):
    """What a command took and reached.

    Args:
        seconds: of the whole command.
        training: seconds of training alone, without start, validation, pictures and test.
        accuracy: of the test.
    """

    seconds: float
    training: float
    accuracy: float


def timed(command: str, seed: int, folder: Path) -> Outcome:
    """Run a command with a seed."""
    words = command.split()
    program = words.pop(0) if words and words[0].endswith("cnn-train") else str(HERE)
    run = folder / f"{time.time_ns()}"
    start = time.perf_counter()
    words = [program, *words, f"seed={seed}", f"hydra.run.dir={run}"]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    metrics = json.loads((run / "metrics.json").read_text())
    return Outcome(seconds, metrics["train_seconds"], metrics["test/accuracy"])


def main() -> None:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    commands = sys.argv[2:] or COMMANDS
    found: dict[str, list[Outcome]] = {command: [] for command in commands}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(1, seeds + 1):
            for command in commands:
                outcome = timed(command, seed, Path(folder))
                found[command].append(outcome)
                print(
                    f"seed {seed}: {outcome.seconds:6.1f} s, training {outcome.training:6.2f} s, "
                    f"{outcome.accuracy:.4f}: cnn-train {command}",
                    flush=True,
                )
    first = statistics.median(outcome.seconds for outcome in found[commands[0]])
    for command, outcomes in found.items():
        seconds = statistics.median(outcome.seconds for outcome in outcomes)
        training = statistics.median(outcome.training for outcome in outcomes)
        accuracies = [outcome.accuracy for outcome in outcomes]
        print(
            f"{seconds:6.1f} s ({seconds / first:.2f} of the first), training {training:6.2f} s, test accuracy "
            f"{statistics.mean(accuracies):.4f} ({min(accuracies):.4f} to {max(accuracies):.4f}): cnn-train {command}"
        )


if __name__ == "__main__":
    main()
