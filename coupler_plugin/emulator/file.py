# SPDX-License-Identifier: Apache-2.0
"""What an emulator file is to the rest of the plugin, whatever its format."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from coupler_plugin.emulator.fusing import Fused
from coupler_plugin.emulator.manifest import Manifest
from coupler_plugin.errors import CouplerError, Status

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class EmulatorFile:
    """An emulator as read from its file.

    Attributes
    ----------
    forward : callable
        The network, without the layers that Python puts around a module's call.
    sha256 : str
        Hash of the file.
    fused : sequence of Fused
        The same in fewer operations, the best one first, to be used where it gives the same bits.
    draws : bool
        Whether each call draws random numbers.
    is_seeded : bool
        Whether `forward` seeds them itself.
    block : int, optional
        The only block that it runs in, for a package that was compiled for one.
    """

    path: Path
    manifest: Manifest
    forward: Callable[..., Any]
    sha256: str
    fused: Sequence[Fused] = ()
    draws: bool = False
    is_seeded: bool = False
    block: int | None = None


@dataclass(frozen=True)
class Asked:
    """How an emulator is to run.

    Attributes
    ----------
    dropout : bool
        Keep the dropout of the module active, as in training.
    device : str
        Where the module runs: what `device.choose` gave this rank.
    precision : "float32" or "bfloat16"
        Of its products.
    is_known : bool
        Whether the hash of the file was asked for, and is the right one.
    """

    dropout: bool = False
    device: str = "cpu"
    precision: Precision = "float32"
    is_known: bool = False


@dataclass(frozen=True)
class Found:
    """The bytes of a file whose archive is whole, with its manifest."""

    path: Path
    data: bytes
    archive: Archive
    manifest: Manifest
    sha256: str


@dataclass(frozen=True)
class Format:
    """A kind of emulator files.

    Attributes
    ----------
    what : str
        What such a file is, for errors.
    mark : str
        How the name of a part ends that every such file has.
    remedy : str
        What makes one.
    describer : str
        What makes one with a manifest.
    read : callable
        Makes a network that can be called of what was found.
    """

    what: str
    mark: str
    remedy: str
    describer: str
    read: Callable[[Found, Asked], EmulatorFile]


class Archive:
    """The archive that a file of any format is: a zip file with what was added in ``extra/``.

    Raises
    ------
    CouplerError
        MODEL, when it is none, or a part of it has changed since it was written: torch itself does not look.
    """

    def __init__(self, path: Path, data: bytes, kind: Format) -> None:
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
            damaged = self._zip.testzip()
            if damaged is None and not any(name.endswith(kind.mark) for name in self._zip.namelist()):
                raise ValueError(f"it has no part '{kind.mark}'")
        except (
            zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, OSError, RuntimeError,
        ) as error:  # fmt: skip
            raise CouplerError(
                Status.MODEL, f"'{path}' is not {kind.what} ({first_line(error)}); {kind.remedy}."
            ) from error
        if damaged is not None:
            raise CouplerError(
                Status.MODEL, f"'{path}' is damaged: the check sum of its part '{damaged}' does not fit; copy it again."
            )

    def text(self, name: str) -> str:
        """Return a text of the archive; empty where it has none of that name."""
        return self.extra(name).decode(errors="replace")

    def extra(self, name: str) -> bytes:
        """Return something else of the archive; empty where it has nothing of that name."""
        found = next((entry for entry in self._zip.namelist() if entry.partition("/")[2] == f"extra/{name}"), None)
        return self._zip.read(found) if found else b""


def first_line(error: Exception) -> str:
    """Return what an error of torch says first, without its full stop."""
    return str(error).strip().partition("\n")[0].rstrip(".")


def last_line(error: Exception) -> str:
    """Return the cause that an error of TorchScript names after its places in the module, without a full stop."""
    return (str(error).strip().rpartition("\n")[2].strip() or type(error).__name__).rstrip(".")
