"""The results that are shown: that what is to be trained can be, and what is said of runs that were made up."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from cnn_experiments.commands.from_python import read_words
from cnn_experiments.errors import UserError
from scripts import results
from scripts.claims import STUDIES, Claim
from scripts.measured import read, write
from tests.test_languages import figures, rows
from tests.test_study import write_arm
from tests.test_verdicts import answers

ROWS = results.read_rows()
ROW = results.Row("few", "lenet5", "datamodule.limit=10", (1, 2, 3), 0.9, {"en": "ours", "ko": "우리"})
COSTS = {
    "metrics": {
        "multiply_adds": 1000,
        "images_per_second": 50.0,
        "train_seconds": 40.0,
        "test_images": 1000,
        "processor": "AMD EPYC",
        "precision": "32-true",
        "commit": "0123456789abcdef",
        "threads": 2,
        "versions": {"torch": "2.15.0"},
    }
}


def write_row(root: Path, row: results.Row, wrong: Sequence[int], **run: Any) -> None:
    """The completed runs of a row, with a number of wrong answers for each seed."""
    for seed, number in zip(row.seeds, wrong, strict=True):
        sweep = row.sweep(seed)
        write_arm(root, sweep, sweep.better, right=[answers(number)], model__c3="partial", **run)


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.name in ("lenet5_best", "googlenet_2000")], ids=lambda row: row.name
)
def test_the_words_of_a_row_are_settings(row: results.Row, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOGS_VS_CATS", "photographs")
    *words, seeds = shlex.split(row.command)[2:]
    assert OverridesParser.create().parse_override(seeds).is_sweep_override()
    sweep = row.sweep(row.seeds[0])
    assert sweep.task(sweep.better) == [*words, "seed=1"]
    read_words(sweep.task(sweep.better), None, None, [])


def test_a_row_tells_its_runs(tmp_path: Path) -> None:
    write_row(tmp_path, ROW, (10, 20, 30), **COSTS)
    cells = ROW.cells(ROW.measured(tmp_path, {}), "en")
    assert cells == [
        "`cnn-train -m datamodule.limit=10 seed=1,2,3`",
        "**0.9800**",
        "0.0100",
        "0.9700 … 0.9900",
        "0.9 (ours)",
        "3 of 3",
        "1,000",
        "2 M",  # 50 images a second for 40 seconds, at 1,000 each
        "40",
    ]


def test_scaled_training_images_cost_less(tmp_path: Path) -> None:
    scaled = {"metrics": {**COSTS["metrics"], "training_multiply_adds": 500}}
    write_row(tmp_path, ROW, (10, 10, 10), **scaled)
    assert ROW.cells(ROW.measured(tmp_path, {}), "en")[7] == "1 M"


def test_only_the_pages_are_written_or_a_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written: list[object] = []
    monkeypatch.setattr(results, "STUDY", replace(results.STUDY, name=str(tmp_path / "kept")))
    monkeypatch.setattr(results, "read_rows", lambda: [ROW])
    monkeypatch.setattr(results, "write_pages", lambda rows, runs: written.append(runs) or [tmp_path / "page.md"])
    monkeypatch.setattr(results, "run_claims", lambda claims, root: pytest.fail("it trains"))
    assert results.main(["none"]) == 0
    assert written == [{"few": {}}]
    assert results.main(["alexnets"]) == 2
    assert "RESULTS=alexnets: there is no such name." in capsys.readouterr().err


def test_a_row_without_runs_says_so(tmp_path: Path) -> None:
    assert ROW.cells(ROW.measured(tmp_path, {}), "en")[1] == "not run yet"
    assert ROW.cells(ROW.measured(tmp_path, {}), "ko")[1] == "아직 실행하지 않음"


def test_seeds_of_another_machine_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, here = replace(ROW, seeds=(1,)), {"metrics": {**COSTS["metrics"], "processor": "another"}}
    write_row(tmp_path / "there", there, (10,), **COSTS)
    write({ROW.name: there.kept(there.measured(tmp_path / "there", {}))}, tmp_path / "measured" / "kept.yaml")
    pages, asked = [], []

    def train(sweeps: Sequence[Claim], root: Path) -> int:
        asked.extend(seed for sweep in sweeps for seed in sweep.seeds)
        write_row(root, replace(ROW, seeds=(2, 3)), (20, 30), **here)
        return 0

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("scripts.claims.STUDIES", tmp_path)
    monkeypatch.setattr(results, "STUDY", replace(results.STUDY, name="kept"))
    monkeypatch.setattr(results, "read_rows", lambda: [ROW])
    monkeypatch.setattr(results, "run_claims", train)
    monkeypatch.setattr(results, "write_pages", lambda rows, runs: pages.append(runs) or [])
    assert results.main([]) == 0
    assert asked == [2, 3]
    (runs,) = pages
    assert [runs["few"][seed].accuracy for seed in ROW.seeds] == [0.99, 0.98, 0.97]
    assert [runs["few"][seed].machine["device"] for seed in (1, 2)] == [["AMD EPYC"], ["another"]]
    kept = read(tmp_path / "measured" / "kept.yaml")
    assert list(kept["few"]["runs"]) == [1, 2, 3]
    assert replace(ROW, words="datamodule.limit=20").measured(tmp_path / "none", kept) == {}


def test_seeds_of_other_settings_no_longer_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As after a change of a preset, whose words are the same."""
    rows = {seeds: replace(ROW, seeds=seeds) for seeds in ((1,), (2, 3))}
    write_row(tmp_path / "there", rows[(1,)], (10,), **COSTS, model__dropout=0.5)
    kept = {ROW.name: rows[(1,)].kept(rows[(1,)].measured(tmp_path / "there", {}))}
    write_row(tmp_path / "here", rows[(2, 3)], (20, 30), **COSTS)
    assert list(ROW.measured(tmp_path / "here", kept)) == [2, 3]
    assert caplog.messages == ["few: seeds [1] were measured with other settings; they no longer count"]
    assert list(ROW.measured(tmp_path / "none", kept)) == [1]


