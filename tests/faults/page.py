# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/reliability.md: ``python -m faults.page`` provokes all faults and writes them anew."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from faults.processes import OF_HOSTS, OF_RANKS
from faults.provoked import FAULTS, Fault, Seen

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: provoked by tests/faults -->\n", "<!-- end of faults -->\n"

#: what differs from machine to machine, and what stands for it
VARYING = [
    (r"(?<=')/(?!nowhere)[^'\n]*/(?=[\w.-]+')", ""),  # folders
    (r"/\S*/(?=leaf\.pt:)", ""),
    (r"bilinear_[0-9a-f]{16}", "bilinear_..."),
    (r"\b[0-9a-f]{64}\b", "..."),
    (r"Allowed: .*", "Allowed: ..."),
    (r"begins with [0-9a-f]{12}", "begins with ..."),
    (r"\(run from [^)]*\)", "(run from ...)"),
    (r"the run directory '[^']*'", "the run directory '...'"),
    (r"(not a TorchScript file) \(.*?\);", r"\1 (...);"),
    (r"(here is torch )[\w.+]+", r"\1..."),
    (r"(whose instructions this one \()\w+", r"\1..."),
    (r"(torch cannot load the compiled package '[^']*' )\(.*?\);", r"\1(...);"),
    (r"[\d.e+]+ GB are free", "... GB are free"),
    (r"(memory left: ).*?;", r"\1...;"),
    (r"(the emulator '\w+' failed: |asks for: ).*", r"\1..."),  # what torch says
    (r"(check sum of its part ')[^']*", r"\1..."),
    (r"\S*coupling\.yml:", "coupling.yml:"),
    (r"noticed that process rank.*", "noticed that process rank 1 ... exited on signal 9 (Killed)."),
]


def normalised(sentence: str) -> str:
    """Return a sentence as the page shows it."""
    for pattern, text in VARYING:
        sentence = re.sub(pattern, text, sentence)
    return " ".join(sentence.split()).replace("|", r"\|")


def row(fault: Fault, seen: Seen) -> str:
    """Return the row of a fault."""
    return f"| {fault.what} | {seen.status} | {normalised(seen.sentence)} |"


def tables(seen: Mapping[str, Seen]) -> str:
    """Return all tables; `seen` is by group and fault."""
    lines = []
    faults = [*FAULTS, *OF_RANKS, *OF_HOSTS]
    for group in dict.fromkeys(fault.group for fault in faults):
        lines += [f"### {group} ...", "", "| ... that | status | message |", "|---|---|---|"]
        lines += [row(fault, seen[key(fault)]) for fault in faults if fault.group == group]
        lines.append("")
    return "\n".join(lines)


def key(fault: Fault) -> str:
    """Return what a fault is called."""
    return f"{fault.group} {fault.what}"


def provoke(fault: Fault, folder: Path) -> Seen:
    """Provoke a fault in a folder of its own."""
    place = folder / re.sub(r"\W+", "_", key(fault))
    place.mkdir()
    return fault.provoke(place)


def main() -> int:
    """Write the page."""
    with tempfile.TemporaryDirectory() as folder:
        seen = {key(fault): provoke(fault, Path(folder)) for fault in (*FAULTS, *OF_RANKS, *OF_HOSTS)}
    text = PAGE.read_text()
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    PAGE.write_text(text[:begin] + tables(seen) + text[end:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
