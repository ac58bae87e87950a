"""The page of `cnn-explore`, in a real browser. What stands on it is compared with the library."""

import copy
import inspect
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import cnn_experiments as cnn
from cnn_experiments.datamodules import photographs
from cnn_experiments.explorer.server import PAGE, Server
from cnn_experiments.explorer.subject import CARRIED_RUN
from cnn_experiments.inspection.ablation import probabilities
from cnn_experiments.inspection.receptive_fields import ReceptiveFields
from tests.conftest import QUICK_PHOTOGRAPHS, SMALL_ALEXNET, some_of
from tests.made_data import make_photographs

TOOLS = ("tasks", "off", "looks", "likes", "runs", "time")
LENET5_LAYERS = ("c1", "s2", "c3", "s4", "c5", "f6", "output")
SECONDS = 60_000  # of patience, in milliseconds: other tests may be running


# --- Texts ------------------------------------------------------------------------------------------------------------


def texts(language: str) -> dict[str, str]:
    found: dict[str, str] = json.loads((PAGE / "texts" / f"{language}.json").read_text(encoding="utf-8"))
    return found


def test_both_languages_say_the_same_things_with_the_same_values() -> None:
    english, korean = texts("en"), texts("ko")
    assert list(english) == list(korean)
    for key, words in english.items():
        assert set(re.findall(r"\{\w+\}", words)) == set(re.findall(r"\{\w+\}", korean[key])), key


def test_every_text_that_is_asked_for_is_there() -> None:
    scripts = "\n".join(file.read_text(encoding="utf-8") for file in PAGE.glob("*.js"))
    markup = (PAGE / "index.html").read_text(encoding="utf-8")
    asked = set(re.findall(r'\btext\(\s*"([^"]+)"', scripts)) | set(
        re.findall(r'data-(?:text|label)="([^"]+)"', markup)
    )
    assert len(asked) > 100
    assert asked - set(texts("en")) == set()


def test_every_refusal_has_a_text() -> None:
    sources = "\n".join(file.read_text(encoding="utf-8") for file in PAGE.parent.glob("*.py"))
    asked = {f"refusal.{key}" for key in re.findall(r'RefusalError\("(\w+)"', sources)}
    kinds = re.findall(r'UnusableImageError\(.*, "(\w+)"\)', inspect.getsource(photographs))
    asked |= {f"refusal.file.{kind}" for kind in kinds}
    assert len(asked) > 12
    assert {key for key in texts("en") if key.startswith("refusal.")} == asked | {"refusal.file"}


def test_korean_is_korean() -> None:
    names = {
        "kind.relu",
        "kind.tanh",
        "arithmetic.map_of",
        "off.chip",
        "off.zero",
        "likes.of_map",
        "arithmetic.padding",
    }
    for key, words in texts("ko").items():
        assert key in names or re.search("[가-힣]", words) or not re.search("[a-z]{4}", words), key


# --- Browser ----------------------------------------------------------------------------------------------------------


def wait_for(page: Any, condition: str, argument: Any = None) -> None:
    """Wait for an expression of JavaScript to be true, or a function of an argument to give what is.

    Playwright's own `wait_for_function` evaluates in the page, which the page's content-security policy forbids.
    """
    end = time.monotonic() + SECONDS / 1000
    while not page.evaluate(condition, argument):
        assert time.monotonic() < end, f"in vain: {condition}"
        page.wait_for_timeout(30)


class Tab:
    """A tab that shows the page, and what must not have happened in it.

    Args:
        page: Playwright's page.
        address: of the server.
    """

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.address = page, address
        self.console: list[str] = []
        self.foreign: list[str] = []
        page.set_default_timeout(SECONDS)
        page.on("console", lambda line: self.console.append(line.text))
        page.on("pageerror", lambda error: self.console.append(str(error)))
        page.on("request", lambda request: self._see(request.url))

    def _see(self, url: str) -> None:
        if not url.startswith((self.address, self.address.replace("http", "ws"), "data:", "blob:", "file:")):
            self.foreign.append(url)

    def open(self, situation: str = "") -> Any:
        """Show a situation, and wait until it is there."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.address}#{situation}")
        self.page.wait_for_selector("html[data-ready]")
        self.waits_for("document.querySelector('.verdict .big') !== null")
        return self.page

    def goes_to(self, layer: str, place: str) -> None:
        """Follow a link to the arithmetic of a value."""
        self.page.evaluate("(hash) => { location.hash = hash; }", f"layer={layer}&value={place}")
        self.page.wait_for_selector(f"#arithmetic .result[data-layer='{layer}']")

    def waits_for(self, condition: str) -> None:
        """Wait for an expression of JavaScript to be true."""
        wait_for(self.page, condition)

    def shares(self) -> list[float]:
        """The probabilities on the page; after a change, those after it."""
        labels = [bar.get_attribute("aria-label") for bar in self.page.locator(".bars li > button").all()]
        return [float(re.findall(r"probability ([\d.]+) %", label)[0]) / 100 for label in labels]

    def comes_to(self, expected: list[float]) -> None:
        """Wait for the page to show these probabilities."""
        end = time.monotonic() + SECONDS / 1000
        while self.shares() != pytest.approx(expected, abs=0.001):
            assert time.monotonic() < end, f"{self.shares()} in place of {expected}"
            self.page.wait_for_timeout(30)

    def says(self) -> str:
        """The class that the page gives as the answer."""
        return str(self.page.inner_text(".verdict .big"))

    def overflows(self) -> bool:
        """Whether the page is wider than the window."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > innerWidth"))


@pytest.fixture
def new_tab(browser: Any) -> Iterator[Callable[..., Tab]]:
    """Open tabs; in none of them may a line stand in the console, or a request leave this machine."""
    opened: list[Tab] = []
    contexts = []

    def open_tab(server: Server, width: int = 1600, **context: Any) -> Tab:
        made = browser.new_context(viewport={"width": width, "height": 1000}, locale="en-GB", **context)
        contexts.append(made)
        opened.append(Tab(made.new_page(), server.address))
        return opened[-1]

    yield open_tab
    for context in contexts:
        context.close()
    assert [line for tab in opened for line in tab.console] == []
    assert [url for tab in opened for url in tab.foreign] == []


