"""What a comparison does with run folders that may hold anything: never a traceback, a hang or unbounded memory."""

import io
import itertools
import json
import os
import re
import resource
import struct
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from cnn_experiments.errors import UserError
from cnn_experiments.runs.comparison import Comparison, compare
from cnn_experiments.runs.finished import FIGURES, MEASURED
from cnn_experiments.runs.page import as_html
from cnn_experiments.runs.records import DEEPEST, MOST_BYTES_OF_JSON, MOST_ROWS
from cnn_experiments.runs.tables import as_markdown, print_comparison
from cnn_experiments.settings.containers import updated
from tests.test_comparison import data_of, parsed, write_run

CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
HOSTILE_TEXT = (
    "![p](http://x/y.png) [l](http://x) <img src=x onerror=y> <script>z</script> | cell | ``` ~~~ `code` $a^b$ \\ "
    "[bold]b[/bold] :smile: [link=http://x]l[/link] &amp; *b* _c_ www.x.org a@x.org \x1b[31m\x07\x9b\u202e\udce9 "
    "=1+1 # h\n- item\n> quote\n\n```\n"
)


def check_harmless(comparison: Comparison) -> None:
    """No control character comes out, Markdown holds only our own elements, and HTML is well-formed."""
    notebook, markdown = comparison._repr_html_(), as_markdown(comparison)
    for part in (str(comparison), notebook, markdown):
        assert not CONTROLS.search(part)
        part.encode()
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    kinds = {token.type for token in tokens} | {child.type for token in tokens for child in token.children or ()}
    expected = {"heading", "table", "thead", "tbody", "tr", "th", "td", "bullet_list", "list_item", "paragraph"}
    assert kinds <= {f"{name}_{end}" for name in expected for end in ("open", "close")} | {
        "inline",
        "text",
        "softbreak",
    }
    assert sum(token.type == "table_open" for token in tokens) <= 2
    ElementTree.fromstring(f"<div>{notebook}</div>")


def check_page(comparison: Comparison) -> None:
    """The page is well-formed, loads nothing, and runs nothing but its own script."""
    page = as_html(comparison)
    page.encode()
    assert not CONTROLS.search(page)
    tree = parsed(page)
    tags = [element.tag for element in tree.iter()]
    assert set(tags).isdisjoint({"img", "iframe", "link", "a", "object", "base", "form"})
    assert [tags.count(tag) for tag in ("script", "style")] == [2, 1]
    assert not any(name.startswith("on") for element in tree.iter() for name in element.attrib)
    assert len(data_of(page)["configurations"]) == len(comparison.configurations)


numbers = st.integers(-(2**70), 2**70) | st.floats() | st.just(10**4200) | st.booleans()
anything = st.recursive(
    st.none() | numbers | st.text(max_size=8) | st.just(HOSTILE_TEXT),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=8), parts, max_size=3),
    max_leaves=8,
)
metrics_entries = st.sampled_from(
    ["status", "overrides", "confusion", "error", "seed", *FIGURES, *(entry for entry, *_ in MEASURED.values())]
)
config_keys = st.sampled_from(
    ["seed", "model", "model.name", "model._target_", "model.dropout", "datamodule", "datamodule.name", "trainer",
     "datamodule.source", "datamodule.test_size", "trainer.precision", "trainer.max_epochs", "logging", "other"]
)  # fmt: skip
cells = st.floats().map(str) | st.sampled_from(["", "1", "2", "-3", "1e400", "x", "nan", "inf", '"', "1_000", "٣"])
tables = st.lists(st.lists(cells, max_size=7).map(",".join), max_size=6).map("\n".join)


