"""Switching maps off, to see what depends on them.

A map that is off outputs 0 everywhere, or its mean. 0 is what "nothing found here" looks like after a ReLU, but a value
that the layers above may never have seen at all places; the mean takes away where and how much the map responds, and
leaves what it says on average. Means are those over the images that are given, best some hundred test images: of one
image alone, the mean of a dense unit is the unit itself, and nothing would change.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cnn_experiments.errors import UserError
from cnn_experiments.inspection.graph import INPUT, Graph
from cnn_experiments.inspection.layer_outputs import evaluation_mode, first_tensor, named_layers, watching
from cnn_experiments.inspection.progress import Progress
from cnn_experiments.settings.suggestions import suggest

Off = Mapping[str, Sequence[int] | None]
"""Maps (or dense units) that are off, by the names of their layers; None for all of a layer or branch."""

Means = Mapping[str, Tensor]
"""The mean of each map, (maps,), by the names of the layers."""


def means_of_maps(network: nn.Module, batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """The mean of each map or unit over all its places and over images.

    Args:
        network: any network; it is run in evaluation mode.
        batches: network inputs (N, C, H, W), on the network's device.

    Returns:
        Means (maps,) by the names of the layers; of a layer that is used several times, those of the last use.

    Raises:
        ValueError: there are no images.
    """
    sums: dict[str, Tensor] = {}
    of_batch: dict[str, Tensor] = {}
    images_seen = 0

    def see(name: str, output: Tensor) -> None:
        means = output.detach().double().flatten(2).mean(2) if output.dim() > 2 else output.detach().double()
        of_batch[name] = means.sum(0)

    with watching(named_layers(network), see), evaluation_mode(network), torch.no_grad():
        for images in batches:
            network.forward(images)
            for name, total in of_batch.items():
                sums[name] = sums.get(name, 0) + total
            of_batch.clear()
            images_seen += len(images)
    if not images_seen:
        raise ValueError("means_of_maps: there are no images to take the means of")
    return {name: (total / images_seen).float() for name, total in sums.items()}


@contextmanager
def switched_off(network: nn.Module, off: Off, means: Means | None = None) -> Iterator[None]:
    """Switch maps off within this context. The weights are not touched, and afterwards everything is as it was.

    Args:
        network: any network, called as ``network.forward(images)`` where it may be compiled.
        off: which maps.
        means: from `means_of_maps`, to set each map to its mean; None to set it to 0.

    Raises:
        UserError: there is no such layer or map; of a map, when the network is run.
    """
    layers = named_layers(network)
    for name in off:
        if name not in layers:
            raise UserError(f"off: there is no layer {name}. {suggest(name, layers)}")
    hooks = [
        layers[name].register_forward_hook(_hook(name, maps, None if means is None else means[name]))
        for name, maps in off.items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _hook(name: str, maps: Sequence[int] | None, means: Tensor | None) -> Callable[..., Tensor]:
    def switch_off(layer: nn.Module, inputs: Any, output: Any) -> Tensor:
        return with_maps_off(first_tensor(output), name, maps, means)

    return switch_off


def with_maps_off(outputs: Tensor | None, name: str, maps: Sequence[int] | None, means: Tensor | None) -> Tensor:
    """What a layer outputs with some of its maps off.

    Args:
        outputs: what it outputs, (N, C, H, W) or (N, units).
        name: the layer, for messages.
        maps: which maps; None for all.
        means: of its maps, to set each to its mean; None to set it to 0.

    Raises:
        UserError: there is no such map.
    """
    number = outputs.shape[1] if outputs is not None and outputs.dim() > 1 else 0
    wrong = [map_ for map_ in maps or () if not 0 <= map_ < number]
    if outputs is None or wrong or not number:
        raise UserError(f"off: {name} has {number} maps, numbered from 0; there is no map {(wrong or [0])[0]}")
    chosen = list(range(number)) if maps is None else list(maps)
    changed = outputs.clone()
    changed[:, chosen] = values_when_off(outputs, means)[:, chosen]
    return changed


def values_when_off(outputs: Tensor, means: Tensor | None) -> Tensor:
    """What each map outputs when it is off, in the shape of `outputs`, (1, maps, 1, 1) or (1, maps)."""
    shape = (1, -1) + (1,) * (outputs.dim() - 2)
    if means is None:
        return outputs.new_zeros(outputs.shape[1]).view(shape)
    return means.to(outputs).view(shape)


def probabilities(network: nn.Module, images: Tensor, off: Off | None = None, means: Means | None = None) -> Tensor:
    """The probability of each class, with some maps off.

    Args:
        network: any network; it is run in evaluation mode, and stays as it is.
        images: network input (N, C, H, W), on the network's device.
        off: which maps are off; None for none.
        means: from `means_of_maps`, to set each map to its mean; None to set it to 0.

    Returns:
        (N, classes).

    Raises:
        UserError: there is no such layer or map.
    """
    with switched_off(network, off or {}, means), evaluation_mode(network), torch.no_grad():
        scores = first_tensor(network.forward(images))
    assert scores is not None
    return scores.float().softmax(1)


@dataclass(frozen=True)
class WithoutMap:
    """What becomes of a class when one map is off.

    Args:
        layer: the map's layer.
        map: its number; or of a unit.
        drop: by how much the probability of the class falls; below 0 where it rises.
        score_drop: by how much the class's lead over the highest other score falls, which tells maps apart where
            the probability stays at 1.
        class_index: the most likely class without the map.
        probability: its probability.
    """

    layer: str
    map: int
    drop: float
    score_drop: float
    class_index: int
    probability: float


@dataclass(frozen=True)
class Ranking:
    """Single maps, the one that the answer depends on most first.

    Args:
        class_index: the class that was asked about.
        before: its probability with all maps on.
        maps: all that were switched off so far, in order of `drop`, then of `score_drop`.
    """

    class_index: int
    before: float
    maps: list[WithoutMap]


def layers_to_rank(graph: Graph) -> list[str]:
    """The layers whose maps are worth switching off one by one: those with weights, but for the output.

    A plain sequence is not a layer of its own here; its parts are.
    """

    def inside(module: nn.Module, path: str) -> Iterator[str]:
        for child_name, child in module.named_children():
            name = path + child_name
            if name not in graph.names or type(child) is nn.Sequential or graph.node(name) is graph.scores:
                yield from inside(child, f"{name}/")
            elif next(child.parameters(), None) is not None:
                yield name

    return list(inside(graph.network, ""))


def maps_by_importance(
    graph: Graph,
    image: Tensor,
    class_index: int | None = None,
    layers: Sequence[str] | None = None,
    means: Means | None = None,
    batch_size: int = 32,
) -> Iterator[Progress[Ranking]]:
    """Which single map an answer depends on most: each is switched off in turn, and what follows it computed again.

    Args:
        graph: the network as a graph; the network is not changed.
        image: network input (1, C, H, W), on the network's device.
        class_index: the class to ask about; None for the most likely one.
        layers: the layers whose maps are switched off; None for `layers_to_rank`.
        means: from `means_of_maps`, to set each map to its mean; None to set it to 0.
        batch_size: how many maps are tried at once; of dense units, after which little is left to compute, 8 times
            as many.

    Yields:
        Progress in maps, after each batch.

    Raises:
        UserError: there is no such layer or class.
    """
    names = layers_to_rank(graph) if layers is None else list(layers)
    if INPUT in names:
        raise UserError(f"layers: {INPUT} is the image, which cannot be switched off")
    values = graph.values(image)
    scores = values[graph.scores][0].float()
    class_index = int(scores.argmax()) if class_index is None else class_index
    if not 0 <= class_index < len(scores):
        raise UserError(f"class={class_index}: there are {len(scores)} classes, 0 to {len(scores) - 1}")
    before, lead = scores.softmax(0)[class_index].item(), leads(scores[None], class_index)[0].item()
    counts = {name: graph.shape(name)[0] for name in names}
    found: list[WithoutMap] = []
    for name, count in counts.items():
        outputs = values[graph.node(name)]
        off = values_when_off(outputs, None if means is None else means[name])
        at_once = batch_size if outputs.dim() > 2 else 8 * batch_size
        for start in range(0, count, at_once):
            maps = torch.arange(start, min(start + at_once, count))
            tries = outputs.repeat(len(maps), *[1] * (outputs.dim() - 1))
            tries[torch.arange(len(maps)), maps] = off[0, maps].expand_as(tries[0, maps])
            changed = graph.rerun(values, graph.node(name), tries).float()
            shares = changed.softmax(1)
            drops = (before - shares[:, class_index]).tolist()
            score_drops = (lead - leads(changed, class_index)).tolist()
            highest = shares.max(1)
            found += map(
                WithoutMap,
                [name] * len(maps),
                maps.tolist(),
                drops,
                score_drops,
                highest.indices.tolist(),
                highest.values.tolist(),
            )
            found.sort(key=lambda without: (-without.drop, -without.score_drop))
            yield Progress(len(found), sum(counts.values()), Ranking(class_index, before, list(found)))


def leads(scores: Tensor, class_index: int) -> Tensor:
    """By how much the score of a class exceeds the highest of the others: (N, classes) to (N,)."""
    others = scores.clone()
    others[:, class_index] = -torch.inf
    return scores[:, class_index] - others.amax(1)