def served(*directories: Path) -> Server:
    from cnn_experiments.evaluation.exploring import subject_of

    return Server([subject_of(cnn.open_run(directory)) for directory in directories])


@pytest.fixture(scope="module")
def lenet5(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The run that the package carries, as A; and as B the same with other settings, and with weights of two epochs."""
    from cnn_experiments.evaluation.snapshots import write_snapshot

    folder = tmp_path_factory.mktemp("runs")
    first, second = folder / "first", folder / "second"
    for directory in (first, second):
        shutil.copytree(CARRIED_RUN, directory, ignore=shutil.ignore_patterns("snapshots"))
    config = (second / "config.yaml").read_text(encoding="utf-8")
    (second / "config.yaml").write_text(config.replace("weight_decay: 0.01", "weight_decay: 0.5"), encoding="utf-8")
    network = cnn.open_run(first).network()
    for epoch, share in ((10, 0.3), (20, 0.6)):
        paler = copy.deepcopy(network)
        paler.load_state_dict({name: tensor * share for name, tensor in network.state_dict().items()})
        write_snapshot(first, epoch, paler)
    with served(first, second) as server:
        yield server


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("alone") / "run"
    shutil.copytree(CARRIED_RUN, directory)
    with served(directory) as server:
        yield server


@pytest.fixture(scope="module")
def photographs_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """A small AlexNet and a GoogLeNet, trained for a moment on made photographs."""
    folder = tmp_path_factory.mktemp("photographs")
    make_photographs(folder / "train")
    words = {"alexnet": SMALL_ALEXNET, "googlenet": ("model=googlenet", "model.input_size=80")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNN_EXPERIMENTS_DATA", str(folder / "data"))
        patch.setenv("DOGS_VS_CATS", str(folder / "train"))
        yield {
            name: cnn.train(
                *chosen, *QUICK_PHOTOGRAPHS, "trainer.max_epochs=1", f"hydra.run.dir={folder / name}"
            ).directory
            for name, chosen in words.items()
        }


@pytest.fixture(scope="module")
def alexnet(photographs_runs: dict[str, Path]) -> Iterator[Server]:
    with served(photographs_runs["alexnet"]) as server:
        yield server


@pytest.fixture(scope="module")
def googlenet(photographs_runs: dict[str, Path]) -> Iterator[Server]:
    with served(photographs_runs["googlenet"]) as server:
        yield server


@pytest.fixture(params=["lenet5", *(pytest.param(name, marks=pytest.mark.slow) for name in ("alexnet", "googlenet"))])
def any_server(request: pytest.FixtureRequest) -> Server:
    """A server with one of the three networks."""
    server: Server = request.getfixturevalue(request.param)
    return server


def draw_a_line(page: Any, *places: tuple[float, float]) -> None:
    """Draw through places, given as shares of the drawing area."""
    box = page.locator("#image canvas").first.bounding_box()
    points = [(box["x"] + across * box["width"], box["y"] + down * box["height"]) for across, down in places]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=6)
    page.mouse.up()


def drawn_bytes(page: Any) -> list[int]:
    """The drawing that the page's address holds."""
    script = """import('/page/address.js').then(
      ({ readAddress }) => Array.from(readAddress(location.hash).image.drawn))"""
    found: list[int] = page.evaluate(script)
    return found


SEVEN = ((0.25, 0.25), (0.7, 0.25), (0.45, 0.8))


class TestImage:
    def test_a_digit_is_drawn_and_its_probabilities_are_those_of_the_network(
        self, lenet5: Server, new_tab: Any
    ) -> None:
        tab = new_tab(lenet5)
        page = tab.open()
        page.click("#image button:has-text('Clear')")
        draw_a_line(page, *SEVEN)
        tab.waits_for("location.hash.length > 150")  # an empty sheet takes less
        drawn = torch.tensor(drawn_bytes(page)).view(1, 28, 28)
        assert 300 < drawn.gt(0).sum() * 3 < 900  # a line some pixels wide
        padded = torch.nn.functional.pad(drawn.float() / 255 * 1.275 - 0.1, (2, 2, 2, 2), value=-0.1)
        expected = probabilities(cnn.open_run(CARRIED_RUN).network(), padded[None])[0].tolist()
        tab.comes_to(expected)

    @pytest.mark.slow
    def test_strokes_can_be_rubbed_out_and_undone(self, lenet5: Server, new_tab: Any) -> None:
        tab = new_tab(lenet5)
        page = tab.open()
        page.click("#image button:has-text('Clear')")
        tab.waits_for("location.hash.includes('drawn.')")
        empty = page.evaluate("location.hash")
        draw_a_line(page, (0.3, 0.5), (0.6, 0.5))
        wait_for(page, "(empty) => location.hash !== empty", empty)
        drawn = page.evaluate("location.hash")
        page.click("#image button:has-text('Rubber')")
        draw_a_line(page, (0.25, 0.5), (0.65, 0.5))
        wait_for(page, "(drawn) => location.hash !== drawn", drawn)
        page.click("#image button:has-text('Undo')")
        wait_for(page, "(drawn) => location.hash === drawn", drawn)

    @pytest.mark.slow
    def test_a_test_image_can_be_drawn_on(self, lenet5: Server, new_tab: Any) -> None:
        tab = new_tab(lenet5)
        page = tab.open("image=0")
        before = page.inner_text("#image .caption")
        draw_a_line(page, (0.2, 0.9), (0.8, 0.9))
        wait_for(page, "(before) => document.querySelector('#image .caption').textContent !== before", before)
        tab.waits_for("location.hash.includes('drawn.')")
        drawn = drawn_bytes(page)
        assert sum(byte > 0 for byte in drawn[: 28 * 20]) > 30  # the digit is still there
        assert sum(byte > 200 for byte in drawn[28 * 24 :]) > 10  # and so is the stroke

    @pytest.mark.slow
    def test_a_digit_is_drawn_with_the_keys(self, lenet5: Server, new_tab: Any) -> None:
        tab = new_tab(lenet5)
        page = tab.open()
        page.click("#image button:has-text('Clear')")
        page.locator("#image canvas").first.focus()
        for _ in range(6):
            page.keyboard.press("Shift+ArrowDown")
        page.keyboard.press("Space")
        tab.waits_for("location.hash.includes('drawn.')")
        page.wait_for_timeout(400)
        assert sum(drawn_bytes(page)) > 7 * 255

    def test_a_test_image_is_picked_and_what_the_network_gets_is_shown(self, lenet5: Server, new_tab: Any) -> None:
        tab = new_tab(lenet5)
        page = tab.open()
        page.click("#image button:has-text('wrong')")
        page.locator(".thumbnail").first.click()
        tab.waits_for("document.querySelector('.verdict').textContent.includes('Its label is')")
        assert "32 × 32 numbers: paper is −0.1, ink 1.175" in page.inner_text("#input")
        page.hover("#input canvas")
        assert re.search(r"Row \d+, column \d+: −?\d\.\d{3}", page.inner_text("#input .caption"))

    @pytest.mark.parametrize(
        "way", ["drop", *(pytest.param(way, marks=pytest.mark.slow) for way in ("choose", "paste"))]
    )
    def test_a_photo_is_given(self, any_server: Server, new_tab: Any, way: str, tmp_path: Path) -> None:
        tab = new_tab(any_server)
        page = tab.open()
        give(page, photograph(tmp_path), way)
        tab.waits_for("document.querySelector('#image .caption').textContent.startsWith('Your photo')")
        assert page.is_hidden("#message")

    def test_what_cannot_be_read_gets_one_sentence(self, alone: Server, new_tab: Any, tmp_path: Path) -> None:
        page = new_tab(alone).open()
        page.evaluate("() => { File.prototype.arrayBuffer = () => Promise.reject(new DOMException('a folder')); }")
        give(page, photograph(tmp_path), "drop")
        page.wait_for_selector("#message:visible")
        assert page.inner_text("#message").startswith("This file cannot be used: it is no image")

    def test_a_broken_photo_gets_one_sentence(self, any_server: Server, new_tab: Any, tmp_path: Path) -> None:
        tab = new_tab(any_server)
        page = tab.open()
        file = tmp_path / "broken.jpg"
        file.write_bytes(b"\xff\xd8\xff" + b"no image" * 20)
        give(page, file, "choose")
        page.wait_for_selector("#message:visible")
        assert page.inner_text("#message").startswith("This file cannot be used: it is no image")
        assert tab.says()  # the page goes on

    def test_it_is_said_in_korean(self, lenet5: Server, new_tab: Any, tmp_path: Path) -> None:
        page = new_tab(lenet5).open("language=ko")
        file = tmp_path / "empty.jpg"
        file.write_bytes(b"")
        give(page, file, "choose")
        page.wait_for_selector("#message:visible")
        assert page.inner_text("#message").startswith("이 파일은 쓸 수 없습니다. 내용이 비어 있습니다.")


def photograph(folder: Path) -> Path:
    from PIL import Image

    file = folder / "photo.png"
    Image.linear_gradient("L").resize((90, 70)).convert("RGB").save(file)
    return file


def give(page: Any, file: Path, way: str) -> None:
    """Give the page a photo."""
    if way == "choose":
        page.set_input_files("#image input[type=file]", str(file))
        return
    script = """([bytes, way]) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(bytes)], "photo.png", { type: "image/png" }));
      const event = { bubbles: true, cancelable: true };
      const [place, given] = way === "drop"
        ? [document.querySelector("#image"), new DragEvent("drop", { ...event, dataTransfer: transfer })]
        : [document, new ClipboardEvent("paste", { ...event, clipboardData: transfer })];
      place.dispatchEvent(given);
    }"""
    page.evaluate(script, [list(file.read_bytes()), way])


class TestLayers:
    def test_the_strip_has_the_papers_order_names_and_figures(self, lenet5: Server, new_tab: Any) -> None:
        page = new_tab(lenet5).open()
        tiles = [tile.inner_text() for tile in page.locator("#strip .tile").all()]
        assert [tile.split("\n")[0] for tile in tiles] == ["input", "C1", "S2", "C3", "S4", "C5", "F6", "output"]
        assert "6@28×28" in tiles[1]
        assert "156 parameters" in tiles[1]
        assert "1,516 parameters" in tiles[3]

    @pytest.mark.slow
    def test_branches_unfold(self, googlenet: Server, new_tab: Any) -> None:
        tab = new_tab(googlenet)
        page = tab.open()
        page.click("#strip button[aria-label='Unfold the branches of inception3a']")
        page.wait_for_selector(".tile[data-layer='inception3a/branch5x5/conv5x5']")
        page.click(".tile[data-layer='inception3a/branch5x5/conv5x5']")
        page.wait_for_selector("#layer .maps figure:nth-child(5) canvas")
        page.hover("#layer .maps canvas")
        tab.waits_for("!document.querySelector('#input .outline').hidden")
        page.click("#strip button[aria-label='Fold the branches of inception3a']")
        page.wait_for_selector(".tile[data-layer='inception3a/branch5x5/conv5x5']", state="detached")

    def test_pointing_at_a_value_outlines_what_it_sees(self, lenet5: Server, new_tab: Any) -> None:
        tab = new_tab(lenet5)
        page = tab.open("image=0&layer=c3")
        canvas = page.locator("#layer figure[data-map='2'] canvas")
        box = canvas.bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.45, box["y"] + box["height"] * 0.35)  # row 3, column 4 of 10
        tab.waits_for("document.querySelector('#layer .caption').textContent.includes('It sees')")
        from cnn_experiments.inspection.graph import Graph

        fields = ReceptiveFields(Graph(cnn.open_run(CARRIED_RUN).network(), (1, 32, 32))).of("c3", 3, 4, 2)
        seen = fields["input"].pixels
        words = f"It sees {seen.height} × {seen.width} pixels of the input (rows {seen.top} to {seen.bottom - 1}"
        assert words in page.inner_text("#layer .caption")
        outline = page.locator("#input .outline").bounding_box()
        inside = page.locator("#input canvas").first.bounding_box()
        assert (outline["x"] - inside["x"]) / inside["width"] == pytest.approx(seen.left / 32, abs=0.02)
        assert outline["height"] / inside["height"] == pytest.approx(seen.height / 32, abs=0.02)
        page.mouse.move(0, 0)
        tab.waits_for("document.querySelector('#input .outline').hidden")

    @pytest.mark.parametrize("layer", some_of([(layer,) for layer in LENET5_LAYERS], 3))
    def test_the_arithmetic_adds_up_to_the_value_on_the_map(self, lenet5: Server, new_tab: Any, layer: str) -> None:
        page = new_tab(lenet5).open(f"image=2&layer={layer}&value=3,0,0")
        page.wait_for_selector("#arithmetic .result")
        check_sums(page)
        network = cnn.open_run(CARRIED_RUN).network()
        kept: list[torch.Tensor] = []
        network.get_submodule(layer).register_forward_hook(lambda module, inputs, output: kept.append(output))
        network(carried_digit(2))
        value = kept[0].flatten(2)[0, 3, 0] if kept[0].dim() == 4 else kept[0][0, 3]
        assert float(page.get_attribute("#arithmetic .result", "data-result")) == pytest.approx(value.item(), abs=1e-4)

    @pytest.mark.slow
    @pytest.mark.parametrize("network", ["alexnet", "googlenet"])
    def test_the_arithmetic_of_every_kind_of_layer_adds_up(
        self, request: pytest.FixtureRequest, new_tab: Any, network: str
    ) -> None:
        server: Server = request.getfixturevalue(network)
        tab = new_tab(server)
        page = tab.open()
        kinds = set()
        for name in page.eval_on_selector_all(
            "#strip .tile:enabled", "tiles => tiles.map((tile) => tile.dataset.layer)"
        ):
            tab.goes_to(name, "1,0,0")
            kinds |= check_sums(page)
        assert {"convolution", "max pooling", "dense", "activation"} <= kinds
        assert "LRN" in kinds

    def test_missing_connections_are_named_and_a_click_goes_down(self, lenet5: Server, new_tab: Any) -> None:
        tab = new_tab(lenet5)
        page = tab.open("image=0&layer=c3&value=4,3,5")
        page.wait_for_selector(".convolved")
        assert "Not connected: maps 1, 2, 3 of S2" in page.inner_text("#arithmetic")
        maps = page.eval_on_selector_all(".convolved", "all => all.map((one) => one.dataset.map)")
        assert maps == ["0", "4", "5"]  # table I
        page.click(".convolved[data-map='5'] td[data-place='1,2']")
        tab.waits_for("document.querySelector('#arithmetic h2').textContent.includes('S2, map 5, row 4, column 7')")
        page.hover("#layer .maps canvas")
        assert page.evaluate("location.hash").startswith("#")

    @pytest.mark.slow
    def test_one_product_is_read_by_pointing_at_it(self, lenet5: Server, new_tab: Any) -> None:
        page = new_tab(lenet5).open("image=0&layer=c1&value=0,12,12")
        page.hover(".convolved td[data-place='2,3']")
        left, right, product = re.match(  # type: ignore[union-attr]
            r"(.+) × (.+) = (.+)", page.inner_text(".convolved .term").replace("−", "-")
        ).groups()
        assert float(left) * float(right) == pytest.approx(float(product), abs=2e-4)

    def test_the_probability_is_explained(self, lenet5: Server, new_tab: Any) -> None:
        page = new_tab(lenet5).open("image=0")
        page.click(".bars li:nth-child(8) > button")
        page.wait_for_selector("[data-kind='softmax']")
        check_sums(page)

    def test_maps_are_sorted_by_strength(self, lenet5: Server, new_tab: Any) -> None:
        tab = new_tab(lenet5)
        page = tab.open("image=0&layer=c3")
        page.wait_for_selector("#layer figure[data-map]")
        page.click("#layer button:has-text('by strength')")
        tab.waits_for("document.querySelector('#layer figure').dataset.map !== '0'")
        widths = page.eval_on_selector_all(".strength_bar", "bars => bars.map((bar) => parseFloat(bar.style.width))")
        assert widths[0] == 100
        assert widths == sorted(widths, reverse=True)

    @pytest.mark.slow
    def test_maps_and_strip_are_zoomed(self, lenet5: Server, new_tab: Any) -> None:
        page = new_tab(lenet5).open("image=0&layer=c3")
        for part, picture in (("#strip", ".tile_picture"), ("#layer", ".map")):
            page.wait_for_selector(f"{part} {picture}")
            before = page.locator(f"{part} {picture}").nth(1).bounding_box()["width"]
            page.click(f"{part} button:has-text('+')")
            page.click(f"{part} button:has-text('+')")
            assert page.locator(f"{part} {picture}").nth(1).bounding_box()["width"] > before


