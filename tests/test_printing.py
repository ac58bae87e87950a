"""What is printed, logged and written of text that may come from anybody."""

import csv
import io
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from cnn_experiments.inspection.pictures import picture_of_confusion, picture_of_mistakes
from cnn_experiments.runs.formats import (
    PrintableFormatter,
    all_of,
    any_letters_drawn,
    as_cell,
    as_csv,
    as_typed,
    chance,
    cut,
    duration,
    in_markdown,
    in_picture,
    in_units,
    markdown_table,
    printable,
    some_of,
    terminal_table,
    text_width,
)

CONTROLS = [*map(chr, range(32)), *map(chr, range(127, 160)), *"\u061c\u200e\u200f\u2028\u2029\u202e\u2066\u2069\udce9"]


@pytest.mark.parametrize("character", CONTROLS)
def test_a_character_that_controls_the_terminal_becomes_an_escape(character: str) -> None:
    shown = printable(f"a{character}b")
    assert shown == ("a b" if character in "\n\t" else f"a{character.encode('unicode_escape').decode()}b")
    assert printable(character, keep_lines=True) == (character if character in "\n\t" else shown[1:-1])


def test_other_text_is_printed_as_it_is() -> None:
    text = "naïve 한국어 日本 1²3 🐱 \u200d [b] 100 % ~ \\x1b \xa0"
    assert printable(text) == text
    assert printable("a\r\nb") == "a b"


@given(st.text())
@example("\ud800")
def test_what_is_printed_can_be_encoded_and_is_one_line(text: str) -> None:
    shown = printable(text)
    shown.encode()
    assert len(shown.splitlines()) <= 1


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-x", "@SUM(A1)", "\tx", "\rx", " =1", "\n=1", "＝1", "=cmd|' /C calc'!A0"]
)
def test_a_formula_becomes_text(text: str) -> None:
    ((cell,),) = csv.reader(io.StringIO(as_csv(["a"], [[text]]).partition("\n")[2], newline=""))
    assert cell == f"'{text}"


def test_csv_keeps_numbers_and_other_text() -> None:
    rows = [[-1.5, 0, True, None], ["a=b", 'x,"y"', "2-1", Path("d/-x.jpg")], ["caf\udce9", "", "한국어", "'"]]
    text = as_csv(["a", "=b", "c", "d"], rows)
    assert text.count("\r\n") == 4
    assert text.splitlines() == ["a,'=b,c,d", "-1.5,0,True,", 'a=b,"x,""y""",2-1,d/-x.jpg', r"caf\udce9,,한국어,'"]


@given(st.lists(st.lists(st.text() | st.integers(), min_size=2, max_size=2), max_size=3))
def test_csv_can_be_read_again(rows: list[list[str | int]]) -> None:
    _, *found = csv.reader(io.StringIO(as_csv(["a", "b"], rows), newline=""), strict=True)
    assert len(found) == len(rows)
    for row, cells in zip(rows, found, strict=True):
        for value, cell in zip(row, cells, strict=True):
            assert cell.removeprefix("'") == str(value).encode(errors="backslashreplace").decode().removeprefix("'")
            assert isinstance(value, int) or not cell.lstrip("\x00 \t\r\n").startswith(("=", "+", "-", "@"))


@given(st.text(alphabet="![]()<>|`~$*_\\&;:#-+=.\n\tawhtps/@ \x1b", max_size=60))
@example("![p](http://x/y.png)")
@example("<!-- x --> </td> &lt;b&gt; https://x.org www.x.org")
def test_markdown_shows_text_as_it_is(text: str) -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse("\n".join(markdown_table([["a", "b"], [text, "c"]])))
    cells = [token for token in tokens if token.type == "inline"]
    assert len(cells) == 4
    assert {child.type for cell in cells for child in cell.children or []} <= {"text", "text_special"}
    assert "".join(child.content for child in cells[2].children or []) == printable(text).strip()


