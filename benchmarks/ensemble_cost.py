# SPDX-License-Identifier: Apache-2.0
"""Measure what an ensemble of the global example costs on one rank, in units of one of its members.

python benchmarks/ensemble_cost.py [--members 16] [--days 360] [--threads 1 2]

One member is `coupler-plugin run` of the same coupling file. Both begin on 1 January, so that the emulators' codes are
made as often; threads are those of the coupling file.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time

import yaml

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "04_ensemble"
OUT = ROOT / "benchmarks" / "out" / "ensemble"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("--days", type=int, default=360)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported; the coupling file says the rest
    from coupler_plugin.driver import run
    from coupler_plugin.ensemble import run_ensemble

    print("| threads | simulated | one run [s] | members | ensemble [s] | ratio | of processor time |")
    print("|---:|---|---:|---:|---:|---:|---:|")
    for threads in options.threads:
        shutil.rmtree(OUT, ignore_errors=True)
        OUT.mkdir(parents=True)
        coupling, ensemble = write_files(options.members, options.days, threads)
        one = time(lambda: run(coupling))  # noqa: B023
        many = time(lambda: run_ensemble(ensemble))  # noqa: B023
        print(
            f"| {threads} | {options.days} days | {one[0]:.1f} | {options.members} | {many[0]:.1f} | "
            f"{many[0] / one[0]:.1f} | {many[1] / one[1]:.1f} |"
        )


def time(work: Callable[[], object]) -> tuple[float, float]:
    """Return wall time and processor time of some work [s]."""
    wall, processor = perf_counter(), process_time()
    work()
    return perf_counter() - wall, process_time() - processor


def write_files(members: int, days: int, threads: int) -> tuple[Path, Path]:
    """Write coupling file and ensemble file and return their paths."""
    coupling = yaml.safe_load((EXAMPLE / "run.yml").read_text())
    for emulator in coupling["emulators"]:
        emulator["model"] = str(EXAMPLE / emulator["model"])
    for entry in coupling["driver"]["forcing"]:
        entry["files"] = [str(EXAMPLE / file) for file in entry["files"]]
    year, day = divmod(days, 360)
    coupling["driver"] |= {"start": "2001-01-01", "end": f"{2001 + year}-{day // 30 + 1:02d}-{day % 30 + 1:02d}"}
    coupling |= {"threads": threads, "history": {"file": "run.nc", "fields": ["lai", "gpp", "reco", "nee", "tas"]}}
    ensemble = yaml.safe_load((EXAMPLE / "ens.yml").read_text())
    ensemble |= {"members": members, "figures": None}
    ensemble["statistics"]["file"] = "statistics.nc"
    for name, content in (("run.yml", coupling), ("ens.yml", ensemble)):
        (OUT / name).write_text(yaml.safe_dump(content, sort_keys=False))
    return OUT / "run.yml", OUT / "ens.yml"


if __name__ == "__main__":
    main()
