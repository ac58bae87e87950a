"""The provenance of a run: software versions, commit, machine."""

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# What a run's figures depend on.
DISTRIBUTIONS = (
    "cnn-experiments",
    "torch",
    "torchvision",
    "pytorch-lightning",
    "numpy",
    "albumentations",
    "hydra-core",
)
CHECKOUT = Path(__file__).parents[2]  # of an installed wheel this is site-packages, which is no checkout


def provenance() -> dict[str, Any]:
    """A description of this installation and this machine, made without importing torch.

    Returns:
        ``versions`` of Python and the relevant packages; ``commit`` of the package's checkout, and whether it was
        ``clean``, both None if this is no checkout or git is missing; ``operating_system``, ``processor``,
        ``logical_cores``.
    """
    return {
        "versions": versions(),
        **commit_of(CHECKOUT),
        "operating_system": platform.platform(),
        "processor": processor(),
        "logical_cores": os.cpu_count(),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of those relevant packages that are installed."""
    found = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit_of(checkout: Path) -> dict[str, str | bool | None]:
    """The commit of a checkout, and whether it is clean; both None if it is no checkout.

    Untracked files make it unclean, ignored ones do not.
    """
    nothing: dict[str, str | bool | None] = {"commit": None, "clean": None}
    if not (checkout / ".git").exists():  # or git would find the repository of a folder further up
        return nothing
    # Variables such as GIT_DIR, which git sets for its hooks, would name another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    outputs = []
    for arguments in (["rev-parse", "HEAD"], ["--no-optional-locks", "status", "--porcelain"]):
        try:
            command = ["git", "-C", str(checkout), *arguments]
            done = subprocess.run(command, env=environment, capture_output=True, timeout=20, check=True)
        except (OSError, subprocess.SubprocessError):
            return nothing
        outputs.append(done.stdout.decode(errors="replace").strip())  # file names in any spelling, where git is told so
    return {"commit": outputs[0], "clean": not outputs[1]}


def processor() -> str:
    """The name of the processor; its architecture if the system does not tell the name."""
    if platform.system() == "Linux":
        try:
            found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        except OSError:
            found = None
        if found:
            return found[1].strip()
    if platform.system() == "Darwin":
        try:
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
            return done.stdout.strip()
        except (OSError, subprocess.SubprocessError):
            pass
    return platform.processor() or platform.machine()


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A sentence for each difference between the software of a run and the present one.

    Args:
        then: the run's ``metrics.json``, which may come from anybody and may lack any entry.
        now: the result of `provenance`.
    """
    recorded, present = then.get("versions"), now["versions"]
    sentences = []
    for name, old in recorded.items() if isinstance(recorded, Mapping) else ():
        if name not in present and name not in DISTRIBUTIONS:
            continue
        new = present.get(name)
        if new is None:
            sentences.append(f"the run was made with {name} {_as_word(old)}, which is not installed here")
        elif new != old:
            sentences.append(f"the run was made with {name} {_as_word(old)}; here it is {new}")
    return sentences + _differences_of_commit(then, now)


def _differences_of_commit(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    old, new = then.get("commit"), now.get("commit")
    if old is None or new is None or old == new:
        return []
    return [f"the run was made from commit {_as_word(old)[:12]}; here it is {new[:12]}"]


def _as_word(value: Any) -> str:
    """A received value, made safe for the terminal: short, without control characters."""
    return re.sub(r"[^\w.+!-]", "?", str(value))[:60]
