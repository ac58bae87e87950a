"""How long local response normalisation takes beside PyTorch's: forwards and backwards, at the sizes of both networks.

Each is timed in turn, seven times, and the medians are compared. A copy of the values is the least that any layer can
take. Maps in bf16, as under autocast, are normalised in single precision. The network of the last column is compiled,
which takes a C++ compiler and some seconds.

Usage: python benchmarks/lrn_time.py [--compile]
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from cnn_experiments.models.local_response_norm import LocalResponseNorm, ResponseNormalisation

SHAPES = {"AlexNet": (32, 96, 56, 56), "GoogLeNet": (32, 256, 27, 27)}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}
REPETITIONS, WANTED = 7, 6.0


def seconds(step: Callable[[], object]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def both_ways(layer: Callable[[Tensor], Tensor], maps: Tensor, gradient: Tensor) -> Callable[[], object]:
    return lambda: torch.autograd.grad(layer(maps), maps, gradient)


def main(compiled: bool) -> None:
    ours = LocalResponseNorm(ResponseNormalisation(radius=2, alpha=2e-5, beta=0.75, k=1.0))
    theirs = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)
    print(f"{torch.get_num_threads()} threads; milliseconds, medians of {REPETITIONS}")
    for network, shape in SHAPES.items():
        for layout, memory_format in LAYOUTS.items():
            maps = torch.randn(shape).contiguous(memory_format=memory_format).requires_grad_()
            gradient = torch.randn(shape).contiguous(memory_format=memory_format)
            target = torch.empty_like(gradient)
            steps: dict[str, Callable[[], object]] = {
                "PyTorch": both_ways(theirs, maps, gradient),
                "ours": both_ways(ours, maps, gradient),
                "ours in bf16": both_ways(ours, maps.detach().bfloat16().requires_grad_(), gradient.bfloat16()),
                "copy": lambda target=target, gradient=gradient: target.copy_(gradient),  # type: ignore[misc]
            }
            if compiled:
                steps["compiled"] = both_ways(torch.compile(ours), maps, gradient)
            times: dict[str, list[float]] = {name: [] for name in steps}
            for step in steps.values():
                step()
            for _ in range(REPETITIONS):
                for name, step in steps.items():
                    times[name].append(1000 * seconds(step))
            median = {name: statistics.median(values) for name, values in times.items()}
            error = (ours(maps) - theirs(maps)).abs().max().item()
            print(
                f"{network} {shape} {layout}: "
                + ", ".join(f"{name} {value:.1f}" for name, value in median.items())
                + f"; {median['PyTorch'] / median['ours']:.1f} times as fast (wanted {WANTED:.0f}), "
                f"{median['ours'] / median['copy']:.1f} copies, largest difference {error:.1e}"
            )


if __name__ == "__main__":
    main("--compile" in sys.argv)
