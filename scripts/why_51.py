"""Find out why the article's AlexNet stayed at 51 %, and write docs/why_51.md and docs/why_51.ko.md.

    make why51

It trains what is missing of studies/why_51.yaml in outputs/why_51 (what was interrupted is resumed, what is complete is
not run again), measures untrained networks on the same photographs, draws the pictures, and fills the figures into
studies/why_51.md and studies/why_51.ko.md. The sentences there are written by hand: after a study of another size, read
them again.
"""

import math
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml

from cnn_experiments.commands.from_python import read_words
from cnn_experiments.datamodules.base import ImageData
from cnn_experiments.errors import UserError
from cnn_experiments.evaluation.checkpoint import read_checkpoint
from cnn_experiments.evaluation.randomness import untrained_network
from cnn_experiments.evaluation.run import Run, open_run
from cnn_experiments.inspection.layer_outputs import units_out_of_use
from cnn_experiments.inspection.layer_table import layer_table
from cnn_experiments.runs.configuration import Configuration
from cnn_experiments.runs.verdicts import Verdict
from cnn_experiments.settings.schema import Settings
from scripts.claims import ROOT, STUDIES, Claim, read_claims
from scripts.findings import only_configuration, verdicts_of
from scripts.pages import SUFFIXES, Figures, Language, fill, table
from scripts.signals import (
    INITS,
    Init,
    Signal,
    first_loss_by_theory,
    first_steps,
    loss_of,
    means,
    signals,
    size_of,
    truncated_std,
)
from scripts.study import run_claims

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILE = STUDIES / "why_51.yaml"
RUNS = Path("outputs") / "why_51"
ARTICLES_PASSES = 300 * 1600  # epochs, times training photographs
# Words that are filled in, by language.
WORDS: dict[Language, Figures] = {
    "en": {"better": "better", "worse": "worse", "same": "cannot be told apart", "yes": "yes", "no": "no"},
    "ko": {"better": "더 좋음", "worse": "더 나쁨", "same": "구별되지 않음", "yes": "예", "no": "아니요"},
}


