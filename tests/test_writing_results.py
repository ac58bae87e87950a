"""Comparison and export where the disk is full or read-only, or where a link is in the way."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cnn_experiments.errors import ExperimentError, UserError
from cnn_experiments.inspection.export import export_onnx
from cnn_experiments.models.lenet5 import LeNet5
from cnn_experiments.runs.comparison import compare
from cnn_experiments.runs.tables import write_comparison
from tests import small_disk as disks
from tests.test_comparison import write_run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for 48 KiB, which a page does not fit into."""
    with disks.small_disk(tmp_path / "disk", "48k") as path:
        yield path


def export(file: Path) -> None:
    pytest.importorskip("onnxruntime")
    export_onnx(LeNet5(), (1, 32, 32), list("0123456789"), {}, file)


def test_a_comparison_on_a_full_disk(tmp_path: Path, small_disk: Path) -> None:
    write_run(tmp_path / "runs" / "a")
    (small_disk / "comparison.html").write_text("the old one")
    with pytest.raises(
        ExperimentError, match=r"comparison\.html: cannot be written \(No space left on device\)\. Free"
    ):
        write_comparison(compare(tmp_path / "runs"), small_disk)
    assert sorted(path.name for path in small_disk.iterdir()) == ["comparison.html", "comparison.md"]
    assert (small_disk / "comparison.html").read_text() == "the old one"
    assert (small_disk / "comparison.md").read_text().endswith("validation.\n\n")


def test_the_command_on_a_full_disk(run_command, tmp_path: Path, small_disk: Path) -> None:
    write_run(tmp_path / "runs" / "a")
    outcome = run_command("compare", "runs=runs", "hydra.run.dir=disk")
    assert outcome.status == 1
    assert outcome.error == "disk/comparison.html: cannot be written (No space left on device). Free some space\n" or (
        outcome.error.endswith("comparison.html: cannot be written (No space left on device). Free some space\n")
        and outcome.error.count("\n") == 1
    )
    assert "0.9000" in outcome.out


def test_a_comparison_in_a_read_only_folder(tmp_path: Path, small_disk: Path) -> None:
    write_run(tmp_path / "runs" / "a")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(ExperimentError, match=r"comparison\.md: cannot be written \(Read-only file system\)\. Choose"):
        write_comparison(compare(tmp_path / "runs"), small_disk)


@pytest.mark.slow
def test_an_export_on_a_full_disk(small_disk: Path) -> None:
    with pytest.raises(ExperimentError, match=r"network\.onnx: cannot be written \(No space left on device\)\. Free"):
        export(small_disk / "network.onnx")
    assert not list(small_disk.iterdir())
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(ExperimentError, match=r"network\.onnx: cannot be written \(Read-only file system\)\. Choose"):
        export(small_disk / "network.onnx")


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    run = tmp_path / "runs" / "a"
    write_run(run)
    for name in ("comparison.md", "comparison.html", "network.onnx", ".network.onnx.new"):
        (run / name).symlink_to(precious)
    write_comparison(compare(run), run)
    export(run / "network.onnx")
    assert precious.read_text() == "kept"
    assert (run / ".network.onnx.new").is_symlink()
    for name in ("comparison.md", "comparison.html", "network.onnx"):
        assert not (run / name).is_symlink()


@pytest.mark.slow
def test_a_folder_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "network.onnx").mkdir()
    with pytest.raises(UserError, match=r"output=.*network\.onnx: cannot be written \(Is a directory\)"):
        export(tmp_path / "network.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["network.onnx"]
