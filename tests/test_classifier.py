"""Training's metrics, learning rate, random numbers and parts of the data: the numbers that a run is judged by."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cnn_experiments.errors import ExperimentError
from cnn_experiments.settings.schema import Schedule, TrainingSettings
from cnn_experiments.trainers.classifier import Classifier, Confusion, LossAndAccuracy, right_answers
from cnn_experiments.trainers.data import LightningData

CONSTANT, COSINE = Schedule(warmup=0.0, decay="constant"), Schedule(warmup=0.0, decay="cosine")


def sgd(params: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=2.0)


class Recorder:
    """A logger that keeps what it is given."""

    def __init__(self) -> None:
        self.written: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.written.append((step, metrics))


class Double(nn.Module):
    """A network whose scores are its images, and in training a second time as an auxiliary head's.

    Args:
        auxiliary: whether there is such a head.
    """

    def __init__(self, auxiliary: bool = True) -> None:
        super().__init__()
        self.weight, self.auxiliary = nn.Parameter(torch.ones(())), auxiliary

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        scores = images * self.weight
        return (scores, -scores) if self.training and self.auxiliary else scores

    def loss(self, output: Tensor | tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
        return own_loss(output[0] if isinstance(output, tuple) else output, labels)


def own_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """A loss that is not the usual one."""
    return functional.multi_margin_loss(scores, labels)


def classifier(
    monkeypatch: pytest.MonkeyPatch, schedule: Schedule = CONSTANT, seed: int = 1, **trainer: Any
) -> Classifier:
    """A classifier of three classes, with what Lightning's Trainer would tell it."""
    module = Classifier(Double(), TrainingSettings(sgd, schedule, compile=False, channels_last=False), seed, 3)
    optimizer = sgd(module.network.parameters())
    told = {"world_size": 1, "log_every_n_steps": 2, "is_last_batch": False, "optimizers": [optimizer], **trainer}
    monkeypatch.setattr(Classifier, "trainer", SimpleNamespace(**told))
    monkeypatch.setattr(Classifier, "loggers", [Recorder()])
    monkeypatch.setattr(Classifier, "global_step", told.get("global_step", 0))
    monkeypatch.setattr(Classifier, "current_epoch", told.get("current_epoch", 0))
    monkeypatch.setattr(Classifier, "global_rank", told.get("global_rank", 0))
    return module


class TestMetrics:
    def test_means_are_over_images_not_over_batches(self) -> None:
        metric = LossAndAccuracy()
        metric.update(torch.tensor(1.0), torch.tensor(2), 6)
        metric.update(torch.tensor(4.0), torch.tensor(1), 2)
        assert metric.compute() == {"loss": torch.tensor(14 / 8), "accuracy": torch.tensor(3 / 8)}
        metric.reset()
        metric.update(torch.tensor(0.5), torch.tensor(1), 1)
        assert metric.compute() == {"loss": torch.tensor(0.5), "accuracy": torch.tensor(1.0)}

    def test_a_row_of_the_confusion_matrix_is_a_true_class(self) -> None:
        metric = Confusion(3)
        metric.update(torch.eye(3)[[0, 2, 2]], torch.tensor([0, 0, 2]))
        metric.update(torch.eye(3)[[2]], torch.tensor([0]))
        assert metric.compute().tolist() == [[1, 0, 2], [0, 0, 0], [0, 0, 1]]
        assert metric.compute().dtype == torch.int64
        metric.reset()
        metric.update(torch.eye(3)[[1]], torch.tensor([1]))
        assert metric.compute().tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]

    def test_right_answers(self) -> None:
        assert right_answers(torch.tensor([[1.0, 3.0], [2.0, 0.0], [0.0, 1.0]]), torch.tensor([1, 1, 1])) == 2

    def test_sums_are_added_over_processes(self) -> None:
        metrics = (LossAndAccuracy(), Confusion(2))
        assert {name: reduce.__name__ for metric in metrics for name, reduce in metric._reductions.items()} == {
            "loss": "dim_zero_sum",
            "right": "dim_zero_sum",
            "images": "dim_zero_sum",
            "counts": "dim_zero_sum",
        }


