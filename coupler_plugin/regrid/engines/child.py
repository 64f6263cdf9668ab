# SPDX-License-Identifier: Apache-2.0
"""Runs an engine in a process of its own, so that it can neither stop nor hang a host.

ESMF and YAC start MPI, abort the whole job on an error, and wait for ever when they believe to be part of the host's
mpirun. The child therefore gets an environment without any trace of it, and a time limit.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.regrid.geometry import shared_corners
from coupler_plugin.regrid.grids import Grid

T = TypeVar("T")

#: what MPI libraries and job managers tell the processes that they start
_LAUNCHERS = (
    "OMPI_",
    "OPAL_",
    "ORTE_",
    "PMIX_",
    "PRTE_",
    "PMI_",
    "PMI2_",
    "MPI_",
    "MPIR_",
    "I_MPI_",
    "HYDRA_",
    "HYDI_",
)
_MANAGERS = ("SLURM_", "PBS_", "LSB_", "FLUX_", "PALS_")
_LINES = 15  # of the child's output in an error


def run(script: Path, request: dict[str, Any], result: str, read: Callable[[Path], T], timeout: float) -> T:
    """Run ``python script request.npz result`` and return what `read` makes of the result.

    Parameters
    ----------
    script : Path
        Child program; it imports nothing of the plugin.
    request : dict
        Arrays that it finds in the request file.
    result : str
        Name of the file that it writes.
    read : callable
        Reads that file.
    timeout : float
        Longest time that it may take [s].

    Raises
    ------
    CouplerError
        RUN, with the last lines of the child, when it fails, crashes or takes too long; IO, when there is no room for
        its files.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="coupler_plugin_") as name:
            folder = Path(name)
            np.savez(folder / "request.npz", **request)
            _run(script, folder, result, timeout)
            return read(folder / result)
    except OSError as error:
        raise CouplerError(Status.IO, f"engine {script.stem}: its files in {tempfile.gettempdir()}: {error}") from error


def _run(script: Path, folder: Path, result: str, timeout: float) -> None:
    # -P: the folder of the script holds modules with the names of the libraries that the child imports.
    command = [sys.executable, "-P", str(script), str(folder / "request.npz"), str(folder / result)]
    with (folder / "output").open("wb") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=clean_environment(),
            start_new_session=True,
        )
        try:
            code: int | None = child.wait(timeout)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(child)
    if code == 0 and (folder / result).exists():
        return
    if code is None:
        what = f"did not finish within {timeout:g} s"
    elif code < 0:
        what = f"was killed by {signal.Signals(-code).name}"
    else:
        what = f"failed with exit code {code}" if code else "wrote no weights"
    lines = (folder / "output").read_text(errors="replace").strip().splitlines()[-_LINES:]
    said = "\n  ".join(["; its last words:", *lines]) if lines else ", without a word."
    name = script.stem.strip("_").removesuffix("_child")
    raise CouplerError(
        Status.RUN,
        f"the process that makes weights with {name} {what}{said}\nTake another engine, a longer time limit, or "
        "a weight file made elsewhere.",
    )


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the child and what it started, all of which is in its own process group."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def clean_environment() -> dict[str, str]:
    """Return this process's environment without what an MPI launcher or a job manager has put there."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(_LAUNCHERS + _MANAGERS)},
        "OMP_NUM_THREADS": "1",
    }


def write_request(grid: Grid, side: str) -> dict[str, Any]:
    """Return a grid as arrays of a request, each name beginning with `side`.

    Corners are given once (`node_lon`, `node_lat` [degrees]) and cells as lists of them (`counts`, `connectivity`).
    """
    arrays: dict[str, Any] = {
        "lon": grid.lon,
        "lat": grid.lat,
        "mask": grid.mask.astype(np.int32),
        "shape": np.array(grid.shape),
        "periodic": grid.periodic,
        "rectilinear": grid.is_rectilinear,
    }
    if grid.corner_lon is not None and grid.corner_lat is not None:
        node_lon, node_lat, connectivity = shared_corners(grid.corner_lon, grid.corner_lat)
        distinct = connectivity != np.roll(connectivity, 1, axis=1)
        arrays |= {
            "node_lon": node_lon,
            "node_lat": node_lat,
            "counts": distinct.sum(axis=1).astype(np.int32),
            "connectivity": connectivity[distinct].astype(np.int32),
        }
    return {f"{side}_{name}": values for name, values in arrays.items()}
