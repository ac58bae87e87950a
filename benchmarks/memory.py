"""Memory of a training with 400 photographs and with 25,000, which should be the same.

The photographs are made up, in a temporary folder, at 160×140 pixels. Both trainings begin with an empty cache, and
their validation and test sets are as large, so that batches are: what differs is how many photographs there are. What
counts is anonymous memory, which leaves out files that are mapped into memory, such as the cache. Memory that several
processes share is counted once (`Pss_Anon` in /proc/PID/smaps_rollup; Linux alone).

Usage: python benchmarks/memory.py [words of cnn-train …]
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
WORDS = ("experiment=alexnet_laptop", "trainer.max_epochs=1")
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


def peak_of(words: Sequence[str], data: Path, folder: Path) -> float:
    """The most anonymous memory of cnn-train with these words, and all its workers together, in MiB."""
    command = [sys.executable, "-m", "cnn_experiments.train", *words, f"hydra.run.dir={folder}"]
    environment = {**os.environ, "CNN_EXPERIMENTS_DATA": str(data)}
    peak = 0.0
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as training:
        process = psutil.Process(training.pid)
        while training.poll() is None:
            try:
                peak = max(peak, anonymous_memory([process, *process.children(recursive=True)]))
            except psutil.NoSuchProcess:
                break
            time.sleep(0.2)
    if training.returncode:
        raise SystemExit(training.returncode)
    return peak


def main(words: Sequence[str], numbers: Sequence[int] = NUMBERS) -> dict[int, float]:
    """Train with each number of photographs, and print the peaks; returns them, in MiB."""
    peaks = {}
    with tempfile.TemporaryDirectory() as place:
        for number in numbers:
            photographs = Path(place) / f"photographs{number}"
            make_photographs(photographs, number)
            given = [*WORDS, *ALIKE, f"datamodule.source={photographs}", *words]
            peaks[number] = peak_of(given, Path(place) / f"data{number}", Path(place) / f"run{number}")
            print(f"{number:,} photographs: at most {peaks[number]:.0f} MiB of anonymous memory", flush=True)
    few, many = min(peaks), max(peaks)
    print(f"{peaks[many] - peaks[few]:+.0f} MiB for {many - few:,} photographs more (target: under {WANTED})")
    return peaks


if __name__ == "__main__":
    main(sys.argv[1:])