def short(value: float) -> str:
    """Three digits of a number, or all before its point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


class Untrained:
    """What is measured before training: the article's networks at their own size.

    Args:
        plan: the section `untrained` of the study's file.
    """

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self.words, self.networks = plan["words"].split(), plan["networks"]
        self.rates, self.seeds = plan["rates"], plan["seeds"]
        data: ImageData = self._settings("narrow").datamodule.build()
        self.images, self.labels = next(iter(data.batches("validation")))

    def _settings(self, network: str, init: Init = "article", seed: int = 1) -> Settings:
        words = [*self.networks[network].split(), *self.words, f"model.init={init}", f"seed={seed}"]
        return read_words(words, None, None, [])[1]

    def _drawn(self, network: str, init: Init) -> Iterator[torch.nn.Module]:
        for seed in self.seeds:
            yield untrained_network(self._settings(network, init, seed))

    def signals(self) -> dict[str, list[Signal]]:
        """Of the narrow network, means over the seeds, by initialisation."""
        return {
            init: means([signals(one, init, self.images, self.labels) for one in self._drawn("narrow", init)])
            for init in INITS
        }

    def first_losses(self) -> Figures:
        """Of each network and initialisation: by theory, and the mean, lowest and highest over the seeds."""
        found = {}
        for name in self.networks:
            for init in INITS:
                theory, losses = 0.0, []
                for network in self._drawn(name, init):
                    theory = first_loss_by_theory(network, init, self.images)
                    losses.append(loss_of(network, self.images, self.labels))
                key = f"loss.{name}.{init}"
                found[f"{key}.theory"] = short(theory)
                found[f"{key}.mean"] = short(statistics.fmean(losses))
                found[f"{key}.range"] = f"{short(min(losses))} … {short(max(losses))}"
        return found

    def steps(self) -> dict[tuple[str, float], dict[str, tuple[float, float]]]:
        """By what share the first step changes each layer of the narrow network, means over the seeds."""
        found = {}
        for init, rates in self.rates.items():
            for rate in rates:
                each = [
                    first_steps(network, init, rate, self.images, self.labels)
                    for network in self._drawn("narrow", init)
                ]
                found[init, rate] = {
                    layer: (each[0][layer][0], statistics.fmean(one[layer][1] for one in each)) for layer in each[0]
                }
        return found

    def multiply_adds(self, network: str) -> int:
        """Of one image, forwards."""
        settings = self._settings(network)
        return layer_table(untrained_network(settings), settings.input_shape).multiply_adds

    def figures(self) -> tuple[Figures, dict[str, list[Signal]]]:
        """Everything for the page, and what the picture shows."""
        of_inits = self.signals()
        steps = self.steps()
        rows = list(zip(of_inits["article"], of_inits["he"], strict=True))
        forward = [
            [f"`{a.layer}`", f"{a.inputs:,.0f}"] + [short(value) for one in (a, h) for value in (*one.growth, one.size)]
            for a, h in rows
        ]
        backward = [
            [f"`{a.layer}`", *(short(v) for one in (a, h) if one.backward for v in (*one.backward, one.gradient))]
            for a, h in rows
            if a.backward
        ]
        first = next(iter(steps.values()))
        changes = [
            [f"`{layer}`", *(f"{100 * value:.1f} %" for one in steps.values() for value in one[layer])]
            for layer in first
        ]
        article = of_inits["article"]
        found = {
            "std": f"{truncated_std(0.1):.5f}",
            "photographs": str(len(self.labels)),
            "input": short(size_of(self.images)),
            "growth.theory": short(math.prod(one.growth[0] for one in article)),
            "growth.measured": short(article[-1].size / size_of(self.images)),
            "forward": table(forward),
            "backward": table(backward),
            "steps": table(changes),
        }
        return found | self.first_losses(), of_inits


def judged(claim: Claim, root: Path) -> tuple[dict[str, Configuration], dict[str, Verdict]]:
    """The runs of each arm, and the comparison's verdict on each arm against the article's.

    Raises:
        UserError: the arms cannot be compared, or the runs of one differ in more than their seed.
    """
    folders = {arm: claim.folder(arm, root) for arm in claim.arms}
    arms = {arm: only_configuration([folder], folder) for arm, folder in folders.items()}
    verdicts, why = verdicts_of(claim, arms)
    if why:
        raise UserError(f"{root / claim.name}: {why}")
    return arms, verdicts


def outcome(verdict: Verdict) -> str:
    """``better``, ``worse`` or ``same``."""
    if not verdict.is_different:
        return "same"
    return "better" if verdict.luck.value > 0 else "worse"


def of_arms(
    claim: Claim,
    root: Path,
    arms: Mapping[str, Configuration],
    verdicts: Mapping[str, Verdict],
    predictions: Mapping[str, str],
) -> tuple[Figures, dict[Language, Figures]]:
    """Figures of the arms, and those that are words, by language."""
    found: Figures = {"commands": "\n".join(claim.command(arm, root) for arm in claim.arms)}
    words: dict[Language, Figures] = {language: {} for language in SUFFIXES}
    for arm, configuration in arms.items():
        accuracies = [run.metrics["test/accuracy"] for run in configuration.runs]
        found[f"{arm}.test"] = f"{statistics.fmean(accuracies):.3f}"
        found[f"{arm}.range"] = f"{min(accuracies):.3f} … {max(accuracies):.3f}"
        found[f"{arm}.training"] = f"{_mean_of(configuration, -1, 'train/accuracy'):.3f}"
        found[f"{arm}.first_loss"] = short(_mean_of(configuration, 0, "train/loss"))
        found[f"{arm}.last_loss"] = short(_mean_of(configuration, -1, "train/loss"))
        found[f"{arm}.run"] = str(configuration.runs[0].directory)
    for arm, verdict in verdicts.items():
        ends = (verdict.luck.value, verdict.low, verdict.high)
        value, low, high = (f"{100 * end:+.1f}" for end in ends)
        found[f"{arm}.difference"] = f"{value} [{low}, {high}]"
        for language, texts in WORDS.items():
            words[language][f"{arm}.predicted"] = texts[predictions[arm]]
            words[language][f"{arm}.verdict"] = texts[outcome(verdict)]
            words[language][f"{arm}.right"] = texts["yes" if predictions[arm] == outcome(verdict) else "no"]
    found["together"] = str(len(verdicts))
    found["runs"] = str(sum(len(one.runs) for one in arms.values()))
    found["seeds"] = str(len(claim.seeds))
    found["test_images"] = f"{next(iter(verdicts.values())).images:,}"
    return found, words


def _mean_of(configuration: Configuration, epoch: int, name: str) -> float:
    """Mean over the runs of a figure of an epoch; -1 is the last."""
    return statistics.fmean(run.history[epoch][name] for run in configuration.runs)


def dead_units(arms: Mapping[str, Configuration]) -> Figures:
    """Share of dead units of each layer, before training and after it, on the validation photographs: a table.

    Args:
        arms: whose runs.
    """
    columns: list[dict[str, float]] = []
    for configuration in arms.values():
        before, after = [], []
        for finished in configuration.runs:
            run = open_run(finished.directory)
            images = torch.cat([batch for batch, _ in run.data.batches("validation")])
            before.append(units_out_of_use(run.network_at(0), [images]))
            after.append(units_out_of_use(last_network(run), [images]))
        columns += [{name: statistics.fmean(one[name] for one in each) for name in each[0]} for each in (before, after)]
    rows = [
        [f"`{name.rpartition('/')[2]}`", *(f"{100 * column[name]:.1f} %" for column in columns)] for name in columns[0]
    ]
    return {"dead": table(rows)}


def last_network(run: Run) -> torch.nn.Module:
    """The network with the weights of the last epoch, in evaluation mode."""
    network = run.network_at(0)
    read_checkpoint(run.directory / "checkpoints" / "last.ckpt", "run").load_into(network, "run")
    return network.eval()


def size_of_the_articles(claim: Claim, root: Path, multiply_adds: int) -> Figures:
    """How long a run of the article's size would take, by the multiply-adds of those that were run.

    Args:
        claim: whose runs.
        root: the folder of the study.
        multiply_adds: of the article's network, for one image.
    """
    folder = claim.folder(claim.better, root)
    configuration = only_configuration([folder], folder)
    metrics = configuration.runs[0].metrics
    seconds = configuration.mean("train_seconds") or 0.0
    passes = configuration.settings["datamodule.limit"] * configuration.settings["trainer.max_epochs"]
    times = (ARTICLES_PASSES / passes) * (multiply_adds / metrics["multiply_adds"])
    return {
        "passes": f"{passes:,.0f}",
        "articles_passes": f"{ARTICLES_PASSES:,}",
        "multiply_adds": f"{metrics['multiply_adds']:,}",
        "articles_multiply_adds": f"{multiply_adds:,}",
        "seconds": short(seconds),
        "times": f"{times:,.0f}",
        "hours": short(seconds * times / 3600),
        "device": str(metrics.get("processor") or metrics.get("device")),
        "torch": str(metrics["versions"]["torch"]),
    }


def picture_of_signals(of_inits: Mapping[str, Sequence[Signal]], image: float) -> "Figure":
    """Sizes of outputs and gradients by layer, predicted (lines) and measured (points).

    Args:
        of_inits: by initialisation.
        image: size of the input.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    forwards, backwards = figure.subplots(1, 2)
    for init, colour, marker in (("article", "#c0392b", "o"), ("he", "#2471a3", "s")):
        layers = of_inits[init]
        names = [one.layer for one in layers]
        predicted, size = [], image
        for one in layers:
            size *= one.growth[0]
            predicted.append(size)
        gradients, gradient = [layers[-1].gradient], layers[-1].gradient
        for one in reversed(layers[1:]):
            gradient *= one.backward[0] if one.backward else 1.0
            gradients.insert(0, gradient)
        for axes, theory, measured in (
            (forwards, predicted, [one.size for one in layers]),
            (backwards, gradients, [one.gradient for one in layers]),
        ):
            axes.plot(names, theory, color=colour, label=f"{init}: theory")
            axes.plot(names, measured, marker, color=colour, label=f"{init}: measured")
    forwards.set(title="size of each layer's output", yscale="log")
    backwards.set(title="size of the gradient by each layer's output", yscale="log")
    forwards.legend(fontsize=8)
    for axes in (forwards, backwards):
        axes.grid(alpha=0.3)
    return figure


