# SPDX-License-Identifier: Apache-2.0
"""Emulators as packages of native code: what `coupler-plugin compile` made of a TorchScript file, for one machine.

Native code can do anything, and does what it was compiled for only where it was: a package is loaded with its hash in
the coupling file, by the same torch, on a processor that has all instructions of the one that made it. Where the
products of this library were faster than the compiler's, it holds the layers for these instead (`dense.py`).
"""

from __future__ import annotations

import json
import platform
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from coupler_plugin.emulator import torchscript
from coupler_plugin.emulator.dense import dense
from coupler_plugin.emulator.device import CPU, OnDevice
from coupler_plugin.emulator.file import Asked, EmulatorFile, Format, Found, first_line
from coupler_plugin.errors import CouplerError, Status

ENTRY: Final = "compiled.json"
#: the original, of which a package of layers has these
LAYERS: Final = "layers.pt"
_CPUINFO: Final = Path("/proc/cpuinfo")
#: what compilers make use of, among all that Linux says about an x86 processor
_INSTRUCTIONS: Final = re.compile(
    r"sse|ssse|avx|amx|fma|f16c|bmi|abm|adx|aes|vaes|gfni|pclmul|vpclmul|popcnt|movbe|sha_ni"
)


class Difference(BaseModel):
    """How the answers of a package differ from those of its original, on rows drawn from the training statistics.

    `largest` is in the units of the output, or of the state; `relative` is the same over their standard deviation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    largest: float
    relative: float


class Making(BaseModel):
    """How a package was made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    original: str = Field(description="name of the TorchScript file")
    original_sha256: str
    block: int = Field(ge=1)
    dtype: str = Field(description="type of the products")
    device: str = Field(description="cpu, or the kind of GPU")
    torch: str
    machine: str = Field(description="kind of processor")
    instructions: list[str]
    tolerance: float = Field(description="largest relative difference that was accepted")
    rows: int = Field(description="rows that were compared")
    differences: list[Difference]
    sums: list[int] | None = Field(default=None, description="of its layers, where it holds those")


class Package:
    """Calls a package; its answers are new tensors."""

    def __init__(self, loaded: Any) -> None:
        self._kept, self._run = loaded, loaded.loader.run

    def __call__(self, *arguments: torch.Tensor) -> Any:
        """Return the outputs, or outputs and state."""
        answers = self._run(list(arguments))
        return answers[0] if len(answers) == 1 else tuple(answers)


def read(found: Found, asked: Asked) -> EmulatorFile:
    """Return the package, once it is known to be meant for this run and this machine.

    Raises
    ------
    CouplerError
        MODEL, when its hash was not asked for, or something of the machine is another than it was compiled for.
    """
    path, making = found.path, making_of(found)
    if not asked.is_known:
        raise CouplerError(
            Status.MODEL,
            f"'{path}' is compiled, and a package is only run where its hash is named: write 'sha256: {found.sha256}' "
            "beside 'model:' if you trust who compiled it.",
        )
    if asked.dropout:
        raise CouplerError(
            Status.MODEL, f"'{path}' is compiled, without its dropout; take {making.original}, which it was made from."
        )
    if asked.precision not in ("float32", making.dtype):
        raise CouplerError(
            Status.MODEL,
            f"'{path}' was compiled for products in {making.dtype}, not in {asked.precision} as 'precision:' says; run "
            f"'coupler-plugin compile' with another --dtype, or take {making.original}.",
        )
    for reason in reasons_against(making, asked.device):
        raise CouplerError(
            Status.MODEL,
            f"'{path}' was compiled {reason}; run 'coupler-plugin compile {making.original} -o {path.name}' here, or "
            f"take {making.original} itself.",
        )
    if making.sums is not None:
        return in_layers(replace(found, data=found.archive.extra(LAYERS)), making.sums)
    package = load_package(path, found.data)
    forward = package if asked.device == CPU else OnDevice(package, asked.device)
    return EmulatorFile(path, found.manifest, forward, found.sha256, block=making.block)


FORMAT: Final = Format(
    what="a compiled package",
    mark=ENTRY,
    remedy="make it with 'coupler-plugin compile'",
    describer="make it with 'coupler-plugin compile'",
    read=read,
)


def in_layers(original: Found, sums: Sequence[int]) -> EmulatorFile:
    """Return the layers of a TorchScript file, which run in blocks of any size.

    Raises
    ------
    CouplerError
        MODEL, when the file is no such network, or the sums are those of other layers.
    """
    width = original.manifest.n_outputs
    try:
        way = dense(torchscript.method_of(torchscript.module_of(original)), sums)
    except (CouplerError, ValueError):
        way = None
    if way is None:
        raise CouplerError(
            Status.MODEL, f"'{original.path}' does not hold the layers that it says it has; {FORMAT.remedy}."
        )

    def forward(x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = way.call(x, *way.memory(len(x), width))
        return answer

    return EmulatorFile(original.path, original.manifest, forward, original.sha256, [way])


def making_of(found: Found) -> Making:
    """Return how a package was made.

    Raises
    ------
    CouplerError
        MODEL, when it does not say.
    """
    try:
        return Making.model_validate(json.loads(found.archive.text(ENTRY)))
    except (ValueError, ValidationError) as error:
        raise CouplerError(
            Status.MODEL, f"'{found.path}' does not say how it was compiled ({ENTRY}); {FORMAT.remedy}."
        ) from error


def reasons_against(making: Making, device: str) -> list[str]:
    """Return why a package cannot run here."""
    reasons = []
    if making.torch != torch.__version__:
        reasons.append(f"with torch {making.torch}, and here is torch {torch.__version__}")
    missing = sorted(set(making.instructions) - set(instructions()))
    if missing or platform.machine() != making.machine:
        lacking = f" without {', '.join(missing)}" if missing else ""
        reasons.append(
            f"for a processor ({making.machine}) whose instructions this one ({platform.machine()}{lacking}) lacks"
        )
    if making.device != device.partition(":")[0]:
        reasons.append(f"for the device '{making.device}', and the emulator runs on '{device}'")
    return reasons


def instructions() -> list[str]:
    """Return the instruction sets of this processor that compiled code may use, as Linux names them."""
    text = _CPUINFO.read_text() if _CPUINFO.is_file() else ""
    named = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    names = named[1].split() if named else [torch.backends.cpu.get_cpu_capability()]
    return sorted(name for name in names if platform.machine() != "x86_64" or _INSTRUCTIONS.match(name))


def load_package(path: Path, data: bytes) -> Package:
    """Load the bytes that were checked, and not what the file may hold by now."""
    try:
        with tempfile.TemporaryDirectory(prefix="coupler_plugin_") as folder:  # torch unpacks into one of its own
            copy = Path(folder) / path.name
            copy.write_bytes(data)
            return Package(torch._inductor.aoti_load_package(str(copy)))
    except Exception as error:  # torch raises many kinds
        raise CouplerError(
            Status.MODEL, f"torch cannot load the compiled package '{path}' ({first_line(error)}); {FORMAT.remedy}."
        ) from error
