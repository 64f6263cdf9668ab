# SPDX-License-Identifier: Apache-2.0
"""Weight files that are made once: rank 0 makes them, all later runs read them.

The name of a file holds a hash of everything that its weights depend on, and the file holds it again with a check sum
of its links, so that a file that is damaged, or is another one's under this name, is noticed and made anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.parallel import broadcast, rank_of, together
from coupler_plugin.regrid.grids import Grid
from coupler_plugin.regrid.weight_files import WeightFile, write_weights
from coupler_plugin.regrid.weights import Recipe, recipe

if TYPE_CHECKING:
    from mpi4py import MPI

logger = logging.getLogger("coupler_plugin")

_LAYOUT = 1  # of the files; raised when older ones must not be used any more


def weights_file(
    folder: Path,
    src: Grid | None,
    dst: Grid | None,
    method: str,
    *,
    comm: MPI.Comm | None = None,
    file: Path | None = None,
    **settings: Any,
) -> Path:
    """Return the path of a file with the weights between two grids; make it if the cache has none. A collective call.

    Parameters
    ----------
    folder : Path
        The cache; made if it is missing.
    src, dst : Grid
        Looked at on rank 0 only; None elsewhere.
    method : str
    comm : mpi4py.MPI.Comm or None
    file : Path, optional
        A weight file made elsewhere, which is checked against the grids and used as it is.
    **settings
        `engine`, `edges`, `extrapolate` and `timeout` of `weights.make_weights`.

    Raises
    ------
    CouplerError
        What `make_weights` raises, IO for files that cannot be read or written, CELLS for a `file` that was made for
        other grids; on every rank.
    """
    if rank_of(comm) != 0:
        path = together(comm, lambda: None)
    elif src is None or dst is None:
        path = together(comm, partial(_missing))
    elif file is not None:
        path = together(comm, partial(_given, file, src, dst))
    else:
        path = together(comm, partial(_cached, folder, src, dst, method, settings))
    return broadcast(comm, path)


def _missing() -> Path:
    raise CouplerError(Status.INTERNAL, "weights_file needs both grids on rank 0.")


def _given(file: Path, src: Grid, dst: Grid) -> Path:
    with WeightFile(file) as weights:
        weights.check_grids(src, dst)
        for side, grid in (("a", src), ("b", dst)):
            weights.check_ids(side, grid)
        for links in weights.slabs():
            weights.check_places(links, src, dst)
    return file


def _cached(folder: Path, src: Grid, dst: Grid, method: str, settings: dict[str, Any]) -> Path:
    how = recipe(src, dst, method, **settings)
    key = key_of(how)
    path = folder / f"{method}_{key[:16]}.nc"
    if path.exists() and _is_sound(path, key):
        return path
    write_weights(path, how.make(), key=key)
    return path


def key_of(how: Recipe) -> str:
    """Return a hash of both grids, the method, its options, and the engine with its version."""
    parts = {**how.description(), "layout": _LAYOUT, "src": how.request.src.digest(), "dst": how.request.dst.digest()}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _is_sound(path: Path, key: str) -> bool:
    """Return whether a file is whole and made for this key; say so in the log if it is not."""
    try:
        with WeightFile(path) as weights:
            if weights.attributes.get("key") != key:
                logger.warning("weight file '%s' was not made for these grids; it is made again.", path)
                return False
            for _ in weights.slabs():
                pass
    except CouplerError as error:
        logger.warning("%s That is done now.", error)
        return False
    return True
