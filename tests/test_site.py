"""The site that `make docs` builds, as a reader without a network opens it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.test_languages import PAIRS

pytest.importorskip("sphinx", reason="the extra docs is not installed")
ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "README.ko.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"]
REQUEST = re.compile(
    r"<(?:link|script|img|iframe|source|video)\b[^>]*?\s(?:src|srcset|href)=[\"']?\s*(?:https?:)?//[^>]*>"
)
FORMULAS = """# Formulas

Inline $\\frac{1}{2} \\sqrt{x_i}$ and

$$\\sum_{i=1}^{n} x_i$$

```math
a^2 + b^2 = c^2
```
"""


def build(project: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """What `make docs` does, of another folder."""
    words = re.findall(r"\t\$\(BIN\)/sphinx-build (.*)", (ROOT / "Makefile").read_text())
    assert len(words) == 2
    for line in words:
        options = line.replace("-d .doctrees", f"-d {site}.doctrees").split()
        options[-1] = str(site / Path(options[-1]).relative_to("site"))
        done = subprocess.run([sys.executable, "-m", "sphinx", *options], cwd=project, capture_output=True, text=True)
        if done.returncode:
            break
    return done


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the site is made from, and a page of formulas."""
    project = tmp_path_factory.mktemp("project")
    for name in [*PAGES, "LICENSE"]:
        shutil.copy(ROOT / name, project)
    for name in ("docs", "cnn_experiments"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    (project / "docs" / "formulas.md").write_text(FORMULAS)
    return project


@pytest.fixture(scope="module")
def site(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    done = build(copy, folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_is_whole_and_asks_no_other_address_for_anything(site: Path) -> None:
    """One test, since each process that runs tests would build the site again."""
    for english, korean in PAIRS:
        page = (site / english).with_suffix(".html")
        switch = re.search(r'<a class="language"[^>]*href="([^"]*)"', page.read_text(encoding="utf-8"))
        assert switch
        assert (page.parent / switch[1]).resolve() == (site / "ko" / korean).with_suffix(".html")

    pages = {page: page.read_text(encoding="utf-8") for page in site.rglob("*.html")}
    assert len(pages) > 2 * len(PAIRS)
    for page, text in pages.items():
        assert not REQUEST.search(text), page
        for link in re.findall(r'(?:href|src)="([^"#?]+)', text):
            assert re.match(r"\w+:", link) or (page.parent / link).exists(), (page, link)
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", style.read_text(encoding="utf-8")), style
    for kind in ("md", "ipynb"):
        assert not list(site.rglob(f"_downloads/**/*.{kind}"))  # a page that should have been linked as one

    formulas = pages[site / "docs" / "formulas.html"]
    assert formulas.count("<math ") == 3
    assert formulas.count('display="block"') == 2
    assert all(tag in formulas for tag in ("<mfrac>", "<msqrt>", "<msup>"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[a link](missing.md)", "missing.md"),
        ("[an anchor](results.md#missing)", "missing"),
        ("![a picture](missing.png)", "missing.png"),
        ("$\\nocommand{x}$", "nocommand"),
    ],
)
def test_what_is_wrong_fails_the_build(copy: Path, tmp_path: Path, text: str, complaint: str) -> None:
    page = copy / "docs" / "wrong.md"
    page.write_text(f"# Wrong\n\n{text}\n")
    try:
        done = build(copy, tmp_path)
    finally:
        page.unlink()
    assert done.returncode != 0
    assert complaint in done.stderr


@pytest.fixture
def page(browser: Any, site: Path) -> Any:
    """A page of the browser without a network; it fails the test if it asks for more than files or reports an error."""
    context = browser.new_context(offline=True)
    page = context.new_page()
    faults: list[str] = []
    page.on("request", lambda request: request.url.startswith(("file:", "data:")) or faults.append(request.url))
    page.on("console", lambda message: message.type == "error" and faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    yield page
    context.close()
    assert not faults


def found(page: Any, site: Path, language: str, words: str) -> list[str]:
    """What a reader who types words into the search finds."""
    page.goto(f"file://{site}/{language}/index.html")
    page.wait_for_url("**/README*.html")
    page.fill(".sidebar-search", words)
    page.press(".sidebar-search", "Enter")
    page.wait_for_selector("#search-results .search-summary:not(:empty)")
    page.wait_for_function("!document.querySelector('.search-summary').textContent.includes('…')")
    return [
        Path(link.get_attribute("href").split("?")[0].split("#")[0]).name
        for link in page.query_selector_all("#search-results li a")
    ]


@pytest.mark.slow
def test_the_search_works_without_a_server(page: Any, site: Path) -> None:
    assert "glossary.html" in found(page, site, ".", "receptive field")
    assert found(page, site, ".", "nosuchword") == []
    assert {"glossary.ko.html", "README.ko.html"} <= set(found(page, site, "ko", "합성곱"))
    assert "glossary.ko.html" in found(page, site, "ko", "학습률")
    assert "glossary.ko.html" in found(page, site, "ko", "층")
    assert "README.ko.html" in found(page, site, "ko", "CPU에서")


@pytest.mark.slow
def test_a_picture_is_enlarged_and_put_back(page: Any, site: Path) -> None:
    page.goto(f"file://{site}/docs/explore.html")
    page.focus("article img")
    width = page.locator("article img").bounding_box()["width"]
    page.keyboard.press("Enter")
    assert page.locator("dialog.zoomed img").bounding_box()["width"] > 1.3 * width
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    page.click("article img")
    page.click("dialog.zoomed img")
    page.wait_for_selector("dialog", state="detached")


@pytest.mark.slow
def test_the_switch_leads_to_the_same_page_and_back(page: Any, site: Path) -> None:
    page.goto(f"file://{site}/docs/explore.html")
    page.click("text=한국어")
    assert page.url.endswith("/ko/docs/explore.ko.html")
    page.click(".language")
    assert page.url.endswith("/docs/explore.html")
    assert "/ko/" not in page.url
