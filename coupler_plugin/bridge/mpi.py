# SPDX-License-Identifier: Apache-2.0
"""The host's communicator as one of mpi4py, after checking that both use the same MPI.

mpi4py's wheels hold one extension module for each MPI ABI. Loading the wrong one is a crash, not an exception, so what
fits is found out before it is imported. MPI belongs to the host: it is neither started nor ended here, and the error
handlers of the host's communicators stay as they are.
"""

from __future__ import annotations

import ctypes
import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from coupler_plugin import meeting
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.meeting import await_request

if TYPE_CHECKING:
    from mpi4py import MPI

MAX_LIBRARY_VERSION_STRING = 8192


def communicator(handle: int) -> MPI.Comm:
    """Return a duplicate of the host's communicator; its errors are exceptions.

    Parameters
    ----------
    handle : int
        Fortran handle of the communicator.

    Raises
    ------
    CouplerError
        MPI, when MPI is not running, mpi4py is missing or made for another MPI, or the handle names nothing.
    """
    host = ctypes.CDLL(None)
    if not hasattr(host, "MPI_Get_library_version"):
        raise _error("the host gave a communicator, but no MPI library is loaded; leave 'comm' out in a serial host")
    if not _is_running(host):
        raise _error(
            "the host gave a communicator, but MPI is not running; call init between MPI_Init and MPI_Finalize"
        )
    version = _library_version(host)
    if "mpi4py.MPI" not in sys.modules:
        _check_abi(_abi_of_host(host), version)

    import mpi4py

    mpi4py.rc.initialize = False
    mpi4py.rc.finalize = False
    mpi4py.rc.errors = "default"
    from mpi4py import MPI

    own = MPI.Get_library_version().strip("\0\n ")
    if own != version:
        raise _error(f"the host runs '{_first_line(version)}', but mpi4py has loaded '{_first_line(own)}'; {_REMEDY}")
    comm = MPI.Comm.f2py(handle)
    if comm == MPI.COMM_NULL:
        raise _error(
            f"the communicator {handle} that the host gave names nothing; give a communicator such as MPI_COMM_WORLD"
        )
    duplicate, request = comm.Idup()  # a collective call: a rank that stays away is named
    await_request(comm, request, "init", meeting.PATIENCE)
    duplicate.Set_errhandler(MPI.ERRORS_RETURN)
    return duplicate


def release(comm: MPI.Comm) -> None:
    """Give the duplicate back; a collective call."""
    comm.Free()


def require_running() -> None:
    """Raise CouplerError MPI after MPI_Finalize, where any MPI call would end the process."""
    if not _is_running(ctypes.CDLL(None)):
        raise _error("MPI has ended already; call finalize before MPI_Finalize")


_REMEDY = "install mpi4py with the host's MPI: pip install --no-cache-dir --no-binary mpi4py mpi4py"


def _error(reason: str) -> CouplerError:
    return CouplerError(Status.MPI, f"MPI does not fit: {reason}.")


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def _is_running(host: ctypes.CDLL) -> bool:
    begun, ended = ctypes.c_int(), ctypes.c_int()
    host.MPI_Initialized(ctypes.byref(begun))
    host.MPI_Finalized(ctypes.byref(ended))
    return bool(begun.value) and not ended.value


def _library_version(host: ctypes.CDLL) -> str:
    text, length = ctypes.create_string_buffer(MAX_LIBRARY_VERSION_STRING), ctypes.c_int()
    host.MPI_Get_library_version(text, ctypes.byref(length))
    return text.value.decode(errors="replace").strip("\0\n ")


def _abi_of_host(host: ctypes.CDLL) -> str:
    """Return the ABI by mpi4py's name for it: that of Open MPI, of MPICH and its kin, or MPI 5's own."""
    if hasattr(host, "ompi_mpi_comm_world"):
        return "openmpi"
    return "mpiabi" if hasattr(host, "MPI_Abi_get_version") else "mpich"


def _check_abi(abi: str, version: str) -> None:
    """Check that importing mpi4py will load an extension module for the host's ABI."""
    package = find_spec("mpi4py")
    if package is None or not package.submodule_search_locations:
        raise _error(f"mpi4py is not installed for {sys.executable}; {_REMEDY}")
    modules = _modules(Path(package.submodule_search_locations[0]))
    host = f"the host runs '{_first_line(version)}'"
    if abi not in modules:
        raise _error(
            f"{host}, but mpi4py in {package.submodule_search_locations[0]} is for {' and '.join(modules)}; {_REMEDY}"
        )
    asked = os.environ.get("MPI4PY_MPIABI", "").lower().replace("-", "").replace(" ", "")
    if len(modules) > 1 and asked and asked.replace("impi", "mpich") != abi:
        raise _error(f"{host}, but MPI4PY_MPIABI asks mpi4py for '{asked}'; unset it, or set it to '{abi}'")


def _modules(folder: Path) -> dict[str, Path]:
    """Return the extension modules of mpi4py by their ABI."""
    modules = {}
    for path in sorted(folder.glob("MPI*")):
        suffix = next((suffix for suffix in EXTENSION_SUFFIXES if path.name.endswith(suffix)), None)
        if suffix is None:
            continue
        abi = path.name.removeprefix("MPI").removesuffix(suffix).lstrip(".")
        # One that was built on this machine does not say; what it imports does.
        modules[abi or ("openmpi" if b"ompi_mpi_comm_world" in path.read_bytes() else "mpich")] = path
    return modules
