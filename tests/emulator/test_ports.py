# SPDX-License-Identifier: Apache-2.0
"""The native ways in and out give the bits of the same operations in numpy, for any layout, kind and units."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import Layout, layouts, make_cells

from coupler_plugin.accumulate import Accumulator
from coupler_plugin.cells import HostArray
from coupler_plugin.emulator.manifest import Output, Variable
from coupler_plugin.emulator.ports import Exports, Fixed, Imports, Sampled
from coupler_plugin.fields import Conversion
from coupler_plugin.guard.band import Band, unlimited

CONVERSIONS = st.builds(
    Conversion, st.sampled_from([1.0, 86400.0, 0.1, -1.0, 12.011e-9]), st.sampled_from([0.0, -273.15, 1e-3])
)
AGGREGATES = ["mean", "sum", "min", "max", "last"]


def bits(array: np.ndarray) -> np.ndarray:
    """Return the bits of real32 or real64, which tell -0 from 0."""
    return np.ascontiguousarray(array).view(np.int32 if array.dtype == np.float32 else np.int64)


@given(layouts(), CONVERSIONS, st.sampled_from(AGGREGATES), st.integers(0, 3))
def test_inputs_have_the_bits_of_numpy(layout: Layout, conversion: Conversion, aggregate: str, samples: int) -> None:
    host = HostArray("tas", layout.array, layout.cells)
    accumulator = Accumulator(aggregate, host)
    n, size = layout.cells.n, host.size
    entries = [Variable(name=name, units="1", size=count) for name, count in (("a", 2), ("tas", size), ("b", 1))]

    def index(values: np.ndarray, begin: int, end: int) -> None:
        values[:, 0] = np.arange(n) + begin / end

    readers = [(Fixed(0.1), conversion), (Sampled(accumulator), conversion), (index, conversion)]
    block = np.full((n, size + 3), np.nan, np.float32)
    imports = Imports(entries, readers, block, unlimited(block))
    for seed in range(samples):
        layout.fill(seed)
        accumulator.update()
    layout.fill(99)
    assert imports.run(1, 3) == 0

    values = np.empty((n, size + 3))
    values[:, :2], values[:, -1] = 0.1, np.arange(n) + 1 / 3
    sampled = np.empty((n, size))
    accumulator.read(sampled)
    values[:, 2:-1] = sampled
    conversion.apply(values, values)
    np.testing.assert_array_equal(bits(block), bits(values.astype(np.float32)))


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "levels"), [(1, 32), (700, 1), (300, 40), (5, 600)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_inputs_longer_than_a_piece_have_the_bits_of_numpy(kind: type, n: int, levels: int, order: str) -> None:
    array = np.asarray(np.random.default_rng(1).normal(280, 20, (n, levels)), kind, order=order)
    block = np.zeros((n, levels), np.float32)
    band = Band(block, np.full(levels, -10, np.float32), np.full(levels, 20, np.float32))
    for conversion in (Conversion(), Conversion(1.0, -273.15), Conversion(1.8, -459.67)):
        reader = Sampled(Accumulator("last", HostArray("tas", array, make_cells(np.ones(n, bool)))))
        outside = Imports([Variable(name="tas", units="K", size=levels)], [(reader, conversion)], block, band).run(0, 1)
        values = array.astype(np.float64)
        conversion.apply(values, values)
        np.testing.assert_array_equal(bits(block), bits(values.astype(np.float32)))
        assert outside == np.count_nonzero(~((block >= -10) & (block <= 20)))


@given(layouts(), CONVERSIONS, st.sampled_from([np.float32, np.float64]), st.booleans())
def test_answers_reach_the_host_with_the_bits_of_numpy(
    layout: Layout, conversion: Conversion, kind: type, is_closure: bool
) -> None:
    host = HostArray("nee", layout.array, layout.cells)
    n, size = layout.cells.n, host.size
    closure = {"reco": 1.0, "gpp": -0.3} if is_closure and not conversion.offset else {}
    entries = [Output(name=name, units="1", size=size) for name in ("gpp", "reco")]
    entries.append(Output(name="nee", units="1", size=size, closure=closure))
    answers = np.random.default_rng(2).normal(0, 3, (n, 3 * size)).astype(kind)
    held = np.zeros((n, size))
    exports = Exports(
        entries, {"nee"}, answers, {"gpp": (held, Conversion(2.0))}, {"nee": (host, conversion)}, {"nee": Conversion()}
    )
    layout.memory[...] = 77.0
    exports.run()

    converted = np.empty(answers.shape)
    conversion.apply(answers, converted)
    gpp, reco, nee = np.split(converted, 3, axis=1)
    wanted = reco * 1.0 + gpp * -0.3 if closure else nee
    np.testing.assert_array_equal(bits(layout.packed()), bits(wanted.astype(layout.memory.dtype)))
    np.testing.assert_array_equal(held, answers[:, :size].astype(np.float64) * 2.0)
    assert np.all(layout.memory[~layout.used()] == 77.0)


@given(layouts(), st.data())
def test_where_all_answers_stand_both_ways_out_are_one(layout: Layout, data: st.DataObject) -> None:
    """The way of numpy, taken where the host's own values stay somewhere, gives the same bits elsewhere."""

    class Nothing:
        kept = np.zeros((layout.cells.n, 1), bool)
        weight = np.ones(layout.cells.n)

    host = HostArray("lai", layout.array, layout.cells)
    answers = np.random.default_rng(3).normal(0, 3, (layout.cells.n, host.size)).astype(np.float32)
    entries = [Output(name="lai", units="1", size=host.size)]
    conversion = data.draw(CONVERSIONS)
    exports = Exports(entries, {"lai"}, answers, {}, {"lai": (host, conversion)}, {"lai": Conversion()})
    exports.run()
    native = layout.packed().copy()
    layout.fill(5)
    exports.run_mixed(Nothing())
    np.testing.assert_array_equal(bits(layout.packed()), bits(native))
