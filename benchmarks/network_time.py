"""A training step of AlexNet and GoogLeNet beside torchvision's networks, and how busy it keeps the device.

For each network these take turns, on the same random images and in the same precision (bf16 where the hardware computes
in it):

- ours, as cnn-train trains it: channels last, its own LRN, the fused optimizer, and on the CPU the memory of a step
  kept for the next;
- compiled: the same with torch.compile (``--compile``);
- torchvision's network of that name in a plain loop. It is another network: its AlexNet is narrower and has no LRN, its
  GoogLeNet has batch normalisation in place of it;
- on the CPU, the floor: as many multiply-adds, three times the forward pass's, in one large matrix product.

Then cnn-train trains for two epochs on photographs, made up or those of ``--source``; in the second one they come from
the cache. Its images per second, as a share of those of the step alone, say how much of the time the device is busy. On
a GPU each batch size also has its peak of memory.

With ``--profile`` the operations are listed in which our step spends most of its time.

Usage: python -m benchmarks.network_time [--side 224] [--batches 32 64 128] [--rounds 5] [--steps 10]
    [--photographs 2000 | --source FOLDER] [--workers 2] [--compile] [--profile]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

import cnn_experiments as cnn
from benchmarks.memory import make_photographs
from cnn_experiments.commands.from_python import read_words
from cnn_experiments.evaluation.hardware import Hardware, choose_hardware
from cnn_experiments.inspection.layer_table import layer_table
from cnn_experiments.models.googlenet import loss_with_auxiliary_heads
from cnn_experiments.models.network import loss_of
from cnn_experiments.trainers.memory import freed_memory_kept

SIDE_OF_PRODUCT = 2048
MOST_OPERATIONS = 12  # that are listed
NETWORKS = {
    "alexnet": lambda: torchvision.models.alexnet(num_classes=2),
    "googlenet": lambda: torchvision.models.googlenet(num_classes=2, init_weights=False),
}

Step = Callable[[], None]


def our_step(words: Sequence[str], hardware: Hardware, images: Tensor, labels: Tensor, compiled: bool) -> Step:
    """A step of our network, with the optimizer that its settings name."""
    settings = read_words(words, None, None, [])[1]
    network = settings.network().to(hardware.device).to(memory_format=torch.channels_last).train()
    if compiled:
        network.compile()
    optimizer = settings.training.optimizer(params=network.parameters())
    return step_of(network, optimizer, hardware, images.to(memory_format=torch.channels_last), labels)


def torchvisions_step(network: nn.Module, hardware: Hardware, images: Tensor, labels: Tensor) -> Step:
    """A step of torchvision's network as a tutorial writes it."""
    network = network.to(hardware.device).train()
    return step_of(network, torch.optim.AdamW(network.parameters(), lr=3e-4), hardware, images, labels)


