"""How long a training step of LeNet-5 takes on a CPU: our layers beside PyTorch's, and the floor.

Three ways to train the paper's network on batches of 128, in turn, each in a process of its own, since it changes how
memory is returned:

- ours: the layers as cnn-train runs them, with the memory of a step kept for the next;
- returned: the same, with the memory returned to the system after each step;
- PyTorch's: the same network made of conv2d, avg_pool2d and tanh, its memory returned.

The floor is the time of as many multiply-adds in one large matrix product: three times the forward pass's.

Usage: python benchmarks/lenet5_step.py [batch size]
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional

from cnn_experiments.inspection.layer_table import layer_table
from cnn_experiments.models.layers import MatrixConv2d, ScaledTanh, Subsampling
from cnn_experiments.models.lenet5 import LeNet5
from cnn_experiments.trainers.memory import freed_memory_kept

ROUNDS, STEPS, SIDE = 7, 60, 2048
WAYS = ("ours", "returned", "PyTorch's", "floor")


class PlainTanh(nn.Module):
    """The scaled tanh as the paper writes it."""

    def forward(self, a: Tensor) -> Tensor:
        return ScaledTanh.AMPLITUDE * torch.tanh(a * (2 / 3))


class PlainSubsampling(Subsampling):
    """Sub-sampling with PyTorch's average."""

    def forward(self, maps: Tensor) -> Tensor:
        return functional.avg_pool2d(maps, 2) * self.coefficient + self.bias


def with_pytorchs_layers(network: nn.Module) -> nn.Module:
    """The network with PyTorch's own layers in the place of ours."""
    for layer in network.modules():
        for name, part in list(layer.named_children()):
            if isinstance(part, MatrixConv2d):
                setattr(layer, name, nn.Conv2d(part.in_channels, part.out_channels, part.kernel_size[0]))
            elif isinstance(part, Subsampling):
                setattr(layer, name, PlainSubsampling(len(part.bias)))
            elif isinstance(part, ScaledTanh):
                setattr(layer, name, PlainTanh())
    return network


def stepper(network: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """A training step."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        network.loss(network(images), labels).backward()  # type: ignore[operator]
        optimizer.step()

    return step


def seconds(function: Callable[[], object], times: int) -> float:
    """Seconds of a call, over several calls, the first left out."""
    function()
    start = time.perf_counter()
    for _ in range(times):
        function()
    return (time.perf_counter() - start) / times


def of_this_process(way: str, batch: int) -> float:
    """Seconds of a step in one of the ways, or of the floor."""
    images, labels = torch.randn(batch, 1, 32, 32), torch.randint(10, (batch,))
    if way == "floor":
        one, other = torch.randn(2, SIDE, SIDE)
        multiply_adds = 3 * batch * layer_table(LeNet5(), (1, 32, 32)).multiply_adds
        return seconds(lambda: torch.mm(one, other, out=one.clone()), 5) / SIDE**3 * multiply_adds
    network = with_pytorchs_layers(LeNet5()) if way == "PyTorch's" else LeNet5()
    with freed_memory_kept() if way == "ours" else nullcontext():
        return seconds(stepper(network, images, labels), STEPS)


def main() -> None:
    batch = int(sys.argv[1]) if len(sys.argv) > 1 else 128
    if len(sys.argv) > 2:
        print(of_this_process(sys.argv[2], batch))
        return
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way in WAYS:
            command = [sys.executable, __file__, str(batch), way]
            found[way].append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    theirs = statistics.median(found["PyTorch's"])
    for way, values in found.items():
        median = statistics.median(values)
        print(f"{way:>10}: {1e3 * median:6.2f} ms, {batch / median:8,.0f} images/s, {theirs / median:5.2f} x PyTorch's")


if __name__ == "__main__":
    main()
