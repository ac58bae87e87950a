"""cnn-data: prepare a data set and show what is in it."""

from typing import TYPE_CHECKING

from omegaconf import DictConfig

from cnn_experiments.commands.hydra_command import command, known_classes, output_directory, plain

if TYPE_CHECKING:
    from rich.table import Table

    from cnn_experiments.datamodules.base import ImageData


@command("data")
def main(config: DictConfig) -> None:
    """Download and check the files; print and draw the number of images of each class, and some of the images."""
    from rich.console import Console

    from cnn_experiments.datamodules.base import PARTS
    from cnn_experiments.datamodules.drawings import draw_counts, draw_samples
    from cnn_experiments.settings.renamed import modernised
    from cnn_experiments.settings.schema import read_data

    settings = read_data(modernised(plain(config))["datamodule"], known_classes(config))
    data = settings.build()
    data.setup()
    counts: dict[str, list[int]] = {part: data.class_counts(part) for part in PARTS}
    console = Console()
    console.print(table_of_counts(settings.name, data.seed, data.class_names, counts))

    folder = output_directory()
    draw_counts(counts, data.class_names, folder / "counts.png")
    draw_samples(data.gallery(10), data.class_names, folder / "samples.png")
    data.write_records(folder)
    data.draw(folder)
    if data.set_aside_summary():
        console.print(table_of_set_aside(data))
    written = ", ".join(sorted(file.name for file in folder.iterdir() if file.is_file()))
    print(f"in {folder}: {written}")


def table_of_counts(name: str, seed: int, classes: list[str], counts: dict[str, list[int]]) -> "Table":
    """A table of the number of images of each class in each part."""
    from rich.table import Table

    table = Table(title=f"images of {name}, seed {seed}", show_footer=True)
    table.add_column("class", "total")
    for part, of_class in counts.items():
        table.add_column(part, f"{sum(of_class):,}", justify="right")
    for number, class_name in enumerate(classes):
        table.add_row(class_name, *(f"{of_class[number]:,}" for of_class in counts.values()))
    return table


def table_of_set_aside(data: "ImageData") -> "Table":
    """A table of the number of files that are not used, by reason."""
    from rich.table import Table

    reasons = data.set_aside_summary()
    table = Table(title="set aside", show_footer=True)
    table.add_column("reason", "total")
    table.add_column("files", f"{sum(reason.files for reason in reasons):,}", justify="right")
    table.add_column("for example", overflow="fold")
    for reason in reasons:
        table.add_row(reason.reason, f"{reason.files:,}", reason.example)
    return table


if __name__ == "__main__":
    main()
