"""A trained network as a file that other programs can run."""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cnn_experiments.errors import ExperimentError, UserError
from cnn_experiments.inspection.layer_outputs import evaluation_mode
from cnn_experiments.runs.files import write_bytes

CHECKED_BATCHES = (1, 3)  # batch sizes that are compared; the file takes any
TOLERANCE = 1e-4  # largest difference of a logit, as a share of the largest logit; single precision alone makes up 1e-6
EXPORTERS = ("torch.onnx", "onnxscript", "onnx_ir")  # names of their loggers


@dataclass(frozen=True)
class Exported:
    """What an exported file takes and gives.

    Args:
        difference: between the file's logits and the network's, as a share of the largest logit.
        input: what the file takes, in words.
        output: what it gives, in words.
    """

    difference: float
    input: str
    output: str


def export_onnx(
    network: nn.Module,
    input_shape: tuple[int, int, int],
    class_names: Sequence[str],
    described: Mapping[str, Any],
    file: Path,
) -> Exported:
    """Write a network as ONNX and check that ONNX Runtime computes the same logits; a wrong file is not kept.

    Args:
        network: on the CPU.
        input_shape: channels, height and width of its images.
        class_names: names of the classes, which the file holds.
        described: what else the file says about itself: text, or what becomes JSON.
        file: where to write; its folder must exist.

    Raises:
        UserError: there is no such folder, or no file of that name can be, or the network cannot be exported.
        ExperimentError: the logits differ, or the disk is full or the folder read-only.
    """
    if not file.parent.is_dir():
        raise UserError(f"output={file}: there is no folder {file.parent}. Make it, or choose another")
    shape = ", ".join(map(str, input_shape))
    words = {
        "input": f"images (N, {shape}), float32, prepared as cnn-predict does",
        "output": "logits (N, classes); their softmax is the classes' probabilities",
    }
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in described.items()}
    texts |= words | {"classes": json.dumps(list(class_names))}
    expected = logits_to_compare(network, input_shape)  # first: a network that fails should not wait for the exporter
    content = as_onnx(network, input_shape, texts)
    try:
        difference = greatest_difference(expected, content)
    except Exception as error:  # ONNX Runtime's errors have no class in common
        raise cannot_export(network, error) from error
    if not difference <= TOLERANCE:  # nan too
        raise ExperimentError(
            f"the file's logits differ from the network's by {difference:.1e} of the largest logit, more than "
            f"{TOLERANCE:.0e}: nothing is written. Please report this, with config.yaml"
        )
    try:
        write_bytes(file, content)
    except OSError as error:
        raise UserError(f"output={file}: cannot be written ({error.strerror}). Choose another file") from error
    return Exported(difference, **words)


def as_onnx(network: nn.Module, input_shape: tuple[int, int, int], described: Mapping[str, str]) -> bytes:
    """The content of an ONNX file of a network in evaluation mode, for batches of any size.

    Args:
        network: on the CPU.
        input_shape: channels, height and width of its images.
        described: what the file says about itself.

    Raises:
        UserError: the network's forward cannot be followed.
    """
    import onnx

    try:
        with evaluation_mode(network), quiet_exporter():
            program = torch.onnx.export(
                network,
                (torch.zeros(2, *input_shape),),  # 2, since a batch of 1 would be taken for a constant
                dynamo=True,
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
    except torch.onnx.OnnxExporterError as error:
        raise cannot_export(network, error.__cause__ or error) from error
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, dict(described))
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def cannot_export(network: nn.Module, error: BaseException) -> UserError:
    """What to tell the user when a network of their own cannot become an ONNX file."""
    reason = " ".join(str(error).partition("\n")[0].split())
    return UserError(
        f"{type(network).__name__}: its forward cannot be exported ({reason}). Nothing is written. It needs a forward "
        "for batches of any size, without conditions and loops that depend on the images"
    )


@contextlib.contextmanager
def quiet_exporter() -> Iterator[None]:
    """Keep the exporter from telling of each of its steps."""
    loggers = {logging.getLogger(name): logging.getLogger(name).level for name in EXPORTERS}
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in loggers.items():
            logger.setLevel(level)


def logits_to_compare(network: nn.Module, input_shape: tuple[int, int, int]) -> list[tuple[Tensor, Tensor]]:
    """Random images (N, *input_shape) and the network's logits (N, classes) for them, for some batch sizes N.

    Args:
        network: on the CPU; it is run in evaluation mode.
        input_shape: channels, height and width of its images.
    """
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(number, *input_shape, generator=generator) for number in CHECKED_BATCHES]
    with evaluation_mode(network), torch.no_grad():
        return [(images, network(images)) for images in batches]


def greatest_difference(expected: list[tuple[Tensor, Tensor]], content: bytes) -> float:
    """The largest difference between expected logits and those of an ONNX file, as a share of the largest logit.

    Args:
        expected: images and logits, as `logits_to_compare` returns them.
        content: the content of the file.

    Returns:
        The share, or nan if there is any nan.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    differences = []
    for images, logits in expected:
        (found,) = session.run(["logits"], {"images": images.numpy()})
        differences.append((torch.from_numpy(found) - logits).abs().max() / logits.abs().max())
    return torch.stack(differences).max().item()  # the maximum with a nan is nan
