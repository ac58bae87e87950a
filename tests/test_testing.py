"""The test's figures against figures worked out by hand: loss, accuracy, several views, the confusion matrix."""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cnn_experiments.errors import UserError
from cnn_experiments.evaluation import testing
from cnn_experiments.evaluation.hardware import Hardware
from cnn_experiments.evaluation.testing import Evaluation, evaluate, scores_of
from cnn_experiments.models.network import loss_of

CPU = Hardware("cpu", 1, "32-true")
# Of views with the probabilities 0.9, 0.1 and 0.2, 0.8 the mean is 0.55, 0.45. The mean of their logarithms would say
# the second class.
TWO_VIEWS = torch.tensor([[[0.9, 0.1], [0.05, 0.95]], [[0.5, 0.5], [0.3, 0.7]]]).log() + 3


class Own(nn.Module):
    """A network with a loss of its own."""

    def __init__(self, loss: Any) -> None:
        super().__init__()
        self.loss = loss


def pixels(scores: Tensor) -> Tensor:
    """Scores (N, C) as images of one pixel, (N, C, 1, 1)."""
    return scores[:, :, None, None]


class Data:
    """A data set whose images, of one pixel, are scores: 7 images of 3 classes in batches of 4."""

    num_classes = 3
    scores = torch.tensor([[3, 0, 0], [0, 3, 0], [0, 0, 3], [0, 2, 1], [1, 2, 0], [0, 1, 2], [2, 0, 1]])
    labels = torch.tensor([0, 1, 1, 1, 0, 2, 0])

    def loader(self, part: str) -> list[tuple[Tensor, Tensor]]:
        self.part = part
        return list(zip(pixels(self.scores).split(4), self.labels.split(4), strict=True))

    def test_views(self, images: Tensor) -> Tensor:
        return images.float()

    def network_input(self, images: Tensor, part: str) -> Tensor:
        assert part == self.part != "test"
        return -images.float()


