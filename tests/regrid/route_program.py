# SPDX-License-Identifier: Apache-2.0
"""Routes on several ranks, for `test_route_mpi.py`: `mpirun -n N python route_program.py FOLDER [yac] [mistakes]`.

Prints one JSON object: a hash of the result of every case, the same for every number of ranks if the sums are; and for
every mistake the errors of all ranks.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from coupler_plugin import CouplerError
from coupler_plugin.regrid import (
    Grid,
    Links,
    Route,
    WeightFile,
    gather_grid,
    latlon,
    make_weights,
    weights_file,
    write_weights,
)
from coupler_plugin.regrid.engines import ENGINES, Request, child

COMM = MPI.COMM_WORLD
SRC, DST = latlon(6.0), latlon(4.0)
FIELDS = 3
SETTINGS: dict[str, Any] = {"edges": "latitude", "engine": "builtin"}


def split(n: int, how: str, seed: int) -> np.ndarray:
    """Return the ids that this rank owns of n cells, in its order."""
    random = np.random.default_rng(seed)
    owner = {
        "blocks": np.arange(n) * COMM.size // n,
        "cyclic": np.arange(n) % COMM.size,
        "random": random.integers(0, COMM.size, n),
        "last": np.full(n, COMM.size - 1),  # all other ranks own nothing
    }[how]
    ids = np.flatnonzero(owner == COMM.rank) + 1
    return np.random.default_rng((seed, COMM.rank)).permutation(ids) if how == "random" else ids


def whole(ids: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """Return the values of all ranks, ordered by id."""
    result = np.full((n, *values.shape[1:]), -1.0)
    for places, part in COMM.allgather((ids, values)):
        result[places - 1] = part
    return result


def digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]


def cases(folder: Path) -> dict[str, str]:
    """Return the hashes of all results."""
    root = COMM.rank == 0
    src, dst = (SRC, DST) if root else (None, None)
    path = weights_file(folder / "cache", src, dst, "conservative", comm=COMM, **SETTINGS)
    values = np.random.default_rng(1).normal(size=(SRC.n, FIELDS))
    missing = np.where(np.random.default_rng(2).random(values.shape) < 0.1, np.nan, values)
    classes = np.random.default_rng(3).integers(1, 6, SRC.n)
    found: dict[str, set[str]] = {"plain": set(), "nan": set(), "classes": set(), "masked": set(), "same": set()}
    for seed, (there, here) in enumerate(
        [
            ("blocks", "blocks"),
            ("cyclic", "blocks"),
            ("last", "cyclic"),
            ("blocks", "last"),
            *[("random", "random")] * 6,
        ]
    ):
        ids, out_ids = split(SRC.n, there, seed), split(DST.n, here, seed + 100)
        route = Route.from_file(path, ids, out_ids, comm=COMM)
        out = np.zeros((out_ids.size, FIELDS))
        for _ in range(2):  # the second call goes through the buffers of the first
            route(values[ids - 1], out)
        found["plain"].add(digest(whole(out_ids, out, DST.n)))
        found["classes"].add(digest(whole(out_ids, route.largest_share(classes[ids - 1]).astype(float), DST.n)))
        holes = Route.from_file(path, ids, out_ids, comm=COMM, skip_nan=True, least_share=0.5)
        found["nan"].add(digest(whole(out_ids, holes(missing[ids - 1]), DST.n)))
        inner = ids[ids % 7 > 0]
        part = Route.from_file(path, inner, out_ids, comm=COMM, unowned="mask")
        kept = np.full((out_ids.size, FIELDS), 5.0)
        counts = f" {part.unmapped} {part.dropped}"
        found["masked"].add(digest(whole(out_ids, part(values[inner - 1], kept), DST.n)) + counts)
        for planned in (route, holes, part):
            planned.free()
        again = Route(ids, split(SRC.n, here, seed + 200), None, comm=COMM)
        moved = again(values[ids - 1])
        found["same"].add(digest(whole(split(SRC.n, here, seed + 200), moved, SRC.n)))
    own = split(SRC.n, "cyclic", 0)
    identity = Route(own, own, None, comm=COMM)
    assert identity.is_identity
    host = gather_grid(COMM, own, SRC.lon[own - 1], SRC.lat[own - 1])
    assert (host is not None) == root
    assert host is None or np.array_equal(host.lon, SRC.lon)
    identity.free()
    return {name: " | ".join(sorted(hashes)) for name, hashes in found.items()}


def child_of_a_rank(folder: Path) -> str:
    """Return a hash of weights that YAC makes, in a process started by a rank of an MPI program."""
    grids = (latlon(12.0), latlon(10.0)) if COMM.rank == 0 else (None, None)
    path = weights_file(folder / "yac", *grids, "conservative", comm=COMM, engine="yac", timeout=120.0)
    with WeightFile(path) as file:
        return digest(file.links().values)


class Broken:
    """An engine whose process crashes or hangs."""

    def __init__(self, name: str, script: Path) -> None:
        self.name, self._script = name, script

    def refusal(self, request: Request) -> None:
        return None

    def version(self) -> str:
        return "1"

    def links(self, request: Request) -> Links:
        return child.run(self._script, {}, "result", lambda path: Links.none(), request.timeout)


def mistakes(folder: Path) -> dict[str, list[str]]:
    """Return the errors of all ranks for each mistake; none may hang, none may stay alone."""
    root, last = COMM.rank == 0, COMM.rank == COMM.size - 1
    for name, text in (("crashes", "import os; os.abort()"), ("hangs", "import time; time.sleep(60)")):
        script = folder / f"_{name}_child.py"
        if root:
            script.write_text(text)
        ENGINES[name] = Broken(name, script)
    COMM.Barrier()
    cache = folder / "cache"
    src, dst = (SRC, DST) if root else (None, None)
    points = Grid("points", np.zeros(2), np.zeros(2) + [0.0, 1.0], (2,)) if root else None
    ids = split(SRC.n, "blocks", 0)
    out_ids = split(DST.n, "blocks", 0)
    links = make_weights(SRC, DST, "bilinear", engine="builtin").links
    own = Links(links.rows + 1, links.cols + 1, links.values) if root else Links.none()
    damaged, foreign = folder / "damaged.nc", folder / "foreign.nc"
    if root:
        write_weights(damaged, make_weights(SRC, DST, "bilinear", engine="builtin"))
        damaged.write_bytes(damaged.read_bytes()[:-50000])
        write_weights(foreign, make_weights(DST, SRC, "bilinear", engine="builtin"))
        (folder / "full").write_text("")  # a folder cannot be made where a file is
    COMM.Barrier()
    works: dict[str, Callable[[], Any]] = {
        "crash": lambda: weights_file(cache, src, dst, "bilinear", comm=COMM, engine="crashes"),
        "hang": lambda: weights_file(cache, src, dst, "bilinear", comm=COMM, engine="hangs", timeout=1.0),
        "corners": lambda: weights_file(cache, points, dst, "conservative", comm=COMM),
        "foreign": lambda: weights_file(cache, src, dst, "bilinear", comm=COMM, file=foreign),
        "disk": lambda: weights_file(folder / "full" / "cache", src, dst, "bilinear", comm=COMM, engine="builtin"),
        "damaged": lambda: Route.from_file(damaged, ids, out_ids, comm=COMM),
        "no_file": lambda: Route.from_file(folder / "nowhere.nc", ids, out_ids, comm=COMM),
        "twice": lambda: Route(np.append(ids, 1) if last else ids, out_ids, own, comm=COMM),
        "nobody": lambda: Route(ids[:-1] if last else ids, out_ids, own, comm=COMM),
        "nan": lambda: gather_grid(COMM, ids, SRC.lon[ids - 1] * (np.nan if last else 1.0), SRC.lat[ids - 1]),
    }
    found = {}
    for name, work in works.items():
        try:
            work()
            text = "no error"
        except CouplerError as error:
            text = f"{error.status.name} {error}"
        found[name] = COMM.allgather(text)
    left = sorted(path.name for path in cache.iterdir()) if root else []
    found["left_in_cache"] = COMM.bcast(left)
    return found


if __name__ == "__main__":
    there = Path(sys.argv[1])
    answer: dict[str, Any] = {"results": cases(there)}
    if "yac" in sys.argv:
        answer["results"]["yac"] = child_of_a_rank(there)
    if "mistakes" in sys.argv:
        answer["mistakes"] = mistakes(there)
    if COMM.rank == 0:
        print(json.dumps(answer))
