"""The benchmarks run: once, with tiny settings. What they measure is for an idle machine."""

from pathlib import Path

import pytest

from benchmarks import epoch_time, input_time, logging_cost, memory, muon_time, network_time

pytestmark = pytest.mark.slow


def test_the_networks_step_by_step_and_from_the_cache(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    few = ["--rounds", "1", "--steps", "1", "--photographs", "40"]
    network_time.main(["--side", "96", "--batches", "2", *few, "--profile"])
    lines = capsys.readouterr().out.splitlines()
    for name in ("alexnet", "googlenet"):
        (first,) = (
            place for place, line in enumerate(lines) if line.startswith(f"{name}, 96×96 pixels, batches of 2, ")
        )
        ways = [line.split(":")[0].strip() for line in lines[first + 1 : first + 4]]
        assert ways == ["ours", "torchvision's", "floor"]
    assert len([line for line in lines if line.startswith("  from the cache: ")]) == 2
    assert len([line for line in lines if "convolution_backward: " in line and " ms a step, " in line]) == 2


def test_a_step_changes_the_weights_of_both_networks_alike() -> None:
    """The plain loop of torchvision's GoogLeNet trains its auxiliary heads, too."""
    import torch

    from cnn_experiments.evaluation.hardware import Hardware

    network = network_time.NETWORKS["googlenet"]()
    before = {name: weight.clone() for name, weight in network.named_parameters()}
    images, labels = torch.randn(2, 3, 96, 96), torch.tensor([0, 1])
    network_time.torchvisions_step(network, Hardware("cpu", 1, "32-true"), images, labels)()
    assert not [name for name, weight in network.named_parameters() if torch.equal(weight, before[name])]


def test_memory_by_number_of_photographs(capfd: pytest.CaptureFixture[str]) -> None:
    words = ["model=alexnet", "model.input_size=64", "model.maps=[8,8,8,8,8]", "model.dense=[8,8]"]
    peaks = memory.main(
        [*words, "trainer.limit_train_batches=2", "datamodule.test_size=20", "datamodule.validation_size=20"], (60, 80)
    )
    assert list(peaks) == [60, 80]
    assert all(100 < peak < 4000 for peak in peaks.values())
    assert "MiB for 20 photographs more (target: under 200)" in capfd.readouterr().out


def test_photographs_beside_decoding_and_the_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    input_time.main(["--photographs", "40", "--side", "96", "--batch", "2", "--rounds", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].strip() for line in lines] == [
        "plain decoding",
        "first pass",
        "from the cache",
        "alexnet",
        "googlenet",
    ]
    assert lines[0].endswith("1.00 of plain decoding")


def test_muon_beside_adamw(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOGS_VS_CATS", "photographs")  # none is read
    muon_time.main(1, batch=2)
    lines = capsys.readouterr().out.splitlines()
    ways = ["a whole step with AdamW", "AdamW", "Muon as published", "ours"]
    assert [line.split(":")[0].strip() for line in (*lines[2:6], *lines[8:12])] == 2 * ways
    assert len([line for line in lines if line.endswith(" times as fast as with Muon as published")]) == 2


FEW_DIGITS = ("datamodule.validation_size=100", "datamodule.batch_size=50")


def test_an_epoch_beside_other_ways_to_train(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    epoch_time.main(1, FEW_DIGITS)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "epoch 0 (warm-up, not counted)",
        "epoch 1",
        "median of 1",
        "ours / bare",
        "ours / per sample",
    ]


def test_an_epoch_with_either_logging(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logging_cost.main(1, FEW_DIGITS)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "epoch 2, default",
        "epoch 3, full",
        "elapsed seconds, median of 1 epochs each",
        "processor seconds, median of 1 epochs each",
        "full / default",
    ]
