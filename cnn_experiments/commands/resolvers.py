"""The resolvers behind ``${cnn.…:…}`` in conf/; the prefix keeps them apart from those of other applications."""

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
    """Date, time and a random part: a unique folder name.

    Processes that torchrun or SLURM started together on one machine share the name, which is derived from their parent.
    """
    moment, token = datetime.now(), secrets.token_hex(3)
    if "TORCHELASTIC_RUN_ID" in os.environ or int(os.environ.get("SLURM_NTASKS", 1)) > 1:
        import psutil

        parent = psutil.Process(os.getppid())
        moment = datetime.fromtimestamp(parent.create_time())
        token = hashlib.sha256(f"{parent.pid} {parent.create_time()}".encode()).hexdigest()[:6]
    return f"{moment:%Y-%m-%d_%H-%M-%S}_{token}"


def own_gpu() -> list[int] | None:
    """`trainer.gpus` for one of several jobs that run at the same time."""
    from cnn_experiments.trainers.processes import own_gpu

    return own_gpu()


def first(*values: Any) -> Any:
    """The first value that is not null."""
    return next(value for value in values if value is not None)


def length(values: Iterable[Any]) -> int:
    """The number of values."""
    return len(list(values))


def register() -> None:
    """Register the resolvers with omegaconf."""
    for resolver in (unique_name, own_gpu, first, length, name_of_job):
        OmegaConf.register_new_resolver(f"cnn.{resolver.__name__}", resolver, replace=True)
