"""Verdicts on runs that were made up so that each can be told by hand."""

import csv
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from cnn_experiments.errors import UserError
from cnn_experiments.runs.comparison import Comparison, compare
from cnn_experiments.runs.finished import FIGURES
from cnn_experiments.runs.page import as_html
from cnn_experiments.runs.tables import as_markdown, print_comparison
from cnn_experiments.runs.verdicts import holm, mcnemar
from tests.test_comparison import write_run


def answers(wrong: int, images: int = 1000, first: int = 0) -> NDArray[np.bool_]:
    """Right on all images but some in a row."""
    right = np.ones(images, bool)
    right[first : first + wrong] = False
    return right


def sentences(comparison: Comparison) -> list[str]:
    return [verdict.sentence() for verdict in comparison.judged.verdicts]


def test_a_clear_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (1, 2, 3):
        write_run(tmp_path / f"full{seed}", seed=seed, right=answers(20 + seed), model__c3="full")
        write_run(tmp_path / f"partial{seed}", seed=seed, right=answers(80 + seed), model__c3="partial")
    comparison = compare(tmp_path)
    (verdict,) = comparison.judged.verdicts
    assert verdict.luck.value == pytest.approx(0.06)
    assert verdict.is_different
    (sentence,) = sentences(comparison)
    assert re.fullmatch(
        r"lenet5 c3=full is better than lenet5 c3=partial by 6\.0 points \(4\.\d to 7\.\d\); 3 seeds, "
        "1,000 test images; more test images would narrow this",
        sentence,
    )
    print_comparison(comparison)
    assert sentence in capsys.readouterr().out
    assert f"- {sentence}" in as_markdown(comparison)
    assert f"<li>{sentence}</li>" in as_html(comparison)
    assert f"<li>{sentence}</li>" in comparison._repr_html_()
    assert sentence in str(comparison)


def test_luck_of_the_seed_is_seen(tmp_path: Path) -> None:
    for seed, wrong in ((1, 20), (2, 90), (3, 40)):
        write_run(tmp_path / f"full{seed}", seed=seed, right=answers(wrong), model__c3="full")
        write_run(tmp_path / f"partial{seed}", seed=seed, right=answers(130 - wrong), model__c3="partial")
    (sentence,) = sentences(compare(tmp_path))
    assert re.match(
        r"no difference between lenet5 c3=full and lenet5 c3=partial can be seen: with 3 seeds and 1,000 test images a "
        r"gain under \d\d\.\d points would be invisible; more seeds would narrow this$",
        sentence,
    )


def test_the_chance_of_several_seeds_agrees_with_their_interval(tmp_path: Path) -> None:
    """The first seeds alone, with 30 and 60 wrong answers, would differ; the second ones do not."""
    for seed, wrong in ((1, 60), (2, 25)):
        write_run(tmp_path / f"full{seed}", seed=seed, right=answers(30), model__c3="full")
        write_run(tmp_path / f"partial{seed}", seed=seed, right=answers(wrong, first=500), model__c3="partial")
    assert mcnemar(answers(30), answers(60, first=500)) < 0.01
    (verdict,) = compare(tmp_path).judged.verdicts
    assert verdict.low < 0 < verdict.high
    # of one pair alone, nothing is corrected
    assert verdict.adjusted_p == verdict.p == verdict.luck.p > 0.05
    assert verdict.luck.strict_p > verdict.p


def test_no_difference_has_no_sign(tmp_path: Path) -> None:
    write_run(tmp_path / "a", right=answers(50, 3000), model__c3="full")
    write_run(tmp_path / "b", right=answers(51, 3000, first=50), model__c3="partial")
    (verdict,) = compare(tmp_path, baseline="c3=full").judged.verdicts
    assert verdict.luck.value == pytest.approx(-1 / 3000)
    # the variance is 101 and two more over 3,002 squared, which is 0.34 points squared
    assert verdict.interval() == "0.0 (-0.7 to 0.6)"


def test_single_runs_get_the_exact_test_of_mcnemar(tmp_path: Path) -> None:
    write_run(tmp_path / "a", right=answers(10), model__c3="full")
    write_run(tmp_path / "b", right=answers(30, first=5), model__c3="partial")
    comparison = compare(tmp_path)
    (verdict,) = comparison.judged.verdicts
    # the first alone is wrong on 5 images, the second alone on 25
    assert verdict.p == verdict.adjusted_p == pytest.approx(scipy.stats.binomtest(5, 30).pvalue)
    (sentence,) = sentences(comparison)
    assert "by 2.0 points" in sentence
    assert "one run each" in sentence
    assert "luck of the seed is not in this interval" in sentence


