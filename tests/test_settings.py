"""Settings: what a config may say, which classes it may name, how wrong values are refused."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cnn_experiments.errors import UserError
from cnn_experiments.settings.classes import CONFIG_DIRECTORY, KnownClasses, targets_in
from cnn_experiments.settings.constructors import Constructor, constructor
from cnn_experiments.settings.renamed import modernised, modernised_word
from cnn_experiments.settings.schema import Settings

OWN_MODULE = """
from os import system
from subprocess import run

import torch
from torch import nn


class Own(nn.Module):
    def __init__(self, width: int = 3, broken: str = "") -> None:
        super().__init__()
        if width % 2 == 0:
            raise ValueError(f"width={width} is even: use an odd number")
        if broken == "type":
            width - "x"
        if broken == "value":
            int("x")
        if broken == "torch":
            nn.Conv2d(3, 5, 3, groups=2)
        self.layer = nn.Linear(width, 2)
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module with a network, in the present folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_networks.py").write_text(OWN_MODULE)
    monkeypatch.delitem(sys.modules, "own_networks", raising=False)
    return "own_networks"


def test_the_list_of_classes_is_what_conf_names() -> None:
    named = set(targets_in(CONFIG_DIRECTORY))
    assert ("model", "cnn_experiments.models.lenet5.LeNet5") in named
    assert ("model.optimizer", "torch.optim.AdamW") in named
    assert ("datamodule", "cnn_experiments.datamodules.dogs_vs_cats.DogsVsCats") in named
    assert not [name for _, name in named if "commands" in name]  # Hydra's own callbacks are not for configs


def test_every_optimizer_of_torch_may_be_named() -> None:
    from torch.optim import RMSprop

    assert KnownClasses([CONFIG_DIRECTORY]).find("torch.optim.RMSprop", "model.optimizer") is RMSprop


@pytest.mark.parametrize("model", ["lenet5", "alexnet", "googlenet"])
def test_one_word_exchanges_the_optimizer(settings: Callable[..., Settings], model: str) -> None:
    from torch import nn, optim, zeros

    read = settings(f"model={model}", "model.optimizer._target_=torch.optim.SGD")
    assert isinstance(read.training.optimizer(params=[nn.Parameter(zeros(1))]), optim.SGD)


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("os.system", "model"),
        ("subprocess.Popen", "model.optimizer"),
        ("cnn_experiments.trainers.processes.run_in_processes", "model"),
        ("cnn_experiments.models.lenet5.LeNet5", "datamodule"),  # a class of the list, in another place
        ("torch.optim.AdamW", "model"),
        ("torch.optim.lr_scheduler.LambdaLR", "model.optimizer"),
        ("own_networks.Own", "model"),  # not trusted
        ("cnn_experiments.models.lenet5", "model"),
        (["os", "system"], "model"),
        (None, "model"),
        (7, "logging"),
    ],
)
def test_no_other_class_is_found_and_nothing_is_imported(target: object, place: str, own_module: str) -> None:
    before = set(sys.modules)
    with pytest.raises(UserError, match="not among the classes"):
        KnownClasses([CONFIG_DIRECTORY]).find(target, place)
    assert own_module not in set(sys.modules) - before


def test_a_trusted_module_gives_its_own_classes_alone(own_module: str) -> None:
    classes = KnownClasses([CONFIG_DIRECTORY], trusted=[own_module])
    assert classes.find("own_networks.Own", "model").__name__ == "Own"
    for imported in ("own_networks.system", "own_networks.run", "own_networks.torch", "own_networks.nn"):
        with pytest.raises(UserError, match="not among the classes"):
            classes.find(imported, "model")


def test_a_trusted_module_that_does_not_exist() -> None:
    with pytest.raises(UserError, match="trust=no_such_module: there is no module"):
        KnownClasses([CONFIG_DIRECTORY], trusted=["no_such_module"])


def own(own_module: str, **settings: object) -> Constructor:
    classes = KnownClasses([CONFIG_DIRECTORY], trusted=[own_module])
    return constructor(classes.find("own_networks.Own", "model"), settings, "model")


