"""The walks through the networks: quoted code, sums and tables are right, and both languages say the same."""

import ast
import math
import operator
import re
import runpy
import textwrap
from pathlib import Path

import pytest
from torch import nn

import cnn_experiments as cnn
from cnn_experiments.commands.from_python import read_words

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
WALKS = ("lenet5", "alexnet", "googlenet")
PAGES = [f"{walk}{language}" for walk in WALKS for language in ("", ".ko")]

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
TERM = rf"(?:{NUMBER}|[()⌊⌋⌈⌉+−·/²]| (?=[\d()⌊⌋⌈⌉+−·/]))+"
SUM = re.compile(rf"(?<![\w.])({TERM}) *([=≈]) *(−?{NUMBER})(?![\d²])")
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
OPERATORS |= {ast.Pow: operator.pow}
PYTHON = {"⌊": "floor(", "⌈": "ceil(", "⌋": ")", "⌉": ")", "·": "*", "−": "-", "²": "**2", ",": ""}


def read(page: str) -> str:
    return (DOCS / f"{page}.md").read_text(encoding="utf-8")


def blocks(page: str) -> list[tuple[str, str]]:
    """The language and content of each block of code."""
    return BLOCK.findall(read(page))


def prose(page: str) -> str:
    """A page as one line for each paragraph or row, without code and formulas."""
    text = re.sub(r"\$\$.*?\$\$|\$[^$\n]*\$|`[^`\n]*`", "", BLOCK.sub("", read(page)), flags=re.DOTALL)
    return re.sub(r"(?<=\S)\n(?=[^\n|#<*-])", " ", text)


def sums(page: str) -> list[tuple[str, str, str]]:
    """Everything that reads "term = number" or "term ≈ number"."""
    return [(balanced(term.strip()), sign, value) for term, sign, value in SUM.findall(prose(page))]


def balanced(term: str) -> str:
    """A term without the bracket that opened a remark before it."""
    return term.removeprefix("(").strip() if term.count("(") > term.count(")") else term


def value_of(term: str) -> float:
    """The value of a term as the pages write it, such as ⌊(224 + 2·2 − 11)/4⌋ + 1."""
    for sign, python in PYTHON.items():
        term = term.replace(sign, python)

    def value(node: ast.AST) -> float:
        match node:
            case ast.Constant(float() | int() as number):
                return number
            case ast.UnaryOp(ast.USub(), operand):
                return -value(operand)
            case ast.BinOp(left, sign, right):
                return OPERATORS[type(sign)](value(left), value(right))
            case ast.Call(ast.Name(name), [argument]):
                return getattr(math, name)(value(argument))
        raise AssertionError(term)

    return value(ast.parse(term, mode="eval").body)


def rows(page: str) -> list[list[str]]:
    """The cells of all rows of tables."""
    lines = re.findall(r"^\|(.*)\|$", BLOCK.sub("", read(page)), re.MULTILINE)
    return [[cell.strip() for cell in line.split("|")] for line in lines]


@pytest.mark.parametrize(("page", "fewest"), [("lenet5", 30), ("alexnet", 40), ("googlenet", 50)])
def test_sums_are_right(page: str, fewest: int) -> None:
    found = sums(page)
    assert len([term for term, *_ in found if len(term) > 3]) >= fewest
    for term, sign, result in found:
        decimals = len(result.partition(".")[2])
        difference = abs(value_of(term) - value_of(result))
        assert difference <= (0.5 * 10.0**-decimals if sign == "≈" else 1e-9), f"{term} {sign} {result}"


def test_a_wrong_sum_would_be_found() -> None:
    assert SUM.findall("size (6·(5·5·1 + 1) = 157, and 48,120/60,000 ≈ 0.80.") == [
        ("(6·(5·5·1 + 1)", "=", "157"),
        ("48,120/60,000", "≈", "0.80"),
    ]
    assert value_of(balanced("(6·(5·5·1 + 1)")) == 156
    assert value_of("⌊(224 + 2·2 − 11)/4⌋ + ⌈1/2⌉ − 3²") == 46