def check_sums(page: Any) -> set[str]:
    """What is added up on the screen is the result of each step; gives the kinds of the steps."""
    script = """steps => steps.map((step) => {
      const sums = [...step.querySelectorAll('[data-sum]')].filter((one) => !one.matches('.convolved'));
      return [step.dataset.kind, Number(step.dataset.result), sums.map((one) => Number(one.dataset.sum))];
    })"""
    steps = page.eval_on_selector_all("#arithmetic .step", script)
    assert steps
    for kind, result, sums in steps:
        assert len(sums) == 1, kind
        assert sums[0] == pytest.approx(result, rel=1e-4, abs=1e-4), kind
    assert steps[-1][1] == pytest.approx(float(page.get_attribute("#arithmetic .result", "data-result")), abs=1e-5)
    return {kind for kind, _, _ in steps}


def carried_digit(number: int) -> torch.Tensor:
    """One of the digits that the package carries, as the network gets it."""
    from cnn_experiments.evaluation.exploring import subject_of

    subject = subject_of(cnn.open_run(CARRIED_RUN))
    assert subject.tests is not None
    assert subject.data is not None
    return subject.data.network_input(subject.tests.bytes_of([number]), "test").float()


class TestTools:
    def test_a_map_is_switched_off_and_on(self, lenet5: Server, new_tab: Any) -> None:
        tab = new_tab(lenet5)
        page = tab.open("image=0&layer=c1&tool=off")
        before = tab.shares()
        page.click("#layer figure[data-map='3'] .switch")
        page.click("#layer figure[data-map='1'] .switch")
        tab.waits_for("document.querySelector('#panel_off .chips')?.textContent.includes('C1: 1, 3')")
        tab.waits_for(
            "document.querySelector('.bar.before:not([hidden])') !== null && location.hash.includes('off=c1.1+3.zero')"
        )
        network = cnn.open_run(CARRIED_RUN).network()
        image = carried_digit(0)
        expected = probabilities(network, image, {"c1": [1, 3]})[0].tolist()
        tab.waits_for("document.querySelector('#strip .has_off') !== null")
        tab.comes_to(expected)
        page.click("#panel_off button:has-text('its mean')")
        tab.waits_for("location.hash.includes('c1.1+3.mean')")
        page.click("#panel_off button:has-text('Switch everything on')")
        tab.waits_for("document.querySelector('.bar.before:not([hidden])') === null")
        assert tab.shares() == pytest.approx(before)

    @pytest.mark.slow
    def test_a_branch_is_switched_off(self, googlenet: Server, new_tab: Any) -> None:
        tab = new_tab(googlenet)
        page = tab.open("layer=inception4a&tool=off")
        page.click("#panel_off button:has-text('Switch off all of branch3x3')")
        tab.waits_for("location.hash.includes('off=inception4a/branch3x3.all.zero')")
        tab.waits_for("document.querySelector('.bar.before:not([hidden])') !== null")

    @pytest.mark.slow
    def test_the_ranking_comes_with_progress(self, any_server: Server, new_tab: Any) -> None:
        page = new_tab(any_server).open("tool=off")
        page.click("#panel_off button:has-text('Try all maps')")
        page.wait_for_selector("#panel_off table tbody tr:nth-child(5)")
        wait_for(page, "document.querySelector('#panel_off .progress').hidden")
        lost = page.eval_on_selector_all(
            "#panel_off tbody tr", "rows => rows.map((row) => Number(row.children[1].textContent.replace('−', '-')))"
        )
        assert lost == sorted(lost, reverse=True)

    def test_the_square_hides_and_the_probability_follows(self, any_server: Server, new_tab: Any) -> None:
        tab = new_tab(any_server)
        page = tab.open("tool=looks")
        box = page.locator("#input canvas").first.bounding_box()
        page.mouse.move(box["x"] + 20, box["y"] + 20)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=5)
        page.mouse.up()
        page.wait_for_selector("#input .square:visible")
        tab.waits_for("document.querySelector('#panel_looks .words').textContent.includes('behind the square')")
        page.focus("#input canvas")
        at = page.evaluate("location.hash")
        page.keyboard.press("ArrowRight")
        wait_for(page, "(at) => location.hash !== at", at)
        page.keyboard.press("Escape")
        page.wait_for_selector("#input .square", state="hidden")

    def test_the_square_is_no_part_of_the_picture(self, lenet5: Server, new_tab: Any) -> None:
        tab = new_tab(lenet5)
        pictures = []
        for square in ("", "&square=8,8,12"):
            page = tab.open(f"image=0&tool=looks{square}")
            tab.waits_for("document.querySelector('#input canvas').width === 32")
            pictures.append(page.evaluate("document.querySelector('#input canvas').toDataURL()"))
        assert pictures[0] == pictures[1]  # the square lies over it, and can be taken away

    def test_arrow_keys_move_the_square_from_where_it_is(self, lenet5: Server, new_tab: Any) -> None:
        tab = new_tab(lenet5)
        page = tab.open("image=0&tool=looks&square=2,3,8")
        tab.waits_for("document.querySelector('#input canvas').width === 32")
        page.focus("#input canvas")
        page.keyboard.press("ArrowRight")
        tab.waits_for("location.hash.includes('square=2,4,8')")

    def test_what_was_computed_of_another_image_is_not_shown(self, lenet5: Server, new_tab: Any) -> None:
        tab = new_tab(lenet5)
        page = tab.open("image=0&tool=looks")
        page.wait_for_selector("#image .thumbnail:nth-child(5)")
        script = "(start) => { start.click(); document.querySelector('#image .thumbnail:nth-child(5)').click(); }"
        page.locator("#panel_looks button:has-text('Compute both')").evaluate(script)
        page.wait_for_timeout(1500)
        assert page.locator(".heat_map").count() == 0
        tab.open("image=0&tool=off")
        page.wait_for_selector("#image .thumbnail:nth-child(5)")
        page.locator("#panel_off button:has-text('Try all maps')").evaluate(script)
        page.wait_for_timeout(1500)
        assert page.locator("#panel_off table").count() == 0
        assert page.is_hidden("#panel_off .progress")

    def test_heat_map_and_grad_cam(self, any_server: Server, new_tab: Any) -> None:
        page = new_tab(any_server).open("tool=looks")
        page.click("#panel_looks button:has-text('Compute both')")
        page.wait_for_selector("#panel_looks .heat_map:nth-child(2)")
        wait_for(page, "document.querySelector('#panel_looks .progress').hidden")
        assert page.is_hidden("#message")

    def test_what_a_map_likes(self, any_server: Server, new_tab: Any) -> None:
        tab = new_tab(any_server)
        page = tab.open("tool=likes")
        page.wait_for_selector("#panel_likes .kernel canvas")
        page.click("#panel_likes button:has-text('Find them')")
        page.wait_for_selector("#panel_likes .nine button:nth-child(5)")
        page.click("#panel_likes button[aria-label='Next map']")
        page.wait_for_selector("#panel_likes .nine button:nth-child(5)")
        assert page.locator("#panel_likes .nine button").count() in (8, 9)  # there are eight of the made photographs
        name = page.get_attribute("#panel_likes .nine button", "aria-label")
        page.locator("#panel_likes .nine button").first.click()
        number = re.findall(r"\d+", name)[0]
        wait_for(page, "(number) => location.hash.includes(`image=${number}`)", number)

    def test_two_runs_side_by_side(self, lenet5: Server, new_tab: Any) -> None:
        tab = new_tab(lenet5)
        page = tab.open("image=0&layer=c1&tool=runs")
        page.wait_for_selector("#panel_runs .layer_figures:nth-of-type(7)")
        assert "weight_decay" in page.inner_text("#panel_runs .list >> nth=0")
        assert page.locator("#panel_runs .of_run").count() == 2
        assert page.locator("#panel_runs .layer_figures").count() == len(LENET5_LAYERS)
        assert page.locator(".bar_line").count() == 20
        page.click("#panel_runs button:has-text('Swap A and B')")
        tab.waits_for("location.hash.includes('runs=1,0')")
        page.wait_for_selector("#panel_runs .layer_figures:nth-of-type(7)")

    def test_figures_of_another_epoch_are_not_shown(self, lenet5: Server, new_tab: Any) -> None:
        tab = new_tab(lenet5)
        page = tab.open("image=0&tool=time")
        script = """() => {
          document.querySelector("#tab_runs").click();
          document.querySelector("#tab_time").click();
          const slider = document.querySelector("#panel_time input[type=range]");
          slider.value = 1;
          slider.dispatchEvent(new Event("input"));
        }"""
        page.evaluate(script)
        tab.waits_for("location.hash.includes('epoch=10')")
        page.wait_for_timeout(3000)
        page.click("#tab_runs")
        page.wait_for_selector("#panel_runs .layer_figures:nth-of-type(7)")
        found = page.inner_text("#panel_runs .figures")
        tab.open("image=0&tool=runs&epoch=10")
        page.wait_for_selector("#panel_runs .layer_figures:nth-of-type(7)")
        assert page.inner_text("#panel_runs .figures") == found

    def test_a_value_that_the_other_run_lacks_is_not_asked_of_it(self, new_tab: Any, tmp_path: Path) -> None:
        for name in ("first", "second"):
            shutil.copytree(CARRIED_RUN, tmp_path / name, ignore=shutil.ignore_patterns("snapshots"))
        with served(tmp_path / "first", tmp_path / "second") as server:
            server._subjects[1].kept.__dict__["layers"] = {
                name: layer for name, layer in server._subjects[1].kept.layers.items() if name != "s2"
            }
            tab = new_tab(server)
            page = tab.open("image=0&layer=s2&value=0,1,1&tool=runs")
            page.wait_for_selector("#arithmetic .result")
            page.click("#panel_runs button:has-text('Swap A and B')")
            page.wait_for_selector("#arithmetic .result", state="detached")
            page.wait_for_timeout(300)
            assert page.is_hidden("#message")
            page.goto("about:blank")

    def test_one_run_says_how_to_give_a_second(self, alone: Server, new_tab: Any) -> None:
        page = new_tab(alone).open("tool=runs")
        assert "with=RUN_DIR" in page.inner_text("#panel_runs")
        page.wait_for_selector("#panel_runs .layer_figures:nth-of-type(7)")

    def test_time_goes_through_the_epochs(self, lenet5: Server, new_tab: Any) -> None:
        tab = new_tab(lenet5)
        page = tab.open("image=0&tool=time")
        best = tab.shares()
        slider = page.locator("#panel_time input[type=range]")
        slider.focus()
        page.keyboard.press("Home")
        tab.waits_for("location.hash.includes('epoch=0')")
        page.wait_for_selector("#panel_time .kernel canvas")
        page.wait_for_timeout(300)
        assert tab.shares() != pytest.approx(best, abs=0.01)
        page.keyboard.press("ArrowRight")
        tab.waits_for("location.hash.includes('epoch=10')")
        page.click("#panel_time button:has-text('Play')")
        tab.waits_for("!location.hash.includes('epoch=')")
        tab.waits_for("document.querySelector('#panel_time output').textContent === 'best epoch'")
        script = """(slider) => {
          document.querySelector("#panel_time button.main").click();
          slider.value = 2;
          slider.dispatchEvent(new Event("input"));
        }"""
        slider.evaluate(script)  # whoever moves the slider while it plays does not want it to move on
        page.wait_for_timeout(1200)
        assert slider.input_value() == "2"

    @pytest.mark.slow
    def test_every_task_is_predicted_then_answered(self, any_server: Server, new_tab: Any) -> None:
        tab = new_tab(any_server)
        page = tab.open("tool=tasks")
        tasks = page.locator(".dot").count()
        assert 8 <= tasks <= 10
        for task in range(tasks):
            page.locator(".dot").nth(task).click()
            assert page.is_disabled(".task button.main")  # first the prediction
            predict(page)
            page.click(".task button.main")
            page.wait_for_selector(".outcome")
            assert page.get_attribute(".outcome", "data-answer")
            assert not re.search(r"\{\w+\}|undefined|NaN", page.inner_text(".task"))
        assert page.locator(".dot.right, .dot.wrong").count() == tasks
        tab.open("tool=tasks")
        assert page.locator(".dot.right, .dot.wrong").count() == tasks  # kept in this browser
        assert page.is_hidden("#message")

    def test_an_answer_is_not_given_to_another_task(self, lenet5: Server, new_tab: Any) -> None:
        tab = new_tab(lenet5)
        page = tab.open("tool=tasks")
        page.fill(".task input[type=number]", "75")
        script = "(main) => { main.click(); document.querySelectorAll('.dot')[1].click(); }"
        page.locator(".task .main").evaluate(script)
        page.wait_for_selector(".dot.right")
        assert "Task 2 of" in page.inner_text(".task h3")
        assert page.locator(".outcome").count() == 0

    def test_what_the_run_answers_is_right(self, lenet5: Server, new_tab: Any) -> None:
        page = new_tab(lenet5).open("tool=tasks")
        page.fill(".task input[type=number]", "75")
        page.press(".task input[type=number]", "Enter")
        page.wait_for_selector(".outcome.right")
        page.click(".revealed button")
        page.fill(".task input[type=number]", "15")
        page.click(".task button.main")
        page.wait_for_selector(".outcome.wrong[data-answer='16']")


