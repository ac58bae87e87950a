"""Names of keys and classes from before version 0.2. On the command line they keep working until 0.3.

Run directories and checkpoints with old names can always be read.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from cnn_experiments.settings.containers import select, updated

KEYS = {"datamodule.deviation": "datamodule.std"}
CLASSES = {"cnn_experiments.loggings.dashboard.Dashboard": "cnn_experiments.logging.dashboard.Dashboard"}

# Keys that only the article's networks have now, with the value that stands for the paper's network.
ARTICLE: dict[str, tuple[str, dict[str, Any]]] = {
    "cnn_experiments.models.alexnet.AlexNet": (
        "cnn_experiments.models.article.ArticleAlexNet",
        {"padding": "paper", "pool5": True, "dropout_fc6": True},
    ),
    "cnn_experiments.models.googlenet.GoogLeNet": (
        "cnn_experiments.models.article.ArticleGoogLeNet",
        {"padding": "paper", "hidden": None},
    ),
}
# Keys that only the papers' networks have, which came with version 0.2, with the value that stands for what was before.
PAPER: dict[str, dict[str, Any]] = {
    "cnn_experiments.models.alexnet.AlexNet": {"activation": "relu", "overlapping_pools": True, "without": None},
    "cnn_experiments.models.googlenet.GoogLeNet": {"reductions": True, "dense": None},
}
ARTICLE_KEYS = {key for _, keys in ARTICLE.values() for key in keys}


def modernised(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config with the current names of keys and classes."""
    config = dict(config)
    for old, new in KEYS.items():
        group, _, name = old.rpartition(".")
        settings = config.get(group)
        if isinstance(settings, Mapping) and name in settings:
            config = updated(config, new, settings[name])
            config[group].pop(name)
    for group in ("model", "datamodule", "logging"):
        target = select(config, f"{group}._target_")
        if isinstance(target, str) and target in CLASSES:
            config = updated(config, f"{group}._target_", CLASSES[target])
    return _with_articles_network(config)


def _with_articles_network(config: dict[str, Any]) -> dict[str, Any]:
    """The config of the article's network if its keys are set; without these keys if they describe the paper's."""
    model = config.get("model")
    target = model.get("_target_") if isinstance(model, Mapping) else None
    if not isinstance(model, Mapping) or not isinstance(target, str) or target not in ARTICLE:
        return config
    articles, of_the_paper = ARTICLE[target]
    set_here = {key: model[key] for key in of_the_paper if key in model}
    if any(value != of_the_paper[key] for key, value in set_here.items()):
        papers = PAPER[target]
        shared = {key: value for key, value in model.items() if key not in papers or value != papers[key]}
        return {**config, "model": {**of_the_paper, **shared, "_target_": articles}}
    return {**config, "model": {key: value for key, value in model.items() if key not in of_the_paper}}


def modernised_word(word: str, words: Iterable[str] = ()) -> tuple[str, str]:
    """A word of the command line with the current name of its key, and a hint if it had an old one.

    Args:
        word: as it was typed.
        words: all that were typed: some keys are old for one network only.

    Returns:
        The word, and a sentence for the user, which may be empty.
    """
    match = re.fullmatch(r"(\+{0,2})([\w.]+)=(.*)", word, re.DOTALL)
    if match is None:
        return word, ""
    prefix, key, value = match.groups()
    if key in KEYS:
        return f"{prefix}{KEYS[key]}={value}", f"{key} is called {KEYS[key]} now; the old name works until version 0.3"
    group, _, name = key.partition(".")
    if group == "model" and name in ARTICLE_KEYS and not prefix:
        # Add or override: whether the key exists depends on the preset.
        of_the_article = any("_article" in other or "models.article" in other for other in words)
        hint = (
            f"{key}: the article's networks are classes of their own now (experiment=alexnet_article, "
            "experiment=googlenet_article); with the paper's network the key works until version 0.3"
        )
        return f"++{word}", "" if of_the_article else hint
    return word, ""
