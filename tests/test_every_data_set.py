"""What holds for every data set: those that conf/datamodule/ names, so that a new one is tested without being named."""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from cnn_experiments.datamodules.base import PARTS, ImageData
from cnn_experiments.datamodules.samplers import Draw
from cnn_experiments.errors import ExperimentError
from cnn_experiments.settings.classes import CONFIG_DIRECTORY
from cnn_experiments.settings.schema import Settings

NAMES = sorted(file.stem for file in (CONFIG_DIRECTORY / "datamodule").glob("*.yaml"))
# Made data are few and small; a data set that is not listed here is tested as its YAML has it.
SMALL = {
    "mnist": ["datamodule.validation_size=50"],
    "dogs_vs_cats": ["datamodule.image_size=40", "datamodule.num_workers=0"],
}


@pytest.fixture(params=NAMES)
def described(request: pytest.FixtureRequest, digits: Path, photographs: Path, settings: Callable) -> Settings:
    """The settings of a data set, on made data where there are some."""
    if request.param == "mnist":
        request.getfixturevalue("monkeypatch").setenv("CNN_EXPERIMENTS_DATA", str(digits))
    words = [f"datamodule={request.param}", "datamodule.batch_size=16", *SMALL.get(request.param, [])]
    return settings(*words)


@pytest.fixture
def data(described: Settings) -> ImageData:
    """The data set."""
    data = described.datamodule.build()
    try:
        data.setup()
    except ExperimentError as error:
        pytest.skip(f"its data are not here: {error}")
    return data


def test_the_config_describes_it(described: Settings, data: ImageData) -> None:
    assert data.input_shape == described.input_shape
    assert data.num_classes == described.datamodule.num_classes == len(set(data.class_names))


@pytest.mark.parametrize("name", NAMES)
def test_every_option_has_a_default_that_the_config_repeats(compose: Callable, name: str) -> None:
    """Where its data lie, and the seed and the image size, depend on other keys or on the environment."""
    config = compose(f"datamodule={name}")["datamodule"]
    module, _, kind = config["_target_"].rpartition(".")
    options = inspect.signature(getattr(importlib.import_module(module), kind)).parameters
    for key in options.keys() - {"data_dir", "source", "seed", "image_size"}:
        default = options[key].default
        default = asdict(default) if is_dataclass(default) and not isinstance(default, type) else default
        assert as_in_yaml(config[key]) == as_in_yaml(default), key


def as_in_yaml(value: Any) -> Any:
    """A setting with lists for tuples, also within others."""
    if isinstance(value, dict):
        return {key: as_in_yaml(one) for key, one in value.items()}
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("part", PARTS)
def test_batches_are_what_a_network_gets(data: ImageData, part: str) -> None:
    number = 0
    for images, labels in data.batches(part):
        assert images.shape == (len(labels), *data.input_shape)
        assert images.dtype == torch.float32
        assert images.isfinite().all()
        assert 0 <= int(labels.min()) <= int(labels.max()) < data.num_classes
        number += len(labels)
    assert number == len(data.images_of(part)) == sum(data.class_counts(part))


def test_parts_share_no_image(data: ImageData) -> None:
    seen: set[bytes] = set()
    for part in ("training", "validation"):
        images = data.some_images(part, len(data.images_of(part)))
        digests = {image.numpy().tobytes() for image in images}
        assert not digests & seen
        seen |= digests


def test_training_is_drawn_from_seed_and_epoch_alone(data: ImageData, described: Settings) -> None:
    state = torch.get_rng_state()
    first = list(data.batches("training", epoch=3))
    torch.manual_seed(123)
    again = list(described.datamodule.build().batches("training", epoch=3))
    other = list(data.batches("training", epoch=4))
    assert all(one.equal(two) for one, two in zip((x for x, _ in first), (x for x, _ in again), strict=True))
    assert not all(one.equal(two) for (_, one), (_, two) in zip(first, other, strict=True))
    torch.set_rng_state(state)
    next(iter(data.batches("training")))
    assert state.equal(torch.get_rng_state())


def test_validation_and_test_are_always_the_same(data: ImageData) -> None:
    for part in ("validation", "test"):
        passes = [torch.cat([images for images, _ in data.batches(part)]) for _ in range(2)]
        assert passes[0].equal(passes[1])


def test_views_begin_with_what_validation_sees(data: ImageData) -> None:
    images, _ = data.images_of("test")[Draw(torch.arange(3))]
    views = data.test_views(images)
    first = views if views.dim() == 4 else views[:, 0]
    assert first.equal(data.network_input(images, "test"))


def test_its_fingerprint_is_of_the_data(data: ImageData, described: Settings) -> None:
    assert data.fingerprint() == described.datamodule.build().fingerprint()
    assert len(data.fingerprint()) >= 16


def test_its_pictures(data: ImageData) -> None:
    for images in data.samples(4).values():
        assert images.shape[0] == 4
        assert 0 <= float(images.min()) <= float(images.max()) <= 1
    gallery = data.gallery(2)
    assert len(gallery) == data.num_classes
    assert all(images.shape[-1] in (1, 3) for images in gallery)


def test_an_image_file_is_prepared_like_a_test_image(data: ImageData, photographs: Path) -> None:
    image = data.read_image(next(photographs.glob("cat.*.jpg")))
    assert image.dtype == torch.uint8
    assert data.network_input(image[None], "test").shape == (1, *data.input_shape)