class TestTraining:
    SCORES = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 3.0]])

    def test_what_is_logged_is_the_mean_over_the_images_of_the_last_steps(self, monkeypatch) -> None:
        module = classifier(monkeypatch, global_step=1)
        batches = [(self.SCORES, torch.tensor([0, 0, 2])), (self.SCORES[:1], torch.tensor([1]))]
        losses = [module.training_step(batch, number).item() for number, batch in enumerate(batches)]
        assert losses == pytest.approx([own_loss(*batch).item() for batch in batches])
        [(step, written)] = module.loggers[0].written
        assert step == 2
        assert written == pytest.approx(
            {"train/loss": (3 * losses[0] + losses[1]) / 4, "train/accuracy": 0.5, "optimizer/learning_rate": 2.0}
        )
        assert module.figures == {name: written[name] for name in ("train/loss", "train/accuracy")}
        assert module.recent == []
        module.training_step((self.SCORES[1:2], torch.tensor([1])), 2)
        assert len(module.loggers[0].written) == 1  # one step of two
        module.training_step((self.SCORES[2:], torch.tensor([2])), 3)
        assert module.loggers[0].written[1][1]["train/accuracy"] == 1

    def test_every_third_step_is_logged(self, monkeypatch) -> None:
        module = classifier(monkeypatch, log_every_n_steps=3)
        logged = []
        for number in range(7):
            module.training_step((self.SCORES, torch.tensor([0, 1, 2])), number)
            logged.append(len(module.loggers[0].written))
        assert logged == [0, 0, 1, 1, 1, 2, 2]

    def test_the_last_step_of_an_epoch_is_logged(self, monkeypatch) -> None:
        module = classifier(monkeypatch, is_last_batch=True)
        module.training_step((self.SCORES, torch.tensor([0, 1, 2])), 0)
        assert module.figures["train/accuracy"] == 1

    def test_a_network_without_auxiliary_heads(self, monkeypatch) -> None:
        module = classifier(monkeypatch, is_last_batch=True)
        module.network.auxiliary = False
        module.training_step((self.SCORES, torch.tensor([0, 1, 1])), 0)
        assert module.figures["train/accuracy"] == pytest.approx(2 / 3)

    def test_without_a_logger_the_figures_are_kept(self, monkeypatch) -> None:
        module = classifier(monkeypatch, is_last_batch=True)
        monkeypatch.setattr(Classifier, "loggers", [])
        module.training_step((self.SCORES, torch.tensor([0, 1, 1])), 0)
        assert module.figures["train/accuracy"] == pytest.approx(2 / 3)

    @pytest.mark.parametrize("loss", [math.nan, math.inf])
    def test_a_loss_that_is_no_number_ends_the_run(self, monkeypatch, loss: float) -> None:
        module = classifier(monkeypatch, is_last_batch=True, current_epoch=4)
        monkeypatch.setattr(module.network, "loss", lambda output, labels: torch.tensor(loss))
        with pytest.raises(ExperimentError, match=f"the training loss became {loss} in epoch 5: the training diverged"):
            module.training_step((self.SCORES, torch.tensor([0, 1, 2])), 0)

    def test_processes_with_fewer_images_in_the_last_batch_weigh_less(self, monkeypatch) -> None:
        added: list[tuple[float, str]] = []

        def reduce(images: Tensor, reduce_op: str) -> Tensor:
            added.append((images.item(), reduce_op))
            return torch.tensor(8.0)  # of 2 processes: 3 here, 5 there

        strategy = SimpleNamespace(reduce=reduce)
        module = classifier(monkeypatch, world_size=2, is_last_batch=True, strategy=strategy)
        assert module.weight_of(3) == pytest.approx(3 * 2 / 8)
        assert added == [(3.0, "sum")]
        assert classifier(monkeypatch, world_size=2, is_last_batch=False, strategy=strategy).weight_of(3) == 1
        assert classifier(monkeypatch, world_size=1, is_last_batch=True, strategy=strategy).weight_of(3) == 1
        module = classifier(monkeypatch, world_size=2, is_last_batch=True, strategy=strategy)
        loss = module.training_step((self.SCORES, torch.tensor([0, 0, 2])), 0)
        expected = own_loss(self.SCORES, torch.tensor([0, 0, 2]))
        assert loss.item() == pytest.approx(expected.item() * 0.75)
        assert module.figures["train/loss"] == pytest.approx(expected.item())  # weighed by its images, when reduced


