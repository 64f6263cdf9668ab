# SPDX-License-Identifier: Apache-2.0
"""A column emulator in a run: imports the fields it asks for, runs, and exports its answers.

Everything that can be resolved before the first step is resolved in `prepare`: sources, units, buffers. A call then
only moves numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.cells import Cells, HostArray, Values
from coupler_plugin.config import EmulatorSection
from coupler_plugin.emulator.blocks import Blocks
from coupler_plugin.emulator.load import EmulatorFile
from coupler_plugin.emulator.manifest import Manifest, Output
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.fields import Conversion
from coupler_plugin.report import Timers

#: writes the value of a window that begins and ends at two times into an array of shape (n, size)
Reader = Callable[[NDArray[np.float64], int, int], None]


@dataclass
class Import:
    """One input on its way into the block: read, converted, put into its channels."""

    name: str
    reader: Reader
    conversion: Conversion
    target: NDArray[np.float32]
    values: Values = field(init=False)

    def __post_init__(self) -> None:
        self.values = np.empty(self.target.shape)

    def run(self, begin: int, end: int) -> None:
        """Bring the value of the window from `begin` to `end` into the channels."""
        if self.conversion.is_identity:
            self.reader(self.target, begin, end)  # type: ignore[arg-type]
            return
        self.reader(self.values, begin, end)
        self.conversion.apply(self.values, self.values)
        np.copyto(self.target, self.values, casting="same_kind")


@dataclass
class Export:
    """One output on its way out: converted, or summed from other exports, and written to the host or held.

    Attributes
    ----------
    source : array, shape (n, size)
        Channels of the outputs, or the values of another export.
    values : float64 array, shape (n, size)
        What is exported, in the units of the receiver.
    terms : list of (factor, Export)
        For a closure: what it sums.
    is_direct : bool
        Whether the source goes to the host as it is, and nobody else needs `values`.
    """

    source: NDArray[np.floating]
    conversion: Conversion
    values: Values
    host: HostArray | None = None
    terms: Sequence[tuple[float, Export]] = ()
    is_direct: bool = False

    def run(self) -> None:
        """Hand the output on."""
        if self.is_direct:
            assert self.host is not None
            self.host.write(self.source)
            return
        if self.terms:
            (factor, first), *others = self.terms
            np.multiply(first.values, factor, out=self.values)
            for factor, term in others:
                np.add(self.values, term.values * factor, out=self.values)
        else:
            self.conversion.apply(self.source, self.values)
        if self.host is not None:
            self.host.write(self.values)


class ColumnEmulator:
    """An emulator of the run.

    Parameters
    ----------
    file : EmulatorFile
    section : EmulatorSection
        What the coupling file says about it.

    Attributes
    ----------
    outputs : list of Output
        The outputs that are used.
    block : int or "exact"
        Rows of a column block.
    calls : int
        Calls made so far.
    """

    def __init__(self, file: EmulatorFile, section: EmulatorSection) -> None:
        self.file = file
        self.manifest: Manifest = file.manifest
        self.every = section.every or file.manifest.every
        self.calls = 0
        self.block = section.block
        self._blocks: Blocks | None = None
        self.outputs = self._used_outputs(section.outputs)

    @property
    def name(self) -> str:
        """The manifest's name."""
        return self.manifest.name

    @property
    def block_sizes(self) -> tuple[int, ...]:
        """Rows of each call of the module on this rank."""
        return self._blocks.sizes if self._blocks else ()

    @property
    def keeps_bits(self) -> bool:
        """Whether a column has the same bits wherever it runs, as far as this rank knows."""
        return self._blocks is None or self._blocks.keeps_bits

    def _used_outputs(self, names: Sequence[str] | None) -> list[Output]:
        known = {entry.name: entry for entry in self.manifest.outputs}
        unknown = [name for name in names or () if name not in known]
        if unknown:
            raise CouplerError(
                Status.CONFIG,
                f"the emulator '{self.name}' has no output '{unknown[0]}'; its outputs are {', '.join(known)}.",
            )
        return [entry for entry in self.manifest.outputs if names is None or entry.name in names]

    def prepare(self, cells: Cells) -> None:
        """Make the buffers and warm the module up for the columns of this rank."""
        self._cells = cells
        self._blocks = Blocks(self.file, cells.n, self.block)

    def connect(
        self,
        inputs: Sequence[tuple[Reader, Conversion]],
        static: Sequence[tuple[Reader, Conversion]],
        held: Mapping[str, tuple[Values, Conversion]],
        hosts: Mapping[str, tuple[HostArray, Conversion]],
    ) -> None:
        """Say where inputs come from and where outputs go.

        Parameters
        ----------
        inputs, static
            Reader and conversion of each entry of the manifest, in its order.
        held
            Memory of the plugin, in canonical units, for each output that it keeps.
        hosts
            The host's array, in its units, for each output that it bound.
        """
        assert self._blocks is not None
        self._imports = _imports(self.manifest.inputs, inputs, self._blocks.inputs)
        self._exports = self._make_exports(held, hosts)
        for entry in _imports(self.manifest.static, static, self._blocks.static):
            entry.run(0, 0)
            self._check_finite(entry.target, f"the static input '{entry.name}'")

    def run(self, begin: int, end: int, timers: Timers) -> None:
        """Compute the answers for the window from `begin` to `end` and export them.

        Raises
        ------
        CouplerError
            RUN, when the module fails or an answer is not finite; the host's arrays are then untouched.
        """
        assert self._blocks is not None
        began = perf_counter()
        for entry in self._imports:
            entry.run(begin, end)
        imported = perf_counter()
        try:
            self._blocks.run()
        except Exception as error:  # torch.jit raises many kinds
            raise CouplerError(
                Status.RUN, f"the emulator '{self.name}' failed: {str(error).strip().splitlines()[-1]}"
            ) from error
        inferred = perf_counter()
        if not self._blocks.is_finite():
            self._explain()
        for export in self._exports:
            export.run()
        self.calls += 1
        seconds = timers.seconds
        seconds["import"] += imported - began
        seconds["infer"] += inferred - imported
        seconds["export"] += perf_counter() - inferred

    def recall(self) -> dict[str, NDArray[np.float32]]:
        """Return what the emulator remembers between calls, arrays of shape (n, ...)."""
        assert self._blocks is not None
        return self._blocks.recall() if self.calls else {}

    def restore(self, memory: Mapping[str, NDArray[np.float32]]) -> None:
        """Go on from what was recalled, and export the last answers again."""
        assert self._blocks is not None
        if self.calls:
            self._blocks.restore(memory)
            for export in self._exports:
                export.run()

    def _make_exports(
        self,
        held: Mapping[str, tuple[Values, Conversion]],
        hosts: Mapping[str, tuple[HostArray, Conversion]],
    ) -> list[Export]:
        """Return the exports in an order in which the terms of a closure come before it."""
        assert self._blocks is not None
        channels = _channels(self.manifest.outputs, self._blocks.outputs)
        used = {entry.name for entry in self.outputs}
        to_plugin: dict[str, Export] = {}
        to_host: dict[str, Export] = {}
        exports = []
        for entry in sorted(self.manifest.outputs, key=lambda entry: bool(entry.closure)):
            source = channels[entry.name]
            if entry.name in held:
                values, conversion = held[entry.name]
                terms = _terms(entry, to_plugin, conversion, {name: held[name][1] for name in held})
                to_plugin[entry.name] = Export(source, conversion, values, None, terms)
                exports.append(to_plugin[entry.name])
            if entry.name in hosts and entry.name in used:
                host, conversion = hosts[entry.name]
                terms = _terms(entry, to_host, conversion, {name: hosts[name][1] for name in hosts})
                to_host[entry.name] = Export(source, conversion, np.empty(source.shape), host, terms)
                exports.append(to_host[entry.name])
        summed = {id(term) for export in exports for _, term in export.terms}
        for export in exports:
            export.is_direct = (
                export.host is not None
                and export.conversion.is_identity
                and not export.terms
                and id(export) not in summed
            )
        return exports

    def _check_finite(self, values: NDArray[np.floating], what: str) -> None:
        wrong = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if wrong.size:
            place = wrong[0]
            bad = values[place][~np.isfinite(values[place])][0]
            raise CouplerError(
                Status.RUN,
                f"{what} of the emulator '{self.name}' is {bad} in cell {self._cells.ids[place]} (longitude "
                f"{self._cells.lon[place]:g}, latitude {self._cells.lat[place]:g}), one of {wrong.size} such cells of "
                "this rank; look at what the host gives there.",
            )

    def _explain(self) -> None:
        """Raise the error of an answer that is not finite, blaming the input where that is to blame."""
        assert self._blocks is not None
        for entry in self._imports:
            self._check_finite(entry.target, f"the input '{entry.name}'")
        for name, values in _channels(self.manifest.outputs, self._blocks.outputs).items():
            self._check_finite(values, f"the output '{name}'")


def _terms(
    entry: Output, exports: Mapping[str, Export], own: Conversion, conversions: Mapping[str, Conversion]
) -> list[tuple[float, Export]]:
    """Return what the closure of an output sums: exports to the same receiver in the same units, or nothing.

    A conversion with an offset, as between scales of temperature, does not keep sums.
    """
    same = own.offset == 0.0 and all(term in exports and conversions[term] == own for term in entry.closure)
    return [(factor, exports[term]) for term, factor in entry.closure.items()] if same else []


def _channels(entries: Sequence[Output], block: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    parts = np.split(block, np.cumsum([entry.size for entry in entries])[:-1], axis=1)
    return {entry.name: part for entry, part in zip(entries, parts, strict=True)}


def _imports(
    entries: Sequence[object], readers: Sequence[tuple[Reader, Conversion]], block: NDArray[np.float32]
) -> list[Import]:
    imports = []
    first = 0
    for entry, (reader, conversion) in zip(entries, readers, strict=True):
        size = entry.size  # type: ignore[attr-defined]
        imports.append(Import(entry.name, reader, conversion, block[:, first : first + size]))  # type: ignore[attr-defined]
        first += size
    return imports