@pytest.mark.parametrize("page", WALKS)
def test_quoted_code_is_the_source(page: str) -> None:
    names = [f"{page}.py", "layers.py"]
    sources = [(ROOT / "cnn_experiments" / "models" / name).read_text(encoding="utf-8") for name in names]
    quotes = [code for language, code in blocks(page) if language == "python" and not code.startswith("import ")]
    assert len(quotes) >= 5
    for code in quotes:
        indented = ["\n" + textwrap.indent(code, " " * depth) for depth in (0, 4, 8, 12)]
        assert any(quote in source for quote in indented for source in sources), code


@pytest.mark.parametrize("page", WALKS)
def test_every_layer_is_quoted(page: str) -> None:
    source = (ROOT / "cnn_experiments" / "models" / f"{page}.py").read_text(encoding="utf-8")
    tables = re.findall(r"# fmt: off$(.*?)# fmt: on$", source, re.MULTILINE | re.DOTALL)
    layers = [line.strip() for table in tables for line in table.splitlines() if line.strip().startswith("self.")]
    quoted = {line for _, code in blocks(page) for line in code.splitlines()}
    assert len(layers) >= 8
    assert not [line for line in layers if line not in quoted]


@pytest.mark.parametrize("page", WALKS)
def test_the_table_is_cnn_summarys(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.Linear, "reset_parameters", lambda layer: None)  # AlexNet's 58 million weights take long
    monkeypatch.setattr(f"cnn_experiments.models.{page}.initialise", lambda *of, **given: None)
    network, shape = {
        "lenet5": (cnn.LeNet5, (1, 32, 32)),
        "alexnet": (cnn.AlexNet, (3, 224, 224)),
        "googlenet": (cnn.GoogLeNet, (3, 224, 224)),
    }[page]
    table = cnn.layer_table(network(), shape)
    wide = page == "lenet5"  # with connections

    def line(parameters: int, connections: int, multiply_adds: int) -> list[str]:
        counts = [parameters, *([connections] if wide else []), multiply_adds]
        return [f"{count:,}" for count in counts]

    layers = {
        f"`{row.name}`": [f"{row.maps}@{row.size}", *line(row.parameters, row.connections, row.multiply_adds)]
        for row in table.rows
        if row.depth == 0
    }
    written = {name: cells for name, *cells in rows(page) if name in layers}
    assert written == {name: layers[name] for name in written}
    with_counts = {f"`{row.name}`" for row in table.rows if row.depth == 0 and row.parameters + row.connections}
    assert with_counts - {"`pool3`", "`pool4`"} <= set(written)
    total = ["", *line(table.parameters, table.connections, table.multiply_adds)]
    assert total in [cells for _, *cells in rows(page)]


@pytest.mark.parametrize("page", WALKS)
def test_both_languages_have_the_same_sums_and_formulas(page: str) -> None:
    """All else that they have in common is checked by test_languages.py, for all pages."""
    korean = f"{page}.ko"
    assert sorted(sums(page)) == sorted(sums(korean))
    assert re.findall(r"\$\$.*?\$\$", read(page), re.DOTALL) == re.findall(r"\$\$.*?\$\$", read(korean), re.DOTALL)
    assert read(page).count("<details>") == read(korean).count("<details>") == read(korean).count("</details>")


@pytest.mark.parametrize("page", PAGES)
def test_links_and_formulas(page: str) -> None:
    """That each link leads somewhere is checked by test_documentation.py, for all pages."""
    text = BLOCK.sub("", read(page))
    suffix = ".ko" if page.endswith(".ko") else ""
    for other in (*WALKS, "explore"):
        assert f"({other}{suffix}.md" in text or f"{other}{suffix}" == page
    assert f"docs/{page}.md" in (ROOT / f"README{suffix}.md").read_text(encoding="utf-8")
    # GitHub takes $ for a formula only where no letter or digit touches it.
    for formula in re.findall(r"\w?\$[^$\n]+\$\w?", re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL)):
        assert formula.startswith("$"), formula
        assert formula.endswith("$"), formula


@pytest.mark.parametrize("page", WALKS)
def test_exercises_are_one_command_each(page: str) -> None:
    exercises = re.split(r"^\*\*\d+\. ", read(page), flags=re.MULTILINE)[1:]
    assert len(exercises) >= 5
    for exercise in exercises:
        question, _, answer = exercise.partition("```bash\n")
        command = answer.partition("```")[0]
        assert "?" in question
        assert command.count("\n") == 1
        assert "<details><summary>" in answer