@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(
    st.dictionaries(metrics_entries, anything, max_size=4),
    st.dictionaries(config_keys, anything, max_size=4),
    tables | st.none(),
    st.booleans(),
)
def test_any_values_in_the_files_of_a_run(
    tmp_path_factory: pytest.TempPathFactory,
    metrics: dict[str, Any],
    config: dict[str, Any],
    table: str | None,
    with_heading: bool,
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "ordinary", 0.8)
    write_run(folder / "odd", 0.9)
    run = folder / "odd"
    (run / "metrics.json").write_text(json.dumps(json.loads((run / "metrics.json").read_text()) | metrics))
    changed = yaml.safe_load((run / "config.yaml").read_text())
    for key, value in config.items():
        changed = updated(changed, key, value)
    (run / "config.yaml").write_text(json.dumps(changed))  # JSON is YAML
    if table is not None:
        heading = "epoch,seconds,train/loss,val/loss,val/accuracy\n" if with_heading else ""
        (run / "history.csv").write_text(heading + table)
    comparison = compare(folder)
    assert 1 <= len(comparison.configurations) + len(comparison.others) <= 2
    check_harmless(comparison)
    if not comparison.others:  # otherwise the page shows the ordinary run alone
        check_page(comparison)


@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(st.sampled_from(["metrics.json", "config.yaml", "history.csv"]), st.binary(max_size=300), st.integers(0, 10**6))
def test_any_bytes_in_the_files_of_a_run(
    tmp_path_factory: pytest.TempPathFactory, name: str, junk: bytes, place: int
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "odd", 0.9)
    content = (folder / "odd" / name).read_bytes()
    place %= len(content) + 1
    (folder / "odd" / name).write_bytes(content[:place] + junk + content[place + len(junk) // 2 :])
    comparison = compare(folder)
    check_harmless(comparison)
    if comparison.configurations:
        check_page(comparison)


def nothing(run: Path) -> None:
    (run / "config.yaml").unlink()


def a_pipe(run: Path) -> None:
    nothing(run)
    os.mkfifo(run / "config.yaml")


def pipes(run: Path) -> None:
    for name in ("metrics.json", "history.csv"):
        (run / name).unlink()
        os.mkfifo(run / name)


def a_device(run: Path) -> None:
    (run / "metrics.json").unlink()
    (run / "metrics.json").symlink_to("/dev/zero")


def a_folder(run: Path) -> None:
    (run / "history.csv").unlink()
    (run / "history.csv").mkdir()


def a_link_to_itself(run: Path) -> None:
    (run / "metrics.json").unlink()
    (run / "metrics.json").symlink_to("metrics.json")


def aliases(run: Path) -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
    (run / "config.yaml").write_text(bomb)


def a_circle(run: Path) -> None:
    (run / "config.yaml").write_text("model: &m\n  inner: *m\n")


def a_tag(run: Path) -> None:
    (run / "config.yaml").write_text("model: !!python/object/apply:os.system [echo harm]\n")


def a_date(run: Path) -> None:
    (run / "config.yaml").write_text("model: {name: 2026-11-23}\n")


def a_set(run: Path) -> None:
    (run / "config.yaml").write_text("model: !!set {a, b}\n")


def sexagesimal(run: Path) -> None:
    (run / "config.yaml").write_text("model: 1" + ":59" * 60_000)


def hexadecimal(run: Path) -> None:
    (run / "config.yaml").write_text("model: 0x" + "f" * 200_000)


def deep_yaml(run: Path) -> None:
    (run / "config.yaml").write_text("[" * 100_000)


def deep_json(run: Path) -> None:
    (run / "metrics.json").write_text('{"status": ' + "[" * 100_000 + "]" * 100_000 + "}")


def rather_deep_json(run: Path) -> None:
    (run / "metrics.json").write_text(
        '{"status": "failed", "error": ' + "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1) + "}"
    )


def large_json(run: Path) -> None:
    (run / "metrics.json").write_text('{"error": [' + "0," * 30_000_000 + "0]}")


def a_sparse_file(run: Path) -> None:
    with (run / "history.csv").open("ab") as target:
        target.truncate(2**40)


def many_rows(run: Path) -> None:
    (run / "history.csv").write_text("epoch,seconds\n" + "1,1\n" * (MOST_ROWS + 1))


def many_columns(run: Path) -> None:
    heading = ",".join(["epoch", "seconds", *map(str, range(300_000))])
    (run / "history.csv").write_text(f"{heading}\n" + "1,1\n" * 90_000)


def not_utf8(run: Path) -> None:
    (run / "config.yaml").write_bytes(b"model: \xff\xfe")


def negative_times(run: Path) -> None:
    (run / "history.csv").write_text("epoch,seconds,val/accuracy\n1,-5,0.9\n")


def an_infinite_accuracy(run: Path) -> None:
    (run / "history.csv").write_text("epoch,seconds,val/accuracy\n1,5,inf\n")


def two_columns_of_one_name(run: Path) -> None:
    (run / "history.csv").write_text("epoch,seconds,seconds\n1,5,6\n")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (nothing, "there is no such file"),
        (a_pipe, "there is no such file"),
        (pipes, "there is no such file"),
        (a_device, "there is no such file"),
        (a_folder, "there is no such file"),
        (a_link_to_itself, "there is no such file"),
        (aliases, "the alias"),
        (a_circle, "the alias"),
        (a_tag, "the tag tag:yaml.org,2002:python/object/apply:os.system"),
        (a_date, "a value of the type date"),
        (a_set, "the tag tag:yaml.org,2002:set"),
        (sexagesimal, "a number beyond"),
        (hexadecimal, "a number beyond"),
        (deep_yaml, "level"),
        (deep_json, "no JSON that a run writes"),
        (rather_deep_json, "more than 50 levels"),
        (large_json, "more than 16,777,216 bytes"),
        (a_sparse_file, "more than 8,388,608 bytes"),
        (many_rows, "more than 100,000 rows"),
        (many_columns, "more than 100 columns"),
        (not_utf8, "no text in UTF-8"),
        (negative_times, "epoch, seconds or val/accuracy"),
        (an_infinite_accuracy, "epoch, seconds or val/accuracy"),
        (two_columns_of_one_name, "two of one name"),
    ],
)
def test_a_run_that_cannot_be_read_is_listed_with_the_reason(
    tmp_path: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    write_run(tmp_path / "ordinary", 0.8)
    write_run(tmp_path / "odd", 0.9)
    spoil(tmp_path / "odd")
    comparison = compare(tmp_path)
    assert len(comparison.configurations) == 1
    ((directory, status, why),) = comparison.others
    assert (directory, status) == (tmp_path / "odd", "unreadable")
    assert reason in why
    assert len(why) < 600
    check_harmless(comparison)


@pytest.mark.parametrize(
    "entry", ["test/accuracy", "parameters", "train_seconds", "epochs", "seed", "images_per_second"]
)
@pytest.mark.parametrize("value", ["NaN", "Infinity", "-1", "1e300", "[]", '"1"', "true", "{}", "9" * 4000, "9" * 5000])
def test_a_figure_that_no_run_writes(tmp_path: Path, entry: str, value: str) -> None:
    write_run(tmp_path / "odd", metrics={entry: "PLACE"})
    file = tmp_path / "odd" / "metrics.json"
    file.write_text(file.read_text().replace('"PLACE"', value))
    comparison = compare(tmp_path)
    assert not comparison.configurations
    assert "metrics.json" in comparison.others[0][2]


def test_a_loss_may_be_infinite(tmp_path: Path) -> None:
    write_run(tmp_path / "a", metrics={"test/loss": float("nan")})
    write_run(tmp_path / "b", metrics={"test/loss": float("inf")}, model__dropout=0.5)
    (tmp_path / "b" / "history.csv").write_text(
        "epoch,seconds,train/loss,val/loss\n1,1,nan,inf\n2,2,1e300,3e38\n3,3,1,2\n"
    )
    comparison = compare(tmp_path)
    assert len(comparison.configurations) == 2
    check_harmless(comparison)
    check_page(comparison)


def test_text_that_would_become_something_else(tmp_path: Path) -> None:
    for seed, name in ((1, "a"), (2, "b")):
        write_run(
            tmp_path / f"[bold]{name}\x1b[31m\n`|<b>",
            0.9,
            seed,
            model__name=HOSTILE_TEXT.replace("\udce9", "") + name,
            model__init=name,
            datamodule__name=HOSTILE_TEXT.replace("\udce9", ""),
            datamodule__source=f"/{name} ![x](http://x/{name}.png)",
            metrics={
                "device": HOSTILE_TEXT,
                "confusion": {"classes": [HOSTILE_TEXT, "$x$"], "test": [[1, 2], [3, 4]]},
                "overrides": ["experiment=../x", HOSTILE_TEXT],
            },
        )
    (tmp_path / "failed").mkdir()
    (tmp_path / "failed" / "metrics.json").write_text(json.dumps({"status": "failed", "error": HOSTILE_TEXT}))
    comparison = compare(tmp_path)
    assert len(comparison.configurations) == 2
    check_harmless(comparison)
    check_page(comparison)
    assert "[bold]b[/bold] :smile: [link=http://x]l[/link]" in str(comparison).replace("\n", "")


def test_what_is_printed_holds_no_control_characters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "[red]a[/red]\x1b]0;title\x07", 0.9, model__name="[red]n[/red]\x1b[2J")
    (tmp_path / "failed").mkdir()
    (tmp_path / "failed" / "metrics.json").write_text('{"status": "failed", "error": "\\u001b[2J:smile:\\ud800"}')
    print_comparison(compare(tmp_path))
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert r"[red]n[/red]\x1b[2J" in out
    assert r"\x1b[2J:smile:\ud800" in out


