"""What was measured, as studies/measured/ keeps it.

Run directories stay on the machine that made them. What they say is kept here, so that a page can be written, and a
study can go on, on another machine: there `make study CLAIMS=relu` changes what it measures and nothing else.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from cnn_experiments.runs.files import write_text
from scripts.claims import Claim
from scripts.findings import Arm, Difference, Finding, find


def all_findings(claims: Sequence[Claim], root: Path, file: Path) -> list[Finding]:
    """What the runs on this machine say of each claim, or what was measured before.

    What was measured before counts while there are fewer runs here. It no longer counts once the claim, or what its
    arms set, has been changed.

    Args:
        claims: the claims.
        root: the folder of the runs on this machine.
        file: what was measured before; it may be missing.
    """
    before = read(file)
    findings = []
    for claim in claims:
        here, entry = find(claim, root), before.get(claim.name)
        earlier = _read_finding(claim, entry) if entry and entry["claim"] == _compared(claim) else None
        findings.append(earlier if earlier and (not here.arms or here.seeds < earlier.seeds) else here)
    return findings


def write_findings(findings: Sequence[Finding], file: Path) -> None:
    """Keep findings, without the claims that were not run."""
    write(
        {
            one.claim.name: {
                "claim": _compared(one.claim),
                "outcome": one.outcome,
                "why": one.why,
                "differences": [asdict(difference) for difference in one.differences],
                "arms": {name: asdict(arm) for name, arm in one.arms.items()},
                "machine": one.machine,
            }
            for one in findings
            if one.arms
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


def _read_finding(claim: Claim, entry: dict[str, Any]) -> Finding:
    return Finding(
        claim,
        entry["outcome"],
        [Difference(**one) for one in entry["differences"]],
        {name: Arm(**arm) for name, arm in entry["arms"].items()},
        entry["why"],
        entry["machine"],
    )


def read(file: Path) -> dict[str, Any]:
    """What a file keeps, by names; nothing if there is no file."""
    if not file.exists():
        return {}
    content: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    return content


def write(content: dict[str, Any], file: Path) -> None:
    """Keep this, and nothing else, in a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None))
