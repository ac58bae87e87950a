"""Runs side by side, made up so that every figure can be told by hand."""

import csv
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from cnn_experiments.errors import UserError
from cnn_experiments.runs import page as pages
from cnn_experiments.runs.comparison import Comparison, compare
from cnn_experiments.runs.directory import RunDirectory
from cnn_experiments.runs.formats import as_typed, duration, in_markdown, in_units
from cnn_experiments.runs.page import as_html
from cnn_experiments.runs.page_data import MOST_DRAWN
from cnn_experiments.runs.tables import as_markdown, print_comparison
from tests.conftest import QUICK

HISTORY = ((1, 10.0, 0.5), (2, 20.0, 0.92), (3, 30.0, 0.95))  # epoch, seconds, validation accuracy


def nested(settings: dict[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for key, value in settings.items():
        *groups, last = key.split(".")
        part = config
        for group in groups:
            part = part.setdefault(group, {})
        part[last] = value
    return config


def write_run(
    directory: Path,
    accuracy: float | None = 0.9,
    seed: int = 1,
    history: tuple | None = HISTORY,
    experiment: str | None = None,
    overrides: list[str] | None = None,
    metrics: dict[str, Any] | None = None,
    right: Sequence[bool] | None = None,
    **settings: Any,
) -> None:
    """A completed run, as cnn-train would have left it; double underscores in settings stand for dots.

    `right` says which test images it classified correctly, and gives the accuracy; without it, that is not on record.
    """
    directory.mkdir(parents=True)
    config = {
        "seed": seed,
        "model.name": "lenet5",
        "model.dropout": 0.0,
        "datamodule.name": "mnist",
        "datamodule.seed": seed,
        "datamodule.limit": None,
        "trainer.gpus": None,
        "trainer.max_epochs": 3,
        "logging.weights": False,
        **{key.replace("__", "."): value for key, value in settings.items()},
    }
    (directory / "config.yaml").write_text(yaml.safe_dump(nested(config), sort_keys=False))
    figures = {
        "status": "completed",
        "seed": seed,
        "parameters": 60_000,
        "multiply_adds": 328_000,
        "train_seconds": 30.0,
        "images_per_second": 8_500.0,
        "confusion": {"classes": ["cat", "dog"], "test": [[8, 2], [1, 9]]},
        "val/accuracy": None if history is None else 0.95,
        "test/accuracy": accuracy,
        **({} if right is None else {"test/accuracy": sum(right) / len(right)}),
        **({} if overrides is None else {"overrides": overrides}),
        **(metrics or {}),
    }
    (directory / "metrics.json").write_text(json.dumps(figures))
    if right is not None:
        truth = np.arange(len(right)) % 10
        RunDirectory(directory).write_predictions(truth, np.where(right, truth, 10), np.where(right, 0.9, 0.1))
    if experiment is not None:
        (directory / ".hydra").mkdir()
        (directory / ".hydra" / "overrides.yaml").write_text(f"- experiment={experiment}\n- seed={seed}\n")
    if history is not None:
        with (directory / "history.csv").open("w", newline="") as target:
            writer = csv.writer(target)
            writer.writerow(["epoch", "step", "seconds", "train/loss", "val/loss", "val/accuracy"])
            writer.writerows([epoch, 22 * epoch, seconds, 1 / epoch, 2 / epoch, hit] for epoch, seconds, hit in history)


def fail(directory: Path, status: str, **metrics: str) -> None:
    directory.mkdir(parents=True)
    (directory / "metrics.json").write_text(json.dumps({"status": status, **metrics}))


def labels(comparison: Comparison) -> list[str]:
    return [configuration.label for configuration in comparison.configurations]


def parsed(page: str) -> ElementTree.Element:
    """The page, which must be well-formed XML but for its doctype, its <meta> and the text of its own script."""
    page = page.removeprefix("<!doctype html>").replace(pages.script(), "")
    return ElementTree.fromstring(re.sub(r"<(meta[^>]*)>", r"<\1/>", page))


def data_of(page: str) -> dict[str, Any]:
    """What its script draws."""
    (content,) = [element.text for element in parsed(page).iter("script") if element.get("id") == "data"]
    found: dict[str, Any] = json.loads(content or "", parse_constant=pytest.fail)
    return found


def bars(page: str) -> list[ElementTree.Element]:
    """The intervals."""
    return list(parsed(page).iter("svg"))


def test_mean_and_std_over_seeds_best_first(tmp_path: Path) -> None:
    for seed, accuracy in ((1, 0.90), (2, 0.92), (3, 0.97)):
        write_run(tmp_path / f"a{seed}", accuracy, seed)
    for seed, accuracy in ((1, 0.95), (2, 0.97)):
        write_run(tmp_path / "deep" / "er" / f"b{seed}", accuracy, seed, model__dropout=0.5)
    comparison = compare(tmp_path)
    assert comparison.rows() == [
        # (0.95 + 0.97) / 2; √(2 · 0.01²)
        ["lenet5 dropout=0.5", "2", "0.9600 ± 0.0141", "0.9500 ± 0.0000", "60,000", "328 k", "8,500", "30 s", "20 s"],
        # (0.90 + 0.92 + 0.97) / 3; √((0.03² + 0.01² + 0.04²) / 2)
        ["lenet5 dropout=0", "3", "0.9300 ± 0.0361", "0.9500 ± 0.0000", "60,000", "328 k", "8,500", "30 s", "20 s"],
    ]
    assert comparison.warnings == comparison.others == []


def test_what_is_one_configuration(tmp_path: Path) -> None:
    write_run(tmp_path / "a", seed=1)
    write_run(tmp_path / "b", seed=2, model__dropout=0, datamodule__num_workers=2, logging__weights=True)
    write_run(tmp_path / "c", seed=2)
    (row,) = compare(tmp_path).rows()
    assert row[:2] == ["lenet5", "2 in 3 runs"]

    write_run(tmp_path / "all", trainer__limit_train_batches=1.0)
    write_run(tmp_path / "one", trainer__limit_train_batches=1)
    assert len(compare(tmp_path).rows()) == 3  # a batch is not all of them


RECORDED = {
    "device": "cpu",
    "processes": 1,
    "precision": "32-true",
    "data_fingerprint": "3fa9c1" + "0" * 58,
    "test_images": 100,
}


def test_a_title_names_few_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(4):
        write_run(tmp_path / "runs" / str(seed), seed=seed)
    assert compare(tmp_path / "runs").title == f"Runs in {tmp_path / 'runs'}"
    assert compare(f"{tmp_path}/runs/*").title == f"Runs in 4 folders in {tmp_path / 'runs'}"
    monkeypatch.chdir(tmp_path)
    assert compare("runs/*").title == "Runs in 4 folders in runs"


def test_a_key_that_older_runs_lack_makes_no_other_configuration(tmp_path: Path) -> None:
    write_run(tmp_path / "old", seed=1)
    write_run(tmp_path / "new", seed=2, trainer__mixup=None, trainer__label_smoothing=0.0)
    write_run(tmp_path / "other", seed=1, trainer__mixup=0.2, trainer__label_smoothing=0.0)
    comparison = compare(tmp_path)
    assert sorted((one.label, one.seeds) for one in comparison.configurations) == [
        ("lenet5", [1, 2]),
        ("lenet5 mixup=0.2", [1]),
    ]


@pytest.mark.parametrize(
    ("entry", "value", "words"),
    [
        ("device", "NVIDIA H100", ("device=cpu", "device=NVIDIA H100")),
        ("processes", 2, ("processes=1", "processes=2")),
        ("precision", "bf16-mixed", ("precision=32-true", "precision=bf16-mixed")),
        ("data_fingerprint", "77aa00" + "0" * 58, ("data=3fa9c1", "data=77aa00")),
        ("test_images", 20, ("test images=100", "test images=20")),
    ],
)
def test_what_was_computed_on_makes_another_configuration(tmp_path: Path, entry: str, value: Any, words: tuple) -> None:
    everywhere = {"datamodule__source": None, "trainer__precision": "auto", "trainer__devices": 1}
    write_run(tmp_path / "a", 0.9, metrics=RECORDED, **everywhere)
    write_run(tmp_path / "b", 0.8, metrics={**RECORDED, entry: value}, **everywhere)
    comparison = compare(tmp_path)
    assert labels(comparison) == [f"lenet5 {word}" for word in words]
    of_images = {
        "data_fingerprint": ["not the same images: data is 3fa9c1 or 77aa00"],
        "test_images": ["not the same images: test images is 100 or 20"],
    }
    assert comparison.warnings == of_images.get(entry, [])
    write_run(tmp_path / "c", 0.7, model__name="alexnet", metrics=RECORDED, **everywhere)
    name = words[0].partition("=")[0]
    (row,) = [row for row in compare(tmp_path).settings_rows() if row[0] == name]
    assert row[1:] == [words[0].partition("=")[2], words[1].partition("=")[2], words[0].partition("=")[2]]


def test_settings_that_mean_the_same_on_another_machine(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0.9, 1, metrics=RECORDED, datamodule__source="/a", trainer__precision="auto")
    write_run(
        tmp_path / "b",
        0.9,
        2,
        metrics={**RECORDED, "precision": "32"},
        datamodule__source="/b",
        trainer__precision=32,
        trainer__gpus=0,
        trainer__devices=1,
    )
    (row,) = compare(tmp_path).rows()
    assert row[:2] == ["lenet5", "2"]


def test_runs_without_a_record_of_the_hardware_keep_the_settings_apart(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0.9, 1, trainer__devices=1)
    write_run(tmp_path / "b", 0.8, 2, trainer__devices=2)
    write_run(tmp_path / "c", 0.7, 3, trainer__devices=1, trainer__gpus=[0, 1])
    write_run(tmp_path / "d", 0.6, 4, trainer__devices=1, metrics={"confusion": {"classes": ["a"], "test": [[5]]}})
    write_run(tmp_path / "e", 0.5, 5, metrics=RECORDED)
    assert labels(compare(tmp_path)) == [
        "lenet5 gpus=null devices=1 test images=20",
        "lenet5 gpus=null devices=2 test images=20",
        "lenet5 gpus=[0,1] devices=1 test images=20",
        "lenet5 gpus=null devices=1 test images=5",
        "lenet5 test images=100 device=cpu processes=1 precision=32-true data=3fa9c1",
    ]


def test_other_images_are_told_only_where_the_settings_do_not(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0.9, metrics=RECORDED)
    other = {**RECORDED, "data_fingerprint": "77aa00", "test_images": 20}
    write_run(tmp_path / "b", 0.8, metrics=other, datamodule__name="dogs_vs_cats")
    assert compare(tmp_path).warnings == ["not the same data: datamodule.name is mnist or dogs_vs_cats"]


def test_a_copy_counts_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "a", 0.9, 1)
    write_run(tmp_path / "b", 0.8, 2)
    shutil.copytree(tmp_path / "a", tmp_path / "copies" / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "z")
    comparison = compare(tmp_path)
    assert comparison.rows()[0][1:3] == ["2", "0.8500 ± 0.0707"]
    assert comparison.copies == [(tmp_path / "copies" / "a", tmp_path / "a"), (tmp_path / "z", tmp_path / "a")]
    assert comparison.others == []
    print_comparison(comparison)
    line = f"copy of {tmp_path / 'a'}, not counted: {tmp_path / 'z'}"
    assert line in capsys.readouterr().out
    assert f"- {in_markdown(line)}" in as_markdown(comparison).splitlines()
    assert f"copy of: <code>{tmp_path / 'z'}</code> {tmp_path / 'a'}" in as_html(comparison)


def test_what_is_no_copy(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0.9, 1)
    for name, file, old, new in (
        ("repeated", "metrics.json", '"train_seconds": 30.0', '"train_seconds": 31.0'),
        ("resumed", "history.csv", "3,66,30.0", "3,66,30.5"),
        ("other settings", "config.yaml", "limit: null", "num_workers: 3\n  limit: null"),
    ):
        shutil.copytree(tmp_path / "a", tmp_path / name)
        text = (tmp_path / name / file).read_text()
        assert old in text
        (tmp_path / name / file).write_text(text.replace(old, new))
    shutil.move(tmp_path / "a", tmp_path / "moved")
    comparison = compare(tmp_path)
    assert comparison.copies == []
    assert comparison.rows()[0][1] == "1 in 4 runs"


def test_ties_are_decided_by_validation_and_none_comes_last(tmp_path: Path) -> None:
    write_run(tmp_path / "a", None, model__dropout=0.1)
    write_run(tmp_path / "b", 0.9, model__dropout=0.2, metrics={"val/accuracy": 0.8})
    write_run(tmp_path / "c", 0.9, model__dropout=0.3, metrics={"val/accuracy": 0.9})
    write_run(tmp_path / "d", 0.0, model__dropout=0.4)
    comparison = compare(tmp_path)
    assert labels(comparison) == [f"lenet5 dropout=0.{digit}" for digit in (3, 2, 4, 1)]
    assert comparison.rows()[-1][2] == ""


@pytest.mark.parametrize(
    ("histories", "until"),
    [
        ([HISTORY], "20 s"),
        ([HISTORY, ((1, 15.0, 0.99),), ((1, 300.0, 0.95),)], "20 s"),  # the median
        ([HISTORY, ((1, 15.0, 0.1),), ((1, 300.0, 0.1),)], "never"),
        ([((1, 10.0, ""),)], ""),  # not validated
        ([None], ""),
        ([((1, 7200.0, 0.9),)], "2.0 h"),
    ],
)
def test_time_to_an_accuracy(tmp_path: Path, histories: list, until: str) -> None:
    for seed, history in enumerate(histories):
        write_run(tmp_path / str(seed), seed=seed, history=history)
    (row,) = compare(tmp_path).rows()
    assert row[-1] == until


def test_an_empty_history_is_none(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    (tmp_path / "a" / "history.csv").write_text("")
    comparison = compare(tmp_path)
    assert comparison.others == []
    assert comparison.rows()[0][-1] == ""


def test_labels_say_what_differs(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0.9, model__optimizer___target_="torch.optim.SGD", model__dense=[8, 16], model__lrn=None)
    write_run(tmp_path / "b", 0.8, model__optimizer___target_="torch.optim.Adam", model__dense=[8], model__lrn=True)
    write_run(tmp_path / "c", 0.7, model__name="alexnet", model__input_size=64, datamodule__image_size=64)
    write_run(tmp_path / "d", 0.6, model__name="alexnet", model__input_size=0.1 + 0.2, datamodule__image_size=32)
    write_run(tmp_path / "e", 0.5, experiment="lenet5_paper", model__c3="partial")
    comparison = compare(tmp_path)
    assert labels(comparison) == [
        "lenet5 optimizer=SGD dense=[8,16] lrn=null",
        "lenet5 optimizer=Adam dense=[8] lrn=true",
        "alexnet input_size=64",
        "alexnet input_size=0.3",
        "lenet5_paper",
    ]
    heading, *settings = comparison.settings_rows(most=20)
    assert heading == ["setting", *labels(comparison)]
    assert ["model.c3", "", "", "", "", "partial"] in settings
    assert not any(row[0] == "datamodule.image_size" for row in settings)


def test_runs_on_other_data_are_named_so(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0.9)
    write_run(tmp_path / "b", 0.8, datamodule__name="dogs_vs_cats", datamodule__source="/photographs")
    comparison = compare(tmp_path)
    assert labels(comparison) == ["lenet5 on mnist", "lenet5 on dogs_vs_cats"]
    assert comparison.warnings == ["not the same data: datamodule.name is mnist or dogs_vs_cats"]


@pytest.mark.parametrize(
    ("key", "values", "warning"),
    [
        ("datamodule.source", ("/a", "/b"), "not the same data: datamodule.source is /a or /b"),
        ("datamodule.class_names", (["cat", "dog"], ["a", "b"]), "not the same data: datamodule.class_names is"),
        ("datamodule.largest_side", (500, None), "not the same data: datamodule.largest_side is 500 or null"),
        ("datamodule.validation_size", (0.1, 0.2), "not the same split: datamodule.validation_size is 0.1 or 0.2"),
        ("datamodule.limit", (None, 500), "not the same limit: datamodule.limit is null or 500"),
        ("trainer.limit_train_batches", (1, 1.0), "not the same limit: trainer.limit_train_batches is"),
        ("trainer.max_epochs", (3, 4), "not the same budget: trainer.max_epochs is 3 or 4"),
        ("trainer.max_steps", tuple(range(9)), "max_steps is 0, 1, 2, 3, 4, 5 or one of 3 others"),
        ("model.input_size", (32, 64), None),
        ("datamodule.batch_size", (32, 64), None),
    ],
)
def test_a_warning_where_runs_are_not_comparable(tmp_path: Path, key: str, values: tuple, warning: str | None) -> None:
    for number, value in enumerate(values):
        write_run(tmp_path / str(number), 0.9 - number / 100, **{key.replace(".", "__"): value})
    write_run(tmp_path / "older", 0.1, model__init="paper")  # made before there was such a key
    if key in ("datamodule.limit", "trainer.max_epochs"):
        (tmp_path / "older" / "metrics.json").unlink()
    comparison = compare(tmp_path)
    assert len(comparison.warnings) == (warning is not None)
    if warning is not None:
        assert warning in comparison.warnings[0]
        assert f"Careful, {in_markdown(comparison.warnings[0])}" in as_markdown(comparison)
        assert f"Careful, {comparison.warnings[0]}" in as_html(comparison)


def test_a_warning_where_seeds_draw_other_test_images(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_run(tmp_path / f"a{seed}", seed=seed, datamodule__test_size=0.1)
        write_run(tmp_path / f"c{seed}", seed=seed, datamodule__test_size=0.1, model__dropout=0.2)
    assert compare(tmp_path).warnings == []  # the same seeds draw the same images
    write_run(tmp_path / "b", seed=3, datamodule__test_size=0.1, model__dropout=0.5)
    (warning,) = compare(tmp_path).warnings
    assert warning.startswith("not the same split: the seed decides")
    assert "1+2 or 3" in warning


def test_what_did_not_complete_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "good")
    fail(tmp_path / "bad", "failed", error="model.dropout=1.5:\nless than 1 <b>")
    fail(tmp_path / "broken", "interrupted")
    fail(tmp_path / "going", "running")
    write_run(tmp_path / "unreadable")
    (tmp_path / "unreadable" / "config.yaml").write_text("a: [")
    write_run(tmp_path / "empty")
    (tmp_path / "empty" / "config.yaml").write_text("")
    for name, text in (("list", "[]"), ("half", '{"status": "comp')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(text)
    write_run(tmp_path / "torn")
    (tmp_path / "torn" / "history.csv").write_text("epoch,seconds\n1,2,3\n")
    write_run(tmp_path / "hostile figure", metrics={"parameters": ["<script>"]})
    write_run(tmp_path / "hostile matrix", metrics={"confusion": {"classes": ["a", "b"], "test": [[1, 2]]}})
    write_run(tmp_path / "hostile words", metrics={"overrides": 5})
    comparison = compare(tmp_path)
    assert len(comparison.configurations) == 1
    assert {directory.name: status for directory, status, _ in comparison.others} == {
        "bad": "failed", "broken": "interrupted", "going": "running", "unreadable": "unreadable", "empty": "unreadable",
        "list": "unreadable", "half": "unreadable", "torn": "unreadable",
        "hostile figure": "unreadable", "hostile matrix": "unreadable", "hostile words": "unreadable",
    }  # fmt: skip
    print_comparison(comparison)
    line = f"failed: {tmp_path / 'bad'} (model.dropout=1.5: less than 1 <b>)"
    printed = capsys.readouterr().out.splitlines()
    assert line in printed
    assert f"running: {tmp_path / 'going'}" in printed  # there is no reason to give
    assert f"- {line.replace('<', '&lt;')}" in as_markdown(comparison).splitlines()
    assert f"interrupted: <code>{tmp_path / 'broken'}</code>" in as_html(comparison)


def test_a_folder_of_failed_runs_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fail(tmp_path / "runs" / "bad", "failed", error="it diverged")
    comparison = compare(tmp_path / "runs")
    print_comparison(comparison)
    for text in (capsys.readouterr().out, as_markdown(comparison), as_html(comparison)):
        assert "it diverged" in text
    assert "<script" not in as_html(comparison)


def test_markdown(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0.9, model__init="a|b")
    write_run(tmp_path / "b", 0.8, model__init="<script>")
    lines = as_markdown(compare(tmp_path, 0.95)).splitlines()
    assert lines[2].startswith("| configuration | seeds | test accuracy |")
    assert lines[2].endswith("| until 0.95 |")
    assert lines[3].count("---") == lines[2].count("|") - 1
    assert lines[4].startswith("| lenet5 init=a\\|b | 1 | 0.9000 |")
    assert lines[5].startswith("| lenet5 init=&lt;script> | 1 | 0.8000 |")


def test_the_page_needs_no_network_and_is_well_formed(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_run(tmp_path / f"a{seed}", 0.9, seed, model__init="<script>&", experiment="paper")
        write_run(tmp_path / f"b{seed}", 0.8, seed, parameters=1)
    page = as_html(compare(tmp_path))
    assert not re.findall(r"https?://[^\s\"'<)]+", page.replace("http://www.w3.org/2000/svg", ""))
    assert not re.search(r"<(link|img|iframe)|@import|url\(|\sstyle=", page)
    assert [element.get("type") for element in parsed(page).iter("script")] == ["application/json", "module"]
    for heading in (
        "Curves",
        "Accuracy and what it costs",
        "Confusion",
        "Test accuracy by class",
        "Settings that differ",
    ):
        assert f"<h2>{heading}</h2>" in page
    best = data_of(page)["configurations"][0]
    assert best["confusion"] == [[16, 4], [2, 18]]  # 8 of 10 cats and 9 of 10 dogs, in two runs each
    assert "<td>0.8000</td><td>0.9000</td>" in page
    assert "&lt;script&gt;&amp;" in page


def test_the_page_where_figures_are_missing(tmp_path: Path) -> None:
    nothing = dict.fromkeys(("confusion", "multiply_adds", "train_seconds", "images_per_second", "test/accuracy"))
    write_run(tmp_path / "a", history=None, metrics=nothing)
    write_run(tmp_path / "b", history=None, model__dropout=0.5, metrics={"multiply_adds": None})
    write_run(tmp_path / "c", history=HISTORY[:1], model__dropout=0.6, metrics={"training_multiply_adds": 164_000})
    comparison = compare(tmp_path)
    assert comparison.rows()[-1] == ["lenet5 dropout=0", "1", "", "", "60,000", "", "", "", ""]
    runs = [one["runs"][0] for one in data_of(as_html(comparison))["configurations"]]
    # 3 x 2 x 164,000 multiply-adds of the smaller training images x 8,500 images/s x 30 s
    assert [run["training_operations"] for run in runs] == [250_920_000_000, None, None]
    assert [run["epoch"] for run in runs] == [[1], [], []]
    assert [run["accuracy"] for run in runs] == [0.9, 0.9, None]


def test_a_page_of_hundreds_of_configurations(tmp_path: Path) -> None:
    for number in range(120):
        write_run(tmp_path / str(number), number / 1000, model__units=number)
    page = as_html(compare(tmp_path))
    found = data_of(page)
    assert len(found["configurations"]) == 120
    assert found["most_drawn"] == MOST_DRAWN
    assert f"the best {MOST_DRAWN} of 120" in page
    assert len(page) < 1_000_000


def test_the_preset_is_what_was_typed(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0.9, overrides=["experiment=lenet5_paper", "model.dropout=0.1"], model__dropout=0.1)
    write_run(tmp_path / "b", 0.8, overrides=["model.dropout=0.2"], experiment="older", model__dropout=0.2)
    write_run(tmp_path / "c", 0.7, experiment="older", model__dropout=0.3)
    assert labels(compare(tmp_path)) == ["lenet5_paper", "lenet5", "older"]


def test_runs_from_before_keys_were_renamed_are_of_the_same_configuration(tmp_path: Path) -> None:
    network = {"model__name": "alexnet", "model___target_": "cnn_experiments.models.alexnet.AlexNet"}
    write_run(
        tmp_path / "old",
        seed=1,
        **network,
        model__padding="paper",
        model__pool5=True,
        model__dropout_fc6=True,
        datamodule__deviation=[0.2],
        logging___target_="cnn_experiments.loggings.dashboard.Dashboard",
    )
    logging = "cnn_experiments.logging.dashboard.Dashboard"
    write_run(tmp_path / "new", seed=2, **network, datamodule__std=[0.2], logging___target_=logging)
    (row,) = compare(tmp_path).rows()
    assert row[:2] == ["alexnet", "2"]


def test_runs_from_before_a_networks_keys_were_added_have_their_defaults(tmp_path: Path) -> None:
    network = {"model__name": "alexnet", "model___target_": "cnn_experiments.models.alexnet.AlexNet"}
    write_run(tmp_path / "old", 0.9, seed=1, **network)
    write_run(tmp_path / "new", 0.9, seed=2, **network, model__activation="relu", model__without=None)
    write_run(tmp_path / "other", 0.8, seed=1, **network, model__activation="tanh", model__without=None)
    rows = compare(tmp_path, baseline="activation=relu").rows()
    assert [row[:2] for row in rows] == [["alexnet activation=relu", "2"], ["alexnet activation=tanh", "1"]]


def test_several_folders_and_patterns(tmp_path: Path) -> None:
    for name in ("a1", "a2", "b"):
        write_run(tmp_path / name / "run", seed=ord(name[-1]))
    both = compare([tmp_path / "b", f"{tmp_path}/a*", tmp_path / "a1"])
    assert both.rows()[0][1] == "3"  # none is counted twice
    assert len(compare(str(tmp_path / "a1" / "run")).configurations) == 1
    assert str(tmp_path / "b") in both.title


@pytest.mark.parametrize("accuracy", [0, 1.5, "high", True, float("nan")])
def test_an_accuracy_out_of_range(tmp_path: Path, accuracy: Any) -> None:
    write_run(tmp_path / "a")
    with pytest.raises(UserError, match=f"accuracy={accuracy}: give a share"):
        compare(tmp_path, accuracy)


def test_a_folder_without_runs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there are no runs in this folder"):
        compare(tmp_path)
    with pytest.raises(UserError, match="there is no such folder"):
        compare([tmp_path / "nowhere*"])


def test_in_a_notebook(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0.9, model__init="<script>", trainer__max_epochs=4)
    write_run(tmp_path / "b", 0.8)
    fail(tmp_path / "bad", "failed", error="it <b>diverged")
    comparison = compare(tmp_path)
    page = comparison._repr_html_()
    ElementTree.fromstring(f"<div>{page}</div>")
    assert "<td>0.9000</td>" in page
    assert "not the same budget" in page
    assert "it &lt;b&gt;diverged" in page
    text = str(comparison)
    assert "0.9000" in text
    assert "it <b>diverged" in text
    assert "\x1b" not in text


def test_as_a_data_frame(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    for seed in (1, 2):
        write_run(tmp_path / f"a{seed}", 0.9 + seed / 100, seed)
        write_run(tmp_path / f"b{seed}", 0.8, seed, model__dropout=0.5)
    frame = compare(tmp_path).to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame["model.dropout"]) == [0, 0, 0.5, 0.5]
    assert frame.groupby("configuration")["test/accuracy"].mean()["lenet5 dropout=0"] == pytest.approx(0.915)
    assert list(compare(tmp_path / "a1").to_pandas()["seed"]) == [1]


def test_a_data_frame_without_pandas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path / "a")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        compare(tmp_path).to_pandas()


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    program = f"""
import sys
from cnn_experiments.runs.comparison import compare
print(compare({str(tmp_path)!r}))
compare({str(tmp_path)!r}).to_html()
import cnn_experiments.runs.tables, cnn_experiments.runs.sweep, cnn_experiments.runs.provenance
heavy = {{"torch", "hydra", "omegaconf", "matplotlib", "pytorch_lightning"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_how_figures_are_written() -> None:
    assert [in_units(number) for number in (None, 12, 340_908, 1.58e9)] == ["", "12", "341 k", "1.58 G"]
    assert [duration(seconds) for seconds in (None, 9.876, 119, 600, 12_240)] == [
        "",
        "9.88 s",
        "119 s",
        "10 min",
        "3.4 h",
    ]
    assert as_typed("model.lr", 0.1 + 0.2) == "0.3"
    assert as_typed("model.optimizer._target_", "torch.optim.AdamW") == "AdamW"


def test_the_command(run_command, trained, tmp_path: Path) -> None:
    trained("runs/real", "trainer.max_epochs=1")
    outcome = run_command("compare", "runs=runs", "accuracy=0.01", "hydra.run.dir=compared")
    assert outcome.status == 0, outcome.error
    assert "lenet5" in outcome.out
    assert "until 0.01" in outcome.out
    for name in ("comparison.md", "comparison.html"):
        assert f"written: {tmp_path / 'compared' / name}" in outcome.out
    assert "0.01" in (tmp_path / "compared" / "comparison.md").read_text()
    metrics = json.loads((tmp_path / "runs" / "real" / "metrics.json").read_text())
    assert f"{metrics['test/accuracy']:.4f}" in (tmp_path / "compared" / "comparison.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["runs=nowhere"], ["runs=nowhere", "no such folder"]),
        (["runs=."], ["runs=.", "no runs"]),
        (["runs=.", "accuracy=90"], ["accuracy=90", "up to 1.0"]),
        (["runs=.", "accuracy=high"], ["accuracy=high"]),
    ],
)
def test_compare_refuses(run_command, arguments: list[str], words: list[str]) -> None:
    outcome = run_command("compare", *arguments)
    assert outcome.status == 2
    assert "Traceback" not in outcome.error
    for word in words:
        assert word in outcome.error


@pytest.mark.slow
def test_a_sweep_closes_with_its_comparison(run_command, digits: Path, tmp_path: Path) -> None:
    settings = [*QUICK, "trainer.max_epochs=1", "trainer.limit_train_batches=2"]
    outcome = run_command("train", "-m", *settings, "seed=1,2", "model.dropout=0,0.5")
    assert outcome.status == 0, outcome.error
    (text,) = [file.read_text() for file in tmp_path.glob("outputs/sweeps/*/comparison.md")]
    rows = [line.split(" | ")[:2] for line in text.splitlines() if line.startswith("| lenet5")]
    assert sorted(rows) == [["| lenet5 dropout=0", "2"], ["| lenet5 dropout=0.5", "2"]]
    assert len(list(tmp_path.glob("outputs/sweeps/*/comparison.html"))) == 1
    assert "dropout=0.5" in outcome.out
