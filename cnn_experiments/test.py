"""cnn-test: test a run's best checkpoint, or another one, again."""

from omegaconf import DictConfig

from cnn_experiments.command import command
from cnn_experiments.runs import rounded
from cnn_experiments.trained import load_trained


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
    classifier, datamodule, settings = load_trained(config)
    from cnn_experiments.trainers.trainer import build_trainer, test_figures

    # In one process, whatever the run had: the figure does not depend on it.
    alone = {"devices": 1, "num_nodes": 1, "strategy": "auto"}
    trainer = build_trainer({**settings["trainer"], **alone}, logger=False, enable_checkpointing=False)
    trainer.test(classifier, datamodule, verbose=False)
    return rounded(test_figures(trainer))


if __name__ == "__main__":
    main()
