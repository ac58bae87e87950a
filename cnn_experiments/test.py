"""cnn-test: test a run's best checkpoint, or another one, again."""

from pathlib import Path

from omegaconf import DictConfig

from cnn_experiments.command import command, typed_keys
from cnn_experiments.configs import with_values_of
from cnn_experiments.errors import UserError
from cnn_experiments.runs import Run, load_checkpoint, rounded


@command("test")
def main(config: DictConfig) -> None:
    """Print loss and accuracy on the test images."""
    for name, value in test(config).items():
        print(f"{name} {value}")


def test(config: DictConfig) -> dict[str, float | None]:
    """Test a checkpoint with the settings of its run.

    Returns:
        ``test/loss`` and ``test/accuracy``, exactly as the run recorded them on the same kind of machine.

    Raises:
        UserError: there is no such run or checkpoint, or the checkpoint is of another network.
    """
    if config.run is None and config.checkpoint is None:
        raise UserError("run: give a run directory (run=outputs/…), or a checkpoint (checkpoint=PATH)")
    run = None if config.run is None else Run.existing(config.run, "run")
    if run is None or config.checkpoint is not None:
        file, key = Path(config.checkpoint), "checkpoint"
    else:
        file, key = run.best_checkpoint, "run"
    checkpoint = load_checkpoint(file, key)
    settings = run.config() if run else checkpoint["hyper_parameters"]["config"]
    settings = with_values_of(config, [key for key in typed_keys() if key not in ("run", "checkpoint")], settings)

    from cnn_experiments.building import build
    from cnn_experiments.classifier import Classifier
    from cnn_experiments.trainers.trainer import build_trainer, test_figures

    classifier = Classifier(settings)
    trained, expected = checkpoint["hyper_parameters"]["config"]["model"]["name"], settings["model"]["name"]
    try:
        classifier.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        raise UserError(
            f"{key}={file}: its weights, of a {trained}, do not fit the {expected} that {config.run} describes. "
            "Leave run out, or give a checkpoint of the same network"
        ) from error
    datamodule = build(settings["datamodule"], "datamodule", also=["name"])
    trainer = build_trainer(settings["trainer"], logger=False, enable_checkpointing=False)
    trainer.test(classifier, datamodule, verbose=False)
    return rounded(test_figures(trainer))


if __name__ == "__main__":
    main()
