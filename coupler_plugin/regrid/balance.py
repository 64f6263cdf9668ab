# SPDX-License-Identifier: Apache-2.0
"""What a conservative route should keep: the areas with which integrals before and after it are compared.

They are the areas of the grids' own cells. Only of cells that lie in part outside of the other side, or beyond its
masked cells, the area that takes part is summed from the weights.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.parallel import rank_of, together
from coupler_plugin.regrid.geometry import Indices, Values
from coupler_plugin.regrid.rendezvous import Directory, Mail
from coupler_plugin.regrid.route import Route
from coupler_plugin.regrid.scatter import scatter_file, values_of
from coupler_plugin.regrid.weight_files import WeightFile

if TYPE_CHECKING:
    from mpi4py import MPI

_WHOLE = 1e-9  # a cell of which so little is missing takes part as a whole


class Balance:
    """Compares the area integrals of fields before and after a route.

    Parameters
    ----------
    path : Path
        The weight file that the route was made from; conservative.
    route : Route
    src_ids, dst_ids : int64 arrays
        The cells that the route was made for.
    comm : mpi4py.MPI.Comm or None

    Raises
    ------
    CouplerError
        IO on every rank, when the file tells no areas.
    """

    def __init__(self, path: Path, route: Route, src_ids: Indices, dst_ids: Indices, comm: MPI.Comm | None) -> None:
        self._route = route
        read = together(comm, partial(_areas, path) if rank_of(comm) == 0 else lambda: None)
        src_area, dst_area = (
            values_of(comm, read and read[side], ids, "weight file")[0] for side, ids in enumerate((src_ids, dst_ids))
        )
        links = scatter_file(comm, path)
        owners, places = Directory(comm, dst_ids, "destination").find(links.rows)
        links, owners, places = links.where(owners >= 0), owners[owners >= 0], places[owners >= 0]
        mail = Mail(comm, owners)
        given = links.values * mail.answer(dst_area[mail.send(places)])
        owners, places = Directory(comm, src_ids, "source").find(links.cols)
        mail = Mail(comm, owners[owners >= 0])
        taken = np.zeros(src_ids.size)
        np.add.at(taken, mail.send(places[owners >= 0]), mail.send(given[owners >= 0]))
        whole = np.abs(taken - src_area) <= _WHOLE * src_area
        self._src_area = np.where(whole, src_area, taken)
        self._dst_area = dst_area * route.share

    def imbalance(self, values: Values, result: Values) -> Values:
        """Return the relative change of the area integral of each field, shape (fields,); a collective call.

        Parameters
        ----------
        values, result : float64 arrays, shapes (sources, fields) and (destinations, fields)
        """
        return self._route.imbalance(values, self._src_area, result, self._dst_area)


def _areas(path: Path) -> tuple[tuple[Indices, Values], tuple[Indices, Values]]:
    """Return the ids and areas of the cells of both sides: of destinations, what is covered."""
    with WeightFile(path) as file:
        src, dst, covered = file.array("area_a"), file.array("area_b"), file.array("frac_b")
        if src is None or dst is None or covered is None:
            raise CouplerError(Status.IO, f"weight file '{path}' has no areas, with which integrals could be compared.")
        is_normed = file.attributes.get("method") == "conservative_normed"
        return (_ids(file, "a", src.size), src), (_ids(file, "b", dst.size), dst * covered if is_normed else dst)


def _ids(file: WeightFile, side: str, n: int) -> Indices:
    ids = file.ids(side)
    return np.arange(1, n + 1) if ids is None else ids
