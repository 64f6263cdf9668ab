# SPDX-License-Identifier: Apache-2.0
"""What the guards did: a flag for each answer of the last call, and counts by cell over the run.

Both lie on the cells, so that a restart can hand them to any number of ranks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: what a flag of the history file says, the more serious the larger: why an answer is not simply the emulator's
FLAGS: Final[dict[str, int]] = {
    "answer_of_emulator": 0,
    "unseen": 1,
    "range": 2,
    "rate": 3,
    "budget": 4,
    "finite": 5,
    "input": 6,
    "no_answer": 7,
}

Rows = NDArray[np.intp]
NONE: Final[Rows] = np.empty(0, np.intp)


class Tally:
    """Flags and counts of one emulator.

    Parameters
    ----------
    n : int
        Cells of this rank.
    inputs, outputs : sequence of str
        Names of what is guarded.

    Attributes
    ----------
    columns : list of (kind, field)
        What the columns of `counts` count.
    counts : int32 array, shape (n, len(columns))
        Interventions so far.
    flags : uint8 array, shape (n, len(outputs))
        What happened to the answers of the last call; before the first call there is none.
    is_clean : bool
        Whether all flags say that the answer is the emulator's.
    """

    def __init__(self, n: int, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        self.columns = [("input", name) for name in inputs] + [("unseen", "all")]
        self.columns += [(kind, name) for name in outputs for kind in ("finite", "range", "rate", "budget")]
        self._column = {column: place for place, column in enumerate(self.columns)}
        # What is written together lies together.
        self._counts = np.zeros((len(self.columns), n), np.int32)
        self._flags = np.full((len(outputs), n), FLAGS["no_answer"], np.uint8)
        self.counts, self.flags = self._counts.T, self._flags.T
        self.is_clean = False

    def clear(self) -> None:
        """Begin a call."""
        self._flags.fill(FLAGS["answer_of_emulator"])
        self.is_clean = True

    def count(self, kind: str, field: str, rows: Rows) -> None:
        """Count an intervention in cells, each given once."""
        self._counts[self._column[kind, field]][rows] += 1

    def mark(self, kind: str, rows: Rows | NDArray[np.bool_], output: int | None = None) -> None:
        """Flag the answers of cells, of one output or of all, unless something more serious happened to them."""
        if rows.size:
            code = FLAGS[kind]
            for flags in self._flags if output is None else self._flags[output : output + 1]:
                flags[rows] = np.maximum(flags[rows], code)
            self.is_clean = False

    def totals(self) -> Mapping[str, Mapping[str, int]]:
        """Return the interventions on this rank, by kind and field."""
        sums = self.counts.sum(axis=0, dtype=np.int64).tolist()
        totals: dict[str, dict[str, int]] = {}
        for (kind, name), total in zip(self.columns, sums, strict=True):
            totals.setdefault(kind, {})[name] = total
        return totals
