"""The images that excite each map most, and their file."""

import contextlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cnn_experiments.errors import UserError
from cnn_experiments.inspection import exciting_images
from cnn_experiments.inspection.exciting_images import (
    Exciting,
    digest_of,
    most_exciting_images,
    read_exciting_images,
    write_exciting_images,
)
from cnn_experiments.inspection.layer_outputs import layer_outputs, named_layers
from cnn_experiments.models.googlenet import GoogLeNet
from cnn_experiments.models.lenet5 import LeNet5
from tests.explored import PoolsTwice


def images_for(number: int, side: int = 32, channels: int = 1) -> Tensor:
    return torch.randn(number, channels, side, side, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def found() -> Exciting:
    torch.manual_seed(0)
    images = images_for(30)
    *_, last = most_exciting_images(LeNet5(dropout=0.5).train(), images.split(7), 30)
    return last.found


def check_against_all_outputs(network: nn.Module, images: Tensor, found: Exciting, number: int) -> None:
    """Compare with sorting what each layer outputs for all images at once."""
    everything = {name: output for name, _, output in layer_outputs(network, images, layers=named_layers(network))}
    assert set(found) == set(everything)
    for name, outputs in everything.items():
        maps = outputs if outputs.dim() == 4 else outputs[..., None, None]
        of_layer = found[name]
        assert of_layer.shape == tuple(maps.shape[1:])
        highest = maps.flatten(2).amax(2).T  # (maps, images)
        kept = min(number, len(images))
        expected = highest.sort(1, descending=True).values[:, :kept]
        torch.testing.assert_close(torch.from_numpy(of_layer.values[:, :kept]), expected, rtol=1e-4, atol=1e-4)
        for map_, (numbers, values, places) in enumerate(
            zip(of_layer.images, of_layer.values, of_layer.places, strict=True)
        ):
            assert len(set(numbers[:kept])) == kept
            rows, columns = torch.from_numpy(places[:kept]).long().unbind(1)
            at_places = maps[torch.from_numpy(numbers[:kept]).long(), map_, rows, columns]
            torch.testing.assert_close(at_places, torch.from_numpy(values[:kept]), rtol=1e-4, atol=1e-4)
        assert (of_layer.images[:, kept:] == -1).all()
        assert np.isneginf(of_layer.values[:, kept:]).all()


def test_a_layer_that_is_used_twice() -> None:
    network, images = PoolsTwice(), images_for(10)
    *_, last = most_exciting_images(network, images.split(4), 10)
    outputs = {name: output for name, _, output in layer_outputs(network, images, layers=named_layers(network))}
    assert last.found["pool"].shape == (5, 5, 5)
    expected = outputs["pool"].amax((2, 3)).T.sort(1, descending=True).values[:, :9]
    torch.testing.assert_close(torch.from_numpy(last.found["pool"].values), expected)


@pytest.mark.parametrize(("count", "number"), [(30, 9), (4, 9), (12, 1)])
def test_lenet5(count: int, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exciting_images, "VALUES_AT_ONCE", 5 * 32 * 32)  # batches are divided
    torch.manual_seed(0)
    network, images = LeNet5(dropout=0.5).train(), images_for(count)
    steps = list(most_exciting_images(network, images.split(7), count, number))
    assert [step.done for step in steps][-1] == steps[-1].total == count
    assert max(np.diff([0, *(step.done for step in steps)])) == min(5, count)
    check_against_all_outputs(network, images, steps[-1].found, number)
    check_against_all_outputs(network, images[: steps[0].done], steps[0].found, number)
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.slow
def test_branches_of_googlenet() -> None:
    torch.manual_seed(0)
    network, images = GoogLeNet(input_size=64, auxiliary=False).eval(), images_for(12, 64, 3)
    *_, last = most_exciting_images(network, [images], 12)
    check_against_all_outputs(network, images, last.found, 9)
    branch, whole = last.found["inception3a/branch1x1"], last.found["inception3a"]
    assert np.array_equal(branch.images, whole.images[:64])


def test_of_equal_images_the_first() -> None:
    *_, last = most_exciting_images(LeNet5(), images_for(1).expand(20, -1, -1, -1).split(6), 20)
    assert (last.found["c1"].images == np.arange(9)).all()


def test_what_is_no_number_excites_nothing() -> None:
    images = images_for(12)
    images[3] = torch.nan
    *_, last = most_exciting_images(LeNet5(), [images], 12)
    assert not (last.found["c1"].images == 3).any()


def test_it_can_be_stopped_and_the_network_used_in_between() -> None:
    network = LeNet5()
    steps = most_exciting_images(network, images_for(20).split(5), 20)
    first = next(steps)
    network(images_for(100))
    assert next(steps).done == 10
    assert first.found["c1"].images.max() < 5
    steps.close()
    assert not any(module._forward_hooks for module in network.modules())


class TestFile:
    def test_it_comes_back(self, found: Exciting, tmp_path: Path) -> None:
        file = tmp_path / "exciting_images.npz"
        write_exciting_images(file, found, "these weights")
        assert file.stat().st_size < 40_000
        again = read_exciting_images(file, "these weights", 30)
        assert again is not None
        assert list(again) == list(found)
        for name, of_layer in found.items():
            assert again[name].shape == of_layer.shape
            for part in ("images", "values", "places"):
                assert np.array_equal(getattr(again[name], part), getattr(of_layer, part))
        assert [path.name for path in tmp_path.iterdir()] == [file.name]

    def test_it_is_only_of_these_weights_and_images(self, found: Exciting, tmp_path: Path) -> None:
        file = tmp_path / "exciting_images.npz"
        assert read_exciting_images(file, "these weights", 30) is None
        write_exciting_images(file, found, "these weights")
        assert read_exciting_images(file, "other weights", 30) is None

    def test_a_digest_is_of_weights_and_images(self) -> None:
        torch.manual_seed(0)
        network = LeNet5()
        before = digest_of(network, "data")
        assert digest_of(network.train(), "data") == before
        assert digest_of(network, "other data") != before
        with torch.no_grad():
            network.c3.convolution.weight[5, 1, 1] += 1e-6
        assert digest_of(network, "data") != before

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda parts: parts.pop("values"), "other arrays"),
            (lambda parts: parts.update(more=np.zeros(3)), "other arrays"),
            (lambda parts: parts.update(values=parts["values"].astype("<f8")), "arrays of another type"),
            (lambda parts: parts.update(values=parts["values"][:-1]), "arrays of other shapes"),
            (lambda parts: parts.update(images=parts["images"][:, :4]), "arrays of other shapes"),
            (lambda parts: parts.update(images=parts["images"] + 1), "images or places that do not exist"),
            (lambda parts: parts.update(images=parts["images"] - 40), "images or places that do not exist"),
            (lambda parts: parts.update(places=parts["places"] + 1), "images or places that do not exist"),
            (lambda parts: parts.update(places=parts["places"] - 1), "images or places that do not exist"),
            (lambda parts: parts.update(values=parts["values"] * np.float32("nan")), "values that are not numbers"),
            (lambda parts: parts.update(described=np.frombuffer(b"[]", np.uint8)), "no layers"),
            (lambda parts: parts.update(described=np.frombuffer(b"{" * 99_999, np.uint8)), "Expecting"),
            (lambda parts: parts.update(described=np.frombuffer(b"[" * 99_999, np.uint8)), "recursion"),
            (lambda parts: parts.update(described=np.frombuffer(b"\xff\xfe\xff", np.uint8)), ""),
            (lambda parts: parts.update(described=described({"c1": [6, 28]})), "layers without shapes"),
            (lambda parts: parts.update(described=described({"c1": [6, 28, True]})), "layers without shapes"),
            (lambda parts: parts.update(described=described({"c1": [10**9, 1, 1]})), "arrays of other shapes"),
            (lambda parts: parts.update(described=described({"c1": [1, 10**30, 1]})), "layers without shapes"),
            (lambda parts: parts.update(described=described({"c" * 2000: [6, 28, 28]})), "layers without shapes"),
        ],
    )
    def test_what_is_received_is_checked(self, found: Exciting, tmp_path: Path, change: Callable, message: str) -> None:
        file = tmp_path / "exciting_images.npz"
        write_exciting_images(file, found, "these weights")
        parts = dict(np.load(file))
        change(parts)
        np.savez_compressed(file, **parts)
        with pytest.raises(UserError, match=f"this is no file of exciting images \\(.*{message}"):
            read_exciting_images(file, "these weights", 30)

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"nonsense" * 100])
    def test_what_is_no_archive(self, tmp_path: Path, content: bytes) -> None:
        file = tmp_path / "exciting_images.npz"
        file.write_bytes(content)
        with pytest.raises(UserError, match="this is no file of exciting images"):
            read_exciting_images(file, "", 30)

    def test_every_cut_and_changed_byte(self, found: Exciting, tmp_path: Path) -> None:
        file = tmp_path / "exciting_images.npz"
        write_exciting_images(file, {"c1": found["c1"]}, "these weights")
        content = file.read_bytes()
        for place in range(0, len(content), 7):
            for damaged in (content[:place], content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :]):
                file.write_bytes(damaged)
                with contextlib.suppress(UserError):  # and nothing else
                    again = read_exciting_images(file, "these weights", 30)
                    assert again is None or again["c1"].images.shape == (6, 9)

    def test_a_header_that_promises_much_takes_no_memory(self, found: Exciting, tmp_path: Path) -> None:
        file = tmp_path / "exciting_images.npz"
        write_exciting_images(file, found, "these weights")
        with zipfile.ZipFile(file) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        huge = io.BytesIO()
        np.lib.format.write_array_header_1_0(huge, {"descr": "<f4", "fortran_order": False, "shape": (10**15,)})
        members["values.npy"] = huge.getvalue()
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        with pytest.raises(UserError, match="an array of another size than it says"):
            read_exciting_images(file, "these weights", 30)

    def test_a_bomb_is_not_unpacked(self, found: Exciting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(exciting_images, "MOST_BYTES", 100_000)
        file = tmp_path / "exciting_images.npz"
        arrays = {name: np.zeros(50_000, np.uint8) for name in ("described", "images", "places", "values")}
        np.savez_compressed(file, **arrays)
        assert file.stat().st_size < 2_000
        with pytest.raises(UserError, match="more than 100,000 bytes"):
            read_exciting_images(file, "these weights", 30)

    def test_objects_are_not_unpickled(self, found: Exciting, tmp_path: Path) -> None:
        file = tmp_path / "exciting_images.npz"
        write_exciting_images(file, found, "these weights")
        parts = dict(np.load(file)) | {"values": np.array([{}], dtype=object)}
        np.savez_compressed(file, **parts)
        with pytest.raises(UserError, match="this is no file of exciting images"):
            read_exciting_images(file, "these weights", 30)


def described(layers: dict) -> np.ndarray:
    return np.frombuffer(json.dumps({"made_of": "these weights", "layers": layers}).encode(), np.uint8)
