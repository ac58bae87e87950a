"""A data set of one's own, of any make, in the place of ours."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from cnn_experiments.datamodules.base import PARTS, ImageData, Part
from cnn_experiments.datamodules.photographs import UnusableImageError
from cnn_experiments.datamodules.samplers import Draw, ImageSet
from cnn_experiments.errors import UserError


@runtime_checkable
class HasBatches(Protocol):
    """What a data set must have at the least."""

    def batches(self, part: Part) -> Iterable[tuple[Tensor, Tensor]]:
        """Images (N, C, H, W) as floats, and labels (N,) of class numbers, of a part, batch by batch."""


def checked(given: HasBatches, part: Part) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of a part.

    Raises:
        UserError: one of them is not what it should be.
    """
    for images, labels in given.batches(part):
        where = f"data: {type(given).__name__}.batches({part!r}) gives"
        if not isinstance(images, Tensor) or not isinstance(labels, Tensor):
            kinds = f"{type(images).__name__} and {type(labels).__name__}"
            raise UserError(f"{where} batches of {kinds}. Give tensors: images (N, C, H, W) and labels (N,)")
        if images.dim() != 4 or labels.dim() != 1 or len(images) != len(labels):
            raise UserError(
                f"{where} images {tuple(images.shape)} and labels {tuple(labels.shape)}. Give images (N, C, H, W) and "
                "labels (N,)"
            )
        if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
            raise UserError(f"{where} labels of the type {labels.dtype}. Give class numbers, which are integers from 0")
        if not len(labels):
            raise UserError(f"{where} a batch without images, which has no mean loss. Leave it out")
        yield images, labels


class GivenData(ImageData):
    """Batches of an object that has ``batches(part)``, as they are: it decides on order and augmentation itself.

    One pass over each part, when it is first needed, counts the batches and collects the labels. Several processes
    cannot share such data, and image files cannot be predicted, since only the object knows how it prepares them.

    Args:
        given: the object. Where it has ``class_names``, they name the classes; otherwise their numbers do.
    """

    def __init__(self, given: HasBatches) -> None:
        super().__init__()
        self.given = given
        self.name = type(given).__name__.lower()
        first = next(checked(given, "training"), None)
        if first is None:
            raise UserError(f"data: {type(given).__name__}.batches('training') gives no batch. Give it some images")
        images, _ = first
        self.batch_size, self._shape = len(images), (images.shape[1], images.shape[2], images.shape[3])
        names = getattr(given, "class_names", None)
        if names is None:
            highest = max(int(labels.max()) for part in PARTS for _, labels in checked(given, part))
            names = [str(number) for number in range(highest + 1)]
        self.class_names = [str(name) for name in names]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return self._shape

    def load(self, part: Part) -> Mapping[Part, ImageSet]:
        images = GivenImages(self.given, part)
        lowest, highest = int(images.labels.min()), int(images.labels.max())
        if lowest < 0 or highest >= self.num_classes:
            raise UserError(
                f"data: {type(self.given).__name__}.batches({part!r}) gives class numbers from {lowest} to {highest}, "
                f"but there are {self.num_classes} classes. Number them from 0 to {self.num_classes - 1}"
            )
        return {part: images}

    def loader(
        self, part: Part, epoch: int = 0, shuffle: bool | None = None, device: torch.device | None = None
    ) -> "DataLoader[tuple[Tensor, Tensor]]":
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            raise UserError(
                "data: an object with batches() cannot be shared out among several processes. Use one device, or "
                "make it a cnn_experiments.ImageData"
            )
        batches = Batches(self.given, part, cast(GivenImages, self.images_of(part)).lengths)
        return DataLoader(batches, batch_size=None, generator=torch.Generator())

    def images_in_last_batch(self, processes: int = 1) -> int:
        return cast(GivenImages, self.images_of("training")).lengths[-1]

    def network_input(self, images: Tensor, part: Part, generator: torch.Generator | None = None) -> Tensor:
        return images

    def read_image(self, file: Path) -> Tensor:
        raise UnusableImageError("the data set was given from Python and does not say how it prepares image files")

    def samples(self, number: int) -> dict[str, Tensor]:
        images = self.some_images("training", number)
        return {"before": images.sub(images.min()).div((images.max() - images.min()).clamp_min(1e-12))}

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for part in PARTS:
            digest.update(self.images_of(part).labels.sort().values.numpy().tobytes())
            digest.update(repr((part, self.input_shape)).encode())
        return digest.hexdigest()[:32]


class GivenImages:
    """A part of such data: the labels in the order of one pass, and images by their places in that order."""

    def __init__(self, given: HasBatches, part: Part) -> None:
        self.given, self.part = given, part
        shapes, labels = set(), []
        for images, of_batch in checked(given, part):
            shapes.add(tuple(images.shape[1:]))
            labels.append(of_batch.long().cpu())
        if len(shapes) > 1:
            raise UserError(
                f"data: {type(given).__name__}.batches({part!r}) gives images of several shapes, "
                f"{' and '.join(map(str, sorted(shapes)[:2]))}. Give all images the same"
            )
        if not labels:
            raise UserError(f"data: {type(given).__name__}.batches({part!r}) gives no batch. Give it some images")
        self.lengths = [len(batch) for batch in labels]
        self.labels = torch.cat(labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) and labels (N,); another pass is made as far as the last of them."""
        wanted = draw.indices.tolist()
        found: dict[int, tuple[Tensor, Tensor]] = {}
        start = 0
        for images, labels in self.given.batches(self.part):
            for index in set(wanted).intersection(range(start, start + len(labels))):
                found[index] = images[index - start], labels[index - start].long()
            start += len(labels)
            if len(found) == len(set(wanted)):
                break
        return torch.stack([found[index][0] for index in wanted]), torch.stack([found[index][1] for index in wanted])


class Batches(IterableDataset[tuple[Tensor, Tensor]]):
    """The batches of a part, as many as a first pass has counted."""

    def __init__(self, given: HasBatches, part: Part, lengths: list[int]) -> None:
        self.given, self.part, self.lengths = given, part, lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in islice(self.given.batches(self.part), len(self.lengths)):
            yield images, labels.long()


def as_image_data(given: Any) -> ImageData:
    """A data set that was given from Python, as training uses it.

    Raises:
        UserError: it has no ``batches(part)``.
    """
    if isinstance(given, ImageData):
        return given
    if not isinstance(given, HasBatches):
        raise UserError(
            f"data: a {type(given).__name__} has no method batches(part). Give a cnn_experiments.ImageData, or an "
            "object whose batches('training'), batches('validation') and batches('test') give images (N, C, H, W) and "
            "labels (N,)"
        )
    return GivenData(given)