def test_a_seed_is_measured_anew_if_its_row_is_named(tmp_path: Path) -> None:
    one = replace(ROW, seeds=(1,))
    write_row(tmp_path / "there", one, (10,), **COSTS)
    kept = {ROW.name: one.kept(one.measured(tmp_path / "there", {}))}
    write_row(tmp_path / "here", one, (20,), **COSTS)
    assert one.measured(tmp_path / "here", kept)[1].accuracy == 0.99
    assert one.measured(tmp_path / "here", kept, anew=True)[1].accuracy == 0.98
    with pytest.raises(UserError, match=r"measured/results\.yaml: few is not as it was written"):
        one.measured(tmp_path / "here", {ROW.name: {"words": ROW.words, "runs": {1: {"accuracy": 0.5}}}})


def test_runs_that_differ_in_more_than_their_seed_are_refused(tmp_path: Path) -> None:
    for seed, dropout in ((1, 0.0), (2, 0.5)):
        write_row(tmp_path, replace(ROW, seeds=(seed,)), (10,), model__dropout=dropout)
    with pytest.raises(UserError, match="differ in more than their seed"):
        ROW.cells(ROW.measured(tmp_path, {}), "en")


def test_both_pages_have_the_tables(tmp_path: Path) -> None:
    write_row(tmp_path, ROW, (10, 10, 10), **COSTS)
    photographs = results.Row("other", "photographs", "model=alexnet", (1, 2), 0.5, ROW.whose)
    runs = {row.name: row.measured(tmp_path, {}) for row in (ROW, photographs)}
    files = results.write_pages([ROW, photographs], runs, tmp_path, STUDIES)
    english, korean = (file.read_text(encoding="utf-8") for file in files)
    assert "@" not in english + korean
    for text in (english, korean):
        assert "| **0.9900** | 0.0000 | 0.9900 … 0.9900 |" in text
        assert "AMD EPYC, 32-true, threads: 2, torch 2.15.0" in text
        assert "`cnn-train -m model=alexnet seed=1,2`" in text
    assert rows(str(files[0])) == rows(str(files[1]))
    assert figures(str(files[0])) ^ figures(str(files[1])) == set()
