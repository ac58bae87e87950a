"""cnn-data: make a data set ready and say what is in it."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from cnn_experiments.command import command
from cnn_experiments.configs import plain


@command("data")
def main(config: DictConfig) -> None:
    """Fetch and check the files, print how many images of each class there are, draw some of them."""
    from rich.console import Console
    from rich.table import Table
    from torchvision.utils import save_image

    from cnn_experiments.building import build

    settings = plain(config)["datamodule"]
    datamodule = build(settings, "datamodule", also=["name"])
    datamodule.prepare_data()
    datamodule.setup()
    splits = {"training": datamodule.training, "validation": datamodule.validation, "test": datamodule.testing}

    table = Table(title=f"images of {settings['name']}, seed {config.seed}", show_footer=True)
    table.add_column("class", "total")
    counts = {name: split.labels.bincount(minlength=settings["num_classes"]) for name, split in splits.items()}
    for name, split in splits.items():
        table.add_column(name, f"{len(split):,}", justify="right")
    for number, class_name in enumerate(datamodule.class_names):
        table.add_row(class_name, *(f"{count[number]:,}" for count in counts.values()))
    Console().print(table)

    # One row a class, the first images of the training set, as the network sees them.
    training = datamodule.training
    rows = [(training.labels == label).nonzero()[:10, 0] for label in range(settings["num_classes"])]
    images = datamodule.prepare(training.images[[int(index) for row in rows for index in row]])
    picture = Path(HydraConfig.get().runtime.output_dir) / "samples.png"
    save_image(images, picture, nrow=10, normalize=True, scale_each=True, pad_value=0.5)
    print(f"samples: {picture}")


if __name__ == "__main__":
    main()
