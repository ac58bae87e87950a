"""Train the runs that test the papers' claims, or the recipes, and write what they say to docs/.

    make study                            # of all claims that are not measured yet, for docs/claims.md
    make study CLAIMS=relu,dropout        # of some claims, also where they were measured on another machine
    make recipes RECIPES=muon,mixup       # the same for docs/recipes.md

Each arm of a claim is a sweep in outputs/study/<claim>/<arm>. An arm that sets nothing is one in
outputs/study/unchanged/<size>, which the claims of this size share. What was interrupted is resumed, and what is
complete is not run again. What the runs say is kept in studies/measured/, beside what was measured on other machines,
and the pages are written from it, in English and Korean.
"""

import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cnn_experiments.errors import UserError
from cnn_experiments.runs.finished import run_directories
from cnn_experiments.runs.formats import duration
from cnn_experiments.runs.sweep import RECORD
from scripts.claims import STUDY_OF_CLAIMS, STUDY_OF_RECIPES, Claim, Study, chosen_claims, read_claims
from scripts.claims_pages import write_pages
from scripts.measured import all_findings, write_findings

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
    arms = [(claim, arm) for claim in claims if not claim.runs_of for arm in claim.arms]
    for claim, arm in arms:  # before hours of training, not after
        claim.words(arm, root)
    failed = []
    for claim, arm in arms:
        words = claim.words(arm, root)
        if not words:
            continue
        print(f"{claim.name} {arm}; {left(claims, root)}", flush=True)
        if not words[0].startswith("resume="):
            (claim.folder(arm, root) / RECORD).unlink(missing_ok=True)  # of fewer seeds
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

    A run takes as long as those of the same size took. Where there are none, it is said for how many runs the time is
    not known.
    """
    of_size: dict[str, list[float]] = {}
    missing: dict[Path, tuple[str, int]] = {}  # several claims share the runs of some folders
    for claim in claims:
        of_size.setdefault(claim.size.name, []).extend(seconds_of(claim, root))
        missing |= {claim.folder(arm, root): (claim.size.name, claim.missing(arm, root)) for arm in claim.arms}
    runs = sum(count for _, count in missing.values())
    known = sum(count * statistics.fmean(of_size[size]) for size, count in missing.values() if of_size[size])
    unknown = sum(count for size, count in missing.values() if not of_size[size])
    if not runs:
        return "all runs are complete"
    about = f", about {duration(known)} of training" if known else ""
    return f"{runs} runs left{about}" + (f", and {unknown} of them take an unknown time" if unknown else "")


def seconds_of(claim: Claim, root: Path) -> list[float]:
    """The seconds of training of the completed runs of a claim."""
    folders = [claim.folder(arm, root) for arm in claim.arms if claim.is_begun(arm, root)]
    metrics = [directory.metrics() for directory in run_directories(folders)]
    return [one["train_seconds"] for one in metrics if one.get("status") == "completed"]


def main(study: Study, names: Sequence[str]) -> int:
    """Train what is missing of some claims, keep what the runs say, and write the pages; the exit status.

    Args:
        study: whose claims.
        names: of some claims, also several in one word with commas between them; without any, all are meant that were
            not measured with all of their seeds yet.
    """
    try:
        claims = read_claims(study.file)
        found = all_findings(claims, STUDY, study.measured)
        chosen = chosen_claims(claims, names, study) if names else [one.claim for one in found if not one.is_complete]
        own = {claim.runs_of or claim.name for claim in chosen}
        status = run_claims([claim for claim in claims if claim.name in own], STUDY)
        findings = all_findings(claims, STUDY, study.measured, [one.name for one in chosen] if names else [])
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    write_findings(findings, study.measured)
    for file in (study.measured, *write_pages(findings, study=study)):
        print(f"written: {file}")
    return status


if __name__ == "__main__":
    sys.exit(main({"claims": STUDY_OF_CLAIMS, "recipes": STUDY_OF_RECIPES}[sys.argv[1]], sys.argv[2:]))
