"""cnn-data: make a data set ready and say what is in it."""

from collections import Counter
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from cnn_experiments.command import command
from cnn_experiments.configs import plain


@command("data")
def main(config: DictConfig) -> None:
    """Fetch and check the files; print and draw how many images of each class there are, what they are like."""
    from rich.console import Console
    from rich.table import Table

    from cnn_experiments.building import build
    from cnn_experiments.datamodules.pictures import draw_counts, draw_samples

    settings = plain(config)["datamodule"]
    datamodule = build(settings, "datamodule", also=["name"])
    datamodule.prepare_data()
    datamodule.setup()
    folder = Path(HydraConfig.get().runtime.output_dir)
    names = datamodule.class_names
    splits = {"training": datamodule.training, "validation": datamodule.validation, "test": datamodule.testing}
    counts = {part: split.labels.bincount(minlength=len(names)).tolist() for part, split in splits.items()}

    table = Table(title=f"images of {settings['name']}, seed {settings['seed']}", show_footer=True)
    table.add_column("class", "total")
    for part, split in splits.items():
        table.add_column(part, f"{len(split):,}", justify="right")
    for number, name in enumerate(names):
        table.add_row(name, *(f"{of_class[number]:,}" for of_class in counts.values()))
    console = Console()
    console.print(table)

    draw_counts(counts, names, folder / "counts.png")
    draw_samples(datamodule.gallery(10), names, folder / "samples.png")
    datamodule.write_records(folder)
    datamodule.draw(folder)
    if aside := getattr(datamodule, "set_aside", []):
        reasons = Counter(entry.reason.partition(":")[0].partition(" (")[0] for entry in aside)
        table = Table(title="set aside", show_footer=True)
        table.add_column("reason", "total")
        table.add_column("files", f"{len(aside):,}", justify="right")
        table.add_column("for example", overflow="fold")
        for reason, number in reasons.most_common():
            example = next(entry.file for entry in aside if entry.reason.startswith(reason))
            table.add_row(reason, f"{number:,}", example)
        console.print(table)
    written = ", ".join(sorted(file.name for file in folder.iterdir() if file.is_file()))
    print(f"in {folder}: {written}")


if __name__ == "__main__":
    main()
