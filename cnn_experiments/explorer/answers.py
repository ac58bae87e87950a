"""The answers to what the page asks: plain values and arrays, as `messages.frame` sends them.

A function that takes long is a generator of `Progress`; whoever stops asking for the next step stops it. Each step
leaves the network as it was, so that other asks can be answered in between.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from cnn_experiments.datamodules.mnist import MNIST
from cnn_experiments.errors import ExperimentError, UserError
from cnn_experiments.explorer import messages
from cnn_experiments.explorer.refusal import RefusalError
from cnn_experiments.explorer.situation import Desk, Posed
from cnn_experiments.explorer.subject import NOT_RECORDED, Inspected, Subject, TestImages
from cnn_experiments.inspection.ablation import maps_by_importance
from cnn_experiments.inspection.arithmetic import Unchanged
from cnn_experiments.inspection.exciting_images import (
    NUMBER,
    OfLayer,
    digest_of,
    most_exciting_images,
    read_exciting_images,
    write_exciting_images,
)
from cnn_experiments.inspection.graph import INPUT
from cnn_experiments.inspection.images import colours_of, picture_of_bytes, picture_of_input
from cnn_experiments.inspection.layer_statistics import layer_statistics, shared_ranges
from cnn_experiments.inspection.occlusion import occlusion_map
from cnn_experiments.inspection.progress import Progress
from cnn_experiments.inspection.receptive_fields import Field
from cnn_experiments.inspection.saliency import grad_cam
from cnn_experiments.models.layers import PartialConv2d, Subsampling
from cnn_experiments.models.lenet5 import RadialBasisFunctions
from cnn_experiments.runs.formats import as_typed, cut, printable
from cnn_experiments.settings.suggestions import suggest

Answer = dict[str, Any]
LongAnswer = Iterator[Progress[Answer]]

SOFTMAX = "softmax"  # asks for the arithmetic of a probability
EXCITING_FILE = "exciting_images.npz"
MOST_LISTED = 200  # right and wrong test images
MOST_LABELS = 10_000
MOST_RANKED = 60
MOST_PLACES = 4_000  # of a heat map
MOST_WEIGHTS = 2_000_000  # numbers in an answer
IMAGES_AT_ONCE = 256
LARGEST_THUMBNAIL = 64  # pixels
BITMAP = (12, 7)


def answer(asked: messages.Ask, desk: Desk) -> Answer | LongAnswer:
    """The answer to an ask, or a generator of it where it takes long.

    Args:
        asked: the ask.
        desk: what the tab holds.

    Raises:
        UserError: what was asked for does not exist.
    """
    found = ANSWERS[type(asked)](asked, desk)
    if isinstance(found, dict):
        return found
    assert isinstance(asked, messages.Situated)
    return _with_weights_of(desk.subject(asked.run), asked.epoch, found)


def _with_weights_of(subject: Subject, epoch: int | None, steps: LongAnswer) -> LongAnswer:
    """Steps of a long computation, each with the weights of its epoch; in between, another may be looked at."""
    while True:
        subject.at(epoch)
        step = next(steps, None)
        if step is None:
            return
        yield step


# --- What is there ----------------------------------------------------------------------------------------------------


def runs(asked: messages.Runs, desk: Desk) -> Answer:
    """The runs, their layers and test images, and the settings in which two of them differ."""
    return {"runs": [_run(subject) for subject in desk.subjects], "differences": _differences(desk.subjects)}


def _run(subject: Subject) -> Answer:
    metrics = {name: value for name, value in subject.metrics.items() if isinstance(value, (int, float, str))}
    validated = [(row.get("val/accuracy", math.nan), row.get("epoch", math.nan)) for row in subject.history]
    best = max((row for row in validated if all(map(math.isfinite, row))), key=lambda row: row[0], default=None)
    return {
        "title": printable(subject.title),
        "model": printable(str(subject.settings.get("model.name", type(subject.network).__name__))),
        "directory": printable(subject.directory),
        "classes": [printable(cut(name)) for name in subject.class_names],
        "input_shape": list(subject.input_shape),
        "drawable": isinstance(subject.data, MNIST),
        "preparation": _preparation(subject),
        "layers": _layers(subject.kept),
        "explained": subject.kept.unexplained or None,
        "epochs": list(subject.epochs),
        "best_epoch": None if best is None else int(best[1]),
        "metrics": metrics,
        "history": [dict(row) for row in subject.history],
        "tests": _tests(subject.tests),
        "problem": subject.problem or None,
    }


def _preparation(subject: Subject) -> Answer:
    """How images become what the network gets."""
    colours = colours_of(subject.data)
    data = subject.data
    return {
        "mean": None if colours is None else colours[0],
        "std": None if colours is None else colours[1],
        "background": data.background if isinstance(data, MNIST) else None,
        "ink": data.ink if isinstance(data, MNIST) else None,
        "margin": data.margin if isinstance(data, MNIST) else 0,
    }


def _layers(inspected: Inspected) -> list[Answer]:
    found = []
    for name in [INPUT, *inspected.layers]:
        row, parent = inspected.rows.get(name), name.rpartition("/")[0]
        texts = ("kind", "kernel", "stride", "padding", "activation")
        counts = ("parameters", "multiply_adds", "connections")
        found.append(
            {"name": name, "parent": parent or None, "depth": name.count("/"), "shape": list(inspected.shapes[name])}
            | {text: "" if row is None else getattr(row, text) for text in texts}
            | {count: 0 if row is None else getattr(row, count) for count in counts}
        )
    return found


def _tests(tests: TestImages | None) -> Answer:
    """How many test images there are, and which were recognised: some of each, of the wrong ones the surest."""
    if tests is None:
        return {
            "count": 0,
            "labels": [],
            "predictions": [],
            "right": [],
            "wrong": [],
            "counts": {"right": 0, "wrong": 0},
        }
    labels = tests.images.labels.numpy()
    right = wrong = np.zeros(0, int)
    predictions = np.full(len(labels), NOT_RECORDED)
    if tests.recorded is not None:
        predictions = tests.recorded.predictions
        right, wrong = np.flatnonzero(predictions == labels), np.flatnonzero(predictions != labels)
        wrong = wrong[np.argsort(tests.recorded.scores[wrong], kind="stable")]
    return {
        "count": len(labels),
        "labels": labels[:MOST_LABELS].tolist(),
        "predictions": predictions[:MOST_LABELS].tolist(),
        "right": right[:MOST_LISTED].tolist(),
        "wrong": wrong[:MOST_LISTED].tolist(),
        "counts": {"right": len(right), "wrong": len(wrong)},
    }


def _differences(subjects: Sequence[Subject]) -> list[Answer]:
    """The settings in which two runs differ, as one would type them."""
    if len(subjects) < 2:
        return []
    first, second = (subject.settings for subject in subjects)
    keys = [key for key in {**first, **second} if first.get(key) != second.get(key)]
    return [
        {"key": printable(cut(key)), "values": [printable(as_typed(key, one.get(key))) for one in (first, second)]}
        for key in keys
    ]


def upload(asked: messages.Upload, desk: Desk) -> Answer:
    """Keep a photograph for the tab."""
    desk.subject(asked.run)
    key, photograph = desk.upload(asked.content)
    return {"key": key, "width": photograph.size[0], "height": photograph.size[1]}


def image(asked: messages.Image, desk: Desk) -> Answer:
    """The image as it was given, and exactly what the network gets."""
    given, posed = desk.given(asked), desk.posed(asked)
    data, tests = posed.subject.data, posed.subject.tests
    assert data is not None
    seen = posed.image[0]
    numbers = _preparation(posed.subject)
    found: Answer = {"label": None, "prediction": None}
    if isinstance(asked.image, messages.TestImage) and tests is not None:
        found = {"label": tests.label(asked.image.test), "prediction": tests.prediction(asked.image.test)}
    return {
        **found,
        **numbers,
        "given": given.picture,
        "input": seen,
        "shown": picture_of_input(data, seen),
        "range": [seen.min().item(), seen.max().item()],
    }


def thumbnails(asked: messages.Thumbnails, desk: Desk) -> Answer:
    """Small pictures of test images."""
    subject = desk.subject(asked.run)
    if subject.tests is None or subject.data is None:
        raise RefusalError("no_tests", problem=subject.problem)
    tests = subject.tests
    images = tests.bytes_of(asked.indices)
    side = max(images.shape[2:])
    if side > LARGEST_THUMBNAIL:
        images = functional.interpolate(images.float(), scale_factor=LARGEST_THUMBNAIL / side, mode="area")
        images = images.round().to(torch.uint8)
    return {
        "pictures": picture_of_bytes(subject.data, images),
        "labels": [tests.label(index) for index in asked.indices],
        "predictions": [tests.prediction(index) for index in asked.indices],
    }


# --- One image --------------------------------------------------------------------------------------------------------


def look(asked: messages.Look, desk: Desk) -> Answer:
    """The probabilities of the classes, and what some layers output."""
    outputs = desk.outputs(asked)
    known = outputs.layers
    for name in asked.layers:
        if name not in known:
            raise UserError(f"layer={name}: there is no such layer that runs here. {suggest(name, known)}")
    before = None
    if asked.off or asked.square is not None:
        untouched = desk.outputs(asked.model_copy(update={"off": [], "square": None}))
        before = {"probabilities": untouched.probabilities, "scores": untouched.scores}
    return {
        "probabilities": outputs.probabilities,
        "scores": outputs.scores,
        "before": before,
        "maps": {name: known[name].float() for name in asked.layers},
        "strengths": outputs.strengths,
        "dead": outputs.dead,
        "range": {name: [values.min().item(), values.max().item()] for name, values in known.items()},
    }


def fields(asked: messages.Fields, desk: Desk) -> Answer:
    """What a value sees, in every layer on the way to it."""
    inspected = desk.subject(asked.run).kept  # they do not depend on the weights
    found = inspected.fields.of(asked.layer, asked.row, asked.column, asked.map)
    taken: dict[str, Field] = {}
    if asked.layer != INPUT:
        taken = inspected.fields.taken(asked.layer, (asked.map or 0, asked.row, asked.column))
    geometry = inspected.fields.geometry(asked.layer)
    return {
        "fields": list(map(_field, found.values())),
        "taken": list(map(_field, taken.values())),
        "inputs": sum(field.values for field in taken.values()),
        "seen": found[INPUT].values if INPUT in found else 0,
        "geometry": None if geometry is None else asdict(geometry),
    }


def _field(field: Field) -> Answer:
    return {
        "layer": field.layer,
        "maps": list(field.maps),
        "pixels": list(field.pixels),
        "unclipped": list(field.unclipped),
    }


def value(asked: messages.Value, desk: Desk) -> Answer:
    """The arithmetic behind a value, or behind the probability of a class."""
    posed = desk.posed(asked)
    if asked.layer == SOFTMAX:
        softmax = posed.arithmetic().probability(asked.map)
        place = {"layer": SOFTMAX, "map": asked.map, "row": 0, "column": 0, "off": None}
        return {**place, "result": softmax.result, "steps": [asdict(softmax)]}
    explanation = posed.arithmetic(asked.layer).explain(asked.layer, asked.map, asked.row, asked.column)
    parts = [(asked.layer, asked.map)]  # where the value stands, in the layer and in a branch of it
    parts += [(step.source, step.place[0]) for step in explanation.steps if isinstance(step, Unchanged)]
    off = next((off.to for off in asked.off for part in parts if off.includes(*part)), None)
    return {**asdict(explanation), "off": off}


def ranking(asked: messages.Ranking, desk: Desk) -> LongAnswer:
    """Which single map the answer depends on most, with nothing else off."""
    posed = desk.posed(asked)
    means = posed.inspected.means if asked.to == "mean" else None
    steps = maps_by_importance(posed.inspected.graph, posed.image, asked.class_, asked.layers, means)
    for done, total, found in steps:
        yield Progress(
            done,
            total,
            {
                "class": found.class_index,
                "before": found.before,
                "count": total,
                "maps": [asdict(without) for without in found.maps[:MOST_RANKED]],
            },
        )


def heat(asked: messages.Heat, desk: Desk) -> LongAnswer:
    """The probability of a class with each part of the image hidden."""
    posed = desk.posed(asked)
    _, _, height, width = posed.image.shape
    side = max(1, min(height, width) // 4) if asked.side is None else asked.side
    stride = max(1, side // 3) if asked.stride is None else asked.stride
    if side > max(height, width) or (height // stride) * (width // stride) > MOST_PLACES:
        raise UserError(
            f"side={side}, stride={stride}: the image has {height}×{width} pixels, and at most {MOST_PLACES:,} places "
            "are tried. Take a smaller square or a larger stride"
        )
    steps = occlusion_map(posed.inspected.network, posed.image, asked.class_, side, stride)
    for done, total, found in _with_maps_off(posed, steps):
        yield Progress(
            done,
            total,
            {
                "class": found.class_index,
                "before": found.before,
                "rows": found.rows,
                "columns": found.columns,
                "size": found.size,
                "probabilities": found.probabilities.float(),
            },
        )


def _with_maps_off(posed: Posed, steps: Iterator[Progress[Any]]) -> Iterator[Progress[Any]]:
    """Steps of a long computation, each with what is off; in between, the network is as it was."""
    while True:
        with posed.switched_off():
            step = next(steps, None)
        if step is None:
            return
        yield step


def gradcam(asked: messages.GradCam, desk: Desk) -> Answer:
    """Which places of the image speak for a class, according to a layer's maps."""
    posed = desk.posed(asked)
    shapes = posed.inspected.shapes
    usable = [name for name in posed.inspected.layers if shapes[name][1] > 1]
    weighted = [name for name in usable if "/" not in name and list(posed.inspected.layers[name].parameters())]
    if asked.layer is not None and asked.layer not in usable:
        raise UserError(f"layer={asked.layer}: there is no such layer with maps. {suggest(asked.layer, usable)}")
    if not weighted:
        raise RefusalError("no_maps")
    name = weighted[-1] if asked.layer is None else asked.layer
    class_index = int(desk.outputs(asked).scores.argmax()) if asked.class_ is None else asked.class_
    if class_index >= len(posed.subject.class_names):
        raise UserError(f"class={class_index}: there are {len(posed.subject.class_names)} classes, from 0")
    with posed.switched_off():
        classes = torch.tensor([class_index])
        warmth = grad_cam(posed.inspected.network, posed.inspected.layers[name], posed.image, classes)
    return {"class": class_index, "layer": name, "map": warmth[0]}


