# SPDX-License-Identifier: Apache-2.0
"""Fields side by side, as a history takes them at the end of a window: read and converted in one native pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from coupler_plugin._native import ffi, lib
from coupler_plugin.accumulate import Accumulator
from coupler_plugin.cells import Values
from coupler_plugin.device_arrays import DeviceAccumulator
from coupler_plugin.fields import Conversion
from coupler_plugin.layout import Layout


class Table:
    """Reads the windows of some fields into the first columns of an array.

    Parameters
    ----------
    fields : sequence of (Accumulator, Conversion)
    values : contiguous float64 array, shape (n, columns)
        A field takes as many columns as it has levels.
    """

    def __init__(self, fields: Sequence[tuple[Accumulator, Conversion]], values: Values) -> None:
        self._inputs = ffi.new("packing_input[]", len(fields))
        self._windows: list[tuple[Accumulator, Any]] = []
        self._on_devices: list[tuple[DeviceAccumulator, Values]] = []
        layouts = []
        for (accumulator, conversion), record in zip(fields, self._inputs, strict=True):
            source = accumulator.source
            record.levels, record.scale, record.offset = source.size, conversion.scale, conversion.offset
            if isinstance(accumulator, DeviceAccumulator):
                held = np.empty((len(values), source.size))
                self._on_devices.append((accumulator, held))
                layouts.append(Layout(held, None, {}))
                record.present = layouts[-1].struct[0]
                continue
            layouts.append(source.lay_out(source.view))
            record.present = layouts[-1].struct[0]
            if accumulator.layout is not None:
                record.window, record.is_mean = accumulator.layout.struct[0], accumulator.aggregate == "mean"
                self._windows.append((accumulator, record))
                layouts.append(accumulator.layout)
        memory = ffi.from_buffer("double[]", values)
        self._plan = ffi.new("packing_table *", (self._inputs, len(fields), memory, *values.shape))
        self._kept = layouts, memory

    def read(self) -> None:
        """Write the values of the windows as they are now."""
        for accumulator, record in self._windows:
            record.count = accumulator.count
        for on_device, held in self._on_devices:
            on_device.read(held)
        lib.packing_tabulate(self._plan)
