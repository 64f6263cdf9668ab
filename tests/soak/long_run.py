# SPDX-License-Identifier: Apache-2.0
"""``python -m soak.long_run [STEPS]``: a long run with guards, history and restarts; its memory and descriptors stay.

What the process holds is looked at ten times. A step may keep nothing: the figures of the last look are those of the
third, when allocators and caches have settled, but for noise.
"""

from __future__ import annotations

import gc
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import yaml
from memory_folder import memory_folder
from rich.console import Console
from rich.table import Table
from small_emulators import Gru, field, write, write_carbon

from coupler_plugin import Coupler

CELLS = 50
NOISE = 600_000  # bytes: what allocators move by themselves
PER_STEP = 16  # bytes: less than the smallest object that a step could keep


@dataclass(frozen=True)
class Look:
    """What the process holds after some steps: resident memory [bytes] and open descriptors."""

    step: int
    memory: int
    descriptors: int


def look(step: int) -> Look:
    """Look at this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Look(step, pages * os.sysconf("SC_PAGE_SIZE"), len(list(Path("/proc/self/fd").iterdir())))


def prepare(folder: Path) -> Path:
    """Write emulators with a window, a state and guards that have something to do, and the coupling file."""
    state = [{"name": "hidden", "size": 8}]
    statistics = {"mean": 283, "std": 5, "min": 275, "max": 290}  # of less than the host gives: some is unseen
    tas = field("tas", "K", statistics=statistics)
    snow = write(folder / "snow.pt", Gru(2, 8), [tas, field("rsds", "W m-2")], [field("snw", "kg m-2")], state=state)
    carbon = write_carbon(folder / "carbon.pt", length=4, every="6h")
    guard = {"input": "hold", "finite": "hold", "range": "clip", "rate": "clip"}
    limits = {"outputs": {"snw": {"max_change": 0.01}}}
    content = {
        "calendar": "noleap",
        "emulators": [
            {
                "model": snow.name,
                "every": "3h",
                "block": 16,
                "guard": {**guard, **limits},
            },
            {"model": carbon.name, "block": 16, "guard": guard},
        ],
        "history": {"file": "history.nc", "fields": ["gpp", "snw", "tas"], "every": "2d"},
        "restart": {"every": "15d", "keep": 2},
        "report": "report.json",
    }
    path = folder / "coupling.yml"
    path.write_text(yaml.safe_dump(content))
    return path


def run(folder: Path, steps: int) -> list[Look]:
    """Take hourly steps; return what was seen at ten moments."""
    coupler = Coupler(prepare(folder), start="2001-01-01", dt=3600.0)
    ids = np.arange(1, CELLS + 1)
    coupler.set_cells(ids, ids * 7.0, ids - 25.0)
    names = ("tas", "rsds", "snw", "gpp", "reco", "nee")
    arrays = {name: np.zeros(CELLS) for name in names}
    for name, array in arrays.items():
        coupler.bind(name, array)
    seen = []
    for step in range(1, steps + 1):
        np.sin(ids + 0.26 * step, out=arrays["tas"])
        arrays["tas"] *= 10.0
        arrays["tas"] += 284.0
        arrays["rsds"][:] = 200.0
        arrays["tas"][step % CELLS] = np.nan if step % 7 == 0 else 284.0
        coupler.step()
        if step * 10 % steps == 0:
            seen.append(look(step))
    interventions = [emulator.interventions() for emulator in coupler.emulators]
    coupler.finalize()
    assert all(any(sum(fields.values()) for fields in kinds.values()) for kinds in interventions)
    return seen


def growth(seen: list[Look]) -> float:
    """Return by how many bytes a step memory grew, as the slope of a line through the looks."""
    return float(np.polyfit([one.step for one in seen[2:]], [one.memory for one in seen[2:]], 1)[0])


def main() -> int:
    """Print the looks; return whether something grew."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    began = perf_counter()
    with memory_folder() as folder:
        seen = run(Path(folder), steps)
    table = Table("step", "resident memory [MB]", "descriptors", title=f"{steps} steps", title_justify="left")
    for one in seen:
        table.add_row(str(one.step), f"{one.memory / 1e6:.1f}", str(one.descriptors))
    console = Console()
    console.print(table)
    console.print(f"growth: {growth(seen):.1f} bytes a step; {(perf_counter() - began) / steps * 1e6:.0f} us a step")
    return int(grows(seen))


def grows(seen: list[Look]) -> bool:
    """Return whether memory or descriptors grew."""
    settled, last = seen[2], seen[-1]
    more = last.memory - settled.memory
    return last.descriptors > settled.descriptors or more > NOISE + PER_STEP * (last.step - settled.step)


if __name__ == "__main__":
    sys.exit(main())