def picture_of_arms(arms: Mapping[str, Configuration], verdicts: Mapping[str, Verdict]) -> "Figure":
    """The difference of each arm from the article's settings, with its interval."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.6 + 0.34 * len(verdicts)), layout="constrained")
    axes = figure.subplots()
    names = sorted(verdicts, key=lambda arm: verdicts[arm].luck.value)
    for place, arm in enumerate(names):
        verdict = verdicts[arm]
        colour = {"better": "#1e8449", "worse": "#c0392b", "same": "#7f8c8d"}[outcome(verdict)]
        axes.plot([100 * verdict.low, 100 * verdict.high], [place, place], color=colour)
        axes.plot(100 * verdict.luck.value, place, "o", color=colour)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="test accuracy minus that of the article's settings, in points, with the 95 % interval")
    return figure


def write_pages(file: Path, root: Path, folder: Path, templates: Path = STUDIES) -> list[Path]:
    """Measure, draw and write everything, once all runs are complete.

    Args:
        file: the study.
        root: the folder of its runs.
        folder: where pages and pictures are written.
        templates: the folder of the pages as they were written by hand.

    Returns:
        The files.
    """
    plan = yaml.safe_load(file.read_text(encoding="utf-8"))
    (claim,) = read_claims(file)
    arms, verdicts = judged(claim, root)
    figures, words = of_arms(claim, root, arms, verdicts, plan["predictions"])
    untrained = Untrained(plan["untrained"])
    of_untrained, of_inits = untrained.figures()
    figures |= of_untrained | size_of_the_articles(claim, root, untrained.multiply_adds("narrow"))
    figures |= dead_units({arm: arms[arm] for arm in (claim.better, "he", "both")})
    pictures = {
        folder / "why_51_signals.png": picture_of_signals(of_inits, size_of(untrained.images)),
        folder / "why_51_arms.png": picture_of_arms(arms, verdicts),
    }
    for target, picture in pictures.items():
        picture.savefig(target, dpi=110)
    return [*fill(FILE.stem, figures, words, folder, templates), *pictures]


def main() -> int:
    """Train what is missing, and write the pages; the exit status."""
    try:
        status = run_claims(read_claims(FILE), RUNS)
        if status:
            return status
        for file in write_pages(FILE, RUNS, ROOT / "docs"):
            print(f"written: {file}")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
