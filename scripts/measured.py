"""What was measured, as studies/measured/ keeps it.

Run directories stay on the machine that made them. What they say is kept here, so that a page can be written, and a
study can go on, on another machine: there `make study CLAIMS=relu` changes what it measures and nothing else.
"""

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from cnn_experiments.errors import UserError
from cnn_experiments.runs.files import write_text
from scripts.claims import Claim
from scripts.findings import Arm, Difference, Finding, find

log = logging.getLogger(__name__)


def all_findings(claims: Sequence[Claim], root: Path, file: Path, anew: Collection[str] = ()) -> list[Finding]:
    """What was measured of each claim, before or by the runs on this machine.

    What the runs here say takes its place if they have more of the claim's seeds, or as many of a claim that is to be
    measured anew. What was measured before does not count once the claim, or what its arms set, has been changed.

    Args:
        claims: the claims.
        root: the folder of the runs on this machine.
        file: what was measured before; it may be missing.
        anew: names of claims.

    Raises:
        UserError: the file is not what `write_findings` writes.
    """
    before = read(file)
    findings = []
    for claim in claims:
        earlier = _read_finding(claim, before[claim.name], file) if claim.name in before else None
        here = find(claim, root)
        if earlier is None:
            findings.append(here)
            continue
        seeds, seeds_before = (len(set(one.compared) & set(claim.seeds)) for one in (here, earlier))
        better = seeds > seeds_before or (claim.name in anew and seeds == seeds_before)
        if claim.name in anew and here.why:
            log.warning("%s: %s; what was measured before stays", claim.name, here.why)
        findings.append(here if better and not here.why else earlier)
    return findings


def write_findings(findings: Sequence[Finding], file: Path) -> None:
    """Keep findings, without those of claims that were not run, or whose runs cannot be compared."""
    write(
        {
            one.claim.name: {
                "claim": _compared(one.claim),
                "seeds": list(one.compared),
                "outcome": one.outcome,
                "differences": [asdict(difference) for difference in one.differences],
                "arms": {name: asdict(arm) for name, arm in one.arms.items()},
                "machine": one.machine,
            }
            for one in findings
            if one.compared and not one.why
        },
        file,
    )


def _compared(claim: Claim) -> dict[str, Any]:
    """What a finding depends on, but the seeds."""
    return {
        "settings": {arm: " ".join(claim.settings(arm)) for arm in claim.arms},
        "better": claim.better,
        "than": list(claim.others),
        "figure": claim.figure,
        "error": claim.error,
        "margin": claim.margin,
        "factor": claim.factor,
    }


def _read_finding(claim: Claim, entry: Any, file: Path) -> Finding | None:
    """A finding that was kept; None if it is of another claim of this name."""
    with entries_explained(file, claim.name):
        if entry["claim"] != _compared(claim):
            return None
        return Finding(
            claim,
            entry["outcome"],
            [Difference(**one) for one in entry["differences"]],
            {name: Arm(**arm) for name, arm in entry["arms"].items()},
            compared=tuple(entry["seeds"]),
            machine=entry["machine"],
        )


@contextmanager
def entries_explained(file: Path, name: str) -> Iterator[None]:
    """Raise a UserError in place of what reading an entry leads to that somebody has changed by hand."""
    try:
        yield
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(f"{file}: {name} is not as it was written. Restore the file, or remove the entry") from error


def read(file: Path) -> dict[str, Any]:
    """What a file keeps, by names; nothing if there is no file.

    Raises:
        UserError: the file keeps something else.
    """
    if not file.exists():
        return {}
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: no YAML ({error}). Restore the file") from error
    if not isinstance(content, dict):
        raise UserError(f"{file}: no names with what was measured of them. Restore the file")
    return content


def write(content: dict[str, Any], file: Path) -> None:
    """Keep this, and nothing else, in a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None))
