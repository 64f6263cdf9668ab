# SPDX-License-Identifier: Apache-2.0
"""What the parts of a step cost: accumulation, units, guards, routes to another grid, and a restart.

Each row is a coupler of eight float64 fields that has one thing more than another; short batches of all take turns and
processor time is counted. "Least" is the memory that a part must read and write, over the rate of a large copy; what
stays in the caches can be faster. Nothing here passes or fails.

    make bench        prints the table of docs/performance.md and writes benchmarks/out/parts.json
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
import yaml
from networks import rates
from step_cost import FIELDS, HERE, Batch, machine, measure, repeat, resident, write_emulator

from coupler_plugin import Coupler
from coupler_plugin.regrid import latlon

DEGREES = 2.5
HIDDEN = 32
#: units of a host that counts otherwise, and what its numbers are in those of the emulator
OTHER = {
    "tas": ("degC", -273.15, 1.0),
    "huss": ("g kg-1", 0.0, 1e3),
    "ps": ("hPa", 0.0, 1e-2),
    "sfcWind": ("km h-1", 0.0, 3.6),
    "pr": ("mm d-1", 0.0, 86400.0),
    "rsds": ("kW m-2", 0.0, 1e-3),
    "rlds": ("kW m-2", 0.0, 1e-3),
    "vpd": ("hPa", 0.0, 1e-2),
}
OFF = {"input": "off", "range": "off", "unseen": "off", "budget": "off"}
#: row -> what its coupling file has besides the emulator, and whether the host has other units
CASES = {
    "accumulate alone": ({"every": "1yr"}, False),
    "a call of the network": ({"guard": OFF}, False),
    "and eight other units": ({"guard": OFF}, True),
    "and all guards": ({}, False),
    "and a grid of half as many cells each way": ({"guard": OFF, "grid": {"latlon": 2 * DEGREES}}, False),
}


def couple(folder: Path, name: str) -> Coupler:
    """Return the coupler of a row, with its arrays."""
    more, has_other_units = CASES[name]
    emulator = {"model": "eight.pt", **more}
    config = {
        "emulators": [emulator],
        "restart": {"dir": str(folder / "restart")},
        "regrid": {"host_grid": {"latlon": DEGREES}, "edges": "latitude", "engine": "builtin"},
    }
    path = folder / "coupling.yml"
    path.write_text(yaml.safe_dump(config))
    coupler = Coupler(path, start="2001-01-01", dt=60.0)
    grid = latlon(DEGREES)
    n = grid.lon.size
    coupler.set_cells(np.arange(1, n + 1), grid.lon.reshape(-1), grid.lat.reshape(-1))
    for field, (units, value) in FIELDS.items():
        other, offset, factor = OTHER[field] if has_other_units else (units, 0.0, 1.0)
        coupler.bind(field, np.full(n, (value + offset) * factor), other)
    coupler.bind("lai", np.zeros(n))
    coupler.step()
    return coupler


def least(cells: int, reached: dict[str, float]) -> dict[str, float]:
    """Return the least time of each row [us], from what it computes or moves."""
    fields = len(FIELDS)
    size = {
        "accumulate alone": 3 * 8 * fields * cells,  # a sum is read and written, a field read
        "a call of the network": (8 + 4) * fields * cells + (4 + 8) * cells,
        "and eight other units": 0,  # on the way
        "and all guards": 4 * (fields + 1) * cells,
        "and a grid of half as many cells each way": 2 * 12 * fields * cells,  # a weight, a place and a number a link
    }
    found = {name: total / reached["copy"] * 1e6 for name, total in size.items()}
    flops = 2 * cells * (fields * HIDDEN + HIDDEN)
    found["a call of the network"] = max(found["a call of the network"], flops / reached["sgemm"] * 1e6)
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=41, help="batches of each kind")
    parser.add_argument("--out", type=Path, default=HERE / "out" / "parts.json", help="JSON file to write")
    options = parser.parse_args()

    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    inputs = [{"name": name, "units": units} for name, (units, _) in FIELDS.items()]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_emulator(folder / "eight.pt", (len(FIELDS), HIDDEN, 1), inputs, [{"name": "lai", "units": "1"}])
        before = resident("self")
        couplers = {name: couple(folder, name) for name in CASES}
        held = (resident("self") - before) / len(couplers)
        cells = couplers["and all guards"].cells
        assert cells is not None
        batches: dict[str, tuple[Batch, int]] = {name: (repeat(one.step), 8) for name, one in couplers.items()}
        batches["a restart, written and synced"] = (repeat(couplers["accumulate alone"].write_restart), 4)
        times = measure(batches, options.rounds)
    about = machine()
    floor = least(cells.n, rates())
    print(
        f"\n{about['date']}, one core of {about['processor']}, load {about['load']}, torch {about['torch']}; "
        f"{len(FIELDS)} fields of {cells.n:,} cells; {held:.0f} MiB for each coupler.\n"
    )
    print("| part | median [us] | quartiles [us] | beside the network alone [us] | least [us] |")
    print("|---|---:|---:|---:|---:|")
    bare = times["a call of the network"]["median"]
    for row, time in times.items():
        beside = f"{time['median'] - bare:+,.0f}" if row.startswith("and") else ""
        quartiles = f"{time['q1']:,.0f} - {time['q3']:,.0f}"
        print(f"| {row} | {time['median']:,.0f} | {quartiles} | {beside} | {floor.get(row, 0.0):,.0f} |")
    result = {"machine": about, "cells": cells.n, "times": times, "least": floor, "memory": held}
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
