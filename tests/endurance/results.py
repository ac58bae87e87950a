"""The results of two runs side by side: what must be equal if one of them was interrupted."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

# Figures that depend on the clock, and the words that began or resumed a run.
OF_THE_CLOCK = ("train_seconds", "images_per_second", "train_images_per_second", "overrides", "seconds")


def differences(one: Path, other: Path) -> list[str]:
    """What differs between two completed runs beside time: weights, metrics, history, curves, predictions, files."""
    found = []
    for name, read in READERS.items():
        try:
            ours, theirs = read(one), read(other)
            if not equal(ours, theirs):
                found.append(f"{name} ({', '.join(unequal(ours, theirs))})")
        except Exception as error:
            found.append(f"{name} ({type(error).__name__}: {error})")
    return found


def equal(one: Any, other: Any) -> bool:
    """Whether two nested structures are equal to the bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def unequal(one: Any, other: Any) -> list[str]:
    """The entries of two dictionaries that differ."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return [f"{one} / {other}"[:300]]
    return [
        key for key in sorted({*one, *other}) if key not in one or key not in other or not equal(one[key], other[key])
    ]


def last_checkpoint(run: Path) -> Any:
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return {key: content[key] for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch")}


def best_checkpoint(run: Path) -> Any:
    return torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]


def metrics(run: Path) -> Any:
    content = json.loads((run / "metrics.json").read_text())
    return {name: value for name, value in content.items() if name not in OF_THE_CLOCK}


def history(run: Path) -> Any:
    heading, *rows = [line.split(",") for line in (run / "history.csv").read_text().splitlines()]
    kept = [place for place, name in enumerate(heading) if name not in OF_THE_CLOCK]
    return [[row[place] for place in kept] for row in (heading, *rows)]


def predictions(run: Path) -> Any:
    with np.load(run / "test_predictions.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def curves(run: Path) -> Any:
    """What TensorBoard shows: the values of all scalars, and the steps of everything else."""
    accumulator = EventAccumulator(
        str(run), size_guidance=dict.fromkeys(("scalars", "images", "histograms", "tensors"), 0)
    )
    accumulator.Reload()
    tags = accumulator.Tags()
    shown: dict[str, Any] = {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
        for tag in tags["scalars"]
        if not tag.startswith(("time/", "memory/")) and tag.rpartition("/")[2] not in OF_THE_CLOCK
    }
    shown |= {f"image {tag}": [event.step for event in accumulator.Images(tag)] for tag in tags["images"]}
    shown |= {f"histogram {tag}": [event.step for event in accumulator.Histograms(tag)] for tag in tags["histograms"]}
    shown |= {f"tensor {tag}": [event.step for event in accumulator.Tensors(tag)] for tag in tags["tensors"]}
    return shown


def files(run: Path) -> Any:
    """Names of all files; event files, of which a resumed run has several, count as one."""
    names = (file.relative_to(run).as_posix() for file in run.rglob("*") if file.is_file())
    return sorted({"events.out.tfevents" if "tfevents" in name else name for name in names})


READERS = {
    "last checkpoint": last_checkpoint,
    "best checkpoint": best_checkpoint,
    "metrics": metrics,
    "history": history,
    "predictions": predictions,
    "curves": curves,
    "files": files,
}