def test_a_status_that_no_run_writes(tmp_path: Path) -> None:
    for number, status in enumerate(('"# heading"', "5", "null", '["completed"]', "{}")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "metrics.json").write_text(f'{{"status": {status}}}')
    assert {(status, reason) for _, status, reason in compare(tmp_path).others} == {
        ("unreadable", "the status in metrics.json is none that a run writes")
    }


def test_names_of_folders(tmp_path: Path) -> None:
    for seed, name in enumerate(
        (b"\xff\xfe", b"a\nb", b"[x]*?", b"x" * 255, "한국어".encode(), b"-rf", b"$a$", b"'\"")
    ):
        write_run(Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))), seed=seed)
    comparison = compare(tmp_path)
    assert comparison.rows()[0][1] == "8"
    check_harmless(comparison)
    (named,) = compare(tmp_path / "[x]*?").configurations
    assert named.seeds == [2]  # a name that is also a pattern, which another folder matches


def test_folders_nested_deeply_and_in_circles(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "a")
    for name in ("one", "two"):
        (tmp_path / "runs" / name).symlink_to(tmp_path / "runs", target_is_directory=True)
        (tmp_path / "runs" / "a" / name).symlink_to("..", target_is_directory=True)
    (tmp_path / "runs" / "gone").symlink_to("nowhere")
    here = os.getcwd()
    try:
        os.chdir(tmp_path / "runs")
        for _ in range(1500):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(here)
    assert len(compare(tmp_path / "runs").configurations) == 1
    subprocess.run(["rm", "-r", str(tmp_path / "runs")], check=True)  # pytest's own way is recursive


