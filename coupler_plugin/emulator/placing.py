# SPDX-License-Identifier: Apache-2.0
"""Which cells of an emulator's own grid take part in a run, and which rank each of them is on.

Only cells that cells of the host feed, and that give something back to one, take part. They are dealt to the ranks as
runs of ids of equal length: no answer depends on that, because a cell meets the same sums and kernels on any rank.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.cells import Cells
from coupler_plugin.parallel import size_of, together
from coupler_plugin.regrid import Grid
from coupler_plugin.regrid.rendezvous import Directory, Mail
from coupler_plugin.regrid.scatter import scatter_file, values_of

if TYPE_CHECKING:
    from mpi4py import MPI

Indices = NDArray[np.int64]

#: runs of ids in which cells are counted, to cut them into equal parts
_RUNS: Final = 65_536


def active_ids(
    host_ids: Indices,
    inward: Sequence[Path],
    outward: Sequence[Path],
    coarse: Callable[[Indices], Indices],
    last: int,
    comm: MPI.Comm | None,
) -> Indices:
    """Return the ids of the cells of an emulator that this rank looks after, rising; a collective call.

    Parameters
    ----------
    host_ids : int64 array
        The host's cells of this rank.
    inward, outward : sequences of Path
        Weight files towards the emulator's grid and back. A cell takes part when all files towards it and at least one
        of those back link it to a cell of the host.
    coarse : callable
        Gives the cells of the emulator in which the cells lie that the files back begin at.
    last : int
        The largest id of the emulator's grid.
    comm : mpi4py.MPI.Comm or None
    """
    host = Directory(comm, host_ids, "host")
    parts = []
    for path in inward:
        links = scatter_file(comm, path)
        parts.append(_at_home(links.rows[host.find(links.cols)[0] >= 0], last, comm))
    used = []
    for path in outward:
        links = scatter_file(comm, path)
        used.append(_at_home(coarse(links.cols[host.find(links.rows)[0] >= 0]), last, comm))
    parts.append(np.unique(np.concatenate(used)))
    return deal(reduce(np.intersect1d, parts), last, comm)


def deal(ids: Indices, last: int, comm: MPI.Comm | None) -> Indices:
    """Return this rank's share of ids that the ranks hold, each held once, as a run of nearly equal length everywhere.

    A collective call.
    """
    if comm is None:
        return np.sort(ids)
    run = (ids - 1) * _RUNS // last
    counts = np.bincount(run, minlength=_RUNS)
    total = np.zeros_like(counts)
    comm.Allreduce(counts, total)
    before = np.cumsum(total) - total
    owners = before[run] * size_of(comm) // max(1, int(total.sum()))
    return np.sort(Mail(comm, owners).send(ids))


def deal_distinct(ids: Indices, last: int, comm: MPI.Comm | None) -> Indices:
    """Return this rank's share of ids that several ranks may hold; a collective call."""
    return deal(_at_home(ids, last, comm), last, comm)


def _at_home(ids: Indices, last: int, comm: MPI.Comm | None) -> Indices:
    """Send each id to the rank whose run of all ids it lies in, and return those that came, each once and rising."""
    distinct = np.unique(ids)
    return np.unique(Mail(comm, (distinct - 1) * size_of(comm) // last).send(distinct))


def cells_of(ids: Indices, grid: Grid | None, comm: MPI.Comm | None) -> Cells:
    """Return the cells of some ids, whose coordinates rank 0 knows; a collective call."""
    lon, lat = values_of(comm, None if grid is None else (grid.ids, grid.lon, grid.lat), ids, "grid")
    lon = np.where(np.abs(lon) > 360.0, lon % 360.0, lon)  # a region may reach around, as from 330 to 390
    return together(comm, lambda: Cells(ids, lon, lat))
