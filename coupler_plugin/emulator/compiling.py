# SPDX-License-Identifier: Apache-2.0
"""Makes packages of native code from TorchScript files: traced, exported, compiled, and compared with the original.

The tracer runs the TorchScript itself, so that its loops and lists are gone from the graph; what it does may therefore
depend on the shapes of its inputs, but not on their values. A network of dense layers, if `dense.py` computes them in
less time than native code, becomes a package of these.
"""

from __future__ import annotations

import platform
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np
import torch
from torch.export.passes import move_to_device_pass
from torch.fx.experimental.proxy_tensor import make_fx

from coupler_plugin.emulator import compiled, kernels, products, torchscript
from coupler_plugin.emulator import manifest as manifests
from coupler_plugin.emulator.compiled import Difference, Making
from coupler_plugin.emulator.dense import dense, freed
from coupler_plugin.emulator.device import CPU, OnDevice
from coupler_plugin.emulator.file import Found, first_line, last_line
from coupler_plugin.emulator.load import describe
from coupler_plugin.emulator.manifest import Manifest
from coupler_plugin.emulator.trial import checked, fastest, gives_same_bits, sample_arguments
from coupler_plugin.errors import CouplerError, Status

#: largest difference from the original that is accepted, in standard deviations of an output
TOLERANCE: Final = {"float32": 1e-4, "bfloat16": 0.1}
#: blocks that are compared, with inputs that the tracer has not seen
_BLOCKS: Final = 4
_INDUCTOR: Final[dict[str, Any]] = {
    "freezing": True,  # weights are constants, laid out as the kernels read them
    "cpp.threads": 1,  # of its loops; products have torch's own (emulator/blocks.py)
    "cpp.vec_isa_ok": True,  # what the processor says is enough: trying takes 7 s
    "aot_inductor.precompile_headers": False,  # they cost 11 s and pay from the third package on
}

Tensors = Sequence[torch.Tensor]


@dataclass(frozen=True)
class Result:
    """What came out: how the package was made, its hash, and the seconds of a block before and after."""

    making: Making
    sha256: str
    seconds: float
    original: float
    compiled: float


def compile_emulator(
    path: Path,
    output: Path,
    block: int,
    dtype: str = "float32",
    device: str = CPU,
    tolerance: float | None = None,
) -> Result:
    """Compile the TorchScript file at `path` for this machine and write the package to `output`.

    Parameters
    ----------
    block : int
        Rows of a column block, as the coupling file has them; pixels for an emulator that sees tiles.
    dtype : str
        Type of the factors of matrix products and convolutions: ``float32``, or ``bfloat16``, which has 8 bits.
    device : str
        ``cpu``, or ``cuda`` for the kind of GPU that is here.
    tolerance : float, optional
        Largest difference from the original in standard deviations of the output; default: that of the dtype.

    Raises
    ------
    CouplerError
        MODEL, when the file cannot be read, traced or compiled, or the package answers otherwise; CONFIG, when the
        device is not here. `output` is then as it was.
    """
    began = perf_counter()
    if output.suffix != ".pt2":
        raise CouplerError(Status.CONFIG, f"a compiled package ends in '.pt2', which '{output.name}' does not.")
    if device != CPU and not torch.cuda.is_available():
        raise CouplerError(
            Status.CONFIG, f"torch {torch.__version__} sees no GPU to compile for; leave '--device {device}' out."
        )
    kernels.settle()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own, about its own
        found = describe(path)
        manifest, module = found.manifest, torchscript.module_of(found)
        forward = torchscript.method_of(module)
        if torchscript.draws_numbers(forward.graph):
            raise CouplerError(
                Status.MODEL,
                f"'{path}' draws random numbers, which a compiled package could not repeat; run it as it is.",
            )
        rows = _rows(manifest, block)
        blocks = _samples(manifest, rows)
        exported, settings = _export(found, module, blocks[0], dtype, device)
        if device != CPU:
            exported = move_to_device_pass(exported, device)
        with tempfile.TemporaryDirectory(prefix=".compiling_", dir=output.parent) as folder:
            package = _build(found, exported, Path(folder) / output.name, settings)
            run, sums = _runner(package, device), None
            if (dtype, device) == ("float32", CPU):
                sums = _sums(found, forward, run, blocks[-1])
            if sums is not None:
                run = _write_layers(package, found, sums)
            differences = _compare(manifest, forward, run, blocks)
            limit = TOLERANCE[dtype] if tolerance is None else tolerance
            _refuse_beyond(limit, differences, path)
            making = Making(
                original=path.name, original_sha256=found.sha256, block=block, dtype=dtype, device=device,
                torch=torch.__version__, machine=platform.machine(), instructions=compiled.instructions(),
                tolerance=limit, rows=rows * len(blocks), differences=differences, sums=sums,
            )  # fmt: skip
            _describe(package, manifest, making)
            as_it_is = _in_layers(found, forward, blocks[-1]) or partial(forward, *blocks[-1])
            made = None if sums is None else _in_layers(found, forward, blocks[-1], sums)
            with torch.inference_mode():
                times = fastest([as_it_is, made or partial(run, *blocks[-1])])
            package.replace(output)
    return Result(making, describe(output).sha256, perf_counter() - began, *times)


