"""Memory of a training with 400 photographs and with 25,000, which should be the same.

The photographs are made up, in a temporary folder, at 160×140 pixels. Both trainings begin with an empty cache, and
their validation and test sets are as large, so that batches are: what differs is how many photographs there are. What
counts is anonymous memory, which leaves out files that are mapped into memory, such as the cache. Memory that several
processes share is counted once (`Pss_Anon` in /proc/PID/smaps_rollup; Linux alone).

Usage: python benchmarks/memory.py [words of cnn-train …]

The page docs/wishes.md shows more numbers of photographs, and beside them what loading all of them first takes
(`scripts/wishes.py`).
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import psutil

NUMBERS, WANTED = (400, 25_000), 200  # photographs; MiB more with many than with few
# One epoch of the largest images that the preset grows to.
WORDS = ("experiment=alexnet_laptop", "trainer.training_image_sizes=null", "trainer.max_epochs=1")
ALIKE = ("datamodule.validation_size=100", "datamodule.test_size=100")


def make_photographs(folder: Path, number: int) -> None:
    """Cats and dogs of coloured patches, no two alike."""
    generator = np.random.default_rng(0)
    folder.mkdir()
    for place in range(number):
        patches = generator.integers(0, 256, (14, 16, 3), dtype=np.uint8)
        picture = cv2.resize(patches, (160, 140), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{('cat', 'dog')[place % 2]}.{place // 2}.jpg"), picture)


def anonymous_memory(processes: Sequence[psutil.Process]) -> float:
    """Anonymous memory of some processes in MiB; of what several processes share, the part of each."""
    total = 0
    for process in processes:
        try:
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        except OSError:  # it has just ended
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:"))
    return total / 1024


def peak_of(command: Sequence[str], data: Path) -> float:
    """The most anonymous memory of a command and all its workers together, in MiB.

    Args:
        command: the command.
        data: its data directory.
    """
    environment = {**os.environ, "CNN_EXPERIMENTS_DATA": str(data)}
    peak = 0.0
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as started:
        process = psutil.Process(started.pid)
        while started.poll() is None:
            try:
                peak = max(peak, anonymous_memory([process, *process.children(recursive=True)]))
            except psutil.NoSuchProcess:
                break
            time.sleep(0.2)
    if started.returncode:
        raise SystemExit(started.returncode)
    return peak


def peak_of_training(photographs: Path, place: Path, words: Sequence[str]) -> float:
    """The peak of cnn-train on a folder of photographs, with an empty cache.

    Args:
        photographs: the folder.
        place: an empty folder for the cache and the run.
        words: further words of cnn-train.
    """
    given = [*WORDS, *ALIKE, f"datamodule.source={photographs}", *words, f"hydra.run.dir={place / 'run'}"]
    return peak_of([sys.executable, "-m", "cnn_experiments.train", *given], place / "data")


def main(words: Sequence[str], numbers: Sequence[int] = NUMBERS) -> dict[int, float]:
    """Train with each number of photographs, and print the peaks; returns them, in MiB."""
    peaks = {}
    with tempfile.TemporaryDirectory() as place:
        for number in numbers:
            photographs = Path(place) / f"photographs{number}"
            make_photographs(photographs, number)
            peaks[number] = peak_of_training(photographs, Path(place) / f"{number}", words)
            print(f"{number:,} photographs: at most {peaks[number]:.0f} MiB of anonymous memory", flush=True)
    few, many = min(peaks), max(peaks)
    print(f"{peaks[many] - peaks[few]:+.0f} MiB for {many - few:,} photographs more (target: under {WANTED})")
    return peaks


if __name__ == "__main__":
    main(sys.argv[1:])