def test_a_refused_value_is_one_sentence(own_module: str) -> None:
    with pytest.raises(UserError, match=r"^model: width=4 is even: use an odd number$"):
        own(own_module, width=4)()


@pytest.mark.parametrize(("broken", "error"), [("type", TypeError), ("value", ValueError), ("torch", ValueError)])
def test_an_error_in_the_code_of_a_constructor_stays_what_it_is(own_module: str, broken: str, error: type) -> None:
    with pytest.raises(error) as raised:
        own(own_module, broken=broken)()
    assert not isinstance(raised.value, UserError)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widht": 3}, "model.widht: there is no such key. Did you mean width"),
        ({"width": "wide"}, "model.width=wide: should be a valid integer"),
    ],
)
def test_keys_and_types_are_checked_before_anything_is_built(own_module: str, settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        own(own_module, **settings)


def test_a_missing_argument_is_named() -> None:
    def needs(size: int, colour: str) -> None: ...

    with pytest.raises(UserError, match=r"^model: missing a required argument: 'colour'"):
        constructor(needs, {"size": 3}, "model")


@pytest.mark.parametrize(
    ("word", "expected", "hint"),
    [
        ("datamodule.deviation=[1,1,1]", "datamodule.std=[1,1,1]", "datamodule.std now"),
        ("model.padding=same", "++model.padding=same", "until version 0.3"),
        ("seed=3", "seed=3", ""),
        ("-m", "-m", ""),
        ("~model.dropout", "~model.dropout", ""),
    ],
)
def test_old_words(word: str, expected: str, hint: str) -> None:
    assert modernised_word(word)[0] == expected
    assert hint in modernised_word(word)[1]
    assert bool(hint) == bool(modernised_word(word)[1])


def test_a_key_of_the_articles_network_is_old_for_the_papers_alone() -> None:
    assert modernised_word("model.pool5=true", ["experiment=alexnet_article"]) == ("++model.pool5=true", "")


def test_a_config_of_an_earlier_version(settings: Callable) -> None:
    from cnn_experiments.models.article import ArticleAlexNet

    old = {
        "model": {
            "_target_": "cnn_experiments.models.alexnet.AlexNet",
            "padding": "same",
            "pool5": False,
            "dropout_fc6": True,
        },
        "datamodule": {"deviation": [1.0, 1.0, 1.0]},
        "logging": {"_target_": "cnn_experiments.loggings.dashboard.Dashboard"},
    }
    new = modernised(old)
    assert new["model"]["_target_"].endswith("ArticleAlexNet")
    assert new["model"]["padding"] == "same"
    assert new["datamodule"] == {"std": [1.0, 1.0, 1.0]}
    assert new["logging"]["_target_"] == "cnn_experiments.logging.dashboard.Dashboard"
    assert old["datamodule"] == {"deviation": [1.0, 1.0, 1.0]}  # the original stays as it is

    of_the_paper = {"padding": "paper", "pool5": True, "dropout_fc6": True}
    assert modernised({"model": {**old["model"], **of_the_paper}})["model"] == {
        "_target_": "cnn_experiments.models.alexnet.AlexNet"
    }
    assert settings("model=alexnet", "++model.pool5=false").model.network.target is ArticleAlexNet
    with pytest.raises(UserError, match=r"^model\.without: there is no such key"):
        settings("model=alexnet", "++model.pool5=false", "model.without=conv3")  # which that network does not have


def test_a_config_without_a_part(settings: Callable) -> None:
    from cnn_experiments.settings.schema import read_settings

    config = dict(settings().config)
    for part in ("model", "datamodule", "trainer", "logging"):
        with pytest.raises(UserError, match=f"^{part}: this part of the config is missing"):
            read_settings({key: value for key, value in config.items() if key != part}, KnownClasses([]))


def test_every_preset_is_accepted(settings: Callable[..., Settings]) -> None:
    presets = sorted(file.stem for file in (CONFIG_DIRECTORY / "experiment").glob("*.yaml"))
    assert "alexnet_article" in presets
    for preset in presets:
        assert settings(f"experiment={preset}").model.network is not None, preset