def step_of(
    network: nn.Module, optimizer: torch.optim.Optimizer, hardware: Hardware, images: Tensor, labels: Tensor
) -> Step:
    """A training step: forwards, the loss with that of auxiliary heads, backwards, and the optimizer's."""

    def step() -> None:
        optimizer.zero_grad()
        with hardware.autocast():
            output = network(images)
            heads = isinstance(output, torchvision.models.GoogLeNetOutputs)
            loss = loss_with_auxiliary_heads(output, labels) if heads else loss_of(network, output, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def seconds_of(step: Step, steps: int, hardware: Hardware) -> float:
    """Seconds of a step, over several, the first left out."""
    step()
    wait(hardware)
    start = time.perf_counter()
    for _ in range(steps):
        step()
    wait(hardware)
    return (time.perf_counter() - start) / steps


def wait(hardware: Hardware) -> None:
    """Until a GPU has done what it was told."""
    if hardware.device.type == "cuda":
        torch.cuda.synchronize()


def products_of(words: Sequence[str], side: int, batch: int) -> float:
    """How many products of large matrices have as many multiply-adds as a training step."""
    network = read_words(words, None, None, [])[1].network()
    return 3 * batch * layer_table(network, (3, side, side)).multiply_adds / SIDE_OF_PRODUCT**3


def compare_steps(
    name: str, side: int, batch: int, rounds: int, steps: int, compiled: bool = False, profiled: bool = False
) -> float:
    """Print the seconds of each way; returns our images per second."""
    words = [f"model={name}", f"model.input_size={side}", "datamodule.source=none", "trainer.precision=auto"]
    hardware = choose_hardware(read_words(words, None, None, [])[1].trainer)
    images = torch.randn(batch, 3, side, side, device=hardware.device)
    labels = torch.randint(2, (batch,), device=hardware.device)
    ways = {
        "ours": our_step(words, hardware, images, labels, compiled=False),
        **({"compiled": our_step(words, hardware, images, labels, compiled=True)} if compiled else {}),
        "torchvision's": torchvisions_step(NETWORKS[name](), hardware, images, labels),
    }
    found: dict[str, list[float]] = {way: [] for way in ways}
    peaks: dict[str, float] = {}
    for _ in range(rounds):
        for way, step in ways.items():
            kept = hardware.device.type == "cpu" and way != "torchvision's"
            if hardware.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            with freed_memory_kept() if kept else nullcontext():
                found[way].append(seconds_of(step, steps, hardware))
            if hardware.device.type == "cuda":
                peaks[way] = torch.cuda.max_memory_allocated() / 2**20
    print(f"{name}, {side}×{side} pixels, batches of {batch}, {hardware.precision} on {hardware.name()}")
    theirs = statistics.median(found["torchvision's"])
    for way, values in found.items():
        median = statistics.median(values)
        memory = f", at most {peaks[way]:,.0f} MiB" if peaks else ""
        print(f"  {way:>13}: {batch / median:9.1f} images/s, {theirs / median:5.2f} × torchvision's{memory}")
    ours = statistics.median(found["ours"])
    if hardware.device.type == "cpu":
        product = statistics.median(seconds_of(product_of_matrices(), 2, hardware) for _ in range(rounds))
        floor = products_of(words, side, batch) * product
        print(f"  {'floor':>13}: {batch / floor:9.1f} images/s, of which ours reaches {floor / ours:.2f}")
    if profiled:
        print_operations(ways["ours"], steps, hardware)
    return batch / ours


def print_operations(step: Step, steps: int, hardware: Hardware) -> None:
    """Print the operations in which a step spends most of its time, without those that they call in turn."""
    on_gpu = hardware.device.type == "cuda"
    activities = [torch.profiler.ProfilerActivity.CPU, *([torch.profiler.ProfilerActivity.CUDA] if on_gpu else [])]
    kept = nullcontext() if on_gpu else freed_memory_kept()
    with kept:
        step()
        with torch.profiler.profile(activities=activities) as profile:
            for _ in range(steps):
                step()
            wait(hardware)
    microseconds = {
        event.key: event.self_device_time_total if on_gpu else event.self_cpu_time_total
        for event in profile.key_averages()
    }
    whole = sum(microseconds.values())
    for name in sorted(microseconds, key=microseconds.__getitem__, reverse=True)[:MOST_OPERATIONS]:
        share = microseconds[name] / whole
        print(f"  {name:>45}: {microseconds[name] / steps / 1000:8.1f} ms a step, {100 * share:5.1f} %")


def product_of_matrices() -> Step:
    """A large matrix product."""
    one, other = torch.randn(2, SIDE_OF_PRODUCT, SIDE_OF_PRODUCT)
    result = torch.empty_like(one)

    def multiply() -> None:
        torch.mm(one, other, out=result)

    return multiply


def epoch_from_the_cache(name: str, side: int, batch: int, source: Path | int, workers: int) -> float:
    """The images per second of the second epoch of cnn-train, validation left out.

    Args:
        name: of the network.
        side: of the images, in pixels.
        batch: images in one.
        source: a folder of photographs, or how many to make up.
        workers: processes that load.
    """
    with tempfile.TemporaryDirectory() as place:
        if isinstance(source, int):
            folder = Path(place) / "photographs"
            make_photographs(folder, source)
        else:
            folder = source
        words = [f"model={name}", f"model.input_size={side}", f"datamodule.batch_size={batch}", "trainer.max_epochs=2"]
        words += [f"datamodule.source={folder}", f"datamodule.data_dir={place}/data", "trainer.precision=auto"]
        words += [f"datamodule.num_workers={workers}"]
        run = cnn.train(*words, "datamodule.test_crops=1", f"hydra.run.dir={place}/run")
        first, second = (row["seconds"] for row in run.history)  # since the beginning
        images = run.metrics["images_per_second"] * run.metrics["train_seconds"] / 2  # of an epoch
        return float(images / (second - first))


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--batches", type=int, nargs="+", default=[32])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--photographs", type=int, default=2000)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--profile", action="store_true")
    asked = parser.parse_args(words)
    for name in NETWORKS:
        for batch in asked.batches:
            alone = compare_steps(name, asked.side, batch, asked.rounds, asked.steps, asked.compile, asked.profile)
            source = asked.source or asked.photographs
            fed = epoch_from_the_cache(name, asked.side, batch, source, asked.workers)
            print(f"  from the cache: {fed:9.1f} images/s, {fed / alone:.2f} of the step alone", flush=True)


if __name__ == "__main__":
    main()
