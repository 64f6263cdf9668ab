# SPDX-License-Identifier: Apache-2.0
"""How far inputs lie from the training data as a whole: the Mahalanobis distance (Mahalanobis 1936).

It finds combinations that no single range can: a hot day is known and so is a snow storm, but not both at once.
One native pass computes it cell by cell, so that it has the same bits however the cells are spread over ranks.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from coupler_plugin._native import ffi, lib
from coupler_plugin.cells import Values
from coupler_plugin.emulator.manifest import Manifest

#: normal quantile that one in 10,000 samples exceeds
_RARE: Final = 3.719
#: smallest variance of a combination of inputs, as a share of the mean one: less is rounding of the statistics
_FLOOR: Final = 1.0e-4
#: `STRIP` of native/guarding.c
_STRIP: Final = 64


class Distance:
    """Distances of the columns of a rank.

    Parameters
    ----------
    manifest : Manifest
        With statistics and a correlation.
    inputs : contiguous float32 array, shape (n, C)
        What is watched; kept, never copied.
    """

    def __init__(self, manifest: Manifest, inputs: NDArray[np.float32]) -> None:
        assert manifest.distribution is not None
        statistics = [entry.statistics for entry in manifest.inputs for _ in range(entry.size)]
        mean = np.array([s.mean if s else 0.0 for s in statistics])
        # An input without width, or without statistics, says nothing here.
        inverse = np.array([1.0 / s.std if s and s.std > 0 else 0.0 for s in statistics])
        whitening = _whitening(np.array(manifest.distribution.correlation), inverse > 0)
        self.limit = manifest.distribution.max_distance or _rare_distance(int(np.count_nonzero(inverse)))
        n, channels = inputs.shape
        self._squares = np.zeros(n, np.float32)
        numbers = mean, inverse, whitening[np.tril_indices(channels)], np.zeros(channels * _STRIP)
        #: what the plan points to
        self._kept = [ffi.from_buffer("float[]", np.asarray(part, np.float32)) for part in (inputs, *numbers)]
        block, *rest = self._kept
        squares = ffi.from_buffer("float[]", self._squares)
        self._kept.append(squares)
        self._plan = ffi.new("packing_distance *", (block, n, channels, *rest, squares, self.limit**2))

    def is_exceeded(self) -> bool:
        """Compute the distances, and return whether one is beyond the limit."""
        return bool(lib.packing_distant(self._plan))

    @np.errstate(all="ignore")
    def excess(self) -> Values:
        """Return by how many times the limit each column lies beyond it, 0 within; shape (n,)."""
        beyond = np.sqrt(self._squares.astype(np.float64)) / self.limit - 1.0
        # An input that is no number has no distance.
        excess: Values = np.fmax(beyond, 0.0)
        return excess


def _whitening(correlation: Values, is_used: NDArray[np.bool_]) -> Values:
    """Return the lower triangular matrix that turns standardised inputs into ones that are not correlated."""
    correlation = np.where(np.outer(is_used, is_used), correlation, np.eye(len(correlation)))
    variances, directions = np.linalg.eigh(correlation)
    factor = np.linalg.cholesky(directions * np.maximum(variances, _FLOOR) @ directions.T)
    whitening: Values = np.linalg.inv(factor)
    return whitening


def _rare_distance(channels: int) -> float:
    """Return the distance that one in 10,000 normal samples exceeds, after Wilson and Hilferty (1931)."""
    share = 2.0 / (9.0 * max(channels, 1))
    return float(np.sqrt(channels * (1.0 - share + _RARE * np.sqrt(share)) ** 3))
