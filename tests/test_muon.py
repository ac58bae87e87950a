"""Muon for convolutions, and AdamW for all else."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from cnn_experiments.evaluation.run import open_run
from cnn_experiments.models.alexnet import AlexNet
from cnn_experiments.trainers import muon
from cnn_experiments.trainers.muon import Muon, orthogonalised
from tests.conftest import QUICK_PHOTOGRAPHS, SMALL_ALEXNET
from tests.test_training_aids import checkpoint, interrupt_in_epoch, same


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (12, 12)])
def test_orthogonalised(shape: tuple[int, int]) -> None:
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    inner = left.T @ orthogonalised(matrix) @ right.T
    assert inner.diagonal().min() > 0.6
    assert inner.diagonal().max() < 1.3
    assert (inner - inner.diagonal().diag()).abs().max() < 1e-4
    assert orthogonalised(torch.zeros(shape)).eq(0).all()


@pytest.mark.parametrize("smallest", [1.0, 1e-3, 1e-8, 0.0], ids=lambda value: f"down to {value:g}")
def test_wide_matrices_take_a_shorter_way_to_the_same_result(smallest: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever their singular values, from 1 down to the smallest."""
    generator = torch.Generator().manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(48, 400, generator=generator), full_matrices=False)
    matrix = left * torch.linspace(1, smallest**0.25, 48) ** 4 @ right
    with monkeypatch.context() as only:
        only.setattr(muon, "_iterated", None)
        shorter = [orthogonalised(one) for one in (matrix, matrix.mT)]
    monkeypatch.setattr(muon, "WIDE", float("inf"))
    longer = orthogonalised(matrix.double())
    assert torch.allclose(shorter[0].double(), longer, atol=2e-4 * longer.abs().max().item())
    assert torch.allclose(shorter[1], shorter[0].mT, atol=1e-6)


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_the_shorter_way_is_for_precise_and_wide_matrices(
    precision: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(muon, "_iterated_by_gram", None)
    wide = torch.ones(8, 100)
    assert orthogonalised(wide.to(precision)).float().allclose(orthogonalised(wide[:, :8]).mean(), atol=0.1)
    assert orthogonalised(torch.ones(8, 11)).isfinite().all()
    with pytest.raises(TypeError, match="not callable"):
        orthogonalised(torch.ones(8, 12))


def test_steps_are_those_of_torch() -> None:
    """On kernels those of `torch.optim.Muon` on the same matrix, which computes in bfloat16; on the rest of AdamW."""
    torch.manual_seed(0)
    kernels, dense = nn.Parameter(torch.randn(8, 3, 2, 2)), nn.Parameter(torch.randn(4, 5))
    matrix, same_dense = (nn.Parameter(tensor.detach().clone()) for tensor in (kernels.flatten(1), dense))
    ours = Muon([kernels, dense], lr=0.01, weight_decay=0.3)
    theirs = [
        torch.optim.Muon([matrix], lr=0.01, weight_decay=0.3, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW([same_dense], lr=0.01, weight_decay=0.3),
    ]
    for step in range(4):
        kernels.grad, dense.grad = torch.randn_like(kernels) * 10**step, torch.randn_like(dense)
        matrix.grad, same_dense.grad = kernels.grad.flatten(1).clone(), dense.grad.clone()
        before = kernels.flatten(1).detach().clone()
        assert ours.step(lambda: 7.0) == 7.0
        for optimizer in theirs:
            optimizer.step()
        assert torch.equal(dense, same_dense)
        moved = kernels.flatten(1) - before
        assert torch.allclose(kernels.flatten(1), matrix, atol=moved.abs().max().item() * 0.05 * (step + 1))


def test_all_parameters_are_moved_whatever_their_layout() -> None:
    torch.manual_seed(0)
    network, other = (AlexNet(input_size=64, maps=(8, 8, 8, 8, 8), dense=(16, 16)) for _ in range(2))
    other.load_state_dict(network.state_dict())
    other.to(memory_format=torch.channels_last)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    for one in (network, other):
        for name, parameter in one.named_parameters():
            parameter.grad = torch.ones_like(parameter) + before[name].sign()
        Muon(one.parameters(), lr=0.01).step()
    for (name, parameter), in_other_layout in zip(network.named_parameters(), other.parameters(), strict=True):
        assert not torch.equal(parameter, before[name]), name
        assert parameter.allclose(in_other_layout, atol=1e-5), name


@pytest.mark.slow
def test_a_run_learns_and_resumes(
    run_command: Callable, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*SMALL_ALEXNET, *QUICK_PHOTOGRAPHS, "optimizer=muon", "model.optimizer.lr=0.003", "model.dropout=0")
    words = (*words, "trainer.max_epochs=3")
    assert run_command("train", *words, "hydra.run.dir=whole").status == 0
    run = open_run(tmp_path / "whole")
    losses = [row["train/loss"] for row in run.history]
    assert losses[-1] < 0.9 * losses[0]
    first = run.network().conv1.convolution.weight - run.network_at(0).conv1.convolution.weight
    assert torch.linalg.matrix_rank(first.flatten(1)) == 8
    states = checkpoint(run.directory)["optimizer_states"][0]
    assert {group["lr"] for group in states["param_groups"]} == {0.0}  # the schedule has come to its end in both
    assert {tuple(state) for state in states["state"].values()} == {("momentum",), ("step", "exp_avg", "exp_avg_sq")}

    with monkeypatch.context() as patch:
        interrupt_in_epoch(patch, 1)
        assert run_command("train", *words, "hydra.run.dir=broken").status == 130
    assert run_command("train", "resume=broken").status == 0
    assert same(*(checkpoint(tmp_path / run)["state_dict"] for run in ("whole", "broken")))


@pytest.mark.parametrize("word", ["model.optimizer.momentum=1", "model.optimizer.lr=-1", "model.optimizer.betas=[0,0]"])
def test_impossible_values(run_command: Callable, photographs: Path, word: str) -> None:
    outcome = run_command("train", "model=alexnet", "optimizer=muon", f"++{word}")
    assert outcome.status == 2
    assert word.split("=")[0] in outcome.error
