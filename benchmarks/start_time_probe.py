"""Run a command and say ``first work`` when a network computes for the first time; for start_time.py.

For cnn-train that is the first step of the training: what measures the layers before that does not count.
"""

import importlib
import sys
import threading
import time
from typing import Any


def announce_first_work(training: bool) -> None:
    """Wait until torch has been imported, and watch for the first call of a network."""
    while getattr(getattr(sys.modules.get("torch"), "__spec__", None), "_initializing", True):
        time.sleep(0.002)
    import torch
    from torch.nn.modules.module import register_module_forward_pre_hook

    def announce(module: torch.nn.Module, inputs: Any) -> None:
        if training and not (module.training and torch.is_grad_enabled()):
            return
        handle.remove()
        print("first work", file=sys.__stdout__, flush=True)  # the exporter redirects sys.stdout

    handle = register_module_forward_pre_hook(announce)


if __name__ == "__main__":
    verb = sys.argv.pop(1)
    threading.Thread(target=announce_first_work, args=(verb == "train",), daemon=True).start()
    importlib.import_module(f"cnn_experiments.commands.{verb}").main()