@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 5), (0, 6), (3, 3), (4, 12), (40, 20)])
def test_mcnemar(first: int, second: int) -> None:
    one, other = answers(first), answers(second, first=500)
    expected = scipy.stats.binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar(one, other) == pytest.approx(expected)
    assert mcnemar(other, one) == mcnemar(one, other)


def test_an_interval_agrees_with_the_exact_test(tmp_path: Path) -> None:
    """Five images for one and none for the other: 0.0625 by the exact test, though the interval alone leaves out 0."""
    write_run(tmp_path / "a", right=answers(0, 400), model__c3="full")
    write_run(tmp_path / "b", right=answers(5, 400), model__c3="partial")
    (verdict,) = compare(tmp_path).judged.verdicts
    assert verdict.p == 0.0625
    assert verdict.low <= 0 < verdict.high
    (verdict,) = compare(tmp_path, baseline="c3=full").judged.verdicts
    assert verdict.low < 0 <= verdict.high


def test_holm() -> None:
    # the smallest times 4, the next times 3, …; never smaller than one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []
    assert holm([0.01, 0.002], tests=6) == pytest.approx([0.05, 0.012])  # two of six that could have been made


def test_many_arms_are_corrected(tmp_path: Path) -> None:
    write_run(tmp_path / "best", right=answers(10), model__dropout=0.0)
    for number in range(1, 6):
        write_run(tmp_path / str(number), right=answers(20 + number), model__dropout=number / 10)
    comparison = compare(tmp_path)
    verdicts = comparison.judged.verdicts
    assert [verdict.one.label for verdict in verdicts] == ["lenet5 dropout=0"] * 5
    # 11 images for one and none for the other: 2 / 2^11, as the least certain of five
    assert verdicts[0].p == pytest.approx(2**-10)
    # six arms are 15 pairs; the other four are more certain
    assert verdicts[0].adjusted_p == pytest.approx(11 * 2**-10)
    assert verdicts[-1].adjusted_p == pytest.approx(15 * 2**-14)
    (first, *_) = compare(tmp_path, baseline="dropout=0").judged.verdicts
    assert first.adjusted_p == pytest.approx(2**-10)  # named beforehand: five pairs
    write_run(tmp_path / "weak", right=answers(16), model__dropout=0.9)  # 6 images: 0.031 alone
    (few,) = [one for one in compare(tmp_path).judged.verdicts if one.p < 0.05 <= one.adjusted_p]
    assert few.p == pytest.approx(2**-5)
    assert "can be claimed" in few.sentence()
    assert "among 21 of them" in few.sentence()


def test_against_a_baseline(tmp_path: Path) -> None:
    for seed in (1, 2):
        for name, wrong in (("a", 10), ("b", 60), ("c", 200)):
            write_run(tmp_path / f"{name}{seed}", seed=seed, right=answers(wrong + seed), model__init=name)
    comparison = compare(tmp_path, baseline="model.init=b")
    better, worse = comparison.judged.verdicts
    assert (better.one.label, better.other.label) == ("lenet5 init=a", "lenet5 init=b")
    assert better.luck.value == pytest.approx(0.05)
    assert worse.luck.value == pytest.approx(-0.14)
    assert sentences(comparison)[1].startswith("lenet5 init=b is better than lenet5 init=c by 14.0 points (")
    assert [row[-1] for row in comparison.verdict_rows()] == ["verdict", "better", "worse"]
    for name in ("lenet5 init=b", "init=b", str(tmp_path / "b2"), tmp_path / "b1", "lenet5 model.init=b"):
        assert compare(tmp_path, baseline=name).baseline.label == "lenet5 init=b"
    for name, words in (("lenet5", "3 configurations"), ("init=z", "no configuration"), ("a\0", "no configuration")):
        with pytest.raises(UserError, match=words) as raised:
            compare(tmp_path, baseline=name)
        assert "lenet5 init=a; lenet5 init=b" in str(raised.value)