@pytest.mark.slow
@pytest.mark.parametrize("page", WALKS)
def test_commands_have_settings_that_exist(page: str) -> None:
    """Each value of each sweep is read as `cnn-train` reads it."""
    import shlex

    from hydra.core.override_parser.overrides_parser import OverridesParser

    parser = OverridesParser.create()
    quoted = re.findall(r"`(cnn-(?:train|summary)[^`]*)`", BLOCK.sub("", read(page)))
    commands = [*quoted, *(code for language, code in blocks(page) if language == "bash" and code.startswith("cnn-"))]
    checked = 0
    for command in commands:
        verb, *words = shlex.split(command)
        if verb not in ("cnn-train", "cnn-summary"):
            continue
        jobs: list[list[str]] = [[]]
        for word in (word for word in words if word != "-m"):
            override = parser.parse_override(word)
            values = [word]
            if override.is_sweep_override():
                values = [f"{override.key_or_group}={value}" for value in override.sweep_string_iterator()]
            jobs = [[*job, value] for job in jobs for value in values]
        for job in (jobs[0], jobs[-1]):
            settings = read_words(job, None, None, [])[1]
            assert settings.model.name == ("lenet5" if page == "lenet5" else page)
            checked += 1
    assert checked >= 10


def test_a_network_is_changed_from_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """The block of AlexNet's page, without the training."""
    trained: dict[str, object] = {}
    monkeypatch.setattr(cnn, "train", lambda *words, **given: trained.update(given, words=words), raising=False)
    monkeypatch.setattr(cnn, "DogsVsCats", lambda **given: None, raising=False)
    (code,) = [code for language, code in blocks("alexnet") if code.startswith("import ")]
    exec(compile(code, "alexnet.md", "exec"), {})
    network = trained["network"]
    assert isinstance(network, nn.Module)
    kinds = [type(module) for module in network.modules()]
    assert nn.ReLU not in kinds
    assert kinds.count(nn.LeakyReLU) == 7
    import torch

    assert network.eval()(torch.zeros(1, 3, 112, 112)).shape == (1, 2)


def test_the_picture_of_lenet5(tmp_path: Path) -> None:
    from PIL import Image

    from cnn_experiments.explorer.subject import CARRIED_RUN

    script = runpy.run_path(str(ROOT / "scripts" / "walk_pictures.py"))
    script["main"](CARRIED_RUN, "0", tmp_path / "maps.png")
    drawn, kept = Image.open(tmp_path / "maps.png"), Image.open(DOCS / "lenet5_maps.png")
    assert drawn.size == kept.size
    assert (DOCS / "lenet5_maps.png").stat().st_size < 300_000
    from cnn_experiments.inspection.layer_outputs import named_layers

    network = cnn.open_run(CARRIED_RUN).network()
    assert set(script["LAYERS"]["lenet5"]) == {*named_layers(network)} - {"dropout", "output"}
    assert set(script["LAYERS"]["googlenet"]) <= set(named_layers(cnn.GoogLeNet()))


@pytest.mark.slow
def test_the_picture_of_photographs(alexnet_run: Path, tmp_path: Path) -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "walk_pictures.py"))
    for name, image in (("test_image", "0"), ("file", str(DOCS / "chelsea.jpg"))):
        script["main"](alexnet_run, image, tmp_path / f"{name}.png")
        assert 5000 < (tmp_path / f"{name}.png").stat().st_size < 300_000


def test_the_score_of_a_clean_seven() -> None:
    """LeNet-5's exercise 5 quotes it."""
    from cnn_experiments.evaluation.exploring import subject_of
    from cnn_experiments.explorer.subject import CARRIED_RUN

    subject = subject_of(cnn.open_run(CARRIED_RUN))
    assert subject.data is not None
    assert subject.tests is not None
    scores = subject.network(subject.data.network_input(subject.tests.bytes_of([0]), "test"))[0].tolist()
    assert scores.index(max(scores)) == 7
    assert f"−{-max(scores):.2f}" in read("lenet5")
