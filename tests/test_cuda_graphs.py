"""Passes that are recorded in CUDA graphs, and images that stay on the GPU: the training is what it was.

Without a GPU, a function that records nothing stands for `torch.cuda.make_graphed_callables`.
"""

import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cnn_experiments.commands.from_python import read_words
from cnn_experiments.datamodules.in_memory import ImagesInMemory
from cnn_experiments.datamodules.mnist import MNIST
from cnn_experiments.datamodules.transforms import Distortion
from cnn_experiments.errors import UserError
from cnn_experiments.evaluation.hardware import Hardware
from cnn_experiments.models.alexnet import AlexNet
from cnn_experiments.models.googlenet import GoogLeNet
from cnn_experiments.models.lenet5 import LeNet5
from cnn_experiments.settings.schema import Settings
from cnn_experiments.trainers import cuda_graphs
from cnn_experiments.trainers.cuda_graphs import RecordedPasses, check_cuda_graphs, recorded_passes_of
from tests.conftest import QUICK
from tests.test_training_aids import checkpoint, same

ON_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU of CUDA")
QUICK_LENET = (*QUICK, "model.dropout=0.2", "trainer.max_epochs=2", "datamodule.batch_size=32")
CPU, GPU, GPUS = Hardware("cpu", 1, "32-true"), Hardware("gpu", [0], "32-true"), Hardware("gpu", [0, 1], "32-true")


WAITING = """
import torch
from cnn_experiments.errors import UserError
from cnn_experiments.trainers.cuda_graphs import RecordedPasses

class Waiting(torch.nn.Linear):
    def forward(self, images):
        return super().forward(images * images.max().item())

try:
    RecordedPasses(Waiting(3, 2).cuda())(torch.rand(5, 3).cuda(), is_first=True)
except UserError as error:
    print("refused:", error)
"""


