"""The papers' claims: that what is to be trained can be, and what is said of runs that were made up."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from cnn_experiments.commands.from_python import read_words
from cnn_experiments.errors import UserError
from cnn_experiments.runs.sweep import is_sweep, write_record
from scripts.claims import STUDY_OF_RECIPES, Claim, Size, chosen_claims, read_claims
from scripts.claims_pages import page, write_pages
from scripts.findings import epochs_to, find, students_t
from scripts.study import INTERRUPTED, left, run_claims
from tests.test_comparison import write_run
from tests.test_verdicts import answers

CLAIMS = read_claims()
RECIPES = read_claims(STUDY_OF_RECIPES.file)
SOON = ("partial_connections", "depth")  # composed in each run of the tests, the others in the long ones
# Epochs, and accuracies in training and of validation after each of them.
RISING = ((1, 0.5, 0.5), (2, 0.9, 0.8))


def claim(**given: Any) -> Claim:
    """A claim about a few digits: that the partial table is better than the full one."""
    known = {
        "name": "table",
        "paper": "LeNet-5",
        "section": "II.B",
        "en": "The table helps.",
        "ko": "표가 도움이 된다.",
        "better": "partial",
        "size": Size("few", "datamodule.limit=10", "10 digits", "숫자 10장"),
        "arms": {"partial": "", "full": "model.c3=full"},
        "seeds": (1, 2, 3),
    }
    return Claim(**{**known, **given})


Epochs = tuple[tuple[int, float, float], ...]


def write_arm(root: Path, of: Claim, arm: str, epochs: Sequence[Epochs] = (), **run: Any) -> None:
    """The sweep of an arm with completed runs.

    Args:
        epochs: rows like those of RISING, for each seed.
        run: what else each run is given; a list has a value for each seed.
    """
    folder = of.folder(arm, root)
    write_record(folder, of.task(arm), [])
    for number, seed in enumerate(of.seeds):
        own = {key: value[number] if isinstance(value, list) else value for key, value in run.items()}
        write_run(folder / f"{number}", **{"seed": seed, "model__c3": arm, **own})
        if epochs:
            lines = ["epoch,seconds,train/accuracy,val/accuracy"]
            lines += [f"{epoch},1.0,{training},{validation}" for epoch, training, validation in epochs[number]]
            (folder / f"{number}" / "history.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


class TestClaims:
    def test_there_are_enough_from_each_paper_and_in_both_languages(self) -> None:
        assert len(CLAIMS) >= 20
        papers = [one.paper for one in CLAIMS]
        assert {paper: papers.count(paper) >= 6 for paper in papers} == {
            "LeNet-5": True,
            "AlexNet": True,
            "GoogLeNet": True,
        }
        assert len({one.name for one in CLAIMS}) == len(CLAIMS)
        assert len({one.name for one in RECIPES}) == len(RECIPES)
        for one in (*CLAIMS, *RECIPES):
            assert one.en
            assert one.en.isascii() or "×" in one.en or "±" in one.en
            assert any("가" <= letter <= "힣" for letter in one.ko)
            assert any("가" <= letter <= "힣" for letter in one.size.ko)
            assert one.better in one.arms
            assert set(one.than) <= set(one.arms) - {one.better}

    def test_claims_that_share_runs_have_the_same_seeds(self) -> None:
        seeds: dict[Path, set[tuple[int, ...]]] = {}
        for one in (*CLAIMS, *RECIPES):
            for arm in one.arms:
                seeds.setdefault(one.folder(arm, Path()), set()).add(one.seeds)
        assert all(len(each) == 1 for each in seeds.values())

    @pytest.mark.parametrize(
        "one",
        [
            pytest.param(one, id=one.name, marks=[] if one.name in SOON else pytest.mark.slow)
            for one in (*CLAIMS, *RECIPES)
            if not one.runs_of
        ],
    )
    def test_the_words_of_each_arm_are_settings(self, one: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DOGS_VS_CATS", "photographs")
        parser = OverridesParser.create()
        settings = {}
        for arm in one.arms:
            *words, seeds = one.task(arm)
            assert parser.parse_override(seeds).is_sweep_override() == (len(one.seeds) > 1)
            settings[arm] = read_words([*words, f"seed={one.seeds[0]}"], None, None, [])[1]
        assert all(left != right for left, right in zip(settings.values(), list(settings.values())[1:], strict=False))

    def test_a_name_that_is_misspelt(self) -> None:
        with pytest.raises(UserError, match=r"^CLAIMS=relus: there is no such name\. .*relu"):
            chosen_claims(CLAIMS, ["relus"])
        with pytest.raises(UserError, match=r"^RECIPES=mix: there is no such name\. .*mixup"):
            chosen_claims(RECIPES, ["mix"], STUDY_OF_RECIPES)


class TestFindings:
    @pytest.mark.parametrize(
        ("partial", "full", "outcome"),
        [
            ((20, 21, 22), (80, 81, 82), "holds"),
            ((80, 81, 82), (20, 21, 22), "does_not"),
            ((20, 90, 40), (90, 20, 41), "cannot_be_told"),
        ],
    )
    def test_by_test_accuracy(self, tmp_path: Path, partial: tuple[int], full: tuple[int], outcome: str) -> None:
        one = claim()
        write_arm(tmp_path, one, "partial", right=[answers(wrong) for wrong in partial])
        write_arm(tmp_path, one, "full", right=[answers(wrong) for wrong in full])
        finding = find(one, tmp_path)
        assert finding.outcome == outcome
        (difference,) = finding.differences
        assert difference.value == pytest.approx((sum(full) - sum(partial)) / 30)
        assert difference.low < difference.value < difference.high
        assert (difference.low > 0) == (outcome == "holds")
        assert "test images" in difference.sentence

    @pytest.mark.parametrize(("margin", "outcome"), [(0.03, "holds"), (0.015, "cannot_be_told"), (0.001, "does_not")])
    def test_as_good_within_a_margin(self, tmp_path: Path, margin: float, outcome: str) -> None:
        one = claim(margin=margin)
        write_arm(tmp_path, one, "partial", right=[answers(35)] * 3)
        write_arm(tmp_path, one, "full", right=[answers(20)] * 3)
        finding = find(one, tmp_path)
        assert finding.outcome == outcome
        assert finding.differences[0].value == pytest.approx(-1.5)

    def test_one_other_arm_that_is_better_is_enough_against_it(self, tmp_path: Path) -> None:
        one = claim(arms={"partial": "", "full": "model.c3=full", "third": "model.c3=third"})
        for arm, wrong in (("partial", 50), ("full", 20), ("third", 200)):
            write_arm(tmp_path, one, arm, right=[answers(wrong + seed) for seed in one.seeds])
        assert find(one, tmp_path).outcome == "does_not"
        assert find(replace(one, than=("third",)), tmp_path).outcome == "holds"

    def test_by_epochs(self, tmp_path: Path) -> None:
        one = claim(figure="epochs", error=0.3)  # reached half-way between the two epochs of RISING: after 1.5
        slow = [tuple((times * epoch, *row) for epoch, *row in RISING) for times in (2, 3, 4)]
        write_arm(tmp_path, one, "partial", [RISING] * 3)
        write_arm(tmp_path, one, "full", slow)
        finding = find(one, tmp_path)
        (difference,) = finding.differences
        assert difference.value == pytest.approx(math.exp((math.log(2) + math.log(3) + math.log(4)) / 3))
        assert finding.outcome == "holds"
        text = page([finding], "en")
        assert f"{difference.value:.2f} times ({difference.low:.2f} to {difference.high:.2f})" in text

    def test_by_the_gap_between_training_and_validation(self, tmp_path: Path) -> None:
        one = claim(figure="gap")
        worse: list[Epochs] = [((2, 0.9, validation),) for validation in (0.7, 0.69, 0.71)]
        write_arm(tmp_path, one, "partial", [RISING] * 3)
        write_arm(tmp_path, one, "full", worse)
        finding = find(one, tmp_path)
        assert finding.outcome == "holds"
        assert finding.differences[0].value == pytest.approx(10)

    @pytest.mark.parametrize(("factor", "outcome"), [(1, "holds"), (2, "does_not")])
    def test_by_an_exact_count(self, tmp_path: Path, factor: float, outcome: str) -> None:
        one = claim(figure="parameters", factor=factor, seeds=(1,))
        write_arm(tmp_path, one, "partial", metrics={"parameters": 60_000})
        write_arm(tmp_path, one, "full", metrics={"parameters": 90_000})
        finding = find(one, tmp_path)
        assert finding.outcome == outcome
        assert "| 1.50 times |" in page([finding], "en")
        assert "| 1.50배 |" in page([finding], "ko")

    def test_runs_that_differ_in_more_than_their_seed_are_not_averaged(self, tmp_path: Path) -> None:
        one = claim()
        write_arm(tmp_path, one, "partial", right=[answers(20)] * 3, model__dropout=[0.0, 0.0, 0.5])
        write_arm(tmp_path, one, "full", right=[answers(80)] * 3)
        finding = find(one, tmp_path)
        assert finding.outcome == "cannot_be_told"
        assert finding.why == "the runs of partial differ in more than their seed"

    def test_an_arm_that_is_not_complete_says_nothing(self, tmp_path: Path) -> None:
        one = claim()
        write_arm(tmp_path, one, "partial", right=[answers(20)] * 3)
        assert find(one, tmp_path).outcome == "not_run"
        text = page([find(one, tmp_path)], "en")
        assert "|  | not run yet | `make study CLAIMS=table` |" in text

    @pytest.mark.parametrize("figure", ["test_accuracy", "gap"])
    def test_further_seeds_count_once_all_arms_have_them(self, tmp_path: Path, figure: str) -> None:
        """Three are enough to compare, of five; a fourth that one arm lacks is left out."""
        three = claim(figure=figure)
        five = replace(three, seeds=(1, 2, 3, 4, 5))
        for arm, wrong, seeds in (("partial", 20, (1, 2, 3, 4)), ("full", 80, (1, 2, 3))):
            right = [answers(wrong + seed) for seed in seeds]
            epochs = [((1, 0.9, 0.8 if arm == "partial" else 0.5 + seed / 100),) for seed in seeds]
            write_arm(tmp_path, replace(three, seeds=seeds), arm, epochs, right=right)
        finding = find(five, tmp_path)
        assert finding.outcome == "holds"
        assert finding.seeds == 3
        assert [one.runs for one in finding.arms.values()] == [3, 3]
        assert "| `few`, 3 seeds |" in page([finding], "en")
        assert find(replace(three, seeds=(2, 3, 4)), tmp_path).outcome == "not_run"

    def test_epochs_between_two_epochs(self) -> None:
        history = [{"epoch": epoch, "train/accuracy": accuracy} for epoch, accuracy, _ in RISING]
        assert epochs_to(history, "train/accuracy", 0.25) == pytest.approx(0.5)
        assert epochs_to(history, "train/accuracy", 0.5) == 1
        assert epochs_to(history, "train/accuracy", 0.7) == pytest.approx(1.5)
        assert epochs_to(history, "train/accuracy", 0.95) == 2  # never
        assert epochs_to(history, "val/accuracy", 0.5) is None

    def test_students_t(self) -> None:
        # of 1, 2 and 3: mean 2, standard error 1/√3, and t of 2 degrees of freedom at 97.5 % is 4.3027
        mean, low, high, chance = students_t([1, 2, 3])
        assert (mean, low, high) == pytest.approx((2, 2 - 4.3027 / math.sqrt(3), 2 + 4.3027 / math.sqrt(3)), abs=1e-4)
        assert chance == pytest.approx(0.0742, abs=1e-4)
        assert students_t([0, 0]) == (0, 0, 0, 1)
        assert students_t([2, 2]) == (2, 2, 2, 0)


class TestPages:
    def test_a_recipe_helps_or_harms(self, tmp_path: Path) -> None:
        one = claim(section="Hand and others 2020", arms={"partial": "model.c3=partial", "full": "model.c3=full"})
        write_arm(tmp_path, one, "partial", right=[answers(wrong) for wrong in (20, 21, 22)])
        write_arm(tmp_path, one, "full", right=[answers(wrong) for wrong in (80, 81, 82)])
        files = write_pages([find(one, tmp_path)], tmp_path, STUDY_OF_RECIPES)
        assert [file.name for file in files] == ["recipes.md", "recipes.ko.md"]
        english, korean = (file.read_text(encoding="utf-8") for file in files)
        assert "| Hand and others 2020 | `model.c3=partial` |" in english
        assert "| **helps** | `make recipes RECIPES=table` |" in english
        assert "**1 settings**, by verdict: helps 1, harms 0" in english
        assert "| Hand 등 2020 | `model.c3=partial` |" in korean
        assert "| **도움이 됨** |" in korean

    def test_both_languages_have_the_same_figures(self, tmp_path: Path) -> None:
        one = claim()
        write_arm(tmp_path, one, "partial", right=[answers(wrong) for wrong in (20, 21, 22)])
        write_arm(tmp_path, one, "full", right=[answers(wrong) for wrong in (80, 81, 82)])
        english, korean = (file.read_text(encoding="utf-8") for file in write_pages([find(one, tmp_path)], tmp_path))
        (difference,) = find(one, tmp_path).differences
        assert f"{difference.value:.2f} points ({difference.low:.2f} to {difference.high:.2f}) | **holds**" in english
        assert f"{difference.value:.2f}%p ({difference.low:.2f}\\~{difference.high:.2f}) | **성립**" in korean
        assert "The table helps." in english
        assert "표가 도움이 된다." in korean
        for text in (english, korean):
            assert "| partial | 3 | 0.9790 | 60,000 |" in text
            assert (
                "cnn-train -m datamodule.limit=10 model.c3=full seed=1,2,3 hydra.sweep.dir=outputs/study/table/full"
                in text
            )
            assert difference.sentence in text

    def test_the_pages_of_the_repository_have_every_claim(self) -> None:
        for study, claims in (("claims", CLAIMS), ("recipes", RECIPES)):
            for suffix in (".md", ".ko.md"):
                text = (Path(__file__).parents[1] / "docs" / f"{study}{suffix}").read_text(encoding="utf-8")
                assert [one.name for one in claims if f"\n### {one.name}\n" not in text] == []


class TestRunner:
    def test_what_is_missing_is_trained_and_what_is_complete_is_not(self, tmp_path: Path) -> None:
        one = claim()
        write_arm(tmp_path, one, "partial")
        asked = []

        def start(words: list[str]) -> int:
            asked.append(words)
            write_arm(tmp_path, one, "full")
            return 0

        assert run_claims([one], tmp_path, start) == 0
        assert run_claims([one], tmp_path, start) == 0
        words = ["-m", "datamodule.limit=10", "model.c3=full", "seed=1,2,3", f"hydra.sweep.dir={tmp_path}/table/full"]
        assert asked == [words]

    def test_runs_that_two_claims_share_are_trained_once(self, tmp_path: Path) -> None:
        claims = [claim(), claim(name="other", arms={"partial": "", "third": "model.c3=third"})]
        asked = []

        def start(words: list[str]) -> int:
            folder = Path(words[-1].partition("=")[2])
            asked.append(folder.relative_to(tmp_path).as_posix())
            owner, arm = next((o, arm) for o in claims for arm in o.arms if o.folder(arm, tmp_path) == folder)
            write_arm(tmp_path, owner, arm)
            return 0

        assert left(claims, tmp_path) == "9 runs left, and 9 of them take an unknown time"
        assert run_claims(claims, tmp_path, start) == 0
        assert asked == ["unchanged/few", "table/full", "other/third"]

    def test_what_was_interrupted_is_resumed(self, tmp_path: Path) -> None:
        one = claim()
        write_arm(tmp_path, one, "partial")
        folder = one.folder("full", tmp_path)
        write_record(folder, one.task("full"), [])
        write_run(folder / "0", seed=1)
        assert left([one], tmp_path) == "2 runs left, about 60 s of training"
        asked = []
        assert run_claims([one], tmp_path, lambda words: asked.append(words) or INTERRUPTED) == INTERRUPTED
        assert asked == [[f"resume={folder}"]]

    def test_further_seeds_are_added_to_a_sweep(self, tmp_path: Path) -> None:
        """It begins anew, as a sweep of all seeds, in the same folder, where its jobs find what is complete."""
        three = claim()
        five = replace(three, seeds=(1, 2, 3, 4, 5))
        write_arm(tmp_path, five, "partial")
        write_arm(tmp_path, three, "full")
        folder, asked = five.folder("full", tmp_path), []

        def start(words: list[str]) -> int:
            asked.append(words)
            assert not is_sweep(folder)
            write_record(folder, five.task("full"), [])
            return INTERRUPTED

        assert left([five], tmp_path) == "2 runs left, about 60 s of training"
        assert run_claims([five], tmp_path, start) == INTERRUPTED
        assert run_claims([five], tmp_path, lambda words: asked.append(words) or INTERRUPTED) == INTERRUPTED
        words = ["-m", "datamodule.limit=10", "model.c3=full", "seed=1,2,3,4,5", f"hydra.sweep.dir={folder}"]
        assert asked == [words, [f"resume={folder}"]]

    def test_a_run_that_fails_is_named(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        one = claim()
        write_arm(tmp_path, one, "partial")
        assert run_claims([one], tmp_path, lambda words: 1) == 1
        assert capsys.readouterr().err == f"not complete: {one.folder('full', tmp_path)}\n"

    def test_runs_with_other_settings_are_not_taken_for_these(self, tmp_path: Path) -> None:
        one = claim()
        write_record(one.folder("full", tmp_path), ["model.c3=full", "seed=1"], [])
        with pytest.raises(UserError, match=r"begun with other settings than studies/ has now"):
            run_claims([one], tmp_path, lambda words: 0)
        assert find(one, tmp_path).outcome == "not_run"
