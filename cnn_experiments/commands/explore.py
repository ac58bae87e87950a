"""cnn-explore: a page to play with a trained network, in the browser."""

from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from cnn_experiments.commands.hydra_command import command, known_classes, typed_settings
from cnn_experiments.errors import UserError

if TYPE_CHECKING:
    from cnn_experiments.evaluation.run import Run
    from cnn_experiments.settings.classes import KnownClasses


@command("explore")
def main(config: DictConfig) -> None:
    """Serve the page until Ctrl-C; without a run, it shows the LeNet-5 that the package carries."""
    if not isinstance(config.open, bool):
        raise UserError(f"open={config.open}: use true or false")
    if type(config.port) is not int:
        raise UserError(f"port={config.port}: give a number from 1 to 65535, or 0 for any that is free")
    from cnn_experiments.evaluation.exploring import explorer_server, subject_of

    server = explorer_server()
    classes, changes = known_classes(config), typed_settings(config)
    names = {key: config[key] for key in ("run", "with") if config[key] is not None}
    if "run" not in names:
        names = {"run": None, **names}
    runs = [opened_by(key, name, classes, changes) for key, name in names.items()]
    server.serve([subject_of(run) for run in runs], config.port, config.open)


def opened_by(key: str, name: Any, classes: "KnownClasses", changes: dict[str, Any]) -> "Run":
    """The run that a key names; None for the one that the package carries.

    Raises:
        UserError: there is no such run.
    """
    from cnn_experiments.evaluation.run import opened
    from cnn_experiments.explorer.subject import CARRIED_RUN
    from cnn_experiments.runs.directory import RunDirectory

    if name is None:  # it was trained elsewhere: its data, if they are here, lie where they always do
        return opened(str(CARRIED_RUN), None, classes, {"datamodule.data_dir": None, **changes})
    RunDirectory.existing(str(name), key)
    return opened(str(name), None, classes, changes)


if __name__ == "__main__":
    main()
