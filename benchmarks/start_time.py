"""How long each command takes before it does anything, as a ratio of `import torch`; cnn-train of Lightning's import.

Every figure is a whole process, from its start to a moment that the process itself reports, all in turn in one run:

    python benchmarks/start_time.py [ROUNDS]

It trains for one step of LeNet-5 on MNIST (fetched into data/ where it is missing) to have a run to test and predict
with, in a temporary folder.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PYTHON = sys.executable
WORK = Path(__file__).parent / "start_time_probe.py"


def seconds(arguments: list[str], folder: str, until: str | None = None) -> float:
    """Wall time of a process: to its end, or to the first line that contains `until`."""
    began = time.perf_counter()
    process = subprocess.Popen(
        arguments, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
    )
    assert process.stdout is not None
    lines: list[str] = []
    at: float | None = None
    for line in process.stdout:
        lines.append(line)
        if until is not None and until in line:
            at = time.perf_counter() - began
            break
    if at is not None:  # what comes after that is of no interest
        process.kill()
        process.wait()
        return at
    if process.wait() != 0 or until is not None:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{''.join(lines)}")
    return time.perf_counter() - began


def environment() -> dict[str, str]:
    """The environment of the processes that are timed: data are looked for where this process would."""
    data = os.environ.get("CNN_EXPERIMENTS_DATA", "data")
    completion = {"COMP_LINE": "cnn-train model=", "COMP_POINT": "16"}
    return {**os.environ, **completion, "CNN_EXPERIMENTS_DATA": str(Path(data).resolve())}


def probe(verb: str, *words: str) -> list[str]:
    """A command that says ``first work`` when its network is about to compute for the first time."""
    return [PYTHON, str(WORK), verb, *words]


def main(rounds: int) -> None:
    """Print each figure beside what it is to be at the most."""
    with tempfile.TemporaryDirectory() as folder:
        train = ["hydra.run.dir=run", "trainer.max_epochs=1", "trainer.gpus=0", "datamodule.limit=1000"]
        seconds([PYTHON, "-m", "cnn_experiments.train", *train, "trainer.limit_train_batches=1"], folder)
        image = Path(folder) / "digit.png"
        seconds([PYTHON, "-c", f"from PIL import Image; Image.new('L', (28, 28)).save({str(image)!r})"], folder)
        run = "run=run"
        torch, lightning = [PYTHON, "-c", "import torch"], [PYTHON, "-c", "import pytorch_lightning"]
        again = ["trainer.max_epochs=1", "trainer.gpus=0", "datamodule.limit=1000", "trainer.limit_train_batches=1"]
        # what, command, until which line, against which import, at most
        measured = [
            ("import cnn_experiments", [PYTHON, "-c", "import cnn_experiments"], None, torch, 0.1),
            ("cnn-train --help", [PYTHON, "-m", "cnn_experiments.train", "--help"], None, torch, 0.35),
            ("cnn-train --cfg job", [PYTHON, "-m", "cnn_experiments.train", "--cfg", "job"], None, torch, 0.35),
            ("tab completion", [PYTHON, "-m", "cnn_experiments.train", "-sc", "query=bash"], None, torch, 0.35),
            ("cnn-summary", probe("summary"), "first work", torch, 1.4),
            ("cnn-test", probe("test", run), "first work", torch, 1.4),
            ("cnn-predict", probe("predict", run, f"images={image}"), "first work", torch, 1.4),
            ("cnn-export", probe("export", run), "first work", torch, 1.4),
            ("cnn-train", probe("train", *again), "first work", lightning, 1.25),
            ("cnn-train's first line", probe("train", *again), "loading", None, 1.0),
        ]
        times: dict[str, list[float]] = {name: [] for name, *_ in measured}
        imports: dict[str, list[float]] = {"torch": [], "pytorch_lightning": []}
        for _ in range(rounds):
            imports["torch"].append(seconds(torch, folder))
            imports["pytorch_lightning"].append(seconds(lightning, folder))
            for name, command, until, _, _ in measured:
                times[name].append(seconds(command, folder, until))
            print(".", end="", file=sys.stderr, flush=True)
        for name, values in imports.items():
            print(f"import {name}: {statistics.median(values):.2f} s (median of {rounds})")
        for name, _, _, against, most in measured:
            own = statistics.median(times[name])
            if against is None:
                print(f"{name}: {own:.2f} s (wanted: at most {most})")
                continue
            base = statistics.median(imports["torch" if against is torch else "pytorch_lightning"])
            print(f"{name}: {own:.2f} s, {own / base:.2f} of the import (wanted: at most {most})")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
