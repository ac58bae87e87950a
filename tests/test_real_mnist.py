"""The real MNIST reaches the figures that the README promises. Minutes to an hour each: ``pytest -m slow``."""

import json
import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("CNN_EXPERIMENTS_DATA", Path(__file__).parent.parent / "data"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(not (DATA / "MNIST" / "raw").is_dir(), reason="MNIST is not there: run cnn-data first"),
]


@pytest.mark.parametrize(
    ("overrides", "accuracy"),
    [
        ((), 0.990),
        (("experiment=lenet5_fast", "seed=1,2,3"), 0.990),
        (("experiment=lenet5_article", "seed=1,2,3"), 0.9857),
        (("experiment=lenet5_paper", "seed=1,2,3"), 0.9905),
        (("experiment=lenet5_best", "seed=1,2,3"), 0.9930),
    ],
    ids=["default", "fast", "article", "paper", "best"],
)
def test_mean_accuracy(run_command, tmp_path: Path, overrides: tuple[str, ...], accuracy: float) -> None:
    sweep = ["-m"] if overrides else []
    outcome = run_command("train", *sweep, *overrides, f"datamodule.data_dir={DATA}")
    assert outcome.status == 0, outcome.error
    files = list(tmp_path.glob("outputs/**/metrics.json"))
    assert len(files) == (3 if overrides else 1)
    reached = [json.loads(file.read_text())["test/accuracy"] for file in files]
    assert sum(reached) / len(reached) >= accuracy
