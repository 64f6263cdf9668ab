# SPDX-License-Identifier: Apache-2.0
"""Statistics over the members of each cell.

All members of a cell are on one rank, and sums run over the members one by one: the numbers have the same bits for
every number of ranks. Members that were left out have no row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.cells import Values


def mean_and_spread(members: Values) -> tuple[Values, Values]:
    """Return mean and standard deviation (of a sample, n - 1) over the first axis; NaN for one member's deviation."""
    mean = _sum(members) / len(members)
    squares = np.zeros(members.shape[1:])
    for row in members:
        squares += (row - mean) ** 2
    return mean, np.sqrt(squares / (len(members) - 1)) if len(members) > 1 else np.full(mean.shape, np.nan)


def quantiles(ordered: Values, shares: list[float]) -> list[Values]:
    """Return quantiles of members that are sorted along the first axis, interpolated between neighbours.

    Type 7 of Hyndman and Fan 1996 (doi 10.1080/00031305.1996.10473566), as numpy's default.
    """
    found = []
    for share in shares:
        place = share * (len(ordered) - 1)
        below = min(int(place), len(ordered) - 1)
        above = min(below + 1, len(ordered) - 1)
        found.append(ordered[below] + (place - below) * (ordered[above] - ordered[below]))
    return found


def crps(ordered: Values, observed: Values) -> Values:
    """Return the continuous ranked probability score of members that are sorted along the first axis.

    ``mean |x_i - y| - mean |x_i - x_j| / 2`` over members i and pairs (i, j) (Gneiting and Raftery 2007, section 4.2,
    doi 10.1198/016214506000001437); the second mean is a weighted sum of the sorted members. NaN without observation.
    """
    count = len(ordered)
    distance, pairs = np.zeros(observed.shape), np.zeros(observed.shape)
    for place, row in enumerate(ordered):
        distance += np.abs(row - observed)
        pairs += (2 * place + 1 - count) * row
    score: Values = distance / count - pairs / count**2
    return score


def ranks(members: Values, observed: Values, ties: Values) -> NDArray[np.int64]:
    """Return in which place an observation lies among the members, 0 to their number; -1 without observation.

    Of equal values the place is drawn by `ties`, uniform numbers in (0, 1), as Hamill 2001 has it
    (doi 10.1175/1520-0493(2001)129<0550:IORHFV>2.0.CO;2).
    """
    below = (members < observed).sum(axis=0)
    equal = (members == observed).sum(axis=0)
    places = below + np.floor(ties * (equal + 1)).astype(np.int64)
    return np.where(np.isfinite(observed), places, -1)


def _sum(members: Values) -> Values:
    total = np.zeros(members.shape[1:])
    for row in members:
        total += row
    return total
