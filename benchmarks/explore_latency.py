"""How long the page of cnn-explore takes from a movement of the hand to changed probabilities, in a real browser.

LeNet-5 is the run that the package carries: a stroke is drawn on a digit. AlexNet and GoogLeNet get crops of 112 pixels
(``experiment=alexnet_laptop`` and ``googlenet_laptop``, trained for two batches on made-up photographs, which costs the
same time as a good network): a grey square is dragged over a photo. A time begins with the pointer's event in the page
and ends when a bar has another width; the page then shows the new answer with the next frame.

It needs Playwright and Chromium (``apt install chromium-headless-shell``); another browser: CHROMIUM=PATH.

Usage: python benchmarks/explore_latency.py [MOVEMENTS]
"""

import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

import cnn_experiments as cnn
from cnn_experiments.explorer.subject import CARRIED_RUN

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium-headless-shell")
WANTED = {"lenet5": 100, "alexnet": 1000, "googlenet": 1000}  # milliseconds, at the median
SETTLED = 1500  # milliseconds without a movement, after which nothing is on its way

# Moves the pointer over a canvas, and gives the milliseconds until a bar of the answer changes.
MOVEMENT = """async ({ canvas, across, down, type }) => {
  const place = document.querySelector(canvas);
  const box = place.getBoundingClientRect();
  const at = { clientX: box.left + across * box.width, clientY: box.top + down * box.height };
  const event = new PointerEvent(type, { ...at, bubbles: true, cancelable: true, pointerId: 1, isPrimary: true });
  return new Promise((resolve) => {
    const began = performance.now();
    const watcher = new MutationObserver(() => {
      watcher.disconnect();
      resolve(performance.now() - began);
    });
    const changes = { subtree: true, childList: true, attributes: true, attributeFilter: ["style"] };
    watcher.observe(document.querySelector(".bars"), changes);
    setTimeout(() => { watcher.disconnect(); resolve(null); }, 10000);
    place.dispatchEvent(event);
  });
}"""


def trained(name: str, folder: Path) -> cnn.Run:
    """A run of a network on crops of 112 pixels, after two batches."""
    photographs = folder / "photographs"
    if not photographs.exists():
        photographs.mkdir()
        generator = np.random.default_rng(0)
        for number in range(100):
            for kind in ("cat", "dog"):
                pixels = generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)
                picture = Image.fromarray(pixels).resize((400, 300), Image.Resampling.BICUBIC)
                picture.save(photographs / f"{kind}.{number}.jpg")
    where = (f"datamodule.source={photographs}", f"datamodule.data_dir={folder}", "datamodule.num_workers=0")
    how = ("trainer.max_steps=2", "trainer.gpus=0", "datamodule.batch_size=8", "datamodule.limit=160")
    return cnn.train(f"experiment={name}_laptop", *where, *how)


def times(page: Any, canvas: str, movements: int) -> list[float]:
    """Milliseconds of each of many movements along a line across a canvas."""

    def move(across: float, down: float, type: str) -> float | None:
        found: float | None = page.evaluate(MOVEMENT, {"canvas": canvas, "across": across, "down": down, "type": type})
        page.wait_for_timeout(SETTLED if type == "pointerdown" else 100)
        return found

    # A pointer that the browser does not know cannot be captured.
    page.evaluate("() => { Element.prototype.setPointerCapture = () => {}; }")
    move(0.2, 0.2, "pointerdown")
    measured = [
        move(0.2 + 0.6 * step / movements, 0.2 + 0.5 * step / movements, "pointermove") for step in range(movements)
    ]
    return [time for time in measured if time is not None]  # a movement that changes nothing is none


def main(movements: int) -> None:
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        os.chdir(scratch)
        print(f"{'network':<12}{'movements':>10}{'median':>10}{'9 of 10':>10}{'wanted':>10}   milliseconds")
        for name, wanted in WANTED.items():
            run = cnn.open_run(CARRIED_RUN) if name == "lenet5" else trained(name, Path(scratch))
            server = run.explore(open=False)
            page = browser.new_page(viewport={"width": 1600, "height": 1000})
            page.goto(f"{server.address}#{'image=0' if name == 'lenet5' else 'image=0&tool=looks'}")
            page.wait_for_selector(".verdict .big")
            page.wait_for_timeout(SETTLED)
            found = times(page, "#image canvas" if name == "lenet5" else "#input canvas", movements)
            median, slow = statistics.median(found), statistics.quantiles(found, n=10)[-1]
            print(f"{name:<12}{len(found):>10}{median:>10.0f}{slow:>10.0f}{wanted:>10}")
            page.close()
            server.close()
        browser.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
