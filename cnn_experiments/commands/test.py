"""cnn-test: test the best checkpoint of a run, or any other checkpoint, again."""

from omegaconf import DictConfig

from cnn_experiments.commands.hydra_command import command, known_classes, typed_settings


@command("test")
def main(config: DictConfig) -> None:
    """Print loss and accuracy on the test images, and how this installation and data differ from the run's."""
    from cnn_experiments.evaluation.run import opened

    run = opened(config.run, config.checkpoint, known_classes(config), {**ALONE, **typed_settings(config)})
    figures = run.test()
    for difference in run.differences():
        print(f"Careful, {difference}")
    for name, value in figures.items():
        print(f"{name} {value}")


# In one process, whatever the run had: the figures do not depend on it.
ALONE = {"trainer.devices": 1, "trainer.num_nodes": 1}

if __name__ == "__main__":
    main()
