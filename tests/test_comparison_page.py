"""The page of `cnn-compare`, in a real browser: what can be pointed at, hidden, sorted and chosen."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cnn_experiments.runs import page as pages
from cnn_experiments.runs.comparison import compare
from cnn_experiments.runs.configuration import Configuration
from cnn_experiments.runs.directory import RunDirectory
from cnn_experiments.runs.finished import FinishedRun
from cnn_experiments.runs.page_data import MOST_DRAWN, MOST_POINTS, page_data
from tests.test_comparison import HISTORY, write_run
from tests.test_disagreements import write_tested
from tests.test_effects import write_search

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
ROUGH = ((1, 10.0, 0.5), (2, 20.0, 0.9), (3, 30.0, 0.6), (4, 40.0, 0.9))


# --- Without a browser ------------------------------------------------------------------------------------------------


def test_names_of_all_modules_differ_and_nothing_is_left_of_imports() -> None:
    files = {file.stem for file in pages.FOLDER.glob("*.js")}
    assert files == set(pages.SCRIPTS)
    names = re.findall(r"^(?:async )?(?:function|const|let|class) (\w+)", pages.script(), re.MULTILINE)
    assert len(names) == len(set(names)) > 50
    assert not re.search(r"^(import|export) ", pages.script(), re.MULTILINE)
    assert "</" not in pages.script().replace("</script>", "")
    assert "<!--" not in pages.script()
    for name, position in {name: place for place, name in enumerate(pages.SCRIPTS)}.items():
        imported = re.findall(r'from "\./(\w+)\.js"', (pages.FOLDER / f"{name}.js").read_text(encoding="utf-8"))
        assert all(pages.SCRIPTS.index(other) < position for other in imported), name


def thinned(epochs: int, every: int = 1) -> list[dict[str, Any]]:
    rows = [
        {"epoch": float(epoch), "seconds": epoch * 1.23456789, "train/loss": 1 / epoch} for epoch in range(1, epochs)
    ]
    for row in rows[every - 1 :: every]:
        row["val/accuracy"] = 0.5
    run = FinishedRun(Path("x"), {}, {}, rows, None, "")
    comparison = compare_of([Configuration([run], "x")])
    return list(page_data(comparison)["configurations"][0]["runs"])


def compare_of(configurations: list[Configuration]) -> Any:
    from cnn_experiments.runs.comparison import Comparison

    return Comparison([], 0.9, configurations)


@pytest.mark.parametrize("epochs", [2, 299, 301, 302, 1000, 5000])
@pytest.mark.parametrize("every", [1, 5, 50])
def test_curves_are_thinned_to_a_bounded_number_of_points(epochs: int, every: int) -> None:
    (run,) = thinned(epochs, every)
    assert len(run["epoch"]) <= MOST_POINTS + 3
    assert run["epoch"][0] == 1
    assert run["epoch"][-1] == epochs - 1
    if epochs > every:
        validated = [value for value in run["val/accuracy"] if value is not None]
        assert len(validated) >= min(epochs // every // 2, 20)


# --- Browser ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of four configurations.

    ``a`` has three seeds; ``b`` one, with a rough curve; ``small`` is the cheapest; ``dear`` costs more than a and is
    worse.
    """
    folder = tmp_path_factory.mktemp("page")
    for seed, accuracy in ((1, 0.90), (2, 0.92), (3, 0.97)):
        history = tuple((epoch, seconds, hit - seed / 100) for epoch, seconds, hit in HISTORY)
        write_run(folder / "runs" / f"a{seed}", accuracy, seed, history, model__init="a")
    matrix = {"classes": ["cat", "dog"], "test": [[5, 5], [0, 10]]}
    write_run(folder / "runs" / "b", 0.91, 7, ROUGH, model__init="b", metrics={"confusion": matrix})
    write_run(folder / "runs" / "s", 0.5, 7, model__init="small", metrics={"parameters": 9_000, "multiply_adds": 90})
    dear = {"parameters": 100_000, "train_seconds": 1.0}
    write_run(folder / "runs" / "d", 0.8, 7, model__init=HOSTILE, model__dropout=0.25, metrics=dear)
    (folder / "comparison.html").write_text(compare(folder / "runs").to_html(), encoding="utf-8")
    return folder / "comparison.html"


