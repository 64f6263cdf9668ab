# SPDX-License-Identifier: Apache-2.0
"""`make reproducibility`: how many bits differ in each case, for each kind of emulator; fails when any do."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from reproducibility.cases import CASES, Cases
from reproducibility.subjects import SUBJECTS
from rich.console import Console
from rich.table import Table


def main() -> int:
    """Print the table; return whether a bit differed."""
    table = Table("test", "what", *SUBJECTS, title="differing bits, against one run in one piece", title_justify="left")
    console = Console()
    console.width = max(120, console.width)
    total = 0
    with tempfile.TemporaryDirectory() as folder:
        cases = Cases(Path(folder) / "runs")
        for case in CASES:
            console.print(f"{case.test}: {case.what}", highlight=False)
            if missing := cases.missing(case):
                table.add_row(case.test, case.what, *[f"not run: no {missing}"] * len(SUBJECTS))
                continue
            bits = [cases.differing_bits(subject, case) for subject in SUBJECTS]
            total += sum(bits)
            table.add_row(case.test, case.what, *map(str, bits))
    console.print(table)
    return int(total > 0)


if __name__ == "__main__":
    sys.exit(main())
