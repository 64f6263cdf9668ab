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
        self._mean = np.array([s.mean if s else 0.0 for s in statistics], np.float32)
        # An input without width, or without statistics, says nothing here.
        self._inverse = np.array([1.0 / s.std if s and s.std > 0 else 0.0 for s in statistics], np.float32)
        correlation = np.array(manifest.distribution.correlation)
        self._inputs = inputs
        rows = len(inputs) if block == "exact" else block
        self._blocks = [slice(first, min(first + rows, len(inputs))) for first in range(0, len(inputs), rows or 1)]
        self._scaled = torch.zeros(rows, inputs.shape[1])
        self._whitened = torch.zeros(rows, inputs.shape[1])
        self._whitening = torch.from_numpy(_whitening(correlation, self._inverse > 0))
        self._squares = np.zeros(rows, np.float32)
        self._excess: Values = np.zeros(len(inputs))
        self.limit = manifest.distribution.max_distance or _rare_distance(int(np.count_nonzero(self._inverse)))

    @np.errstate(all="ignore")  # what is no number is looked for, not warned of
    def excess(self) -> Values:
        """Return by how many times the limit each column lies beyond it, 0 within; shape (n,)."""
        scaled, whitened = self._scaled.numpy(), self._whitened.numpy()
        for rows in self._blocks:
            part = scaled[: rows.stop - rows.start]
            np.subtract(self._inputs[rows], self._mean, out=part)
            np.multiply(part, self._inverse, out=part)
            torch.mm(self._scaled, self._whitening, out=self._whitened)
            np.multiply(whitened, whitened, out=whitened)
            np.add.reduce(whitened, axis=1, out=self._squares)
            self._excess[rows] = self._squares[: len(part)]
        np.sqrt(self._excess, out=self._excess)
        np.divide(self._excess, self.limit, out=self._excess)
        np.subtract(self._excess, 1.0, out=self._excess)
        # An input that is no number has no distance.
        np.fmax(self._excess, 0.0, out=self._excess)
        return self._excess


def _whitening(correlation: Values, is_used: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the matrix that turns standardised inputs into ones that are not correlated."""
    correlation = np.where(np.outer(is_used, is_used), correlation, np.eye(len(correlation)))
    variances, directions = np.linalg.eigh(correlation)
    whitening: NDArray[np.float32] = (directions / np.sqrt(np.maximum(variances, _FLOOR))).astype(np.float32)
    return whitening


def _rare_distance(channels: int) -> float:
    """Return the distance that one in 10,000 normal samples exceeds, after Wilson and Hilferty (1931)."""
    share = 2.0 / (9.0 * max(channels, 1))
    return float(np.sqrt(channels * (1.0 - share + _RARE * np.sqrt(share)) ** 3))
