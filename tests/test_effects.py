"""What each setting of a grid changes, and how much it mattered in a search, on made-up runs."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from cnn_experiments.runs import search
from cnn_experiments.runs.comparison import compare
from cnn_experiments.runs.page import as_html
from cnn_experiments.runs.sweep import write_record
from cnn_experiments.runs.tables import as_markdown
from tests.test_comparison import bars, data_of, write_run
from tests.test_verdicts import answers

# images that are wrong, of 1,000: dropout costs 20, a full C3 saves 50, and both together save 15 more
WRONG = {(0.0, "partial"): 100, (0.2, "partial"): 120, (0.0, "full"): 50, (0.2, "full"): 55}


def write_grid(folder: Path, seeds: tuple[int, ...] = (1, 2, 3)) -> None:
    for (dropout, c3), seed in itertools.product(WRONG, seeds):
        right = answers(WRONG[dropout, c3] + seed)
        write_run(folder / f"{dropout}{c3}{seed}", seed=seed, right=right, model__dropout=dropout, model__c3=c3)


def test_main_effects_and_interactions_by_hand(tmp_path: Path) -> None:
    write_grid(tmp_path)
    comparison = compare(tmp_path)
    found = {effect.name: effect for effect in comparison.effects}
    assert {name: round(1000 * effect.luck.value, 3) for name, effect in found.items()} == {
        "dropout: 0 → 0.2": -12.5,  # -20 with a partial C3, -5 with a full one
        "c3: full → partial": -57.5,
        "dropout: 0 → 0.2 × c3: full → partial": -15,
    }
    assert found["c3: full → partial"].is_one
    assert found["c3: full → partial"].row()[1].startswith("-5.8 (-")
    low, high = (getattr(found["c3: full → partial"].luck, end) for end in ("low", "high"))
    # four configurations, each with a weight of 1/2: about half as far as that of a pair on these images
    assert -0.08 < low < -0.0575 < high < -0.04


def test_where_effects_are_shown(tmp_path: Path) -> None:
    write_grid(tmp_path)
    comparison = compare(tmp_path)
    title = "What each setting changes, on average over the others"
    for text in (str(comparison), as_markdown(comparison), as_html(comparison), comparison._repr_html_()):
        assert title in text
        assert "c3: full → partial" in text
    assert f"</table></div><p>{title}</p><div" in comparison._repr_html_()
    page = as_html(comparison)
    assert len(bars(page)) == len(comparison.judged.verdicts) + len(comparison.effects)
    (first, *_) = json.loads(comparison.to_json())["effects"]
    assert first["changes"] == [{"key": "model.dropout", "from": 0, "to": 0.2}]
    assert first["difference"] == pytest.approx(-0.0125)
    effects = {effect.name: effect for effect in comparison.effects}
    assert first == {
        "changes": first["changes"],
        "difference": effects["dropout: 0 → 0.2"].luck.value,
        "difference_low": effects["dropout: 0 → 0.2"].luck.low,
        "difference_high": effects["dropout: 0 → 0.2"].luck.high,
        "p_corrected": effects["dropout: 0 → 0.2"].adjusted_p,
    }
    heading, *rows = comparison.effect_rows()
    assert heading == ["change", "test accuracy in points (95 % interval)", "p", ""]
    says = {name: says for name, _, _, says in rows}
    assert says["c3: full → partial"] == ""
    assert {says[name] for name, effect in effects.items() if not effect.is_one} <= {"can be luck"}


def test_three_values_and_three_keys(tmp_path: Path) -> None:
    for number, (a, b, c) in enumerate(itertools.product((1, 10, 2), (False, True), (None, "x"))):
        wrong = 10 + 5 * a + 30 * b + (c is not None)
        write_run(tmp_path / str(number), right=answers(wrong), model__a=a, model__b=b, model__c=c)
    effects = compare(tmp_path).effects
    # a has two changes, b and c one each; the interactions a·b and a·c two each, b·c one
    assert len(effects) == 4 + 5
    values = {effect.name: round(1000 * effect.luck.value) for effect in effects}
    assert values["a: 1 → 2"] == -5
    assert values["a: 1 → 10"] == -45
    assert values["b: false → true"] == -30
    assert values["c: null → x"] == -1
    assert [value for name, value in values.items() if "×" in name] == [0] * 5


def test_values_of_a_key_are_in_order(tmp_path: Path) -> None:
    for number, (a, b) in enumerate(itertools.product((10, 9, 2.5), ("b", None, "a"))):
        write_run(tmp_path / str(number), right=answers(10 + number), model__a=a, model__b=b)
    assert [effect.name for effect in compare(tmp_path).effects][:4] == [
        "a: 2.5 → 9",
        "a: 2.5 → 10",
        "b: null → a",
        "b: null → b",
    ]


def test_large_grids_have_effects_of_the_last_values_alone(tmp_path: Path) -> None:
    for a, b in itertools.product(range(12), range(12)):
        write_run(tmp_path / f"{a}-{b}", right=answers(a + b, 200), model__a=a, model__b=b)
    assert [effect.name for effect in compare(tmp_path).effects] == [
        "a: 0 → 11",
        "b: 0 → 11",
        "a: 0 → 11 × b: 0 → 11",
    ]


@pytest.mark.parametrize("spoilt", ["missing", "one key", "other images", "extra key", "no record"])
def test_no_effects_where_runs_are_no_full_grid(tmp_path: Path, spoilt: str) -> None:
    wrong = dict(WRONG)
    if spoilt == "missing":
        del wrong[0.2, "full"]
    for (dropout, c3), number in wrong.items():
        odd = (dropout, c3) == (0.0, "full")
        settings = {"model__dropout": dropout, "model__c3": "full" if spoilt == "one key" else c3}
        if spoilt == "one key":
            settings["model__dropout"] = number
        if spoilt == "extra key" and odd:
            settings["model__units"] = 3
        metrics = {"data_fingerprint": "b" if spoilt == "other images" and odd else "a"}
        right = None if spoilt == "no record" and odd else answers(number)
        write_run(tmp_path / f"{dropout}{c3}", right=right, metrics=metrics, **settings)
    comparison = compare(tmp_path)
    assert comparison.effects == []
    assert "What each setting changes" not in as_html(comparison)


def write_search(folder: Path, trials: int = 15) -> None:
    write_record(folder, ["seed=1"], ["sweeper=optuna"], {"trials": trials, "seed": 1})
    generator = np.random.default_rng(0)
    for number in range(trials):
        rate, dropout = float(10 ** generator.uniform(-4, -1)), float(generator.uniform(0, 0.5))
        accuracy = 0.9 - 0.1 * abs(np.log10(rate) + 2.5)
        write_run(
            folder / "lenet5_mnist" / str(number),
            accuracy,
            model__optimizer__lr=rate,
            model__dropout=dropout,
            model__init=("a", "b")[number % 2],
            metrics={"val/accuracy": accuracy},
        )


def test_how_much_each_setting_of_a_search_mattered(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    pytest.importorskip("sklearn")
    write_search(tmp_path, 40)
    comparison = compare(tmp_path)
    shares = comparison.search.importances
    assert next(iter(shares)) == "model.optimizer.lr"
    assert shares["model.optimizer.lr"] > 0.6
    assert sum(shares.values()) == pytest.approx(1)
    assert set(shares) == {"model.optimizer.lr", "model.dropout", "model.init"}
    page = as_html(comparison)
    assert {setting["key"] for setting in data_of(page)["search"]} == set(shares)
    assert '<div id="search"></div>' in page
    assert "How much each setting mattered" in as_markdown(comparison)
    assert json.loads(comparison.to_json())["importances"] == shares
    assert comparison.importance_rows() == [
        ["setting", "importance"],
        *([key, f"{share:.2f}"] for key, share in shares.items()),
    ]
    assert compare(tmp_path).search.importances == shares


def test_a_search_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_search(tmp_path, 6)
    monkeypatch.setattr(search, "find_spec", lambda name: None)
    comparison = compare(tmp_path)
    assert comparison.search.importances == {}
    assert sum("pip install 'cnn_experiments[optuna]'" in note for note in comparison.notes()) == 1
    assert len(data_of(as_html(comparison))["search"]) == 3


def test_a_search_with_values_of_any_kind(tmp_path: Path) -> None:
    write_record(tmp_path, ["seed=1"], ["sweeper=optuna"], {"trials": 8, "seed": 1})
    odd = [float("inf"), float("nan"), 1e300, "x" * 500, None, [1, [2]], True, -5]
    for number, value in enumerate(odd):
        write_run(tmp_path / str(number), 0.9, model__odd=value, model__units=number, model__name_of="$a$" * number)
    comparison = compare(tmp_path)  # all runs are as accurate: nothing mattered, or nobody can tell
    assert comparison.search.values["model.units"]
    assert all(0 <= share <= 1 for share in comparison.search.importances.values()) or comparison.search.problem
    assert len(data_of(as_html(comparison))["search"]) == 3
    json.loads(comparison.to_json(), parse_constant=pytest.fail)
    assert str(comparison)


def test_what_is_no_search(tmp_path: Path) -> None:
    write_search(tmp_path / "few", 4)
    assert compare(tmp_path / "few").search is None
    write_search(tmp_path / "one")
    write_search(tmp_path / "two")
    assert compare(tmp_path).search is None
    write_grid(tmp_path / "grid")
    write_record(tmp_path / "grid", ["seed=1"], [])
    assert compare(tmp_path / "grid").search is None
    (tmp_path / "one" / "sweep.yaml").write_text("search: [")
    assert compare(tmp_path / "one").search is None