class Statistics(nn.Module):
    """A network with dropout and batch normalisation, whose output is a tuple: scores and those of a second head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5))
        self.output, self.head, self.unused = nn.Linear(8, 3), nn.Linear(8, 3), nn.Linear(1, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        units = self.body(images)
        return self.output(units), self.head(units)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """The shapes of which a recording was made; it runs the passes three times, and stands for itself."""
    shapes = []

    def make(forward: Callable, arguments: tuple[Tensor, ...], allow_unused_input: bool) -> Callable:
        assert allow_unused_input
        parameters = [argument for argument in arguments if argument.requires_grad]
        assert len(parameters) == len(arguments) - 1
        for _ in range(3):
            outputs = forward(*arguments)
            torch.autograd.grad([output.sum() for output in outputs], parameters, allow_unused=True)
        shapes.append(arguments[0].shape)
        return forward

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", make)
    return shapes


def settings_of(*words: str) -> Settings:
    return read_words(words, None, None, [])[1]


def images(number: int, side: int = 4) -> Tensor:
    return torch.rand(number, 1, side, side)


class TestWithoutAGPU:
    def test_the_first_batch_of_an_epoch_is_recorded_if_its_shape_is_new(self, recorded: list[torch.Size]) -> None:
        passes = RecordedPasses(nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
        for number, side, is_first in ((6, 4, True), (6, 4, False), (2, 4, False), (6, 4, True), (6, 5, True)):
            output = passes(images(number, side), is_first)
            assert output.shape == (number, 3)
        assert recorded == [(6, 1, 4, 4), (6, 1, 5, 5)]
        passes.forget()
        passes(images(6, 5), is_first=False)  # a run that goes on within an epoch
        assert len(recorded) == 2
        assert passes.recording is None

    def test_recording_leaves_everything_as_it_was(self, recorded: list[torch.Size]) -> None:
        torch.manual_seed(0)
        network, forward = Statistics().train(), Statistics.forward
        for parameter in network.parameters():
            parameter.grad = torch.full_like(parameter, 7.0)
        before = {name: value.clone() for name, value in network.state_dict().items()}
        passes, batch, random_state = RecordedPasses(network), images(5), torch.get_rng_state()
        passes.record(batch)
        assert same(before, network.state_dict())
        assert torch.equal(random_state, torch.get_rng_state())
        assert all(parameter.grad.eq(7).all() for parameter in network.parameters())
        assert network.forward.__func__ is forward
        assert not network._forward_hooks
        torch.manual_seed(1)
        expected = network(batch)
        network.load_state_dict(before)
        torch.manual_seed(1)
        assert all(torch.equal(*pair) for pair in zip(passes(batch, is_first=True), expected, strict=True))
        assert len(recorded) == 1

    def test_mixed_precision_is_that_of_the_call(self, recorded: list[torch.Size]) -> None:
        passes = RecordedPasses(Statistics())
        with torch.autocast("cpu", torch.bfloat16):
            output, _ = passes(images(5), is_first=True)
            assert torch.is_autocast_enabled("cpu")
        assert output.dtype == torch.bfloat16
        assert passes(images(5), is_first=False)[0].dtype == torch.bfloat16

    def test_a_network_that_cannot_be_recorded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*arguments: Any, **more: Any) -> None:
            try:
                raise RuntimeError("operation not permitted when stream is capturing\nlong advice")
            finally:
                raise RuntimeError("capture was invalidated")

        monkeypatch.setattr(torch.cuda, "make_graphed_callables", fail)
        passes = RecordedPasses(Statistics())
        with pytest.raises(
            UserError, match=r"of Statistics cannot be recorded \(operation not permitted .* capturing\)"
        ):
            passes(images(5), is_first=True)
        assert passes.shape is None

    def test_other_threads_may_go_on_where_torch_knows_how(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "make_graphed_callables", lambda forward, capture_error_mode: None)
        assert cuda_graphs.other_threads_may_go_on() == {"capture_error_mode": "thread_local"}
        monkeypatch.setattr(torch.cuda, "make_graphed_callables", lambda forward: None)
        assert cuda_graphs.other_threads_may_go_on() == {}

    @pytest.mark.slow
    def test_on_a_cpu_nothing_changes(self, run_command: Callable, digits: Path, tmp_path: Path) -> None:
        words = (*QUICK_LENET, "trainer.max_epochs=1")
        for name in ("false", "true"):
            outcome = run_command("train", *words, f"trainer.cuda_graphs={name}", f"hydra.run.dir=run_{name}")
            assert outcome.status == 0, outcome.error
        assert same(*(checkpoint(tmp_path / f"run_{name}")["state_dict"] for name in ("false", "true")))

    def test_a_training_through_recorded_passes_is_the_same(
        self,
        run_command: Callable,
        digits: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        recorded: list[torch.Size],
    ) -> None:
        words = (*QUICK_LENET, "trainer.cuda_graphs=true", "trainer.weight_average=0.9")
        assert run_command("train", *words, "hydra.run.dir=plain").status == 0
        monkeypatch.setattr(cuda_graphs, "is_wanted", lambda settings, hardware: settings.trainer.cuda_graphs)
        outcome = run_command("train", *words, "hydra.run.dir=recorded")
        assert outcome.status == 0, outcome.error
        assert recorded == [(32, 1, 32, 32)]
        one, other = (checkpoint(tmp_path / name) for name in ("plain", "recorded"))
        assert same(one["state_dict"], other["state_dict"])
        assert same(one["current_model_state"], other["current_model_state"])


@pytest.mark.parametrize(
    ("words", "hardware", "processes", "message"),
    [
        ((), GPU, 1, None),
        (("trainer.cuda_graphs=false", "model.compile=true"), GPU, 1, None),
        (("model.compile=true", "trainer.accumulate_grad_batches=2"), CPU, 2, None),
        (
            ("model.compile=true",),
            GPU,
            1,
            r"^trainer\.cuda_graphs=true: with model\.compile=true .* Set one of them to",
        ),
        (
            ("trainer.accumulate_grad_batches=2",),
            GPU,
            1,
            r"trainer\.accumulate_grad_batches=2 asks for it\. Set it to 1",
        ),
        ((), GPUS, 2, r"here are 2 with trainer\.strategy=auto\. Set trainer\.cuda_graphs=false, or trainer\.gpus=1"),
        (("trainer.strategy=ddp",), GPU, 1, r"here are 1 with trainer\.strategy=ddp\. Set trainer\.cuda_graphs=false"),
    ],
)
def test_what_does_not_go_together(
    words: tuple[str, ...], hardware: Hardware, processes: int, message: str | None
) -> None:
    settings = settings_of("trainer.cuda_graphs=true", *words)
    with pytest.raises(UserError, match=message) if message else nullcontext():
        check_cuda_graphs(settings, hardware, processes)
    is_wanted = settings.trainer.cuda_graphs and hardware != CPU
    assert (recorded_passes_of(settings, hardware, nn.Identity()) is not None) == is_wanted


def test_the_key(run_command: Callable, digits: Path) -> None:
    outcome = run_command("train", *QUICK, "trainer.cuda_graphs=soon")
    assert outcome.status == 2
    assert "trainer.cuda_graphs=soon" in outcome.error
    assert settings_of("experiment=lenet5_fast").trainer.cuda_graphs
    assert not settings_of().trainer.cuda_graphs


def test_batches_do_not_depend_on_where_the_images_are(digits: Path) -> None:
    data = MNIST(validation_size=50, batch_size=32)
    for part in ("training", "validation"):
        loaders = (data.loader(part, epoch=3), data.loader(part, epoch=3, device=torch.device("cpu")))
        for (images, labels), (others, other_labels) in zip(*loaders, strict=True):
            assert torch.equal(images, others)
            assert torch.equal(labels, other_labels)
    loading = MNIST(validation_size=50, batch_size=32, num_workers=1)
    assert loading.images_near("training", torch.device("meta")).labels.device.type == "cpu"
    assert data.images_near("training", torch.device("meta")).labels.device.type == "meta"
    assert data.images_of("training").labels.device.type == "cpu"


@ON_A_GPU
class TestOnAGPU:
    """What a recording does, and images that stay there."""

    def passes_and_gradients(
        self, network: nn.Module, shape: tuple[int, ...], dtype: torch.dtype | None, is_recorded: bool
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Outputs and weights of five steps of gradient descent, one of them with fewer images."""
        torch.manual_seed(2)
        passes, outputs = RecordedPasses(network), []
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
        for step in range(5):
            batch = torch.rand(shape, device="cuda")[: 3 if step == 3 else None]
            with torch.autocast("cuda", dtype, enabled=dtype is not None):
                output = passes(batch, step == 0) if is_recorded else network(batch)
                output = output if isinstance(output, tuple) else (output,)
                loss = -sum(scores.float().log_softmax(1)[:, 0].mean() for scores in output)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            outputs += [scores.detach().float().clone() for scores in output]
        assert (passes.recording is not None) == is_recorded
        return outputs, network.state_dict()

    @pytest.mark.parametrize("dtype", [None, torch.bfloat16])
    @pytest.mark.parametrize(
        ("make", "shape"),
        [
            (lambda: LeNet5(dropout=0.5), (8, 1, 32, 32)),
            (lambda: LeNet5(activation="tanh", subsampling="average", c3="full", dropout=0.5), (8, 1, 32, 32)),
            (Statistics, (8, 1, 4, 4)),
            (lambda: AlexNet(input_size=64, maps=(8, 8, 8, 8, 8), dense=(16, 16)), (8, 3, 64, 64)),
            (lambda: GoogLeNet(input_size=80), (8, 3, 80, 80)),
        ],
    )
    def test_steps_are_the_same(
        self,
        make: Callable[[], nn.Module],
        shape: tuple[int, ...],
        dtype: torch.dtype | None,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
        found = []
        for is_recorded in (False, True):
            torch.manual_seed(1)
            found.append(self.passes_and_gradients(make().cuda().train(), shape, dtype, is_recorded))
        (outputs, weights), (others, other_weights) = found
        tolerance = {"rtol": 1e-3, "atol": 1e-4} if dtype is None else {"rtol": 5e-2, "atol": 2e-2}
        for one, other in zip(outputs, others, strict=True):
            torch.testing.assert_close(one, other, **tolerance)
        for name, value in weights.items():
            torch.testing.assert_close(value, other_weights[name], **tolerance)

    def test_a_network_that_waits_for_the_gpu(self) -> None:
        outcome = subprocess.run([sys.executable, "-c", WAITING], capture_output=True, text=True, check=False)
        assert "refused: trainer.cuda_graphs=true: the passes of Waiting cannot be recorded" in outcome.stdout, outcome

    @pytest.mark.parametrize("more", [(), ("trainer.weight_average=0.9",), ("trainer.precision=16-mixed",)])
    def test_a_run_is_the_same(
        self, run_command: Callable, digits: Path, tmp_path: Path, more: tuple[str, ...]
    ) -> None:
        words = (*QUICK_LENET, "trainer.gpus=1")
        for name in ("false", "true"):
            outcome = run_command("train", *words, *more, f"trainer.cuda_graphs={name}", f"hydra.run.dir=run_{name}")
            assert outcome.status == 0, outcome.error
        one, other = (checkpoint(tmp_path / f"run_{name}")["state_dict"] for name in ("false", "true"))
        tolerance = 2e-3 if not more or "16" not in more[0] else 2e-2
        for name, value in one.items():
            torch.testing.assert_close(value, other[name], rtol=tolerance, atol=tolerance)

    def test_batches_from_the_gpu(self, digits: Path) -> None:
        data = MNIST(validation_size=50, batch_size=32, distortion=Distortion(shift=1.0))
        for part in ("training", "validation"):
            here, there = data.loader(part, epoch=3), data.loader(part, epoch=3, device=torch.device("cuda", 0))
            assert (here.pin_memory, there.pin_memory) == (True, False)
            for (images, labels), (others, other_labels) in zip(here, there, strict=True):
                assert others.is_cuda
                assert other_labels.is_cuda
                assert torch.equal(images, others.cpu())
                assert torch.equal(labels, other_labels.cpu())
        assert not data.images_of("training").labels.is_cuda
        assert not next(data.batches("training"))[0].is_cuda
        assert data.gallery(2)[0].shape == (2, 32, 32, 1)

    def test_images_that_would_fill_the_gpu_stay_on_the_cpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        some = ImagesInMemory(torch.zeros(4, 1, 5, 5, dtype=torch.uint8), torch.zeros(4).long())
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (399, 10_000))
        assert some.near(torch.device("cuda", 0)) is some
