"""What a map likes: the images that excite it most, and where."""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cnn_experiments.errors import UserError
from cnn_experiments.inspection.layer_outputs import evaluation_mode, named_layers, watching
from cnn_experiments.inspection.progress import Progress
from cnn_experiments.runs import files
from cnn_experiments.runs.arrays import DAMAGED, array_of

NUMBER = 9  # images of each map
VALUES_AT_ONCE = 2**20  # of network input: 1,024 images of MNIST, or 27 of 112 pixels

MOST_BYTES = 2**26  # of a file, packed or unpacked; GoogLeNet's has 2 MB unpacked
MOST_LAYERS, MOST_LETTERS = 10_000, 1_000  # in a file: layers, and letters of a name
MEMBERS = {"images": "<i4", "places": "<i4", "values": "<f4"}  # arrays in a file; and ``described``, which is JSON


@dataclass(frozen=True)
class OfLayer:
    """The images that excite each map of a layer most, the strongest first.

    Args:
        shape: maps, height and width of what the layer outputs; units are maps of 1×1.
        images: numbers of the images in the order in which they came, (maps, number); -1 where there were fewer.
        values: the map's highest value in each, (maps, number); -inf where there were fewer.
        places: row and column of that value in the map, (maps, number, 2).
    """

    shape: tuple[int, int, int]
    images: NDArray[np.int32]
    values: NDArray[np.float32]
    places: NDArray[np.int32]


Exciting = dict[str, OfLayer]
"""By the names of the layers."""


