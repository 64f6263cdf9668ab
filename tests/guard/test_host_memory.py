# SPDX-License-Identifier: Apache-2.0
"""What is given back to the host is untouched in its memory, however it keeps its arrays."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from layouts import Layout, layouts

from coupler_plugin.cells import HostArray


@given(layouts(), st.data())
def test_only_the_cells_that_are_given_are_written(layout: Layout, data: st.DataObject) -> None:
    array = HostArray("lai", layout.array, layout.cells)
    n = layout.cells.n
    which = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), bool)
    before = layout.packed().copy()
    outside = layout.memory[~layout.used()].tobytes()
    array.write(np.full((n, array.size), 5.5), which)
    after = layout.packed()
    assert (after[which] == 5.5).all()
    assert after[~which].tobytes() == before[~which].tobytes()
    assert layout.memory[~layout.used()].tobytes() == outside
