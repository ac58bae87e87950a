"""Train the runs that test the papers' claims, and write what they say to docs/claims.md and docs/claims.ko.md.

    make study                       # all that are missing
    make study CLAIMS=relu,dropout   # those of some claims

Each arm of a claim is a sweep in outputs/study/<claim>/<arm>. What was interrupted is resumed, and what is complete is
not run again. Without anything left to do, the pages are written from the runs that there are.
"""

import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cnn_experiments.errors import UserError
from cnn_experiments.runs.finished import run_directories
from cnn_experiments.runs.formats import duration
from scripts.claims import Claim, chosen_claims, read_claims
from scripts.claims_pages import write_pages

STUDY = Path("outputs") / "study"
INTERRUPTED = 130

Start = Callable[[list[str]], int]


def start_training(words: list[str]) -> int:
    """Run cnn-train with these words; its exit status."""
    return subprocess.run([sys.executable, "-m", "cnn_experiments.train", *words]).returncode


def run_claims(claims: Sequence[Claim], root: Path = STUDY, start: Start = start_training) -> int:
    """Train what is missing of some claims.

    Args:
        claims: the claims.
        root: the folder of the study.
        start: runs cnn-train with some words and returns its exit status.

    Returns:
        0 if all runs are complete, 130 if it was interrupted, 1 otherwise.

    Raises:
        UserError: a folder holds a sweep with other settings than the claim has now.
    """
    work = [(claim, arm, claim.words(arm, root)) for claim in claims if not claim.runs_of for arm in claim.arms]
    failed = []
    for claim, arm, words in work:
        if not words:
            continue
        print(f"{claim.name} {arm}; {left(claims, root)}", flush=True)
        status = start(words)
        if status == INTERRUPTED:
            return status
        if status or claim.missing(arm, root):
            failed.append(str(claim.folder(arm, root)))
    print(left(claims, root), flush=True)
    if failed:
        print(f"not complete: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def left(claims: Sequence[Claim], root: Path) -> str:
    """How many runs are left and how long these will train, as ``12 runs left, about 0:20:00 of training``.

    A run takes as long as those of the same claim took, or else as those of the same size. Where there are none, it is
    said for how many runs the time is not known.
    """
    own = [claim for claim in claims if not claim.runs_of]
    seconds = {claim.name: seconds_of(claim, root) for claim in own}
    runs, known, unknown = 0, 0.0, 0
    for claim in own:
        missing = sum(claim.missing(arm, root) for arm in claim.arms)
        alike = [time for other in own if other.size == claim.size for time in seconds[other.name]]
        times = seconds[claim.name] or alike
        runs += missing
        known += missing * statistics.fmean(times) if times else 0
        unknown += 0 if times else missing
    if not runs:
        return "all runs are complete"
    about = f", about {duration(known)} of training" if known else ""
    return f"{runs} runs left{about}" + (f", and {unknown} of them take an unknown time" if unknown else "")


def seconds_of(claim: Claim, root: Path) -> list[float]:
    """The seconds of training of the completed runs of a claim."""
    folders = [claim.folder(arm, root) for arm in claim.arms if claim.is_begun(arm, root)]
    metrics = [directory.metrics() for directory in run_directories(folders)]
    return [one["train_seconds"] for one in metrics if one.get("status") == "completed"]


def main(names: Sequence[str]) -> int:
    """Train what is missing of the claims of these names, or of all, and write the pages; the exit status."""
    claims = read_claims()
    try:
        chosen = chosen_claims(claims, [name for word in names for name in word.split(",")])
        own = {claim.runs_of or claim.name for claim in chosen}
        status = run_claims([claim for claim in claims if claim.name in own], STUDY)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    for file in write_pages(claims, STUDY):
        print(f"written: {file}")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
