"""The notebook of the first hour: it runs from top to bottom, and its two languages are one notebook."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import cnn_experiments as cnn
from cnn_experiments.datamodules import mnist_files
from tests.conftest import QUICK

nbformat = pytest.importorskip("nbformat", reason="the extra development is not installed")
nbclient = pytest.importorskip("nbclient", reason="the extra development is not installed")
ROOT = Path(__file__).parents[1]
PAGES = ("docs/first_hour.ipynb", "docs/first_hour.ko.ipynb")


def notebook(page: str) -> Any:
    """A notebook as it is stored."""
    return nbformat.read(ROOT / page, as_version=4)


def test_both_languages_have_the_same_cells_of_code_with_the_same_results() -> None:
    english, korean = ([cell for cell in notebook(page).cells if cell.cell_type == "code"] for page in PAGES)
    assert english == korean


@pytest.mark.parametrize("page", PAGES)
def test_what_is_stored_is_one_whole_run_and_small(page: str) -> None:
    cells = [cell for cell in notebook(page).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert {output.output_type for cell in cells for output in cell.outputs} <= {
        "stream",
        "execute_result",
        "display_data",
    }
    assert (ROOT / page).stat().st_size < 1_500_000
    assert not re.search(r"/(home|root|tmp|work|Users)/", (ROOT / page).read_text(encoding="utf-8"))


RESULTS = """
import json
print(json.dumps({
    "chained": torch.equal(outputs["output"], network(images[:1]).detach()),
    "runs": [str(one.directory) for one in runs],
    "first": str(run.directory),
    "probabilities": prediction.probabilities,
    "class": prediction.class_name,
}))
"""


def test_it_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: Path) -> None:
    """On small sizes and on digits made for the test, with a kernel of the environment that runs the tests."""
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    hour = notebook(PAGES[0])
    (sizes,) = [cell for cell in hour.cells if "parameters" in cell.metadata.get("tags", [])]
    assert re.findall(r"^(\w+) = ", sizes.source, re.MULTILINE) == ["FIRST_TRAINING", "SHORT_TRAINING", "MORE_SEEDS"]
    short = [word for word in QUICK if not word.startswith("trainer.max_epochs")]
    sizes.source = f"""
from cnn_experiments.datamodules import mnist_files
mnist_files.CHECKSUMS = {mnist_files.CHECKSUMS!r}
FIRST_TRAINING = {[*short, "trainer.max_epochs=3"]!r}
SHORT_TRAINING = {[*short, "trainer.max_epochs=1"]!r}
MORE_SEEDS = [2]
"""
    hour.cells.append(nbformat.v4.new_code_cell(RESULTS))
    place = {"metadata": {"path": tmp_path}}
    nbclient.NotebookClient(hour, timeout=200, kernel_name="python3", resources=place).execute()

    found = json.loads(hour.cells[-1].outputs[0].text)
    assert found["chained"]
    assert len(list(tmp_path.glob("outputs/*/*/metrics.json"))) == 7
    first, *others = (cnn.open_run(tmp_path / name) for name in (found["first"], *found["runs"]))
    assert [one.metrics["epochs"] for one in (first, *others)] == [3, *[1] * 6]
    assert [(one.settings.model.network.arguments["init"], one.settings.seed) for one in others] == [
        (init, seed) for seed in (1, 2) for init in ("paper", "article", "he")
    ]
    assert sum(found["probabilities"].values()) == pytest.approx(1)
    assert found["probabilities"][found["class"]] == max(found["probabilities"].values())

    single, several = (cell for cell in hour.cells if "cnn.compare(" in cell.source and cell.cell_type == "code")
    for cell, seeds in ((single, "one run each"), (several, "2 seeds")):
        (output,) = cell.outputs
        page = output.data["text/html"]
        assert all(f"lenet5 init={init}" in page for init in ("paper", "article", "he"))
        assert page.count(seeds) == 2
    table = next(cell for cell in hour.cells if "cnn.layer_table(" in cell.source).outputs[0].data["text/html"]
    assert "60,000" in table
    outputs = [output for cell in hour.cells for output in cell.get("outputs", [])]
    assert len([output for output in outputs if "image/png" in output.get("data", {})]) == 8
