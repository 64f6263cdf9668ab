# SPDX-License-Identifier: Apache-2.0
"""One function for each call of the C header: handles become couplers, exceptions become a status and a sentence.

No exception leaves this file. Each function answers `OK`, which is never 0: cffi gives zeros where Python could not be
called at all, and that must not look like success. `step` is the only one that a host calls often, and does nothing
but step.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from coupler_plugin.bridge import arrays, mpi
from coupler_plugin.config import load_config
from coupler_plugin.coupler import Coupler
from coupler_plugin.errors import CouplerError, Status, explain

if TYPE_CHECKING:
    from mpi4py import MPI

#: `COUPLER_PYTHON_OK` of fortran_bridge/src/internal.h
OK = 0x600D

logger = logging.getLogger("coupler_plugin")

_ffi: Any = None
_inference = torch.inference_mode()
_couplers: dict[int, Coupler] = {}
_comms: dict[int, MPI.Comm] = {}
_steps: dict[int, Callable[[], None]] = {}
_messages: dict[int, str] = {}


def connect(ffi: Any) -> None:
    """Make the functions of this file those that the library calls; its initialisation code does this once."""
    global _ffi
    _ffi = ffi
    for function in (init, set_cells, bind, step, step_begin, step_end, write_restart, finalize, message):
        ffi.def_extern(name=f"coupler_python_{function.__name__}")(function)


def init(handle: int, config: Any, comm: Any, start: Any, dt: float, abort_on_error: Any) -> int:
    """Make the coupler `handle`, and say which policy its YAML file asks for."""
    path = Path()
    try:
        _inference.__enter__()  # for this thread of the host, once and for good: a step then need not say so
        path = Path(_text(config)).absolute()  # the host may go to another folder later
        own = None if comm == _ffi.NULL else mpi.communicator(comm[0])
        coupler = Coupler(path, comm=own, start=_text(start), dt=dt)
        _couplers[handle] = coupler
        _steps[handle] = coupler.step
        if own is not None:
            _comms[handle] = own
        abort_on_error[0] = coupler.config.on_error == "abort"
    except BaseException as error:
        abort_on_error[0] = _aborts(path)
        return _fail(handle, error)
    return OK


def set_cells(handle: int, ids: Any, lon: Any, lat: Any, area: Any, corner_lon: Any, corner_lat: Any) -> int:
    """Hand the cells of this rank to the coupler, which copies them."""
    optional = (("area", area), ("corner_lon", corner_lon), ("corner_lat", corner_lat))
    try:
        _couplers[handle].set_cells(
            arrays.view(_ffi, ids, "id"),
            arrays.view(_ffi, lon, "lon"),
            arrays.view(_ffi, lat, "lat"),
            *(None if array == _ffi.NULL else arrays.view(_ffi, array, name) for name, array in optional),
        )
    except BaseException as error:
        return _fail(handle, error)
    return OK


def bind(handle: int, name: Any, field: Any, units: Any, device: int) -> int:
    """Hand a view of the host's array, which may lie on a device, to the coupler, which keeps it."""
    try:
        field_name = _text(name)
        view = (arrays.device_view if device else arrays.view)(_ffi, field, field_name)
        _couplers[handle].bind(field_name, view, None if units == _ffi.NULL else _text(units))
    except BaseException as error:
        return _fail(handle, error)
    return OK


def step(handle: int) -> int:
    """Advance the coupler by one step of the host."""
    try:
        _steps[handle]()
    except BaseException as error:
        return _fail(handle, error, Status.RUN)
    return OK


def step_begin(handle: int) -> int:
    """Do the first half of a step."""
    try:
        _couplers[handle].step_begin()
    except BaseException as error:
        return _fail(handle, error, Status.RUN)
    return OK


def step_end(handle: int) -> int:
    """Do the other half of a step."""
    try:
        _couplers[handle].step_end()
    except BaseException as error:
        return _fail(handle, error, Status.RUN)
    return OK


def write_restart(handle: int) -> int:
    """Write a restart of the present time."""
    try:
        _couplers[handle].write_restart()
    except BaseException as error:
        return _fail(handle, error)
    return OK


def finalize(handle: int) -> int:
    """End the coupler and forget it, whether that goes well or not."""
    try:
        del _steps[handle]
        coupler, comm = _couplers.pop(handle), _comms.pop(handle, None)
        if comm is not None:
            mpi.require_running()
        coupler.finalize()
        if comm is not None:
            mpi.release(comm)
        if sys.stdout is not None:  # as it is in a host that has closed its own
            sys.stdout.flush()  # the host's Python ends without its own end, which would do this
    except BaseException as error:
        return _fail(handle, error)
    return OK


def message(handle: int, buffer: Any, length: int) -> int:
    """Copy the sentence of the last error of a coupler; return the length of the whole."""
    text = _messages.get(handle, "").encode(errors="backslashreplace")  # a host's own text need not be UTF-8
    if length > 0:
        part = text[: length - 1]
        _ffi.memmove(buffer, part + b"\0", len(part) + 1)
    return len(text)


def _text(string: Any) -> str:
    return str(_ffi.string(string), encoding="utf-8", errors="surrogateescape").strip()


def _aborts(path: Path) -> bool:
    """Return whether a YAML file asks for the end of the job; one that cannot be read asks for nothing."""
    try:
        return load_config(path).on_error == "abort"
    except CouplerError:
        return False


def _fail(handle: int, error: BaseException, otherwise: Status = Status.INTERNAL) -> int:
    """Keep the sentence of an error for the host and return its status; log the traceback of an unexpected one."""
    status, sentence = explain(error, otherwise)
    if isinstance(error, CouplerError | MemoryError):
        logger.debug("%s", sentence, exc_info=error)
    else:
        sentence += " (the traceback is in the log)."
        logger.error("an unexpected exception in coupler %d:", handle, exc_info=error)
    _messages[handle] = sentence
    return int(status)
