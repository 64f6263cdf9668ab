# SPDX-License-Identifier: Apache-2.0
"""Run the land model with an emulator on a grid of its own, on several numbers of ranks, and compare all bits.

python run.py [--ranks 1 2 4] [--host EXECUTABLE] [--no-figure]
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import netCDF4
import numpy as np

HERE = Path(__file__).resolve().parent
OUT = HERE / "out"
sys.path.insert(0, str(HERE.parent / "01_global_land"))  # the same host

import host  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4], help="numbers of ranks; default: 1 2 4")
    parser.add_argument("--host", type=Path, help="a land model that is built already")
    parser.add_argument("--no-figure", action="store_true", help="do not draw (needs no matplotlib)")
    options = parser.parse_args()
    try:
        OUT.mkdir(exist_ok=True)
        executable = options.host or host.build(HERE.parents[1] / "build" / "land_model")
        folders = [run(executable.resolve(), ranks) for ranks in options.ranks]
    except (host.HostError, OSError) as error:
        print(f"examples/02_emulator_grid: {error}", file=sys.stderr)
        return 1
    different = [ranks for ranks, folder in zip(options.ranks, folders, strict=True) if differences(folders[0], folder)]
    show(folders[0])
    if different:
        print(f"Results on {different} ranks differ from those on {options.ranks[0]}.", file=sys.stderr)
        return 1
    print(f"Results on {', '.join(map(str, options.ranks))} ranks are the same to the last bit.")
    if not options.no_figure:
        import figure

        alone(executable.resolve())
        print(f"Maps: {figure.draw(folders[0], OUT).relative_to(HERE)}")
    return 0


def run(executable: Path, ranks: int) -> Path:
    """Run the host and return the folder with what it left."""
    results = OUT / f"ranks{ranks}"
    for folder in (results, OUT / "restart"):
        shutil.rmtree(folder, ignore_errors=True)
    host.run(executable, HERE, ranks)
    results.mkdir()
    for path in (*OUT.glob("*.nc"), *OUT.glob("*.json"), *(OUT / "restart").glob("*.nc")):
        path.rename(results / path.name)
    return results


def alone(executable: Path) -> None:
    """Run the host without the emulator, for the leaf area that it has by itself."""
    namelist = (HERE / "land_model.nml").read_text().replace("coupled = .true.", "coupled = .false.")
    (OUT / "alone.nml").write_text(namelist.replace("out/land_model", "out/alone"))
    host.run(executable, HERE, 1, "out/alone.nml")


def differences(expected: Path, found: Path) -> list[str]:
    """Return the variables of all files that differ in any bit; files or variables of one run alone count."""
    names = sorted(path.name for path in expected.glob("*.nc"))
    if names != sorted(path.name for path in found.glob("*.nc")):
        return ["files"]
    different = []
    for name in names:
        with netCDF4.Dataset(expected / name) as one, netCDF4.Dataset(found / name) as other:
            for dataset in (one, other):
                dataset.set_auto_mask(False)
            if one.variables.keys() != other.variables.keys():
                return [name]
            different += [f"{name}: {v}" for v in one.variables if not same(one[v][:], other[v][:])]
    return different


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two arrays have the same bits."""
    return one.shape == other.shape and one.tobytes() == other.tobytes()


def show(folder: Path) -> None:
    """Print what the report says about the grid."""
    emulators: Sequence[dict] = json.loads((folder / "report.json").read_text())["emulators"]
    for emulator in emulators:
        grid = emulator["grid"]
        print(f"{emulator['name']} ran on {grid['cells']} cells of '{grid['description']}'.")
        print(f"{grid['unmapped']} cells of the model get no answer and keep their own values.")
        for name, change in sorted(grid["imbalance"].items()):
            print(f"Area integral of {name}: changed by at most {change:.1e} on the way.")


if __name__ == "__main__":
    sys.exit(main())
