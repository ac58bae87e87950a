"""Train the runs whose results are shown in docs/results.md, and write it and docs/results.ko.md.

    make results                                   # of all rows that are not measured yet
    make results RESULTS=alexnet,googlenet         # of some rows, also what was measured on another machine
    make results RESULTS=none                      # only write the pages

What was interrupted is resumed, and what is complete is not run again. The run of each seed of a row of
studies/results.yaml is in outputs/results/<row>/seed_<seed>. What they say is kept in studies/measured/results.yaml,
beside what was measured on other machines, and the tables are written from it. The pages' sentences, and figures that
benchmarks measured, are written by hand, in studies/results.md and studies/results.ko.md.
"""

import hashlib
import logging
import shlex
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from cnn_experiments.errors import UserError
from cnn_experiments.runs.finished import LATER_KEYS, MEASURED, FinishedRun
from cnn_experiments.runs.formats import figure, in_units
from cnn_experiments.runs.page_data import costs_of
from scripts.claims import ROOT, STUDIES, Claim, Size, Study, chosen_claims
from scripts.findings import only_configuration
from scripts.measured import entries_explained, read, write
from scripts.pages import SUFFIXES, Figures, Language, Machine, fill, in_words, machine_of, table
from scripts.study import run_claims

log = logging.getLogger(__name__)

STUDY = Study("results", "make results RESULTS=")
RUNS = Path("outputs") / "results"
# Words that are filled in, by language.
NOT_YET: dict[Language, str] = {"en": "not run yet", "ko": "아직 실행하지 않음"}
SEEDS: dict[Language, str] = {"en": "{done} of {all}", "ko": "{all}개 중 {done}개"}


@dataclass(frozen=True)
class Measured:
    """What is shown of a completed run.

    Args:
        accuracy: on the test images.
        test_images: how many.
        multiply_adds: of all training images, forwards; None if they were not recorded.
        seconds: of training.
        settings: a digest of everything that was set but the seed.
        machine: what computed it.
    """

    accuracy: float
    test_images: int
    multiply_adds: float | None
    seconds: float
    settings: str
    machine: Machine


