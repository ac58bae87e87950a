"""docs/claims.md and docs/claims.ko.md, written from the runs of the study alone."""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from cnn_experiments.runs.finished import FinishedRun
from cnn_experiments.runs.formats import in_markdown, some_of
from scripts.claims import ROOT, Claim
from scripts.findings import Difference, Finding, find, is_times

Language = Literal["en", "ko"]
LANGUAGES: tuple[Language, ...] = ("en", "ko")
PAGES: dict[Language, str] = {"en": "claims.md", "ko": "claims.ko.md"}

WORDS: dict[str, dict[Language, str]] = {
    "title": {"en": "The papers' claims, tested", "ko": "논문의 주장을 시험하다"},
    "introduction": {
        "en": (
            "Each claim of the papers is a comparison of two or more settings here, at a size that two cores can do: "
            "far smaller than the papers'. Whether it holds is said for this size alone. The claims are in our words. "
            "This page is written by `make study`, from run directories alone; `make study CLAIMS=NAME,NAME` trains "
            "the runs of some claims that are missing, resumes those that were interrupted, and writes it again."
        ),
        "ko": (
            "여기서는 논문의 주장마다 두 가지 이상의 설정을 비교합니다. 코어 두 개로 할 수 있는 크기이고, 논문보다 훨씬 "
            "작습니다. 성립하는지는 이 크기에 대해서만 말합니다. 주장은 우리말로 옮겨 적은 것입니다. 이 문서는 `make study`가 "
            "실행 폴더만으로 씁니다. `make study CLAIMS=NAME,NAME`은 몇 가지 주장의 빠진 실행을 학습하고, 중단된 실행을 "
            "이어서 하고, 이 문서를 다시 씁니다."
        ),
    },
    "reading": {
        "en": (
            "A difference says by how much the arm that the claim favours is better: in points of a hundred, or how "
            "many times as long or as large the other one is. In parentheses is its 95 % interval. Of test accuracies it "
            "holds the luck of seeds and of test images, of other figures that of seeds (Student's t over paired "
            "seeds); counts are exact. A claim *holds* where its arm is better than each other one of the row and this "
            "is no luck (an error of 5 %, with Holm's correction), and *does not hold* where it is worse than one of "
            "them; of a claim that an arm is as good, where the interval lies within or beyond what is allowed."
        ),
        "ko": (
            "차이는 주장이 말하는 쪽이 얼마나 더 좋은지를 뜻합니다. 백분율의 점수(%p)이거나, 다른 쪽이 몇 배나 오래 걸리는지 또는 "
            "큰지입니다. 괄호 안은 95 % 구간입니다. 테스트 정확도의 구간은 시드와 테스트 이미지의 운을, 다른 수치의 구간은 시드의 "
            "운을 담습니다(짝지은 시드에 대한 스튜던트 t). 개수는 정확한 값입니다. 주장하는 쪽이 그 행의 다른 모든 쪽보다 좋고 그것이 "
            "운이 아니면(오류 5 %, 홀름 보정) *성립*하고, 그중 하나보다 나쁘면 *성립하지 않습니다*. 어떤 쪽이 다른 쪽만큼 좋다는 "
            "주장은 구간이 허용한 폭 안에 있는지 벗어나는지로 정합니다."
        ),
    },
    "heading": {
        "en": "claim | paper | arms and figure | size | difference | verdict | command",
        "ko": "주장 | 논문 | 비교와 수치 | 크기 | 차이 | 판정 | 명령",
    },
    "holds": {"en": "**holds**", "ko": "**성립**"},
    "does_not": {"en": "**does not hold**", "ko": "**성립하지 않음**"},
    "cannot_be_told": {"en": "cannot be told at this size", "ko": "이 크기로는 알 수 없음"},
    "not_run": {"en": "not run yet", "ko": "아직 실행하지 않음"},
    "against": {"en": "{better} against {others}: {figure}", "ko": "{better} 대 {others}: {figure}"},
    "size": {"en": "{size}; seeds: {seeds}", "ko": "{size}; 시드: {seeds}개"},
    "test_accuracy": {"en": "test accuracy", "ko": "테스트 정확도"},
    "epochs": {"en": "epochs to a training error of {error} %", "ko": "훈련 오류 {error} %까지의 에포크"},
    "epochs_of_validation": {"en": "epochs to a validation error of {error} %", "ko": "검증 오류 {error} %까지의 에포크"},
    "gap": {
        "en": "training accuracy minus validation accuracy, last epoch",
        "ko": "마지막 에포크의 훈련 정확도 빼기 검증 정확도",
    },
    "training_accuracy": {"en": "training accuracy of the last epoch", "ko": "마지막 에포크의 훈련 정확도"},
    "multiply_adds": {"en": "multiply-adds", "ko": "곱셈-덧셈"},
    "parameters": {"en": "parameters", "ko": "매개변수"},
    "points": {"en": "{value} points ({low} to {high})", "ko": "{value} %p ({low} ~ {high})"},
    "times": {"en": "{value} times ({low} to {high})", "ko": "{value}배 ({low} ~ {high})"},
    "exactly": {"en": "{value} times", "ko": "{value}배"},
    "than": {"en": "{difference} (than {other})", "ko": "{difference} ({other} 대비)"},
    "commands": {"en": "Claim by claim", "ko": "주장마다"},
    "arm": {"en": "arm | runs | mean test accuracy | parameters", "ko": "쪽 | 실행 | 평균 테스트 정확도 | 매개변수"},
    "same_runs": {"en": "The runs are those of {name}.", "ko": "실행은 {name}의 것입니다."},
    "why": {"en": "Not compared: {why}.", "ko": "비교하지 않음: {why}."},
    "sentences": {"en": "Verdicts of the comparison:", "ko": "비교의 판정(영어 원문):"},
    "machine": {
        "en": "Computed on: {device}; torch: {torch}; commits: {commit}.",
        "ko": "계산한 곳: {device}; torch: {torch}; 커밋: {commit}.",
    },
    "tally": {
        "en": "Of {all} claims: {holds} hold, {does_not} do not, {cannot_be_told} cannot be told, {not_run} are not run yet.",
        "ko": "주장 {all}개 중 {holds}개는 성립, {does_not}개는 성립하지 않음, {cannot_be_told}개는 알 수 없음, {not_run}개는 아직 실행하지 않음.",
    },
}
SECTIONS = {"appendix": "부록", "in a later version": "나중 판"}  # words of sections in Korean


