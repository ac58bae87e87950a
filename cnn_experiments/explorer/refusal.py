"""What the server says to the person at the page, from the texts of the page itself, which has them in Korean too."""

import json
from functools import cache
from pathlib import Path

from cnn_experiments.datamodules.photographs import UnusableImageError
from cnn_experiments.errors import UserError

ENGLISH = Path(__file__).parent / "page" / "texts" / "en.json"


class RefusalError(UserError):
    """Something at the page that cannot be done; the message is in English, the key and values are for the page.

    Args:
        key: of the page's text, without ``refusal.`` before it.
        values: what stands in the text in place of ``{names}``.
    """

    def __init__(self, key: str, **values: str | int) -> None:
        super().__init__(_texts()[f"refusal.{key}"].format(**values).strip())
        self.key, self.values = f"refusal.{key}", values


@cache
def _texts() -> dict[str, str]:
    texts: dict[str, str] = json.loads(ENGLISH.read_text(encoding="utf-8"))
    return texts


def unusable(error: UnusableImageError) -> RefusalError:
    """Why a file that was given to the page cannot be used."""
    return RefusalError(f"file.{error.kind}") if error.kind else RefusalError("file", reason=str(error))