def test_markdown_leaves_ordinary_settings_readable() -> None:
    assert in_markdown("lenet5 optimizer.lr=0.003 val_check_interval=0.5 a:b") == (
        "lenet5 optimizer.lr=0.003 val_check_interval=0.5 a:b"
    )


def test_a_table_on_the_terminal_shows_brackets_and_no_emoji(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    Console(width=100).print(
        terminal_table("[red]t[/red]", [["[b]h[/b]", "x"], ["[link=http://x]c:smile:\x1b[2J", "\\"]])
    )
    out = capsys.readouterr().out
    for text in ("[red]t[/red]", "[b]h[/b]", r"[link=http://x]c:smile:\x1b[2J"):
        assert text in out
    assert "\x1b" not in out


def test_lines_are_kept_where_asked() -> None:
    assert printable("a\n\tb\x1b\x00", keep_lines=True) == "a\n\tb\\x1b\\x00"
    assert printable("a\n\tb\x1b") == r"a  b\x1b"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        *((None, ""), (0, "0"), (999.4, "999"), (1000, "1 k"), (1234, "1.23 k"), (1e6, "1 M"), (1.58e9, "1.58 G")),
        *((1.25e13, "12.5 T"), (2.04e15, "2.04 P"), (999.6, "1 k"), (999_499, "999 k"), (999_500, "1 M")),
    ],
)
def test_large_numbers(number: float | None, text: str) -> None:
    assert in_units(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0.1234, "0.123 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "120 min"),
        (7200, "2.0 h"),
        (3_600_000, "1000.0 h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_parts_of_sentences() -> None:
    assert some_of(["a", "b"]) == "a or b"
    assert some_of(list("abcdef")) == "a, b, c, d, e or f"
    assert some_of(list("abcdefg")) == "a, b, c, d, e, f or one of 1 others"
    assert all_of(["a"]) == "a"
    assert all_of(list("abc")) == "a, b and c"
    assert all_of(list("abcdef")) == "a, b, c, d, e and f"
    assert all_of(list("abcdefg")) == "a, b, c, d, e, f and 1 others"


def test_chances() -> None:
    assert [chance(p) for p in (0, 0.00009, 0.0001, 0.04999, 1)] == ["<0.0001", "<0.0001", "0.0001", "0.0500", "1.0000"]


def test_values_of_settings() -> None:
    assert [as_cell(value) for value in (None, 1, 0.5, True, [1, "a"], {"a": None}, "a\x1b")] == [
        None, 1, 0.5, "true", '[1, "a"]', '{"a": null}', r"a\x1b",
    ]  # fmt: skip
    assert [as_typed("model.x", value) for value in (None, True, [1, None], 0.123456, 2.0, 10, "a")] == [
        "null", "true", "[1,null]", "0.1235", "2.0", "10", "a",
    ]  # fmt: skip
    assert as_typed("model._target_", "torch.optim.Adam") == "Adam"
    assert in_picture("a$b") == r"a\$b"
    assert in_picture("x" * 41) == "x" * 39 + "…"


def test_tables_to_the_letter() -> None:
    rows = [["name", "of digits", "n"], ["a|b", "12", "3"], ["long one", "4", "567"]]
    assert markdown_table(rows) == [
        "| name | of digits | n |",
        "| --- | ---: | ---: |",
        r"| a\|b | 12 | 3 |",
        "| long one | 4 | 567 |",
    ]
    from rich.console import Console

    console = Console(width=40, color_system=None)
    with console.capture() as captured:
        console.print(terminal_table("T", rows))
    lines = [line.rstrip() for line in captured.get().splitlines()]
    assert lines[0].strip() == "T"
    assert lines[2:] == [
        "┃ name     ┃ of digits ┃   n ┃",
        "┡━━━━━━━━━━╇━━━━━━━━━━━╇━━━━━┩",
        "│ a|b      │        12 │   3 │",
        "│ long one │         4 │ 567 │",
        "└──────────┴───────────┴─────┘",
    ]
    assert terminal_table("", rows).title is None
    # where the terminal is narrow, the first column is folded and the figures stay in one piece
    narrow = Console(width=24, color_system=None)
    with narrow.capture() as captured:
        narrow.print(terminal_table("", [["a", "b c"], ["word " * 8, "1 234"]]))
    assert "1 234" in captured.get()
    assert max(map(len, captured.get().splitlines())) <= 24


def test_long_text_is_cut() -> None:
    assert cut("x" * 200) == "x" * 200
    assert cut("x" * 201) == "x" * 199 + "…"
    assert len(as_typed("model.init", ["y" * 100] * 100)) == 200
    assert as_typed("data", "3fa9c1d2") == "3fa9c1"


def test_a_log_message_is_one_harmless_line() -> None:
    record = logging.makeLogRecord({"msg": "a %s", "args": ("b\n[INFO] forged\x1b[2J",)})
    assert PrintableFormatter("%(message)s").format(record) == r"a b [INFO] forged\x1b[2J"
    try:
        raise ValueError("of old")
    except ValueError:
        record.exc_info = sys.exc_info()
    assert PrintableFormatter().format(record).splitlines()[1] == "Traceback (most recent call last):"


def test_names_are_no_formulas_in_pictures() -> None:
    names = [r"$\frac{1$", "$x$ " + "y" * 5000]
    figure = picture_of_confusion(torch.ones(2, 2), names)
    assert max(figure.get_size_inches()) < 10
    figure.savefig(io.BytesIO())
    mistakes = picture_of_mistakes(torch.rand(1, 1, 8, 8), torch.tensor([0]), torch.tensor([[0.25, 0.75]]), names)
    mistakes.savefig(io.BytesIO())


def test_korean_names_are_drawn_where_a_font_has_their_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib import font_manager

    monkeypatch.setattr(font_manager, "get_font_names", lambda: ["DejaVu Sans", "NanumGothic"])
    figure = picture_of_confusion(torch.ones(2, 2), ["고양이", "dog"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with any_letters_drawn(figure):
            figure.savefig(io.BytesIO())
    korean, english = figure.axes[0].get_yticklabels()
    assert korean.get_fontfamily() == ["sans-serif", "NanumGothic"]
    assert english.get_fontfamily() == ["sans-serif"]


def test_the_width_of_text() -> None:
    assert text_width("dog 고양이") == 4 + 3 * 2


@pytest.mark.parametrize(
    "word", ["model.nothing\x1b[2J=1", "x\x1b]0;t\x07=1", "model=\x1b[31m", "trainer.max_epochs='\x1b[2J'"]
)
def test_a_message_holds_no_control_characters(run_command, word: str) -> None:
    outcome = run_command("train", word)
    assert outcome.status == 2
    assert "\x1b" not in outcome.error
    assert outcome.error


@pytest.mark.parametrize("name", ["한국어", "a[1]", "it's", "1²3", "a b=c", "x" * 254, "caf\udce9", "a\\"])
def test_any_name_of_a_folder_may_be_typed(run_command, tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    outcome = run_command("compare", f"runs={name}", f"hydra.run.dir={name}/out")
    assert outcome.status == 2
    assert outcome.error.startswith(printable(f"runs={name}: there are no runs in this folder"))


@pytest.mark.parametrize("where", ["/dev/full", "closed"])
def test_when_nothing_can_be_printed(tmp_path: Path, where: str) -> None:
    if where == "/dev/full" and not os.path.exists(where):
        pytest.skip("this system has no /dev/full")
    command = [sys.executable, "-m", "cnn_experiments.commands.compare", "--help"]
    if where == "closed":
        done = subprocess.run(["sh", "-c", '"$@" | true', "sh", *command], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        return
    with open(where, "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "standard output: cannot be written (No space left on device). Free some space\n"


def test_a_terminal_that_lacks_characters(tmp_path: Path) -> None:
    name = tmp_path / "é한"
    name.mkdir()
    command = [sys.executable, "-m", "cnn_experiments.commands.compare", f"runs={name}", "hydra.run.dir=out"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert r"\xe9\ud55c: there are no runs in this folder" in done.stderr