def measured(run: FinishedRun) -> Measured:
    """What is shown of a run."""
    of_earlier_versions = LATER_KEYS.items()  # lacked by their runs, which the digest must not tell apart
    settings = [item for item in run.settings.items() if item[0] not in MEASURED and item not in of_earlier_versions]
    operations = costs_of(run)["training_operations"]
    return Measured(
        run.metrics["test/accuracy"],
        run.metrics["test_images"],
        operations / 6 if operations else None,
        run.metrics["train_seconds"],
        hashlib.sha256(repr(sorted(settings)).encode()).hexdigest()[:12],
        machine_of([run]),
    )


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Args:
        name: of its folder of runs.
        table: which it is in.
        words: common words of cnn-train.
        seeds: of its runs.
        target: the mean test accuracy that is to be reached.
        whose: who says so, by language.
    """

    name: str
    table: str
    words: str
    seeds: tuple[int, ...]
    target: float
    whose: Mapping[Language, str]

    @property
    def command(self) -> str:
        """The command that trains its runs, as one types it."""
        return shlex.join(["cnn-train", "-m", *self.words.split(), f"seed={','.join(map(str, self.seeds))}"])

    def sweep(self, seed: int) -> Claim:
        """What trains the run of a seed: a sweep by itself, since those of other seeds may be on another machine."""
        arm, size = f"seed_{seed}", Size(self.name, "", "", "")
        return Claim(self.name, "", "", "", "", better=arm, size=size, arms={arm: self.words}, seeds=(seed,))

    def measured(self, root: Path, before: Mapping[str, Any], anew: bool = False) -> dict[int, Measured]:
        """What was measured of it, by seeds: before, and by the runs on this machine.

        What was measured before does not count where the row had other words, or its runs other settings than those
        here.

        Args:
            root: the folder of the runs on this machine.
            before: what was measured before, by rows, see `kept`.
            anew: whether runs here take the place of those of the same seeds that were measured before.

        Raises:
            UserError: the runs on this machine differ in more than their seed, or an entry is not what `kept` gives.
        """
        with entries_explained(STUDY.measured, self.name):
            entry = before.get(self.name) or {"words": "", "runs": {}}
            earlier = {seed: Measured(**one) for seed, one in entry["runs"].items() if entry["words"] == self.words}
        here: dict[int, Measured] = {}
        if runs := [run for seed in self.seeds for run in self._completed(seed, root)]:
            configuration = only_configuration(runs, root / self.name)
            here = {run.metrics["seed"]: measured(run) for run in configuration.runs}
            settings = {one.settings for one in here.values()}
            of_others = [seed for seed, one in earlier.items() if one.settings not in settings]
            if of_others:
                log.warning(
                    "%s: seeds %s were measured with other settings; they no longer count", self.name, of_others
                )
            earlier = {seed: one for seed, one in earlier.items() if seed not in of_others}
        found = earlier | here if anew else here | earlier
        return {seed: found[seed] for seed in self.seeds if seed in found}

    def _completed(self, seed: int, root: Path) -> list[Path]:
        sweep = self.sweep(seed)
        return list(sweep.completed(sweep.better, root).values())

    def kept(self, runs: Mapping[int, Measured]) -> dict[str, Any]:
        """What is kept of its runs."""
        return {"words": self.words, "runs": {seed: asdict(one) for seed, one in runs.items()}}

    def cells(self, runs: Mapping[int, Measured], language: Language) -> list[str]:
        """Its cells in a language.

        Args:
            runs: those that are completed, by their seeds.
            language: of the cells.
        """
        target = f"{self.target:g} ({self.whose[language]})"
        command = f"`{self.command}`"
        if not runs:
            return [command, NOT_YET[language], "", "", target, "", "", "", ""]
        each = list(runs.values())
        accuracies = [one.accuracy for one in each]
        operations = [one.multiply_adds for one in each if one.multiply_adds]
        return [
            command,
            f"**{statistics.fmean(accuracies):.4f}**",
            figure(statistics.stdev(accuracies) if len(each) > 1 else None, ".4f"),
            f"{min(accuracies):.4f} … {max(accuracies):.4f}",
            target,
            SEEDS[language].format(done=len(each), all=len(self.seeds)),
            f"{each[0].test_images:,}",
            in_units(statistics.fmean(operations) if operations else None),
            f"{statistics.fmean(one.seconds for one in each):,.0f}",
        ]


def read_rows(file: Path = STUDY.file) -> list[Row]:
    """The rows of a file."""
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    return [Row(**{**entry, "seeds": tuple(entry["seeds"])}) for entry in content["rows"]]


def write_pages(
    rows: Sequence[Row],
    runs: Mapping[str, Mapping[int, Measured]],
    folder: Path = ROOT / "docs",
    templates: Path = STUDIES,
) -> list[Path]:
    """Fill the tables into the pages; the files.

    Args:
        rows: all rows.
        runs: of each row, by their seeds.
        folder: where the pages are written.
        templates: the folder of the pages as they were written by hand.
    """
    machines = [one.machine for of_row in runs.values() for one in of_row.values()]
    of_runs = "{device}, {precision}, threads: {threads}, torch {torch}".format(**in_words(machines))
    words: dict[Language, Figures] = {}
    for language in SUFFIXES:
        tables = {
            name: table([row.cells(runs[row.name], language) for row in rows if row.table == name])
            for name in dict.fromkeys(row.table for row in rows)
        }
        words[language] = tables | {"machine": of_runs if machines else NOT_YET[language]}
    return fill(STUDY.name, {}, words, folder, templates)


def main(names: Sequence[str]) -> int:
    """Train what is missing of the rows of these names, or of all, and write the pages; the exit status.

    Args:
        names: of some rows, also several in one word with commas between them; without any, all rows are meant whose
            seeds were not all measured yet.
    """
    status = 0
    try:
        rows = read_rows()
        runs = {row.name: row.measured(RUNS, read(STUDY.measured)) for row in rows}
        if list(names) != ["none"]:
            sweeps = [row.sweep(seed) for row in rows for seed in row.seeds if names or seed not in runs[row.name]]
            chosen = chosen_claims(sweeps, names, STUDY)
            status = run_claims(chosen, RUNS)
            anew = {one.name for one in chosen} if names else set()
            before = read(STUDY.measured)  # others may have been measured meanwhile
            runs = {row.name: row.measured(RUNS, before, row.name in anew) for row in rows}
        write({row.name: row.kept(runs[row.name]) for row in rows if runs[row.name]}, STUDY.measured)
        for file in (STUDY.measured, *write_pages(rows, runs)):
            print(f"written: {file}")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