class TestValidation:
    def test_figures_are_of_all_images(self, monkeypatch) -> None:
        module = classifier(monkeypatch, global_step=7).eval()
        assert module.confusion is None
        logged: dict[str, Tensor] = {}
        monkeypatch.setattr(module, "log_dict", lambda values, logger: logged.update(values, logger=logger))
        batches = [
            (TestTraining.SCORES, torch.tensor([0, 0, 2])),
            (TestTraining.SCORES[:0], torch.tensor([], dtype=torch.long)),  # the other processes have the last few
            (TestTraining.SCORES[:1], torch.tensor([1])),
        ]
        for number, batch in enumerate(batches):
            module.validation_step(batch, number)
        module.on_validation_epoch_end()
        scores, labels = (torch.cat(tensors) for tensors in zip(*batches, strict=True))
        loss = own_loss(scores, labels).item()
        assert module.figures == pytest.approx({"val/loss": loss, "val/accuracy": 0.5})
        assert module.loggers[0].written == [(7, module.figures)]
        assert logged == {"val/loss": pytest.approx(loss), "val/accuracy": 0.5, "logger": False}
        assert module.confusion.tolist() == [[1, 1, 0], [1, 0, 0], [0, 0, 1]]
        module.validation_step((TestTraining.SCORES, torch.tensor([0, 1, 2])), 0)
        module.on_validation_epoch_end()
        assert module.figures["val/accuracy"] == 1  # of this epoch alone
        assert module.confusion.tolist() == torch.eye(3).tolist()


class TestLearningRate:
    def test_a_cosine(self) -> None:
        shares = [COSINE.share(step, 4) for step in range(5)]
        assert shares == pytest.approx([1, 0.8535534, 0.5, 0.1464466, 0])
        assert COSINE.share(5, 4) == 0

    def test_a_constant(self) -> None:
        assert [CONSTANT.share(step, 4) for step in range(6)] == [1] * 6

    @pytest.mark.parametrize("decay", ["cosine", "constant"])
    def test_a_warm_up_rises_linearly_and_does_not_begin_at_0(self, decay: str) -> None:
        schedule = Schedule(warmup=0.5, decay=decay)
        assert [schedule.share(step, 8) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])
        after = {"cosine": [0.8535534, 0.5, 0.1464466, 0], "constant": [1, 1, 1, 1]}[decay]
        assert [schedule.share(step, 8) for step in range(5, 9)] == pytest.approx(after)

    def test_the_optimizer_follows_the_schedule_step_by_step(self, monkeypatch) -> None:
        module = classifier(monkeypatch, COSINE, estimated_stepping_batches=4)
        configured = module.configure_optimizers()
        optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
        assert configured["lr_scheduler"]["interval"] == "step"
        assert [id(parameter) for parameter in optimizer.param_groups[0]["params"]] == [id(module.network.weight)]
        rates = []
        for _ in range(4):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        assert rates == pytest.approx([2, 1.7071068, 1, 0.2928932])


class TestRandomNumbers:
    def test_every_seed_epoch_and_process_draws_others(self, monkeypatch) -> None:
        drawn = {}
        for seed in (1, 2):
            for epoch in (0, 1):
                for rank in (0, 1):
                    told = {"seed": seed, "current_epoch": epoch, "global_rank": rank}
                    for again in (False, True):
                        module = classifier(monkeypatch, **told)
                        module.figures["train/loss"] = 1.0
                        module.on_train_epoch_start()
                        assert module.figures == {}
                        drawn[seed, epoch, rank, again] = torch.rand(()).item()
        assert all(drawn[*key, False] == drawn[*key, True] for *key, _ in drawn)
        assert len(set(drawn.values())) == 8


class TestSetup:
    def test_channels_last_and_compilation(self, monkeypatch) -> None:
        compiled = []
        network = nn.Conv2d(3, 4, 3)
        monkeypatch.setattr(network, "compile", lambda: compiled.append(True))
        Classifier(network, TrainingSettings(sgd, CONSTANT, compile=False, channels_last=False), 1, 4).setup("fit")
        assert network.weight.is_contiguous()
        assert compiled == []
        module = Classifier(network, TrainingSettings(sgd, CONSTANT, compile=True, channels_last=True), 1, 4)
        module.setup("fit")
        assert network.weight.is_contiguous(memory_format=torch.channels_last)
        assert not network.weight.is_contiguous()
        assert compiled == [True]
        images = torch.randn(1, 3, 5, 5)
        assert torch.equal(module(images), network(images))


class TestParts:
    @pytest.mark.parametrize(("training", "part"), [(True, "training"), (False, "validation"), (None, "validation")])
    def test_only_training_images_are_augmented(self, training: bool | None, part: str) -> None:
        parts: list[str] = []

        def network_input(images: Tensor, part: str) -> Tensor:
            parts.append(part)
            return images + 1

        settings = SimpleNamespace(training_image_size=lambda epoch: None)
        data = LightningData(SimpleNamespace(network_input=network_input), settings)
        data.trainer = None if training is None else SimpleNamespace(training=training, current_epoch=0)
        images, labels = data.on_after_batch_transfer((torch.zeros(2), torch.ones(2)), 0)
        assert parts == [part]
        assert (images.tolist(), labels.tolist()) == ([1, 1], [1, 1])
