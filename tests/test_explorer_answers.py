"""What the page is answered: the same as the library computes, for each of the three networks."""

import base64
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cnn_experiments as cnn
from cnn_experiments.commands.from_python import read_words
from cnn_experiments.datamodules import mnist_files
from cnn_experiments.errors import UserError
from cnn_experiments.evaluation.exploring import subject_of
from cnn_experiments.evaluation.hardware import choose_hardware
from cnn_experiments.evaluation.prediction import predict
from cnn_experiments.evaluation.randomness import untrained_network
from cnn_experiments.evaluation.snapshots import snapshot_file
from cnn_experiments.explorer import answers, messages
from cnn_experiments.explorer.situation import MOST_RESULTS, MOST_UPLOADS, Desk
from cnn_experiments.explorer.subject import Subject
from cnn_experiments.inspection.ablation import maps_by_importance, means_of_maps, probabilities
from cnn_experiments.inspection.graph import Graph
from cnn_experiments.inspection.layer_outputs import layer_outputs, named_layers
from cnn_experiments.inspection.layer_statistics import layer_statistics
from cnn_experiments.inspection.occlusion import occluded, occlusion_map
from cnn_experiments.inspection.receptive_fields import ReceptiveFields
from cnn_experiments.inspection.saliency import grad_cam
from cnn_experiments.models.lenet5 import C3_CONNECTIONS, rbf_centres
from cnn_experiments.settings.schema import Settings
from tests import explored
from tests.conftest import QUICK
from tests.made_data import make_digits, make_photographs
from tests.test_python_door import Halves, Tiny

FIRST = {"lenet5": "c1", "alexnet": "conv1", "googlenet": "conv1"}
DIGIT = {"drawn": base64.b64encode(bytes(range(256)) * 3 + bytes(16)).decode()}


@pytest.fixture(scope="module", params=list(explored.WORDS))
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """What the page shows of a run of each network; the tests that use it leave it as it is."""
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNN_EXPERIMENTS_DATA", str(folder / "data"))
        if request.param == "lenet5":
            patch.setattr(mnist_files, "CHECKSUMS", make_digits(folder / "data"))
        else:
            make_photographs(folder / "photographs" / "train")
            patch.setenv("DOGS_VS_CATS", str(folder / "photographs" / "train"))
        settings = read_words([*explored.WORDS[request.param], "trainer.gpus=0"], None, None, [])[1]
        return subject_of(explored.write_run(folder / "run", settings))


@pytest.fixture
def name(subject: Subject) -> str:
    """The name of its network."""
    return str(subject.settings["model.name"])


@pytest.fixture
def make(tmp_path: Path, settings: Callable[..., Settings]) -> Callable[..., Subject]:
    """Make a run of a small network, and what the page shows of it."""
    number = 0

    def make_subject(name: str, *words: str, **how: Any) -> Subject:
        nonlocal number
        number += 1
        return explored.subject(tmp_path / f"run{number}", settings, name, *words, **how)

    return make_subject


@pytest.fixture
def lenet5(digits: Path, make: Callable[..., Subject]) -> Subject:
    return make("lenet5")


class Page:
    """Asks as the page does, over the same frames."""

    def __init__(self, *subjects: Subject) -> None:
        self.desk = Desk(subjects)

    def steps(self, name: str, **keys: Any) -> Iterator[Any]:
        """Progress of an ask that takes long."""
        asked = messages.read_text(json_of(id=1, ask=name, **keys))
        return answers.answer(asked, self.desk)

    def ask(self, name: str, **keys: Any) -> dict[str, Any]:
        """The answer, as the page reads it."""
        found = answers.answer(messages.read_text(json_of(id=1, ask=name, **keys)), self.desk)
        if not isinstance(found, dict):
            for step in found:
                assert 0 <= step.done <= step.total
            assert step.done == step.total
            found = step.found
        return messages.read_frame(messages.frame({"id": 1, "answer": found}))["answer"]

    def upload(self, content: bytes) -> dict[str, Any]:
        """Hand a file over."""
        return answers.answer(messages.Upload(id=1, ask="upload", content=content), self.desk)


def json_of(**content: Any) -> str:
    return messages.json.dumps(content)


def input_of(subject: Subject, index: int) -> Tensor:
    """A test image as the network gets it."""
    images = next(iter(subject.data.batches("test")))[0]
    return images[index : index + 1]


def hooks_of(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules())


# --- What is there ----------------------------------------------------------------------------------------------------


def test_the_runs_are_described(subject: Subject) -> None:
    (run,) = Page(subject).ask("runs")["runs"]
    graph = Graph(subject.network, subject.input_shape)
    assert [layer["name"] for layer in run["layers"]] == graph.names
    assert all(tuple(layer["shape"]) == graph.shape(layer["name"]) for layer in run["layers"])
    assert all(layer["kind"] for layer in run["layers"])
    parents = {layer["parent"] for layer in run["layers"]} - {None}
    assert parents <= set(graph.names)
    parameters = sum(layer["parameters"] for layer in run["layers"] if layer["depth"] == 0)
    assert parameters == sum(parameter.numel() for parameter in subject.network.parameters())
    assert run["input_shape"] == list(subject.input_shape)
    assert run["classes"] == subject.class_names
    assert run["drawable"] == (run["model"] == "lenet5")
    assert (run["epochs"], run["best_epoch"], run["explained"], run["problem"]) == ([0], 2, None, None)
    assert run["metrics"]["test/accuracy"] == 0.5


