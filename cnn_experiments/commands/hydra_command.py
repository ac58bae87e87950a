"""Turns a function into a console command: Hydra's config, one clear message for bad input, an exit status."""

import errno
import functools
import io
import os
import re
import shlex
import string
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import hydra
from hydra import version as hydra_version
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException, OverrideParseException
from hydra.version import VersionBase
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cnn_experiments.commands import resolvers
from cnn_experiments.errors import ExperimentError, UserError
from cnn_experiments.runs.directory import MACHINE_KEYS, RunDirectory, is_first_process, shown
from cnn_experiments.runs.formats import printable
from cnn_experiments.settings.classes import CONFIG_DIRECTORY, KnownClasses
from cnn_experiments.settings.containers import GROUPS, flatten, select, updated
from cnn_experiments.settings.renamed import modernised_word
from cnn_experiments.settings.suggestions import suggest

if TYPE_CHECKING:
    from cnn_experiments.settings.schema import Settings

# What Hydra calls its plugins, and the extra of this package that installs each.
EXTRA_OF_PLUGIN = {
    "joblib": "parallel",
    "submitit_slurm": "slurm",
    "submitit_local": "slurm",
    "ray": "ray",
    "optuna": "optuna",
    "tpe": "optuna",
}
# Options of Hydra's with which a command prints something and does nothing.
ASKS = {"--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc"}
# Keys whose value is a path, which may have any characters.
NAMES_FILES = {
    "checkpoint",
    "datamodule.data_dir",
    "datamodule.source",
    "hydra.run.dir",
    "hydra.sweep.dir",
    "output",
    "resume",
    "run",
    "runs",
    "with",
}
CHOOSES_OPTION = re.compile(r"(model|datamodule|trainer|experiment|logging|launcher|sweeper)=[\w-]+")

resolvers.register()
_one_at_a_time = threading.RLock()


def command(
    config_name: str, rewrite: Callable[[list[str]], list[str]] = list, announcement: str = ""
) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Turn a function of a config into a console command that reads ``conf/<config_name>.yaml`` and the command line.

    Exit status: 0 done; 2 the user's input was wrong; 1 any other failure; 130 interrupted.

    Args:
        config_name: name of the file in conf/, without its ending.
        rewrite: maps the typed arguments to those that Hydra reads.
        announcement: a line to print at once, where what follows takes seconds.
    """

    def decorate(function: Callable[[DictConfig], Any]) -> Callable[[], None]:
        problem: ExperimentError | OmegaConfBaseException | None = None
        began = False

        @functools.wraps(function)
        def task(config: DictConfig) -> Any:
            nonlocal problem, began
            began = True
            try:
                return function(config)
            except (ExperimentError, OmegaConfBaseException) as error:
                problem = error  # raised again below: Hydra would write more about it than its one message

        hydra_main = hydra.main(version_base="1.3", config_path=str(CONFIG_DIRECTORY), config_name=config_name)
        run_with_hydra = hydra_main(task)

        @functools.wraps(function)
        def main() -> None:
            nonlocal problem, began
            problem, began = None, False
            prepare_process()
            try:
                words = with_todays_names(sys.argv[1:])
                if asks_for_help(words):
                    print_help(config_name, words)
                else:
                    if announcement and is_first_process() and not ASKS.intersection(words):
                        print(announcement, flush=True)
                    sys.argv[1:] = rewrite(words)
                    run_with_hydra()
                    if problem is not None:
                        raise problem
                sys.stdout.flush()
            except BaseException as error:
                if not end(error, config_name, began):
                    raise

        return main

    return decorate


def prepare_process() -> None:
    """Have Hydra raise what it would print, and print characters that the terminal lacks as escapes."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # the message is ours to write
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def end(error: BaseException, config_name: str, began: bool) -> bool:
    """End the process with a message and an exit status; return False if the traceback should be shown.

    Args:
        error: what was raised.
        config_name: config of the command; its keys are suggested for a mistyped one.
        began: whether the command itself had begun; before that, Hydra was reading its config.
    """
    match error:
        case SystemExit(code=2) if not isinstance(error, _Failed):  # Hydra lacks an option, and has listed its own
            print(f"Settings have no dashes: KEY=VALUE. cnn-{config_name} --help lists them", file=sys.stderr)
        case KeyboardInterrupt():
            fail(str(error) or "Interrupted.", 130)
        case ExperimentError():
            fail(str(error), 2 if isinstance(error, UserError) else 1)
        case HydraException() | OmegaConfBaseException() if not began:
            fail(explain(error, config_name, sys.argv[1:]), 2)
        case OmegaConfBaseException():  # of a value that refers to another, or to the environment
            fail(f"{error.full_key}: {str(error).partition(chr(10))[0]}", 2)
        case BrokenPipeError():  # whoever read what was printed has seen enough
            drop_output()
            return True
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            if error.filename is None:
                drop_output()
            fail(f"{error.filename or 'standard output'}: cannot be written ({error.strerror}). Free some space", 1)
        case OSError() if not began:
            fail(f"hydra.run.dir: cannot write {error.filename} ({error.strerror}). Choose another folder", 2)
    return False


