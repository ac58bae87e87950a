"""Train the runs whose results are shown in docs/results.md, and write it and docs/results.ko.md.

    make results                                   # all that are missing
    make results RESULTS=alexnet,googlenet         # those of some rows
    make results RESULTS=none                      # only write the pages

What was interrupted is resumed, and what is complete is not run again. Each row of studies/results.yaml is a sweep over
seeds in outputs/results. The pages' sentences, and figures that benchmarks measured, are written by hand, in
studies/results.md and studies/results.ko.md.
"""

import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from cnn_experiments.errors import UserError
from cnn_experiments.runs.configuration import Configuration
from cnn_experiments.runs.formats import figure, in_units
from cnn_experiments.runs.page_data import costs_of
from scripts.claims import ROOT, STUDIES, Claim, Size, Study, chosen_claims
from scripts.findings import only_configuration
from scripts.pages import SUFFIXES, Figures, Language, fill, machine_of, table
from scripts.study import run_claims

STUDY = Study("results", "make results RESULTS=")
RUNS = Path("outputs") / "results"
ARM = "all"  # of a row, which compares nothing
# Words that are filled in, by language.
NOT_YET: dict[Language, str] = {"en": "not run yet", "ko": "아직 실행하지 않음"}
SEEDS: dict[Language, str] = {"en": "{done} of {all}", "ko": "{all}개 중 {done}개"}


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
    def sweep(self) -> Claim:
        """What trains its runs."""
        size = Size(self.name, "", "", "")
        return Claim(self.name, "", "", "", "", better=ARM, size=size, arms={ARM: self.words}, seeds=self.seeds)

    def runs(self, root: Path) -> Configuration | None:
        """Its completed runs; None if there is none.

        Raises:
            UserError: the runs differ in more than their seed.
        """
        of_seeds = self.sweep.completed(ARM, root)  # one of each, though a seed that was alone first is there twice
        if not of_seeds:
            return None
        return only_configuration(list(of_seeds.values()), self.sweep.folder(ARM, root))

    def cells(self, found: Configuration | None, language: Language) -> list[str]:
        """Its cells in a language.

        Args:
            found: its completed runs, if there are any.
            language: of the cells.
        """
        target = f"{self.target:g} ({self.whose[language]})"
        command = f"`{self.sweep.command(ARM, RUNS).rpartition(' ')[0]}`"
        if found is None:
            return [command, NOT_YET[language], "", "", target, "", "", "", ""]
        accuracies = [run.metrics["test/accuracy"] for run in found.runs]
        return [
            command,
            f"**{figure(found.mean('test/accuracy'), '.4f')}**",
            figure(found.std("test/accuracy"), ".4f"),
            f"{min(accuracies):.4f} … {max(accuracies):.4f}",
            target,
            SEEDS[language].format(done=len(found.runs), all=len(self.seeds)),
            f"{found.runs[0].metrics['test_images']:,}",
            in_units(multiply_adds(found)),
            figure(found.mean("train_seconds"), ",.0f"),
        ]


def multiply_adds(found: Configuration) -> float | None:
    """Multiply-adds of all training images of a run, forwards; None if they were not recorded."""
    operations = [cost for run in found.runs if (cost := costs_of(run)["training_operations"])]
    return statistics.fmean(operations) / 6 if operations else None


def read_rows(file: Path = STUDY.file) -> list[Row]:
    """The rows of a file."""
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    return [Row(**{**entry, "seeds": tuple(entry["seeds"])}) for entry in content["rows"]]


def write_pages(rows: Sequence[Row], root: Path, folder: Path = ROOT / "docs", templates: Path = STUDIES) -> list[Path]:
    """Fill the tables into the pages; the files.

    Args:
        rows: all rows.
        root: the folder of the runs.
        folder: where the pages are written.
        templates: the folder of the pages as they were written by hand.
    """
    found = {row.name: row.runs(root) for row in rows}
    of_runs = machine(list(filter(None, found.values())))
    words: dict[Language, Figures] = {}
    for language in SUFFIXES:
        tables = {
            name: table([row.cells(found[row.name], language) for row in rows if row.table == name])
            for name in dict.fromkeys(row.table for row in rows)
        }
        words[language] = tables | {"machine": of_runs or NOT_YET[language]}
    return fill(STUDY.name, {}, words, folder, templates)


def machine(configurations: Sequence[Configuration]) -> str:
    """What the runs were computed with, and with how many threads; empty if there are none."""
    runs = [run for configuration in configurations for run in configuration.runs]
    return "{device}, threads: {threads}, torch {torch}".format(**machine_of(runs)) if runs else ""


def main(names: Sequence[str]) -> int:
    """Train what is missing of the rows of these names, or of all, and write the pages; the exit status."""
    status = 0
    try:
        rows = read_rows()
        sweeps = [row.sweep for row in rows]
        if list(names) != ["none"]:
            status = run_claims(chosen_claims(sweeps, names, STUDY), RUNS)
        for file in write_pages(rows, RUNS):
            print(f"written: {file}")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
