# SPDX-License-Identifier: Apache-2.0
"""A run for the restart tests: `program.py COUPLING FIRST STEPS [DEMAND]`, alone or under mpirun.

It takes STEPS hourly steps from step FIRST with weather that follows from cell and step, and prints a hash of the
bound outputs, ordered by id. DEMAND: write a restart after this many steps of its own.
"""

from __future__ import annotations

import hashlib
import os
import sys
from datetime import timedelta

import cftime
import numpy as np

from coupler_plugin import Coupler

CELLS = 37
FIELDS = ("gpp", "reco", "nee")


def main() -> None:
    config, first, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    demand = int(sys.argv[4]) if len(sys.argv) > 4 else -1
    comm = None
    if "OMPI_COMM_WORLD_SIZE" in os.environ:
        from mpi4py import MPI

        comm = MPI.COMM_WORLD
    rank, size = (comm.Get_rank(), comm.Get_size()) if comm else (0, 1)
    ids = np.arange(1, CELLS + 1)[rank::size]
    start = cftime.datetime(2001, 1, 1, calendar="noleap") + timedelta(hours=first)
    coupler = Coupler(config, comm=comm, start=start.strftime("%Y-%m-%dT%H:%M:%S"), dt=3600.0)
    coupler.set_cells(ids, ids * 3.0, ids - 40.0)
    tas, rsds = np.zeros(ids.size), np.zeros(ids.size, np.float32)
    outputs = {name: np.zeros(ids.size) for name in FIELDS}
    for name, array in {"tas": tas, "rsds": rsds, **outputs}.items():
        coupler.bind(name, array)
    for step in range(first, first + steps):
        tas[:] = 280.0 + 10.0 * np.sin(step / 24.0 * 2 * np.pi + ids) + np.cos(step * ids)
        rsds[:] = 200.0 + 100.0 * np.sin(step * 0.7 + ids)
        coupler.step()
        if step - first + 1 == demand:
            coupler.write_restart()
    coupler.finalize()
    parts = comm.gather((ids, outputs)) if comm else [(ids, outputs)]
    if rank == 0:
        order = np.argsort(np.concatenate([part[0] for part in parts]))
        columns = [np.concatenate([part[1][name] for part in parts])[order] for name in FIELDS]
        print(hashlib.sha256(np.stack(columns).tobytes()).hexdigest())


main()