# --- All images -------------------------------------------------------------------------------------------------------


def exciting(asked: messages.Exciting, desk: Desk) -> LongAnswer:
    """The test images that excite the maps of a layer most; those of all layers are found at once, and kept."""
    subject = desk.subject(asked.run)
    inspected = subject.at(asked.epoch)
    inspected.layer(asked.layer)
    if subject.tests is None or subject.data is None:
        raise RefusalError("no_tests", problem=subject.problem)
    total = len(subject.tests)
    if inspected.exciting is None:
        inspected.exciting = _kept_exciting(subject, inspected)
    if inspected.exciting is None:
        found: dict[str, OfLayer] = {}
        for done, _, found in most_exciting_images(inspected.network, _batches(subject), total):
            if done < total:
                yield Progress(done, total, _of_layer(inspected, asked.layer, found[asked.layer]))
        inspected.exciting = found
        if subject.cache is not None and inspected is subject.kept:
            with suppress(OSError, ExperimentError):  # a run directory that cannot be written is no reason to stop
                write_exciting_images(subject.cache / EXCITING_FILE, found, _made_of(subject, inspected))
    yield Progress(total, total, _of_layer(inspected, asked.layer, inspected.exciting[asked.layer]))


def _kept_exciting(subject: Subject, inspected: Inspected) -> dict[str, OfLayer] | None:
    """What an earlier page found of these weights and images; None where there is nothing."""
    if subject.cache is None or inspected is not subject.kept or subject.tests is None:
        return None
    try:
        file = subject.cache / EXCITING_FILE
        found = read_exciting_images(file, _made_of(subject, inspected), len(subject.tests))
    except (UserError, OSError):
        return None
    is_whole = found is not None and all(
        name in found and found[name].shape == inspected.shapes[name] and found[name].images.shape[1] == NUMBER
        for name in inspected.layers
    )
    return found if is_whole else None


