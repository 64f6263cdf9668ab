# SPDX-License-Identifier: Apache-2.0
"""Emulators as TorchScript: the format that runs on any machine, in blocks of any size."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any, Final

import torch

from coupler_plugin.emulator.dense import dense
from coupler_plugin.emulator.device import CPU, InBfloat16, OnDevice
from coupler_plugin.emulator.file import Asked, EmulatorFile, Format, Found, first_line
from coupler_plugin.emulator.fusing import fuse
from coupler_plugin.errors import CouplerError, Status

_DRAWING: Final = re.compile(
    r"aten::(rand\w*|normal_?|bernoulli_?|multinomial|poisson|uniform_|exponential_|log_normal_|cauchy_|geometric_"
    r"|\w*dropout_?|rrelu\w*)"
)
#: what draws only where this of its arguments says that it is trained
_TRAINED: Final = {"dropout": 2, "rrelu": 3}


def read(found: Found, asked: Asked) -> EmulatorFile:
    """Return the frozen module.

    Raises
    ------
    CouplerError
        MODEL, when torch cannot read it.
    """
    path = found.path
    module = module_of(found, asked.device)
    if asked.dropout:
        _activate_dropout(module, path)
        forward = module._c._get_method("forward")
    else:
        forward = method_of(module)
    draws = asked.dropout or draws_numbers(forward.graph)
    if asked.device != CPU or asked.precision != "float32":
        call = forward if asked.precision == "float32" else InBfloat16(forward, asked.device)
        is_fixed = not draws and keeps_nothing(forward.graph)
        call = call if asked.device == CPU else OnDevice(call, asked.device, is_fixed)
        return EmulatorFile(path, found.manifest, call, found.sha256, draws=draws)
    ways = [] if draws else [*filter(None, [dense(forward)]), *fuse(forward)]
    return EmulatorFile(path, found.manifest, forward, found.sha256, ways, draws)


FORMAT: Final = Format(
    what="a TorchScript file",
    mark="constants.pkl",
    remedy="save it with torch.jit.save",
    describer="save it with coupler_plugin.emulator.manifest.save",
    read=read,
)


def module_of(found: Found, device: str = CPU) -> Any:
    """Return the module of a file, set to use instead of training."""
    try:
        module = torch.jit.load(io.BytesIO(found.data), map_location=device)  # type: ignore[no-untyped-call]
    except Exception as error:  # torch raises many kinds for a file that is no archive
        raise CouplerError(
            Status.MODEL, f"'{found.path}' is not {FORMAT.what} ({first_line(error)}); {FORMAT.remedy}."
        ) from error
    if getattr(module, "training", False):
        module.eval()
    return module


def method_of(module: Any) -> Any:
    """Return what a module computes, with its numbers as constants."""
    if hasattr(module, "training"):  # a module that was saved frozen has lost the attribute
        module = torch.jit.freeze(module)
    return module._c._get_method("forward")


def draws_numbers(graph: Any) -> bool:
    """Return whether a module draws random numbers, as far as the operations of its frozen graph tell."""
    kinds = {match[0] for match in _DRAWING.finditer(str(graph))}
    return any(_is_active(node) for kind in kinds for node in graph.findAllNodes(kind))


def keeps_nothing(graph: Any) -> bool:
    """Return whether a module, once frozen, has nothing left that a call could change or find changed."""
    return not next(graph.inputs()).uses()


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