def write_pages(claims: Sequence[Claim], root: Path, folder: Path = ROOT / "docs") -> list[Path]:
    """Write both pages.

    Args:
        claims: all claims.
        root: the folder of the study.
        folder: where the pages are written.

    Returns:
        The files.
    """
    findings = [find(claim, root) for claim in claims]
    files = [folder / name for name in PAGES.values()]
    for language, file in zip(LANGUAGES, files, strict=True):
        file.write_text(page(findings, language), encoding="utf-8")
    return files


def page(findings: Sequence[Finding], language: Language) -> str:
    """The page in a language."""

    def say(key: str, **parts: object) -> str:
        return WORDS[key][language].format(**parts)

    other: Language = "ko" if language == "en" else "en"
    name_of_other = {"en": "English", "ko": "한국어"}[other]
    outcomes = [finding.outcome for finding in findings]
    counts = {outcome: outcomes.count(outcome) for outcome in ("holds", "does_not", "cannot_be_told", "not_run")}
    lines = [
        f"# {say('title')}",
        "",
        f"[{name_of_other}]({PAGES[other]})",
        "",
        say("introduction"),
        "",
        say("reading"),
        "",
        say("tally", all=len(findings), **counts),
        *(["", machine] if (machine := _machine(findings, say)) else []),
        "",
        *_table([say("heading").split(" | "), *(_row(finding, language, say) for finding in findings)]),
        "",
        f"## {say('commands')}",
    ]
    for finding in findings:
        lines += ["", *_section(finding, language, say)]
    return "\n".join(lines) + "\n"


Say = Callable[..., str]


def _row(finding: Finding, language: Language, say: Say) -> list[str]:
    claim = finding.claim
    figure = say(claim.figure, error=f"{100 * claim.error:g}")
    others = ", ".join(claim.others)
    several = len(finding.differences) > 1
    differences = [
        say("than", difference=_difference(claim, one, say), other=one.other) if several else _difference(claim, one, say)
        for one in finding.differences
    ]
    return [
        in_markdown(_text(claim, language)),
        f"{claim.paper}, {_section_of(claim, language)}",
        in_markdown(say("against", better=claim.better, others=others, figure=figure)),
        in_markdown(say("size", size=_size(claim, language), seeds=len(claim.seeds))),
        "<br>".join(differences),
        say(finding.outcome),
        f"`make study CLAIMS={claim.name}`",
    ]


def _text(claim: Claim, language: Language) -> str:
    return claim.en if language == "en" else claim.ko


def _size(claim: Claim, language: Language) -> str:
    return claim.size.en if language == "en" else claim.size.ko


def _section_of(claim: Claim, language: Language) -> str:
    section = claim.section
    for english, korean in SECTIONS.items() if language == "ko" else ():
        section = section.replace(english, korean)
    return section


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
        words = [["cnn-train", "-m", *claim.task(arm), f"hydra.sweep.dir={claim.folder(arm, root)}"] for arm in claim.arms]
        lines += ["", "```bash", *(shlex.join(each) for each in words), "```"]
    if finding.why:
        lines += ["", in_markdown(say("why", why=finding.why))]
    if finding.arms:
        rows = [
            [arm, str(len(one.runs)), _mean(one.mean("test/accuracy"), ".4f"), _mean(one.mean("parameters"), ",.0f")]
            for arm, one in finding.arms.items()
        ]
        lines += ["", *_table([say("arm").split(" | "), *rows])]
    sentences = [one.sentence for one in finding.differences if one.sentence]
    if sentences:
        lines += ["", say("sentences"), "", *(f"- {in_markdown(sentence)}" for sentence in sentences)]
    return lines


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table whose cells are Markdown already; the first row is the heading."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [lines[0], "| --- " * len(rows[0]) + "|", *lines[1:]]


def _mean(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _machine(findings: Sequence[Finding], say: Say) -> str:
    """What the runs were computed with; empty if there are none."""
    runs = [run for finding in findings for one in finding.arms.values() for run in one.runs]
    if not runs:
        return ""
    return in_markdown(
        say(
            "machine",
            device=_values(runs, lambda run: run.metrics.get("processor") or run.metrics.get("device")),
            torch=_values(runs, lambda run: (run.metrics.get("versions") or {}).get("torch")),
            commit=_values(runs, lambda run: str(run.metrics.get("commit") or "")[:10]),
        )
    )


def _values(runs: Sequence[FinishedRun], read: Callable[[FinishedRun], object]) -> str:
    """The distinct values of the runs."""
    found = sorted({str(value) for value in map(read, runs) if value})
    return some_of(found) if len(found) > 1 else "".join(found) or "?"
