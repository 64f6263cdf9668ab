# SPDX-License-Identifier: Apache-2.0
"""A list of sites, and the place of the forcing that is nearest to each."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree  # type: ignore[import-untyped]

from coupler_plugin.driver.domain import EARTH_RADIUS, Domain
from coupler_plugin.errors import CouplerError, Status


@dataclass(frozen=True)
class Sites:
    """Sites of a CSV file, in its order.

    Attributes
    ----------
    lon, lat : float64 arrays, shape (sites,)
        [degrees_east, degrees_north]
    """

    lon: NDArray[np.float64]
    lat: NDArray[np.float64]


def read_sites(path: Path) -> Sites:
    """Return the sites of a CSV file with the columns lat and lon.

    Raises
    ------
    CouplerError
        IO or CELLS, when the file cannot be read or has other columns, no rows, or no numbers in them.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError) as error:
        raise CouplerError(Status.IO, f"cannot read the sites '{path}': {error}.") from error
    try:
        lon, lat = (np.array([float(row[name]) for row in rows]) for name in ("lon", "lat"))
    except (KeyError, TypeError, ValueError) as error:
        raise CouplerError(
            Status.CELLS, f"the sites '{path}' need the columns lat and lon with a number in each row ({error})."
        ) from error
    if not rows:
        raise CouplerError(Status.CELLS, f"the file of sites '{path}' has no rows.")
    return Sites(lon, lat)


def nearest(sites: Sites, domain: Domain, places: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return which of the places is nearest to each site, and how far it is [m]; shapes (sites,)."""
    tree = KDTree(_on_sphere(domain.lon[places], domain.lat[places]))
    chord, found = tree.query(_on_sphere(sites.lon, sites.lat))
    return places[found], 2.0 * EARTH_RADIUS * np.arcsin(np.minimum(chord / 2.0, 1.0))


def _on_sphere(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float64]:
    east, north = np.deg2rad(lon), np.deg2rad(lat)
    points: NDArray[np.float64] = np.stack(
        [np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)], axis=1
    )
    return points
