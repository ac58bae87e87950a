"""Kill runs at random moments, resume them, and compare them with one that was never interrupted.

    python -m tests.endurance.kill                                      the whole test, hours
    python -m tests.endurance.kill --lenet5 5 --googlenet 0 --processes 0 --sweep 0

A run is killed one to three times, each time either after a random time or right before a random one of the changes
that it makes on disk: while a checkpoint, cache, prediction or event file is written, and between test and record. At
the end its weights, optimizer, metrics, history, curves, predictions and files must be those of an uninterrupted run.
"""

import argparse
import random
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.endurance.commands import Command, import_everything, made_data
from tests.endurance.results import differences

LENET5 = (
    "datamodule.validation_size=50",
    "datamodule.batch_size=16",
    "datamodule.distortion.shift=2",
    "datamodule.distortion.rotation=5",
    "model.dropout=0.2",
    "trainer.log_every_n_steps=5",
    "trainer.gpus=0",
)
GOOGLENET = (
    "model=googlenet",
    "model.input_size=80",
    "datamodule.batch_size=16",
    "datamodule.num_workers=2",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
    "trainer.gpus=0",
)
LONGEST = 900  # seconds that a command may take


@dataclass(frozen=True)
class Kind:
    """A kind of run to kill.

    Args:
        words: what is typed.
        fresh_data: whether each run prepares its data anew, so that this is interrupted too.
        several_processes: changes on disk are then made by others, and only the clock decides.
        sweep: whether it is a sweep of several runs.
    """

    words: Sequence[str]
    fresh_data: bool = False
    several_processes: bool = False
    sweep: bool = False


KINDS = {
    "lenet5": Kind((*LENET5, "trainer.max_epochs=4", "logging=full")),
    "googlenet": Kind(GOOGLENET, fresh_data=True),
    "processes": Kind((*LENET5, "trainer.max_epochs=3", "trainer=ddp"), several_processes=True),
    "sweep": Kind(("-m", *LENET5, "trainer.max_epochs=2", "seed=1,2", "model.c3=partial,full"), sweep=True),
}
WANTED = {"lenet5": 50, "googlenet": 20, "processes": 20, "sweep": 10}


class Killer:
    """Runs of one kind, compared with one that is never interrupted.

    Args:
        kind: what is run.
        folder: an empty folder to work in.
        chance: source of all random choices.
    """

    def __init__(self, kind: Kind, folder: Path, chance: random.Random) -> None:
        self.kind, self.folder, self.chance = kind, folder, chance
        folder.mkdir()
        began = time.monotonic()
        counted = folder / "changes"
        command = self.command("reference", self.beginning("reference"), count_changes_in=counted)
        if command.wait(LONGEST) != 0:
            raise SystemExit(f"the uninterrupted run failed: see\n{(folder / 'reference.log').read_text()[-3000:]}")
        self.seconds = time.monotonic() - began
        self.changes = int(counted.read_text())

    def beginning(self, name: str) -> list[str]:
        """The words that begin a run."""
        where = "hydra.sweep.dir" if self.kind.sweep else "hydra.run.dir"
        return [*self.kind.words, f"{where}={name}"]

    def next_words(self, name: str) -> list[str]:
        """What a user types after a run was killed: resume it, or begin it again if it had not got so far."""
        record = "sweep.yaml" if self.kind.sweep else "config.yaml"
        return [f"resume={name}"] if (self.folder / name / record).exists() else self.beginning(name)

    def command(
        self, name: str, words: list[str], die_at: int | None = None, count_changes_in: Path | None = None
    ) -> Command:
        environment = {"CNN_EXPERIMENTS_DATA": str(self.folder / f"{name}-data")} if self.kind.fresh_data else {}
        return Command(self.folder, words, self.folder / f"{name}.log", die_at, environment, count_changes_in)

    def kill_and_resume(self, number: int) -> tuple[str, list[str]]:
        """One run.

        Returns:
            What was done to it, and what is wrong with it now; it is removed if nothing is.
        """
        name = f"run{number}"
        kills = []
        for _ in range(self.chance.choice((1, 1, 2, 3))):
            if self.kind.several_processes or self.chance.random() < 0.5:
                after = self.chance.uniform(0, self.seconds)
                command = self.command(name, self.next_words(name))
                command.wait(after)
                command.kill()
                kills.append(f"after {after:.1f} s")
            else:
                change = self.chance.randrange(self.changes)
                command = self.command(name, self.next_words(name), die_at=change)
                if command.wait(LONGEST) is None:
                    command.kill()
                    return f"before change {change}", ["it hung"]
                kills.append(f"before change {change}")
            if command.status not in (0, -9):
                return "; ".join(kills), [f"it ended with status {command.status}"]
        command = self.command(name, self.next_words(name))
        if command.wait(LONGEST) != 0:
            command.kill()
            return "; ".join(kills), [f"it could not be resumed: status {command.status}"]
        wrong = self.differences(name)
        if not wrong:
            shutil.rmtree(self.folder / name)
            shutil.rmtree(self.folder / f"{name}-data", ignore_errors=True)
        return "; ".join(kills), wrong

    def differences(self, name: str) -> list[str]:
        """What differs from the uninterrupted run, or sweep."""
        reference, run = self.folder / "reference", self.folder / name
        if not self.kind.sweep:
            return differences(reference, run)
        jobs = sorted(file.parent.relative_to(reference) for file in reference.rglob("metrics.json"))
        found = sorted(file.parent.relative_to(run) for file in run.rglob("metrics.json"))
        if jobs != found:
            return [f"jobs: {found}"]
        wrong = [f"{job}: {what}" for job in jobs for what in differences(reference / job, run / job)]
        if not (run / "comparison.html").exists():
            wrong.append("no comparison")
        return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind, number in WANTED.items():
        parser.add_argument(f"--{kind}", type=int, default=number, metavar="N", help=f"how many (default {number})")
    parser.add_argument("--seed", type=int, default=0, help="what the moments are drawn from")
    parser.add_argument("--keep", type=Path, help="folder to keep runs in that differ")
    arguments = parser.parse_args()
    import_everything()
    failures = 0
    with made_data() as folder:
        for name, kind in KINDS.items():
            number = getattr(arguments, name)
            if not number:
                continue
            killer = Killer(kind, folder / name, random.Random(f"{arguments.seed} {name}"))
            print(f"{name}: {killer.seconds:.1f} s uninterrupted, {killer.changes} changes on disk", flush=True)
            same = 0
            for run in range(number):
                kills, wrong = killer.kill_and_resume(run)
                same += not wrong
                print(f"  {run}: killed {kills}: {'; '.join(wrong) or 'the same'}", flush=True)
                if wrong and arguments.keep:
                    shutil.copytree(killer.folder, arguments.keep / f"{name}{run}", dirs_exist_ok=True)
            print(f"{name}: {same} of {number} as if never interrupted", flush=True)
            failures += number - same
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
