"""The documentation's own examples, run as a reader would."""

import functools
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import QUICK

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str, language: str) -> list[str]:
    """The blocks of code of a page in a language."""
    return [code for found, code in BLOCK.findall((ROOT / page).read_text(encoding="utf-8")) if found == language]


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link, anchor in re.findall(r"\]\(([^)#\s]+)(?:#([^)]*))?\)", text):
        target = page.parent / link
        assert link.startswith("https://") or target.exists(), link
        if anchor and target.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings], link


def test_the_readmes_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("L", (28, 28)).save("digit.png")
    import cnn_experiments as cnn

    train = cnn.train
    quick = [word for word in QUICK if not word.startswith("trainer.max_epochs")]
    monkeypatch.setattr(
        cnn,
        "train",
        lambda *words, **given: train(*(() if given.get("data") else quick), *words, **given),
        raising=False,
    )
    monkeypatch.setattr(cnn, "MNIST", functools.partial(cnn.MNIST, validation_size=50), raising=False)
    namespace: dict[str, object] = {}
    code = blocks("README.md", "python")
    assert code
    for block in code:
        exec(compile(block, "README.md", "exec"), namespace)
    assert list(Path("outputs").rglob("metrics.json"))


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: Path) -> Path:
    """A copy of the package, to which files can be added, and made data; the present folder is another one."""
    checkout = tmp_path / "checkout"
    for folder in ("cnn_experiments", "conf"):
        shutil.copytree(ROOT / folder, checkout / folder, ignore=shutil.ignore_patterns("__pycache__"))
    files = checkout / "cnn_experiments" / "datamodules" / "mnist_files.py"
    from cnn_experiments.datamodules import mnist_files

    files.write_text(files.read_text() + f"\nCHECKSUMS = {mnist_files.CHECKSUMS!r}\n")
    small_cifar(digits / "cifar-10-batches-bin")
    work = tmp_path / "work"
    work.mkdir()
    photographs = work / "photographs"
    photographs.mkdir()
    for number in range(2):
        noise = np.random.default_rng(number).integers(0, 255, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(noise).save(photographs / f"{number}.png")
    monkeypatch.chdir(work)
    monkeypatch.setenv("PYTHONPATH", str(checkout))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return checkout


def small_cifar(folder: Path) -> None:
    """Files as CIFAR-10's, with 60 + 20 images whose class is their brightness."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name, number in {**{f"data_batch_{part}": 12 for part in range(1, 6)}, "test_batch": 20}.items():
        labels = np.arange(number, dtype=np.uint8) % 10
        images = (labels[:, None] * 20 + generator.integers(0, 20, (number, 3072))).astype(np.uint8)
        (folder / f"{name}.bin").write_bytes(
            b"".join(struct.pack("B", label) + image.tobytes() for label, image in zip(labels, images, strict=True))
        )


def add_files(page: str, checkout: Path) -> list[str]:
    """Write the blocks of a page that begin with a file's name into a checkout; the names."""
    written = []
    for language in ("python", "yaml"):
        for code in blocks(page, language):
            match = re.search(r"^# ((?:cnn_experiments|conf)/\S+\.(?:py|yaml))$", code, re.MULTILINE)
            if match:
                (checkout / match[1]).write_text(code, encoding="utf-8")
                written.append(match[1])
    return written


DRIVER = """
import importlib, json, shlex, sys

if __name__ == "__main__":
    from cnn_experiments.commands import resolvers

    for line in json.loads(sys.argv[1]):
        command, *words = shlex.split(line)
        print("$", line, flush=True)
        resolvers.unique_name.cache_clear()
        sys.argv = [command, *words]
        importlib.import_module("cnn_experiments.commands." + command.removeprefix("cnn-")).main()
"""


def run(lines: list[str]) -> dict[str, str]:
    """Run commands of a page in the present folder, one after the other in one process; what each printed."""
    Path("driver.py").write_text(DRIVER)
    done = subprocess.run([sys.executable, "driver.py", json.dumps(lines)], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    printed = done.stdout.split("$ cnn-")[1:]
    assert len(printed) == len(lines)
    return dict(zip(lines, printed, strict=True))


CHEAP = "trainer.max_epochs=1 trainer.gpus=0 datamodule.batch_size=16"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("several_runs", [False, True])
def test_your_own_network_and_data_get_everything(copy: Path, several_runs: bool) -> None:
    written = add_files("docs/your_own.md", copy)
    assert written == [
        "cnn_experiments/models/small_resnet.py",
        "cnn_experiments/datamodules/cifar10.py",
        "conf/model/small_resnet.yaml",
        "conf/datamodule/cifar10.yaml",
    ]
    commands, _ = blocks("docs/your_own.md", "bash")
    lines = commands.strip().splitlines()
    assert {line.split()[0] for line in lines} >= {
        f"cnn-{verb}" for verb in ["summary", "train", "test", "predict", "export", "compare"]
    }
    if not several_runs:  # neither sweep, nor search, nor two processes
        lines = [line for line in lines if not re.search(r" -m | trainer=ddp ", line)]
    trains = [line.startswith("cnn-train") and "resume=" not in line for line in lines]
    printed = run([f"{line} {CHEAP}" if cheap else line for line, cheap in zip(lines, trains, strict=True)])
    assert "stage2" in printed[lines[0]]
    (test,) = [line for line in lines if line.startswith("cnn-test")]
    assert "test/accuracy" in printed[test]
    runs = len(list(Path("outputs").rglob("metrics.json")))
    assert runs >= (6 if several_runs else 1)  # one, two of a sweep, one of two processes, two of a search
    events = Path("outputs/small_resnet_cifar10/first")
    assert (events / "network.onnx").exists()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    written_tags = EventAccumulator(str(events)).Reload().Tags()
    assert "weights/stage1" in written_tags["histograms"]
    assert "activations/stage3" in written_tags["images"]
    assert list(Path("outputs/predictions").rglob("saliency/*.png"))

    refused = subprocess.run(
        [sys.executable, "-m", "cnn_experiments.train", "model=small_resnet", "model.width=3"],
        capture_output=True,
        text=True,
    )
    assert (refused.returncode, refused.stderr.strip()) == (2, "model: width=3 is odd: use an even number")


@pytest.mark.slow
def test_your_own_network_outside_a_checkout(copy: Path) -> None:
    add_files("docs/your_own.md", copy)
    Path("my_conf/model").mkdir(parents=True)
    text = (copy / "conf/model/small_resnet.yaml").read_text()
    Path("my_conf/model/small_resnet.yaml").write_text(
        text.replace("cnn_experiments.models.small_resnet", "small_resnet").replace(
            "override /datamodule: cifar10", "_self_"
        )
    )
    shutil.move(copy / "cnn_experiments/models/small_resnet.py", "small_resnet.py")
    (copy / "conf/model/small_resnet.yaml").unlink()
    _, commands = blocks("docs/your_own.md", "bash")
    train, test = commands.strip().splitlines()
    train = f"{train} {' '.join(QUICK)} trainer.max_epochs=1"
    assert "test/accuracy" in run([train, test])[test]
    refused = subprocess.run(
        [sys.executable, "-m", "cnn_experiments.test", "run=outputs/mine"], capture_output=True, text=True
    )
    assert refused.returncode == 2
    assert "add trust=small_resnet" in refused.stderr


@pytest.mark.slow
def test_your_own_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: Path) -> None:
    monkeypatch.chdir(tmp_path)
    code = blocks("docs/your_own.md", "python")[-1]
    assert "cnn.train(" in code
    exec(compile(code.replace('"datamodule.limit=1000"', '"datamodule.validation_size=50"'), "your_own.md", "exec"), {})


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_wheel_installs_and_trains_outside_a_checkout(tmp_path: Path) -> None:
    """In an environment of its own, with real MNIST (fetched where CNN_EXPERIMENTS_DATA does not have it)."""
    uv = shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
    subprocess.run([uv, "build", "--wheel", "--out-dir", tmp_path / "dist", ROOT], check=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        folders = {name.split("/")[0] for name in packed.namelist()}
    assert {name for name in folders if not name.endswith(".dist-info")} == {"cnn_experiments", "hydra_plugins"}
    environment = tmp_path / "environment"
    subprocess.run([uv, "venv", "--python", sys.executable, environment], check=True)
    python = environment / "bin" / "python"
    locked = ["--require-hashes", "-r", str(ROOT / "requirements.lock")]
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *locked], check=True)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, "--no-deps", wheel], check=True)
    outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    outside["CNN_EXPERIMENTS_DATA"] = str(Path(os.environ.get("CNN_EXPERIMENTS_DATA", "data")).resolve())
    words = ["trainer.max_epochs=1", "trainer.gpus=0", "datamodule.limit=2000", "hydra.run.dir=run"]
    subprocess.run([environment / "bin" / "cnn-train", *words], cwd=tmp_path, env=outside, check=True)
    tested = subprocess.run(
        [environment / "bin" / "cnn-test", "run=run"],
        cwd=tmp_path,
        env=outside,
        check=True,
        capture_output=True,
        text=True,
    )
    assert "test/accuracy" in tested.stdout
    code = "import cnn_experiments as cnn; run = cnn.open_run('run'); print(cnn.__file__, run, run.metrics['commit'])"
    shown = subprocess.run([python, "-c", code], cwd=tmp_path, env=outside, check=True, capture_output=True, text=True)
    assert str(environment) in shown.stdout
    assert shown.stdout.strip().endswith("None")
