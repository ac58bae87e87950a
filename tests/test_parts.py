"""Which images a run trains on and what is done to those of each part: what would make its figures false."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cnn_experiments.datamodules.base import ImageData
from cnn_experiments.datamodules.dogs_vs_cats import DogsVsCats
from cnn_experiments.datamodules.in_memory import InMemoryImages, Source
from cnn_experiments.datamodules.mnist import MNIST
from cnn_experiments.datamodules.samplers import BatchSampler
from cnn_experiments.datamodules.splits import balanced_subset
from cnn_experiments.datamodules.transforms import Augmentation, CropAndFlip, Distortion
from cnn_experiments.evaluation.hardware import Hardware
from cnn_experiments.evaluation.testing import evaluate

STRONG = Augmentation(crop_area=(0.1, 0.3), flip=1.0, rotation=40, colour_jitter=0.5, lighting=1.0)


class Noise(InMemoryImages):
    """300 images of noise in three classes, in the order of the classes."""

    class_names = ["one", "two", "three"]  # noqa: RUF012
    image_shape = (1, 8, 8)

    def read(self, source: Source) -> tuple[Tensor, Tensor]:
        images = np.random.default_rng(0).integers(0, 256, (300, 1, 8, 8), dtype=np.uint8)
        return torch.from_numpy(images), torch.arange(3).repeat_interleave(100)


class TestLimit:
    LABELS = np.repeat([0, 1, 2], [500, 300, 200])

    def test_it_takes_images_from_all_over_the_set(self) -> None:
        chosen = balanced_subset(self.LABELS, 150, seed=0)
        first = [0, 500, 800]
        for label, (start, number) in enumerate(zip(first, [500, 300, 200], strict=True)):
            places = (chosen[self.LABELS[chosen] == label] - start) / number
            assert len(places) == 50
            assert 0.35 < places.mean() < 0.65
            assert places.min() < 0.1
            assert places.max() > 0.9

    def test_another_seed_takes_others(self) -> None:
        one, other = (set(balanced_subset(self.LABELS, 150, seed=seed).tolist()) for seed in (0, 1))
        assert len(one & other) < 60  # of 150; 26 are expected

    @pytest.mark.parametrize("make", [Noise, lambda **settings: MNIST(validation_size=50, **settings)])
    def test_a_data_set_in_memory(self, digits: Path, make: Callable[..., ImageData]) -> None:
        whole, limited = make(), make(limit=30)
        images, few = (data.some_images("training", 10_000).flatten(1) for data in (whole, limited))
        assert len(few) == 30
        places = [int((images == image).all(1).nonzero()[0]) for image in few]
        assert places == sorted(places)
        assert places != sorted(first_of_each_class(whole, 30))
        assert max(places) > len(images) * 0.8

    def test_photographs(self, photographs: Path) -> None:
        data = DogsVsCats(image_size=32, num_workers=0, limit=10)
        whole = DogsVsCats(image_size=32, num_workers=0)
        chosen, all_of_them = data.split()["training"].tolist(), whole.split()["training"].tolist()
        assert set(chosen) < set(all_of_them)
        places = [all_of_them.index(index) for index in chosen]
        assert sorted(places) != sorted(first_of_each_class(whole, 10))


def first_of_each_class(data: ImageData, number: int) -> list[int]:
    """Places of the first training images of each class, `number` together."""
    labels = data.images_of("training").labels
    each = number // data.num_classes
    return [place for label in range(data.num_classes) for place in (labels == label).nonzero()[:each, 0].tolist()]


class TestSeeds:
    def test_each_process_augments_with_other_random_numbers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seeds: list[Any] = []
        for rank in range(3):
            sampler = BatchSampler(60, 10, seed=5)
            monkeypatch.setattr(sampler, "_processes", lambda rank=rank: (rank, 3))
            for epoch in range(2):
                sampler.set_epoch(epoch)
                seeds += [draw.seed for draw in sampler]
        assert len(seeds) == len(set(seeds)) == 3 * 2 * 2

    def test_images_in_their_own_order_are_never_augmented(self) -> None:
        assert [draw.seed for draw in BatchSampler(60, 25)] == [None] * 3


class TestOnlyTrainingIsAugmented:
    DISTORTION = Distortion(shift=3, scale=0.3, rotation=30, shear=0.3)

    @pytest.mark.parametrize("part", ["validation", "test"])
    def test_digits(self, digits: Path, part: str) -> None:
        distorted, plain = (
            MNIST(validation_size=50, distortion=distortion) for distortion in (self.DISTORTION, Distortion())
        )
        self.agree(distorted, plain, part)

    @pytest.mark.parametrize("part", ["validation", "test"])
    def test_images_in_memory(self, part: str) -> None:
        augmented, plain = (Noise(augmentation=CropAndFlip(padding, flip)) for padding, flip in ((3, 1.0), (0, 0.0)))
        self.agree(augmented, plain, part)

    @pytest.mark.parametrize("part", ["validation", "test"])
    def test_photographs(self, photographs: Path, part: str) -> None:
        none = Augmentation(flip=0, lighting=0)
        augmented, plain = (
            DogsVsCats(image_size=32, num_workers=0, augmentation=augmentation) for augmentation in (STRONG, none)
        )
        self.agree(augmented, plain, part)

    @staticmethod
    def agree(augmented: ImageData, plain: ImageData, part: Any) -> None:
        """A part is the same with and without augmentation, training images are not."""
        stored = plain.some_images("training", 20)
        assert torch.equal(augmented.network_input(stored, part), plain.network_input(stored, part))
        assert torch.equal(augmented.test_views(stored), plain.test_views(stored))
        batches = [torch.cat([images for images, _ in data.batches(part)]) for data in (augmented, plain)]
        assert torch.equal(*batches)
        training = [next(data.batches("training", epoch=0))[0] for data in (augmented, plain)]
        assert not torch.equal(*training)


class TestPhotographsAreNormalised:
    MEAN, STD = (0.5, 0.25, 0.125), (0.5, 0.25, 0.2)

    @pytest.mark.parametrize("part", ["training", "validation", "test"])
    def test_in_every_part(self, photographs: Path, part: Any) -> None:
        none = Augmentation(flip=0, lighting=0)
        data = DogsVsCats(image_size=32, num_workers=0, augmentation=none, mean=self.MEAN, std=self.STD)
        white = torch.full((2, 3, 36, 36), 255, dtype=torch.uint8)
        for images in (white, white[..., :32, :32]):
            normalised = data.network_input(images, part)
            assert normalised.shape == (2, 3, 32, 32)
            assert normalised[0, :, 5, 5].tolist() == pytest.approx([1, 3, 4.375])
            assert normalised.unique().tolist() == pytest.approx([1, 3, 4.375])
        stored = data.some_images(part, 8)
        given = torch.cat([images for images, _ in data.batches(part)])
        assert given.mean((0, 2, 3)).tolist() != pytest.approx([0.5, 0.4, 0.5], abs=0.05)
        if part != "training":
            expected = (data.crops(stored, 1) / 255 - torch.tensor(self.MEAN).view(3, 1, 1)) / torch.tensor(
                self.STD
            ).view(3, 1, 1)
            torch.testing.assert_close(given[:8], expected)

    def test_in_every_view_of_the_test(self, photographs: Path) -> None:
        data = DogsVsCats(image_size=32, num_workers=0, mean=self.MEAN, std=self.STD)
        views = data.test_views(torch.full((2, 3, 40, 40), 255, dtype=torch.uint8))
        assert views.shape == (2, 10, 3, 32, 32)
        assert (views == torch.tensor([1, 3, 4.375]).view(3, 1, 1)).all()


@pytest.mark.parametrize("crops", [1, 2, 10])
def test_a_test_looks_at_as_many_crops_as_it_says(photographs: Path, crops: Any) -> None:
    class Counter(nn.Module):
        seen = 0

        def forward(self, images: Tensor) -> Tensor:
            self.seen += len(images)
            return images.mean((2, 3))[:, :2]

    data, network = DogsVsCats(image_size=32, num_workers=0, test_size=8, test_crops=crops), Counter()
    evaluate(network, data, "test", Hardware("cpu", 1, "32-true"))
    assert network.seen == 8 * crops
    assert DogsVsCats().test_crops == 10
