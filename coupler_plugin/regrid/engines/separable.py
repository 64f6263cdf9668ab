# SPDX-License-Identifier: Apache-2.0
"""Conservative weights between grids of meridians and parallels, whose overlaps are products of overlaps in each.

Exact for edges along circles of latitude, and as cheap as the axes are short: 0.5 to 0.25 degrees takes 0.1 s.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse  # type: ignore[import-untyped]

from coupler_plugin.regrid.geometry import Indices, Values, sine_widths
from coupler_plugin.regrid.grids import Grid
from coupler_plugin.regrid.links import Links

Measure = Callable[[Values], Values]


def conservative(src: Grid, dst: Grid) -> Links:
    """Return the shares of destination cells that lie in each source cell.

    Parameters
    ----------
    src, dst : Grid
        Both rectilinear.
    """
    assert src.lon_edges is not None
    assert src.lat_edges is not None
    assert dst.lon_edges is not None
    assert dst.lat_edges is not None
    columns = sum(
        _overlaps(src.lon_edges + turn, dst.lon_edges, np.diff) for turn in (-720.0, -360.0, 0.0, 360.0, 720.0)
    )
    shares = scipy.sparse.kron(_overlaps(src.lat_edges, dst.lat_edges, sine_widths), columns, format="coo")
    return Links(shares.row.astype(np.int64), shares.col.astype(np.int64), shares.data)


def _overlaps(src: Values, dst: Values, width: Measure) -> scipy.sparse.csr_array:
    """Return the shares, shape (dst cells, src cells), of destination intervals that lie in each source interval."""
    pieces = np.unique(np.concatenate([src, dst]))
    middles = 0.5 * (pieces[1:] + pieces[:-1])
    to, of = _places(dst, middles), _places(src, middles)
    both = (to >= 0) & (of >= 0)
    whole = np.abs(width(dst))
    shares = np.abs(width(pieces))[both] / whole[to[both]]
    return scipy.sparse.csr_array((shares, (to[both], of[both])), shape=(dst.size - 1, src.size - 1))


def _places(edges: Values, points: Values) -> Indices:
    """Return the interval between `edges`, rising or falling, that holds each point; -1 outside."""
    rising = edges if edges[-1] > edges[0] else edges[::-1]
    place = np.searchsorted(rising, points, side="right") - 1
    place[place == edges.size - 1] = -1
    return place if edges[-1] > edges[0] else np.where(place >= 0, edges.size - 2 - place, -1)
