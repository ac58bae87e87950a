"""The forward and the backward pass of a network, recorded once in CUDA graphs and replayed in each step."""

import gc
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from cnn_experiments.errors import UserError
from cnn_experiments.evaluation.hardware import Hardware
from cnn_experiments.settings.schema import Settings


def pass_of(network: nn.Module, kind: str) -> Callable[..., Any]:
    """The forward pass of a network as a function of images and weights, in the precision that is chosen now.

    Args:
        network: the network. The function leaves its weights as they are, and changes its buffers as it does.
        kind: of the device that it is on, such as ``cuda``.

    Returns:
        A function of images (N, C, H, W) and all parameters, in the order of `network.parameters`.
    """
    names = [name for name, _ in network.named_parameters()]
    is_mixed, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)

    def forward(images: Tensor, *weights: Tensor) -> Any:
        # Here, not around the recording, so that the backward pass is outside as it always is. Without the cache, each
        # replay casts the weights of its step, not those of the recording.
        with torch.autocast(kind, dtype, enabled=is_mixed, cache_enabled=False):
            return functional_call(network, dict(zip(names, weights, strict=True)), (images,))

    return forward


class RecordedPasses:
    """Runs a network in training; on a GPU, starting one recording takes the place of starting hundreds of kernels.

    The first batch of an epoch is recorded if it has another shape than the recording that there is, which it replaces:
    so the memory of one recording is needed, and growing training images are recorded anew. Batches of other shapes, as
    the smaller last one of an epoch, run as they always do.

    A recording repeats what the network did on the GPU, with the weights, buffers, images and random numbers of each
    step. What its `forward` decides in Python, such as a layer that is left out at random, it repeats as it was.
    Buffers stay in their places in memory: they may be changed, not replaced. Gradients lie where the next replay puts
    its own: they must be None before each backward pass, and cannot be added up
    (https://github.com/pytorch/pytorch/issues/181723).

    Args:
        network: the network that is trained. Its output is a tensor or a tuple of tensors.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.shape: torch.Size | None = None  # of the images of the recording
        self.recording: Callable[..., Any] | None = None
        self.parameters: list[nn.Parameter] = []  # of the network, with which the recording is called

    def __call__(self, images: Tensor, is_first: bool) -> Any:
        """The output of the network, which the next call overwrites.

        Args:
            images: a batch (N, C, H, W) that needs no gradient.
            is_first: whether it is the first of an epoch.

        Raises:
            UserError: the network does something that cannot be recorded.
        """
        if is_first and images.shape != self.shape:
            self.record(images)
        if self.recording is None or images.shape != self.shape:
            return self.network(images)
        return self.recording(images, *self.parameters)

    def record(self, images: Tensor) -> None:
        """Record the passes for images of this shape. Weights, buffers, gradients and random states stay as they are.

        Args:
            images: a batch (N, C, H, W).

        Raises:
            UserError: the network does something that cannot be recorded.
        """
        self.forget()
        gc.collect()  # an earlier graph that is freed while another one is recorded would spoil that
        buffers = [(buffer, buffer.clone()) for buffer in self.network.buffers()]
        parameters, kind = list(self.network.parameters()), images.device.type
        # Each replay reads images and weights from here; the weights are those of the network, by another name, so that
        # the recording has no part in where autograd adds up their gradients.
        inputs = [images.detach().clone()]
        inputs += [weights.detach().requires_grad_(weights.requires_grad) for weights in parameters]
        forward = pass_of(self.network, kind)
        try:
            with (
                torch.random.fork_rng([images.device] if images.is_cuda else []),
                torch.autocast(kind, enabled=False),
            ):
                # The passes are run three times, which changes buffers and draws random numbers, and then recorded.
                recording = torch.cuda.make_graphed_callables(
                    forward, tuple(inputs), allow_unused_input=True, **other_threads_may_go_on()
                )
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise UserError(
                f"trainer.cuda_graphs=true: the passes of {type(self.network).__name__} cannot be recorded "
                f"({reason_of(error)}). It may wait for a value from the GPU, as .item() does. Set "
                "trainer.cuda_graphs=false"
            ) from error
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
        self.shape, self.recording, self.parameters = images.shape, recording, parameters

    def forget(self) -> None:
        """Give the memory of the recording back."""
        self.shape, self.recording, self.parameters = None, None, []


def reason_of(error: BaseException) -> str:
    """The first line of the error that began it: a recording that is given up raises others."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error).partition("\n")[0]


def other_threads_may_go_on() -> dict[str, Any]:
    """Arguments of `torch.cuda.make_graphed_callables` by which a recording concerns no other thread, if it has such.

    The thread that pins batches in memory calls CUDA at any time, which would otherwise spoil the recording.
    """
    known = inspect.signature(torch.cuda.make_graphed_callables).parameters
    return {"capture_error_mode": "thread_local"} if "capture_error_mode" in known else {}


def is_wanted(settings: Settings, hardware: Hardware) -> bool:
    """Whether a run's settings want this, on hardware that can do it."""
    return settings.trainer.cuda_graphs and hardware.device.type == "cuda"


def check_cuda_graphs(settings: Settings, hardware: Hardware, processes: int) -> None:
    """Refuse settings that do not go together with recorded passes; on a CPU, where nothing is recorded, none.

    Args:
        settings: the settings of the run.
        hardware: the hardware that they mean on this machine.
        processes: how many processes train together.

    Raises:
        UserError: they do not.
    """
    if not is_wanted(settings, hardware):
        return
    strategy = settings.trainer.lightning.get("strategy", "auto")
    if processes > 1 or strategy != "auto":
        raise UserError(
            f"trainer.cuda_graphs=true: this is for one process without a strategy, and here are {processes} with "
            f"trainer.strategy={strategy}. Set trainer.cuda_graphs=false, or trainer.gpus=1 and trainer.strategy=auto"
        )
    if settings.training.compile:
        raise UserError(
            "trainer.cuda_graphs=true: with model.compile=true the network would be recorded twice. Set one of them to "
            "false"
        )
    accumulated = settings.trainer.lightning.get("accumulate_grad_batches", 1)
    if accumulated != 1:
        raise UserError(
            f"trainer.cuda_graphs=true: recorded passes cannot add up gradients, and "
            f"trainer.accumulate_grad_batches={accumulated} asks for it. Set it to 1, or trainer.cuda_graphs=false"
        )


def recorded_passes_of(settings: Settings, hardware: Hardware, network: nn.Module) -> RecordedPasses | None:
    """What a run's settings want of this; None if they do not want it, or the hardware is no GPU of CUDA."""
    return RecordedPasses(network) if is_wanted(settings, hardware) else None