class Tab:
    """A tab that shows a page, and what must not have happened in it."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.console: list[str] = []
        self.requests: list[str] = []
        page.set_default_timeout(60_000)  # other tests may be running
        page.on("console", lambda line: self.console.append(line.text))
        page.on("pageerror", lambda error: self.console.append(str(error)))
        page.on("dialog", lambda dialog: self.console.append(dialog.message))
        page.on("request", lambda request: self.requests.append(request.url))

    def open(self, file: Path) -> Any:
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("html[data-ready]")
        return self.page


@pytest.fixture
def tab(browser: Any, request: pytest.FixtureRequest) -> Iterator[Tab]:
    """A tab in which no line may stand in the console, and nothing may be asked for but the page itself."""
    width = getattr(request, "param", 1300)
    context = browser.new_context(viewport={"width": width, "height": 900}, has_touch=width < 600)
    made = Tab(context.new_page())
    yield made
    context.close()
    assert made.console == []
    assert len(made.requests) <= 1


@pytest.fixture
def page(tab: Tab, written: Path) -> Any:
    return tab.open(written)


def chart(page: Any, title: str) -> Any:
    return page.locator("figure.chart", has=page.locator(f'figcaption:text-is("{title}")'))


def press(page: Any, title: str, *keys: str) -> str:
    """Press keys on a chart; what it reads out."""
    chart(page, title).locator("svg").focus()
    for key in keys:
        page.keyboard.press(key)
    return readout(page, title)


def readout(page: Any, title: str) -> str:
    return str(chart(page, title).locator(".readout").inner_text())


def labels(page: Any) -> list[str]:
    cells = page.locator("#configurations tbody tr:not([hidden]) th").all_inner_texts()
    return [cell.strip().removeprefix("lenet5 ").split("init=")[1].split(" ")[0] for cell in cells]


ACCURACY, LOSS, COST = "Validation accuracy by epoch", "Training loss by epoch", "Test accuracy against cost"


def test_pointing_and_keys_read_out_the_nearest_point(page: Any) -> None:
    svg = chart(page, ACCURACY).locator("svg")
    box = svg.bounding_box()
    page.mouse.move(box["x"] + box["width"] - 14, box["y"] + 24)  # the top right: the last epoch of the longest curve
    assert readout(page, ACCURACY).endswith("init=b · seed 7 · epoch 4 · 0.9")
    page.mouse.move(0, 0)
    assert readout(page, ACCURACY) == "Point at it, or use the arrow keys."

    # the best configuration first: a, with the mean of 0.94, 0.93, 0.92
    assert press(page, ACCURACY, "ArrowLeft").endswith("init=a · mean of 3 seeds · epoch 3 · 0.93 (0.92 to 0.94)")
    assert "epoch 2 · 0.9 (0.89 to 0.91)" in press(page, ACCURACY, "ArrowLeft")
    assert "epoch 1 " in press(page, ACCURACY, "Home")
    text = press(page, ACCURACY, "ArrowDown")
    assert "init=b" in text
    assert "seed 7 · epoch 1 · 0.5" in text
    assert "epoch 4 · 0.9" in press(page, ACCURACY, "End", "ArrowRight")
    assert chart(page, ACCURACY).locator(".series.near").count() == 1
    assert press(page, ACCURACY, "Escape").startswith("Point at it")
    assert "epoch 3, 30 s" in press(
        page, "Validation accuracy by seconds of training", "ArrowDown", "ArrowDown", "ArrowDown"
    )
    assert chart(page, ACCURACY).locator(".readout").get_attribute("aria-live") == "polite"


@pytest.mark.parametrize("tab", [400], indirect=True)
def test_on_a_phone(page: Any) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    chart(page, LOSS).locator("svg").tap()
    assert "epoch" in readout(page, LOSS)
    page.set_viewport_size({"width": 320, "height": 600})
    page.wait_for_timeout(50)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_a_configuration_is_hidden_in_all_charts(page: Any) -> None:
    assert chart(page, ACCURACY).locator(".series").count() == 4
    assert chart(page, ACCURACY).locator(".band").count() == 1
    page.locator("#legend label", has_text="init=a").locator("input").uncheck()
    assert chart(page, ACCURACY).locator(".series").count() == 3
    assert chart(page, ACCURACY).locator(".band").count() == 0
    assert "init=b" in press(page, COST, "ArrowRight")
    assert page.locator("#confusion figure").count() == 3
    assert page.locator("#configurations tbody .key").count() == 3
    assert len(labels(page)) == 4
    page.get_by_role("button", name="none").click()
    assert chart(page, LOSS).locator("text=nothing to draw").count() == 1
    page.get_by_role("button", name="all").press("Enter")
    assert chart(page, LOSS).locator(".series").count() == 4


def test_the_table_is_sorted_by_value(page: Any) -> None:
    assert labels(page) == ["a", "b", "</script><script>alert(1)</script><img", "small"]
    heading = page.locator("#configurations thead th", has_text="parameters")
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert labels(page)[0] == "small"  # 9,000: by text it would come last
    heading.locator("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    assert labels(page)[-1] == "small"
    page.locator("#configurations thead button", has_text="configuration").click()
    assert heading.get_attribute("aria-sort") is None
    assert labels(page)[:3] == ["a", "b", "small"]


def test_the_filter_leaves_rows_out_of_the_charts(page: Any) -> None:
    field = page.get_by_role("searchbox")
    field.fill("INIT=A mnist")
    assert labels(page) == ["a"]
    assert page.inner_text("#configurations output") == "1 of 4 shown"
    assert chart(page, ACCURACY).locator(".series").count() == 1
    assert page.locator("#legend label:visible").count() == 1
    field.fill("dropout=0.25")
    assert len(labels(page)) == 1
    field.fill("there is none")
    assert labels(page) == []
    field.fill("")
    assert len(labels(page)) == 4
    assert chart(page, ACCURACY).locator(".series").count() == 4


def ticks(page: Any, title: str) -> list[str]:
    return [str(text) for text in chart(page, title).locator("text[text-anchor=end]").all_text_contents()]


def test_logarithmic_scales(page: Any) -> None:
    box = page.get_by_label("logarithmic loss")
    assert not box.is_checked()  # 1 to 1/3 are not far apart
    assert ticks(page, LOSS) == ["0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9", "1"]
    box.check()
    assert ticks(page, LOSS) == ["0.3", "0.5", "0.7", "1"]
    before = ticks(page, ACCURACY)
    page.get_by_label("logarithmic error").check()
    assert ticks(page, ACCURACY) != before
    assert {"0.5", "0.7", "0.8", "0.9", "0.93"} <= set(ticks(page, ACCURACY))
    assert "0.93" in press(page, ACCURACY, "ArrowLeft")


def test_smoothing_is_an_exponential_mean(page: Any) -> None:
    page.get_by_label("smoothing").fill("0.5")
    assert page.inner_text("#curves output") == "weight 0.50"
    text = press(page, ACCURACY, "ArrowDown", "ArrowDown", "End")
    # (0.9 + 0.6 / 2 + 0.9 / 4 + 0.5 / 8) / (1 + 1/2 + 1/4 + 1/8) = 0.79333
    assert text.endswith("init=b · seed 7 · epoch 4 · 0.9, smoothed 0.7933")


def front(page: Any) -> list[str]:
    return [text.split("init=")[1].strip() for text in page.locator(".front_table tbody th").all_inner_texts()]


def test_the_front_of_accuracy_and_cost(page: Any) -> None:
    assert front(page) == ["small", "a"]  # a and b have as many parameters, and a is better
    assert chart(page, COST).locator(".ring").count() == 2
    assert chart(page, COST).locator(".front").count() == 1
    assert "(log)" in chart(page, COST).inner_text()
    assert "60 k · test accuracy 0.93" in press(page, COST, "ArrowRight")
    assert "mean of 3 seeds · on the front" in readout(page, COST)
    page.get_by_label("seconds of training", exact=True).check()
    assert len(front(page)) == 2
    assert front(page)[0].startswith("</script>")
    page.get_by_label("floating-point operations").check()
    # 6 x 328,000 x 8,500 x 30; that of `small` is 6 x 90 x 8,500 x 30
    amounts = page.locator(".front_table tbody td:nth-child(2)").all_inner_texts()
    assert amounts == ["138 M", "16.7 G", "502 G"]
    page.locator("#legend label", has_text="init=small").locator("input").uncheck()
    assert front(page)[1:] == ["a"]


def cells(page: Any, label: str) -> list[str]:
    figure = page.locator("#confusion figure", has=page.locator("figcaption", has_text=label))
    return [str(text) for text in figure.locator("tbody td").all_inner_texts()]


def test_confusion_as_numbers_and_as_differences(page: Any) -> None:
    assert cells(page, "init=a") == ["24", "6", "3", "27"]
    page.get_by_label("shown as").select_option(value="0")
    assert page.locator("#confusion figure").count() == 3
    assert cells(page, "init=b") == ["−30.0", "+30.0", "−10.0", "+10.0"]
    assert cells(page, "init=small") == ["0", "0", "0", "0"]
    assert page.locator("#confusion td.less").count() == 2
    page.get_by_label("shown as").select_option(index=0)
    assert cells(page, "init=b") == ["5", "5", "0", "10"]


def test_everything_by_keyboard_alone(page: Any) -> None:
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.closest('[id]')?.id + ' ' + document.activeElement.tagName"))
    expected = {
        "configurations": {"INPUT", "BUTTON"},
        "legend": {"BUTTON", "INPUT"},
        "curves": {"INPUT", "svg"},
        "costs": {"INPUT", "svg"},
        "confusion": {"SELECT"},
    }
    for place, tags in expected.items():
        assert {f"{place} {tag}" for tag in tags} <= reached
    outline = "(getComputedStyle(document.activeElement).outlineStyle)"
    chart(page, ACCURACY).locator("svg").focus()
    assert page.evaluate(outline) == "solid"


@pytest.mark.parametrize("tab", [390], indirect=True)
def test_matrices_that_are_made_anew_scroll_by_keyboard(tab: Tab, tmp_path: Path) -> None:
    classes = [f"class{number}" for number in range(20)]
    for name in "ab":
        matrix = {"classes": classes, "test": [[5] * 20] * 20}
        write_run(tmp_path / "runs" / name, 0.9, 7, model__init=name, metrics={"confusion": matrix})
    (tmp_path / "comparison.html").write_text(compare(tmp_path / "runs").to_html(), encoding="utf-8")
    page = tab.open(tmp_path / "comparison.html")
    page.wait_for_selector("#confusion .wide[tabindex='0']")
    page.select_option("#confusion select", index=1)
    page.wait_for_selector("#confusion td.more")
    page.wait_for_selector("#confusion .wide[tabindex='0']")


def test_on_paper_and_in_the_dark(page: Any) -> None:
    colour = "getComputedStyle(document.body.parentElement).backgroundColor"
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(colour) == "rgb(20, 23, 27)"
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(colour) == "rgb(255, 255, 255)"
    assert page.locator(".controls:visible").count() == 0
    assert page.locator("figure.chart:visible").count() == 5


def test_many_configurations_and_epochs(tab: Tab, tmp_path: Path) -> None:
    history = tuple((epoch, epoch * 6.5, 0.9 - 0.4 / epoch) for epoch in range(1, 61))
    for number in range(50):
        for seed in (1, 2):
            write_run(tmp_path / "runs" / f"{number}_{seed}", number / 100, seed, history, model__units=number)
    file = tmp_path / "comparison.html"
    file.write_text(compare(tmp_path / "runs").to_html(), encoding="utf-8")
    assert file.stat().st_size < 1_000_000
    page = tab.open(file)
    assert chart(page, ACCURACY).locator(".series").count() == 2 * MOST_DRAWN
    drawn = chart(page, ACCURACY).locator(".line").evaluate_all("lines => lines.map((line) => line.className.baseVal)")
    assert len(set(drawn)) == MOST_DRAWN  # no two look alike
    page.locator("#legend label", has_text="units=3").last.locator("input").check()
    assert chart(page, ACCURACY).locator(".series").count() == 2 * MOST_DRAWN + 2
    page.get_by_role("searchbox").fill("units=1")  # 1, 10 to 19: none of the best
    assert chart(page, ACCURACY).locator(".series").count() == 2 * 11


def test_a_search_is_drawn_against_each_setting(tab: Tab, tmp_path: Path) -> None:
    write_search(tmp_path, 6)
    file = tmp_path / "comparison.html"
    file.write_text(compare(tmp_path).to_html(), encoding="utf-8")
    page = tab.open(file)
    titles = [f"Validation accuracy against {key}" for key in ("model.optimizer.lr", "model.dropout", "model.init")]
    assert set(page.locator("#search figcaption").all_inner_texts()) == set(titles)
    assert chart(page, titles[0]).locator(".mark").count() == 6
    assert re.match(r"model\.init=[ab] · validation accuracy 0\.\d+", press(page, titles[2], "ArrowRight"))
    page.locator("#legend input").first.uncheck()
    assert chart(page, titles[0]).locator(".mark").count() == 5


def test_figures_that_are_missing_or_infinite(tab: Tab, tmp_path: Path) -> None:
    nothing = dict.fromkeys(("confusion", "multiply_adds", "train_seconds", "images_per_second", "test/accuracy"))
    write_run(tmp_path / "a", history=None, metrics=nothing)
    write_run(tmp_path / "b", history=HISTORY[:1], model__dropout=0.5, metrics={"multiply_adds": None})
    write_run(tmp_path / "c", model__dropout=0.6)
    (tmp_path / "c" / "history.csv").write_text(
        "epoch,seconds,train/loss,val/loss,val/accuracy\n1,1,nan,inf,1\n2,2,1e300,0,1\n3,3,-1,3e38,1\n"
    )
    file = tmp_path / "comparison.html"
    file.write_text(compare(tmp_path).to_html(), encoding="utf-8")
    page = tab.open(file)
    for name in ("logarithmic loss", "logarithmic error"):
        page.get_by_label(name).click()
    assert "epoch 1" in press(page, ACCURACY, "End", "ArrowDown", "Home")
    assert "nothing to draw" not in chart(page, LOSS).inner_html()
    assert "NaN" not in page.inner_html("main")
    assert "Infinity" not in page.inner_text("main")
    page.get_by_label("parameters").check()
    assert chart(page, COST).locator(".ring").count() == 2


def test_without_scripts_the_tables_hold_the_figures(browser: Any, written: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(written.as_uri())
    assert "Without JavaScript" in page.inner_text("main")
    assert "0.9300 ± 0.0361" in page.inner_text("main")
    assert "Curves" not in page.inner_text("main")
    context.close()


def test_other_scripts_and_styles_are_refused(browser: Any, written: Path) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(written.as_uri())
    page.wait_for_selector("html[data-ready]")
    page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "window.ran = true";
        document.body.append(script);
    }""")
    assert page.evaluate("window.ran") is None
    context.close()


