# SPDX-License-Identifier: Apache-2.0
"""From a trained network to a file that the plugin can couple: script, check, describe, write."""

from __future__ import annotations

import io
import warnings
import zipfile
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from coupler_plugin.emulator import manifest as manifests
from coupler_plugin.emulator.trial import sample_arguments
from torchscript_models.fitting import Settings
from torchscript_models.model_card import model_card

ZOO: Final = Path(__file__).parent / "zoo"
TOLERANCE: Final = 1e-5  #: relative difference allowed between the network and its script


def input_entry(
    name: str,
    units: str,
    valid_range: tuple[float, float],
    samples: NDArray[np.float32],
    aggregate: manifests.Aggregate = "mean",
    description: str = "",
) -> manifests.Input:
    """Return the manifest's entry of an input, with the statistics of its training samples."""
    statistics = {key: _significant(getattr(samples, key)()) for key in ("mean", "std", "min", "max")}
    return manifests.Input(
        name=name,
        units=units,
        valid_range=valid_range,
        aggregate=aggregate,
        description=description,
        statistics=manifests.Statistics(**statistics),
    )


def _significant(value: np.floating[Any]) -> float:
    return float(f"{value:.6g}")


def training_facts(name: str, settings: Settings, data: str, **more: Any) -> dict[str, Any]:
    """Return the manifest's account of the training."""
    return {
        "data": data,
        **more,
        "seed": settings.seed,
        "epochs": settings.epochs,
        "members": settings.members,
        "script": f"python -m torchscript_models train {name}",
        "torch": torch.__version__.partition("+")[0],
    }


def export(network: nn.Module, manifest: manifests.Manifest, path: Path) -> None:
    """Write `network` in three forms that agree: TorchScript at `path`, torch.export's, and its weights.

    The file at `path` (NAME.pt) is what the plugin couples. NAME.pt2 is the graph of torch.export, where the network
    has one; NAME.pth is the state of the network's own class.

    Raises
    ------
    ValueError
        When the forms do not agree to a relative difference of 1e-5.
    """
    network.eval()
    scripted = torch.jit.script(network)
    rows, other_rows = (3, 2) if manifest.tile else (64, 48)
    arguments = tuple(sample_arguments(manifest, rows))
    with torch.inference_mode():
        expected = network(*arguments)
        for _ in range(3):  # the profiling executor changes its code in the first calls
            found = scripted(*arguments)
    _check_agreement(found, expected, f"The script of '{manifest.name}'")
    graph = exported_graph(network, arguments)
    if graph is not None:
        others = tuple(sample_arguments(manifest, other_rows))
        with torch.no_grad():
            _check_agreement(graph.module()(*others), network(*others), f"The graph of '{manifest.name}'")
    memory = io.BytesIO()
    torch.jit.save(scripted, memory)
    memory.seek(0)
    # What was read is written as it was, so that `describe_anew` changes the manifest and nothing else.
    _write(torch.jit.load(memory), manifest, path)
    torch.save(network.state_dict(), path.with_suffix(".pth"))
    path.with_suffix(".pt2").unlink(missing_ok=True)
    if graph is not None:
        torch.export.save(graph, path.with_suffix(".pt2"))


def traced(network: nn.Module, example: Tensor) -> torch.jit.ScriptModule:
    """Return a network of a library, whose code is no TorchScript, as the operations it does on arguments like these.

    Raises
    ------
    ValueError
        When it answers to more rows than the example has other than the network does.
    """
    network.eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what depends on the size of a tile is fixed, as tiles are
        module = torch.jit.trace(network, example, check_trace=False)
        more = torch.randn(2 * len(example) + 1, *example.shape[1:], generator=torch.Generator().manual_seed(0))
        _check_agreement(module(more), network(more), f"The trace of {type(network).__name__}")
    return module


def exported_graph(network: nn.Module, arguments: tuple[Tensor, ...]) -> torch.export.ExportedProgram | None:
    """Return the graph of torch.export for any number of rows, or None where it cannot follow the network."""
    rows = torch.export.Dim("rows", min=2)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an LSTM keeps its weights in a list beside its parameters
            graph = torch.export.export(network, arguments, dynamic_shapes=tuple({0: rows} for _ in arguments))
    except Exception as error:  # torch.export raises many kinds for what it cannot trace
        warnings.warn(f"torch.export does not follow this network: {str(error).strip().splitlines()[0]}", stacklevel=2)
        return None
    for node in graph.graph.nodes:
        node.meta.pop("stack_trace", None)  # it names the files of this machine
    return graph


def _check_agreement(found: Any, expected: Any, what: str) -> None:
    pairs = zip(found, expected, strict=True) if isinstance(expected, tuple) else [(found, expected)]
    error = max(float(((a - b).abs() / b.abs().clamp(min=1.0)).max()) for a, b in pairs)
    if not error <= TOLERANCE:
        raise ValueError(f"{what} departs from the network by {error:.1e} (relative).")


def write_card(manifest: manifests.Manifest, path: Path) -> None:
    """Write the model card of the emulator file at `path` beside it."""
    path.with_suffix(".md").write_text(model_card(manifest), encoding="utf-8")


def describe_anew(path: Path, settings: Settings, scores: dict[str, Any]) -> None:
    """Put new scores into the manifest of the emulator file at `path`, if it was trained with these settings."""
    extra = {manifests.ENTRY: ""}
    scripted = torch.jit.load(str(path), map_location="cpu", _extra_files=extra)
    manifest = manifests.parse(extra[manifests.ENTRY], str(path))
    facts = {key: manifest.training.get(key) for key in ("seed", "epochs", "members")}
    if facts == {"seed": settings.seed, "epochs": settings.epochs, "members": settings.members}:
        manifest = manifest.model_copy(update={"scores": scores})
        _write(scripted, manifest, path)
        write_card(manifest, path)


def _write(module: torch.jit.ScriptModule, manifest: manifests.Manifest, path: Path) -> None:
    """Write a file whose bytes follow from the module and its manifest alone.

    TorchScript also notes in which files of this machine each line of code lay; that is left out.
    """
    manifests.save(module, manifest, path)
    with zipfile.ZipFile(path) as archive:
        records = [(info.filename, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in records:
            if name.endswith(".py"):
                content = _constants_in_order(content)
            if not name.endswith((".debug_pkl", "/.data/serialization_id")):
                archive.writestr(zipfile.ZipInfo(name), content)


def _constants_in_order(code: bytes) -> bytes:
    """Return TorchScript code with its lists of constants sorted: torch writes them in an order of each process."""
    lines: list[bytes] = []
    for is_constant, group in groupby(code.splitlines(keepends=True), key=lambda line: b" : Final[" in line):
        run = list(group)
        lines += sorted(run) if is_constant else run
    return b"".join(lines)
