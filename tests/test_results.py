"""The results that are shown: that what is to be trained can be, and what is said of runs that were made up."""

import shutil
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from cnn_experiments.commands.from_python import read_words
from cnn_experiments.errors import UserError
from scripts import results
from scripts.claims import STUDIES
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
        "threads": 2,
        "versions": {"torch": "2.15.0"},
    }
}


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.name in ("lenet5_best", "googlenet_2000")], ids=lambda row: row.name
)
def test_the_words_of_a_row_are_settings(row: results.Row, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOGS_VS_CATS", "photographs")
    *words, seeds = row.sweep.task(results.ARM)
    assert OverridesParser.create().parse_override(seeds).is_sweep_override()
    read_words([*words, f"seed={row.seeds[0]}"], None, None, [])


def test_a_row_tells_its_runs(tmp_path: Path) -> None:
    write_arm(tmp_path, ROW.sweep, results.ARM, right=[answers(wrong) for wrong in (10, 20, 30)], **COSTS)
    cells = ROW.cells(ROW.runs(tmp_path), "en")
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


def test_a_seed_that_was_trained_twice_counts_once(tmp_path: Path) -> None:
    write_arm(tmp_path, ROW.sweep, results.ARM, right=[answers(10), answers(20), answers(30)], **COSTS)
    folder = ROW.sweep.folder(results.ARM, tmp_path)
    shutil.copytree(folder / "0", folder / "0_seed-1")  # as where seed=1 became seed=1,2,3
    metrics = folder / "0_seed-1" / "metrics.json"
    metrics.write_text(metrics.read_text(encoding="utf-8").replace('"train_seconds": 40.0', '"train_seconds": 41.0'))
    cells = ROW.cells(ROW.runs(tmp_path), "en")
    assert (cells[1], cells[5]) == ("**0.9800**", "3 of 3")


def test_scaled_training_images_cost_less(tmp_path: Path) -> None:
    scaled = {"metrics": {**COSTS["metrics"], "training_multiply_adds": 500}}
    write_arm(tmp_path, ROW.sweep, results.ARM, right=[answers(10)] * 3, **scaled)
    assert ROW.cells(ROW.runs(tmp_path), "en")[7] == "1 M"


def test_only_the_pages_are_written_or_a_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written: list[Path] = []
    monkeypatch.setattr(results, "write_pages", lambda rows, root: written.append(root) or [tmp_path / "page.md"])
    monkeypatch.setattr(results, "run_claims", lambda claims, root: pytest.fail("it trains"))
    assert results.main(["none"]) == 0
    assert written == [results.RUNS]
    assert results.main(["alexnets"]) == 2
    assert "RESULTS=alexnets: there is no such name." in capsys.readouterr().err


def test_a_row_without_runs_says_so(tmp_path: Path) -> None:
    assert ROW.cells(ROW.runs(tmp_path), "en")[1] == "not run yet"
    assert ROW.cells(ROW.runs(tmp_path), "ko")[1] == "아직 실행하지 않음"


def test_runs_that_differ_in_more_than_their_seed_are_refused(tmp_path: Path) -> None:
    write_arm(tmp_path, ROW.sweep, results.ARM, model__dropout=[0.0, 0.0, 0.5])
    with pytest.raises(UserError, match="differ in more than their seed"):
        ROW.cells(ROW.runs(tmp_path), "en")


def test_both_pages_have_the_tables(tmp_path: Path) -> None:
    write_arm(tmp_path, ROW.sweep, results.ARM, right=[answers(10)] * 3, **COSTS)
    photographs = results.Row("other", "photographs", "model=alexnet", (1, 2), 0.5, ROW.whose)
    files = results.write_pages([ROW, photographs], tmp_path, tmp_path, STUDIES)
    english, korean = (file.read_text(encoding="utf-8") for file in files)
    assert "@" not in english + korean
    for text in (english, korean):
        assert "| **0.9900** | 0.0000 | 0.9900 … 0.9900 |" in text
        assert "AMD EPYC, threads: 2, torch 2.15.0" in text
        assert "`cnn-train -m model=alexnet seed=1,2`" in text
    assert rows(str(files[0])) == rows(str(files[1]))
    assert figures(str(files[0])) ^ figures(str(files[1])) == set()
