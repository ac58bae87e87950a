"""Each page in English has a Korean twin, which says the same: commands, code, figures, pictures and sections."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WRITTEN = [ROOT / "README.md", *sorted([*ROOT.glob("docs/**/*.md"), *ROOT.glob("docs/*.ipynb")])]
ENGLISH = [page.relative_to(ROOT) for page in WRITTEN if not page.stem.endswith(".ko")]
PAIRS = [(str(page), str(page.with_suffix(f".ko{page.suffix}"))) for page in ENGLISH]
FENCE = re.compile(r"^ *```([^\n`]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"\d(?:[\d,.]*\d)?")
PAIR = pytest.mark.parametrize(("english", "korean"), PAIRS)


def text(page: str) -> str:
    """What a page says; a notebook without what its cells printed."""
    content = (ROOT / page).read_text(encoding="utf-8")
    if not page.endswith(".ipynb"):
        return content
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(content)["cells"]]
    return "\n\n".join(f"```python\n{source}\n```" if kind == "code" else source for kind, source in cells)


def prose(page: str) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", text(page))


COMMENT = r"(?:^| +)#(?! (?:cnn_experiments|conf)/).*"
DESCRIPTION = r"(?:^| {2,})#.*|(?<=\S) {2,}[^#\d].*|^ {12,}.*"


def code(page: str) -> Iterator[tuple[str, list[str]]]:
    """The language of each block and its lines, without comments; in a tree of files, those are the descriptions."""
    for language, block in FENCE.findall(text(page)):
        mark = COMMENT if language else DESCRIPTION
        lines = [re.sub(mark, "", line).rstrip() for line in block.splitlines()]
        yield language, [line for line in lines if line]


def spans(page: str) -> set[str]:
    """What stands between backticks."""
    return {" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(page))}


def rows(page: str) -> list[list[str]]:
    """The numbers of each row of the tables, in ascending order, since the words around them may stand otherwise."""
    return [sorted(NUMBER.findall(line)) for line in prose(page).splitlines() if line.startswith("|")]


def figures(page: str) -> set[str]:
    """The numbers of a page's prose that are too exact to be written as words; 1.2 million is 120만 in Korean."""
    plain = re.sub(r"`[^`]+`|\]\([^)]*\)|https?://\S+|\d[\d,.]*(?: [mb]illion|[천만억])", " ", prose(page))
    return {number for number in NUMBER.findall(plain) if len(number) > 2}


@PAIR
def test_both_languages_have_the_same_code(english: str, korean: str) -> None:
    assert list(code(english)) == list(code(korean))


@PAIR
def test_both_languages_have_the_same_commands(english: str, korean: str) -> None:
    assert spans(english) ^ spans(korean) == set()


@PAIR
def test_both_languages_have_the_same_figures(english: str, korean: str) -> None:
    assert rows(english) == rows(korean)
    assert figures(english) ^ figures(korean) == set()


@PAIR
def test_both_languages_have_the_same_pictures_and_sections(english: str, korean: str) -> None:
    for pattern in (r"!\[[^\]]*\]\(([^)]*)\)", r"^(#+) "):
        assert re.findall(pattern, prose(english), re.MULTILINE) == re.findall(pattern, prose(korean), re.MULTILINE)


@PAIR
def test_the_languages_lead_to_each_other_and_korean_pages_to_korean_ones(english: str, korean: str) -> None:
    assert text(english).splitlines()[2].split(" · ")[0] == f"[한국어]({Path(korean).name})"
    assert text(korean).splitlines()[2].split(" · ")[0] == f"[English]({Path(english).name})"
    for link in re.findall(r"\]\(([^)#\s]+)", text(korean))[1:]:
        page = ROOT / Path(korean).parent / link
        if page.suffix in (".md", ".ipynb") and not page.stem.endswith(".ko"):
            assert not page.with_suffix(f".ko{page.suffix}").exists(), link


def test_the_glossary_has_the_same_terms_in_both_languages_and_names_what_exists() -> None:
    english, korean = (
        [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text(page).splitlines() if "|" in line]
        for page in ("docs/glossary.md", "docs/glossary.ko.md")
    )
    terms = [row for row in english if not row[0].startswith(("-", "term"))]
    assert len(terms) > 80
    assert len({row[0] for row in terms}) == len(terms)
    assert [row[:2] for row in terms] == [row[1::-1] for row in korean if not row[0].startswith(("-", "용어"))]

    keys = set()
    for file in ROOT.glob("conf/*/*.yaml"):
        group = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        room = file.parent.name
        keys |= set(dotted(group if room in group else {room: group}))
    for span in spans("docs/glossary.md"):
        for word in span.split():
            if word.startswith("cnn_experiments/"):
                assert (ROOT / word).is_file(), word
            if re.match(r"(model|datamodule|trainer|logging)\.", word):
                assert word.partition("=")[0] in keys, word


def dotted(group: Any, before: str = "") -> Iterator[str]:
    """The keys of a config, as they are typed."""
    for key, value in group.items() if isinstance(group, dict) else ():
        yield f"{before}{key}"
        yield from dotted(value, f"{before}{key}.")