def predict(page: Any) -> None:
    """Predict anything."""
    if page.locator(".task input[type=number]").count():
        page.fill(".task input[type=number]", "12")
    elif page.locator(".task select").count():
        page.select_option(".task select", index=1)
    else:
        page.locator(".task input[type=radio]").first.check()


class TestPage:
    def test_languages(self, lenet5: Server, new_tab: Any) -> None:
        tab = new_tab(lenet5)
        page = tab.open("image=0")
        page.click("#language_ko")
        tab.waits_for("document.documentElement.lang === 'ko' && location.hash.includes('language=ko')")
        assert "신경망이 받는 입력" in page.inner_text("#input")
        tab.open("image=0&language=ko&tool=off")
        assert page.inner_text("#tab_off") == "끄기"
        page.click("#language_en")
        tab.waits_for("document.querySelector('#tab_off').textContent === 'Switch off'")

    def test_the_browsers_language_is_used_first(self, lenet5: Server, browser: Any) -> None:
        context = browser.new_context(locale="ko-KR")
        tab = Tab(context.new_page(), lenet5.address)
        tab.open()
        assert tab.page.inner_text("h1") == "신경망 들여다보기"
        context.close()

    @pytest.mark.slow
    def test_light_and_dark(self, lenet5: Server, new_tab: Any) -> None:
        tab = new_tab(lenet5, color_scheme="dark")
        page = tab.open()
        colour = "getComputedStyle(document.documentElement).backgroundColor"
        dark = page.evaluate(colour)
        page.click("#menu_theme")
        assert page.evaluate(colour) != dark
        light = page.evaluate(colour)
        tab.open()
        assert page.evaluate(colour) == light  # it is remembered

    @pytest.mark.slow
    def test_help_opens_and_closes(self, lenet5: Server, new_tab: Any) -> None:
        page = new_tab(lenet5).open()
        page.click("#menu_help")
        assert page.is_visible("dialog")
        page.keyboard.press("Escape")
        assert not page.is_visible("dialog")

    def test_the_address_restores_the_situation(self, lenet5: Server, new_tab: Any) -> None:
        tab = new_tab(lenet5)
        page = tab.open()
        page.click("#image button:has-text('Clear')")
        draw_a_line(page, *SEVEN)
        page.click("#tab_off")
        page.click(".tile[data-layer='c3']")
        page.click("#layer figure[data-map='2'] .switch")
        page.click("#layer figure[data-map='6'] canvas")
        page.wait_for_selector("#arithmetic .result")
        tab.waits_for("location.hash.includes('value=6')")
        page.wait_for_timeout(400)
        address, words = page.url, page.inner_text("#arithmetic h2")
        shares = tab.shares()
        other = new_tab(lenet5)
        other.open(address.partition("#")[2])
        other.page.wait_for_selector("#arithmetic .result")
        other.waits_for("document.querySelector('.bar.before:not([hidden])') !== null")
        assert other.page.inner_text("#arithmetic h2") == words
        assert other.shares() == pytest.approx(shares, abs=1e-6)
        assert other.page.get_attribute("#tab_off", "aria-selected") == "true"
        assert other.page.url == address

    @pytest.mark.parametrize(
        "situation",
        [
            "image=99999&layer=none&value=9,9,9&off=c1.77.zero&epoch=4&tool=no&language=xx",
            "image=drawn.!!!&layer=c1&value=-1,0,0&square=1,2&runs=0,0",
            "image=drawn.AAAA&off=%00&value=1e9,0,0&probability=77",
            "=&&&#%E0%A4%A",
            "tool=toString&language=constructor",
            "image=0&square=0,0,0&probability=77",
        ],
    )
    def test_an_address_that_makes_no_sense_shows_the_page_all_the_same(
        self, lenet5: Server, new_tab: Any, situation: str
    ) -> None:
        tab = new_tab(lenet5)
        page = tab.open(situation)
        assert sum(tab.shares()) == pytest.approx(1, abs=0.01)
        assert page.get_attribute("#tab_tasks", "aria-selected") == "true"
        assert page.is_hidden("#message")

    def test_the_saved_file_opens_by_itself(self, any_server: Server, new_tab: Any, tmp_path: Path) -> None:
        tab = new_tab(any_server)
        page = tab.open("tool=off")
        page.locator("#layer .maps canvas").first.click()
        page.wait_for_selector("#arithmetic .result")
        with page.expect_download() as download:
            page.click("#menu_save")
        file = tmp_path / download.value.suggested_filename
        download.value.save_as(file)
        saved = new_tab(any_server, offline=True)
        saved.page.goto(file.as_uri())
        assert saved.page.locator("script, canvas").count() == 0
        assert saved.page.inner_text(".verdict") == page.inner_text(".verdict")
        assert saved.page.inner_text("#arithmetic .result") == page.inner_text("#arithmetic .result")
        broken = "all => all.filter((image) => image.offsetParent !== null && image.naturalWidth === 0).length"
        assert saved.page.locator("#layer .maps img").count() == page.locator("#layer .maps canvas").count()
        assert saved.page.eval_on_selector_all("img", broken) == 0
        assert not saved.overflows()

    def test_the_page_is_used_with_the_keyboard_alone(self, lenet5: Server, new_tab: Any) -> None:
        tab = new_tab(lenet5)
        page = tab.open("image=0&layer=c1")
        for _ in range(120):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.closest('#layer .map') !== null"):
                break
        else:
            pytest.fail("no map was reached with the Tab key")
        tab.waits_for("document.querySelector('#layer .caption').textContent.startsWith('Map 0, row 0, column 0')")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowDown")
        tab.waits_for("document.querySelector('#layer .caption').textContent.startsWith('Map 0, row 1, column 1')")
        page.keyboard.press("PageDown")
        tab.waits_for("document.querySelector('#layer .caption').textContent.startsWith('Map 1, row 1, column 1')")
        page.keyboard.press("Enter")
        tab.waits_for("document.querySelector('#arithmetic h2').textContent.includes('C1, map 1, row 1, column 1')")
        page.focus("#tab_tasks")
        page.keyboard.press("ArrowRight")
        assert page.get_attribute("#tab_off", "aria-selected") == "true"

    def test_the_values_of_an_arithmetic_are_reached_with_the_keyboard(self, lenet5: Server, new_tab: Any) -> None:
        tab = new_tab(lenet5)
        page = tab.open("image=0&layer=c3&value=0,5,5")
        heading = "document.querySelector('#arithmetic h2').textContent"
        tab.waits_for(f"{heading}.includes('C3, map 0, row 5, column 5')")
        assert page.locator("#arithmetic table[role=grid]").first.locator("td[tabindex='0']").count() == 1
        page.locator("#arithmetic td[tabindex='0']").first.focus()
        for key, place in (("ArrowUp", "0,0"), ("ArrowRight", "0,1"), ("ArrowDown", "1,1"), ("ArrowDown", "2,1")):
            page.keyboard.press(key)
            assert page.evaluate("document.activeElement.dataset.place") == place
        assert page.locator("#arithmetic td.pointed[data-place='2,1']").count() == 3  # its weight and their product too
        page.keyboard.press("Enter")
        tab.waits_for(f"{heading}.includes('S2, map 0, row 7, column 6')")
        tab.waits_for("document.querySelectorAll('#arithmetic table[role=grid] td').length === 4")
        page.locator("#arithmetic table[role=grid] td[data-place='0,0']").focus()
        page.keyboard.press("ArrowDown")
        assert page.locator("#arithmetic table[role=grid]").first.locator("td[tabindex='0']").count() == 1
        page.keyboard.press("Space")
        tab.waits_for(f"{heading}.includes('C1, map 0, row 15, column 12')")

    def test_what_is_pressed_with_the_keyboard_can_be_pressed_again(self, lenet5: Server, new_tab: Any) -> None:
        tab = new_tab(lenet5)
        page = tab.open("image=0&layer=c1&tool=likes")
        page.focus("#panel_likes button[aria-label='Next map']")
        for value in (1, 2):
            page.keyboard.press("Enter")
            tab.waits_for(f"location.hash.includes('value={value}')")
        page.click("#tab_off")
        page.focus("#panel_off button:has-text('Switch off all of C1')")
        page.keyboard.press("Enter")
        tab.waits_for("document.activeElement.textContent === 'Switch on all of C1'")
        page.keyboard.press("Enter")
        tab.waits_for("document.activeElement.textContent === 'Switch off all of C1'")
        page.focus("#menu_theme")
        page.keyboard.press("Enter")
        tab.waits_for("document.activeElement.id === 'menu_theme'")
        page.focus("#language_ko")
        page.keyboard.press("Enter")
        tab.waits_for("document.documentElement.lang === 'ko' && document.activeElement.id === 'language_ko'")

    def test_what_is_no_number_is_a_dash(self, alone: Server, new_tab: Any) -> None:
        page = new_tab(alone).open()
        script = """import('/page/numbers.js').then(({ decimal, figure }) =>
          [null, NaN, Infinity, -Infinity].map((value) => [decimal(value), figure(value)]))"""
        assert page.evaluate(script) == [["–"] * 2, ["–"] * 2, ["∞"] * 2, ["−∞"] * 2]

    def test_everything_that_can_be_pressed_has_a_name(self, any_server: Server, new_tab: Any) -> None:
        page = new_tab(any_server).open()
        for tool in TOOLS:
            page.click(f"#tab_{tool}")
            nameless = page.eval_on_selector_all(
                "button, input:not([type=file]), select, [role=img], [role=application], [role=group]",
                """all => all.filter((one) => !(one.getAttribute('aria-label') || one.textContent.trim()
                  || one.labels?.[0]?.textContent.trim())).map((one) => one.outerHTML)""",
            )
            assert nameless == []

    @pytest.mark.parametrize("width", [360, pytest.param(800, marks=pytest.mark.slow), 1600])
    @pytest.mark.parametrize("language", [pytest.param("en", marks=pytest.mark.slow), "ko"])
    def test_nothing_reaches_beyond_the_window(
        self, any_server: Server, new_tab: Any, width: int, language: str
    ) -> None:
        tab = new_tab(any_server, width)
        page = tab.open(f"language={language}")
        for tool in TOOLS:
            page.click(f"#tab_{tool}")
            page.wait_for_timeout(100)
            assert not tab.overflows(), tool
        for layer in page.eval_on_selector_all("#strip .tile:enabled", "all => all.map((one) => one.dataset.layer)"):
            tab.goes_to(layer, "0,0,0")
            assert not tab.overflows(), layer

    def test_a_finger_draws_and_picks(self, lenet5: Server, new_tab: Any) -> None:
        tab = new_tab(lenet5, 360, has_touch=True, is_mobile=True)
        page = tab.open("image=0")
        box = page.locator("#image canvas").first.bounding_box()
        page.touchscreen.tap(box["x"] + 10, box["y"] + 10)
        tab.waits_for("location.hash.includes('drawn.')")
        page.locator(".tile[data-layer='s2']").tap()
        page.locator("#layer figure[data-map='4'] canvas").tap()
        tab.waits_for("document.querySelector('#arithmetic h2').textContent.includes('S2, map 4')")

    def test_what_a_finger_taps_is_what_is_read_out(self, lenet5: Server, new_tab: Any) -> None:
        tab = new_tab(lenet5, 360, has_touch=True, is_mobile=True)
        page = tab.open("image=0&layer=c1")
        canvas = page.locator("#layer figure[data-map='4'] canvas")
        side = canvas.bounding_box()["width"]
        for share in (0.4, 0.6):  # 28 rows and columns
            canvas.tap(position={"x": share * side, "y": share * side})
            place = f"row {int(share * 28)}, column {int(share * 28)}"
            tab.waits_for(f"document.querySelector('#arithmetic h2').textContent.includes('C1, map 4, {place}')")
            assert page.inner_text("#layer .caption").startswith(f"Map 4, {place}")
            page.locator("h1").tap()

    def test_a_second_finger_draws_no_line_to_the_first(self, lenet5: Server, new_tab: Any) -> None:
        tab = new_tab(lenet5, 360, has_touch=True, is_mobile=True)
        page = tab.open("image=0")
        page.click("#image button:has-text('Clear')")
        box = page.locator("#image canvas").first.bounding_box()
        touches = page.context.new_cdp_session(page)

        def touch(kind: str, *shares: float) -> None:
            points = [
                {"x": box["x"] + share * box["width"], "y": box["y"] + share * box["height"], "id": number}
                for number, share in enumerate(shares)
            ]
            touches.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        touch("touchStart", 0.2)
        touch("touchStart", 0.2, 0.8)
        touch("touchMove", 0.22, 0.82)
        touch("touchMove", 0.24, 0.84)
        touch("touchEnd")
        tab.waits_for("location.hash.includes('drawn.')")
        page.wait_for_timeout(300)
        drawn = drawn_bytes(page)
        assert drawn[6 * 28 + 6] > 0
        assert sum(drawn[12 * 28 :]) == 0

    def test_the_end_of_the_server_is_said(self, browser: Any, tmp_path: Path) -> None:
        shutil.copytree(CARRIED_RUN, tmp_path / "run")
        context = browser.new_context(locale="en-GB")
        with served(tmp_path / "run") as server:
            tab = Tab(context.new_page(), server.address)
            tab.open()
        tab.page.wait_for_selector("#message:visible")
        assert "The server has ended" in tab.page.inner_text("#message")
        context.close()
