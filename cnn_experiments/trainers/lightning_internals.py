"""All use of Lightning beyond its public interface, for the versions whose source has been read."""

from importlib.metadata import version
from typing import Any

from cnn_experiments.errors import ExperimentError

KNOWN_VERSIONS = ("2.6.",)  # those whose loop counters have been read


def begin_next_epoch(checkpoint: dict[str, Any]) -> None:
    """Set the loop counters of a checkpoint, taken at the end of an epoch, to the beginning of the next one.

    As saved, they are at the end of an epoch's last step. What Lightning does with that on resuming depends on
    ``max_steps`` and ``val_check_interval``: it may skip the hooks of the next epoch, or count one epoch too many.

    Raises:
        ExperimentError: this version of Lightning may not keep its counters in this way.
    """
    installed = version("pytorch-lightning")
    try:
        if not installed.startswith(KNOWN_VERSIONS):
            raise KeyError(installed)
        loops = checkpoint["loops"]["fit_loop"]
        for count in ("total", "current"):
            loops["epoch_progress"][count]["completed"] = loops["epoch_progress"][count]["processed"]
        steps = loops["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]
        batches = loops["epoch_loop.batch_progress"]
        for progress in (batches, loops["epoch_loop.scheduler_progress"], steps["step"], steps["zero_grad"]):
            progress["current"] = dict.fromkeys(progress["current"], 0)
        batches["is_last_batch"] = False
    except KeyError as error:
        known = " or ".join(f"{version}x" for version in KNOWN_VERSIONS)
        raise ExperimentError(
            f"pytorch-lightning {installed} is installed, but checkpoints that resume exactly can be written with "
            f"{known} only ({error} is unknown): pip install 'pytorch-lightning>=2.6.6,<2.7'"
        ) from error
