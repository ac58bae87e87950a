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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import pytorch_lightning as pl
import torch
from cnn_experiments.building import build
from cnn_experiments.classifier import Classifier
from cnn_experiments.command import CONFIG_DIRECTORY
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

from cnn_experiments.runs import Run
from cnn_experiments.trainers.callbacks import BestAndLast, EpochReport, RunDirectoryLogger
from cnn_experiments.trainers.trainer import build_trainer


class PlainClassifier(pl.LightningModule):
    """What a tutorial would write: the same network, the loss and accuracy of each step logged."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        images, labels = batch
        scores = self.classifier.network(images)
        loss = self.classifier.network.loss(scores, labels)
        self.log("train/loss", loss)
        self.log("train/accuracy", (scores.argmax(1) == labels).float().mean())
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.classifier.build_optimizer(self.classifier.network.parameters())


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

    def __init__(self, config: dict[str, Any], images: Tensor, labels: Tensor) -> None:
        classifier = Classifier(config)
        self.network, self.images, self.labels = classifier.network, images, labels
        self.optimizer = classifier.build_optimizer(self.network.parameters())
        self.batch_size = config["datamodule"]["batch_size"]

    def __call__(self) -> float:
        """Train for an epoch; return its seconds."""
        began = time.perf_counter()
        for batch in torch.randperm(len(self.labels)).split(self.batch_size):
            self.optimizer.zero_grad()
            self.network.loss(self.network(self.images[batch]), self.labels[batch]).backward()
            self.optimizer.step()
        return time.perf_counter() - began


class PerSample(Callback):
    """Lightning fed by torchvision's MNIST, one image at a time."""

    def __init__(self, config: dict[str, Any], size: int) -> None:
        data = config["datamodule"]
        width = data["ink"] - data["background"]
        pipeline = transforms.Compose(
            [
                transforms.ToTensor(),
                transforms.Normalize(-data["background"] / width, 1 / width),
                transforms.Pad((data["image_size"] - 28) // 2, fill=data["background"]),
            ]
        )
        images = Subset(datasets.MNIST(data["data_dir"], train=True, transform=pipeline), range(size))
        self.loader = DataLoader(images, batch_size=data["batch_size"], shuffle=True)
        self.classifier = PlainClassifier(Classifier(config))

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


def main(epochs: int) -> None:
    overrides = [f"trainer.max_epochs={epochs + 1}", "trainer.gpus=0"]
    with hydra.initialize_config_dir(str(CONFIG_DIRECTORY), version_base="1.3"):
        config = OmegaConf.to_container(hydra.compose("train", overrides), resolve=True)
    datamodule = build(config["datamodule"], "datamodule", also=["name"])
    datamodule.prepare_data()
    datamodule.setup("fit")
    images = torch.cat([datamodule.prepare(part) for part in datamodule.training.images.split(1000)])
    labels = datamodule.training.labels

    others = {"bare": BareLoop(config, images, labels), "per sample": PerSample(config, len(labels))}
    with tempfile.TemporaryDirectory() as scratch:
        report = EpochReport(Run(Path(scratch)))
        beside = Beside(report, others)
        callbacks = [build(config["logging"], "logging"), report, beside, BestAndLast(Run(Path(scratch)))]
        logger = RunDirectoryLogger(Path(scratch), first_step=0)
        build_trainer(config["trainer"], logger=logger, callbacks=callbacks).fit(Classifier(config), datamodule)
    median = {name: statistics.median(values) for name, values in beside.seconds.items()}
    print(f"median of {epochs}: " + ", ".join(f"{name} {value:.2f} s" for name, value in median.items()))
    print(f"ours / bare:       {median['ours'] / median['bare']:.3f} (at most 1.15)")
    print(f"ours / per sample: {median['ours'] / median['per sample']:.3f} (at most 0.55)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
