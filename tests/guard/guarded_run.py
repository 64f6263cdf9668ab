# SPDX-License-Identifier: Apache-2.0
"""A run in which every guard has something to do: `run`, or `guarded_run.py RUNS` under mpirun.

RUNS are a JSON list of runs: the number of ranks, the coupling file, the first step and the number of steps.

The host's own scheme writes its arrays at every step before the coupler does.
"""

from __future__ import annotations

import hashlib
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import cftime
import numpy as np
import yaml
from part_of_job import on_ranks
from small_emulators import Affine, CarbonLstm, Store, field, write

from coupler_plugin import Coupler

CELLS = 45
OUTPUTS = ("gpp", "reco", "nee", "evspsbl", "mrso", "a", "lai")


def statistics(mean: float, std: float, low: float, high: float) -> dict[str, dict[str, float]]:
    """Return the statistics of an input."""
    return {"statistics": {"mean": mean, "std": std, "min": low, "max": high}}


def prepare(folder: Path) -> Path:
    """Write emulators and the coupling file."""
    weather = [
        field("tas", "degC", **statistics(8, 9, -14, 26)),
        field("rsds", "W m-2", **statistics(200, 70, 70, 340)),
    ]
    fluxes = [
        field("gpp", "g m-2 d-1", valid_range=(0, 5.5)),
        field("reco", "g m-2 d-1"),
        field("nee", "g m-2 d-1", closure={"reco": 1, "gpp": -1}),
    ]
    distribution = {"correlation": [[1, 0.4], [0.4, 1]], "max_distance": 2.0}
    carbon = write(folder / "carbon.pt", CarbonLstm(2), weather, fluxes, window={"length": 4}, every="3h",
                   distribution=distribution)  # fmt: skip
    water = {"terms": {"evspsbl": 1}, "at_most": {"snw": 1}, "per_step": True}
    store = write(folder / "store.pt", Store(0.8), [field("rsds", "W m-2")], [field("evspsbl", "kg m-2 d-1")],
                  state=[{"name": "store", "size": 1}], budgets=[water])  # fmt: skip
    shares = [field("a", "1", size=3, valid_range=(0, 1)), field("mrso", "kg m-2")]
    weights = [[0.02, -0.01, 0.03, 4.0], [0.001, 0.002, 0.0, 1.0]]
    classes = write(folder / "classes.pt", Affine(weights), weather, shares, every="2h",
                    budgets=[{"terms": {"a": 1}, "equals": 1}])  # fmt: skip
    shadow = write(folder / "leaves.pt", Affine([[0.1]]), weather[:1], [field("lai", "1")], every="3h")
    guard = {"input": "fallback", "finite": "fallback"}
    config = {
        "emulators": [
            {"model": carbon.name, "block": 16, "guard": {**guard, "unseen": "blend", "range": "hold"}},
            {"model": store.name, "block": 16, "where": "snw > 0.05", "guard": {**guard, "input": "hold"}},
            {
                "model": classes.name,
                "block": 16,
                "from": "2001-01-01T06:00",
                "guard": {**guard, "outputs": {"mrso": {"max_change": 3.0, "rate": "hold"}}},
            },
            {"model": shadow.name, "block": 16, "mode": "shadow", "guard": {"input": "hold"}},
        ],
        "fields": [{"name": "a", "long_name": "class fractions", "units": "1"}],
        "history": {"file": "history.nc", "fields": ["gpp", "nee", "evspsbl", "a", "mrso", "lai"], "every": "4h"},
        "restart": {"dir": "restart", "every": "1h", "keep": 99},
        "report": "report.json",
    }
    path = folder / "coupling.yml"
    path.write_text(yaml.safe_dump(config))
    return path


def run(config: str | Path, first: int, steps: int, comm: Any = None) -> str:
    """Take hourly steps from step `first`; return a hash of the host's arrays, ordered by id, on rank 0."""
    rank, size = (comm.Get_rank(), comm.Get_size()) if comm else (0, 1)
    ids = np.arange(1, CELLS + 1)[rank::size]
    start = cftime.datetime(2001, 1, 1) + timedelta(hours=first)
    coupler = Coupler(config, comm=comm, start=start.strftime("%Y-%m-%dT%H:%M:%S"), dt=3600.0)
    coupler.set_cells(ids, ids * 3.0, ids - 40.0, area=1e6 + ids * 1e3)
    arrays = {name: np.zeros(ids.size) for name in ("tas", "rsds", "snw", *OUTPUTS)}
    arrays["a"] = np.zeros((ids.size, 3), np.float32)
    for name, array in arrays.items():
        coupler.bind(name, array)
    for step in range(first, first + steps):
        arrays["tas"][:] = 281.0 + 14.0 * np.sin(step / 24.0 * 2 * np.pi + ids) + np.cos(step * ids)
        arrays["rsds"][:] = 200.0 + 150.0 * np.sin(step * 0.7 + ids)
        arrays["snw"][:] = np.maximum(0.0, 3.0 * np.sin(ids + 0.1 * step))
        arrays["tas"][(ids + step) % 11 == 0] = np.nan
        arrays["rsds"][(ids * step) % 13 == 5] = 1e20
        for place, name in enumerate(OUTPUTS):  # the host's own scheme
            own = 1e-8 * np.cos(ids + step + place)
            arrays[name][...] = own[:, np.newaxis] if arrays[name].ndim == 2 else own
        coupler.step()
    assert (coupler.restarted_from is not None) == (first > 0)
    coupler.finalize()
    parts = comm.gather((ids, arrays)) if comm else [(ids, arrays)]
    if rank != 0:
        return ""
    order = np.argsort(np.concatenate([part[0] for part in parts]))
    columns = [np.concatenate([part[1][name] for part in parts])[order] for name in OUTPUTS]
    return hashlib.sha256(b"".join(column.tobytes() for column in columns)).hexdigest()


def main() -> None:
    """Take runs, one after the other, each on its number of ranks; rank 0 prints their hashes."""
    from mpi4py import MPI

    for ranks, config, first, steps in json.loads(sys.argv[1]):

        def take(comm: Any, config: str = config, first: int = first, steps: int = steps) -> None:
            if found := run(config, first, steps, comm):
                print(found)

        on_ranks(MPI.COMM_WORLD, ranks, take)


if __name__ == "__main__":
    main()
