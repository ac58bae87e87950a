"""Weights that the first batch scales."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from cnn_experiments.errors import UserError
from cnn_experiments.evaluation.run import open_run
from cnn_experiments.models.googlenet import GoogLeNet
from cnn_experiments.models.initialisation import weighted_layers
from cnn_experiments.models.lenet5 import LeNet5
from cnn_experiments.trainers.layer_sequential_init import initialise_layer_by_layer
from tests.conftest import QUICK
from tests.test_training_aids import checkpoint, interrupt_in_epoch, same


@pytest.mark.parametrize(
    ("network", "shape"), [(LeNet5(init="article"), (8, 1, 32, 32)), (GoogLeNet(input_size=80), (4, 3, 80, 80))]
)
def test_outputs_have_the_variance_1(network: nn.Module, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    images, names = torch.randn(shape), dict(network.named_parameters())
    biases = {name: bias.clone() for name, bias in names.items() if name.endswith("bias")}
    layers = weighted_layers(network)
    assert initialise_layer_by_layer(network.train(), images) == len(layers)
    variances: list[float] = []
    for layer in layers:
        layer.register_forward_hook(lambda layer, inputs, output: variances.append(float(output.detach().var())))
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    network(images)
    assert len(variances) == len(layers)
    assert all(variance == pytest.approx(1, abs=0.11) for variance in variances)
    assert all(torch.equal(names[name], bias) for name, bias in biases.items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_weights_are_orthonormal_up_to_one_factor() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(), nn.Linear(5, 2))
    initialise_layer_by_layer(network, torch.randn(50, 3, 2, 2) * 9)
    products = network[1].weight @ network[1].weight.T
    assert products.allclose(torch.eye(5) * products[0, 0], atol=1e-6)
    assert network[2].num_batches_tracked == 0  # it was tried on a copy


def test_images_that_do_not_vary() -> None:
    with pytest.raises(UserError, match=r"the outputs of 1 do not vary over the first batch of training images"):
        initialise_layer_by_layer(nn.Sequential(nn.Flatten(), nn.Linear(4, 1)), torch.zeros(3, 1, 2, 2))


@pytest.mark.slow
def test_a_run_begins_with_them_learns_and_resumes(
    run_command: Callable, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*QUICK, "trainer.layer_sequential_init=true", "trainer.find_learning_rate=false")
    outcome = run_command("train", *words, "trainer.max_epochs=3", "hydra.run.dir=whole")
    assert outcome.status == 0, outcome.error
    assert "the weights of 4 layers were scaled on the first batch" in outcome.out
    run = open_run(tmp_path / "whole")
    assert run.history[-1]["train/loss"] < 0.9 * run.history[0]["train/loss"]
    assert run.epochs == []
    with pytest.raises(UserError, match=r"epoch=0: trainer\.layer_sequential_init scaled the first weights"):
        run.weights_at(0)

    with monkeypatch.context() as patch:
        interrupt_in_epoch(patch, 1)
        assert run_command("train", *words, "datamodule.num_workers=1", "hydra.run.dir=broken").status == 130
    outcome = run_command("train", "resume=broken")
    assert outcome.status == 0
    assert "were scaled" not in outcome.out
    assert same(*(checkpoint(tmp_path / run)["state_dict"] for run in ("whole", "broken")))
