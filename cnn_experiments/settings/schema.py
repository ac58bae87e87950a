"""The settings of a run as one typed object: read from a config once, and passed on in parts."""

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen

from cnn_experiments.errors import UserError
from cnn_experiments.settings.classes import KnownClasses
from cnn_experiments.settings.constructors import Constructor, constructor, convert
from cnn_experiments.settings.containers import GROUPS, updated
from cnn_experiments.settings.renamed import modernised
from cnn_experiments.settings.suggestions import suggest

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from cnn_experiments.datamodules.base import ImageData
    from cnn_experiments.logging.dashboard import Dashboard

Seed = Annotated[int, Ge(0), Le(2**32 - 1)]
GPUs = Annotated[int, Ge(-1)] | list[Annotated[int, Ge(0)]] | None
BatchLimit = Annotated[int, Ge(0)] | Annotated[float, Ge(0), Le(1)] | None
Count = Annotated[int, Gt(0)]
Decay = Annotated[float, Gt(0), Lt(1)]
Positive = Annotated[float, Gt(0)]
# Of the trainer, that are not Lightning's.
OWN_KEYS = (
    *("gpus", "early_stopping", "weight_average", "find_learning_rate", "snapshots"),
    *("mixup", "cutmix", "label_smoothing", "training_image_sizes", "adaptive_clipping"),
    *("layer_sequential_init", "cuda_graphs"),
)
LOGGERS = ("tensorboard", "mlflow", "wandb")
SomeBatches = Count | Annotated[float, Gt(0), Le(1)] | None
Unlimited = Literal[-1]

# Keys of Lightning's Trainer that are checked here, before anything is loaded: Lightning finds a wrong value of most of
# them only when it trains, or never.
LIGHTNING: dict[str, Any] = {
    "accumulate_grad_batches": Count,
    "check_val_every_n_epoch": Count | None,
    "devices": Count,
    "fast_dev_run": bool | Count,
    "gradient_clip_val": Annotated[float, Ge(0)] | None,
    "limit_test_batches": BatchLimit,
    "limit_train_batches": SomeBatches,
    "limit_val_batches": BatchLimit,
    "log_every_n_steps": Count | None,
    "max_epochs": Count | Unlimited | None,
    "max_steps": Count | Unlimited,
    "num_nodes": Count,
    "num_sanity_val_steps": Annotated[int, Ge(-1)] | None,
    "overfit_batches": BatchLimit,
    "precision": str | int | None,
    "reload_dataloaders_every_n_epochs": Annotated[int, Ge(0)],
    "val_check_interval": SomeBatches | str,
}

GIVEN = "given from Python"  # stands for the class of a network or data set that was handed over as an object


@dataclass(frozen=True)
class Schedule:
    """The learning rate over the course of training, as a share of the optimizer's ``lr``.

    Args:
        warmup: share of all steps during which the rate rises linearly from 0.
        decay: ``cosine`` (falling to 0 at the last step) or ``constant``.
    """

    warmup: Annotated[float, Ge(0), Le(1)]
    decay: Literal["cosine", "constant"]

    def share(self, step: int, steps: float) -> float:
        """Share of the learning rate at a step, counted from 0, out of `steps`."""
        rising = self.warmup * steps
        if step < rising:
            return (step + 1) / (rising + 1)
        if self.decay == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising) / max(1.0, steps - rising))))


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained: the keys of the config group ``model`` that are not the network's own.

    Args:
        optimizer: makes the optimizer; call it with ``params=``.
        schedule: the learning rate over the course of training.
        compile: whether to run the network through ``torch.compile``.
        channels_last: whether feature maps are stored with the channels of each pixel together (NHWC).
    """

    optimizer: "Constructor[Optimizer]"
    schedule: Schedule
    compile: bool
    channels_last: bool


@dataclass(frozen=True)
class ModelSettings:
    """The network: its name in tables and folders, and its constructor (None if it was given as an object)."""

    name: str
    network: "Constructor[nn.Module] | None"

    def build(self) -> "nn.Module":
        """A network with initial weights, drawn from torch's global random state.

        Raises:
            UserError: it was given from Python, or its constructor refused a value.
        """
        if self.network is None:
            raise UserError(
                "model: this run's network was given from Python and cannot be made from config.yaml. Open the run "
                "with cnn.open_run(directory, network=...)"
            )
        return self.network()


@dataclass(frozen=True)
class DataSettings:
    """The data set: its name, what networks need to know of it, and its constructor (None: given as an object).

    Args:
        name: its name in tables and folders.
        num_classes: number of classes.
        channels: number of channels of the images.
        image_size: side of the images that the network gets, in pixels.
        data: makes the data set.
    """

    name: str
    num_classes: int
    channels: int
    image_size: int
    data: "Constructor[ImageData] | None"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the images that the network gets."""
        return self.channels, self.image_size, self.image_size

    def build(self) -> "ImageData":
        """The data set.

        Raises:
            UserError: it was given from Python, its constructor refused a value, or its classes or channels are not
                those that the config says.
        """
        if self.data is None:
            raise UserError(
                "datamodule: this run's data set was given from Python and cannot be made from config.yaml. Open the "
                "run with cnn.open_run(directory, data=...)"
            )
        data = self.data()
        if len(data.class_names) != self.num_classes:
            raise UserError(
                f"datamodule.num_classes={self.num_classes}: this data set has {len(data.class_names)} classes "
                f"({', '.join(data.class_names)}). Leave the key out, or choose the classes"
            )
        if data.input_shape[0] != self.channels:
            raise UserError(
                f"datamodule.channels={self.channels}: the images of this data set have {data.input_shape[0]}. Leave "
                "the key out"
            )
        return data


