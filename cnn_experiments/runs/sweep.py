"""The record of a sweep, from which it is resumed after an interruption, and the folder names of its jobs."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cnn_experiments.errors import UserError
from cnn_experiments.runs.directory import MACHINE_KEYS, RunDirectory
from cnn_experiments.runs.files import refuse_links, write_text
from cnn_experiments.runs.records import read_yaml

RECORD = "sweep.yaml"
# What may be typed on resuming, beside MACHINE_KEYS.
MACHINE_GROUPS = ("launcher", "hydra.launcher", "hydra/launcher", "hydra.sweeper", "hydra/sweeper")
# Whose code may run is for the user to say each time, not for a file.
TRUST = "trust"
# Nor is it for a file to say that figures are written outside its folder: by any logger but TensorBoard's.
LOGGER = "logger"
# Words for Hydra that the record may hold on resuming. They are not taken from it: they follow from the folder and
# from what is missing. Hydra itself adds the mode to what was typed.
FOLLOWING = (
    "hydra.mode",
    "hydra.run.dir",
    "hydra.sweep.dir",
    "hydra.sweeper.n_trials",
    "hydra.sweeper.sampler.seed",
)

DIGITS = 7  # of a number with more characters, four digits are shown


@dataclass
class Record:
    """How a sweep was started.

    Args:
        task: words that set something for its jobs, as typed.
        hydra: words for Hydra.
        search: for a search, the number of ``trials`` and the ``seed`` of its sampler; otherwise empty.
    """

    task: list[str]
    hydra: list[str]
    search: dict[str, int]


def is_sweep(folder: str | Path) -> bool:
    """Whether a folder holds a sweep that can be resumed."""
    return (Path(folder) / RECORD).is_file()


def write_record(
    folder: Path, task: Iterable[str], hydra: Iterable[str], search: Mapping[str, int | None] | None = None
) -> None:
    """Record how a sweep was started in its folder, unless that is already recorded.

    Args:
        folder: the folder of the sweep.
        task: words of the command line that set something for its jobs.
        hydra: words of the command line for Hydra.
        search: for a search, the number of ``trials`` and the ``seed`` of its sampler.
    """
    if is_sweep(folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    begun: dict[str, Any] = {"task": list(task), "hydra": list(hydra)}
    if search is not None:
        begun["search"] = {name: value for name, value in search.items() if value is not None}
    write_text(folder / RECORD, yaml.safe_dump(begun, allow_unicode=True))


def read_record(folder: str | Path) -> Record:
    """Read how the sweep in a folder was started.

    Raises:
        UserError: its record is not of the form that `write_record` writes.
    """
    file = Path(folder) / RECORD
    begun = read_yaml(file)
    search = begun.get("search", {})
    if not isinstance(search, dict) or not all(type(value) is int and value >= 0 for value in search.values()):
        raise UserError(f"{file}: trials and seed of a search are to be whole numbers. Start a new sweep")
    return Record(_words(file, begun.get("task")), _words(file, begun.get("hydra")), search)


def _words(file: Path, words: Any) -> list[str]:
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise UserError(f"{file}: task and hydra are to be lists of words. Start a new sweep")
    return list(words)


def words_of_resumed_sweep(folder: str | Path, typed: Sequence[str]) -> list[str]:
    """The command line that resumes a sweep in its folder.

    Each job finds its own folder again: completed jobs are left as they are, the others are resumed. A search makes the
    trials that it lacks, and its sampler knows the completed ones.

    Args:
        folder: the folder of the sweep, as the user gave it.
        typed: the other words that the user typed.

    Raises:
        UserError: something was typed that would make it another sweep; or the folder holds what no sweep writes,
            such as settings for Hydra itself or links to other places.
    """
    if not is_sweep(folder):
        raise UserError(
            f"resume={folder}: this is no run directory, it has no config.yaml, and no folder of a sweep, it has no "
            f"{RECORD}. Give a folder such as outputs/lenet5_mnist/<date>_<time>_<id>"
        )
    record = read_record(folder)
    refuse_links(Path(folder), _paths_that_jobs_write_to(Path(folder)))
    for word in typed:
        _check_typed(word, record, folder)
    _check_typed_again(record, typed, folder)
    task = [word for word in record.task if _key(word) != TRUST]  # in its order, on which the jobs' numbers depend
    more = [word for word in typed if word not in task]
    return ["--multirun", *task, *more, *_words_of_hydra(folder, record, typed)]


def _paths_that_jobs_write_to(folder: Path) -> list[Path]:
    """Everything in the folder except inside hidden folders, where submitit keeps links."""
    paths = []
    for path in sorted(folder.iterdir()):
        paths.append(path)
        if path.is_dir() and not path.is_symlink() and not path.name.startswith("."):
            paths += _paths_that_jobs_write_to(path)
    return paths


def _key(word: str) -> str:
    return word.split("=")[0].lstrip("+~")


def _why_refused(word: str) -> str:
    """Why a word from a record, which may come from anybody, is refused; empty if it is not."""
    key, _, value = word.partition("=")
    key = key.lstrip("+~")
    if not re.fullmatch(r"[\w./@:-]+", key) or key.startswith("-"):
        return "this is no setting (KEY=VALUE)"
    if key == "resume" or "hydra" in re.split(r"[./@:]", key):
        return "a sweep's record sets nothing but the settings of its jobs"
    if key == LOGGER and re.search("mlflow|wandb", value):
        return "it writes to what lies outside the folder"
    if "_target_" in word:
        return "a sweep's record names no classes"
    if re.search(r"\$\{[^}]*:", word):
        return "a sweep's record calls nothing"
    names_files = "." not in key or key.endswith(".name")  # a file in conf/, or a part of the jobs' folders
    if names_files and re.search(r"\.\.|\\|(?<![\w.-])/", value):
        return "this leads out of the folder"
    return ""


def _check_typed(word: str, record: Record, folder: str | Path) -> None:
    """Raise UserError if a word that was typed would make a resumed sweep another one."""
    key = _key(word)
    is_typed_again = word in record.task or (word in record.hydra and key not in FOLLOWING)
    if word.startswith("-") or key in MACHINE_KEYS or _is_in(key, (*MACHINE_GROUPS, TRUST)) or is_typed_again:
        return
    raise UserError(
        f"{key}: a resumed sweep keeps the settings it began with, in {Path(folder) / RECORD}; only these can differ: "
        f"{', '.join((*MACHINE_KEYS, *MACHINE_GROUPS))}. Leave {key} out, or start a new sweep"
    )


def _is_in(key: str, groups: Iterable[str]) -> bool:
    return any(key == group or key.startswith((f"{group}.", f"{group}/")) for group in groups)


def _check_typed_again(record: Record, typed: Sequence[str], folder: str | Path) -> None:
    """Raise UserError if the record holds words that must not come from a file and were not typed again."""
    file = Path(folder) / RECORD
    keys = {_key(word) for word in typed}
    for word in record.task:
        is_typed = word in typed or _key(word) == LOGGER in keys
        if not is_typed and (reason := _why_refused(word)):
            raise UserError(f"{file}: {word}: {reason}. If it is yours, type it again after resume={folder}")
    needed = [*record.hydra, *(word for word in record.task if _key(word) == TRUST)]
    missing = [word for word in needed if _key(word) not in (*FOLLOWING, *keys)]
    if missing:
        raise UserError(
            f"{file}: the sweep was begun with {' '.join(missing)}, and whose code it calls is not left to a file. If "
            f"this is yours, type it again after resume={folder}"
        )


def _words_of_hydra(folder: str | Path, record: Record, typed: Sequence[str]) -> list[str]:
    """Words for the sweep's folder and, for a search, for the number of its trials and a new seed of its sampler."""
    # In Hydra's quotes, backslashes are doubled only where a quote follows.
    quoted = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), str(folder))
    words = [f"hydra.sweep.dir='{quoted}'"]
    if "trials" in record.search:
        words.append(f"hydra.sweeper.n_trials={record.search['trials']}")
    if "seed" in record.search:
        words.append(f"hydra.sweeper.sampler.seed={record.search['seed'] + number_completed(Path(folder))}")
    chosen = {_key(word) for word in typed}
    return [word for word in words if _key(word) not in chosen]


