# SPDX-License-Identifier: Apache-2.0
"""What regridding costs: making weights, planning a route, and carrying fields.

Weights are made by every engine that is here. A route is planned for the million cells of a 0.25 degree grid on 1, 2
and 4 ranks, with its time and the memory of a rank; then 1, 8 and 32 fields are carried from 0.25 to 1 degree beside
the bare product of scipy on one rank. Nothing here passes or fails.

    python benchmarks/regrid.py        prints the tables of docs/regridding.md and writes benchmarks/out/regrid.json
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import ctypes
import json
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from coupler_plugin import CouplerError
from coupler_plugin.cells import Cells
from coupler_plugin.emulator.planning import Planner
from coupler_plugin.fields import Fields
from coupler_plugin.regrid import Grid, Route, WeightFile, latlon, make_weights, weights_file
from coupler_plugin.regrid.section import GridSection, RegridSection

HERE = Path(__file__).parent
FINE, COARSE = 0.25, 1.0
FIELDS = (1, 8, 32)
RANKS = (1, 2, 4)
REPEATS = 30
ENGINES = (
    ("builtin", "bilinear", "great_circle"),
    ("builtin", "nearest_s2d", "great_circle"),
    ("builtin", "conservative", "latitude"),
    ("yac", "conservative", "latitude"),
    ("yac", "conservative", "great_circle"),
    ("xesmf", "conservative", "great_circle"),
    ("xesmf", "bilinear", "great_circle"),
)


def seconds(work: Callable[[], Any]) -> float:
    """Return the time of one call."""
    begin = perf_counter()
    work()
    return perf_counter() - begin


def make(src: Grid, dst: Grid) -> list[dict[str, Any]]:
    """Measure the making of weights, engine by engine."""
    rows = []
    for engine, method, edges in ENGINES:
        row: dict[str, Any] = {"engine": engine, "method": method, "edges": edges}
        try:
            begin = perf_counter()
            row["links"] = make_weights(src, dst, method, engine=engine, edges=edges).links.n
            row["seconds"] = perf_counter() - begin
        except CouplerError as error:
            row["refused"] = str(error)
        rows.append(row)
    return rows


def apply(path: Path) -> list[dict[str, Any]]:
    """Measure a route on one rank beside scipy's product; the two take turns."""
    with WeightFile(path) as file:
        n_src, n_dst = int(np.prod(file.shape("a"))), int(np.prod(file.shape("b")))
    route = Route.from_file(path, np.arange(1, n_src + 1), np.arange(1, n_dst + 1))
    matrix = route.matrix
    rows = []
    for fields in FIELDS:
        values = np.random.default_rng(1).normal(size=(n_src, fields))
        out = np.empty((n_dst, fields))
        works = (partial(matrix.__matmul__, values), partial(route, values, out))
        scipy, own = np.min([[seconds(work) for work in works] for _ in range(REPEATS)], axis=0)
        rows.append({"fields": fields, "links": matrix.nnz, "scipy": scipy, "route": own, "ratio": own / scipy})
    return rows


