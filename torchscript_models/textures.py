# SPDX-License-Identifier: Apache-2.0
"""Smooth random fields: what the synthetic scenes of the image emulators are laid out with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter


def texture(rng: np.random.Generator, size: int, scale: float) -> NDArray[np.float64]:
    """Return a smooth random field of mean 0 and variance 1, shape (size, size); `scale` is in pixels."""
    field = gaussian_filter(rng.standard_normal((size, size)), scale, mode="wrap")
    return np.asarray((field - field.mean()) / field.std())
