"""cnn-summary: the layers of a network as a table, as the papers print it."""

from omegaconf import DictConfig

from cnn_experiments.commands.hydra_command import command, known_classes, plain


@command("summary")
def main(config: DictConfig) -> None:
    """Print the table."""
    from rich.console import Console

    from cnn_experiments.inspection.layer_table import layer_table
    from cnn_experiments.settings.renamed import modernised
    from cnn_experiments.settings.schema import read_data, read_model

    settings, classes = modernised(plain(config)), known_classes(config)
    model, _ = read_model(settings["model"], classes)
    table = layer_table(model.build(), read_data(settings["datamodule"], classes).input_shape)
    console = Console()
    console.width = max(console.width, 160)
    console.print(table.rich_table(model.name))


if __name__ == "__main__":
    main()
