"""cnn-export: a trained network as a file that other programs can run."""

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from cnn_experiments.command import command
from cnn_experiments.errors import ExperimentError, UserError
from cnn_experiments.runs import Run
from cnn_experiments.summary import image_shape
from cnn_experiments.trained import load_trained

if TYPE_CHECKING:
    from torch import nn

CHECKED_BATCHES = (1, 3)  # sizes that are tried: the file takes any
TOLERANCE = 1e-4  # how far a logit may be off, as a share of the largest; single precision alone makes up 1e-6


@command("export")
def main(config: DictConfig) -> None:
    """Write the network, check that the file gives the same logits, and say how to use it."""
    if config.format != "onnx":
        raise UserError(f"format={config.format}: there is no such format. Use format=onnx")
    if missing := [name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None]:
        raise UserError(
            f"format=onnx: this needs the extra export ({', '.join(missing)} is missing): "
            "pip install 'cnn_experiments[export]'"
        )
    classifier, datamodule, settings = load_trained(config)
    target = Path(config.output or beside_the_run(config))
    if not target.parent.is_dir():
        raise UserError(f"output={target}: there is no folder {target.parent}. Make it, or choose another")
    shape = image_shape(settings["model"])
    described = {
        "model": settings["model"]["name"],
        "classes": json.dumps(list(datamodule.class_names)),
        "input": f"images (N, {', '.join(map(str, shape))}), float32, prepared as cnn-predict does",
        "output": "logits (N, classes); their softmax is the classes' probabilities",
        "config": json.dumps(settings),
    }
    temporary = target.with_name(f".{target.name}.new")
    try:
        write_onnx(classifier.network.cpu().eval(), shape, described, temporary)
        difference = greatest_difference(classifier.network, shape, temporary)
        if not difference <= TOLERANCE:  # nan too
            raise ExperimentError(
                f"the file's logits differ from the network's by {difference:.1e} of the largest logit, more than "
                f"{TOLERANCE:.0e}: nothing is written. Please report this, with config.yaml"
            )
        os.replace(temporary, target)
    except OSError as error:
        raise UserError(f"output={target}: cannot be written ({error.strerror}). Choose another file") from error
    finally:
        temporary.unlink(missing_ok=True)
    print(f"written: {target} ({target.stat().st_size / 2**20:.1f} MiB)")
    print(
        f"ONNX Runtime gives the same logits for batches of 1 and 3 (differences up to {difference:.1e} of the largest)"
    )
    print(f"input: {described['input']}\noutput: {described['output']}\nclasses: {', '.join(datamodule.class_names)}")


def beside_the_run(config: DictConfig) -> Path:
    """``network.onnx`` in the run directory, or beside the checkpoint by its name."""
    if config.checkpoint is not None:
        return Path(config.checkpoint).with_suffix(".onnx")
    return Run.existing(config.run, "run").directory / "network.onnx"


def write_onnx(network: "nn.Module", shape: tuple[int, int, int], described: dict[str, Any], file: Path) -> None:
    """Write a network as ONNX, for batches of any size.

    Args:
        network: in evaluation mode, on the CPU.
        shape: channels, height and width of its images.
        described: what the file says of itself, text by name.
        file: where to.
    """
    import contextlib
    import io
    import logging
    import warnings

    import onnx
    import torch

    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # it tells of each of its steps
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (torch.zeros(2, *shape),),  # 2: a batch of 1 would be taken for a constant
            dynamo=True,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, described)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, file)


def greatest_difference(network: "nn.Module", shape: tuple[int, int, int], file: Path) -> float:
    """Between the logits of the network and of the file in ONNX Runtime, as a share of the largest of them."""
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    differences = []
    for number in CHECKED_BATCHES:
        images = torch.randn(number, *shape, generator=generator)
        with torch.no_grad():
            expected = network(images)
        (found,) = session.run(["logits"], {"images": images.numpy()})
        differences.append(((torch.from_numpy(found) - expected).abs().max() / expected.abs().max()).item())
    return max(differences, key=lambda difference: (difference != difference, difference))


if __name__ == "__main__":
    main()
