"""Run a notebook of `docs/` from top to bottom, and store what its cells show in it and in its Korean twin.

    python scripts/run_notebook.py docs/first_hour.ipynb

It runs in an empty folder. The twin gets the cells of code, too: edit those in the English one alone.
"""

import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def main(english: Path) -> None:
    korean = english.with_suffix(".ko.ipynb")
    notebook, twin = (nbformat.read(file, 4) for file in (english, korean))  # type: ignore[no-untyped-call]
    if [cell.cell_type for cell in notebook.cells] != [cell.cell_type for cell in twin.cells]:
        sys.exit(f"{english}: its twin has other cells")
    with tempfile.TemporaryDirectory() as folder:
        place = {"metadata": {"path": folder}}
        client = NotebookClient(notebook, timeout=None, record_timing=False, kernel_name="python3", resources=place)
        client.coalesce_streams = True  # of a line that is drawn anew where it stands, the last state
        client.execute()
    notebook.metadata = twin.metadata  # without the versions of this machine
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            for output in cell.outputs:
                if output.output_type == "stream":
                    output.text = re.sub(r"[^\n]*\r", "", output.text)  # what was drawn over
            twin.cells[number] = cell
    for content, file in ((notebook, english), (twin, korean)):
        nbformat.write(content, file)  # type: ignore[no-untyped-call]
        print(f"{file}: {file.stat().st_size / 1000:.0f} KB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
