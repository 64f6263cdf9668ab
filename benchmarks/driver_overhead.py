# SPDX-License-Identifier: Apache-2.0
"""Measure what the offline driver costs beside inference: the tower example, and the carbon emulator on a global grid.

python benchmarks/driver_overhead.py

Time is that of the processor, so that other work on the machine disturbs the shares little. Both runs are those that
`coupler-plugin run` does, with their history and report; the global one repeats the tower weather on 1,047 cells.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import shutil
from pathlib import Path
from time import process_time

import numpy as np
import xarray as xr
import yaml

from coupler_plugin.driver import run
from coupler_plugin.emulator.blocks import Blocks

ROOT = Path(__file__).resolve().parents[1]
TOWERS = ROOT / "examples" / "03_tower_sites"
OUT = ROOT / "benchmarks" / "out" / "driver"
CELLS = 1047  # of the global example


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--years", type=int, default=10, help="of the tower run; the global one takes a twentieth")
    years = parser.parse_args().years
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    inside = time_inference()
    print("| run | steps | cells | seconds of the processor | in the emulator | everything else |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, cells, days in (
        ("4 towers", 4, 360 * years),
        ("24 towers", 24, 360 * years),
        ("global", CELLS, 18 * years),
    ):
        path = write_run(name, cells, days)
        inside[0], began = 0.0, process_time()
        run(path)
        total = process_time() - began
        share = 1.0 - inside[0] / total
        print(f"| {name} | {days:,} | {cells:,} | {total:.1f} | {inside[0]:.1f} | {share:.0%} |")


def time_inference() -> list[float]:
    """Add up the time in calls of emulators, in the list that is returned."""
    inside = [0.0]
    plain = Blocks.run

    def timed(blocks: Blocks) -> None:
        began = process_time()
        plain(blocks)
        inside[0] += process_time() - began

    Blocks.run = timed  # type: ignore[method-assign]
    return inside


def write_run(name: str, cells: int, days: int) -> Path:
    """Write the weather and the coupling file of a run and return its path."""
    with xr.open_dataset(TOWERS / "simulated_weather.nc", decode_times=False) as file:
        weather = file.isel(time=np.arange(days) % 360, site=np.arange(cells) % file.sizes["site"]).load()
    weather = weather.drop_vars("site").assign_coords(
        time=("time", np.arange(days) + 0.5, file.time.attrs),
        lat=("site", np.linspace(-60.0, 70.0, cells), file.lat.attrs),
    )
    name = name.replace(" ", "_")
    weather.to_netcdf(OUT / f"{name}.nc")
    year, day = divmod(days, 360)
    block = 16 if cells < 16 else 32 if cells < 32 else 128  # as the examples have it
    content = {
        "calendar": "360_day",
        "emulators": [{"model": str(ROOT / "torchscript_models" / "zoo" / "carbon_flux.pt"), "block": block}],
        "driver": {
            "start": "2001-01-01",
            "end": f"{2001 + year}-{day // 30 + 1:02d}-{day % 30 + 1:02d}",
            "forcing": [{"files": [f"{name}.nc"]}],
        },
        "history": {"file": f"{name}_history.nc", "fields": ["gpp", "reco", "nee", "tas", "rsds", "vpd", "pr"]},
        "report": f"{name}.json",
    }
    path = OUT / f"{name}.yml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


if __name__ == "__main__":
    main()
