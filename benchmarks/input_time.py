"""How fast photographs reach the network: the first pass beside plain decoding, later epochs beside the training step.

The first pass reads, judges and resizes every file, and writes the cache and its index. Beside it, OpenCV reads and
decodes the same files and does nothing else, in as many threads as there are cores. Both take turns; the files lie in
memory, since both read them before.

Then an epoch comes from the cache with the augmentation of ``experiment=alexnet_laptop``, as fast as as many workers as
there are cores load it, with nothing to train: how many times as many images per second as our training steps of
AlexNet and GoogLeNet take of the same size, with all cores.

Usage: python -m benchmarks.input_time [--source FOLDER | --photographs 1000] [--side 112] [--batch 64] [--rounds 5]
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.memory import make_photographs
from benchmarks.network_time import NETWORKS, our_step, seconds_of
from cnn_experiments.commands.from_python import read_words
from cnn_experiments.datamodules.dogs_vs_cats_files import find_photographs
from cnn_experiments.datamodules.image_cache import prepare_cache
from cnn_experiments.datamodules.resizing import Resizing
from cnn_experiments.evaluation.hardware import choose_hardware
from cnn_experiments.trainers.memory import freed_memory_kept

CORES = os.cpu_count() or 1


def decode(file: Path) -> None:
    """Read and decode a file, and forget it."""
    cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_COLOR)


def timed(work: Callable[[], object]) -> float:
    """Seconds that something takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def first_pass(source: Path, side: int, rounds: int, place: Path) -> None:
    """Print the images per second of the first pass and of plain decoding."""
    root, photographs = find_photographs(source, place)
    resizing = Resizing().sized_for(side)
    found: dict[str, list[float]] = {"plain decoding": [], "first pass": []}

    def decode_all() -> None:
        with ThreadPoolExecutor(CORES) as pool:
            list(pool.map(decode, [photograph.path for photograph in photographs]))

    for number in range(-1, rounds):  # the first round reads the files from disk, and does not count
        plain = timed(decode_all)
        with tempfile.TemporaryDirectory(dir=place) as cache:
            whole = timed(partial(prepare_cache, photographs, root, resizing, Path(cache)))
        if number >= 0:
            found["plain decoding"].append(plain)
            found["first pass"].append(whole)
    plain = statistics.median(found["plain decoding"])
    for name, seconds in found.items():
        median = statistics.median(seconds)
        print(
            f"{name:>14}: {len(photographs) / median:8.0f} images/s, {plain / median:.2f} of plain decoding", flush=True
        )


def from_the_cache(source: Path, side: int, batch: int, rounds: int, place: Path) -> None:
    """Print the images per second of an epoch from the cache, and of our training steps."""
    words = ["experiment=alexnet_laptop", f"model.input_size={side}", f"datamodule.batch_size={batch}"]
    words += [f"datamodule.source={source}", f"datamodule.data_dir={place}/data", f"datamodule.num_workers={CORES}"]
    data = read_words(words, None, None, [])[1].datamodule.build()
    loader = data.loader("training")
    images = len(data.images_of("training"))

    def epoch() -> None:
        for _ in loader:
            pass

    epoch()  # starts the workers, which stay
    loaded = images / statistics.median(timed(epoch) for _ in range(rounds))
    print(f"from the cache: {loaded:8.0f} images/s with {CORES} workers, {side}×{side} pixels", flush=True)
    for name in NETWORKS:
        words = [f"model={name}", f"model.input_size={side}", "datamodule.source=none", "trainer.precision=auto"]
        hardware = choose_hardware(read_words(words, None, None, [])[1].trainer)
        some = torch.randn(batch, 3, side, side, device=hardware.device)
        labels = torch.randint(2, (batch,), device=hardware.device)
        step = our_step(words, hardware, some, labels, compiled=False)
        with freed_memory_kept():
            used = batch / statistics.median(seconds_of(step, 2, hardware) for _ in range(rounds))
        print(
            f"{name:>14}: {used:8.1f} images/s are trained on, and {loaded / used:.1f} times as many come", flush=True
        )


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--photographs", type=int, default=1000)
    parser.add_argument("--side", type=int, default=112)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        source = asked.source or place / "photographs"
        if asked.source is None:
            make_photographs(source, asked.photographs)
        first_pass(source, asked.side, asked.rounds, place)
        from_the_cache(source, asked.side, asked.batch, asked.rounds, place)


if __name__ == "__main__":
    main()
