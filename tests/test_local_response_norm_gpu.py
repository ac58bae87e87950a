"""The kernels of local response normalisation, run by Triton's interpreter, and on a GPU where there is one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cnn_experiments.models.local_response_norm import BACKWARD, OPERATOR

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
CONSTANTS = [(2, 1e-4, 0.75, 2.0), (9, 0.3, 0.5, 1.0)]  # radius, α, β, k


def some_maps() -> list[torch.Tensor]:
    """Maps of many shapes, types and orders in memory."""
    generator = torch.Generator().manual_seed(1)
    shapes = [(2, 7, 5, 3), (1, 96, 3, 3), (1, 1, 4, 4), (2, 3, 1, 1), (0, 4, 2, 2)]
    all_maps = [torch.randn(shape, generator=generator) * 3 for shape in shapes]
    all_maps += [maps.contiguous(memory_format=torch.channels_last) for maps in all_maps]
    all_maps += [maps.bfloat16() for maps in all_maps]
    return [*all_maps, torch.randn(4, 8, 6, 6, generator=generator)[:, ::2]]


def check_kernels(device: str) -> None:
    """Compare the kernels with what the processor computes, forwards and backwards."""
    from cnn_experiments.models.local_response_norm_gpu import differentiate, normalise

    for maps in some_maps():
        gradient = torch.randn(maps.shape).to(maps.dtype)
        there = maps.to(device)
        for radius, alpha, beta, k in CONSTANTS:
            expected, base = OPERATOR(maps, radius, alpha, beta, k)
            expected_gradient = BACKWARD(gradient, maps, base, radius, alpha, beta)
            found, found_base = normalise(there, radius, alpha, beta, k)
            found_gradient = differentiate(gradient.to(device), there, found_base, radius, alpha, beta)
            rough = {"rtol": 0.02, "atol": 0.02} if maps.dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-6}
            torch.testing.assert_close(found.cpu(), expected, **rough)
            torch.testing.assert_close(found_base.cpu(), base, rtol=1e-6, atol=1e-6)
            torch.testing.assert_close(found_gradient.cpu(), expected_gradient, **rough)
            if maps.is_contiguous() or maps.is_contiguous(memory_format=torch.channels_last):
                assert found.stride() == found_gradient.stride() == maps.stride()


def test_in_the_interpreter() -> None:
    """Triton decides when it is imported whether it compiles or interprets, so another process does it."""
    pytest.importorskip("triton")
    code = "from tests.test_local_response_norm_gpu import check_kernels; check_kernels('cpu'); print('the same')"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert found.stdout.endswith("the same\n"), found.stderr


@on_a_gpu
def test_on_a_gpu() -> None:
    check_kernels("cuda")


@on_a_gpu
def test_double_precision_on_a_gpu() -> None:
    maps = (torch.randn(2, 7, 2, 3, dtype=torch.float64, device="cuda") * 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda values: OPERATOR(values, 2, 0.3, 0.75, 1.0)[0], (maps,))


def test_without_triton_it_says_so_and_computes_the_same(monkeypatch, caplog) -> None:
    """What a GPU without Triton does, tried on the processor: the warning comes once, and PyTorch's passes follow."""
    from cnn_experiments.models import local_response_norm

    monkeypatch.setitem(sys.modules, "cnn_experiments.models.local_response_norm_gpu", None)
    local_response_norm._kernels_of_this_machine.cache_clear()
    with caplog.at_level("WARNING"):
        assert local_response_norm._kernels_of_this_machine() is None
        assert local_response_norm._kernels_of_this_machine() is None
    local_response_norm._kernels_of_this_machine.cache_clear()
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "local response normalisation is slower than it could be"
    ]
