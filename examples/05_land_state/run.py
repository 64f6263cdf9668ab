# SPDX-License-Identifier: Apache-2.0
"""Record a year of the land model, or let its emulator step the land for a year and compare.

python run.py record      # writes out/land_record.nc and out/land_states.nc: train land_state learns from them
python run.py emulated    # the same year by the emulator, and the comparison
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "01_global_land"), str(HERE.parents[1])]

import host  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["record", "emulated"])
    parser.add_argument("--ranks", type=int, default=host.fitting_ranks(), help="default: 2, or 1 on one core")
    parser.add_argument("--skip-run", action="store_true", help="only compare the results of the last runs")
    options = parser.parse_args()
    (HERE / "out").mkdir(exist_ok=True)
    try:
        if not options.skip_run:
            executable = host.build(HERE.parents[1] / "build" / "land_model")
            host.run(executable.resolve(), HERE, options.ranks, f"{options.what}.nml")
    except (host.HostError, OSError) as error:
        print(f"examples/05_land_state: {error}", file=sys.stderr)
        return 1
    if options.what == "emulated":
        import comparison

        comparison.show(HERE / "out")
    return 0


if __name__ == "__main__":
    sys.exit(main())
