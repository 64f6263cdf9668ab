# SPDX-License-Identifier: Apache-2.0
"""Reading emulator files: one rank touches the disk, every rank gets the module and its manifest."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from coupler_plugin.emulator import kernels
from coupler_plugin.emulator import manifest as manifests
from coupler_plugin.emulator.device import CPU, OnDevice
from coupler_plugin.emulator.fusing import Fused, fuse
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.parallel import broadcast, rank_of, together

if TYPE_CHECKING:
    from mpi4py import MPI


_DRAWING: Final = re.compile(
    r"aten::(rand\w*|normal_?|bernoulli_?|multinomial|poisson|uniform_|exponential_|log_normal_|cauchy_|geometric_"
    r"|\w*dropout_?|rrelu\w*)"
)
#: what draws only where this of its arguments says that it is trained
_TRAINED: Final = {"dropout": 2, "rrelu": 3}


@dataclass(frozen=True)
class EmulatorFile:
    """An emulator as read from its file.

    Attributes
    ----------
    forward : callable
        The frozen module's `forward`, without the layers that Python puts around a module's call.
    sha256 : str
        Hash of the file.
    fused : Fused, optional
        The same in fewer operations, to be used where it gives the same bits.
    draws : bool
        Whether each call draws random numbers.
    is_seeded : bool
        Whether `forward` seeds them itself.
    """

    path: Path
    manifest: manifests.Manifest
    forward: Callable[..., Any]
    sha256: str
    fused: Fused | None = None
    draws: bool = False
    is_seeded: bool = False


def load(
    path: Path,
    comm: MPI.Comm | None = None,
    expected: str | None = None,
    dropout: bool = False,
    device: str = CPU,
) -> EmulatorFile:
    """Read an emulator file on rank 0, hand it to all ranks and load it on each.

    Parameters
    ----------
    expected : str, optional
        The SHA-256 that the file must have; it is compared before anything of the file is read.
    dropout : bool
        Keep the dropout of the module active, as in training.
    device : str
        Where the module runs: what `device.choose` gave this rank.

    Raises
    ------
    CouplerError
        MODEL on every rank, when the file is missing, another than expected, no TorchScript archive, or without a
        manifest.
    """
    kernels.settle()
    data = together(comm, lambda: _read(path, expected) if rank_of(comm) == 0 else b"")
    data = broadcast(comm, data)
    with torch.inference_mode():  # parameters made here carry nothing of autograd into a step
        return together(comm, lambda: _load(path, data, dropout, device))


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


def _load(path: Path, data: bytes, dropout: bool, device: str) -> EmulatorFile:
    _check_sums(path, data)
    extra = {manifests.ENTRY: ""}
    try:
        module = torch.jit.load(io.BytesIO(data), map_location=device, _extra_files=extra)  # type: ignore[no-untyped-call]
    except Exception as error:  # torch raises many kinds for a file that is no archive
        raise CouplerError(
            Status.MODEL,
            f"'{path}' is not a TorchScript file ({_first_line(error)}); save it with torch.jit.save.",
        ) from error
    if not extra[manifests.ENTRY]:
        raise CouplerError(
            Status.MODEL,
            f"'{path}' carries no manifest; save it with coupler_plugin.emulator.manifest.save, which writes one.",
        )
    manifest = manifests.parse(extra[manifests.ENTRY], str(path))
    if getattr(module, "training", False):
        module.eval()
    if dropout:
        _activate_dropout(module, path)
    elif hasattr(module, "training"):  # a module that was saved frozen has lost the attribute
        module = torch.jit.freeze(module)
    forward = module._c._get_method("forward")
    draws = dropout or _draws(forward.graph)
    digest = hashlib.sha256(data).hexdigest()
    if device != CPU:
        return EmulatorFile(path, manifest, OnDevice(forward, device), digest, None, draws)
    return EmulatorFile(path, manifest, forward, digest, None if draws else fuse(forward), draws)


def _draws(graph: Any) -> bool:
    """Return whether a module draws random numbers, as far as its operations tell."""
    kinds = {match[0] for match in _DRAWING.finditer(str(graph))}
    return any(_is_active(node) for kind in kinds for node in graph.findAllNodes(kind))


def _is_active(node: Any) -> bool:
    """Return whether an operation draws; dropout that is not trained does not."""
    place = next((place for name, place in _TRAINED.items() if name in node.kind()), None)
    return place is None or [*node.inputs()][place].toIValue() is not False


def _activate_dropout(module: Any, path: Path) -> None:
    layers = [layer for layer in module.modules() if "Dropout" in layer.original_name]
    if not layers:
        raise CouplerError(
            Status.MODEL,
            f"the emulator '{path}' has no dropout that could be active: it was trained without, or saved frozen.",
        )
    for layer in layers:
        layer.train()


def _check_sums(path: Path, data: bytes) -> None:
    """Check that no part of the archive has changed since it was written; torch itself does not look."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, OSError, RuntimeError) as error:
        raise CouplerError(
            Status.MODEL,
            f"'{path}' is not a TorchScript file ({_first_line(error)}); save it with torch.jit.save.",
        ) from error
    if damaged is not None:
        raise CouplerError(
            Status.MODEL, f"'{path}' is damaged: the check sum of its part '{damaged}' does not fit; copy it again."
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
