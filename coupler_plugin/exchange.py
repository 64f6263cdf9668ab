# SPDX-License-Identifier: Apache-2.0
"""Where every input of an emulator comes from and every output goes: resolved before the first step.

A field reaches an emulator from an emulator that ran before it, from an array of the host, from a constant of the
coupling file, or from the clock and the sun, in this order.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from numpy.typing import NDArray

from coupler_plugin.accumulate import Accumulator, Source
from coupler_plugin.cells import Cells, HeldArray, HostArray, Values
from coupler_plugin.clock import Clock
from coupler_plugin.config.constants import Constant
from coupler_plugin.derived import DERIVED, Sun
from coupler_plugin.device_arrays import DeviceArray
from coupler_plugin.emulator.column import ColumnEmulator
from coupler_plugin.emulator.manifest import Input, Output, Variable
from coupler_plugin.emulator.ports import Fixed, Reader, Sampled
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.fields import Conversion, FieldEntry, Fields
from coupler_plugin.windows import Window


@dataclass(frozen=True)
class Binding:
    """An array of the host and its units."""

    array: HostArray | DeviceArray
    units: str


class Exchange:
    """The fields of a run: what the host bound, what emulators gave, what is constant or derived.

    Parameters
    ----------
    fields : Fields
    clock : Clock
    cells : Cells
    constants : dict of str to Constant
    emulators : sequence of ColumnEmulator
        In the order in which they run.
    """

    def __init__(
        self,
        fields: Fields,
        clock: Clock,
        cells: Cells,
        constants: dict[str, Constant],
        emulators: Sequence[ColumnEmulator],
    ) -> None:
        self._fields = fields
        self._clock = clock
        self._cells = cells
        self._constants = constants
        self._emulators = emulators
        self._bindings: dict[str, Binding] = {}
        self._producers = producers(fields, emulators)
        self._held = {
            name: HeldArray(cells.n, next(o.size for o in emulator.outputs if fields[o.name].name == name))
            for name, emulator in self._producers.items()
        }

    @property
    def n(self) -> int:
        """Cells of this rank."""
        return self._cells.n

    def bind(self, name: str, array: NDArray[Any] | torch.Tensor, units: str | None, is_prepared: bool) -> None:
        """Take over an array of the host; `Coupler.bind` says more.

        Once the run is prepared, an array that is bound again must be like the one before it.
        """
        entry = self._fields[name]
        units = entry.units if units is None else units
        self._fields.conversion(entry.name, units, entry.units)
        if isinstance(array, torch.Tensor):
            binding = Binding(DeviceArray(name, array, self._cells), units)
        else:
            binding = Binding(HostArray(name, array, self._cells), units)
        self._check_levels(name, binding.array.size)
        before = self._bindings.get(entry.name)
        if is_prepared and before is not None:
            _check_alike(name, before, binding)
        self._bindings[entry.name] = binding

    def _check_levels(self, name: str, size: int) -> None:
        """Check the levels of an array against all emulators that take or give its field."""
        for emulator in self._emulators:
            taken = [(variable, "takes") for variable in emulator.manifest.inputs]
            given = [(variable, "gives") for variable in emulator.outputs if not emulator.is_shadow]
            for variable, verb in taken + given:
                if self._fields[variable.name] is self._fields[name] and variable.size != size:
                    raise CouplerError(
                        Status.ARRAY,
                        f"bind: the number of levels of '{name}' is {size}, but the emulator '{emulator.name}' {verb} "
                        f"{variable.size}; bind an array with as many.",
                    )

    def travels(self, name: str, emulator: ColumnEmulator) -> bool:
        """Return whether a field that an emulator asks for lies on the host's cells."""
        name = self._fields[name].name
        return name in self._bindings or self._producers.get(name, emulator) is not emulator

    def binding(self, name: str) -> Binding | None:
        """Return what the host bound for a field."""
        return self._bindings.get(self._fields[name].name)

    def own_mean(self, name: str, binding: Binding, window: Window) -> tuple[Reader, Conversion]:
        """Return the reader of the mean of the host's own values over a window, and the way to canonical units."""
        entry = self._fields[name]
        mean = window.accumulator(entry.name, "mean", binding.array)
        return Sampled(mean), self._fields.conversion(entry.name, binding.units, entry.units)

    def giver(self, name: str, emulator: ColumnEmulator) -> str:
        """Return who gives an emulator a field, for errors."""
        name = self._fields[name].name
        producer = self._producers.get(name)
        if producer is not None and producer is not emulator:
            return f"the emulator '{producer.name}'"
        return "the host" if name in self._bindings or name not in self._constants else "the coupling file"

    def reader(
        self,
        emulator: ColumnEmulator,
        wanted: Variable,
        aggregate: str,
        windows: dict[str, Window],
        is_static: bool = False,
    ) -> tuple[Reader, Conversion]:
        """Return the reader of an input on the emulator's cells and the conversion to the units that it wants.

        Raises
        ------
        CouplerError
            FIELD, when nothing gives the field; ARRAY, when its levels do not fit.
        """
        entry = self._fields[wanted.name]
        source, units = self._source(entry, emulator, windows)
        if source is not None:
            _check_size(emulator, wanted, source.size)
            accumulator = windows[emulator.every].accumulator(entry.name, aggregate, source)
            conversion = self._fields.conversion(entry.name, units, wanted.units)
            return emulator.on_cells(
                wanted, Sampled(accumulator), conversion, self.usual(wanted), is_static
            ), conversion
        if entry.name in self._constants:
            constant = self._constants[entry.name]
            return Fixed(constant.value), self._fields.conversion(entry.name, constant.units, wanted.units)
        if entry.name in DERIVED:
            _check_size(emulator, wanted, 1)
            units = DERIVED[entry.name][0]
            return partial(self._derive, entry.name, emulator.cells), self._fields.conversion(
                entry.name, units, wanted.units
            )
        raise CouplerError(
            Status.FIELD,
            f"the input '{entry.name}' ({entry.long_name}) of the emulator '{emulator.name}' is not bound; bind an "
            f"array for it (units '{entry.units}' or any that convert), or give one number under 'constants:'.",
        )

    def usual(self, wanted: Variable) -> float:
        """Return a value of an input that is usual in its training data, or else possible, in the emulator's units."""
        if isinstance(wanted, Input) and wanted.statistics is not None:
            return wanted.statistics.mean
        entry = self._fields[wanted.name]
        if wanted.valid_range is not None or entry.valid_range is None:
            return 0.5 * sum(wanted.valid_range or (0.0, 0.0))
        conversion = self._fields.conversion(entry.name, entry.units, wanted.units)
        return conversion.scale * 0.5 * sum(entry.valid_range) + conversion.offset

    def _source(
        self, entry: FieldEntry, emulator: ColumnEmulator | None, windows: dict[str, Window]
    ) -> tuple[Source | None, str]:
        """Return the array of a field and its units: an emulator's answers before the host's own values."""
        producer = self._producers.get(entry.name)
        if producer is not None and producer is not emulator:
            if emulator is not None:
                self._check_order(entry, producer, emulator, windows)
            return self._held[entry.name], entry.units
        binding = self._bindings.get(entry.name)
        return (None, "") if binding is None else (binding.array, binding.units)

    def _check_order(
        self,
        entry: FieldEntry,
        producer: ColumnEmulator,
        emulator: ColumnEmulator,
        windows: dict[str, Window],
    ) -> None:
        if self._emulators.index(producer) > self._emulators.index(emulator):
            raise CouplerError(
                Status.CONFIG,
                f"the emulator '{emulator.name}' takes '{entry.name}' from '{producer.name}', which runs after it; "
                f"list '{producer.name}' first.",
            )
        if producer.calls > 0:
            return
        binding = self._bindings.get(entry.name)
        arrival = windows[producer.every].alarm.next + (self._clock.dt if producer.section.lag else 0)
        if binding is not None:
            held = self._held[entry.name].view
            binding.array.read(held)
            self._fields.conversion(entry.name, binding.units, entry.units).apply(held, held)
        elif arrival > windows[emulator.every].alarm.next:
            raise CouplerError(
                Status.FIELD,
                f"the emulator '{emulator.name}' needs '{entry.name}' before '{producer.name}' has computed it for the "
                "first time; bind an array with its initial values.",
            )

    def receivers(
        self, emulator: ColumnEmulator, asked: Collection[str]
    ) -> tuple[dict[str, tuple[Values, Conversion]], dict[str, tuple[HostArray | DeviceArray, Conversion]]]:
        """Return where the outputs of an emulator go.

        Parameters
        ----------
        emulator : ColumnEmulator
        asked : collection of str
            Fields that the history or another emulator takes.

        Returns
        -------
        held : dict
            Memory of the plugin and conversion to canonical units, for the outputs that are asked for.
        hosts : dict
            The host's array and conversion to its units, for the outputs that are bound.

        Raises
        ------
        CouplerError
            FIELD, when an output goes nowhere.
        """
        held: dict[str, tuple[Values, Conversion]] = {}
        hosts: dict[str, tuple[HostArray | DeviceArray, Conversion]] = {}
        for output in emulator.outputs if not emulator.is_shadow else ():
            entry = self._fields[output.name]
            binding = self._bindings.get(entry.name)
            if entry.name in asked:
                conversion = self._fields.conversion(entry.name, output.units, entry.units)
                held[output.name] = (self._held[entry.name].view, conversion)
            if binding is not None:
                _check_size(emulator, output, binding.array.size)
                conversion = self._fields.conversion(entry.name, output.units, binding.units)
                hosts[output.name] = (binding.array, conversion)
            elif entry.name not in asked:
                raise CouplerError(
                    Status.FIELD,
                    f"the output '{entry.name}' of the emulator '{emulator.name}' goes nowhere; bind an array for it, "
                    "list it under 'history: fields:', or leave it out of the emulator's 'outputs:'.",
                )
        return held, hosts

    def statistic(self, name: str, aggregate: str, window: Window) -> tuple[Accumulator, Conversion]:
        """Return the accumulator of a field over a window, and the conversion to canonical units.

        Parameters
        ----------
        name : str
        aggregate : str
            mean, min, max, or last for the value at the window's end.
        window : Window

        Raises
        ------
        CouplerError
            FIELD, when neither the host nor an emulator gives the field.
        """
        entry = self._fields[name]
        source, units = self._source(entry, None, {})
        if source is None:
            raise CouplerError(
                Status.FIELD,
                f"the field '{entry.name}' of the history is neither bound by the host nor computed by an emulator; "
                "bind it or take it off the list.",
            )
        conversion = self._fields.conversion(entry.name, units, entry.units)
        return window.accumulator(entry.name, aggregate, source), conversion

    def tap(
        self, name: str, aggregate: str, emulator: ColumnEmulator | None, window: Window, windows: dict[str, Window]
    ) -> tuple[Reader, str, int] | Constant:
        """Return how a field is read over a window as it comes from whoever gives it: reader, units, levels.

        Parameters
        ----------
        name, aggregate : str
        emulator : ColumnEmulator or None
            Who takes the field; None for what the host or an emulator gives to all.
        window : Window
            The window that is read.
        windows : dict of str to Window
            Of the emulators.

        Raises
        ------
        CouplerError
            FIELD, when nothing gives the field.
        """
        entry = self._fields[name]
        source, units = self._source(entry, emulator, windows)
        if source is not None:
            return Sampled(window.accumulator(entry.name, aggregate, source)), units, source.size
        if entry.name in self._constants:
            return self._constants[entry.name]
        if entry.name in DERIVED:
            return partial(self._derive, entry.name, self._cells), DERIVED[entry.name][0], 1
        raise CouplerError(
            Status.FIELD,
            f"the field '{entry.name}' of 'record:' is neither bound by the host nor computed by an emulator; bind it "
            "or take it off the list.",
        )

    def samples(self, emulator: ColumnEmulator, windows: dict[str, Window]) -> list[Accumulator]:
        """Return the accumulators that average the answers of an emulator; they take a sample when it has run.

        A window of the emulator's own time step has one answer, which is read where it is.
        """
        return [
            accumulator
            for window in windows.values()
            if window is not windows[emulator.every]
            for (name, _, origin), accumulator in window.accumulators.items()
            if origin == "emulator" and self._producers[name] is emulator
        ]

    def _derive(self, name: str, cells: Cells, values: NDArray[Any], begin: int, end: int) -> None:
        values[:, 0] = DERIVED[name][1](Sun(self._clock, cells, begin, end), cells)


