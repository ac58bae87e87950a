"""Sphinx's settings: `make docs` builds README.md and docs/ into site/, once for each language."""

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.search.en import SearchEnglish
from sphinx.util.logging import getLogger

ROOT = Path(__file__).resolve().parents[2]
KOREAN = tags.has("ko")  # type: ignore[name-defined]  # noqa: F821    # Sphinx puts `tags` here: -t ko


def pages() -> list[str]:
    """The pages of this language, and those that exist in English alone."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("docs/*.ipynb")]
    english = {page for page in found if not page.stem.endswith(".ko")}
    korean = {page: twin for page in english if (twin := page.with_suffix(f".ko{page.suffix}")).exists()}
    return sorted(str((korean.get(page, page) if KOREAN else page).relative_to(ROOT)) for page in english)


project = "cnn_experiments"
html_title = project
language = "ko" if KOREAN else "en"
extensions = ["myst_nb"]
nb_execution_mode = "off"  # a notebook shows what is stored in it
include_patterns = pages()
# Everything else is not even looked through: .venv, data and outputs may be large.
exclude_patterns = [path.name for path in ROOT.iterdir() if path.name != "docs" and path.suffix != ".md"]
root_doc = "README.ko" if KOREAN else "README"
templates_path = ["templates"]
html_additional_pages = {"index": "index.html"}  # leads to the README's page
highlight_language = "none"
smartquotes = False

# Markdown as GitHub reads it: anchors of headings, formulas between dollar signs and in blocks of ```math.
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["math"]
html_math_renderer = "mathml"

html_theme = "furo"
html_theme_options = {"top_of_page_buttons": []}
SIDEBAR = ["brand", "language", "search", "scroll-start", "navigation", "scroll-end"]
html_sidebars = {"**": [f"sidebar/{part}.html" for part in SIDEBAR]}
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_copy_source = False
html_use_index = False
html_show_copyright = False

# The order of the sidebar; what is not named follows, by name.
ORDER = [
    *("first_hour", "explore", "lenet5", "alexnet", "googlenet"),
    *("why_51", "wishes", "claims", "recipes", "results", "your_own"),
]


def read_source(app: Sphinx, name: str, content: list[str]) -> None:
    """Leave out the link to the other language, for which the site has a switch, and name the pages for the sidebar."""
    other_language = r'^( *")?\[(?:한국어|English)\]\([\w.]+\)(?: · |\n)'  # in a notebook, between quotation marks
    content[0] = re.sub(other_language, r"\1", content[0], count=1, flags=re.MULTILINE)
    if KOREAN and not name.endswith(".ko"):  # a page in English alone; what it links to may be there in Korean
        folder = Path(app.srcdir, name).parent
        content[0] = re.sub(
            r"\]\(([\w./]+)\.(md|ipynb)\b",
            lambda link: f"]({link[1]}.ko.{link[2]}" if (folder / f"{link[1]}.ko.{link[2]}").exists() else link[0],
            content[0],
        )
    if name == root_doc:
        known = [page for stem in ORDER for page in (f"docs/{stem}", f"docs/{stem}.ko") if page in app.env.found_docs]
        last = ["docs/**", "CONTRIBUTING", "SECURITY", "CHANGELOG"]
        content[0] += "\n".join(["\n```{toctree}", ":hidden:", ":glob:", "", *known, *last, "```\n"])


def name_of_other(app: Sphinx, name: str, template: str, context: dict[str, Any], _: Any) -> None:
    """Tell the language switch where the same page in the other language is."""
    stem = name.removesuffix(".ko")
    translated = any((ROOT / f"{stem}.ko.{kind}").exists() for kind in ("md", "ipynb"))
    other = stem if KOREAN or not translated else f"{stem}.ko"
    up = "../" * name.count("/")
    context["other_language"] = f"{up}../{other}.html" if KOREAN else f"{up}ko/{other}.html"
    context["root_page"] = f"{root_doc}.html"


def formula(translator: Any, node: nodes.Element) -> None:
    """Formulas are MathML, which browsers draw without a script or a font from elsewhere."""
    try:
        translator.body.append(tex2mathml(node.astext(), as_block=isinstance(node, nodes.math_block)))
    except MathError as error:
        getLogger(__name__).warning("cannot read the formula %s: %s", node.astext(), error, location=node)
    raise nodes.SkipNode


class Korean(SearchEnglish):
    """Words are found by their beginnings, since particles are written together with them: 합성곱 finds 합성곱의."""

    lang = "ko"
    js_splitter_code = "var splitQuery = (query) => query.match(/[가-힣]+|(?:(?![가-힣])[\\p{L}\\p{N}_])+/gu) ?? [];"

    def split(self, text: str) -> list[str]:
        """All beginnings of Korean words; other words as they are, also where a Korean particle follows them."""
        found = []
        for word in re.findall(r"[가-힣]+|(?:(?![가-힣])\w)+", text):
            found += [word[:end] for end in range(1, len(word) + 1)] if "가" <= word[0] <= "힣" else [word]
        return found


def setup(app: Sphinx) -> None:
    """Tell Sphinx of the above."""
    app.connect("source-read", read_source)
    app.connect("html-page-context", name_of_other)
    app.add_html_math_renderer("mathml", inline_renderers=(formula, None), block_renderers=(formula, None))
    app.add_search_language(Korean)