def _rows(manifest: Manifest, block: int) -> int:
    """Return the rows of a call: columns, or as many tiles as the block holds."""
    return max(1, block // (manifest.tile.size[0] * manifest.tile.size[1])) if manifest.tile else block


def _samples(manifest: Manifest, rows: int) -> list[Tensors]:
    """Return the arguments of some calls."""
    drawn = [torch.split(tensor, rows) for tensor in sample_arguments(manifest, rows * _BLOCKS)]
    return [[part.clone() for part in parts] for parts in zip(*drawn, strict=True)]


def _export(
    found: Found, module: Any, arguments: Tensors, dtype: str, device: str
) -> tuple[torch.export.ExportedProgram, dict[str, Any]]:
    """Return the network as a graph, and what the compiler must be told."""
    try:
        graph = make_fx(lambda *given: module(*given), tracing_mode="real", pre_dispatch=True)(*arguments)
        settings = _INDUCTOR | products.arrange(graph, dtype, device)
        return torch.export.export(graph, tuple(arguments)), settings
    except Exception as error:  # the interpreter, the tracer and the exporter raise many kinds
        said = str(error)
        reason = "its values decide what it does" if "TorchScript" in said else last_line(error)
        raise CouplerError(
            Status.MODEL,
            f"'{found.path}' cannot be compiled: {reason}; it runs as it is, as TorchScript.",
        ) from error


def _build(found: Found, exported: torch.export.ExportedProgram, path: Path, settings: dict[str, Any]) -> Path:
    try:
        torch._inductor.aoti_compile_and_package(exported, package_path=str(path), inductor_configs=settings)
    except Exception as error:  # the compiler's own among many others
        raise CouplerError(
            Status.MODEL,
            f"'{found.path}' cannot be compiled: {first_line(error)}; see that a C++ compiler (g++ or $CXX) is here, "
            "or run it as it is, as TorchScript.",
        ) from error
    return path


def _runner(path: Path, device: str) -> Callable[..., Any]:
    package = compiled.load_package(path, path.read_bytes())
    return package if device == CPU else OnDevice(package, device)


def _sums(found: Found, forward: Any, run: Callable[..., Any], arguments: Tensors) -> list[int] | None:
    """Return the sums of its layers, where a network is nothing else and products of ours take less time than `run`."""
    sums = freed(forward, len(arguments[0])) if arguments[0].dim() == 2 else []
    way = _in_layers(found, forward, arguments, sums) if any(sums) else None
    if way is None:
        return None
    with torch.inference_mode():
        ours, compilers = fastest([way, partial(run, *arguments)])
    return sums if ours < compilers else None


def _in_layers(
    found: Found, forward: Any, arguments: Tensors, sums: Sequence[int] | None = None
) -> Callable[[], Any] | None:
    """Return a call of a network as layers in memory that was made before; None where it is anything else.

    Without `sums` it must have the bits of the network itself, as in a run.
    """
    way, manifest = dense(forward, sums), found.manifest
    if way is None:
        return None
    memory = way.memory(len(arguments[0]), manifest.n_outputs)

    def answers(call: Callable[..., Any], *into: torch.Tensor) -> list[torch.Tensor]:
        return [answer.clone() for answer in checked(call, arguments, manifest, found.path, into)]

    try:
        whole = answers(way.call, *memory)
    except CouplerError:  # what follows a layer changes its shape, which nothing in its memory can
        return None
    if sums is None and not gives_same_bits(lambda _: whole, answers(forward), [torch.arange(len(arguments[0]))]):
        return None
    return way.on([*arguments, *memory])


def _write_layers(path: Path, found: Found, sums: Sequence[int]) -> Callable[..., Any]:
    """Write a package of layers instead, and return what it computes."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{path.stem}/extra/{compiled.LAYERS}", found.data)
    return compiled.in_layers(found, sums).forward


def _compare(
    manifest: Manifest, original: Callable[..., Any], run: Callable[..., Any], blocks: Sequence[Tensors]
) -> list[Difference]:
    """Return how the outputs, and the state, differ."""
    entries = [(entry.name, entry.size) for part in (manifest.outputs, manifest.state) for entry in part]
    ends = np.cumsum([size for _, size in entries]).tolist()
    expected, found = (np.concatenate([_channels(call(*block)) for block in blocks]) for call in (original, run))
    gaps = np.abs(expected - found)
    gaps[(expected == found) | (np.isnan(expected) & np.isnan(found))] = 0.0
    gaps[np.isnan(gaps)] = np.inf  # only one of them is a number
    largest = gaps.max(axis=0)
    spread = np.nanstd(np.where(np.isfinite(expected), expected, np.nan), axis=0)
    relative = np.divide(largest, spread, out=np.where(largest > 0.0, np.inf, 0.0), where=spread > 0.0)
    return [
        Difference(name=name, largest=largest[end - size : end].max(), relative=relative[end - size : end].max())
        for (name, size), end in zip(entries, ends, strict=True)
    ]


def _channels(answer: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return outputs and state side by side, shape (rows or pixels, channels)."""
    parts = answer if isinstance(answer, tuple | list) else [answer]
    return np.concatenate([np.moveaxis(p.numpy(), 1, -1).reshape(-1, p.shape[1]) for p in parts], axis=1).astype(float)


def _refuse_beyond(limit: float, differences: Sequence[Difference], path: Path) -> None:
    worst = max(differences, key=lambda one: one.relative)
    if not worst.relative <= limit:
        raise CouplerError(
            Status.MODEL,
            f"'{path}' was compiled, but its '{worst.name}' differs from the original's by up to {worst.largest:.2g}, "
            f"{worst.relative:.2g} of its standard deviation, and {limit:g} is allowed; nothing was written. "
            "'--tolerance' allows more.",
        )


def _describe(path: Path, manifest: Manifest, making: Making) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        root = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{root}/extra/{manifests.ENTRY}", manifest.model_dump_json(indent=1, exclude_none=True))
        archive.writestr(f"{root}/extra/{compiled.ENTRY}", making.model_dump_json(indent=1))
