# SPDX-License-Identifier: Apache-2.0
"""Run the example: build the land model, run it with its emulators, and look at the result.

python run.py [--ranks N] [--host EXECUTABLE] [--skip-run]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import figures
import host
import results

HERE = Path(__file__).resolve().parent
OUT = HERE / "out"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, default=host.fitting_ranks(), help="default: 2, or 1 on one core")
    parser.add_argument("--host", type=Path, help="a land model that is built already")
    parser.add_argument("--skip-run", action="store_true", help="only look at the result of the last run")
    options = parser.parse_args()

    try:
        if not options.skip_run:
            OUT.mkdir(exist_ok=True)
            executable = options.host or host.build(HERE.parents[1] / "build" / "land_model")
            host.run(executable.resolve(), HERE, options.ranks)
        result = results.read(OUT)
    except (host.HostError, OSError) as error:
        print(f"examples/01_global_land: {error}", file=sys.stderr)
        return 1
    summary = results.summarise(result)
    results.write(summary, OUT / "summary.json")
    figures.draw(result, OUT)
    results.show(summary)
    print(f"Figures and files: {OUT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
