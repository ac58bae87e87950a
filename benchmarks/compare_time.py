"""How long cnn-compare takes over 500 runs: 50 configurations of LeNet-5 with 10 seeds each, 60 epochs long.

Each was tested on 10,000 images, of which some are hard for all and some come out differently with each seed, so that
the verdicts are included.

The runs are made up, in a temporary folder, with all files that a comparison reads. The whole command is timed, in a
process of its own, from start to end.

Usage: python benchmarks/compare_time.py [repetitions]
"""

import csv
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn_experiments.commands.from_python import composed
from cnn_experiments.runs.directory import RunDirectory
from cnn_experiments.runs.disagreements import kept_mistakes

SEEDS, EPOCHS, IMAGES, WANTED = 10, 60, 10_000, 5.0
RATES, DROPOUTS = [0.0005 * step for step in range(1, 11)], [0.0, 0.1, 0.2, 0.3, 0.4]
COLUMNS = ("epoch", "step", "seconds", "train/loss", "train/accuracy", "val/loss", "val/accuracy")


def write_run(directory: Path, config: dict[str, Any], hardness: NDArray[np.float64], rng: np.random.Generator) -> None:
    """A completed run whose accuracy rises with each epoch, as cnn-train would have left it."""
    run = RunDirectory(directory)
    labels = np.arange(IMAGES) % 10
    is_right = hardness + 0.6 * rng.normal(size=IMAGES) < 2.3 + 0.1 * rng.random()
    best = float(is_right.mean())
    right = [[980 if row == column else 2 for column in range(10)] for row in range(10)]
    metrics = {
        "status": "completed",
        "model": "lenet5",
        "datamodule": "mnist",
        "seed": config["seed"],
        "parameters": 60_000,
        "multiply_adds": 328_000,
        "train_seconds": 6.5 * EPOCHS,
        "images_per_second": 8_500.0,
        "confusion": {"classes": [str(digit) for digit in range(10)], "test": right},
        "val/accuracy": best,
        "test/accuracy": best,
    }
    run.start(config)
    run.record(**metrics)
    run.write_predictions(labels, np.where(is_right, labels, (labels + 1) % 10), rng.random(IMAGES, np.float32))
    kept = kept_mistakes(is_right)
    run.write_mistakes(kept, rng.integers(0, 256, (len(kept), 28, 28, 1), np.uint8))
    with run.history_file.open("w", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(COLUMNS)
        for epoch in range(1, EPOCHS + 1):
            error = 1 - best + 0.3 / epoch**2
            writer.writerow([epoch, 860 * epoch, 6.5 * epoch, error * 20, 1 - error / 2, error * 25, 1 - error])


def main(repetitions: int) -> None:
    config, _ = composed([f"trainer.max_epochs={EPOCHS}"])
    del config["resume"], config["trust"]
    rng = np.random.default_rng(0)
    hardness = 0.8 * rng.normal(size=IMAGES)
    with tempfile.TemporaryDirectory() as scratch:
        runs = Path(scratch) / "runs"
        for number, (rate, dropout, seed) in enumerate(product(RATES, DROPOUTS, range(SEEDS))):
            config["seed"] = config["datamodule"]["seed"] = seed
            config["model"]["optimizer"]["lr"], config["model"]["dropout"] = rate, dropout
            write_run(runs / str(number), config, hardness, rng)
        command = [
            sys.executable,
            "-m",
            "cnn_experiments.commands.compare",
            f"runs={runs}",
            f"hydra.run.dir={scratch}/out",
        ]
        times = []
        for _ in range(repetitions):
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times.append(time.perf_counter() - began)
        size = (Path(scratch) / "out" / "comparison.html").stat().st_size
    print(f"{len(RATES) * len(DROPOUTS) * SEEDS} runs, seconds: {', '.join(f'{seconds:.2f}' for seconds in times)}")
    print(f"median {statistics.median(times):.2f} s (wanted: under {WANTED:.0f} s); the page has {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
