"""Fail unless the tests ran at least so much of the package: a report for each file where something is missing.

`coverage report --fail-under` has one limit for lines and branches together, which can hide that one of them fell.
"""

import io
import json
import sys
import tempfile
from pathlib import Path

from coverage import Coverage

LIMITS = {"lines": ("percent_statements_covered", 95), "branches": ("percent_branches_covered", 90)}


def main() -> int:
    measured = Coverage()
    measured.load()
    table = io.StringIO()
    measured.report(file=table)
    print(table.getvalue())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "coverage.json"
        measured.json_report(outfile=str(file))
        totals = json.loads(file.read_text(encoding="utf-8"))["totals"]
    status = 0
    for what, (key, limit) in LIMITS.items():
        print(f"{what}: {totals[key]:.1f} % are run by the tests; at least {limit} % have to be")
        status |= totals[key] < limit
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