def test_right_and_wrong_test_images_are_told_apart(subject: Subject) -> None:
    tests = Page(subject).ask("runs")["runs"][0]["tests"]
    images = [input_of(subject, index) for index in range(tests["count"])]
    predictions = [int(subject.network(image).argmax()) for image in images]
    assert tests["count"] == len(subject.data.images_of("test"))
    assert tests["labels"] == subject.data.images_of("test").labels.tolist()
    assert sorted(tests["right"] + tests["wrong"]) == list(range(tests["count"]))
    assert tests["counts"] == {part: len(tests[part]) for part in ("right", "wrong")}
    if subject.data.test_views(torch.zeros(1, *subject.tests.bytes_of([0])[0].shape)).dim() == 4:  # one view alone
        assert tests["predictions"] == predictions
    assert all(tests["predictions"][index] == tests["labels"][index] for index in tests["right"])
    assert all(tests["predictions"][index] != tests["labels"][index] for index in tests["wrong"])
    scores = np.load(Path(subject.cache) / "test_predictions.npz")["scores"][tests["wrong"]]
    assert (np.diff(scores) >= 0).all()


def test_two_runs_and_how_their_settings_differ(digits: Path, make: Callable[..., Subject]) -> None:
    page = Page(make("lenet5"), make("lenet5", "model.init=he", "model.optimizer.lr=0.5"))
    found = page.ask("runs")
    assert len(found["runs"]) == 2
    values = {row["key"]: row["values"] for row in found["differences"]}
    assert list(values) == ["model.init", "model.optimizer.lr"]
    assert values["model.optimizer.lr"][1] == "0.5"
    assert values["model.init"][1] == "he"
    assert values["model.init"][0] != "he"
    with pytest.raises(UserError, match="run=1"):
        Page(page.desk.subjects[0]).ask("look", run=1, image={"test": 0})


def test_an_image_is_shown_as_given_and_as_the_network_gets_it(subject: Subject) -> None:
    page = Page(subject)
    found = page.ask("image", image={"test": 2})
    image = input_of(subject, 2)[0]
    assert np.array_equal(found["input"], image)
    assert found["label"] == int(subject.data.images_of("test").labels[2])
    assert found["given"].dtype == found["shown"].dtype == np.uint8
    assert found["shown"].shape == (*subject.input_shape[1:], 3)
    assert found["range"] == pytest.approx([image.min().item(), image.max().item()])
    if found["mean"] is None:
        back = 1 - (image - found["background"]) / (found["ink"] - found["background"])
    else:
        back = image * torch.tensor(found["std"])[:, None, None] + torch.tensor(found["mean"])[:, None, None]
    assert np.abs(found["shown"].transpose(2, 0, 1) / 255 - back.numpy()).max() < 0.003


def test_thumbnails(subject: Subject) -> None:
    found = Page(subject).ask("thumbnails", indices=[3, 0])
    assert found["pictures"].shape[0] == 2
    assert max(found["pictures"].shape[1:3]) <= answers.LARGEST_THUMBNAIL
    assert found["labels"] == subject.data.images_of("test").labels[[3, 0]].tolist()
    assert found["pictures"].std() > 1


# --- One image --------------------------------------------------------------------------------------------------------


def test_look_is_what_the_network_computes(subject: Subject) -> None:
    image = input_of(subject, 1)
    names = Graph(subject.network, subject.input_shape).names
    found = Page(subject).ask("look", image={"test": 1}, layers=names)
    with torch.no_grad():
        scores = subject.network(image)[0]
    assert np.allclose(found["scores"], scores, atol=1e-5)
    assert np.allclose(found["probabilities"], scores.softmax(0), atol=1e-6)
    assert found["before"] is None
    outputs = {
        name: (layer, values)
        for name, layer, values in layer_outputs(subject.network, image, layers=named_layers(subject.network))
    }
    assert set(found["strengths"]) == set(found["dead"]) == set(names) - {"input"}
    for name in set(names) - {"input"}:
        layer, values = outputs[name]
        assert np.allclose(found["maps"][name], values[0], atol=1e-5)
        maps = values[0].flatten(1) if values.dim() == 4 else values[0][:, None]
        assert np.allclose(found["strengths"][name], maps.abs().mean(1), atol=1e-5)
        rectified = any(isinstance(part, nn.ReLU) for part in layer.modules())
        assert found["dead"][name] == ((maps.amax(1) <= 0).nonzero()[:, 0].tolist() if rectified else [])
        assert found["range"][name] == pytest.approx([maps.min().item(), maps.max().item()], abs=1e-5)
    assert np.array_equal(found["maps"]["input"], image[0])