def most_exciting_images(
    network: nn.Module, batches: Iterable[Tensor], total: int, number: int = NUMBER
) -> Iterator[Progress[Exciting]]:
    """Find the images in which each map, or dense unit, of each layer has its highest values, in one pass.

    Memory is bounded: of each map only the best so far are kept, and only some images are computed at once.

    Args:
        network: any network; it is run in evaluation mode, and stays as it is.
        batches: network inputs (N, C, H, W), on the network's device, such as the images of ``data.batches("test")``.
        total: how many images there are, for the progress.
        number: how many images to keep of each map.

    Yields:
        Progress in images. What is found so far covers the images that are done. Of a layer that is used several times,
        the last use counts.
    """
    best: dict[str, _Best] = {}
    seen: dict[str, _Highest] = {}
    done = 0

    def see(name: str, output: Tensor) -> None:
        if output.dim() in (2, 4):
            seen[name] = _highest(output.detach().float())

    for batch in batches:
        for images in torch.split(batch, max(1, VALUES_AT_ONCE // batch[0].numel())):
            # not around the whole loop: whoever asks may run the network in between
            with watching(named_layers(network), see), evaluation_mode(network), torch.no_grad():
                network.forward(images)
            for name, highest in seen.items():
                best.setdefault(name, _Best(number)).add(highest, done)
            seen.clear()
            done += len(images)
            yield Progress(done, total, {name: of_layer.result() for name, of_layer in best.items()})


class _Highest(NamedTuple):
    """The shape of a layer's output, and for each image the highest value of each map and its place there."""

    shape: tuple[int, int, int]
    values: Tensor
    places: Tensor


def _highest(outputs: Tensor) -> _Highest:
    """The highest value of each map in outputs (N, C, H, W) or (N, units)."""
    maps = outputs if outputs.dim() == 4 else outputs[:, :, None, None]
    values, places = maps.flatten(2).nan_to_num(-torch.inf, torch.inf, -torch.inf).max(2)
    return _Highest((maps.shape[1], maps.shape[2], maps.shape[3]), values, places)


class _Best:
    """The highest values of each map of a layer so far."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.shape = (0, 0, 0)
        self.values = self.images = self.places = torch.empty(0)

    def add(self, highest: _Highest, first: int) -> None:
        """Add the highest values in images, of which the first has a number."""
        self.shape, values, places = highest
        images = torch.arange(first, first + len(values), device=values.device)[:, None].expand_as(values)
        if self.values.numel():
            values, places = torch.cat([self.values, values]), torch.cat([self.places, places])
            images = torch.cat([self.images, images])
        chosen = values.argsort(dim=0, descending=True, stable=True)[: self.number]  # of equal ones, the first
        self.values, self.places, self.images = (part.gather(0, chosen) for part in (values, places, images))

    def result(self) -> OfLayer:
        """What is found so far."""
        missing = self.number - len(self.values)
        values, images, places = (
            np.pad(part.cpu().numpy().T, ((0, 0), (0, missing)), constant_values=filler)
            for part, filler in ((self.values, -np.inf), (self.images, -1), (self.places, 0))
        )
        rows_and_columns = np.stack([places // self.shape[2], places % self.shape[2]], 2)
        return OfLayer(self.shape, images.astype("<i4"), values.astype("<f4"), rows_and_columns.astype("<i4"))


def digest_of(network: nn.Module, data: str) -> str:
    """A digest of a network's weights and of its images, which tells whether results are still theirs.

    Args:
        network: any network.
        data: what the images are, as ``ImageData.fingerprint`` says.
    """
    digest = hashlib.sha256(data.encode())
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write_exciting_images(file: Path, found: Exciting, made_of: str) -> None:
    """Write the images that excite maps most as an .npz, completely or not at all.

    Args:
        file: where.
        found: the images.
        made_of: from `digest_of`.

    Raises:
        OSError: it cannot be written.
    """
    layers = {name: list(of_layer.shape) for name, of_layer in found.items()}
    described = json.dumps({"made_of": made_of, "layers": layers}).encode()
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(of_layer, name) for of_layer in found.values()]).astype(kind)
        for name, kind in MEMBERS.items()
    }
    content = io.BytesIO()
    np.savez_compressed(content, described=np.frombuffer(described, np.uint8), **arrays)
    files.write_bytes(file, content.getvalue())


def read_exciting_images(file: Path, made_of: str, total: int) -> Exciting | None:
    """Read what `write_exciting_images` wrote; it may come from anybody.

    Args:
        file: the file.
        made_of: from `digest_of`.
        total: how many images there are.

    Returns:
        The images; None if there is no such file, or it belongs to other weights or images.

    Raises:
        UserError: the file is not what is written here.
    """
    if not file.is_file():
        return None
    with file.open("rb") as source:
        content = source.read(MOST_BYTES + 1)
    try:
        arrays = unpacked(content)
        layers = described_layers(arrays.pop("described").tobytes(), made_of)
        return None if layers is None else checked(arrays, layers, total)
    except DAMAGED as error:
        raise UserError(f"{file}: this is no file of exciting images ({error}). Remove it") from error


def unpacked(content: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz, which may come from anybody.

    Raises:
        ValueError: it holds something else, or more than `MOST_BYTES`; further errors from ``zipfile``.
    """
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        wanted = {f"{name}.npy" for name in ("described", *MEMBERS)}
        if {member.filename for member in members} != wanted or len(members) != len(wanted):
            raise ValueError("other arrays")
        if len(content) > MOST_BYTES or sum(member.file_size for member in members) > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES:,} bytes")
        for member in members:
            with archive.open(member) as packed:  # reads no more than the size that it says
                arrays[member.filename.removesuffix(".npy")] = array_of(packed.read(MOST_BYTES))
    return arrays


def described_layers(text: bytes, made_of: str) -> dict[str, tuple[int, int, int]] | None:
    """The shapes of the layers in a file; None if it is about something else.

    Raises:
        ValueError: the text is not what is written here.
    """
    described = json.loads(text)
    if not isinstance(described, dict) or not isinstance(described.get("layers"), dict):
        raise ValueError("no layers")
    if described.get("made_of") != made_of:
        return None
    layers: dict[str, tuple[int, int, int]] = {}
    for name, shape in described["layers"].items():
        is_shape = (
            isinstance(shape, list)
            and len(shape) == 3
            and all(type(size) is int and 0 < size < 2**31 for size in shape)
        )
        if not is_shape or len(name) > MOST_LETTERS or len(layers) >= MOST_LAYERS:
            raise ValueError("layers without shapes")
        layers[name] = (shape[0], shape[1], shape[2])
    return layers


def checked(arrays: dict[str, NDArray[Any]], layers: dict[str, tuple[int, int, int]], total: int) -> Exciting:
    """The arrays of a file by layer.

    Raises:
        ValueError: their types, shapes or ranges are wrong.
    """
    images, places, values = (arrays[name] for name in MEMBERS)
    maps = sum(shape[0] for shape in layers.values())
    if any(arrays[name].dtype != np.dtype(kind) for name, kind in MEMBERS.items()):
        raise ValueError("arrays of another type")
    if images.ndim != 2 or len(images) != maps or values.shape != images.shape or places.shape != (*images.shape, 2):
        raise ValueError("arrays of other shapes")
    sizes = np.repeat(
        np.array([shape[1:] for shape in layers.values()]).reshape(-1, 2), [s[0] for s in layers.values()], 0
    )
    if (places < 0).any() or (places >= sizes[:, None]).any() or (images < -1).any() or (images >= total).any():
        raise ValueError("images or places that do not exist")
    if np.isnan(values).any():
        raise ValueError("values that are not numbers")
    found, start = {}, 0
    for name, shape in layers.items():
        rows = slice(start, start + shape[0])
        found[name] = OfLayer(shape, images[rows], values[rows], places[rows])
        start += shape[0]
    return found
