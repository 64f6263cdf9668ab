# SPDX-License-Identifier: Apache-2.0
"""Run the example: the carbon emulator at flux towers, in simulated and, where the data are, in measured weather.

python run.py [--data FOLDER] [--all] [--skip-run]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import figures
import scores
from prepare import prepare

from coupler_plugin import CouplerError
from coupler_plugin.driver import run
from torchscript_models.data import DataError, find_data

HERE = Path(__file__).resolve().parent
OUT = HERE / "out"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with flux_daily.csv.gz; default: ../shared/data")
    parser.add_argument("--all", action="store_true", help="also the shipped emulator at all towers")
    parser.add_argument("--skip-run", action="store_true", help="only look at the results of the last run")
    options = parser.parse_args()
    try:
        if not options.skip_run:
            run(HERE / "run.yml", overwrite=True)
        figures.draw_simulated(OUT / "simulated.nc", HERE / "simulated_weather.nc", OUT / "simulated.png")
        try:
            folder = find_data(options.data)
        except DataError as error:
            print(f"{error} Without them there is nothing to compare with.")
            return 0
        if not options.skip_run:
            prepare(folder, OUT / "towers.nc")
            for name in ["observed.yml"] + ["all_towers.yml"] * options.all:
                run(HERE / name, overwrite=True)
        table = scores.at_unseen_towers(OUT / "observed.nc", OUT / "towers.nc")
        scores.write(table, OUT / "scores.json")
        scores.show(table, "towers that the emulator has not seen")
        figures.draw_observed(OUT / "observed.nc", OUT / "towers.nc", OUT)
        if options.all:
            scores.show(scores.at_all_towers(OUT / "all_towers.nc", OUT / "towers.nc"), "towers it was trained on: fit")
    except (CouplerError, OSError) as error:
        print(f"examples/03_tower_sites: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
