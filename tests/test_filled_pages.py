"""Pages of docs/ that are written by hand and filled with figures."""

import re
from pathlib import Path

import pytest

from scripts.claims import ROOT, STUDIES
from scripts.pages import SUFFIXES, fill


def test_figures_and_words_are_filled_in(tmp_path: Path) -> None:
    for suffix in SUFFIXES.values():
        (tmp_path / f"page{suffix}").write_text("$x$ is @{x.y}: @{verdict}", encoding="utf-8")
    (tmp_path / "docs").mkdir()
    words = {"en": {"verdict": "better"}, "ko": {"verdict": "더 좋음"}}
    english, korean = fill("page", {"x.y": "1 %"}, words, tmp_path / "docs", tmp_path)
    assert english.read_text(encoding="utf-8") == "$x$ is 1 %: better"
    assert korean.read_text(encoding="utf-8") == "$x$ is 1%: 더 좋음"


def test_a_figure_that_there_is_none_of_is_refused(tmp_path: Path) -> None:
    for suffix in SUFFIXES.values():
        (tmp_path / f"page{suffix}").write_text("@{known}, and @{unknown}", encoding="utf-8")
    with pytest.raises(KeyError, match="unknown"):
        fill("page", {"known": "1"}, {}, tmp_path, tmp_path)


@pytest.mark.parametrize("template", sorted(STUDIES.glob("*.md")), ids=lambda template: template.name)
def test_the_pages_in_docs_are_those_of_the_templates(template: Path) -> None:
    """What stands in docs/ was written from the sentences that there are now, and nothing was added."""
    page = (ROOT / "docs" / template.name).read_text(encoding="utf-8")
    first, *others = re.split(r"@\{[a-z0-9_.]+\}", template.read_text(encoding="utf-8"))
    assert page.startswith(first)
    end = len(first)
    for text in others:
        assert text in page[end:], text
        end = page.index(text, end) + len(text)
    assert page[end:] == ""
