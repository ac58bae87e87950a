"""cnn-export: a trained network as a file that other programs can run."""

from importlib.util import find_spec
from pathlib import Path

from omegaconf import DictConfig

from cnn_experiments.commands.hydra_command import command, known_classes, typed_settings
from cnn_experiments.errors import UserError
from cnn_experiments.runs.directory import RunDirectory
from cnn_experiments.runs.formats import printable


@command("export")
def main(config: DictConfig) -> None:
    """Export the network, check that the file computes the same logits, and say how to use it."""
    if config.format != "onnx":
        raise UserError(f"format={config.format}: there is no such format. Use format=onnx")
    if missing := [name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None]:
        raise UserError(
            f"format=onnx: this needs the extra export ({', '.join(missing)} is missing): "
            "pip install 'cnn_experiments[export]'"
        )
    from cnn_experiments.evaluation.run import opened
    from cnn_experiments.inspection.export import export_onnx

    run = opened(config.run, config.checkpoint, known_classes(config), typed_settings(config))
    target = beside_the_run(config) if config.output is None else Path(str(config.output))
    described = {"model": run.settings.model.name, "config": run.settings.config}
    exported = export_onnx(run.network(), run.data.input_shape, run.data.class_names, described, target)
    print(f"written: {target} ({target.stat().st_size / 2**20:.1f} MiB)")
    print(
        "ONNX Runtime gives the same logits for batches of 1 and 3 (differences up to "
        f"{exported.difference:.1e} of the largest)"
    )
    classes = printable(", ".join(run.data.class_names))
    print(f"input: {exported.input}\noutput: {exported.output}\nclasses: {classes}")


def beside_the_run(config: DictConfig) -> Path:
    """``network.onnx`` in the run directory, or a file named after the checkpoint beside it."""
    if config.checkpoint is not None:
        return Path(config.checkpoint).with_suffix(".onnx")
    return RunDirectory.existing(config.run, "run").path / "network.onnx"


if __name__ == "__main__":
    main()
