# SPDX-License-Identifier: Apache-2.0
"""Reading emulator files: one rank touches the disk, every rank gets the network and its manifest.

What a file is, its ending tells; a further format is one file beside `torchscript.py` and a line in `FORMATS`.
"""

from __future__ import annotations

import hashlib
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch

from coupler_plugin.emulator import compiled, kernels, torchscript
from coupler_plugin.emulator import manifest as manifests
from coupler_plugin.emulator.device import CPU
from coupler_plugin.emulator.file import Archive, Asked, EmulatorFile, Format, Found, Precision
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.parallel import broadcast, rank_of, together

if TYPE_CHECKING:
    from mpi4py import MPI

__all__ = ["FORMATS", "EmulatorFile", "describe", "load"]

FORMATS: Final[dict[str, Format]] = {".pt": torchscript.FORMAT, ".pt2": compiled.FORMAT}


def load(
    path: Path,
    comm: MPI.Comm | None = None,
    expected: str | None = None,
    dropout: bool = False,
    device: str = CPU,
    precision: Precision = "float32",
) -> EmulatorFile:
    """Read an emulator file on rank 0, hand it to all ranks and load it on each.

    Parameters
    ----------
    expected : str, optional
        The SHA-256 that the file must have; it is compared before anything of the file is read. A compiled package
        is only loaded with it.
    dropout : bool
        Keep the dropout of the module active, as in training.
    device : str
        Where the module runs: what `device.choose` gave this rank.
    precision : "float32" or "bfloat16"
        Of its products.

    Raises
    ------
    CouplerError
        MODEL on every rank, when the file is missing, another than expected, of no format that is known, without a
        manifest, or compiled for another machine.
    """
    kernels.settle()
    data = together(comm, lambda: _read(path, expected) if rank_of(comm) == 0 else b"")
    data = broadcast(comm, data)
    asked = Asked(dropout, device, precision, expected is not None)
    # Parameters that are made here carry nothing of autograd into a step; that TorchScript ages is no news to a user.
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        return together(comm, partial(_load, path, data, asked))


def describe(path: Path) -> Found:
    """Return what an emulator file says about itself; nothing of it is run.

    Raises
    ------
    CouplerError
        MODEL, when it is missing, no archive, or without a manifest.
    """
    return _look(path, _read(path, None))


def _read(path: Path, expected: str | None) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CouplerError(Status.MODEL, f"cannot read the emulator file '{path}': {error.strerror}.") from error
    found = hashlib.sha256(data).hexdigest()
    if expected is not None and found != expected:
        raise CouplerError(
            Status.MODEL,
            f"'{path}' is not the emulator file that is asked for: its sha256 begins with {found[:12]}, the one asked "
            f"for with {expected[:12]}; bring the right file, or write 'sha256: {found}' if the change is meant.",
        )
    return data


def _format(path: Path) -> Format:
    return FORMATS.get(path.suffix, torchscript.FORMAT)


def _look(path: Path, data: bytes) -> Found:
    kind = _format(path)
    archive = Archive(path, data, kind)
    text = archive.text(manifests.ENTRY)
    if not text:
        raise CouplerError(Status.MODEL, f"'{path}' carries no manifest; {kind.describer}, which writes one.")
    return Found(path, data, archive, manifests.parse(text, str(path)), hashlib.sha256(data).hexdigest())


def _load(path: Path, data: bytes, asked: Asked) -> EmulatorFile:
    return _format(path).read(_look(path, data), asked)
