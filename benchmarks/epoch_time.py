"""How long an epoch of LeNet-5 on MNIST takes: cnn-train's own fit loop beside a bare loop and a per-sample pipeline.

Three ways to train the same network with the same batch size and optimizer, an epoch of each in turn in one process,
so that whatever else the machine does falls on all three:

- ours: what ``cnn-train`` runs (its Trainer, callbacks, logger, metrics and data module), the training epoch alone;
- bare: a plain PyTorch loop over float tensors in memory that logs nothing;
- per sample: Lightning fed by torchvision's MNIST with ToTensor, Normalize and Pad, one image at a time.

Usage: python benchmarks/epoch_time.py [epochs]
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

from cnn_experiments.commands.from_python import read_words
from cnn_experiments.datamodules.mnist import MNIST
from cnn_experiments.evaluation.hardware import choose_hardware
from cnn_experiments.models.network import loss_of
from cnn_experiments.runs.directory import RunDirectory
from cnn_experiments.settings.schema import Settings
from cnn_experiments.trainers.callbacks import BestAndLast, DashboardCallback, EpochReport
from cnn_experiments.trainers.classifier import Classifier
from cnn_experiments.trainers.data import LightningData
from cnn_experiments.trainers.tensorboard import RunDirectoryLogger
from cnn_experiments.trainers.trainer import build_trainer


def new_classifier(settings: Settings) -> Classifier:
    """A network with its first weights, in Lightning's clothes."""
    return Classifier(settings.network(), settings.training, settings.seed, settings.datamodule.num_classes)


class PlainClassifier(pl.LightningModule):
    """What a tutorial would write: the same network, the loss and accuracy of each step logged."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        images, labels = batch
        scores = self.classifier.network(images)
        loss = loss_of(self.classifier.network, scores, labels)
        self.log("train/loss", loss)
        self.log("train/accuracy", (scores.argmax(1) == labels).float().mean())
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.classifier.training_settings.optimizer(params=self.classifier.network.parameters())


class Beside(Callback):
    """After each epoch of ours, one of each of the others; the epochs of all of them are warm but for the first."""

    def __init__(self, report: EpochReport, others: dict[str, Callable[[], float]]) -> None:
        self.report, self.others = report, others
        self.seconds: dict[str, list[float]] = {"ours": [], **{name: [] for name in others}}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        times = {"ours": self.report.epoch_seconds, **{name: epoch() for name, epoch in self.others.items()}}
        print(
            f"epoch {trainer.current_epoch}" + (" (warm-up, not counted)" if trainer.current_epoch == 0 else ""), end=""
        )
        print(": " + ", ".join(f"{name} {value:.2f} s" for name, value in times.items()), flush=True)
        if trainer.current_epoch > 0:
            for name, value in times.items():
                self.seconds[name].append(value)


class BareLoop:
    """A plain PyTorch loop over float tensors in memory."""

    def __init__(self, settings: Settings, data: MNIST) -> None:
        images = data.images_of("training")
        self.network, self.labels = new_classifier(settings).network, images.labels
        parts = torch.split(data.some_images("training", len(images)), 1000)
        self.images = torch.cat([data.network_input(part, "training") for part in parts])
        self.optimizer = settings.training.optimizer(params=self.network.parameters())
        self.batch_size = data.batch_size

    def __call__(self) -> float:
        """Train for an epoch; return its seconds."""
        began = time.perf_counter()
        for batch in torch.split(torch.randperm(len(self.labels)), self.batch_size):
            self.optimizer.zero_grad()
            loss_of(self.network, self.network(self.images[batch]), self.labels[batch]).backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return time.perf_counter() - began


class PerSample(Callback):
    """Lightning fed by torchvision's MNIST, one image at a time."""

    def __init__(self, settings: Settings, data: MNIST) -> None:
        width = data.ink - data.background
        pipeline = transforms.Compose(
            [
                transforms.ToTensor(),
                transforms.Normalize(-data.background / width, 1 / width),
                transforms.Pad(data.margin, fill=data.background),
            ]
        )
        images = datasets.MNIST(str(data.data_dir), train=True, transform=pipeline)
        as_many = Subset(images, range(len(data.images_of("training"))))
        self.loader = DataLoader(as_many, batch_size=data.batch_size, shuffle=True)
        self.classifier = PlainClassifier(new_classifier(settings))

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.began = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds = time.perf_counter() - self.began

    def __call__(self) -> float:
        """Train for an epoch; return its seconds."""
        trainer = pl.Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[self],
        )
        trainer.fit(self.classifier, self.loader)
        return self.seconds


def main(epochs: int, words: Sequence[str] = ()) -> None:
    """Time so many epochs of each way, with further words of cnn-train."""
    settings = read_words([f"trainer.max_epochs={epochs + 1}", "trainer.gpus=0", *words], None, None, [])[1]
    hardware, data = choose_hardware(settings.trainer), settings.datamodule.build()
    assert isinstance(data, MNIST)
    others: dict[str, Callable[[], float]] = {"bare": BareLoop(settings, data), "per sample": PerSample(settings, data)}
    with tempfile.TemporaryDirectory() as scratch:
        run = RunDirectory(Path(scratch))
        report = EpochReport(run)
        beside = Beside(report, others)
        callbacks = [DashboardCallback(settings.logging(), hardware), report, beside, BestAndLast(run)]
        logger = RunDirectoryLogger(Path(scratch), first_step=0)
        trainer = build_trainer(settings.trainer, hardware, logger=logger, callbacks=callbacks)
        trainer.fit(new_classifier(settings), LightningData(data, settings.trainer))
    median = {name: statistics.median(values) for name, values in beside.seconds.items()}
    print(f"median of {epochs}: " + ", ".join(f"{name} {value:.2f} s" for name, value in median.items()))
    print(f"ours / bare:       {median['ours'] / median['bare']:.3f} (at most 1.15)")
    print(f"ours / per sample: {median['ours'] / median['per sample']:.3f} (at most 0.55)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
