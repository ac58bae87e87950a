"""Make the run that the package carries, which `cnn-explore` shows where none is named.

    cnn-train experiment=lenet5_best seed=1 trainer.gpus=0 trainer.snapshots=1
    python scripts/carry_run.py outputs/lenet5_mnist/…

It takes what the page needs of the run directory: config, figures, the best weights, those after a few epochs, the
predictions, and a few of the test digits. Nothing is changed but the folder of the data, which is nobody else's.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import torch
import yaml

import cnn_experiments as cnn
from cnn_experiments.datamodules.samplers import Draw
from cnn_experiments.evaluation.exploring import CARRIED_IMAGES
from cnn_experiments.evaluation.snapshots import snapshot_file
from cnn_experiments.explorer.subject import CARRIED_RUN

AS_THEY_ARE = ("metrics.json", "history.csv", "test_predictions.npz", "checkpoints/best.ckpt")
EPOCHS = (1, 3, 10)  # most kernels form early
OF_EACH_CLASS, MISREAD = 3, 10  # test digits


def main(directory: Path) -> None:
    run = cnn.open_run(directory)
    shutil.rmtree(CARRIED_RUN, ignore_errors=True)
    snapshots = [snapshot_file(Path(), epoch) for epoch in EPOCHS]
    for name in (*map(Path, AS_THEY_ARE), *snapshots):
        target = CARRIED_RUN / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(directory / name, target)
    config = run.files.config()
    config["datamodule"]["data_dir"] = "data"
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    (CARRIED_RUN / "config.yaml").write_text(text, encoding="utf-8")

    recorded = np.load(run.files.predictions_file)
    right = recorded["labels"] == recorded["predictions"]
    chosen = [np.flatnonzero(right & (recorded["labels"] == digit))[:OF_EACH_CLASS] for digit in range(10)]
    index = np.sort(np.concatenate([*chosen, np.flatnonzero(~right)[:MISREAD]]))
    data = run.data
    assert isinstance(data, cnn.MNIST)
    padded, *_ = data.images_of("test")[Draw(torch.from_numpy(index))]
    margin = data.margin
    images = padded[:, 0, margin:-margin, margin:-margin].numpy()
    np.savez_compressed(CARRIED_RUN / CARRIED_IMAGES, images=images, labels=recorded["labels"][index], index=index)
    size = sum(file.stat().st_size for file in CARRIED_RUN.rglob("*") if file.is_file())
    print(f"{CARRIED_RUN}: {size / 1e6:.2f} MB, {len(index)} digits, {int((~right[index]).sum())} of them misread")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