def test_a_folder_that_may_not_be_read(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "open")
    write_run(tmp_path / "runs" / "closed")
    write_run(tmp_path / "runs" / "secret")
    (tmp_path / "runs" / "closed" / "config.yaml").chmod(0)
    (tmp_path / "runs" / "secret").chmod(0)
    program = f"""
import os
from cnn_experiments.runs.comparison import compare
import cnn_experiments.runs.tables
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
found = compare({str(tmp_path / "runs")!r})
print(len(found.configurations))
for path, status, why in sorted(found.others):
    print(status, why.replace(str(path.parent), "runs"))
"""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    (tmp_path / "runs" / "secret").chmod(0o700)
    assert done.stdout.splitlines() == [
        "1",
        "unreadable runs/closed/config.yaml: Permission denied",
        "unreadable runs/secret/metrics.json: Permission denied",
    ]


@pytest.mark.slow
def test_the_largest_files_take_seconds_and_bounded_memory(tmp_path: Path) -> None:
    for seed in range(4):
        run = tmp_path / str(seed)
        write_run(run, seed=seed, model__words=["x"] * 30_000, **{f"other__k{n}": seed for n in range(300)})
        rows = "".join(f"{n},{n},{n % 97}.5,{n % 89}.5,0.5\n" for n in range(1, MOST_ROWS + 1))
        (run / "history.csv").write_text("epoch,seconds,train/loss,val/loss,val/accuracy\n" + rows)
        metrics = json.loads((run / "metrics.json").read_text()) | {"other": [0] * (MOST_BYTES_OF_JSON // 4)}
        (run / "metrics.json").write_text(json.dumps(metrics))
    program = f"""
from pathlib import Path
from cnn_experiments.runs.comparison import compare
from cnn_experiments.runs.tables import write_comparison
comparison = compare({str(tmp_path)!r})
assert len(comparison.configurations) == 4, comparison.others
for file in write_comparison(comparison, Path({str(tmp_path)!r})):
    assert file.stat().st_size < 50_000_000
"""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", program], check=True, timeout=250)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 2_000_000  # KiB
    assert time.monotonic() - began < 200


def packed(directory: Path, kind: int = zipfile.ZIP_DEFLATED, **members: bytes) -> None:
    with zipfile.ZipFile(directory / "test_predictions.npz", "w", kind) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


def as_npy(array: Any) -> bytes:
    content = io.BytesIO()
    np.save(content, np.asarray(array), allow_pickle=True)
    return content.getvalue()


class Harm:
    def __reduce__(self) -> Any:
        return os.system, ("touch harm",)


def with_header(header: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + bytes(8)


GOOD = as_npy(np.arange(1000) % 10)
HEADERS = (
    "{[]: 1}",
    "{'descr': (",
    "{'descr': (), 'fortran_order': False, 'shape': (1,)}",
    "{'descr': '<i8', 'fortran_order': False, 'shape': (True,)}",
    "{'descr': '<i8', 1: 2}",
    "-" * 9000,
)
HOSTILE_PREDICTIONS = {
    "nothing": lambda run: (run / "test_predictions.npz").write_bytes(b""),
    "no archive": lambda run: (run / "test_predictions.npz").write_bytes(b"PK" * 100),
    "half": lambda run: (run / "test_predictions.npz").write_bytes((run / "test_predictions.npz").read_bytes()[:300]),
    "one array": lambda run: packed(run, labels=GOOD),
    "no array": lambda run: packed(run, labels=GOOD, predictions=b"x" * 100),
    "objects": lambda run: packed(run, labels=GOOD, predictions=as_npy(np.array([Harm()] * 1000, object))),
    "text": lambda run: packed(run, labels=GOOD, predictions=as_npy(["a"] * 1000)),
    "fractions": lambda run: packed(run, labels=GOOD, predictions=as_npy(np.zeros(1000))),
    "other shapes": lambda run: packed(run, labels=GOOD, predictions=as_npy(np.zeros((1000, 2), int))),
    "other numbers": lambda run: packed(run, labels=GOOD, predictions=as_npy(np.zeros(999, int))),
    "no images": lambda run: packed(run, labels=as_npy(np.zeros(0, int)), predictions=as_npy(np.zeros(0, int))),
    "other predictions": lambda run: packed(run, labels=GOOD, predictions=as_npy(np.zeros(1000, int))),
    "bomb": lambda run: packed(run, labels=GOOD, predictions=as_npy(np.zeros(2**26, np.int8))),
    "lies": lambda run: packed(run, labels=GOOD, predictions=GOOD.replace(b"(1000,)", b"(9**9,)")),
    **{
        f"header {header[:40]}": lambda run, header=header: packed(run, labels=GOOD, predictions=with_header(header))
        for header in HEADERS
    },
    "lzma": lambda run: packed(run, zipfile.ZIP_LZMA, labels=GOOD, predictions=GOOD),
    "pipe": lambda run: ((run / "test_predictions.npz").unlink(), os.mkfifo(run / "test_predictions.npz")),
    "device": lambda run: (
        (run / "test_predictions.npz").unlink(),
        (run / "test_predictions.npz").symlink_to("/dev/zero"),
    ),
}


@pytest.mark.parametrize("kind", HOSTILE_PREDICTIONS)
def test_predictions_that_no_run_writes_leave_it_out_of_verdicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("a", "b", "odd")):
        right = np.arange(1000) >= 30 * number
        write_run(tmp_path / "runs" / name, right=right, model__init=name)
    HOSTILE_PREDICTIONS[kind](tmp_path / "runs" / "odd")
    comparison = compare("runs")
    assert len(comparison.configurations) == 3
    assert [verdict.other.label for verdict in comparison.judged.verdicts] == ["lenet5 init=b"]
    ((label, reason),) = comparison.judged.left_out
    assert label == "lenet5 init=odd"
    assert len(reason) < 300
    assert not Path("harm").exists()
    check_harmless(comparison)
    check_page(comparison)


def test_verdicts_and_effects_on_text_that_would_become_something_else(tmp_path: Path) -> None:
    for number, (name, dropout) in enumerate(itertools.product((HOSTILE_TEXT[:-20], "b"), (0.0, 0.5))):
        write_run(
            tmp_path / str(number),
            right=np.arange(1000) >= 30 * number,
            model__init=name.replace("\udce9", ""),
            model__dropout=dropout,
            metrics={"device": HOSTILE_TEXT + str(number), "versions": {"torch": HOSTILE_TEXT, "x": 5}, "commit": name},
        )
    comparison = compare(tmp_path)
    assert len(comparison.judged.verdicts) == 3
    check_page(comparison)
    notebook = comparison._repr_html_()
    ElementTree.fromstring(f"<div>{notebook}</div>")
    for text in (notebook, str(comparison), as_markdown(comparison), comparison.to_csv(), comparison.to_json()):
        assert not CONTROLS.search(text.replace("\r\n", "\n"))
        text.encode()


@pytest.mark.parametrize("versions", [5, "x", [], {"torch": []}, {"torch": {"a": 1}}])
def test_versions_and_commits_that_no_run_writes(tmp_path: Path, versions: Any) -> None:
    for number in range(2):
        metrics = {"versions": versions, "commit": [versions, number], "precision": "x"}
        write_run(tmp_path / str(number), right=np.arange(1000) >= 40 * number, model__units=number, metrics=metrics)
    comparison = compare(tmp_path)
    assert len(comparison.judged.verdicts) == 1
    check_harmless(comparison)


def test_runs_is_no_folder(run_command, tmp_path: Path) -> None:
    for word in (
        "runs=null",
        "runs=5",
        "runs=[]",
        "runs={a:1}",
        "runs=${oc.env:NOT_SET}",
        "runs='a\x1b[31m'",
        "runs=''",
    ):
        outcome = run_command("compare", word)
        assert outcome.status == 2, word
        assert outcome.error.startswith("runs")
        assert outcome.error.count("\n") == 1
        assert "\x1b" not in outcome.error


def test_paths_that_cannot_be(tmp_path: Path) -> None:
    for path in ("x" * 5000, "a\0b", "/dev/null", str(tmp_path / ("y" * 300) / "*")):
        with pytest.raises(UserError, match="there is no such folder"):
            compare(path)
