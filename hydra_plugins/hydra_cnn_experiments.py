"""What Hydra finds of this project when it looks for launchers and sweepers; it looks in ``hydra_plugins`` only.

Every command imports this file: what the classes do is imported when they do it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class RayLauncher(Launcher):
    """``launcher=ray``; conf/launcher/ray.yaml says what its keys mean."""

    def __init__(self, address: str | None, cpus_per_job: float, gpus_per_job: float | None, max_retries: int) -> None:
        self.address = address
        self.cpus_per_job = cpus_per_job
        self.gpus_per_job = gpus_per_job
        self.max_retries = max_retries

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        from cnn_experiments.commands.ray_jobs import launch

        return launch(self, job_overrides, initial_job_idx)


class SharedSearch(Sweeper):
    """``sweeper=optuna``: Hydra's sweeper for Optuna, whose search any number of processes can take part in."""

    def __init__(self, **settings: Any) -> None:
        from cnn_experiments.commands.shared_search import Search

        self.search = Search(**settings)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.search.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> None:
        self.search.sweep(arguments)


@dataclass
class RayLauncherConfig:
    """The keys of ``hydra.launcher``, whose values are in conf/launcher/ray.yaml."""

    _target_: str = f"{__name__}.RayLauncher"
    address: str | None = None
    cpus_per_job: float = 1
    gpus_per_job: float | None = None
    max_retries: int = 3


if find_spec("ray"):
    ConfigStore.instance().store(group="hydra/launcher", name="ray", node=RayLauncherConfig, provider="cnn_experiments")
