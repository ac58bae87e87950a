"""What was measured is kept where run directories are not."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cnn_experiments.errors import UserError
from scripts import results, study
from scripts.claims import STUDY_OF_CLAIMS, STUDY_OF_RECIPES, Claim, Study, read_claims
from scripts.claims_pages import page
from scripts.findings import find
from scripts.measured import all_findings, read, write_findings
from tests.test_study import claim, write_arm
from tests.test_verdicts import answers

DOCS = Path(__file__).parents[1] / "docs"


def measure(of: Claim, root: Path, file: Path, full: int = 80) -> None:
    """Write runs of its arms, and keep what they say."""
    for arm, wrong in (("partial", 20), ("full", full)):
        write_arm(root, of, arm, right=[answers(wrong + seed) for seed in of.seeds])
    write_findings([find(of, root)], file)


def test_a_page_can_be_written_without_the_runs(tmp_path: Path) -> None:
    one, other, file = claim(), claim(name="other", arms={"partial": "", "third": "model.c3=third"}), tmp_path / "kept"
    measure(one, tmp_path / "runs", file)
    here = [find(each, tmp_path / "runs") for each in (one, other)]
    kept = all_findings([one, other], tmp_path / "none", file)
    assert [each.outcome for each in kept] == ["holds", "not_run"]
    assert kept == here
    assert page(kept, "en") == page(here, "en")
    write_findings(kept, file)
    assert list(read(file)) == [one.name]


@pytest.mark.parametrize(
    "changed",
    [
        {"arms": {"partial": "", "full": "model.c3=full model.init=he"}},
        {"better": "full"},
        {"figure": "gap"},
        {"margin": 0.01},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_was_measured_of_another_claim_does_not_count(tmp_path: Path, changed: dict) -> None:
    measure(claim(), tmp_path / "runs", tmp_path / "kept")
    (found,) = all_findings([claim(**changed)], tmp_path / "none", tmp_path / "kept")
    assert found.outcome == "not_run"


def test_runs_here_take_the_place_of_fewer_and_if_asked_of_as_many(tmp_path: Path) -> None:
    five, kept, elsewhere = claim(seeds=(1, 2, 3, 4, 5)), tmp_path / "kept", tmp_path / "not_kept"
    measure(five, tmp_path / "there", kept)
    measure(replace(five, seeds=(1, 2, 3)), tmp_path / "here", elsewhere, full=300)
    measure(five, tmp_path / "later", elsewhere, full=300)

    def found(of: Claim, root: str, file: Path = kept, anew: Sequence[str] = ()) -> tuple[int, float, bool]:
        (one,) = all_findings([of], tmp_path / root, file, anew)
        return one.seeds, pytest.approx(one.differences[0].value), one.is_complete

    assert found(five, "here") == found(five, "here", anew=["table"]) == (5, 6, True)
    assert found(five, "later") == (5, 6, True)
    assert found(five, "later", anew=["table"]) == (5, 28, True)
    three = replace(five, seeds=(1, 2, 3))
    assert found(three, "none") == (5, 6, True)
    assert found(three, "here", anew=["table"]) == (3, 28, True)
    others = replace(five, seeds=(4, 5, 6, 7, 8))
    assert found(others, "none") == (5, 6, False)


def test_runs_that_cannot_be_compared_do_not_take_the_place_of_what_was_measured(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    measure(claim(), tmp_path / "there", tmp_path / "kept")
    write_arm(tmp_path / "here", claim(), "partial", right=[answers(20)] * 3, model__dropout=[0.0, 0.0, 0.5])
    write_arm(tmp_path / "here", claim(), "full", right=[answers(80)] * 3)
    (found,) = all_findings([claim()], tmp_path / "here", tmp_path / "kept", ["table"])
    assert found.outcome == "holds"
    assert caplog.messages == [
        "table: the runs of partial differ in more than their seed; what was measured before stays"
    ]
    write_findings([find(claim(), tmp_path / "here")], tmp_path / "other")
    assert read(tmp_path / "other") == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<<<<<<< HEAD\ntable: {}\n", "no YAML"),
        ("- table", "no names with what was measured of them"),
        ("table:", "table is not as it was written"),
        ("table: {claim: {}}\n", "table is not as it was written"),
    ],
)
def test_a_file_that_somebody_has_changed(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "kept"
    measure(claim(), tmp_path / "runs", file)
    changed = file.read_text(encoding="utf-8").replace("outcome: holds", "result: holds")
    file.write_text(changed if "{claim" in text else text, encoding="utf-8")
    with pytest.raises(UserError, match=f"^{re.escape(str(file))}: {says}"):
        all_findings([claim()], tmp_path / "none", file)


def test_what_is_measured_is_not_trained_again_unless_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = claim(), claim(name="other", arms={"partial": "", "third": "model.c3=third"})
    own = Study(str(tmp_path / "study"), "make study CLAIMS=")
    measure(one, tmp_path / "there", own.measured)
    asked: list[list[str]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study, "read_claims", lambda file: [one, other])
    monkeypatch.setattr(study, "run_claims", lambda claims, root: asked.append([each.name for each in claims]) or 0)
    monkeypatch.setattr(study, "write_pages", lambda findings, study: [])
    for names in ([], ["table"], ["other,table"]):
        assert study.main(own, names) == 0
    assert asked == [["other"], ["table"], ["table", "other"]]
    assert list(read(own.measured)) == ["table"]


@pytest.mark.parametrize("of", [STUDY_OF_CLAIMS, STUDY_OF_RECIPES], ids=lambda of: of.name)
def test_the_pages_of_the_repository_are_what_was_measured(of: Study, tmp_path: Path) -> None:
    found = all_findings(read_claims(of.file), tmp_path, of.measured)
    for language, suffix in (("en", ".md"), ("ko", ".ko.md")):
        text = (DOCS / f"{of.name}{suffix}").read_text(encoding="utf-8")
        assert page(found, language, of) == text
    assert [one.claim.name for one in found if one.claim.name not in read(of.measured)] == [
        one.claim.name for one in found if one.outcome == "not_run"
    ]


def test_the_results_of_the_repository_are_what_was_measured(tmp_path: Path) -> None:
    rows, kept = results.read_rows(), read(results.STUDY.measured)
    runs = {row.name: row.measured(tmp_path, kept) for row in rows}
    for file in results.write_pages(rows, runs, tmp_path):
        assert file.read_text(encoding="utf-8") == (DOCS / file.name).read_text(encoding="utf-8")
