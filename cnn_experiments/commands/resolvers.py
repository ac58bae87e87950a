"""What conf/ can compute: the resolvers behind ``${cnn.…:…}``, with a prefix that no other application uses."""

import functools
import hashlib
import os
import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from omegaconf import OmegaConf

from cnn_experiments.runs.sweep import name_of_job


@functools.cache
def unique_name() -> str:
    """Date, time and a random part: a folder name that nobody else has.

    Processes that torchrun or SLURM started together on one machine have the same one: it comes from their parent.
    """
    moment, token = datetime.now(), secrets.token_hex(3)
    if "TORCHELASTIC_RUN_ID" in os.environ or int(os.environ.get("SLURM_NTASKS", 1)) > 1:
        import psutil

        parent = psutil.Process(os.getppid())
        moment = datetime.fromtimestamp(parent.create_time())
        token = hashlib.sha256(f"{parent.pid} {parent.create_time()}".encode()).hexdigest()[:6]
    return f"{moment:%Y-%m-%d_%H-%M-%S}_{token}"


def own_gpu() -> list[int] | None:
    """`trainer.gpus` for one of several jobs at a time."""
    from cnn_experiments.trainers.processes import own_gpu

    return own_gpu()


def first(*values: Any) -> Any:
    """The first value that is not null."""
    return next(value for value in values if value is not None)


def unless(condition: Any, value: Any) -> Any:
    """A value where a condition is null, otherwise null."""
    return value if condition is None else None


def length(values: Iterable[Any]) -> int:
    """How many there are."""
    return len(list(values))


def register() -> None:
    """Make the resolvers known to omegaconf."""
    for resolver in (unique_name, own_gpu, first, unless, length, name_of_job):
        OmegaConf.register_new_resolver(f"cnn.{resolver.__name__}", resolver, replace=True)
