"""How long a step of Muon takes beside one of AdamW, whose forward and backward pass are the same.

For the networks of the laptop presets, at their smallest images and in bf16 where the processor computes in it, these
take turns, seven times, and the medians are compared:

- a whole training step with AdamW: forwards, backwards, and the optimizer's;
- AdamW's part of it alone;
- Muon as it was published, which multiplies the matrix x of each convolution in every round;
- ours, whose rounds multiply the square matrix x·xᵀ where that is less.

Usage: python -m benchmarks.muon_time
"""

import statistics
import time
from collections.abc import Callable
from unittest.mock import patch

import torch
from torch.optim import AdamW

from benchmarks.network_time import step_of
from cnn_experiments.commands.from_python import read_words
from cnn_experiments.evaluation.hardware import choose_hardware
from cnn_experiments.trainers import muon
from cnn_experiments.trainers.memory import freed_memory_kept

REPETITIONS, BATCH = 7, 64
SMALLEST = {"alexnet": 95, "googlenet": 80}  # pixels


def main(repetitions: int = REPETITIONS, batch: int = BATCH) -> None:
    """Time and print everything.

    Args:
        repetitions: of each step.
        batch: images.
    """
    print(f"{torch.get_num_threads()} threads, batches of {batch}, medians of {repetitions}")
    for name, side in SMALLEST.items():
        words = [f"experiment={name}_laptop", f"model.input_size={side}", "trainer.gpus=0"]
        settings = read_words(words, None, None, [])[1]
        hardware = choose_hardware(settings.trainer)
        network = settings.network().to(memory_format=torch.channels_last).train()
        adamw, ours = AdamW(network.parameters(), fused=True), muon.Muon(network.parameters())
        images = torch.randn(batch, 3, side, side).to(memory_format=torch.channels_last)
        whole = step_of(network, adamw, hardware, images, torch.zeros(batch, dtype=torch.long))

        def as_published(ours: muon.Muon = ours) -> None:
            with patch.object(muon, "WIDE", float("inf")):
                ours.step()

        steps: dict[str, Callable[[], object]] = {
            "a whole step with AdamW": whole,
            "AdamW": adamw.step,
            "Muon as published": as_published,
            "ours": ours.step,
        }
        seconds: dict[str, list[float]] = {way: [] for way in steps}
        for _ in range(1 + repetitions):  # the first warms up
            for way, step in steps.items():
                began = time.perf_counter()
                step()
                seconds[way].append(time.perf_counter() - began)
        median = {way: statistics.median(values[1:]) for way, values in seconds.items()}
        network_alone = median["a whole step with AdamW"] - median["AdamW"]
        print(f"{name}, {side}×{side} pixels, {hardware.precision}")
        for way, value in median.items():
            print(f"  {way}: {1000 * value:.1f} ms, {value / network_alone:.2f} of the passes")
        gain = (network_alone + median["Muon as published"]) / (network_alone + median["ours"])
        print(f"  a whole step is {gain:.2f} times as fast as with Muon as published")


if __name__ == "__main__":
    with freed_memory_kept():
        main()