def test_one_run_beside_several(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        write_run(tmp_path / f"a{seed}", seed=seed, right=answers(10 * seed), model__init="a")
    write_run(tmp_path / "b", seed=1, right=answers(200), model__init="b")
    (sentence,) = sentences(compare(tmp_path))
    assert "3 and 1 runs" in sentence
    assert "luck of the seed is taken to be as large for lenet5 init=b as for lenet5 init=a" in sentence


RECORDED = {"device": "cpu", "precision": "32-true", "data_fingerprint": "3f" * 32, "test_images": 1000}


@pytest.mark.parametrize(
    ("changed", "settings", "reason"),
    [
        ({"data_fingerprint": "77" * 32}, {}, "not the same images: data is 3f3f3f or 777777"),
        ({"test_images": 500}, {}, "not the same images: test images is 1000 or 500"),
        ({}, {"datamodule__name": "dogs_vs_cats"}, "not the same data"),
        ({}, {"datamodule__validation_size": 0.3}, "not the same split: datamodule.validation_size is 0.1 or 0.3"),
        (
            {},
            {"trainer__limit_test_batches": 5},
            "not the same test images: trainer.limit_test_batches is 1.0 or 5",
        ),
    ],
)
def test_other_images_get_no_verdict(
    tmp_path: Path, changed: dict[str, Any], settings: dict[str, Any], reason: str
) -> None:
    common = {"datamodule__validation_size": 0.1, "trainer__limit_test_batches": 1.0}
    write_run(tmp_path / "a", right=answers(10), metrics=RECORDED, **common)
    write_run(tmp_path / "b", right=answers(90), metrics={**RECORDED, **changed}, **{**common, **settings})
    comparison = compare(tmp_path)
    assert comparison.judged.verdicts == []
    ((_, why),) = comparison.judged.left_out
    assert reason in why
    assert f"no verdict on {comparison.configurations[1].label}: {why}" in comparison.notes()


def test_two_that_compare_among_themselves(tmp_path: Path) -> None:
    for number, name in enumerate(("mnist", "mnist", "dogs_vs_cats", "dogs_vs_cats")):
        write_run(tmp_path / str(number), right=answers(10 + 30 * number), datamodule__name=name, model__units=number)
    comparison = compare(tmp_path)
    assert [(one.one.label, one.other.label) for one in comparison.judged.verdicts] == [
        ("lenet5 on mnist units=0", "lenet5 on mnist units=1"),
        ("lenet5 on dogs_vs_cats units=2", "lenet5 on dogs_vs_cats units=3"),
    ]
    assert comparison.judged.left_out == []


def test_the_best_says_why_it_is_in_no_verdict_too(tmp_path: Path) -> None:
    """It is the first of its group, with which no other configuration was compared."""
    for name, images, wrong in (("third", 500, 1), ("full", 1000, 40), ("partial", 1000, 90)):
        write_run(tmp_path / name, right=answers(wrong, images), metrics={"test_images": images}, model__c3=name)
    comparison = compare(tmp_path)
    assert [(one.one.label, one.other.label) for one in comparison.judged.verdicts] == [
        ("lenet5 c3=full test images=1000", "lenet5 c3=partial test images=1000")
    ]
    ((label, why),) = comparison.judged.left_out
    assert label == comparison.configurations[0].label
    assert "test" in why


def test_what_only_may_matter_is_named(tmp_path: Path) -> None:
    versions = {"torch": "2.13.0", "numpy": "2.4"}
    old = {**RECORDED, "versions": versions, "commit": "a" * 40}
    new = {**RECORDED, "device": "NVIDIA H100", "versions": {**versions, "torch": "2.14.0"}, "commit": "b" * 40}
    write_run(tmp_path / "a", right=answers(10), metrics=old, trainer__max_epochs=3)
    write_run(tmp_path / "b", right=answers(90), metrics=new, trainer__max_epochs=4)
    (sentence,) = sentences(compare(tmp_path))
    assert sentence.endswith(
        "careful, device is NVIDIA H100 or cpu, commit is aaaaaaaaaa or bbbbbbbbbb, torch is 2.13.0 or 2.14.0, "
        "trainer.max_epochs is 3 or 4"
    )


def test_seeds_that_draw_the_test_images(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        for name, wrong in (("a", 10), ("b", 100)):
            right = answers(wrong + seed, first=100 * seed)
            write_run(tmp_path / f"{name}{seed}", seed=seed, right=right, model__init=name, datamodule__test_size=0.1)
    (verdict,) = compare(tmp_path).judged.verdicts
    assert verdict.luck.value == pytest.approx(0.09)
    assert verdict.is_different
    write_run(tmp_path / "c", seed=7, right=answers(300), model__init="c", datamodule__test_size=0.1)
    comparison = compare(tmp_path)
    assert len(comparison.judged.verdicts) == 1
    assert "the seed decides which images are tested on, and is 1+2+3 or 7" in comparison.judged.left_out[0][1]


def test_the_record_of_the_split_decides(tmp_path: Path) -> None:
    heading = "file,class,part,content\r\n"
    split = {
        "a": "x.jpg,cat,test,11\r\ny.jpg,cat,training,22\r\n",
        "same test": "x.jpg,cat,test,11\r\ny.jpg,cat,,22\r\n",
        "other": "x.jpg,cat,training,11\r\ny.jpg,cat,test,22\r\n",
    }
    for number, (name, rows) in enumerate(split.items()):
        write_run(tmp_path / name, right=answers(10 + 50 * number), model__init=name)
        (tmp_path / name / "split.csv").write_bytes((heading + rows).encode())
    comparison = compare(tmp_path)
    assert [one.other.label for one in comparison.judged.verdicts] == ["lenet5 init=same test"]
    assert "their split differ" in comparison.judged.left_out[0][1]


def test_runs_without_a_record_of_single_images(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0.9, model__init="a")
    write_run(tmp_path / "b", 0.8, model__init="b")
    comparison = compare(tmp_path)
    assert comparison.judged.verdicts == []
    (line,) = comparison.verdict_notes()
    assert line.startswith("no verdict on lenet5 init=a and lenet5 init=b: there is no test_predictions.npz")
    assert line in as_html(comparison)


def test_predictions_of_another_test_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "a", right=answers(10), model__init="a")
    write_run(tmp_path / "b", right=answers(20), model__init="b", metrics={"test/accuracy": 0.5})
    comparison = compare(tmp_path)
    assert "does not agree with test/accuracy" in comparison.judged.left_out[0][1]


def test_runs_of_one_configuration_that_were_tested_on_other_images(tmp_path: Path) -> None:
    for seed, images in ((1, 1000), (2, 500)):
        write_run(tmp_path / f"a{seed}", seed=seed, right=answers(10, images), model__init="a")
    for seed, file in ((1, "x.jpg"), (2, "x.jpg"), (3, "y.jpg")):
        write_run(tmp_path / f"b{seed}", seed=seed, right=answers(20), model__init="b")
        (tmp_path / f"b{seed}" / "split.csv").write_bytes(f"file,class,part\r\n{file},cat,test\r\n".encode())
    write_run(tmp_path / "c", right=answers(30), model__init="c")
    comparison = compare(tmp_path)
    assert comparison.judged.verdicts == []
    assert comparison.judged.left_out == [
        (f"lenet5 init={name}", f"the runs of lenet5 init={name} were not tested on the same images") for name in "ab"
    ]


def spreadsheet(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_csv_json_and_a_data_frame(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_run(tmp_path / f"a{seed}", seed=seed, right=answers(10 + seed), model__init="=1+1")
        write_run(tmp_path / f"b{seed}", seed=seed, right=answers(80 + seed), model__init="b")
    comparison = compare(tmp_path)
    rows = spreadsheet(comparison.to_csv())
    assert [row["seed"] for row in rows] == ["1", "2", "1", "2"]
    assert rows[0]["model.init"] == "'=1+1"  # no formula
    assert rows[0]["difference"] == ""
    assert rows[2]["against"] == "lenet5 init==1+1"
    assert float(rows[2]["difference"]) == pytest.approx(-0.07)
    assert float(rows[2]["difference_low"]) < -0.07 < float(rows[2]["difference_high"]) < 0

    content = json.loads(comparison.to_json())
    (verdict,) = content["verdicts"]
    assert verdict["sentence"] == sentences(comparison)[0]
    assert verdict["difference"] == pytest.approx(0.07)
    assert len(content["runs"]) == 4
    assert content["runs"][0]["parameters"] == 60_000

    frame = pytest.importorskip("pandas") and comparison.to_pandas()
    assert list(frame["difference"].isna()) == [True, True, False, False]
    assert compare(tmp_path, baseline="init=b").to_pandas()["difference"][0] == pytest.approx(0.07)
    assert comparison.to_markdown() == as_markdown(comparison)
    assert comparison.to_html() == as_html(comparison)


def test_everything_that_is_written_by_name(tmp_path: Path) -> None:
    """All names of JSON and all headings, with values that can be told by hand."""
    for c3, wrong in (("full", 20), ("partial", 80)):
        for seed in (1, 2):
            write_run(tmp_path / f"{c3}{seed}", seed=seed, right=answers(wrong + seed), model__c3=c3)
    write_run(tmp_path / "other", right=answers(200, images=500), model__c3="other")
    shutil.copytree(tmp_path / "full1", tmp_path / "twin")
    write_run(tmp_path / "failed", metrics={"status": "failed", "error": "no room"})
    comparison = compare(tmp_path)
    (verdict,) = comparison.judged.verdicts

    content = json.loads(comparison.to_json())
    assert content["title"] == f"Runs in {tmp_path}"
    assert list(content["runs"][0]) == [
        "configuration", "seed", "directory", *FIGURES,
        "against", "difference", "difference_low", "difference_high", "p", "model.c3",
    ]  # fmt: skip
    assert content["verdicts"] == [
        {
            "configuration": "lenet5 c3=full",
            "against": "lenet5 c3=partial",
            "difference": verdict.luck.value,
            "difference_low": verdict.low,
            "difference_high": verdict.high,
            "p": verdict.p,
            "p_corrected": verdict.adjusted_p,
            "is_different": True,
            "runs": [2, 2],
            "test_images": 1000,
            "also_different": [],
            "sentence": verdict.sentence(),
        }
    ]
    reason = "not the same test images: their classes, their number or their split differ"
    assert content["no_verdict"] == [{"configuration": "lenet5 c3=other", "reason": reason}]
    assert content["others"] == [{"directory": str(tmp_path / "failed"), "status": "failed", "reason": "no room"}]
    assert content["copies"] == [{"directory": str(tmp_path / "twin"), "copy_of": str(tmp_path / "full1")}]
    assert set(content) == {
        "title", "runs", "verdicts", "effects", "importances", "no_verdict", "warnings", "others", "copies",
    }  # fmt: skip

    assert comparison.headings() == [
        "configuration", "seeds", "test accuracy", "validation accuracy", "parameters", "multiply-adds", "images/s",
        "training", "until 0.9",
    ]  # fmt: skip
    heading, row = comparison.verdict_rows()
    assert heading == ["compared", "with", "difference in points (95 % interval)", "p", "verdict"]
    assert row == [content["verdicts"][0][name] for name in ("configuration", "against")] + [
        verdict.interval(), "<0.0001", "better",
    ]  # fmt: skip
    assert comparison._repr_html_().startswith(f"<p>Runs in {tmp_path}, the best first</p><div")
    assert comparison._repr_html_().count("<table>") == 1


def test_many_verdicts_are_counted(tmp_path: Path) -> None:
    for number in range(6):
        write_run(tmp_path / f"{number}", right=answers(3 * number), model__dropout=number / 10)
    comparison = compare(tmp_path)
    assert comparison.verdict_notes(most=3)[3] == "2 more verdicts are in comparison.html"
    assert len(comparison.verdict_notes(most=3)) == 4
    assert len(comparison.verdict_notes(most=5)) == 5
    assert {row[-1] for row in comparison.verdict_rows()[1:]} <= {"better", "can be luck"}
    assert "can be luck" in comparison.verdict_rows()[1]


def test_json_holds_no_infinite_numbers(tmp_path: Path) -> None:
    write_run(tmp_path / "a", metrics={"test/loss": float("inf")})
    text = compare(tmp_path).to_json()
    assert json.loads(text, parse_constant=pytest.fail)["runs"][0]["test/loss"] is None


def test_the_command_takes_plain_words(run_command, tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b", "한글 [x]'s")):
        write_run(tmp_path / name, right=answers(10 + 60 * number), model__dense=[8, number])
    outcome = run_command("compare", "a", "format=csv,json", "b", "한글 [x]'s", "hydra.run.dir=out")
    assert outcome.status == 0, outcome.error
    assert sorted(file.name for file in (tmp_path / "out").glob("comparison*")) == ["comparison.csv", "comparison.json"]
    assert len(spreadsheet((tmp_path / "out" / "comparison.csv").read_text())) == 3
    assert "is better than" in outcome.out

    outcome = run_command("compare", "[ab]", "baseline=lenet5 dense=[8,1]", "format=md", "hydra.run.dir=two")
    assert outcome.status == 0, outcome.error
    assert [file.name for file in (tmp_path / "two").glob("comparison*")] == ["comparison.md"]
    assert "lenet5 dense=[8,0] is better than lenet5 dense=[8,1]" in outcome.out
    assert run_command("compare", "baseline=dense=[8,1]", "a", "b", "hydra.run.dir=three").status == 0
    assert "cnn-compare [FOLDER ...]" in run_command("compare", "a", "--help").out
    assert "runs:\n- a\n" in run_command("compare", "a", "--cfg", "job").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "runs=nowhere: there is no such folder"),
        (["a", "runs=b"], "either as words or as runs="),
        (["a", "format=pdf"], "format=pdf: give one of md, html, csv, json"),
        (["a", "baseline=c3=full"], "baseline=c3=full: no configuration"),
    ],
)
def test_words_that_the_command_refuses(run_command, tmp_path: Path, words: list[str], message: str) -> None:
    for name in ("a", "b"):
        write_run(tmp_path / name, right=answers(10), model__init=name)
    outcome = run_command("compare", *words)
    assert outcome.status == 2
    assert message in outcome.error
    assert outcome.error.count("\n") == 1
