"""The pages of the studies, docs/claims.md and docs/recipes.md, written from findings alone, in both languages."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cnn_experiments.runs.formats import figure, in_markdown
from scripts.claims import ROOT, STUDIES, STUDY_OF_CLAIMS, Claim, Size, Study
from scripts.findings import Difference, Finding, is_times
from scripts.pages import SUFFIXES, Language, in_words, table


def words_of(study: Study) -> dict[str, Any]:
    """The words of a study's page: its own, and for all else those of the papers' claims."""
    files = [STUDIES / f"{name}_page.yaml" for name in dict.fromkeys((STUDY_OF_CLAIMS.name, study.name))]
    words: dict[str, Any] = {}
    for file in files:
        words |= yaml.safe_load(file.read_text(encoding="utf-8"))
    return words


def write_pages(
    findings: Sequence[Finding], folder: Path = ROOT / "docs", study: Study = STUDY_OF_CLAIMS
) -> list[Path]:
    """Write the page in both languages.

    Args:
        findings: of all claims.
        folder: where the pages are written.
        study: whose claims they are.

    Returns:
        The files.
    """
    files = []
    for language, suffix in SUFFIXES.items():
        files.append(folder / f"{study.name}{suffix}")
        files[-1].write_text(page(findings, language, study), encoding="utf-8")
    return files


def page(findings: Sequence[Finding], language: Language, study: Study = STUDY_OF_CLAIMS) -> str:
    """The page in a language."""
    words = words_of(study)

    def say(key: str, **parts: object) -> str:
        text: str = words[key][language]
        return text.format(**parts)

    other: Language = "ko" if language == "en" else "en"
    name_of_other = {"en": "English", "ko": "한국어"}[other]
    outcomes = [finding.outcome for finding in findings]
    counts = {outcome: outcomes.count(outcome) for outcome in ("holds", "does_not", "cannot_be_told", "not_run")}
    lines = [
        f"# {say('title')}",
        "",
        f"[{name_of_other}]({study.name}{SUFFIXES[other]}) · {say('links')}",
        "",
        say("introduction"),
        "",
        say("reading"),
        "",
        say("tally", all=len(findings), **counts),
        *(["", machine] if (machine := _machine(findings, say)) else []),
        "",
    ]
    for paper in dict.fromkeys(finding.claim.paper for finding in findings):
        of_paper = [finding for finding in findings if finding.claim.paper == paper]
        sizes = {finding.claim.size.name: _text(finding.claim.size, language) for finding in of_paper}
        rows = [_row(finding, language, say, words, study.command) for finding in of_paper]
        lines += [f"## {paper}", "", table(rows, say("heading").split(" | ")), ""]
        lines += [say("sizes"), "", *(f"- `{name}`: {in_markdown(size)}" for name, size in sizes.items()), ""]
    lines += [f"## {say('commands')}"]
    for finding in findings:
        lines += ["", *_section(finding, language, say)]
    return "\n".join(lines) + "\n"


Say = Callable[..., str]


def _row(finding: Finding, language: Language, say: Say, words: Mapping[str, Any], command: str) -> list[str]:
    claim, section = finding.claim, finding.claim.section
    for english, own in words["sections"][language].items():
        section = section.replace(english, own)
    compared = say(claim.figure, error=f"{100 * claim.error:g}")
    others = ", ".join(claim.others)
    several = len(finding.differences) > 1
    differences = [
        say("than", difference=_difference(claim, one, say), other=one.other)
        if several
        else _difference(claim, one, say)
        for one in finding.differences
    ]
    return [
        f"[{in_markdown(_text(claim, language))}](#{claim.name})",
        section,
        say(
            "against",
            better=in_markdown(claim.better),
            others=in_markdown(others),
            figure=compared,
            words=claim.arms[claim.better],
        ),
        say("size", size=f"`{claim.size.name}`", seeds=finding.seeds) if finding.seeds > 1 else f"`{claim.size.name}`",
        "<br>".join(differences),
        say(finding.outcome),
        f"`{command}{claim.name}`",
    ]


def _text(of: Claim | Size, language: Language) -> str:
    return of.en if language == "en" else of.ko


def _difference(claim: Claim, one: Difference, say: Say) -> str:
    if one.low == one.high and is_times(claim):
        return say("exactly", value=f"{one.value:.2f}")
    ends = {name: f"{number:.2f}" for name, number in (("value", one.value), ("low", one.low), ("high", one.high))}
    return say("times" if is_times(claim) else "points", **ends)


def _section(finding: Finding, language: Language, say: Say) -> list[str]:
    """What is said of one claim: its words, its arms and their commands, and the verdicts."""
    claim = finding.claim
    lines = [f"### {claim.name}", "", in_markdown(_text(claim, language))]
    if claim.runs_of:
        lines += ["", say("same_runs", name=claim.runs_of)]
    else:
        root = Path("outputs") / "study"
        lines += ["", "```bash", *(claim.command(arm, root) for arm in claim.arms), "```"]
    if finding.why:
        lines += ["", in_markdown(say("why", why=finding.why))]
    if finding.arms:
        rows = [
            [arm, str(one.runs), figure(one.accuracy, ".4f"), figure(one.parameters, ",.0f")]
            for arm, one in finding.arms.items()
        ]
        lines += ["", table(rows, say("setting").split(" | "))]
    sentences = [one.sentence for one in finding.differences if one.sentence]
    if sentences:
        lines += ["", say("sentences"), "", *(f"- {in_markdown(sentence)}" for sentence in sentences)]
    return lines


def _machine(findings: Sequence[Finding], say: Say) -> str:
    """What the runs were computed with; empty if there are none."""
    machines = [finding.machine for finding in findings if finding.machine]
    return in_markdown(say("machine", **in_words(machines))) if machines else ""
