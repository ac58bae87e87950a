"""What the page shows of one run, and what is computed once of its network."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cnn_experiments.datamodules.base import ImageData
from cnn_experiments.datamodules.samplers import Draw, ImageSet
from cnn_experiments.errors import UserError
from cnn_experiments.explorer.refusal import RefusalError
from cnn_experiments.inspection.ablation import means_of_maps
from cnn_experiments.inspection.exciting_images import Exciting
from cnn_experiments.inspection.graph import INPUT, Graph
from cnn_experiments.inspection.layer_outputs import layer_outputs, named_layers
from cnn_experiments.inspection.layer_statistics import rows_by_name, value_ranges
from cnn_experiments.inspection.layer_table import LayerTable, Row, copied, layer_table
from cnn_experiments.inspection.receptive_fields import ReceptiveFields
from cnn_experiments.settings.suggestions import suggest

CARRIED_RUN = Path(__file__).parent / "carried_run"

# Images that means and statistics are taken over: as many as this many products can afford, about a second.
PRODUCTS = 2e10
FEWEST_IMAGES, MOST_IMAGES = 16, 256
# A value of a layer is kept twice, and so is its gradient, when gradients are measured.
BYTES_OF_GRADIENTS, BYTES_OF_A_VALUE, FEWEST_FOR_GRADIENTS = 2**30, 16, 4
NOT_RECORDED = -1


@dataclass(frozen=True)
class Recorded:
    """What a run recorded of each of its test images.

    Args:
        predictions: the predicted class, (images,).
        scores: probability of the correct class, (images,).
    """

    predictions: NDArray[np.int64]
    scores: NDArray[np.float64]


@dataclass
class TestImages:
    """The test images of a run.

    Args:
        images: bytes and labels, by number.
        fingerprint: a digest that tells which images they are.
        recorded: what the run recorded of them; None where it did not, or of other images.
    """

    __test__ = False  # pytest would collect it by its name

    images: ImageSet
    fingerprint: str
    recorded: Recorded | None = None

    def __len__(self) -> int:
        return len(self.images)

    def bytes_of(self, indices: Sequence[int]) -> Tensor:
        """Images as bytes (N, C, H, W).

        Raises:
            UserError: there is no such image.
        """
        for index in indices:
            if not 0 <= index < len(self):
                raise UserError(f"test={index}: there are {len(self):,} test images, 0 to {len(self) - 1:,}")
        return self.images[Draw(torch.tensor(indices, dtype=torch.long))][0]

    def label(self, index: int) -> int:
        """The class of an image."""
        return int(self.images.labels[index])

    def prediction(self, index: int) -> int | None:
        """The class that the run predicted for an image; None where it was not recorded."""
        return None if self.recorded is None else int(self.recorded.predictions[index])


@dataclass
class Subject:
    """What the page shows of one run.

    Args:
        title: what to call it.
        network: its network.
        input_shape: channels, height and width of the network's images.
        class_names: names of the classes.
        data: the data set, which prepares images; None where the run's was given as an object that is not here.
        tests: its test images; None where they are not here.
        problem: why there is no data set or are no test images; empty where there are.
        epochs: after which epochs of the training its weights are known; 0 is before the first.
        weights_at: gives these weights, as the network's ``load_state_dict`` takes them.
        directory: the run directory, as it is shown; empty for the run that the package carries.
        cache: where what takes long is kept; None for nowhere.
        settings: by dotted keys.
        metrics: the content of metrics.json.
        history: a row of figures for each epoch.
    """

    title: str
    network: nn.Module
    input_shape: tuple[int, int, int]
    class_names: list[str]
    data: ImageData | None = None
    tests: TestImages | None = None
    problem: str = ""
    epochs: Sequence[int] = ()
    weights_at: Callable[[int], Mapping[str, Tensor]] | None = None
    directory: str = ""
    cache: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[Mapping[str, float]] = ()

    def __post_init__(self) -> None:
        self._other: tuple[int, Inspected] | None = None

    @cached_property
    def kept(self) -> "Inspected":
        """The network with the weights that the run kept."""
        return Inspected(self, self.network.cpu().float().eval())

    def at(self, epoch: int | None) -> "Inspected":
        """The network after an epoch; None for the weights that the run kept.

        Raises:
            UserError: the weights of that epoch are not known.
        """
        if epoch is None:
            return self.kept
        if epoch not in self.epochs or self.weights_at is None:
            known = f"Known are {', '.join(map(str, self.epochs))}" if self.epochs else "The run kept no snapshots"
            raise UserError(f"epoch={epoch}: the weights after this epoch are not known. {known}")
        if self._other is None:
            self._other = -1, Inspected(self, copied(self.network).cpu().float().eval())
        loaded, other = self._other
        if loaded != epoch:
            weights = self.weights_at(epoch)
            self._other = -1, other
            other.network.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
            other.forget()
            self._other = epoch, other
        return other

    def prepare(self) -> None:
        """Compute what the page needs first."""
        _ = self.kept.layers, self.kept.rows, self.kept.shapes

    def some_test_images(self, most: int = MOST_IMAGES) -> tuple[Tensor, Tensor]:
        """A few test images as the network gets them, (N, *input_shape), and their labels (N,).

        Args:
            most: how many at most; fewer where the network is large.

        Raises:
            UserError: there are none.
        """
        if self.tests is None or self.data is None:
            raise RefusalError("no_tests", problem=self.problem)
        affordable = PRODUCTS / max(1, self.kept.products)
        number = min(len(self.tests), most, int(min(MOST_IMAGES, max(FEWEST_IMAGES, affordable))))
        chosen = np.linspace(0, len(self.tests) - 1, number).astype(int).tolist()
        labels = self.tests.images.labels[torch.tensor(chosen)]
        return self.data.network_input(self.tests.bytes_of(chosen), "test").float(), labels


class Inspected:
    """A network, and what is computed once of it.

    Args:
        subject: what it belongs to.
        network: in evaluation mode, on the CPU, in single precision.

    Attributes:
        exciting: the test images that excite its maps most, once they have been found.
    """

    def __init__(self, subject: Subject, network: nn.Module) -> None:
        self.subject, self.network = subject, network
        self.exciting: Exciting | None = None

    @cached_property
    def layers(self) -> dict[str, nn.Module]:
        """The layers that output maps or units in evaluation mode, in the order of the paper, with their parts."""
        found = named_layers(self.network)
        names = found if self.unexplained else self.graph.names[1:]
        return {name: found[name] for name in names if name in self.shapes}

    @cached_property
    def shapes(self) -> dict[str, tuple[int, int, int]]:
        """Maps, height and width of what each layer outputs; units are maps of 1×1."""
        shapes = {INPUT: self.subject.input_shape}
        image = torch.zeros(1, *self.subject.input_shape)
        for name, _, output in layer_outputs(self.network, image, layers=named_layers(self.network)):
            if output.dim() in (2, 4):
                shapes[name] = (output.shape[1], *((output.shape[2], output.shape[3]) if output.dim() == 4 else (1, 1)))
        return shapes

    @cached_property
    def unexplained(self) -> str:
        """Why receptive fields and arithmetic cannot be had; empty if they can."""
        try:
            _ = self.graph
        except UserError as error:
            return str(error)
        return ""

    @cached_property
    def graph(self) -> Graph:
        """The network as a graph.

        Raises:
            UserError: its forward cannot be followed.
        """
        return Graph(self.network, self.subject.input_shape)

    @cached_property
    def fields(self) -> ReceptiveFields:
        """Receptive fields; they do not depend on the weights."""
        return ReceptiveFields(self.graph)

    @cached_property
    def rows(self) -> dict[str, Row]:
        """The rows of the layer table by the names of the layers, ``inception3a/branch5x5`` among them."""
        return rows_by_name(self.table)

    @cached_property
    def products(self) -> int:
        """Multiply-adds for one image."""
        return self.table.multiply_adds

    @cached_property
    def table(self) -> LayerTable:
        """The layer table."""
        return layer_table(self.network, self.subject.input_shape)

    @property
    def images_for_gradients(self) -> int:
        """How many images' outputs and gradients fit into the memory that is spent on them."""
        values = sum(maps * height * width for maps, height, width in self.shapes.values())
        return max(FEWEST_FOR_GRADIENTS, BYTES_OF_GRADIENTS // (BYTES_OF_A_VALUE * values))

    @cached_property
    def means(self) -> dict[str, Tensor]:
        """The mean of each map over some test images.

        Raises:
            UserError: there are no test images.
        """
        images, _ = self.subject.some_test_images()
        return means_of_maps(self.network, torch.split(images, 64))

    @cached_property
    def value_ranges(self) -> dict[str, tuple[float, float]]:
        """Lowest and highest value of each layer over some test images.

        Raises:
            UserError: there are no test images.
        """
        return value_ranges(self.network, self.subject.some_test_images(self.images_for_gradients)[0])

    def layer(self, name: str) -> nn.Module:
        """A layer by name.

        Raises:
            UserError: there is none.
        """
        if name not in self.layers:
            raise UserError(f"layer={name}: there is no such layer that runs here. {suggest(name, self.layers)}")
        return self.layers[name]

    def forget(self) -> None:
        """Forget what depends on the weights."""
        self.exciting = None
        for name in ("means", "value_ranges"):
            vars(self).pop(name, None)
