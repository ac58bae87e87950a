"""cnn-test: test the best checkpoint of a run, or any other checkpoint, again."""

from contextlib import suppress
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from cnn_experiments.commands.hydra_command import command, known_classes, typed_settings
from cnn_experiments.errors import ExperimentError
from cnn_experiments.runs.directory import shown

if TYPE_CHECKING:
    from cnn_experiments.evaluation.run import Run
    from cnn_experiments.evaluation.testing import Evaluation


@command("test")
def main(config: DictConfig) -> None:
    """Print loss and accuracy on the test images, and how this installation and data differ from the run's."""
    from cnn_experiments.evaluation.run import opened

    run = opened(config.run, config.checkpoint, known_classes(config), {**ALONE, **typed_settings(config)})
    evaluation = run.evaluate()
    for difference in run.differences():
        print(f"Careful, {difference}")
    for name, value in evaluation.figures().items():
        print(f"{name} {value}")
    if config.checkpoint is None:
        add_answers(run, evaluation)


def add_answers(run: "Run", evaluation: "Evaluation") -> None:
    """Give a run of an earlier version the files that a comparison needs, if this is its own test over again."""
    from cnn_experiments.evaluation.testing import write_answers

    missing = [file for file in (run.files.predictions_file, run.files.mistakes_file) if not file.exists()]
    if not missing or evaluation.figures()["test/accuracy"] != run.metrics.get("test/accuracy"):
        return
    with suppress(ExperimentError):  # a folder that cannot be written can still be tested
        write_answers(run.files, run.data, evaluation)
        print(f"written: {', '.join(map(shown, missing))}")


# In one process, whatever the run had: the figures do not depend on it.
ALONE = {"trainer.devices": 1, "trainer.num_nodes": 1}

if __name__ == "__main__":
    main()