def _made_of(subject: Subject, inspected: Inspected) -> str:
    assert subject.tests is not None
    return digest_of(inspected.network, subject.tests.fingerprint)


def _batches(subject: Subject) -> Iterator[Tensor]:
    """All test images as the network gets them."""
    assert subject.tests is not None
    assert subject.data is not None
    for start in range(0, len(subject.tests), IMAGES_AT_ONCE):
        indices = range(start, min(start + IMAGES_AT_ONCE, len(subject.tests)))
        yield subject.data.network_input(subject.tests.bytes_of(indices), "test").float()


def _of_layer(inspected: Inspected, name: str, found: OfLayer) -> Answer:
    return {
        "layer": name,
        "images": found.images.astype(np.int32),
        "values": found.values.astype(np.float32),
        "places": found.places.astype(np.int32),
        "fields": _pixels_seen(inspected, name, found.places),
    }


def _pixels_seen(inspected: Inspected, layer: str, places: NDArray[np.int32]) -> NDArray[np.int32]:
    """The rectangles in the image that places (maps, number, 2) of a layer see, (maps, number, 4)."""
    _, height, width = inspected.subject.input_shape
    geometry = None
    if not inspected.unexplained:
        with suppress(UserError):  # something on the way to the layer is not known
            geometry = inspected.fields.geometry(layer)
    if geometry is None:
        return np.broadcast_to(np.array([0, 0, height, width], np.int32), (*places.shape[:2], 4))
    start = places * np.array(geometry.stride) + np.array(geometry.offset)
    pixels = np.concatenate([start, start + np.array(geometry.size)], 2)
    return pixels.clip(0, np.array([height, width, height, width])).astype(np.int32)


