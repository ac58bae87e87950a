"""What is to be compared, as studies/claims.yaml and studies/recipes.yaml say it, and the sweeps that do it."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from cnn_experiments.errors import UserError
from cnn_experiments.runs.finished import run_directories
from cnn_experiments.runs.sweep import is_complete, is_sweep, read_record
from cnn_experiments.settings.suggestions import suggest

ROOT = Path(__file__).parents[1]
STUDIES = ROOT / "studies"
LEAST_SEEDS = 3  # to compare arms, while the runs of further ones are missing

Figure = Literal[
    "test_accuracy", "epochs", "epochs_of_validation", "gap", "training_accuracy", "multiply_adds", "parameters"
]


@dataclass(frozen=True)
class Study:
    """What one page is about.

    Args:
        name: of its file in studies/ and of its page in docs/. The words of a page that is written from findings alone
            are in ``<name>_page.yaml``.
        command: the command that trains what is missing of some claims, up to their names.
    """

    name: str
    command: str

    @property
    def file(self) -> Path:
        """The claims."""
        return STUDIES / f"{self.name}.yaml"

    @property
    def measured(self) -> Path:
        """What was measured, on any machine."""
        return STUDIES / "measured" / f"{self.name}.yaml"


STUDY_OF_CLAIMS = Study("claims", "make study CLAIMS=")
STUDY_OF_RECIPES = Study("recipes", "make recipes RECIPES=")


@dataclass(frozen=True)
class Size:
    """How large a test is.

    Args:
        name: of the folder of the runs with these words alone, which several claims share.
        words: common words of cnn-train.
        en: what they mean, in English.
        ko: the same in Korean.
    """

    name: str
    words: str
    en: str
    ko: str


@dataclass(frozen=True)
class Claim:
    """A claim of a paper, and how it is tested.

    Args:
        name: of its folder of runs.
        paper: the network whose paper it is.
        section: where in the paper.
        en: the claim in English.
        ko: the same in Korean.
        better: the arm that the claim says is better.
        size: common words of all arms.
        arms: the words of each arm, by its name; none for what the size says alone.
        seeds: of the runs of each arm.
        than: the arms that it is better than; all others if there are none here. More arms are trained for comparison.
        figure: what is compared: ``test_accuracy``; ``epochs`` until the training error, or ``epochs_of_validation``
            until the validation error, is `error`; ``gap`` between training and validation accuracy and
            ``training_accuracy``, both of the last epoch; ``multiply_adds``; ``parameters``.
        error: a share.
        margin: of a claim that an arm is as good as another: by how much its test accuracy may be lower, as a share.
        factor: how many times more `multiply_adds` or `parameters` the other arms have at least.
        runs_of: the claim whose runs these are; size, arms and seeds are its own.
    """

    name: str
    paper: str
    section: str
    en: str
    ko: str
    better: str
    size: Size = Size("", "", "", "")
    arms: dict[str, str] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    than: tuple[str, ...] = ()
    figure: Figure = "test_accuracy"
    error: float = 0.0
    margin: float = 0.0
    factor: float = 1.0
    runs_of: str = ""

    @property
    def others(self) -> tuple[str, ...]:
        """The arms that the claim says are worse."""
        return self.than or tuple(arm for arm in self.arms if arm != self.better)

    def folder(self, arm: str, root: Path) -> Path:
        """The folder of the sweep of an arm."""
        return root / (self.runs_of or self.name) / arm if self.arms[arm] else root / "unchanged" / self.size.name

    def settings(self, arm: str) -> list[str]:
        """What is set for the runs of an arm but the seed, as words of cnn-train."""
        return [*self.size.words.split(), *self.arms[arm].split()]

    def task(self, arm: str) -> list[str]:
        """What is set for the runs of an arm, as words of cnn-train."""
        return [*self.settings(arm), f"seed={','.join(map(str, self.seeds))}"]

    def command(self, arm: str, root: Path) -> str:
        """The command that trains all runs of an arm, as one types it."""
        return shlex.join(["cnn-train", *self._from_the_beginning(arm, root)])

    def _from_the_beginning(self, arm: str, root: Path) -> list[str]:
        return ["-m", *self.task(arm), f"hydra.sweep.dir={self.folder(arm, root)}"]

    def words(self, arm: str, root: Path) -> list[str]:
        """The words of cnn-train that train the runs of an arm that are missing; empty if none is.

        A sweep of fewer seeds than the claim has now is begun anew: its jobs find that they are complete.

        Raises:
            UserError: the folder holds a sweep with other settings.
        """
        folder = self.folder(arm, root)
        if not is_sweep(folder):
            return self._from_the_beginning(arm, root)
        if not self.is_begun(arm, root):
            raise UserError(
                f"{folder}: this sweep was begun with other settings than studies/ has now. Remove it, or move it"
            )
        if not self.missing(arm, root):
            return []
        return (
            [f"resume={folder}"] if read_record(folder).task == self.task(arm) else self._from_the_beginning(arm, root)
        )

    def is_begun(self, arm: str, root: Path) -> bool:
        """Whether the sweep of an arm was begun with the words that the claim has now, and the first of its seeds."""
        folder = self.folder(arm, root)
        if not is_sweep(folder):
            return False
        *words, seeds = self.task(arm)
        *recorded, first_seeds = read_record(folder).task or [""]
        return recorded == words and f"{seeds},".startswith(f"{first_seeds},")

    def completed(self, arm: str, root: Path) -> dict[int, Path]:
        """The directories of the completed runs of an arm by their seeds; none if it was begun with other words."""
        folders = [self.folder(arm, root)] if self.is_begun(arm, root) else []
        runs = [directory for directory in run_directories(folders) if is_complete(directory.path)]
        return {directory.metrics()["seed"]: directory.path for directory in runs}

    def missing(self, arm: str, root: Path) -> int:
        """How many runs of an arm are not complete."""
        return len(set(self.seeds) - self.completed(arm, root).keys())

    def runs_to_compare(self, root: Path) -> dict[str, list[Path]]:
        """The run directories of each arm, of the seeds that are complete in all arms; none if these are too few.

        They are enough if they are all seeds of the claim, or three.
        """
        completed = {arm: self.completed(arm, root) for arm in self.arms}
        seeds = [seed for seed in self.seeds if all(seed in of_arm for of_arm in completed.values())]
        if len(seeds) < min(LEAST_SEEDS, len(self.seeds)):
            return {}
        return {arm: [of_arm[seed] for seed in seeds] for arm, of_arm in completed.items()}


def read_claims(file: Path = STUDY_OF_CLAIMS.file) -> list[Claim]:
    """The claims of a file, in its order; their sizes are its own or those of the papers' claims."""
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    if "sizes" not in content:
        content |= {"sizes": yaml.safe_load(STUDY_OF_CLAIMS.file.read_text(encoding="utf-8"))["sizes"]}
    sizes = {name: Size(name, **size) for name, size in content["sizes"].items()}
    claims: dict[str, Claim] = {}
    for entry in content["claims"]:
        claim = _read_claim(entry, sizes)
        if claim.runs_of:
            source = claims[claim.runs_of]
            claim = replace(claim, size=source.size, arms=source.arms, seeds=source.seeds)
        claims[claim.name] = claim
    return list(claims.values())


def _read_claim(entry: dict[str, Any], sizes: dict[str, Size]) -> Claim:
    given: dict[str, Any] = {key: tuple(value) if key in ("seeds", "than") else value for key, value in entry.items()}
    if "size" in given:
        given["size"] = sizes[given["size"]]
    return Claim(**given)


def chosen_claims(claims: list[Claim], words: Sequence[str], study: Study = STUDY_OF_CLAIMS) -> list[Claim]:
    """The claims of these names; all without any.

    Args:
        claims: to choose from.
        words: their names, also several in one word with commas between them.
        study: whose they are.

    Raises:
        UserError: there is no such claim.
    """
    known = [claim.name for claim in claims]
    names = [name for word in words for name in word.split(",")]
    for name in names:
        if name not in known:
            raise UserError(f"{study.command.split()[-1]}{name}: there is no such name. {suggest(name, known)}")
    return [claim for claim in claims if not names or claim.name in names]
