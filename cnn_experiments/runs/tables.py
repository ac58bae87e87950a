"""A comparison on the terminal and as Markdown, and its files."""

from pathlib import Path

from cnn_experiments.runs.comparison import Comparison
from cnn_experiments.runs.files import write_text
from cnn_experiments.runs.formats import in_markdown, markdown_table, terminal_table
from cnn_experiments.runs.page import as_html


def print_comparison(comparison: Comparison) -> None:
    """Print the table, the reasons why figures are not comparable, and the runs that did not complete."""
    from rich.console import Console

    console = Console()
    if comparison.configurations:
        console.width = max(console.width, 150)
        rows = [comparison.headings(), *comparison.rows()]
        console.print(terminal_table(f"{comparison.title}, the best first", rows))
    print("".join(f"{line}\n" for line in comparison.notes()), end="")


def as_markdown(comparison: Comparison) -> str:
    """The comparison as Markdown, with the settings that differ."""
    lines = [f"# {in_markdown(comparison.title)}", ""]
    if comparison.configurations:
        lines += markdown_table([comparison.headings(), *comparison.rows()])
        lines += ["", "Mean ± standard deviation over seeds; times are of training, without validation.", ""]
    lines += [f"- {in_markdown(line)}" for line in comparison.notes()]
    if settings := comparison.settings_rows():
        lines += ["", "## Settings that differ", "", *markdown_table(settings)]
    return "\n".join(lines) + "\n"


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Write ``comparison.md`` and ``comparison.html`` into a folder.

    Returns:
        The files.
    """
    contents = {"comparison.md": as_markdown(comparison), "comparison.html": as_html(comparison)}
    for name, content in contents.items():
        write_text(folder / name, content)
    return [folder / name for name in contents]
