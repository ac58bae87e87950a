"""cnn-data: prepare a data set and show what is in it."""

from typing import TYPE_CHECKING

from omegaconf import DictConfig

from cnn_experiments.commands.hydra_command import command, known_classes, output_directory, plain
from cnn_experiments.runs.files import write_text
from cnn_experiments.runs.formats import as_csv, in_terminal

if TYPE_CHECKING:
    from rich.table import Table

    from cnn_experiments.datamodules.base import NearDuplicate, SetAside

NEAR_DUPLICATES = ("file", "class", "used for", "near-duplicate of", "its class", "it is used for")


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
    reasons = data.set_aside_summary()
    if reasons:
        console.print(table_of_set_aside(reasons))
    pairs = data.near_duplicates()
    if pairs:
        write_text(folder / "near_duplicates.csv", as_csv(NEAR_DUPLICATES, pairs))
        console.print(table_of_near_duplicates(pairs))
    written = ", ".join(sorted(file.name for file in folder.iterdir() if file.is_file()))
    print(f"in {folder}: {written}")


def table_of_counts(name: str, seed: int, classes: list[str], counts: dict[str, list[int]]) -> "Table":
    """A table of the number of images of each class in each part."""
    from rich.table import Table

    table = Table(title=f"images of {name}, seed {seed}", show_footer=True)
    table.add_column("class", "total", overflow="fold")
    for part, of_class in counts.items():
        table.add_column(part, f"{sum(of_class):,}", justify="right")
    for number, class_name in enumerate(classes):
        table.add_row(in_terminal(class_name), *(f"{of_class[number]:,}" for of_class in counts.values()))
    return table


def table_of_set_aside(reasons: "list[SetAside]") -> "Table":
    """A table of the number of files that are not used, by reason."""
    from rich.table import Table

    table = Table(title="set aside", show_footer=True)
    table.add_column("reason", "total")
    table.add_column("files", f"{sum(reason.files for reason in reasons):,}", justify="right")
    table.add_column("for example", overflow="fold")
    for reason in reasons:
        table.add_row(in_terminal(reason.reason), f"{reason.files:,}", in_terminal(reason.example))
    return table


def table_of_near_duplicates(pairs: "list[NearDuplicate]") -> "Table":
    """A table of how many pairs of files show the same picture, by the parts that they are in."""
    from rich.table import Table

    table = Table(title="near-duplicates: the same picture, saved again", show_footer=True)
    table.add_column("used for", "total")
    table.add_column("pairs", f"{len(pairs):,}", justify="right")
    table.add_column("for example", overflow="fold")
    by_parts: dict[str, list[NearDuplicate]] = {}
    for pair in pairs:
        parts = sorted({pair.part or "nothing", pair.first_part or "nothing"})
        by_parts.setdefault(" and ".join(parts), []).append(pair)
    for name, of_parts in sorted(by_parts.items()):
        table.add_row(name, f"{len(of_parts):,}", in_terminal(f"{of_parts[0].file} and {of_parts[0].first_file}"))
    return table


if __name__ == "__main__":
    main()