def statistics(asked: messages.Statistics, desk: Desk) -> LongAnswer:
    """Values, units out of use and gradients of the layers over some test images; two runs have the same bins."""
    subject = desk.subject(asked.run)
    inspected = subject.at(asked.epoch)
    others = [other for other in desk.subjects if other is not subject]
    steps = len(others) + 2
    images, labels = subject.some_test_images(inspected.images_for_gradients)
    ranges = inspected.value_ranges
    yield Progress(1, steps, {"images": len(images), "layers": []})
    for number, other in enumerate(others):
        with suppress(UserError):  # its test images are missing
            ranges = shared_ranges(ranges, other.kept.value_ranges)
        yield Progress(number + 2, steps, {"images": len(images), "layers": []})
    measured = layer_statistics(inspected.network, images, labels, ranges, table=inspected.table)
    wanted = inspected.layers if asked.layers is None else asked.layers
    layers = [
        {
            "name": one.layer,
            "edges": np.array(one.edges, np.float32),
            "counts": np.array(one.counts, np.float32) / max(1, sum(one.counts)),
            "mean": one.mean,
            "std": one.standard_deviation,
            "lowest": one.lowest,
            "highest": one.highest,
            "dead": one.dead,
            "saturated": one.saturated,
            "gradient_output": one.gradient,
            "gradient_weights": one.weight_gradient,
            "weights": one.weights,
        }
        for one in measured
        if one.layer in wanted
    ]
    yield Progress(steps, steps, {"images": len(images), "layers": layers})


