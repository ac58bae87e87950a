"""How long an epoch of LeNet-5 on MNIST takes: cnn-train's own fit loop beside a bare loop and a per-sample pipeline.

Three ways to train the same network with the same batch size and optimizer, one after the other in one process, round
after round, so that whatever else the machine does falls on all three:

- ours: what ``cnn-train`` runs (its Trainer, callbacks, logger, metrics and data module), the training epoch alone;
- bare: a plain PyTorch loop over float tensors in memory that logs nothing;
- per sample: Lightning fed by torchvision's MNIST with ToTensor, Normalize and Pad, one image at a time.

Usage: python benchmarks/epoch_time.py [rounds]
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import hydra
import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

from cnn_experiments.building import build
from cnn_experiments.classifier import Classifier
from cnn_experiments.command import CONFIG_DIRECTORY
from cnn_experiments.trainers.callbacks import EpochReport, RunDirectoryLogger, TensorBoardPages, checkpoints
from cnn_experiments.trainers.trainer import build_trainer


class EpochTimes(Callback):
    """Wall time from the first to the last training step of each epoch, everything between them included."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.began = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds.append(time.perf_counter() - self.began)


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


def settings() -> dict[str, Any]:
    """The config of ``cnn-train trainer.max_epochs=1``."""
    with hydra.initialize_config_dir(str(CONFIG_DIRECTORY), version_base="1.3"):
        return OmegaConf.to_container(hydra.compose("train", ["trainer.max_epochs=1", "trainer.gpus=0"]), resolve=True)


def ours(config: dict[str, Any], datamodule: pl.LightningDataModule, directory: Path) -> float:
    times, classifier = EpochTimes(), Classifier(config)
    callbacks = [EpochReport(), TensorBoardPages(), *checkpoints(directory / "checkpoints"), times]
    trainer = build_trainer(config["trainer"], logger=RunDirectoryLogger(directory, 0), callbacks=callbacks)
    trainer.fit(classifier, datamodule)
    return times.seconds[0]


def bare(config: dict[str, Any], images: Tensor, labels: Tensor) -> float:
    classifier = Classifier(config)
    network, batch_size = classifier.network, config["datamodule"]["batch_size"]
    optimizer = classifier.build_optimizer(network.parameters())
    began = time.perf_counter()
    for batch in torch.randperm(len(labels)).split(batch_size):
        optimizer.zero_grad()
        network.loss(network(images[batch]), labels[batch]).backward()
        optimizer.step()
    return time.perf_counter() - began


def per_sample(config: dict[str, Any], training: Subset, directory: Path) -> float:
    times = EpochTimes()
    loader = DataLoader(training, batch_size=config["datamodule"]["batch_size"], shuffle=True)
    empty_validation = DataLoader(Subset(training, range(64)), batch_size=64)
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        num_sanity_val_steps=0,
        default_root_dir=directory,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[times],
    )
    trainer.fit(PlainClassifier(Classifier(config)), loader, empty_validation)
    return times.seconds[0]


def main(rounds: int) -> None:
    config = settings()
    datamodule = build(config["datamodule"], "datamodule", also=["name"])
    datamodule.prepare_data()
    datamodule.setup("fit")
    images = torch.cat([datamodule.prepare(part) for part in datamodule.training.images.split(1000)])
    labels = datamodule.training.labels
    background, ink = config["datamodule"]["background"], config["datamodule"]["ink"]
    pipeline = transforms.Compose(
        [
            transforms.ToTensor(),
            transforms.Normalize(-background / (ink - background), 1 / (ink - background)),
            transforms.Pad(2, fill=background),
        ]
    )
    whole = datasets.MNIST(config["datamodule"]["data_dir"], train=True, transform=pipeline)
    seconds: dict[str, list[float]] = {"ours": [], "bare": [], "per sample": []}
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(rounds + 1):
            directory = Path(scratch) / str(number)
            times = {
                "ours": ours(config, datamodule, directory),
                "bare": bare(config, images, labels),
                "per sample": per_sample(config, Subset(whole, range(len(labels))), directory),
            }
            print(f"round {number}" + (" (warm-up, not counted)" if number == 0 else ""), end=": ")
            print(", ".join(f"{name} {value:.2f} s" for name, value in times.items()), flush=True)
            if number:
                for name, value in times.items():
                    seconds[name].append(value)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"median of {rounds}: " + ", ".join(f"{name} {value:.2f} s" for name, value in median.items()))
    print(f"ours / bare:       {median['ours'] / median['bare']:.3f} (at most 1.15)")
    print(f"ours / per sample: {median['ours'] / median['per sample']:.3f} (at most 0.55)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
