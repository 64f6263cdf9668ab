# SPDX-License-Identifier: Apache-2.0
"""How far inputs lie from the training data as a whole: the Mahalanobis distance (Mahalanobis 1936).

It finds combinations that no single range can: a hot day is known and so is a snow storm, but not both at once.
The product runs in blocks of a fixed number of rows, as the network does, so that a cell's distance has the same bits
however the cells are spread over ranks.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from coupler_plugin.cells import Values
from coupler_plugin.emulator.manifest import Manifest

#: normal quantile that one in 10,000 samples exceeds
_RARE: Final = 3.719
#: smallest variance of a combination of inputs, as a share of the mean one: less is rounding of the statistics
_FLOOR: Final = 1.0e-4


class Distance:
    """Distances of the columns of a rank.

    Parameters
    ----------
    manifest : Manifest
        With statistics and a correlation.
    inputs : float32 array, shape (n, C)
    block : int or "exact"
        Rows of a product.
    """

    def __init__(self, manifest: Manifest, inputs: NDArray[np.float32], block: int | Literal["exact"]) -> None:
        assert manifest.distribution is not None
        statistics = [entry.statistics for entry in manifest.inputs for _ in range(entry.size)]
        mean = np.array([s.mean if s else 0.0 for s in statistics])
        # An input without width, or without statistics, says nothing here.
        inverse = np.array([1.0 / s.std if s and s.std > 0 else 0.0 for s in statistics])
        whitening = inverse[:, np.newaxis] * _whitening(np.array(manifest.distribution.correlation), inverse > 0)
        self._whitening = torch.from_numpy(np.ascontiguousarray(whitening.T, np.float32))
        self._offset = torch.from_numpy((-mean @ whitening).astype(np.float32)[:, np.newaxis])
        self.limit = manifest.distribution.max_distance or _rare_distance(int(np.count_nonzero(inverse)))
        n, channels = inputs.shape
        rows = n if block == "exact" else block
        columns = torch.from_numpy(inputs)
        whole = n // rows * rows if rows else 0
        self._blocks = list(torch.split(columns[:whole], rows)) if whole else []
        #: the last block, filled up
        self._last, self._tail = torch.zeros(rows, channels), columns[whole:]
        self._whitened = torch.zeros(channels, rows)
        self._squares = np.zeros(-(-n // rows) * rows if rows else 0, np.float32)
        self._parts = self._squares.reshape(-1, rows or 1)
        self._n = n

    @np.errstate(all="ignore")  # what is no number is looked for, not warned of
    def is_exceeded(self) -> bool:
        """Compute the distances, and return whether one is beyond the limit."""
        if not self._n:
            return False
        whitened = self._whitened.numpy()
        if len(self._tail):
            self._last[: len(self._tail)] = self._tail
        for block, part in zip((*self._blocks, self._last), self._parts, strict=False):
            torch.addmm(self._offset, self._whitening, block.T, out=self._whitened)
            np.multiply(whitened, whitened, out=whitened)
            np.add.reduce(whitened, axis=0, out=part)
        return not self._squares[: self._n].max() <= self.limit**2

    @np.errstate(all="ignore")
    def excess(self) -> Values:
        """Return by how many times the limit each column lies beyond it, 0 within; shape (n,)."""
        beyond = np.sqrt(self._squares[: self._n].astype(np.float64)) / self.limit - 1.0
        # An input that is no number has no distance.
        excess: Values = np.fmax(beyond, 0.0)
        return excess


def _whitening(correlation: Values, is_used: NDArray[np.bool_]) -> Values:
    """Return the matrix that turns standardised inputs into ones that are not correlated."""
    correlation = np.where(np.outer(is_used, is_used), correlation, np.eye(len(correlation)))
    variances, directions = np.linalg.eigh(correlation)
    whitening: Values = directions / np.sqrt(np.maximum(variances, _FLOOR))
    return whitening


def _rare_distance(channels: int) -> float:
    """Return the distance that one in 10,000 normal samples exceeds, after Wilson and Hilferty (1931)."""
    share = 2.0 / (9.0 * max(channels, 1))
    return float(np.sqrt(channels * (1.0 - share + _RARE * np.sqrt(share)) ** 3))