@pytest.mark.parametrize("to", ["zero", "mean"])
def test_what_is_off_changes_the_answer(subject: Subject, name: str, to: str) -> None:
    page, image, layer = Page(subject), input_of(subject, 1), FIRST[name]
    off = [{"layer": layer, "maps": [0, 3], "to": to}]
    found = page.ask("look", image={"test": 1}, off=off, layers=[layer])
    number = len(subject.some_test_images()[0])
    chosen = np.linspace(0, len(subject.tests) - 1, number).astype(int)
    means = means_of_maps(subject.network, [torch.cat([input_of(subject, int(index)) for index in chosen])])
    wanted = probabilities(subject.network, image, {layer: [0, 3]}, means if to == "mean" else None)[0]
    assert np.allclose(found["probabilities"], wanted, atol=1e-6)
    assert np.allclose(found["before"]["probabilities"], probabilities(subject.network, image)[0], atol=1e-6)
    value = means[layer][0].item() if to == "mean" else 0
    assert np.allclose(found["maps"][layer][0], value, atol=1e-5)
    assert hooks_of(subject.network) == 0


def test_means_are_taken_with_everything_on(lenet5: Subject) -> None:
    off = [{"layer": "c1", "maps": [0], "to": "zero"}, {"layer": "s2", "maps": [0], "to": "mean"}]
    maps = Page(lenet5).ask("look", image={"test": 1}, off=off, layers=["s2"])["maps"]["s2"]
    mean = means_of_maps(lenet5.network, [lenet5.some_test_images()[0]])["s2"][0].item()
    assert np.allclose(maps[0], mean, atol=1e-6)


def test_a_branch_is_switched_off(make: Callable[..., Subject], photographs: Path) -> None:
    subject = make("googlenet")
    off = [{"layer": "inception3a/branch5x5", "maps": "all"}]
    found = Page(subject).ask("look", image={"test": 0}, off=off, layers=["inception3a"])
    assert not found["maps"]["inception3a"][64 + 128 : 64 + 128 + 32].any()
    assert found["maps"]["inception3a"][:64].any()


def test_the_square_hides_a_part(subject: Subject) -> None:
    image = input_of(subject, 1)
    found = Page(subject).ask("look", image={"test": 1}, square={"top": -2, "left": 3, "side": 9})
    wanted = subject.network(occluded(image[0], -2 + 4, 3 + 4, 9)[None]).softmax(1)[0].detach()
    assert np.allclose(found["probabilities"], wanted, atol=1e-6)
    seen = Page(subject).ask("image", image={"test": 1}, square={"top": -2, "left": 3, "side": 9})["input"]
    assert np.ptp(seen[0, :7, 3:12]) == 0
    assert np.array_equal(seen[:, 7:], image[0, :, 7:])


