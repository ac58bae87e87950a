"""How long whole commands train on MNIST, and what accuracy they reach: the seconds that an experiment costs.

Each command runs in a process of its own, from start to end, once for each seed; the commands take turns. The data
should lie in the data folder already.

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

HERE = Path(sys.executable).with_name("cnn-train")
COMMANDS = ["experiment=lenet5_paper trainer.max_epochs=10", "", "experiment=lenet5_fast"]


def timed(command: str, seed: int, folder: Path) -> tuple[float, float]:
    """Seconds of a whole command, and the test accuracy that its run reached."""
    words = command.split()
    program = words.pop(0) if words and words[0].endswith("cnn-train") else str(HERE)
    run = folder / f"{time.time_ns()}"
    start = time.perf_counter()
    command = [program, *words, f"seed={seed}", f"hydra.run.dir={run}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start, json.loads((run / "metrics.json").read_text())["test/accuracy"]


def main() -> None:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    commands = sys.argv[2:] or COMMANDS
    found: dict[str, list[tuple[float, float]]] = {command: [] for command in commands}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(1, seeds + 1):
            for command in commands:
                found[command].append(timed(command, seed, Path(folder)))
                seconds, accuracy = found[command][-1]
                print(f"seed {seed}: {seconds:6.1f} s, {accuracy:.4f}: cnn-train {command}", flush=True)
    first = statistics.median(seconds for seconds, _ in found[commands[0]])
    for command, outcomes in found.items():
        seconds = statistics.median(seconds for seconds, _ in outcomes)
        accuracies = [accuracy for _, accuracy in outcomes]
        print(
            f"{seconds:6.1f} s ({seconds / first:.2f} of the first), test accuracy {statistics.mean(accuracies):.4f} "
            f"({min(accuracies):.4f} to {max(accuracies):.4f}): cnn-train {command}"
        )


if __name__ == "__main__":
    main()
