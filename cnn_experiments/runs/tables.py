"""A comparison on the terminal and as Markdown, and its files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cnn_experiments.errors import UserError
from cnn_experiments.runs.files import write_text
from cnn_experiments.runs.formats import in_markdown, markdown_table, terminal_table

if TYPE_CHECKING:
    from cnn_experiments.runs.comparison import Comparison

FORMATS = ("md", "html", "csv", "json")


def print_comparison(comparison: "Comparison") -> None:
    """Print the table, the reasons why figures are not comparable, and the runs that did not complete."""
    from rich.console import Console

    console = Console()
    if comparison.configurations:
        console.width = max(console.width, 150)
        for title, rows in comparison.tables():
            console.print(terminal_table(title, rows))
    print("".join(f"{line}\n" for line in comparison.notes()), end="")


def as_markdown(comparison: "Comparison") -> str:
    """The comparison as Markdown, with the settings that differ."""
    lines = [f"# {in_markdown(comparison.title)}", ""]
    if comparison.configurations:
        lines += markdown_table([comparison.headings(), *comparison.rows()])
        lines += ["", "Mean ± standard deviation over seeds; times are of training, without validation.", ""]
    lines += [f"- {in_markdown(line)}" for line in comparison.notes()]
    for title, rows in comparison.tables()[1:]:
        lines += ["", f"## {title}", "", *markdown_table(rows)]
    if settings := comparison.settings_rows():
        lines += ["", "## Settings that differ", "", *markdown_table(settings)]
    return "\n".join(lines) + "\n"


def write_comparison(comparison: "Comparison", folder: Path, formats: Sequence[str] = ("md", "html")) -> list[Path]:
    """Write a comparison into a folder, as ``comparison.md``, ``comparison.html`` and so on.

    Args:
        comparison: the comparison.
        folder: where.
        formats: some of `FORMATS`.

    Returns:
        The files.

    Raises:
        UserError: there is no such format.
    """
    write = {
        "md": comparison.to_markdown, "html": comparison.to_html, "csv": comparison.to_csv, "json": comparison.to_json
    }  # fmt: skip
    for name in formats:
        if name not in write:
            raise UserError(f"format={name}: there is no such format. Give one of {', '.join(FORMATS)}, or a list")
    files = []
    for name in dict.fromkeys(formats):
        files.append(folder / f"comparison.{name}")
        write_text(files[-1], write[name]())
    return files