def number_completed(folder: Path) -> int:
    """How many runs in a folder are complete."""
    return sum(is_complete(file.parent) for file in folder.rglob("metrics.json"))


def is_complete(directory: Path) -> bool:
    """Whether a directory holds a run that is complete."""
    with suppress(UserError):
        return RunDirectory(directory).metrics().get("status") == "completed"
    return False


def is_setting_of_jobs(word: str) -> bool:
    """Whether a word sets what the jobs of a sweep compute, not where, or whose classes they may use."""
    return _key(word) not in (*MACHINE_KEYS, TRUST)


def name_of_job(number: int, folder: str | Path, overrides: Iterable[str]) -> str:
    """A folder name for a job of a sweep: its number and what was swept, in characters that need no quoting.

    It is short, since TensorBoard shows it beside each curve: of a key its last part, where that tells what was swept
    apart, and of a number four digits. A job that began under the long name of earlier versions keeps it.

    Args:
        number: the number of the job, from 0.
        folder: the folder of the sweep, with its record.
        overrides: all words that are set for this job; those that were typed in the same form were not swept.
    """
    typed = read_record(folder).task
    swept = [word for word in overrides if word not in typed and is_setting_of_jobs(word)]
    long = _as_file_name(number, swept)
    if any(Path(folder).glob(f"*/{long}/config.yaml")):
        return long
    return _as_file_name(number, short_words(swept))


def _as_file_name(number: int, words: Iterable[str]) -> str:
    return re.sub(r"[^\w.,+-]+", "-", "_".join([str(number), *words]))[:120].rstrip("-_,")


def short_words(words: Iterable[str]) -> list[str]:
    """Words such as ``model.optimizer.lr=0.00123456`` as ``lr=0.001235``, with the whole key where several end so.

    A preset is named alone: ``experiment=lenet5_paper`` becomes ``lenet5_paper``.
    """
    words = list(words)
    endings = Counter(_key(word).rpartition(".")[2] for word in words)
    short = []
    for word in words:
        key, equals, value = word.partition("=")
        ending = key.rpartition(".")[2]
        with suppress(ValueError):
            value = f"{float(value):.4g}" if len(value) > DIGITS else value
        name = f"{ending if endings[ending] == 1 else key}{equals}"
        short.append(value if key.lstrip("+") == "experiment" else f"{name}{value}")
    return short