class Seen(nn.Flatten):
    """Scores are the images' pixels; it keeps what it was given, and how."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[Tensor] = []
        self.modes: list[tuple[bool, bool]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.given.append(images)
        self.modes.append((self.training, torch.is_inference_mode_enabled()))
        return super().forward(images)


class TestEvaluation:
    PROBABILITIES = np.array([[0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.2, 0.5, 0.3], [0.3, 0.3, 0.4]], np.float32)
    RESULT = Evaluation(0.5, 0.5, np.array([0, 0, 1, 2]), PROBABILITIES)

    def test_a_row_of_the_confusion_matrix_is_a_true_class(self) -> None:
        assert self.RESULT.predictions.tolist() == [0, 2, 1, 2]
        assert self.RESULT.confusion.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 1]]

    def test_a_score_is_the_probability_of_the_true_class(self) -> None:
        assert self.RESULT.scores.tolist() == pytest.approx([0.6, 0.1, 0.5, 0.4])

    def test_classes_that_never_occur_have_rows_too(self) -> None:
        confusion = Evaluation(0.5, 1.0, np.array([0]), np.array([[0.8, 0.1, 0.1]], np.float32)).confusion
        assert confusion.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]


class TestScores:
    def test_of_one_view_they_are_the_networks(self) -> None:
        images = torch.randn(2, 3, 4, 4)
        assert scores_of(nn.Identity(), images) is images

    def test_of_several_views_they_are_the_mean_of_probabilities(self) -> None:
        seen: list[tuple[int, ...]] = []

        def network(views: Tensor) -> Tensor:
            seen.append(tuple(views.shape))
            return views[:, :2, 0, 0]

        views = torch.zeros(2, 2, 3, 4, 4)
        views[:, :, :2, 0, 0] = TWO_VIEWS
        scores = scores_of(network, views)
        assert seen == [(4, 3, 4, 4)]
        expected = torch.tensor([[(0.9 + 0.05) / 2, (0.1 + 0.95) / 2], [0.4, 0.6]])
        torch.testing.assert_close(scores.exp(), expected)
        torch.testing.assert_close(scores.softmax(1), expected)
        assert scores_of(network, views.bfloat16()).dtype == torch.float32


class TestLoss:
    def test_a_networks_own(self) -> None:
        network = Own(lambda output, labels: output.sum() + labels.sum())
        assert loss_of(network, torch.tensor([1.0, 2.0]), torch.tensor([4])) == 7

    @pytest.mark.parametrize("network", [nn.Identity(), Own(None), Own("mse")])
    def test_cross_entropy_without_one(self, network: nn.Module) -> None:
        scores, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
        assert loss_of(network, scores, labels) == functional.cross_entropy(scores, labels)


class TestEvaluate:
    def test_figures_are_means_over_images(self) -> None:
        data, network = Data(), Seen().train()
        result = evaluate(network, data, "test", CPU)
        expected = functional.cross_entropy(data.scores.float(), data.labels)
        assert result.loss == pytest.approx(expected.item())
        assert result.accuracy == pytest.approx(5 / 7)
        assert result.labels.tolist() == data.labels.tolist()
        assert result.probabilities == pytest.approx(data.scores.float().softmax(1).numpy())
        assert result.probabilities.dtype == np.float32
        assert network.modes == [(False, True)] * 2
        assert result.confusion.tolist() == [[2, 1, 0], [0, 2, 1], [0, 0, 1]]

    def test_the_loss_is_the_networks_own(self) -> None:
        class Counting(Seen):
            def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
                return labels.float().mean()

        assert evaluate(Counting(), Data(), "test", CPU).loss == pytest.approx(Data.labels.float().mean().item())

    def test_validation_has_one_view(self) -> None:
        data, network = Data(), Seen()
        evaluate(network, data, "validation", CPU)
        assert torch.equal(torch.cat(network.given), -pixels(data.scores).float())

    def test_the_test_averages_over_all_views(self) -> None:
        class Views(Data):
            def test_views(self, images: Tensor) -> Tensor:
                views = images.float()[:, None].repeat(1, 10, 1, 1, 1)
                views[:, 1:] = 0  # nine views of ten say nothing
                return views

        data, network = Views(), Seen()
        result = evaluate(network, data, "test", CPU)
        assert [len(images) for images in network.given] == [40, 30]
        probabilities = 0.1 * data.scores.float().softmax(1) + 0.9 / 3
        assert result.probabilities == pytest.approx(probabilities.numpy())
        assert result.loss == pytest.approx(functional.nll_loss(probabilities.log(), data.labels).item())

    @pytest.mark.parametrize(("limit", "images"), [(None, 7), (1, 4), (2, 7), (9, 7), (0.5, 4), (0.9, 4), (1.0, 7)])
    def test_a_limit_is_of_batches(self, limit: Any, images: int) -> None:
        result = evaluate(Seen(), Data(), "test", CPU, limit)
        assert len(result.labels) == images
        expected = functional.cross_entropy(Data.scores[:images].float(), Data.labels[:images])
        assert result.loss == pytest.approx(expected.item())

    @pytest.mark.parametrize("limit", [0, 0.4])
    def test_a_limit_that_leaves_nothing(self, limit: Any) -> None:
        with pytest.raises(UserError, match=f"^trainer.limit_test_batches={limit}: this leaves no image to test on"):
            evaluate(Seen(), Data(), "test", CPU, limit)

    def test_images_come_in_the_precision_of_the_weights(self) -> None:
        network = Seen()
        evaluate(network, Data(), "test", Hardware("cpu", 1, "bf16-true"))
        assert network.given[0].dtype == torch.bfloat16

    def test_mixed_precision_is_on_while_the_network_computes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Mixed(Seen):
            def forward(self, images: Tensor) -> Tensor:
                self.mixed = torch.is_autocast_enabled("cpu")
                return super().forward(images)

        network = Mixed()
        assert evaluate(network, Data(), "test", Hardware("cpu", 1, "bf16-mixed")).accuracy == pytest.approx(5 / 7)
        assert network.mixed


class TestSeveralProcesses:
    """What two processes make of one set, each with every second image of a batch."""

    @pytest.fixture(params=[0])
    def shared(self, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> list[Any]:
        """Stand in for torch.distributed, in the process of a rank: what the other process has is put in here."""
        rank, other = request.param, []
        monkeypatch.setattr(testing.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(testing.distributed, "get_world_size", lambda: 2)
        monkeypatch.setattr(testing.distributed, "all_reduce", lambda total: total.add_(other[0]))

        def gather(gathered: list[Any], batches: list[Any]) -> None:
            assert len(gathered) == 2
            pair = [batches, other[1] if batches[0].ndim == 1 else other[2]]
            gathered[:] = pair if rank == 0 else pair[::-1]

        monkeypatch.setattr(testing.distributed, "all_gather_object", gather)
        return other

    def test_the_order_is_that_of_the_set(self, shared: list[Any]) -> None:
        class Half(Data):
            def __init__(self, rank: int) -> None:
                self.rank = rank

            def loader(self, part: str) -> list[tuple[Tensor, Tensor]]:
                batches = [*zip(pixels(self.scores).split(6), self.labels.split(6), strict=True)]
                return [(scores[self.rank :: 2], labels[self.rank :: 2]) for scores, labels in batches]

        with pytest.MonkeyPatch.context() as alone:
            alone.setattr(testing.distributed, "is_initialized", lambda: False)
            whole = evaluate(Seen(), Data(), "test", CPU)
        scores = Data.scores.float()
        losses = functional.cross_entropy(scores, Data.labels, reduction="none")
        of_the_other = [1, 3, 5]  # its last batch is empty
        shared[:] = [
            losses[of_the_other].sum(),
            [Data.labels[of_the_other].numpy(), np.zeros(0, np.int64)],
            [scores[of_the_other].softmax(1).numpy(), np.zeros((0, 3), np.float32)],
        ]
        together = evaluate(Seen(), Half(0), "test", CPU)
        assert (together.loss, together.accuracy) == pytest.approx((whole.loss, whole.accuracy))
        assert np.array_equal(together.labels, whole.labels)
        assert together.probabilities == pytest.approx(whole.probabilities)
        assert together.labels.dtype == np.int64

    @pytest.mark.parametrize("shared", [1], indirect=True)
    def test_a_process_may_have_no_image_of_a_batch(self, shared: list[Any]) -> None:
        class Second(Data):
            def loader(self, part: str) -> list[tuple[Tensor, Tensor]]:
                places = [slice(1, 2), slice(0), slice(2, 3)]
                return [(pixels(self.scores)[place], self.labels[place]) for place in places]

        one, two = np.array([[0.8, 0.1, 0.1]], np.float32), np.array([[0.1, 0.2, 0.7]], np.float32)
        shared[:] = [0.0, [np.array([0]), np.array([2]), np.array([0])], [one, two, one]]
        network = Seen()
        result = evaluate(network, Second(), "test", CPU)
        assert len(network.given) == 2
        assert result.labels.tolist() == [0, 1, 2, 0, 1]
        assert result.predictions.tolist() == [0, 1, 2, 0, 2]

    def test_processes_that_disagree_on_the_number_of_batches_are_noticed(self, shared: list[Any]) -> None:
        shared[:] = [0.0, [Data.labels[:4].numpy()], [np.zeros((4, 3), np.float32)]]
        with pytest.raises(ValueError, match="shorter"):
            evaluate(Seen(), Data(), "test", CPU)


def test_each_of_several_processes_has_a_gpu_of_its_own() -> None:
    both = Hardware("gpu", [1, 3], "bf16-mixed")
    assert both.of_process(torch.device("cuda", 3)) == Hardware("gpu", [3], "bf16-mixed")
    assert both.of_process(torch.device("cuda", 3)).device == torch.device("cuda", 3)
    assert replace(CPU, devices=2).of_process(torch.device("cpu")) == replace(CPU, devices=2)


def test_in_evaluation_nothing_is_kept_for_gradients() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3, 3))
    result = evaluate(network, Data(), "test", CPU)
    assert math.isfinite(result.loss)
    assert network[1].weight.grad is None


def test_single_precision_needs_no_context() -> None:
    contexts: dict[str, AbstractContextManager[Any]] = {
        precision: Hardware("cpu", 1, precision).autocast() for precision in ("32-true", "bf16-mixed")
    }
    assert isinstance(contexts["32-true"], nullcontext)
    assert isinstance(contexts["bf16-mixed"], torch.autocast)
