"""Where the figures of a run go while it trains: TensorBoard's event file, MLflow, Weights & Biases."""

import logging
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from pytorch_lightning.loggers import Logger, MLFlowLogger, WandbLogger

from cnn_experiments.errors import ExperimentError, UserError
from cnn_experiments.runs.directory import RECORDED_RUNS, RunDirectory, is_first_process, shown
from cnn_experiments.runs.files import write_errors_explained
from cnn_experiments.settings.schema import Settings
from cnn_experiments.trainers.tensorboard import RunDirectoryLogger, Value

OUTPUTS = Path("outputs")  # holds what MLflow and W&B keep of all runs, whatever folders these have
MLFLOW_ADDRESS = "MLFLOW_TRACKING_URI"
MLFLOW_FILE = OUTPUTS / "mlflow.db"
End = Literal["completed", "failed", "interrupted"]


def refuse_missing_packages(loggers: tuple[str, ...]) -> None:
    """Raise a UserError if a logger's package is not installed."""
    for name in loggers:
        if find_spec(name) is None:
            raise UserError(f"logger={name}: this needs the extra {name}: pip install 'cnn_experiments[{name}]'")


class MLflowTracker(MLFlowLogger):
    """Writes to MLflow; a resumed run continues the MLflow run that it began, and writes nothing twice.

    The figures go where the environment variable MLFLOW_TRACKING_URI says, or else into ``outputs/mlflow.db``.

    Args:
        settings: of the run.
        files: of the run.

    Raises:
        UserError: the MLflow run that this run began is not there.
        ExperimentError: MLflow cannot be reached.
    """

    STATUS: Mapping[End, str] = {"completed": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}

    def __init__(self, settings: Settings, files: RunDirectory) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow would report its use to its makers
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        logging.getLogger("pytorch_lightning.loggers.mlflow").setLevel(logging.ERROR)  # warns of new experiments
        given = os.environ.get(MLFLOW_ADDRESS)
        self._place = MLFLOW_ADDRESS if given else str(MLFLOW_FILE)  # an address may hold a password
        self._written: set[tuple[str, int | None]] = set()  # names and steps of points before the run was resumed
        begun = files.recorded_run("mlflow")
        is_lost = UserError(
            f"logger=mlflow: {self._place} does not hold the MLflow run that {shown(files.path)} began. Resume it "
            "where it does, or without: logger=tensorboard"
        )
        if not given:
            if begun and not MLFLOW_FILE.is_file():
                raise is_lost
            with write_errors_explained(OUTPUTS):
                OUTPUTS.mkdir(exist_ok=True)
        with self._errors_explained():
            super().__init__(
                experiment_name=os.environ.get("MLFLOW_EXPERIMENT_NAME") or name_of_kind(settings),
                run_name=files.path.name,
                tracking_uri=given or f"sqlite:///{MLFLOW_FILE.absolute()}",
                tags={"run_directory": str(files.path.absolute())},
                run_id=begun,
            )
            # Before any image is loaded, it is known whether MLflow answers.
            self._mlflow_client.get_experiment_by_name(self._experiment_name)
        if begun and not self._holds(begun):
            raise is_lost

    def _holds(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            return bool(self._mlflow_client.get_run(run_id).info.lifecycle_stage == "active")
        except MlflowException:
            return False

    @contextmanager
    def _errors_explained(self) -> Iterator[None]:
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            what = str(error).strip().partition("\n")[0]
            raise ExperimentError(f"logger=mlflow: {self._place} cannot be written ({what})") from error

    def begin(self, hyperparameters: Mapping[str, Value]) -> str:
        """Begin an MLflow run, or continue the one that a resumed run began; returns its identifier."""
        with self._errors_explained():
            is_new, given = self._run_id is None, os.environ.get(MLFLOW_ADDRESS)
            client = self.experiment
            if given is None:  # opening it sets the variable for the whole process
                os.environ.pop(MLFLOW_ADDRESS, None)
            assert self._run_id is not None
            if is_new:
                self.log_hyperparams(dict(hyperparameters))
            else:
                for name in client.get_run(self._run_id).data.metrics:
                    points = client.get_metric_history(self._run_id, name)
                    self._written |= {(name, point.step) for point in points}
            client.update_run(self._run_id, status="RUNNING")
        return self._run_id

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write figures at a step, except those that the run had written before it was resumed: they are the same."""
        new = {name: value for name, value in metrics.items() if (name, step) not in self._written}
        if new:
            with self._errors_explained():
                super().log_metrics(new, step)

    def finalize(self, status: str = "success") -> None:
        """Does nothing: when Lightning calls it, the test is still to come."""

    def end(self, how: End) -> None:
        """Write how the run ended."""
        if self._run_id is not None:
            with self._errors_explained():
                self._mlflow_client.set_terminated(self._run_id, self.STATUS[how])


class WandbTracker(WandbLogger):
    """Writes to Weights & Biases; a resumed run continues the W&B run that it began.

    Its own environment variables apply: WANDB_MODE (``offline`` keeps everything in ``outputs/wandb``, and needs no
    account), WANDB_PROJECT, WANDB_ENTITY, WANDB_DIR.

    Args:
        settings: of the run.
        files: of the run.

    Raises:
        UserError: another W&B run is open in this process.
    """

    STATUS: Mapping[End, int] = {"completed": 0, "failed": 1, "interrupted": 255}  # W&B calls 255 killed

    def __init__(self, settings: Settings, files: RunDirectory) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # W&B would report errors to its makers
        import wandb

        if wandb.run is not None:
            raise UserError("logger=wandb: another W&B run is open in this process. Close it with wandb.finish()")
        with write_errors_explained(OUTPUTS):
            OUTPUTS.mkdir(exist_ok=True)
        self._begun = files.recorded_run("wandb")
        super().__init__(
            name=files.path.name,
            save_dir=os.environ.get("WANDB_DIR") or str(OUTPUTS),
            project=os.environ.get("WANDB_PROJECT") or name_of_kind(settings),
            id=self._begun or secrets.token_hex(4),
            settings=wandb.Settings(console="off", quiet=True),  # train.log holds what is printed
        )
        del self._wandb_init["anonymous"]  # W&B warns that it has no effect

    def begin(self, hyperparameters: Mapping[str, Value]) -> str:
        """Begin a W&B run, or continue the one that a resumed run began; returns its identifier.

        Raises:
            UserError: W&B refuses to, as where nobody is logged in.
        """
        import wandb

        try:
            _ = self.experiment
        except wandb.Error as error:
            raise UserError(
                f"logger=wandb: {str(error).strip().rstrip('.')}. Log in with `wandb login`, or set WANDB_MODE=offline"
            ) from error
        if not self._begun:
            self.log_hyperparams(dict(hyperparameters))
        return str(self._id)

    def end(self, how: End) -> None:
        """Write how the run ended."""
        if self._experiment is not None:
            self._experiment.finish(exit_code=self.STATUS[how])


TRACKERS: Mapping[str, type[MLflowTracker] | type[WandbTracker]] = {"mlflow": MLflowTracker, "wandb": WandbTracker}


def name_of_kind(settings: Settings) -> str:
    """The name of an MLflow experiment or a W&B project: that of the folder of such runs."""
    return f"{settings.model.name}_{settings.datamodule.name}"


class RunLoggers:
    """The loggers of a run in this process; of several that train together, the first alone writes to MLflow and W&B.

    Args:
        settings: of the run.
        files: of the run.
        first_step: TensorBoard discards what an interrupted run had written from this step on.

    Raises:
        UserError: a tracker cannot be used.
        ExperimentError: a tracker cannot be reached.
    """

    def __init__(self, settings: Settings, files: RunDirectory, first_step: int) -> None:
        chosen = settings.loggers
        self.tensorboard = RunDirectoryLogger(files.path, first_step) if "tensorboard" in chosen else None
        trackers = [name for name in chosen if name in TRACKERS] if is_first_process() else []
        self.trackers = {name: TRACKERS[name](settings, files) for name in trackers}

    @property
    def all(self) -> list[Logger]:
        """The loggers, TensorBoard's first."""
        return [*filter(None, [self.tensorboard]), *self.trackers.values()]

    def begin(self, hyperparameters: Mapping[str, Value]) -> dict[str, str]:
        """Begin the trackers' runs, or continue those of a resumed run; returns what metrics.json records of them."""
        return {RECORDED_RUNS[name]: tracker.begin(hyperparameters) for name, tracker in self.trackers.items()}

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Write figures at a step to all loggers."""
        for logger in self.all:
            logger.log_metrics(dict(figures), step)

    def complete(self) -> None:
        """Write to all loggers that the run is complete."""
        if self.tensorboard:
            self.tensorboard.write_success()
        for tracker in self.trackers.values():
            tracker.end("completed")

    @contextmanager
    def closed_at_the_end(self) -> Iterator[None]:
        """Close TensorBoard's file at the end; if the run fails or is interrupted, write that to the trackers."""
        with self.tensorboard.closed_at_the_end() if self.tensorboard else nullcontext():
            try:
                yield
            except BaseException as error:
                for tracker in self.trackers.values():
                    with suppress(Exception):  # what ended the run is what the user needs to know
                        tracker.end("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
                raise
