"""From a function to a console command: Hydra's config, one clear message for bad input, an exit status."""

import functools
import hashlib
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import hydra
import psutil
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cnn_experiments.configs import flatten
from cnn_experiments.errors import ExperimentError, UserError
from cnn_experiments.suggestions import suggest

PACKAGE = Path(__file__).parent
# Beside the package in a checkout, inside it in an installed wheel.
CONFIG_DIRECTORY = next(path for path in (PACKAGE / "conf", PACKAGE.parent / "conf") if path.is_dir())
# What Hydra calls its plugins, and the extra of this package that installs each.
EXTRA_OF_PLUGIN = {
    "joblib": "parallel",
    "submitit_slurm": "slurm",
    "submitit_local": "slurm",
    "optuna": "optuna",
    "tpe": "optuna",
}


def command(
    config_name: str, rewrite: Callable[[list[str]], list[str]] = lambda arguments: arguments
) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Make a function of a config a console command that reads ``conf/<config_name>.yaml`` and the command line.

    `rewrite` may put others in place of the arguments before they are read.

    Exit status: 0 done; 2 the user's input was wrong; 1 anything else that went wrong; 130 interrupted.
    """

    def decorate(function: Callable[[DictConfig], Any]) -> Callable[[], None]:
        began, problem = False, None

        @functools.wraps(function)
        def task(config: DictConfig) -> Any:
            nonlocal began, problem
            began = True
            try:
                return function(config)
            except ExperimentError as error:
                problem = error  # raised again below: Hydra would write more about it than its one message

        hydra_main = hydra.main(version_base="1.3", config_path=str(CONFIG_DIRECTORY), config_name=config_name)
        run_with_hydra = hydra_main(task)

        @functools.wraps(function)
        def main() -> None:
            nonlocal began, problem
            began, problem = False, None
            os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises what it would print; the message is ours to write
            try:
                sys.argv[1:] = rewrite(sys.argv[1:])
                run_with_hydra()
                if problem is not None:
                    raise problem
            except KeyboardInterrupt as interruption:
                fail(str(interruption) or "Interrupted.", 130)
            except UserError as error:
                fail(str(error), 2)
            except ExperimentError as error:
                fail(str(error), 1)
            except (HydraException, OmegaConfBaseException) as error:
                fail(explain(error, config_name), 2)
            except BrokenPipeError:  # whoever read what was printed has seen enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            except OSError as error:
                if began:
                    raise
                fail(f"hydra.run.dir: cannot write {error.filename} ({error.strerror}). Choose another folder", 2)

        return main

    return decorate


def fail(message: str, status: int) -> None:
    """Print a message and end the process with an exit status."""
    print(message, file=sys.stderr)
    sys.exit(status)


def explain(error: Exception, config_name: str) -> str:
    """What is wrong with the command line, and what to type instead."""
    text = str(error)
    if isinstance(error, OverrideParseException):
        return f"{error.override}: {error.message}"
    if unknown := re.search(r"Could not override '([^']+)'", text):
        key = str(unknown[1])
        return f"{key}: there is no such key. {suggest(key, list(known_keys(config_name)))}"
    if option := re.search(r"Could not find '([^']+)/([^'/]+)'", text):
        group, name = map(str, option.groups())
        if extra := EXTRA_OF_PLUGIN.get(name):
            return f"{group}={name}: this needs the extra {extra}: pip install 'cnn_experiments[{extra}]'"
        options = [file.stem for file in (CONFIG_DIRECTORY / group).glob("*.yaml")]
        return f"{group}={name}: there is no such {group}. {suggest(name, options)}"
    if not text and error.__cause__ is not None:  # Hydra leaves it to the cause to say what happened
        return str(error.__cause__)
    return text


def known_keys(config_name: str) -> Iterator[str]:
    """All keys and groups that the command knows, dotted, with the groups that were chosen on the command line."""
    chosen = [
        word
        for word in sys.argv[1:]
        if re.fullmatch(r"(model|datamodule|trainer|experiment|logging|launcher|sweeper)=[\w-]+", word)
    ]
    with hydra.initialize_config_dir(str(CONFIG_DIRECTORY), version_base="1.3"):
        try:
            config = hydra.compose(config_name, overrides=chosen)
        except HydraException:
            config = hydra.compose(config_name)
    yield from (path.name for path in CONFIG_DIRECTORY.iterdir() if path.is_dir())
    yield from (key for key, _ in flatten(cast(dict[str, Any], OmegaConf.to_container(config))))


def typed_keys() -> list[str]:
    """The keys that were given on the command line, within a command."""
    return [override.split("=")[0].lstrip("+~") for override in HydraConfig.get().overrides.task]


@functools.cache
def unique_name() -> str:
    """Date, time and a random part: a folder name that nobody else has.

    Processes that torchrun or SLURM started together on one machine have the same one: it comes from their parent.
    """
    moment, token = datetime.now(), secrets.token_hex(3)
    if "TORCHELASTIC_RUN_ID" in os.environ or int(os.environ.get("SLURM_NTASKS", 1)) > 1:
        parent = psutil.Process(os.getppid())
        moment = datetime.fromtimestamp(parent.create_time())
        token = hashlib.sha256(f"{parent.pid} {parent.create_time()}".encode()).hexdigest()[:6]
    return f"{moment:%Y-%m-%d_%H-%M-%S}_{token}"


def own_gpu() -> list[int] | None:
    """`trainer.gpus` for one of several jobs at a time."""
    from cnn_experiments.trainers.processes import own_gpu

    return own_gpu()


OmegaConf.register_new_resolver("unique_name", unique_name)
OmegaConf.register_new_resolver("own_gpu", own_gpu)
OmegaConf.register_new_resolver("length", len)
OmegaConf.register_new_resolver("with_margin", lambda side: round(side * 256 / 224))  # as Krizhevsky and others cut
OmegaConf.register_new_resolver("first", lambda *values: next(value for value in values if value is not None))
OmegaConf.register_new_resolver("unless", lambda condition, value: value if condition is None else None)
