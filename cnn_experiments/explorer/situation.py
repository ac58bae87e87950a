"""From what the page says to tensors: the image as the network gets it, and what the network makes of it.

A `Desk` holds what one tab needs for a while: the photographs that it sent, and the last results.
"""

import tempfile
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, fx
from torch.nn import functional

from cnn_experiments.datamodules.base import ImageData
from cnn_experiments.datamodules.mnist import MNIST
from cnn_experiments.datamodules.photographs import UnusableImageError, read_photograph
from cnn_experiments.errors import UserError
from cnn_experiments.explorer.messages import DIGIT_SIDE, DrawnImage, Off, Situated, Square, TestImage
from cnn_experiments.explorer.refusal import RefusalError, unusable
from cnn_experiments.explorer.subject import Inspected, Subject
from cnn_experiments.inspection.ablation import Means, switched_off, with_maps_off
from cnn_experiments.inspection.arithmetic import Arithmetic
from cnn_experiments.inspection.graph import INPUT
from cnn_experiments.inspection.images import Picture, picture_of_bytes, reduced
from cnn_experiments.inspection.layer_outputs import dead_maps, first_tensor, watching
from cnn_experiments.inspection.occlusion import occluded

MOST_UPLOADS = 4  # of a tab; the oldest is forgotten
MOST_RESULTS = 4  # of a tab; likewise
MOST_BYTES_OF_RESULTS = 2**26
LARGEST_PICTURE = 512  # pixels; larger photographs are shown smaller


@dataclass(frozen=True)
class Given:
    """An image as it was given, and as bytes (C, H, W) ready for the data set's `network_input`."""

    picture: Picture
    prepared: Tensor


@dataclass(frozen=True)
class Photograph:
    """A file that the page sent: how it looks, and what each run's data set made of it, or why it could not."""

    picture: Picture
    size: tuple[int, int]
    prepared: Sequence[Tensor | UserError]


@dataclass(frozen=True)
class Outputs:
    """What a network makes of one image.

    Args:
        scores: of each class, (classes,).
        probabilities: likewise.
        layers: outputs (C, H, W) or (units,) of all layers by name, ``input`` among them.
        strengths: mean size of the values of each map, by layer.
        dead: numbers of the maps that are 0 everywhere, by layer; empty without ReLUs.
    """

    scores: Tensor
    probabilities: Tensor
    layers: dict[str, Tensor]
    strengths: dict[str, Tensor]
    dead: dict[str, list[int]]

    @property
    def bytes(self) -> int:
        """Memory of the outputs."""
        return sum(output.nbytes for output in self.layers.values())


@dataclass(frozen=True)
class Posed:
    """A run, an image, and what has been done to both.

    Args:
        subject: the run.
        inspected: its network.
        image: what the network gets, (1, C, H, W).
        off: what is switched off.
    """

    subject: Subject
    inspected: Inspected
    image: Tensor
    off: Sequence[Off]

    @contextmanager
    def switched_off(self) -> Iterator[None]:
        """The network with what is off, within this context.

        Raises:
            UserError: there is no such layer or map; of a map, when the network is run.
        """
        wanted = [self._as_asked(off) for off in self.off]  # first: with something off, means would be others
        with ExitStack() as stack:
            for maps, means in wanted:
                stack.enter_context(switched_off(self.inspected.network, maps, means))
            yield

    def _as_asked(self, off: Off) -> tuple[dict[str, list[int] | None], Means | None]:
        self.inspected.layer(off.layer)
        maps = None if off.maps == "all" else list(off.maps)
        return {off.layer: maps}, self.inspected.means if off.to == "mean" else None

    def arithmetic(self, layer: str | None = None) -> Arithmetic:
        """The arithmetic of the network with what is off; what is off in a layer itself is on.

        Args:
            layer: the layer that will be explained, as it would be if none of its maps were off.

        Raises:
            UserError: there is no such layer, or the network's forward cannot be followed.
        """
        graph = self.inspected.graph
        changed: dict[fx.Node, list[Off]] = defaultdict(list)
        for off in self.off:
            node = graph.node(off.layer)
            if layer is None or not (node is graph.node(layer) or graph.is_inside(node, layer)):
                changed[node].append(off)
        return Arithmetic(graph, self.image, {node: partial(self._changed, offs) for node, offs in changed.items()})

    def _changed(self, offs: Sequence[Off], outputs: Tensor) -> Tensor:
        for off in offs:
            maps, means = self._as_asked(off)
            outputs = with_maps_off(outputs, off.layer, maps[off.layer], None if means is None else means[off.layer])
        return outputs

    def outputs(self) -> Outputs:
        """Run the network."""
        layers = {INPUT: self.image[0]}
        strengths, dead = {}, {}

        def see(name: str, values: Tensor) -> None:
            output = layers[name] = values[0].clone()  # what follows may work in place
            strengths[name] = output.abs().mean((1, 2)) if output.dim() == 3 else output.abs()
            are_dead = dead_maps(self.inspected.layers[name], values)
            dead[name] = [] if are_dead is None else are_dead.nonzero()[:, 0].tolist()

        with self.switched_off(), watching(self.inspected.layers, see), torch.no_grad():
            output = first_tensor(self.inspected.network.forward(self.image))
        assert output is not None
        scores = output[0].float()
        return Outputs(scores, scores.softmax(0), layers, strengths, dead)


