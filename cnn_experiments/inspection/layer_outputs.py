"""What the layers of a network output for some images, and how many of their units do nothing."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from cnn_experiments.models.layers import Layer, ScaledTanh, is_layer, layers_and_branches

SATURATED = 0.95  # share of a tanh's bound beyond which its gradient nearly vanishes

Context = Callable[[], AbstractContextManager[Any]]


def named_layers(network: nn.Module) -> dict[str, nn.Module]:
    """The layers of a network by name, with everything that they consist of and that is a layer itself.

    These are the names of `layers_and_branches`, and what is inside a branch: ``conv1``, ``inception3a``,
    ``inception3a/branch5x5``, ``inception3a/branch5x5/reduce``. As in the layer table, a ``Layer`` of simple modules
    is one layer, and whatever else has parts is followed by them.
    """
    found: dict[str, nn.Module] = {}
    for name, layer in network.named_children():
        found[name] = layer
        if not (isinstance(layer, Layer) and is_layer(layer)):
            found |= {f"{name}/{part_name}": part for part_name, part in named_layers(layer).items()}
    return found


@contextmanager
def watching(layers: Mapping[str, nn.Module], see: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Show what layers output whenever a network is run within this context; dropout and placeholders are left out.

    Args:
        layers: the layers by name.
        see: gets the name of a layer and its output, as it runs. What follows may change the output in place.
    """

    def see_first(name: str, output: Any) -> None:
        tensor = first_tensor(output)
        if tensor is not None:
            see(name, tensor)

    with hooked(layers, see_first):
        yield


@contextmanager
def hooked(layers: Mapping[str, nn.Module], hook: Callable[[str, Any], Tensor | None]) -> Iterator[None]:
    """Call a hook on what layers output within this context; dropout and placeholders are left out.

    Args:
        layers: the layers by name.
        hook: gets the name of a layer and its output, as it runs; a tensor that it returns takes the output's place.
    """

    def hook_of(name: str) -> Callable[..., Tensor | None]:
        return lambda layer, inputs, output: hook(name, output)

    handles = [
        layer.register_forward_hook(hook_of(name))
        for name, layer in layers.items()
        if not isinstance(layer, (nn.Identity, nn.Dropout))
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def layer_outputs(
    network: nn.Module,
    images: Tensor,
    context: Context = nullcontext,
    layers: Mapping[str, nn.Module] | None = None,
) -> Iterator[tuple[str, nn.Module, Tensor]]:
    """Run a network in evaluation mode and show what each layer outputs.

    The network is left as it was, and no random numbers are drawn. A layer made of branches is followed by each of
    them, as ``inception3a/branch5x5``. Dropout and placeholders, which change nothing in evaluation mode, are left
    out.

    Args:
        network: any network.
        images: network input (N, C, H, W), on the network's device.
        context: makes the context to compute in, such as autocast.
        layers: which of its layers, by name; None for `layers_and_branches`.

    Yields:
        Name, layer and output of each layer: float32, (N, C, H, W) or (N, units). For a layer that is used several
        times, the last output.
    """
    layers = layers_and_branches(network) if layers is None else layers
    outputs: dict[str, Tensor] = {}

    def remember(name: str, output: Tensor) -> None:  # a copy: what follows may work in place
        outputs[name] = output.detach().to(torch.float32, copy=True)

    with watching(layers, remember), evaluation_mode(network), torch.no_grad(), context():
        network.forward(images)  # not network(images): a compiled network would skip the hooks
    for name, layer in layers.items():
        if name in outputs:
            yield name, layer, outputs[name]


def last_hidden_layer(network: nn.Module, images: Tensor, context: Context = nullcontext) -> tuple[str, Tensor]:
    """Run a network in evaluation mode and show the features by which it classifies: what its last layer gets.

    The last layer is the module that runs last among those with weights, trained or fixed. In LeNet-5 it gets what F6
    outputs, in AlexNet FC7, in GoogLeNet the average pool. The network is left as it was.

    Args:
        network: any network.
        images: network input (N, C, H, W), on the network's device.
        context: makes the context to compute in, such as autocast.

    Returns:
        The name of the layer that had run before, ``input`` if there was none, and the features, float32 (N, units).
    """
    before, seen = "input", ("input", images)

    def see_output(name: str, output: Tensor) -> None:
        nonlocal before
        before = name

    def see_input(module: nn.Module, inputs: Any) -> None:
        nonlocal seen
        tensor = first_tensor(inputs)
        seen = seen if tensor is None else (before, tensor)

    with_weights = [
        module for module in network.modules() if not [*module.children()] and [*module.parameters(), *module.buffers()]
    ]
    handles = [module.register_forward_pre_hook(see_input) for module in with_weights]
    try:
        with watching(dict(network.named_children()), see_output), evaluation_mode(network), torch.no_grad(), context():
            network.forward(images)  # not network(images): a compiled network would skip the hooks
    finally:
        for handle in handles:
            handle.remove()
    name, features = seen
    return name, features.detach().flatten(1).float()


def units_out_of_use(network: nn.Module, batches: Iterable[Tensor], context: Context = nullcontext) -> dict[str, float]:
    """Shares of units that no longer learn, by the names under which they are logged.

    - ``dead_relus/<layer>``: maps, or dense units, that are 0 everywhere on all images. Their gradient is 0, too.
    - ``saturated_tanhs/<layer>``: values beyond 95 % of the bound, where the gradient nearly vanishes.

    Args:
        network: any network.
        batches: network inputs (N, C, H, W), on the network's device.
        context: makes the context to compute in, such as autocast.
    """
    dead: dict[str, Tensor] = {}  # maps that were so far
    saturated: dict[str, list[Tensor]] = defaultdict(list)  # share of the values of each image
    for images in batches:
        for name, layer, values in layer_outputs(network, images, context):
            of_maps, of_images = dead_maps(layer, values), saturated_shares(layer, values)
            if of_maps is not None:
                dead[name] = of_maps & dead.get(name, of_maps)
            if of_images is not None:
                saturated[name].append(of_images)
    shares = {f"dead_relus/{name}": of_maps.float().mean().item() for name, of_maps in dead.items()}
    return shares | {f"saturated_tanhs/{name}": torch.cat(parts).mean().item() for name, parts in saturated.items()}


def dead_maps(layer: nn.Module, values: Tensor) -> Tensor | None:
    """Which maps or units of a layer with ReLUs are 0 everywhere, (maps,); None for other layers.

    Args:
        layer: the layer.
        values: what it outputs for some images, (N, C, H, W) or (N, units).
    """
    if not any(type(part) is nn.ReLU for part in layer.modules()):
        return None
    return values.amax([dimension for dimension in range(values.dim()) if dimension != 1]) <= 0


def saturated_shares(layer: nn.Module, values: Tensor) -> Tensor | None:
    """Which share of a layer's values lies beyond 95 % of its tanh's bound, for each image, (N,); None without a tanh.

    Args:
        layer: the layer.
        values: what it outputs for some images, (N, C, H, W) or (N, units).
    """
    kinds = {type(part) for part in layer.modules()}
    if nn.ReLU in kinds or not kinds & {nn.Tanh, ScaledTanh}:
        return None
    bound = SATURATED * (ScaledTanh.AMPLITUDE if ScaledTanh in kinds else 1)
    return (values.abs() > bound).flatten(1).float().mean(1)


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
