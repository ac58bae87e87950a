"""Real photographs of dogs and cats, where the variable DOGS_VS_CATS points at some."""

import csv
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import QUICK_PHOTOGRAPHS, SMALL_ALEXNET

PHOTOGRAPHS = os.environ.get("DOGS_VS_CATS", "")

pytestmark = pytest.mark.skipif(
    not PHOTOGRAPHS or not Path(PHOTOGRAPHS).exists(), reason="the variable DOGS_VS_CATS points at no photographs"
)


def test_real_photographs_are_read_split_and_told_apart(run_command, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CNN_EXPERIMENTS_DATA", str(tmp_path / "data"))
    before = sorted((file.name, file.stat().st_mtime_ns) for file in Path(PHOTOGRAPHS).parent.iterdir())
    settings = [*SMALL_ALEXNET, *QUICK_PHOTOGRAPHS, "trainer.max_epochs=1", "datamodule.limit=200"]
    outcome = run_command("train", *settings, "datamodule.test_crops=1", "hydra.run.dir=run")
    assert outcome.status == 0, outcome.error
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["status"] == "completed"
    with (tmp_path / "run" / "split.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    with (tmp_path / "run" / "set_aside.csv").open() as stream:
        set_aside = list(csv.DictReader(stream))
    assert len({row["file"] for row in rows}) == len(rows)
    assert not {row["file"] for row in rows} & {row["file"] for row in set_aside}
    assert len(set_aside) < 0.01 * (len(rows) + len(set_aside))  # hardly any of Kaggle's photographs are broken
    assert all(row["file"].rsplit("/")[-1].startswith(row["class"]) for row in rows)
    by_part = Counter((row["used for"], row["class"]) for row in rows)
    assert by_part["training", "cat"] == by_part["training", "dog"] == 100
    for part in ("validation", "test"):
        assert abs(by_part[part, "cat"] - by_part[part, "dog"]) <= 0.03 * len(rows)

    files = [file for file in sorted(Path(PHOTOGRAPHS).rglob("*.jpg"))[:3] if file.is_file()]
    if files:
        outcome = run_command("predict", "run=run", f"images={files[0]}", "saliency=true", "hydra.run.dir=predicted")
        assert outcome.status == 0, outcome.error
        assert len(list((tmp_path / "predicted" / "saliency").glob("*.png"))) == 1
    assert before == sorted((file.name, file.stat().st_mtime_ns) for file in Path(PHOTOGRAPHS).parent.iterdir())


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize(
    ("overrides", "accuracy"),
    [
        (("experiment=alexnet_laptop",), 0.88),
        (("experiment=googlenet_laptop",), 0.91),
        (("experiment=alexnet_laptop", "datamodule.limit=2000", "trainer.max_epochs=120"), 0.79),
        (("experiment=googlenet_laptop", "datamodule.limit=2000", "trainer.max_epochs=100"), 0.79),
    ],
    ids=["alexnet", "googlenet", "alexnet-2000", "googlenet-2000"],
)
def test_accuracy_on_real_photographs(run_command, tmp_path: Path, overrides: tuple[str, ...], accuracy: float) -> None:
    """An hour each on two cores, and meant for 10,000 photographs."""
    outcome = run_command("train", *overrides, f"datamodule.data_dir={tmp_path / 'data'}", "hydra.run.dir=run")
    assert outcome.status == 0, outcome.error
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["test/accuracy"] >= accuracy
