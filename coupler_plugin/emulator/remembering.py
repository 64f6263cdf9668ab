# SPDX-License-Identifier: Apache-2.0
"""What all that runs an emulator remembers between calls, as restarts keep it: answers, state and window."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.emulator.window import DeviceWindow, Window


class Remembering:
    """Runs an emulator on n columns, cells or tiles of cells.

    Attributes
    ----------
    state, outputs : float32 arrays, shape (n, K), (n, O)
    """

    state: NDArray[np.float32]
    outputs: NDArray[np.float32]
    _window: Window | DeviceWindow | None

    def recall(self) -> dict[str, NDArray[np.float32]]:
        """Return what the next call builds on, and the last answers: arrays of shape (n, ...)."""
        memory = {"outputs": self.outputs}
        if self.state.shape[1]:
            memory["state"] = self.state
        if self._window is not None:
            memory["window"] = self._window.recall()[: len(self.outputs)]
        return memory

    def restore(self, memory: Mapping[str, NDArray[np.float32]]) -> None:
        """Go on from what was recalled."""
        self.outputs[:] = memory["outputs"]
        if self.state.shape[1]:
            self.state[:] = memory["state"]
        if self._window is not None:
            self._window.restore(memory["window"])

    def newest(self) -> NDArray[np.float32] | None:
        """Return the newest sample of each window, shape (n, C); None where there is none."""
        newest = None if self._window is None else self._window.newest()
        return None if newest is None else newest[: len(self.outputs)]