def test_images_that_one_gets_right_and_another_wrong(tab: Tab, tmp_path: Path) -> None:
    write_tested(tmp_path / "good", [3], model__init="good")
    write_tested(tmp_path / "poor", [4, 15], model__init="poor")
    for seed in (1, 2, 3):
        write_tested(tmp_path / f"poorest{seed}", [4, 15, 16, 17], seed, model__init="poorest")
    RunDirectory(tmp_path / "good").mistakes_file.unlink()
    (tmp_path / "comparison.html").write_text(compare(tmp_path).to_html(), encoding="utf-8")
    page = tab.open(tmp_path / "comparison.html")
    section = page.locator("section", has=page.locator("#images"))
    captions, note = section.locator("figcaption"), section.locator(".note")
    assert captions.all_inner_texts() == ["4, not 10", "5, not 10"]
    assert note.inner_text() == "lenet5 init=good gets 2 test images right that lenet5 init=poor gets wrong."
    widths = section.locator("img").evaluate_all("images => images.map(image => image.naturalWidth)")
    assert widths == [3, 3]

    section.get_by_label("wrong with").select_option(label="lenet5 init=poorest")
    assert captions.count() == 4
    assert "gets wrong (each in most of its runs)." in note.inner_text()
    assert section.locator("figure").first.get_attribute("title") == (
        "lenet5 init=good: 1 of 1 right\nlenet5 init=poorest: 0 of 3 right"
    )
    section.get_by_role("button", name="swap").click()
    assert captions.count() == 0
    assert "gets 1 test image right" in note.inner_text()
    assert "There are no pictures of them: cnn-test run=… adds them" in note.inner_text()
    section.get_by_label("right with").select_option(label="lenet5 init=good")
    assert note.inner_text() == "Choose two that differ."


def test_without_predictions_there_are_no_images_to_compare(page: Any) -> None:
    assert page.locator("#images").is_hidden()