def producers(fields: Fields, emulators: Sequence[ColumnEmulator]) -> dict[str, ColumnEmulator]:
    """Return which emulator computes each field; a shadow computes it for itself alone.

    Raises
    ------
    CouplerError
        CONFIG, when two emulators compute the same field; FIELD, when it is not in the dictionary.
    """
    found: dict[str, ColumnEmulator] = {}
    for emulator in emulators:
        for output in emulator.outputs if not emulator.is_shadow else ():
            name = fields[output.name].name
            if name in found:
                raise CouplerError(
                    Status.CONFIG,
                    f"the emulators '{found[name].name}' and '{emulator.name}' both compute '{name}'; choose with "
                    "'outputs:' which of them gives it.",
                )
            found[name] = emulator
    return found


def _check_size(emulator: ColumnEmulator, wanted: Variable | Output, size: int) -> None:
    if wanted.size != size:
        raise CouplerError(
            Status.ARRAY,
            f"'{wanted.name}' of the emulator '{emulator.name}' has {wanted.size} levels, the other side has {size}.",
        )


def _check_alike(name: str, before: Binding, now: Binding) -> None:
    """Check that an array that takes the place of another has its levels and units, and lies where it lay."""
    if (before.array.size, before.units) != (now.array.size, now.units):
        raise CouplerError(
            Status.ARRAY,
            f"bind: '{name}' was bound with {before.array.size} levels in '{before.units}' and is now bound with "
            f"{now.array.size} levels in '{now.units}'; an array that is bound again keeps both.",
        )
    if before.array.memory != now.array.memory:
        raise CouplerError(
            Status.ARRAY,
            f"bind: '{name}' was bound in {before.array.memory} and is now bound in {now.array.memory}; an array that "
            "is bound again stays where it was.",
        )