def drop_output() -> None:
    """Print nothing more, not even what Python has kept back until the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def asks_for_help(words: list[str]) -> bool:
    """Whether a command is asked for its help alone, on the configs of this installation."""
    return bool({"--help", "-h"} & set(words)) and all(word in ("--help", "-h") or word[0] != "-" for word in words)


def print_help(config_name: str, words: list[str]) -> None:
    """Print the help of a command, as its config has it; Hydra's own way to do so takes twice as long.

    Raises:
        HydraException: a word is wrong.
    """
    config = compose(config_name, filter(is_setting, words))
    template = OmegaConf.to_container(config.hydra.help)["template"]  # type: ignore[call-overload,index]
    config.pop("hydra")
    groups = [f"{group}: {', '.join(options_of(group))}" for group in groups_of(config_name)]
    parts = {"APP_CONFIG_GROUPS": "\n".join(groups), "CONFIG": OmegaConf.to_yaml(config)}
    print(printable(string.Template(template).safe_substitute(parts), keep_lines=True))


class _Failed(SystemExit):
    """The end of the process after a message of ours."""


def fail(message: str, status: int) -> None:
    """Print a message and end the process with an exit status."""
    print(printable(message, keep_lines=True), file=sys.stderr)
    raise _Failed(status)


def with_todays_names(words: list[str]) -> list[str]:
    """The arguments with the current names of keys; prints a hint for each old one."""
    words = list(map(quoted_where_needed, words))
    several = re.compile(r"trust=([\w.]+(?:,[\w.]+)+)")  # Hydra takes a bare comma for the values of a sweep
    renamed = [modernised_word(several.sub(r"trust='\1'", word), words) for word in words]
    for hint in dict.fromkeys(hint for _, hint in renamed if hint):
        print(printable(hint), file=sys.stderr)
    return options_first(word for word, _ in renamed)


def options_first(words: Iterable[str]) -> list[str]:
    """The arguments with Hydra's options and their values before the settings: it takes no options among these."""
    return sorted(words, key=is_setting)


def is_setting(word: str) -> bool:
    """Whether an argument sets or removes something in the config; others are Hydra's options and their values."""
    return word[:1] == "~" or (word[:1] != "-" and "=" in word)


def quoted_where_needed(word: str) -> str:
    """The word; names of files and classes are quoted where they have characters that Hydra does not take (Korean)."""
    key, _, value = word.partition("=")
    names_classes = key == "datamodule.class_names" and value[:1] + value[-1:] == "[]"
    if not names_classes and (key not in NAMES_FILES or value[:1] in ("", "'", '"', "[")):
        return word
    try:
        OverridesParser.create().parse_override(word)
        return word
    except HydraException:
        names = [name.strip() for name in value[1:-1].split(",")] if names_classes else [value]
        quoted = ",".join(QuotedString(name, Quote.single).with_quotes() for name in names)
        return f"{key}=[{quoted}]" if names_classes else f"{key}={quoted}"


def explain(error: Exception, config_name: str, words: list[str]) -> str:
    """What is wrong with the words of a command, and what to type instead."""
    text = str(error)
    if isinstance(error, OverrideParseException):
        if is_setting(error.override):
            return f"{error.override}: {error.message}"
        return explain_plain_word(error.override, config_name)
    if unknown := re.search(r"Could not override '([^']+)'", text):
        key = str(unknown[1])
        hint = suggest(key, known_keys(config_name, words), only_alike=True)
        if key.startswith("model.optimizer."):  # it may take more than the config sets
            hint += f"To pass the optimizer one more argument, type +{key}=VALUE"
        return f"{key}: there is no such key. {hint.strip() or f'cnn-{config_name} --help lists all'}"
    if option := re.search(r"Could not find '([^']+)/([^'/]+)'", text):
        group, name = map(str, option.groups())
        if extra := EXTRA_OF_PLUGIN.get(name):
            return f"{group}={name}: this needs the extra {extra}: pip install 'cnn_experiments[{extra}]'"
        others = " Those of torch.optim: model.optimizer._target_=torch.optim.SGD" if group == "optimizer" else ""
        return f"{group}={name}: there is no such {group}. {suggest(name, options_of(group))}{others}"
    if not text and error.__cause__ is not None:  # Hydra leaves it to the cause to say what happened
        return str(error.__cause__)
    return text


def explain_plain_word(word: str, config_name: str) -> str:
    """What is wrong with a word that sets nothing: mostly a run directory or an image without its key."""
    key = ""
    if Path(word, "config.yaml").is_file():
        key = "resume" if config_name == "train" else "run"
    elif config_name == "predict" and Path(word).exists():
        key = "images"
    if key in known_keys(config_name, []):
        return f"{word}: this has no key. Type {shlex.quote(f'{key}={word}')}"
    return f"{word}: this is no setting. Type KEY=VALUE, without spaces; cnn-{config_name} --help lists all keys"