def resident() -> float:
    """Return the memory that this process holds, without what its allocator keeps for later [MB]."""
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak() -> float:
    """Return the most memory that this process ever held [MB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def plan_on_ranks(path: Path) -> None:
    """Plan the route as one of several ranks, each with a contiguous part of both grids; rank 0 prints the answer."""
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    with WeightFile(path) as file:
        sizes = [int(np.prod(file.shape(side))) for side in "ab"]
    ids = [np.array_split(np.arange(1, n + 1), comm.size)[comm.rank] for n in sizes]
    before = resident()
    comm.Barrier()
    begin = perf_counter()
    route = Route.from_file(path, *ids, comm=comm)
    comm.Barrier()
    planned = perf_counter() - begin
    most, kept = peak() - before, resident() - before
    values = np.random.default_rng(1).normal(size=(ids[0].size, 8))
    out = np.empty((ids[1].size, 8))
    route(values, out)
    times = []
    for _ in range(REPEATS):
        comm.Barrier()
        times.append(seconds(lambda: route(values, out)))
    answer = {
        "ranks": comm.size,
        "plan": planned,
        "kept_mb": max(comm.allgather(kept)),
        "peak_mb": max(comm.allgather(most)),
        "call_8_fields": min(times),
    }
    if comm.rank == 0:
        print(json.dumps(answer))


def own_grid_on_ranks(cache: Path) -> None:
    """Plan an emulator's own grid of 0.25 degrees for a host of 0.5 degrees; rank 0 prints what each rank holds."""
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    section = RegridSection.model_validate({"host_grid": {"latlon": 0.5}, "edges": "latitude", "cache": cache})
    own = GridSection.model_validate({"latlon": FINE})
    rows = np.array_split(np.arange(360), comm.size)[comm.rank]
    ids = (720 * rows[:, None] + np.arange(1, 721)).ravel()
    lat, lon = np.divmod(ids - 1, 720)
    before = resident()
    comm.Barrier()
    begin = perf_counter()
    planner = Planner(section, Fields([]), Cells(ids, 0.5 * lon + 0.25, 0.5 * lat - 89.75), comm)
    kept_plan = planner.plan("benchmark", own, ["pr"], ["evspsbl"], None)
    comm.Barrier()
    planned = perf_counter() - begin
    del planner
    most, kept = comm.allgather(peak() - before), comm.allgather(resident() - before)
    others = slice(1, None) if comm.size > 1 else slice(None)
    if comm.rank == 0:
        row = {"ranks": comm.size, "cells": kept_plan.cells.n, "plan": planned, "kept_mb": max(kept)}
        print(json.dumps({**row, "peak_rank_0_mb": most[0], "peak_others_mb": max(most[others])}))


def plan(mode: str, path: Path) -> list[dict[str, Any]]:
    """Measure the planning on several ranks, by starting this file under mpirun."""
    if shutil.which("mpirun") is None:
        return []
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    rows = []
    for ranks in RANKS:
        command = ["mpirun", "--oversubscribe", "-n", str(ranks), sys.executable, __file__, mode, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | allowed)
        rows.append(json.loads(done.stdout.strip().splitlines()[-1]))
    return rows


def table(title: str, rows: list[dict[str, Any]]) -> None:
    print(f"\n{title}")
    for row in rows:
        print("  " + "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plan", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--own-grid", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--skip-engines", action="store_true", help="do not measure the making of weights")
    arguments = parser.parse_args()
    if arguments.plan:
        plan_on_ranks(arguments.plan)
        return
    if arguments.own_grid:
        own_grid_on_ranks(arguments.own_grid)
        return
    fine, coarse = latlon(FINE), latlon(COARSE)
    result: dict[str, Any] = {"python": platform.python_version(), "machine": platform.processor()}
    if not arguments.skip_engines:
        result["make"] = make(latlon(0.5), fine)
        table("making weights, 0.5 -> 0.25 degrees [s]", result["make"])
    with tempfile.TemporaryDirectory() as folder:
        try:
            down = weights_file(Path(folder), fine, coarse, "conservative")
        except CouplerError as error:
            print(f"\n{error}\nTaken instead: edges along parallels.")
            down = weights_file(Path(folder), fine, coarse, "conservative", edges="latitude")
        result["apply"] = apply(down)
        table("carrying fields, 0.25 -> 1 degree on one rank [s]", result["apply"])
        result["plan"] = plan("--plan", down)
        table("planning a route of 1,036,800 source cells [s], and what it costs a rank [MB]", result["plan"])
        plan("--own-grid", Path(folder))  # makes the weights, which the others find
        result["own_grid"] = plan("--own-grid", Path(folder))
        table(
            "planning a grid of 0.25 degrees for a host of 0.5 [s], and what it costs a rank [MB]", result["own_grid"]
        )
    (HERE / "out").mkdir(exist_ok=True)
    (HERE / "out" / "regrid.json").write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
