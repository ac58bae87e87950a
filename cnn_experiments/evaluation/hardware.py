"""The hardware to compute on, and the precision."""

import functools
import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from cnn_experiments.errors import UserError
from cnn_experiments.runs.directory import is_first_process
from cnn_experiments.settings.schema import GPUs, TrainerSettings

log = logging.getLogger(__name__)

# Lightning's names for precisions; None stands for single precision.
AUTOCAST = {"16-mixed": torch.float16, "16": torch.float16, "bf16-mixed": torch.bfloat16, "bf16": torch.bfloat16}
WHOLE = {"16-true": torch.float16, "bf16-true": torch.bfloat16, "64-true": torch.float64, "64": torch.float64}
SINGLE = ("32-true", "32")


@dataclass(frozen=True)
class Hardware:
    """The hardware that a network computes on, and its precision.

    Args:
        accelerator: Lightning's name for it: ``cpu``, ``gpu`` or ``mps``.
        devices: numbers of the GPUs; on the CPU, the number of processes on this machine.
        precision: one of Lightning's names; ``auto`` is already resolved.
    """

    accelerator: str
    devices: list[int] | int
    precision: str

    @property
    def device(self) -> torch.device:
        """The device that a single process computes on."""
        if isinstance(self.devices, list):
            return torch.device("cuda", self.devices[0])
        return torch.device(self.accelerator)

    def of_process(self, device: torch.device) -> "Hardware":
        """The part of it that one of several processes computes on: of several GPUs, this one."""
        return replace(self, devices=[device.index]) if isinstance(self.devices, list) else self

    @property
    def processes(self) -> int:
        """The number of processes on this machine."""
        return len(self.devices) if isinstance(self.devices, list) else int(self.devices)

    @property
    def dtype(self) -> torch.dtype:
        """The type of weights and images."""
        return WHOLE.get(self.precision, torch.float32)

    def autocast(self) -> AbstractContextManager[Any]:
        """The context to compute in: mixed precision, if that is the precision chosen."""
        if self.precision in AUTOCAST:
            return torch.autocast(self.device.type, dtype=AUTOCAST[self.precision])
        return nullcontext()

    def place(self, network: nn.Module) -> nn.Module:
        """Move a network to the device, with weights of this precision."""
        return network.to(self.device, self.dtype)

    def move(self, images: Tensor) -> Tensor:
        """Move images, as bytes or floats, to the device."""
        return images.to(self.device, non_blocking=True)

    def name(self) -> str:
        """The name of the device, as the machine reports it."""
        if isinstance(self.devices, list):
            return ", ".join(torch.cuda.get_device_name(number) for number in self.devices)
        return self.accelerator


def choose_hardware(settings: TrainerSettings) -> Hardware:
    """The hardware and precision that a run's settings mean on this machine.

    Raises:
        UserError: the machine lacks the GPUs that were asked for, or `trainer.precision` is unknown.
    """
    accelerator, devices = choose_devices(settings.gpus, settings.devices)
    precision = "32-true" if settings.precision is None else str(settings.precision)
    if precision == "auto":
        precision = fastest_precision(accelerator)
    known = [*SINGLE, *AUTOCAST, *WHOLE]
    if precision not in known:
        raise UserError(f"trainer.precision={precision}: there is no such precision. Use auto, {', '.join(known)}")
    if accelerator == "cpu" and precision.startswith("bf16") and not has_bf16_units():
        warn_of_slow_bf16(precision)
    return Hardware(accelerator, devices, precision)


def choose_devices(gpus: GPUs, cpus: int) -> tuple[str, list[int] | int]:
    """Lightning's ``accelerator`` and ``devices`` for `trainer.gpus` and, on the CPU, `trainer.devices`.

    Raises:
        UserError: the machine lacks the GPUs that were asked for.
    """
    mac = torch.backends.mps.is_available()
    available = 1 if mac else torch.cuda.device_count()
    if gpus == 0 or (gpus is None and not available):
        return "cpu", cpus
    wanted = gpus if isinstance(gpus, list) else list(range(available if gpus == -1 else gpus or 1))
    if not wanted or max(wanted) >= available:
        have = {0: "no GPU", 1: "one GPU, number 0"}.get(available, f"{available} GPUs, 0 to {available - 1}")
        raise UserError(f"trainer.gpus={gpus}: this machine has {have}. Use trainer.gpus=0 for the CPU")
    return ("mps", 1) if mac else ("gpu", wanted)


def fastest_precision(accelerator: str) -> str:
    """The precision that `auto` means: bf16-mixed if the hardware computes in bf16, otherwise 32-true."""
    if accelerator == "gpu":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    return "bf16-mixed" if accelerator == "cpu" and has_bf16_units() else "32-true"


def has_bf16_units() -> bool:
    """Whether the processor computes in bf16 by itself."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(unit) for unit in ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16"))


@functools.cache
def warn_of_slow_bf16(precision: str) -> None:
    """Say once that a precision is slow on this processor."""
    if is_first_process():
        log.warning(
            "trainer.precision=%s: this processor has no units for bf16, which makes training 13 to 17 times slower "
            "than trainer.precision=32-true",
            precision,
        )