# --- Weights ----------------------------------------------------------------------------------------------------------


def kernels(asked: messages.Kernels, desk: Desk) -> Answer:
    """The weights of a layer, for pictures."""
    inspected = desk.subject(asked.run).at(asked.epoch)
    layer = inspected.layer(asked.layer)
    weighted = [part for part in layer.modules() if isinstance(part, tuple(_WEIGHTED))]
    if len(weighted) > 1:
        inside = [name for name in inspected.layers if name.startswith(f"{asked.layer}/")]
        raise UserError(f"layer={asked.layer}: it consists of several layers. Ask for one of {', '.join(inside)}")
    found: Answer = {"layer": asked.layer, "weights": None, "biases": None, "connections": None}
    found |= {"coefficients": None, "bitmaps": None, "maps": None}
    if not weighted:
        return found
    module = weighted[0]
    describe = next(describe for kind, describe in _WEIGHTED.items() if isinstance(module, kind))
    with torch.no_grad():
        return found | describe(module, asked.maps)


def _of_convolution(module: nn.Module, maps: list[int] | None) -> Answer:
    assert isinstance(module, (nn.Conv2d, PartialConv2d))
    connections: list[list[int]] | None = None
    if isinstance(module, PartialConv2d):
        weights, connections = module.dense_weight(), [list(inputs) for inputs in module.table]
    else:
        weights = module.weight
        if module.groups > 1:
            inputs, outputs = module.in_channels // module.groups, module.out_channels // module.groups
            groups = [list(range(group * inputs, (group + 1) * inputs)) for group in range(module.groups)]
            connections = [seen for seen in groups for _ in range(outputs)]
    return {"connections": connections} | _of_maps(weights, module.bias, maps)