@dataclass(frozen=True)
class TrainerSettings:
    """How long to train, on what hardware and in what precision.

    Args:
        gpus: None for a GPU if there is one, 0 for the CPU, a number of GPUs, -1 for all, or a list of their numbers.
        devices: number of processes, on the CPU.
        precision: one of Lightning's names, or ``auto``.
        num_nodes: number of machines.
        limit_test_batches: a number of batches to test on, or a share from 0.0 to 1.0; None for all.
        fast_dev_run: whether to run only one batch (or this many) of each part.
        early_stopping: the training stops after so many validations without a better accuracy; None for never.
        weight_average: decay of the moving average of the weights that is validated and tested; None for none.
        find_learning_rate: whether a range test replaces ``model.optimizer.lr`` before the training.
        snapshots: the weights are kept after every so many epochs; None for never.
        mixup: α of the mixing of training images; None for none.
        cutmix: α of the putting of rectangles of other training images into each; None for none.
        label_smoothing: the share of a training image's label that all classes share.
        training_image_sizes: sides in pixels that training images are scaled to, for equal numbers of epochs one after
            the other; None for the data set's own.
        adaptive_clipping: the largest share of the norm of a unit's weights that its gradient may have; None for any.
        layer_sequential_init: whether the first batch scales the weights of each layer before the training.
        cuda_graphs: whether the passes of the network are recorded and replayed, on a GPU.
        lightning: all keys of Lightning's Trainer, including those above; the Trainer checks them.
    """

    gpus: GPUs
    devices: Count
    precision: str | int | None
    num_nodes: Count
    limit_test_batches: BatchLimit
    fast_dev_run: bool | int
    early_stopping: Count | None
    weight_average: Decay | None
    find_learning_rate: bool
    snapshots: Count | None
    mixup: Positive | None
    cutmix: Positive | None
    label_smoothing: Annotated[float, Ge(0), Lt(1)]
    training_image_sizes: tuple[Count, ...] | None
    adaptive_clipping: Positive | None
    layer_sequential_init: bool
    cuda_graphs: bool
    lightning: Mapping[str, Any]

    def training_image_size(self, epoch: int) -> int | None:
        """Side of the training images in an epoch, counted from 0; None for the data set's own."""
        sizes = self.training_image_sizes
        if sizes is None or len(sizes) == 1:
            return sizes[0] if sizes else None
        size: int = sizes[epoch * len(sizes) // self.lightning["max_epochs"]]
        return size

    @property
    def progress(self) -> bool:
        """Whether the progress is shown, where somebody sees it."""
        return self.lightning.get("enable_progress_bar") is not False


@dataclass(frozen=True)
class Settings:
    """Everything that a run depends on.

    Args:
        seed: the origin of all randomness.
        model: the network.
        training: how it is trained.
        datamodule: the data set.
        trainer: how long to train, on what hardware and in what precision.
        logging: what TensorBoard shows of each layer.
        loggers: where figures are logged while it trains; each is one of `LOGGERS`.
        config: the config that these were read from, in plain containers; for the record.
        overrides: the words that were typed; for the record.
    """

    seed: int
    model: ModelSettings
    training: TrainingSettings
    datamodule: DataSettings
    trainer: TrainerSettings
    logging: "Constructor[Dashboard]"
    loggers: tuple[str, ...]
    config: Mapping[str, Any]
    overrides: tuple[str, ...] = ()

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the images that the network gets."""
        return self.datamodule.input_shape

    def with_precision(self, precision: str) -> "Settings":
        """The same settings with what ``auto`` became on some machine, so that it is recorded and kept."""
        lightning = {**self.trainer.lightning, "precision": precision}
        return replace(
            self,
            trainer=replace(self.trainer, precision=precision, lightning=lightning),
            config=updated(self.config, "trainer.precision", precision),
        )

    def with_learning_rate(self, rate: Any) -> "Settings":
        """The same settings with the learning rate that was found on their behalf, so that it is recorded and kept.

        Raises:
            UserError: it is no learning rate.
        """
        rate = convert(rate, Annotated[float, Gt(0)], "model.optimizer.lr")
        optimizer = self.training.optimizer
        config = updated(updated(self.config, "model.optimizer.lr", rate), "trainer.find_learning_rate", False)
        return replace(
            self,
            training=replace(
                self.training, optimizer=replace(optimizer, arguments={**optimizer.arguments, "lr": rate})
            ),
            trainer=replace(self.trainer, find_learning_rate=False),
            config=config,
        )

    def network(self) -> "nn.Module":
        """A network with initial weights; see `ModelSettings.build`."""
        return self.model.build()


def read_settings(config: Mapping[str, Any], classes: KnownClasses, overrides: tuple[str, ...] = ()) -> Settings:
    """Check a config and turn it into settings.

    Args:
        config: the config in plain containers, interpolations resolved; names of earlier versions are understood.
        classes: the classes that it may name.
        overrides: the words that were typed.

    Raises:
        UserError: a key is unknown or missing, or a value is wrong: its type, its range, or a class that is not known.
    """
    config = {key: value for key, value in modernised(config).items() if key in GROUPS}
    for group in ("model", "datamodule", "trainer", "logging"):
        if not isinstance(config.get(group), Mapping):
            raise UserError(f"{group}: this part of the config is missing. A run's config.yaml holds it")
    model, training = read_model(config["model"], classes)
    trainer = _read_trainer(config["trainer"])
    _check_end(trainer.lightning, training.schedule)
    if (
        trainer.adaptive_clipping
        and str(trainer.precision).startswith("16")
        and training.optimizer.arguments.get("fused")
    ):
        raise UserError(
            f"trainer.adaptive_clipping={trainer.adaptive_clipping}: with trainer.precision={trainer.precision} and "
            "model.optimizer.fused=true the optimizer alone knows the gradients' scale. Set model.optimizer.fused=false"
        )
    if trainer.find_learning_rate:
        _check_learning_rate(training.optimizer, overrides)
    return Settings(
        seed=convert(config.get("seed"), Seed, "seed"),
        model=model,
        training=training,
        datamodule=read_data(config["datamodule"], classes),
        trainer=trainer,
        logging=_read_group(config["logging"], "logging", classes),
        loggers=_read_loggers(config.get("logger", "tensorboard")),  # runs of earlier versions have no such key
        config=config,
        overrides=overrides,
    )


def _read_loggers(logger: Any) -> tuple[str, ...]:
    names = [logger] if isinstance(logger, str) else logger
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(
            f"logger={logger}: give the name of a logger ({', '.join(LOGGERS)}), or a list such as [tensorboard,mlflow]"
        )
    for name in names:
        if name not in LOGGERS:
            raise UserError(f"logger={name}: there is no such logger. {suggest(name, list(LOGGERS))}")
        if names.count(name) > 1:
            raise UserError(f"logger=[{','.join(names)}]: {name} is there twice. Name each logger once")
    return tuple(names)


def _read_group(
    group: Mapping[str, Any], path: str, classes: KnownClasses, later: tuple[str, ...] = ()
) -> Constructor[Any]:
    settings = {key: value for key, value in group.items() if key != "_target_"}
    return constructor(classes.find(group.get("_target_"), path), settings, path, later)


def read_model(group: Mapping[str, Any], classes: KnownClasses) -> tuple[ModelSettings, TrainingSettings]:
    """Read the config group ``model``: the settings of the network, and those of its training.

    Raises:
        UserError: a key is unknown or missing, or a value is wrong.
    """
    of_training = {"compile": bool, "channels_last": bool, "schedule": Schedule}
    ours = {"name", "optimizer", *of_training}
    for key in ours - group.keys():
        raise UserError(f"model.{key}: this key is missing. conf/model/lenet5.yaml shows what a network's group holds")
    if not isinstance(group["optimizer"], Mapping):
        raise UserError(f"model.optimizer={group['optimizer']}: give a group with _target_ and its arguments")
    training = {key: convert(group[key], annotation, f"model.{key}") for key, annotation in of_training.items()}
    optimizer = _read_group(group["optimizer"], "model.optimizer", classes, later=("params",))
    network = None
    if group.get("_target_") != GIVEN:
        network = _read_group({key: value for key, value in group.items() if key not in ours}, "model", classes)
    return ModelSettings(_name(group, "model"), network), TrainingSettings(optimizer=optimizer, **training)


def read_data(group: Mapping[str, Any], classes: KnownClasses) -> DataSettings:
    """Read the config group ``datamodule``.

    Keys that describe the data are passed to the constructor if it has such parameters.

    Raises:
        UserError: a key is unknown or missing, or a value is wrong.
    """
    numbers = {key: convert(group.get(key), Count, f"datamodule.{key}") for key in ("num_classes", "channels")}
    numbers["image_size"] = convert(group.get("image_size"), Count, "datamodule.image_size")
    name = _name(group, "datamodule")
    if group.get("_target_") == GIVEN:
        return DataSettings(name=name, data=None, **numbers)
    target = classes.find(group.get("_target_"), "datamodule")
    parameters = inspect.signature(target).parameters
    settings = {
        key: value
        for key, value in group.items()
        if key != "_target_" and (key in parameters or key not in ("name", *numbers))
    }
    return DataSettings(name=name, data=constructor(target, settings, "datamodule"), **numbers)


def _name(group: Mapping[str, Any], path: str) -> str:
    name: str = convert(group.get("name"), str, f"{path}.name")
    if not name.replace("-", "_").isidentifier():
        raise UserError(f"{path}.name={name!r}: use letters, digits, - and _ only: folders are called after it")
    return name


def _read_trainer(group: Mapping[str, Any]) -> TrainerSettings:
    lightning = {
        key: convert(value, LIGHTNING.get(key, Any), f"trainer.{key}")
        for key, value in group.items()
        if key not in OWN_KEYS
    }
    if str(lightning.get("strategy")).rpartition("_")[2] in ("spawn", "fork", "notebook"):
        raise UserError(
            f"trainer.strategy={lightning['strategy']}: its processes are started here, not by Lightning. Use ddp"
        )
    _check_validation(lightning)
    if group.get("early_stopping") is not None and lightning.get("limit_val_batches") == 0:
        raise UserError(
            f"trainer.early_stopping={group['early_stopping']}: with trainer.limit_val_batches=0 nothing is validated. "
            "Leave one of them out"
        )
    return TrainerSettings(
        gpus=_read_gpus(group.get("gpus")),
        devices=lightning.get("devices", 1),
        precision=lightning.get("precision"),
        num_nodes=lightning.get("num_nodes", 1),
        limit_test_batches=lightning.get("limit_test_batches"),
        fast_dev_run=lightning.get("fast_dev_run", False),
        early_stopping=convert(group.get("early_stopping"), Count | None, "trainer.early_stopping"),
        weight_average=convert(group.get("weight_average"), Decay | None, "trainer.weight_average"),
        find_learning_rate=_read_find_learning_rate(group, lightning),
        snapshots=convert(group.get("snapshots"), Count | None, "trainer.snapshots"),
        mixup=convert(group.get("mixup"), Positive | None, "trainer.mixup"),
        cutmix=convert(group.get("cutmix"), Positive | None, "trainer.cutmix"),
        label_smoothing=convert(
            group.get("label_smoothing", 0.0), Annotated[float, Ge(0), Lt(1)], "trainer.label_smoothing"
        ),
        training_image_sizes=_read_training_image_sizes(group.get("training_image_sizes"), lightning),
        adaptive_clipping=_read_adaptive_clipping(group.get("adaptive_clipping"), lightning),
        layer_sequential_init=convert(group.get("layer_sequential_init", False), bool, "trainer.layer_sequential_init"),
        cuda_graphs=convert(group.get("cuda_graphs", False), bool, "trainer.cuda_graphs"),
        lightning=lightning,
    )


def _read_training_image_sizes(sizes: Any, lightning: Mapping[str, Any]) -> tuple[int, ...] | None:
    key = "trainer.training_image_sizes"
    read: tuple[int, ...] | None = convert(sizes, Annotated[tuple[Count, ...], MinLen(1)] | None, key)
    if read is None or len(read) == 1:
        return read
    epochs, steps = lightning.get("max_epochs"), lightning.get("max_steps", -1)
    if not isinstance(epochs, int) or epochs < len(read) or steps != -1:
        raise UserError(
            f"{key}={list(read)}: each size needs an epoch at least, and trainer.max_epochs={epochs} with "
            f"trainer.max_steps={steps} does not give it one. Set max_epochs to {len(read)} or more, and no max_steps"
        )
    return read


def _read_adaptive_clipping(share: Any, lightning: Mapping[str, Any]) -> float | None:
    read: float | None = convert(share, Positive | None, "trainer.adaptive_clipping")
    if read is not None and lightning.get("gradient_clip_val"):
        raise UserError(
            f"trainer.adaptive_clipping={share}: trainer.gradient_clip_val={lightning['gradient_clip_val']} clips "
            "gradients too. Leave one of them out"
        )
    return read


def _read_find_learning_rate(group: Mapping[str, Any], lightning: Mapping[str, Any]) -> bool:
    wanted: bool = convert(group.get("find_learning_rate", False), bool, "trainer.find_learning_rate")
    if wanted and lightning.get("fast_dev_run"):
        raise UserError(
            f"trainer.find_learning_rate=true: with trainer.fast_dev_run={lightning['fast_dev_run']} there are too few "
            "steps to find one. Leave one of them out"
        )
    return wanted


def _check_learning_rate(optimizer: "Constructor[Optimizer]", overrides: tuple[str, ...]) -> None:
    """Raise a UserError if the learning rate that is to be found would replace one that was typed, or none."""
    key = "model.optimizer.lr"
    if any(word.split("=")[0].lstrip("+") == key for word in overrides):
        raise UserError(f"trainer.find_learning_rate=true: this replaces {key}, which was given too. Leave one out")
    if "lr" not in optimizer.arguments:
        raise UserError(f"trainer.find_learning_rate=true: there is no {key} that it could replace. Give one")


def _check_validation(lightning: Mapping[str, Any]) -> None:
    """Raise a UserError if an epoch is known to be shorter than the interval between validations."""
    every, batches = lightning.get("val_check_interval"), lightning.get("limit_train_batches")
    if type(every) is type(batches) is int and every > batches and lightning.get("check_val_every_n_epoch", 1):
        raise UserError(
            f"trainer.val_check_interval={every}: an epoch has trainer.limit_train_batches={batches} batches. Give at "
            "most that many, or count over epochs with trainer.check_val_every_n_epoch=null"
        )


def _check_end(lightning: Mapping[str, Any], schedule: Schedule) -> None:
    """Raise a UserError if the learning rate depends on the number of all steps and there is no end to them."""
    endless = lightning.get("max_epochs") == -1 and lightning.get("max_steps", -1) == -1
    if endless and (schedule.warmup or schedule.decay != "constant"):
        raise UserError(
            "trainer.max_epochs=-1: the learning rate rises and falls over the whole training, which needs an end. Set "
            "trainer.max_steps, or model.schedule.decay=constant and model.schedule.warmup=0"
        )


def _read_gpus(gpus: Any) -> GPUs:
    try:
        converted: GPUs = convert(gpus, GPUs, "trainer.gpus")
    except UserError as error:
        raise UserError(
            f"trainer.gpus={gpus}: give null (a GPU if there is one), 0 (the CPU), a number of GPUs, -1 (all) or "
            "a list of their numbers such as [0,1]"
        ) from error
    return converted