def known_keys(config_name: str, words: list[str]) -> Iterator[str]:
    """All groups and dotted keys of a command, given the options that were chosen."""
    chosen = [word for word in words if CHOOSES_OPTION.fullmatch(word)]
    try:
        config = compose(config_name, chosen)
    except HydraException:
        config = compose(config_name, [])
    config.pop("hydra")
    yield from groups_of(config_name)
    yield from (key for key, _ in flatten(cast(dict[str, Any], OmegaConf.to_container(config))))


def groups_of(config_name: str) -> list[str]:
    """The groups of settings of which a command takes an option: those in its defaults list."""
    entries = OmegaConf.load(CONFIG_DIRECTORY / f"{config_name}.yaml").defaults
    names = (str(name) for entry in entries if isinstance(entry, DictConfig) for name in entry)
    return sorted(name for name in names if (CONFIG_DIRECTORY / name).is_dir())


def options_of(group: str) -> list[str]:
    """The names of the options of a group."""
    return sorted(file.stem for file in (CONFIG_DIRECTORY / group).glob("*.yaml"))


def compose(config_name: str, words: Iterable[str]) -> DictConfig:
    """The config of a command with these words, and Hydra's own part under ``hydra``.

    Hydra keeps its state in one place for the whole process; another application's is put back.
    """
    with _one_at_a_time:
        others, base = GlobalHydra.instance().hydra, hydra_version.getbase()
        GlobalHydra.instance().clear()
        try:
            with hydra.initialize_config_dir(str(CONFIG_DIRECTORY), version_base="1.3", job_name=config_name):
                config = hydra.compose(config_name, overrides=list(words), return_hydra_config=True)
            OmegaConf.set_struct(config, False)
            return config
        finally:
            GlobalHydra.instance().hydra = others
            VersionBase.instance().version_base = base


def plain(config: DictConfig) -> dict[str, Any]:
    """A config in plain containers, with its interpolations resolved."""
    return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))


def typed_words() -> list[str]:
    """The words of the command line that set something in the config, not in Hydra itself."""
    return list(HydraConfig.get().overrides.task)


def typed_settings(config: DictConfig) -> dict[str, Any]:
    """The typed settings of a run, by their dotted keys.

    They take precedence over those in a run directory or checkpoint.
    """
    values = plain(config)
    return {key: select(values, key) for key in keys_of(typed_words()) if key.split(".")[0] in GROUPS}


def keys_of(words: Iterable[str]) -> list[str]:
    """The dotted keys that the words set."""
    return [word.split("=")[0].lstrip("+~") for word in words]


def resumed_settings(
    directory: RunDirectory, words: Iterable[str], values: Mapping[str, Any], classes: KnownClasses
) -> "Settings":
    """The settings of an interrupted run, with those of the machine that were typed anew.

    Args:
        directory: of the run.
        words: what was typed.
        values: the config that the words give, in plain containers.
        classes: those that the run may name.

    Raises:
        UserError: settings were typed that a resumed run cannot change.
    """
    from cnn_experiments.settings.schema import read_settings

    settings: dict[str, Any] = directory.config()
    typed = keys_of(words)
    if "logger" not in typed:
        refuse_trackers(directory, settings.get("logger"))
    for key in typed:
        if key in ("resume", "trust"):
            continue
        if key not in MACHINE_KEYS:
            raise UserError(
                f"{key}: a resumed run keeps the settings it began with, in {directory.config_file}; only these can "
                f"differ: {', '.join(MACHINE_KEYS)}. Leave {key} out, or start a new run"
            )
        settings = updated(settings, key, select(values, key))
    return read_settings(settings, classes, directory.overrides())


def refuse_trackers(directory: RunDirectory, recorded: Any) -> None:
    """Raise a UserError where a run's own config would have it write outside its folder, and nothing shows it is yours.

    A run that MLflow has under the recorded identifier was begun here; W&B keeps its runs on another machine.

    Args:
        directory: of the run.
        recorded: its key ``logger``.
    """
    loggers = [recorded] if isinstance(recorded, str) else recorded
    for name in loggers if isinstance(loggers, list) else ():
        if name == "wandb" or (name == "mlflow" and not directory.recorded_run("mlflow")):
            raise UserError(
                f"resume={shown(directory.path)}: this run also writes to {name}, which is outside its folder. If that "
                f"is what you want, type logger=[{','.join(map(str, loggers))}] again; if not, logger=tensorboard"
            )


def output_directory() -> Path:
    """The folder that Hydra created for this command."""
    return Path(HydraConfig.get().runtime.output_dir)


def known_classes(config: Mapping[str, Any] | DictConfig) -> KnownClasses:
    """The classes that configs may name in this command: those of its own config files, and what it trusts."""
    folders = [Path(source.path) for source in HydraConfig.get().runtime.config_sources if source.schema == "file"]
    trusted = config.get("trust")
    return KnownClasses(folders, trusted.split(",") if isinstance(trusted, str) else trusted or ())