def _of_dense(module: nn.Module, maps: list[int] | None) -> Answer:
    assert isinstance(module, nn.Linear)
    return _of_maps(module.weight[:, :, None, None], module.bias, maps)


def _of_maps(weights: Tensor, biases: Tensor | None, maps: list[int] | None) -> Answer:
    """The weights of all maps, or where they are too many only of those that were asked for."""
    chosen = list(range(len(weights)))
    if weights.numel() > MOST_WEIGHTS:
        chosen = [] if maps is None else maps
        if not chosen or len(chosen) * weights[0].numel() > MOST_WEIGHTS or max(chosen) >= len(weights):
            raise UserError(f"maps: the layer has {len(weights)} maps and too many weights for all. Ask for a few")
    return {
        "weights": weights[chosen].float(),
        "biases": None if biases is None else biases[chosen].float(),
        "maps": chosen,
    }


def _of_subsampling(module: nn.Module, maps: list[int] | None) -> Answer:
    assert isinstance(module, Subsampling)
    return {"coefficients": module.coefficient.flatten().float(), "biases": module.bias.flatten().float()}


def _of_bitmaps(module: nn.Module, maps: list[int] | None) -> Answer:
    assert isinstance(module, RadialBasisFunctions)
    return {"bitmaps": module.centres.view(-1, *BITMAP).float()}


_WEIGHTED: dict[type[nn.Module], Callable[[nn.Module, list[int] | None], Answer]] = {
    nn.Conv2d: _of_convolution,
    PartialConv2d: _of_convolution,
    nn.Linear: _of_dense,
    Subsampling: _of_subsampling,
    RadialBasisFunctions: _of_bitmaps,
}

ANSWERS: dict[type[messages.Asked], Callable[[Any, Desk], Answer | LongAnswer]] = {
    messages.Exciting: exciting,
    messages.Fields: fields,
    messages.GradCam: gradcam,
    messages.Heat: heat,
    messages.Image: image,
    messages.Kernels: kernels,
    messages.Look: look,
    messages.Ranking: ranking,
    messages.Runs: runs,
    messages.Statistics: statistics,
    messages.Thumbnails: thumbnails,
    messages.Upload: upload,
    messages.Value: value,
}
