"""What the layers of a network output for some images, and how many of their units do nothing."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from cnn_experiments.models.layers import ScaledTanh, layers_and_branches

SATURATED = 0.95  # share of a tanh's bound beyond which its gradient nearly vanishes

Context = Callable[[], AbstractContextManager[Any]]


def layer_outputs(
    network: nn.Module, images: Tensor, context: Context = nullcontext
) -> Iterator[tuple[str, nn.Module, Tensor]]:
    """Run a network in evaluation mode and show what each layer outputs.

    The network is left as it was, and no random numbers are drawn. A layer made of branches is followed by each of
    them, as ``inception3a/branch5x5``. Dropout and placeholders, which change nothing in evaluation mode, are left
    out.

    Args:
        network: any network.
        images: network input (N, C, H, W), on the network's device.
        context: makes the context to compute in, such as autocast.

    Yields:
        Name, layer and output of each layer: float32, (N, C, H, W) or (N, units). For a layer that is used several
        times, the last output.
    """
    layers = layers_and_branches(network)
    outputs: dict[nn.Module, Tensor] = {}

    def remember(layer: nn.Module, inputs: Any, output: Any) -> None:
        tensor = first_tensor(output)
        if tensor is not None:  # a copy: what follows may work in place
            outputs[layer] = tensor.detach().to(torch.float32, copy=True)

    hooks = [layer.register_forward_hook(remember) for layer in layers.values()]
    try:
        with evaluation_mode(network), torch.no_grad(), context():
            network.forward(images)  # not network(images): a compiled network would skip the hooks
    finally:
        for hook in hooks:
            hook.remove()
    for name, layer in layers.items():
        if layer in outputs and not isinstance(layer, (nn.Identity, nn.Dropout)):
            yield name, layer, outputs[layer]


def units_out_of_use(network: nn.Module, batches: Iterable[Tensor], context: Context = nullcontext) -> dict[str, float]:
    """Shares of units that no longer learn, by the names under which they are logged.

    - ``dead_relus/<layer>``: maps, or dense units, that are 0 everywhere on all images. Their gradient is 0, too.
    - ``saturated_tanhs/<layer>``: values beyond 95 % of the bound, where the gradient nearly vanishes.

    Args:
        network: any network.
        batches: network inputs (N, C, H, W), on the network's device.
        context: makes the context to compute in, such as autocast.
    """
    highest: dict[str, Tensor] = {}  # value of each map or unit so far
    saturated: dict[str, list[Tensor]] = defaultdict(list)  # share of the values of each image
    for images in batches:
        for name, layer, values in layer_outputs(network, images, context):
            kinds = {type(part) for part in layer.modules()}
            if nn.ReLU in kinds:
                of_batch = values.transpose(0, 1).flatten(1).amax(1)
                highest[name] = of_batch.maximum(highest.get(name, of_batch))
            elif kinds & {nn.Tanh, ScaledTanh}:
                bound = SATURATED * (ScaledTanh.AMPLITUDE if ScaledTanh in kinds else 1)
                saturated[name].append((values.abs() > bound).flatten(1).float().mean(1))
    dead = {f"dead_relus/{name}": (values <= 0).float().mean().item() for name, values in highest.items()}
    return dead | {f"saturated_tanhs/{name}": torch.cat(shares).mean().item() for name, shares in saturated.items()}


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, and each of its modules back into its own mode afterwards."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def first_tensor(output: Any) -> Tensor | None:
    """The first tensor in what a module returned, which may be tuples, lists or dictionaries; None without any."""
    if isinstance(output, Tensor):
        return output
    parts: Iterable[Any] = ()
    if isinstance(output, Mapping):
        parts = output.values()
    elif isinstance(output, Sequence) and not isinstance(output, str):
        parts = output
    return next((tensor for part in parts if (tensor := first_tensor(part)) is not None), None)