def test_fields_are_the_librarys(subject: Subject) -> None:
    graph = Graph(subject.network, subject.input_shape)
    fields = ReceptiveFields(graph)
    page = Page(subject)
    for name in graph.names[:: 1 + len(graph.names) // 30]:
        maps, height, width = graph.shape(name)
        place = (maps - 1, height // 2, width - 1)
        found = page.ask("fields", layer=name, map=place[0], row=place[1], column=place[2])
        wanted = fields.of(name, place[1], place[2], place[0])
        assert {field["layer"]: (tuple(field["pixels"]), tuple(field["maps"])) for field in found["fields"]} == {
            field.layer: (tuple(field.pixels), field.maps) for field in wanted.values()
        }
    assert page.ask("fields", layer=graph.names[1], row=0, column=0, map=None)["fields"]


def test_a_unit_of_c3_sees_75_inputs(lenet5: Subject) -> None:
    page = Page(lenet5)
    found = page.ask("fields", layer="c3", map=0, row=0, column=0)
    assert found["inputs"] == 3 * 25
    assert [(field["layer"], field["maps"]) for field in found["taken"]] == [("s2", [0, 1, 2])]
    assert found["seen"] == 14 * 14
    assert page.ask("fields", layer="c3", map=15, row=0, column=0)["inputs"] == 6 * 25
    assert page.ask("fields", layer="f6", map=0)["geometry"] is None


def test_the_arithmetic_leads_to_the_value_on_the_map(subject: Subject) -> None:
    page = Page(subject)
    names = subject.kept.graph.names[1:][:: 1 + len(subject.kept.graph.names) // 30]
    maps = page.ask("look", image={"test": 1}, layers=names)["maps"]
    for name in names:
        shape = subject.kept.graph.shape(name)
        place = tuple(size // 2 for size in shape)
        found = page.ask("value", image={"test": 1}, layer=name, map=place[0], row=place[1], column=place[2])
        assert found["result"] == maps[name].reshape(shape)[place]
        assert found["steps"][-1]["result"] == pytest.approx(found["result"], abs=1e-5)
        assert found["off"] is None


def test_the_arithmetic_of_a_probability(subject: Subject) -> None:
    page = Page(subject)
    shares = page.ask("look", image={"test": 1})["probabilities"]
    for class_ in range(len(subject.class_names)):
        found = page.ask("value", image={"test": 1}, layer="softmax", map=class_)
        assert found["result"] == pytest.approx(shares[class_], abs=1e-6)


def test_the_arithmetic_uses_what_is_off(subject: Subject, name: str) -> None:
    page, layer = Page(subject), FIRST[name]
    following = subject.kept.graph.names[2]
    off = [{"layer": layer, "maps": [0], "to": "zero"}, {"layer": layer, "maps": [1], "to": "mean"}]
    maps = page.ask("look", image={"test": 1}, off=off, layers=[layer, following])["maps"]
    for map_ in (0, 1, 2):
        found = page.ask("value", image={"test": 1}, off=off, layer=following, map=map_, row=1, column=1)
        assert found["result"] == maps[following][map_, 1, 1]
    whole = page.ask("look", image={"test": 1}, layers=[layer])["maps"]
    itself = page.ask("value", image={"test": 1}, off=off, layer=layer, map=1, row=1, column=1)
    assert itself["off"] == "mean"
    assert itself["result"] == whole[layer][1, 1, 1]
    changed = page.ask("value", image={"test": 1}, off=off, layer="softmax", map=0)["result"]
    assert changed == pytest.approx(page.ask("look", image={"test": 1}, off=off)["probabilities"][0], abs=1e-6)


def test_a_value_of_a_branch_that_is_off(make: Callable[..., Subject], photographs: Path) -> None:
    off = [{"layer": "inception3a/branch1x1", "maps": "all"}]
    keys = {"image": {"test": 0}, "off": off, "layer": "inception3a", "row": 1, "column": 1}
    page = Page(make("googlenet"))
    assert page.ask("value", map=3, **keys)["off"] == "zero"
    assert page.ask("value", map=64, **keys)["off"] is None


def test_the_ranking_is_the_librarys(subject: Subject, name: str) -> None:
    page, image, layer = Page(subject), input_of(subject, 1), FIRST[name]
    found = page.ask("ranking", image={"test": 1}, layers=[layer])
    graph = Graph(subject.network, subject.input_shape)
    *_, wanted = maps_by_importance(graph, image, layers=[layer])
    assert found["class"] == wanted.found.class_index
    assert found["count"] == graph.shape(layer)[0]
    best = wanted.found.maps[0]
    assert found["maps"][0] == {
        "layer": layer,
        "map": best.map,
        "drop": pytest.approx(best.drop, abs=1e-6),
        "score_drop": pytest.approx(best.score_drop, abs=1e-5),
        "class_index": best.class_index,
        "probability": pytest.approx(best.probability),
    }
    assert len(found["maps"]) <= answers.MOST_RANKED
    to_means = page.ask("ranking", image={"test": 1}, layers=[layer], to="mean", **{"class": 1})
    assert to_means["class"] == 1


def test_the_heat_map_is_the_librarys(subject: Subject) -> None:
    image = input_of(subject, 1)
    found = Page(subject).ask("heat", image={"test": 1}, side=9, stride=9, **{"class": 1})
    *_, wanted = occlusion_map(subject.network, image, 1, 9, 9)
    assert np.allclose(found["probabilities"], wanted.found.probabilities, atol=1e-6)
    assert (found["class"], found["rows"], found["size"]) == (1, wanted.found.rows, 9)
    with pytest.raises(UserError, match="stride=1"):
        Page(subject).ask("heat", image={"test": 1}, side=1000, stride=1)


def test_other_asks_come_between_the_steps_of_a_heat_map(lenet5: Subject) -> None:
    off = [{"layer": "c1", "maps": "all"}]
    page = Page(lenet5)
    before = page.ask("look", image={"test": 1})["scores"]
    steps = page.steps("heat", image={"test": 1}, side=4, stride=2, off=off)
    shares = []
    for step in steps:
        shares.append(step.found["before"])
        page.desk.results.clear()
        assert np.array_equal(page.ask("look", image={"test": 1})["scores"], before)
        assert hooks_of(lenet5.network) == 0
    assert len(shares) > 2
    changed = page.ask("look", image={"test": 1}, off=off)["probabilities"]
    assert shares == pytest.approx([changed.max()] * len(shares))
    stopped = page.steps("heat", image={"test": 1}, off=off)
    next(stopped)
    stopped.close()
    assert hooks_of(lenet5.network) == 0


def test_other_epochs_may_be_looked_at_between_the_steps(
    digits: Path, make: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "IMAGES_AT_ONCE", 20)
    page = Page(make("lenet5", snapshots=(1,)))
    keys = {"image": {"test": 1}, "epoch": 0}
    wanted = {
        name: page.ask(name, **keys, **more)
        for name, more in (("heat", {"side": 8, "stride": 2}), ("exciting", {"layer": "c3"}))
    }
    for name, more in (("heat", {"side": 8, "stride": 2}), ("exciting", {"layer": "c3"})):
        page.desk.subjects[0].at(0).forget()
        found = []
        for step in page.steps(name, **keys, **more):
            found.append(step.found)
            page.desk.results.clear()
            page.ask("look", image={"test": 1}, epoch=1)
        assert len(found) > 2
        same = "probabilities" if name == "heat" else "values"
        assert np.allclose(found[-1][same], wanted[name][same], atol=1e-6)


def test_grad_cam_is_the_librarys(subject: Subject) -> None:
    page, image = Page(subject), input_of(subject, 1)
    found = page.ask("gradcam", image={"test": 1}, **{"class": 1})
    layer = named_layers(subject.network)[found["layer"]]
    assert np.allclose(found["map"], grad_cam(subject.network, layer, image, torch.tensor([1]))[0], atol=1e-6)
    assert page.ask("gradcam", image={"test": 1})["class"] == page.ask("look", image={"test": 1})["scores"].argmax()
    for wrong in ({"layer": "fc99"}, {"class": 10}):
        with pytest.raises(UserError, match=r"layer=fc99|class=10"):
            page.ask("gradcam", image={"test": 1}, **wrong)


# --- All images -------------------------------------------------------------------------------------------------------


def test_the_most_exciting_images(subject: Subject, name: str) -> None:
    layer = FIRST[name]
    found = Page(subject).ask("exciting", layer=layer)
    images = torch.cat([images for images, _ in subject.data.batches("test")])
    with torch.no_grad():
        values = next(values for found_, _, values in layer_outputs(subject.network, images) if found_ == layer)
    highest, order = values.flatten(2).amax(2).sort(dim=0, descending=True, stable=True)
    assert np.allclose(found["values"][:, :8], highest[:8].T, atol=1e-5)
    assert (found["images"][:, 0] == order[0].numpy()).mean() > 0.9  # of two that are nearly equal, either may be first
    fields = ReceptiveFields(Graph(subject.network, subject.input_shape))
    for map_ in (0, 3):
        row, column = found["places"][map_, 0].tolist()
        assert found["fields"][map_, 0].tolist() == list(fields.of(layer, row, column)["input"].pixels)
    last = list(subject.kept.layers)[-1]
    assert Page(subject).ask("exciting", layer=last)["fields"][0, 0].tolist() == [0, 0, *subject.input_shape[1:]]


def test_what_was_found_is_kept_in_the_run_directory(lenet5: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Page(lenet5).ask("exciting", layer="c3")
    file = lenet5.cache / answers.EXCITING_FILE
    assert file.exists()

    def never(*arguments: Any) -> Any:
        raise AssertionError("it was computed again")

    with monkeypatch.context() as patch:
        patch.setattr(answers, "most_exciting_images", never)
        again = Page(subject_of(cnn.open_run(lenet5.cache))).ask("exciting", layer="c3")
    assert all(np.array_equal(first[key], again[key]) for key in ("images", "values", "places", "fields"))
    file.write_bytes(b"PK\x03\x04 damaged")
    once_more = Page(subject_of(cnn.open_run(lenet5.cache))).ask("exciting", layer="c3")
    assert np.array_equal(first["images"], once_more["images"])


def test_a_run_directory_that_cannot_be_written(lenet5: Subject, tmp_path: Path) -> None:
    lenet5.cache = tmp_path / "gone"
    assert Page(lenet5).ask("exciting", layer="c1")["images"].shape == (6, 9)
    assert not lenet5.cache.exists()


def test_statistics_are_the_librarys(subject: Subject) -> None:
    found = Page(subject).ask("statistics")
    images, labels = subject.some_test_images(subject.kept.images_for_gradients)
    wanted = {one.layer: one for one in layer_statistics(subject.network, images, labels)}
    assert found["images"] == len(images)
    assert [one["name"] for one in found["layers"]] == [name for name in wanted if name in subject.kept.layers]
    for one in found["layers"]:
        library = wanted[one["name"]]
        assert one["mean"] == pytest.approx(library.mean, rel=1e-4, abs=1e-6)
        assert one["gradient_output"] == pytest.approx(library.gradient, rel=1e-4)
        assert one["counts"].sum() == pytest.approx(1, abs=1e-5)
        assert len(one["edges"]) == len(one["counts"]) + 1


def test_statistics_of_two_runs_have_the_same_bins(digits: Path, make: Callable[..., Subject]) -> None:
    page = Page(make("lenet5"), make("lenet5", "model.init=he"))
    first, second = (page.ask("statistics", run=run, layers=["c1", "f6"])["layers"] for run in (0, 1))
    assert [one["name"] for one in first] == [one["name"] for one in second] == ["c1", "f6"]
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one["edges"], other["edges"])
        assert one["mean"] != other["mean"]


# --- Weights and epochs -----------------------------------------------------------------------------------------------


def test_kernels(subject: Subject, name: str) -> None:
    found = Page(subject).ask("kernels", layer=FIRST[name])
    convolution = subject.network.get_submodule(f"{FIRST[name]}.convolution")
    assert np.array_equal(found["weights"], convolution.weight.detach())
    assert np.array_equal(found["biases"], convolution.bias.detach())
    assert found["connections"] is None


def test_kernels_of_lenet5(digits: Path, make: Callable[..., Subject]) -> None:
    page = Page(make("lenet5", "experiment=lenet5_paper", "trainer.max_epochs=2"))
    c3 = page.ask("kernels", layer="c3")
    assert c3["connections"] == [list(inputs) for inputs in C3_CONNECTIONS]
    for map_, inputs in enumerate(C3_CONNECTIONS):
        assert [bool(c3["weights"][map_, source].any()) for source in range(6)] == [s in inputs for s in range(6)]
    assert len(page.ask("kernels", layer="s2")["coefficients"]) == 6
    assert np.array_equal(page.ask("kernels", layer="output")["bitmaps"].reshape(10, 84), rbf_centres())
    assert page.ask("kernels", layer="f6")["weights"].shape == (84, 120, 1, 1)


def test_kernels_of_groups_and_branches(photographs: Path, make: Callable[..., Subject]) -> None:
    conv2 = Page(make("alexnet", "model.groups=2")).ask("kernels", layer="conv2")
    assert conv2["connections"] == [[0, 1, 2, 3]] * 4 + [[4, 5, 6, 7]] * 4
    assert conv2["weights"].shape == (8, 4, 5, 5)
    page = Page(make("googlenet"))
    with pytest.raises(UserError, match="several layers"):
        page.ask("kernels", layer="inception3a")
    assert page.ask("kernels", layer="pool1")["weights"] is None
    assert page.ask("kernels", layer="inception3a/branch5x5/conv5x5")["weights"].shape == (32, 16, 5, 5)


def test_of_large_layers_only_some_weights_are_sent(lenet5: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MOST_WEIGHTS", 3000)
    page = Page(lenet5)
    found = page.ask("kernels", layer="c5", maps=[7, 3])
    assert found["maps"] == [7, 3]
    assert np.array_equal(found["weights"], lenet5.network.c5.convolution.weight[[7, 3]].detach())
    for wrong in ({}, {"maps": list(range(20))}, {"maps": [120]}):
        with pytest.raises(UserError, match="maps"):
            page.ask("kernels", layer="c5", **wrong)


@pytest.mark.parametrize("network", ["lenet5", "alexnet"])
def test_epochs(
    network: str, digits: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[..., Subject]
) -> None:
    if network == "lenet5":
        monkeypatch.setenv("CNN_EXPERIMENTS_DATA", str(digits))
    subject = make(network, snapshots=(1, 2))
    page, image = Page(subject), input_of(subject, 1)
    assert page.ask("runs")["runs"][0]["epochs"] == [0, 1, 2]
    untrained = untrained_network(cnn.open_run(subject.cache).settings).eval()
    kept = page.ask("look", image={"test": 1})["scores"]
    found = {epoch: page.ask("look", image={"test": 1}, epoch=epoch)["scores"] for epoch in (0, 1, 2, 0)}
    with torch.no_grad():
        assert np.allclose(found[0], untrained(image)[0], atol=1e-6)
        at_one = explored.changed(untrained_network(cnn.open_run(subject.cache).settings), 0.1).eval()
        assert np.allclose(found[1], at_one(image)[0], rtol=0.02, atol=0.02 * abs(found[1]).max())
    assert not np.allclose(found[1], found[2])
    page.desk.results.clear()
    assert np.array_equal(page.ask("look", image={"test": 1})["scores"], kept)
    with pytest.raises(UserError, match="epoch=3"):
        page.ask("look", image={"test": 1}, epoch=3)


def test_a_network_at_an_epoch_from_python(lenet5: Subject) -> None:
    run = cnn.open_run(lenet5.cache)
    assert run.epochs == [0]
    network = run.network_at(0)
    assert network is not run.network()
    assert not network.training
    wanted = untrained_network(run.settings).state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("content", ["text", "list", "other names", "other shapes", "numbers", "huge", "pickle"])
def test_snapshots_are_read_as_data(lenet5: Subject, content: str) -> None:
    file = snapshot_file(lenet5.cache, 1)
    file.parent.mkdir()
    weights: Any = {name: tensor.half() for name, tensor in lenet5.network.state_dict().items()}
    if content in ("text", "huge"):
        file.write_bytes(b"x" * (10 if content == "text" else 3_000_000))
    else:
        first = next(iter(weights))
        forged = {
            "list": list(weights.values()),
            "other names": {**weights, "more": weights[first]},
            "other shapes": {**weights, first: weights[first][:1]},
            "numbers": {**weights, first: 3.0},
            "pickle": {**weights, first: Path("/")},
        }
        torch.save(forged[content], file)
    page = Page(subject_of(cnn.open_run(lenet5.cache)))
    before = page.ask("look", image={"test": 1})["scores"]
    with pytest.raises(UserError, match=r"epoch_0001\.pt holds no weights"):
        page.ask("look", image={"test": 1}, epoch=1)
    page.desk.results.clear()
    assert np.array_equal(page.ask("look", image={"test": 1})["scores"], before)


# --- Images of one's own ----------------------------------------------------------------------------------------------


def test_a_photograph_is_prepared_as_for_predictions(subject: Subject, tmp_path: Path) -> None:
    file = tmp_path / "mine.jpg"
    file.write_bytes(explored.photograph())
    page = Page(subject)
    sent = page.upload(file.read_bytes())
    assert (sent["width"], sent["height"]) == (80, 60)
    found = page.ask("look", image={"upload": sent["key"]})
    run = cnn.open_run(subject.cache)
    (wanted,) = predict(run.network(), run.data, [file], choose_hardware(run.settings.trainer))
    assert np.array_equal(page.ask("image", image={"upload": sent["key"]})["input"], wanted.seen)
    if run.data.test_views(torch.zeros(1, *run.data.read_image(file).shape)).dim() == 4:
        assert np.allclose(found["probabilities"], list(wanted.probabilities.values()), atol=1e-6)
    assert page.ask("image", image={"upload": sent["key"]})["given"].shape == (60, 80, 3)


def test_a_photograph_works_for_both_runs(
    digits: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[..., Subject]
) -> None:
    photographs_subject = make("alexnet")
    monkeypatch.setenv("CNN_EXPERIMENTS_DATA", str(digits))
    page = Page(make("lenet5"), photographs_subject)
    key = page.upload(explored.photograph())["key"]
    assert page.ask("image", run=0, image={"upload": key})["input"].shape == (1, 32, 32)
    assert page.ask("image", run=1, image={"upload": key})["input"].shape == (3, 64, 64)
    with pytest.raises(UserError, match="not trained on digits"):
        page.ask("look", run=1, image=DIGIT)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "This file cannot be used: it is empty."),
        (b"hello", "This file cannot be used: it is no image"),
        (explored.photograph()[:400], "This file cannot be used: it is damaged"),
        (explored.blank_page(8000, 7000), "This file cannot be used: it has more than 50 million pixels."),
    ],
)
def test_a_broken_file_gets_one_sentence(lenet5: Subject, content: bytes, sentence: str) -> None:
    page = Page(lenet5)
    with pytest.raises(UserError) as refused:
        page.upload(content)
    assert str(refused.value).startswith(sentence)
    assert not page.desk.uploads


def test_a_tab_keeps_only_the_last_few(lenet5: Subject) -> None:
    page = Page(lenet5)
    keys = [page.upload(explored.photograph())["key"] for _ in range(MOST_UPLOADS + 2)]
    assert list(page.desk.uploads) == keys[2:]
    with pytest.raises(UserError, match="give it again"):
        page.ask("look", image={"upload": keys[0]})
    for index in range(MOST_RESULTS + 3):
        page.ask("look", image={"test": index})
    assert len(page.desk.results) == MOST_RESULTS


def test_results_are_bounded_in_bytes(lenet5: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(lenet5)
    page.ask("look", image={"test": 0})
    monkeypatch.setattr("cnn_experiments.explorer.situation.MOST_BYTES_OF_RESULTS", 2 * page.desk.bytes + 10)
    for index in range(4):
        page.ask("look", image={"test": index})
    assert len(page.desk.results) == 2


def test_a_drawing_is_prepared_as_the_test_images_are(lenet5: Subject) -> None:
    page = Page(lenet5)
    drawing = np.frombuffer(base64.b64decode(DIGIT["drawn"]), np.uint8).reshape(28, 28)
    seen = page.ask("image", image=DIGIT)
    digit = np.pad(drawing, 2)
    wanted = lenet5.data.network_input(torch.from_numpy(digit)[None, None], "test")[0]
    assert np.array_equal(seen["input"], wanted)
    assert np.array_equal(seen["given"][..., 0], 255 - digit)
    assert seen["label"] is None


def test_without_an_image_there_is_a_sentence(lenet5: Subject) -> None:
    with pytest.raises(UserError, match="draw one"):
        Page(lenet5).ask("look")


# --- Runs that lack something -----------------------------------------------------------------------------------------


def test_data_that_are_missing_are_not_downloaded(
    lenet5: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*arguments: Any, **keys: Any) -> Any:
        raise AssertionError("a download")

    monkeypatch.setattr("cnn_experiments.datamodules.mnist_files._fetch", never)
    (tmp_path / "digits").rename(tmp_path / "elsewhere")
    page = Page(subject_of(cnn.open_run(lenet5.cache)))
    (run,) = page.ask("runs")["runs"]
    assert run["tests"]["count"] == 0
    assert "datamodule.data_dir" in run["problem"]
    assert page.ask("look", image=DIGIT)["probabilities"].sum() == pytest.approx(1)
    for asked in ({"image": {"test": 0}}, {"image": DIGIT, "off": [{"layer": "c1", "maps": [0], "to": "mean"}]}):
        with pytest.raises(UserError, match="not on this machine"):
            page.ask("look", **asked)
    for name, keys in (("exciting", {"layer": "c1"}), ("thumbnails", {"indices": [0]}), ("statistics", {})):
        with pytest.raises(UserError, match="not on this machine"):
            page.ask(name, **keys)
    assert not (tmp_path / "digits").exists()


def test_digits_that_the_run_directory_holds(lenet5: Subject, tmp_path: Path) -> None:
    index = np.array([5, 90, 41])
    images = lenet5.tests.bytes_of(index.tolist())[:, 0, 2:-2, 2:-2].numpy()
    labels = lenet5.data.images_of("test").labels[index].numpy()
    np.savez(lenet5.cache / "digits.npz", images=images, labels=labels, index=index)
    whole = Page(lenet5)
    (tmp_path / "digits").rename(tmp_path / "elsewhere")
    page = Page(subject_of(cnn.open_run(lenet5.cache)))
    tests = page.ask("runs")["runs"][0]["tests"]
    assert (tests["count"], tests["labels"]) == (3, labels.tolist())
    assert tests["predictions"] == [lenet5.tests.prediction(number) for number in index]
    for place, number in enumerate(index.tolist()):
        found, wanted = (page_.ask("look", image={"test": which})["scores"] for page_, which in
                         ((page, place), (whole, number)))  # fmt: skip
        assert np.array_equal(found, wanted)
    assert page.ask("exciting", layer="c1")["images"].max() == 2


@pytest.mark.parametrize("wrong", ["text", "shapes", "labels", "index", "objects", "missing"])
def test_forged_digits_are_no_digits(lenet5: Subject, tmp_path: Path, wrong: str) -> None:
    arrays: dict[str, Any] = {
        "images": np.zeros((2, 28, 28), np.uint8),
        "labels": np.array([1, 2]),
        "index": np.array([0, 1]),
    }
    arrays |= {
        "shapes": {"images": np.zeros((2, 28, 27), np.uint8)},
        "labels": {"labels": np.array([1, 10])},
        "index": {"index": np.array([0, -1])},
        "objects": {"labels": np.array([1, "x"], object)},
    }.get(wrong, {})
    if wrong == "missing":
        del arrays["index"]
    file = lenet5.cache / "digits.npz"
    np.savez(file, **arrays) if wrong != "text" else file.write_text("no digits")
    (tmp_path / "digits").rename(tmp_path / "elsewhere")
    subject = subject_of(cnn.open_run(lenet5.cache))
    assert subject.tests is None
    assert "digits.npz holds no digits" in subject.problem


@pytest.mark.parametrize("wrong", ["missing", "text", "other images", "shapes", "floats", "classes"])
def test_predictions_that_are_not_of_these_images(lenet5: Subject, wrong: str) -> None:
    file = lenet5.cache / "test_predictions.npz"
    arrays = dict(np.load(file))
    if wrong == "missing":
        file.unlink()
    elif wrong == "text":
        file.write_text("none")
    else:
        changed = {
            "other images": {"labels": (arrays["labels"] + 1) % 10},
            "shapes": {"predictions": arrays["predictions"][:-1]},
            "floats": {"predictions": arrays["predictions"] + 0.5},
            "classes": {"labels": arrays["labels"] + 0.0},
        }
        np.savez(file, **{**arrays, **changed[wrong]})
    page = Page(subject_of(cnn.open_run(lenet5.cache)))
    tests = page.ask("runs")["runs"][0]["tests"]
    assert set(tests["predictions"]) == {-1}
    assert tests["right"] == tests["wrong"] == []
    assert page.ask("thumbnails", indices=[0])["predictions"] == [None]


def test_a_network_and_data_of_ones_own(tmp_path: Path) -> None:
    from cnn_experiments.datamodules.given import as_image_data
    from cnn_experiments.explorer.subject import TestImages

    network, data = Tiny(2), as_image_data(Halves())
    tests = TestImages(data.images_of("test"), data.fingerprint())
    page = Page(Subject("mine", network, data.input_shape, data.class_names, data, tests))
    (run,) = page.ask("runs")["runs"]
    assert [layer["name"] for layer in run["layers"]][:2] == ["input", "features"]
    assert not run["drawable"]
    image = next(iter(Halves().batches("test")))[0][3:4]
    with torch.no_grad():
        wanted = network(image)[0].softmax(0)
    assert np.allclose(page.ask("look", image={"test": 3}, layers=["features"])["probabilities"], wanted, atol=1e-6)
    assert page.ask("image", image={"test": 3})["shown"].shape == (32, 32, 3)
    assert page.ask("thumbnails", indices=[0, 1])["pictures"].shape == (2, 32, 32, 3)
    with pytest.raises(UserError, match="give it a photo"):
        page.ask("look", image=DIGIT)
    key = page.upload(explored.photograph())["key"]
    with pytest.raises(UserError, match="given from Python"):
        page.ask("look", image={"upload": key})


class Unfollowable(Tiny):
    """A network whose course depends on its images."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images if images.sum() > 0 else images + 1)


def test_a_network_that_cannot_be_followed_can_be_looked_at(tmp_path: Path) -> None:
    page = Page(Subject("mine", Unfollowable(2), (1, 32, 32), ["a", "b"], None, None, "The data are gone."))
    (run,) = page.ask("runs")["runs"]
    assert "cannot be followed" in run["explained"]
    assert [layer["name"] for layer in run["layers"] if layer["depth"] == 0] == ["input", "features", "head"]
    with pytest.raises(UserError, match="cannot be followed"):
        page.ask("fields", layer="head")
    with pytest.raises(UserError, match="The data are gone"):
        page.ask("look", image={"test": 0})


def test_layers_that_output_neither_maps_nor_units_are_left_out() -> None:
    page = Page(Subject("mine", explored.PoolsTwice(), (1, 32, 32), list("0123456789"), None, None, "None."))
    (run,) = page.ask("runs")["runs"]
    assert [layer["name"] for layer in run["layers"]] == ["input", "conv1", "conv2", "pool", "output"]


def test_a_history_that_no_run_writes() -> None:
    rows = [{"epoch": math.inf, "val/accuracy": 0.9}, {"epoch": 2, "val/accuracy": math.nan}, {"epoch": 3}]
    subject = Subject("mine", Tiny(2), (1, 32, 32), ["a", "b"], history=rows)
    (run,) = Page(subject).ask("runs")["runs"]
    assert run["best_epoch"] is None
    subject.history = [
        *rows,
        {"epoch": 4, "val/accuracy": 0.5, "train/loss": math.nan},
        {"epoch": 5, "val/accuracy": 0.5},
    ]
    (run,) = Page(subject).ask("runs")["runs"]
    assert run["best_epoch"] == 4


@pytest.mark.slow
def test_epoch_0_is_what_the_training_began_with(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = cnn.train(*QUICK, "trainer.max_epochs=1", "model.optimizer.lr=0", "seed=7")
    kept, rebuilt = run.network().state_dict(), run.network_at(0).state_dict()
    assert all(torch.equal(tensor, rebuilt[name]) for name, tensor in kept.items())
    given = cnn.train(*QUICK, "trainer.max_epochs=1", network=Tiny(10))
    assert given.epochs == []
    assert subject_of(given).kept.network is given.network()
