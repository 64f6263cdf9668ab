# SPDX-License-Identifier: Apache-2.0
"""Grids from a line of YAML or of a command: `latlon: 0.25`, `gaussian: 48`, or a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coupler_plugin.errors import CouplerError, Status, nearest
from coupler_plugin.regrid.grid_files import read_grid
from coupler_plugin.regrid.grids import Grid
from coupler_plugin.regrid.makers import gaussian, latlon

_KINDS = ("latlon", "gaussian", "file")


def make_grid(description: str | Mapping[str, Any], folder: Path | None = None) -> Grid:
    """Return the grid of a description.

    Parameters
    ----------
    description : str or mapping
        ``{"latlon": 0.25}``, with ``region: [west, first latitude, east, last latitude]`` if it is not the globe from
        0 degrees east and the south; ``{"gaussian": 48}``, the number of latitudes; ``{"file": path}`` and what
        `grid_files.read_grid` takes. As text: ``latlon:0.25``, ``gaussian:48`` or a path.
    folder : Path, optional
        What a relative path is relative to.

    Raises
    ------
    CouplerError
        CONFIG for a description that cannot be read, IO and CELLS for files.
    """
    entry = _parse(description) if isinstance(description, str) else dict(description)
    kinds = [kind for kind in _KINDS if kind in entry]
    if len(kinds) != 1:
        raise CouplerError(
            Status.CONFIG, f"a grid is described by one of {', '.join(_KINDS)}; this one has {sorted(entry) or 'none'}."
        )
    value = entry.pop(kinds[0])
    allowed = {"latlon": ("region",), "gaussian": (), "file": ("mask", "lon", "lat", "bounds", "whole")}[kinds[0]]
    for name in entry:
        if name not in allowed:
            raise CouplerError(
                Status.CONFIG,
                f"a grid given by '{kinds[0]}' has no '{name}'; allowed: {', '.join(allowed) or 'nothing else'}."
                f"{nearest(name, allowed)}",
            )
    if kinds[0] == "file":
        return read_grid((folder or Path()) / Path(value), **entry)
    try:
        return latlon(float(value), **entry) if kinds[0] == "latlon" else gaussian(int(value))
    except (TypeError, ValueError):
        raise CouplerError(Status.CONFIG, f"'{kinds[0]}: {value}' is not a number.") from None


def _parse(text: str) -> dict[str, Any]:
    kind, colon, value = text.partition(":")
    return {kind.strip(): value.strip()} if colon and kind.strip() in _KINDS else {"file": text}