class Desk:
    """What one tab needs for a while.

    Args:
        subjects: the runs that the page shows.
    """

    def __init__(self, subjects: Sequence[Subject]) -> None:
        self.subjects = subjects
        self.uploads: OrderedDict[str, Photograph] = OrderedDict()
        self._uploaded = 0
        self.results: OrderedDict[str, Outputs] = OrderedDict()

    def subject(self, run: int) -> Subject:
        """One of the runs.

        Raises:
            UserError: there is no such run.
        """
        if run >= len(self.subjects):
            raise UserError(f"run={run}: the page shows one run alone. Open a second one with cnn-explore with=RUN_DIR")
        return self.subjects[run]

    def upload(self, content: bytes) -> tuple[str, Photograph]:
        """Read a photograph, for all runs.

        Raises:
            UserError: it cannot be used.
        """
        try:
            pixels = read_photograph(Path("photograph"), content)
        except UnusableImageError as error:
            raise unusable(error) from None
        prepared = [_prepared(subject, content) for subject in self.subjects]
        photograph = Photograph(reduced(pixels, LARGEST_PICTURE), (pixels.shape[1], pixels.shape[0]), prepared)
        self._uploaded += 1
        key = f"u{self._uploaded}"
        self.uploads[key] = photograph
        while len(self.uploads) > MOST_UPLOADS:
            self.uploads.popitem(last=False)
        return key, photograph

    def given(self, asked: Situated) -> Given:
        """The image of a situation.

        Raises:
            UserError: there is none, or it cannot be used with this run.
        """
        subject = self.subject(asked.run)
        data = _data_of(subject)
        match asked.image:
            case TestImage(test=index):
                if subject.tests is None:
                    raise RefusalError("no_tests", problem=subject.problem)
                prepared = subject.tests.bytes_of([index])[0]
                return Given(picture_of_bytes(data, prepared[None])[0], prepared)
            case DrawnImage(drawn=drawing):
                if not isinstance(data, MNIST):
                    raise RefusalError("no_digits")
                digit = torch.frombuffer(bytearray(drawing), dtype=torch.uint8).view(1, DIGIT_SIDE, DIGIT_SIDE)
                prepared = functional.pad(digit, (data.margin,) * 4)
                return Given(picture_of_bytes(data, prepared[None])[0], prepared)
            case None:
                raise RefusalError("no_image")
            case uploaded:
                photograph = self.uploads.get(uploaded.upload)
                if photograph is None:
                    raise RefusalError("forgotten")
                made = photograph.prepared[asked.run]
                if isinstance(made, UserError):
                    raise made
                return Given(photograph.picture, made)

    def posed(self, asked: Situated) -> Posed:
        """A situation with its image as the network gets it.

        Raises:
            UserError: a part of it does not exist.
        """
        subject = self.subject(asked.run)
        data = _data_of(subject)
        image = data.network_input(self.given(asked).prepared[None], "test").float()
        if asked.square is not None:
            image = hidden(image, asked.square)
        return Posed(subject, subject.at(asked.epoch), image, asked.off)

    def outputs(self, asked: Situated) -> Outputs:
        """What the network makes of a situation; of the last few, it is remembered.

        Raises:
            UserError: a part of the situation does not exist.
        """
        key = repr((asked.run, asked.image, asked.epoch, asked.off, asked.square))
        if key in self.results:
            self.results.move_to_end(key)
            return self.results[key]
        found = self.posed(asked).outputs()
        self.results[key] = found
        while len(self.results) > 1 and (len(self.results) > MOST_RESULTS or self.bytes > MOST_BYTES_OF_RESULTS):
            self.results.popitem(last=False)
        return found

    @property
    def bytes(self) -> int:
        """Memory of the results that are remembered."""
        return sum(result.bytes for result in self.results.values())


def hidden(image: Tensor, square: Square) -> Tensor:
    """A network input (1, C, H, W) with a grey square over it."""
    row, column = square.top + square.side // 2, square.left + square.side // 2
    return occluded(image[0], row, column, square.side)[None]


def _data_of(subject: Subject) -> ImageData:
    if subject.data is None:
        raise RefusalError("no_data", problem=subject.problem)
    return subject.data


def _prepared(subject: Subject, content: bytes) -> Tensor | UserError:
    """A photograph as bytes ready for a run's data set, or why not."""
    if subject.data is None:
        return RefusalError("no_data", problem=subject.problem)
    with tempfile.TemporaryDirectory() as folder:  # a data set of one's own reads files, whatever it does with them
        file = Path(folder) / "photograph"
        file.write_bytes(content)
        try:
            return subject.data.read_image(file)
        except UnusableImageError as error:
            return unusable(error)
