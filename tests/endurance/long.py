"""Watch the memory, open files and threads of a run of many epochs, and of many runs in one process.

python -m tests.endurance.long --epochs 2000 --jobs 10
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.endurance.commands import Command, import_everything, made_data

TINY = (
    "datamodule.validation_size=10",
    "datamodule.limit=20",
    "datamodule.batch_size=20",
    "trainer.gpus=0",
)
MOST_GROWTH = 16  # MiB


class Sample(NamedTuple):
    """The state of a process.

    Args:
        progress: epochs or jobs that are done.
        memory: anonymous, that is, without files that are mapped into memory, in MiB.
        files: open ones.
        threads: running ones.
    """

    progress: int
    memory: float
    files: int
    threads: int


def watch(command: Command, progress: Callable[[], int]) -> list[Sample]:
    """The states of a process until it ends: for each step of its progress, the least that it came down to."""
    samples: list[Sample] = []
    process = psutil.Process(command.pid)
    while command.poll() is None:
        done = progress()
        try:
            memory = anonymous_memory(command.pid)
            sample = Sample(done, memory, process.num_fds(), process.num_threads())
        except (psutil.NoSuchProcess, psutil.ZombieProcess, OSError, StopIteration):
            break
        if samples and samples[-1].progress == done:
            samples[-1] = Sample(*map(min, samples[-1], sample))
        else:
            samples.append(sample)
        time.sleep(0.2)
    for one in samples:
        print(f"  {one.progress}: {one.memory:.0f} MiB, {one.files} files, {one.threads} threads", flush=True)
    return samples


def anonymous_memory(pid: int) -> float:
    """Anonymous memory of a process in MiB; it includes what a forked process shares with the one it came from."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def growth(samples: list[Sample]) -> tuple[float, int, int]:
    """From the first quarter of some samples to their last: memory in MiB (medians), files and threads (most)."""
    quarter = max(1, len(samples) // 4)
    first, last = samples[:quarter], samples[-quarter:]
    memory = statistics.median(one.memory for one in last) - statistics.median(one.memory for one in first)
    files = max(one.files for one in last) - max(one.files for one in first)
    return memory, files, max(one.threads for one in last) - max(one.threads for one in first)


def lines_of(file: Path) -> int:
    return len(file.read_text().splitlines()) if file.exists() else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=2000, metavar="N", help="of the long run (default 2000)")
    parser.add_argument("--jobs", type=int, default=10, metavar="N", help="of the sweep (default 10)")
    arguments = parser.parse_args()
    import_everything()
    with made_data() as folder:
        growths = []
        if arguments.epochs:
            words = [*TINY, f"trainer.max_epochs={arguments.epochs}", "hydra.run.dir=run"]
            command = Command(folder, words, folder / "run.log")
            every = max(1, arguments.epochs // 40)
            samples = watch(command, lambda: (lines_of(folder / "run" / "history.csv") - 1) // every * every)
            growths.append(("epochs", command.wait(), growth([one for one in samples if one.progress >= 10])))
        if arguments.jobs:
            seeds = ",".join(map(str, range(arguments.jobs)))
            words = ["-m", *TINY, "trainer.max_epochs=3", "logging=full", f"seed={seeds}", "hydra.sweep.dir=sweep"]
            command = Command(folder, words, folder / "sweep.log")
            samples = watch(command, lambda: len(list((folder / "sweep").rglob("test_predictions.npz"))))
            growths.append(("jobs", command.wait(), growth([one for one in samples if one.progress >= 2])))
        for what, status, (memory, files, threads) in growths:
            print(f"{what}: status {status}, {memory:+.1f} MiB, {files:+d} files, {threads:+d} threads")
    sys.exit(
        any(
            status or memory > MOST_GROWTH or files > 0 or threads > 0
            for _, status, (memory, files, threads) in growths
        )
    )


if __name__ == "__main__":
    main()
