# SPDX-License-Identifier: Apache-2.0
"""Synthetic scenes: six-band reflectance over a landscape of known biomass, with the sparse labels of a lidar in orbit.

Nothing here was observed. The rules are simple ones that the real problem shares: reflectance saturates with biomass,
illumination and noise disturb it, clouds leave gaps, and only one pixel in some fifty carries a label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from torchscript_models.textures import texture

Array = NDArray[np.float32]

BANDS: Final = ("blue", "green", "red", "nir_narrow", "swir1", "swir2")
NO_DATA: Final = 0.0  #: reflectance of a pixel under cloud
NO_LABEL: Final = -1.0
MOST: Final = 400.0  #: [Mg ha-1]
#: reflectance of bare soil and of a closed canopy, and the biomass [Mg ha-1] over which one becomes the other
SOIL: Final = np.array([900, 1300, 1700, 2600, 3300, 2800], np.float32)
CANOPY: Final = np.array([250, 500, 300, 3000, 1400, 600], np.float32)
FOLDING: Final = np.array([40, 50, 45, 120, 90, 70], np.float32)
_TRACK: Final = 24  #: pixels between tracks of the lidar
_FOOTPRINT: Final = 2  #: pixels between footprints along a track


@dataclass(frozen=True)
class Scene:
    """A synthetic scene.

    Attributes
    ----------
    reflectance : array, shape (6, rows, columns)
        Times 10,000; 0 under clouds, in all bands.
    biomass : array, shape (rows, columns)
        The truth [Mg ha-1].
    labels : array, shape (rows, columns)
        Observed biomass [Mg ha-1], `NO_LABEL` where there is none.
    """

    reflectance: Array
    biomass: Array
    labels: Array


def scene(rng: np.random.Generator, size: int) -> Scene:
    """Return a scene of `size` x `size` pixels of 30 m."""
    height = texture(rng, size, 12.0) + 0.4 * texture(rng, size, 3.0)
    stand = 140.0 + 130.0 * height
    is_forest = texture(rng, size, 9.0) > -0.4
    biomass = np.clip(np.where(is_forest, stand, 12.0 + 10.0 * height), 0.0, MOST)
    cover = np.exp(-biomass / FOLDING[:, None, None])
    light = 1.0 + 0.08 * texture(rng, size, 6.0)
    clean = (SOIL[:, None, None] * cover + CANOPY[:, None, None] * (1.0 - cover)) * light
    noisy = clean * (1.0 + 0.05 * rng.standard_normal(clean.shape))
    is_cloudy = texture(rng, size, 8.0) > 1.7
    seen = np.where(is_cloudy, NO_DATA, np.maximum(noisy, 1.0))
    return Scene(seen.astype(np.float32), biomass.astype(np.float32), _labels(rng, biomass))


def _labels(rng: np.random.Generator, biomass: NDArray[np.float64]) -> Array:
    """Return biomass along slanted tracks, with an error of 15 % and 5 Mg ha-1."""
    y, x = np.indices(biomass.shape)
    is_track = (x + y // 6 + rng.integers(_TRACK)) % _TRACK == 0
    is_seen = is_track & ((y + rng.integers(_FOOTPRINT)) % _FOOTPRINT == 0)
    observed = biomass * (1.0 + 0.15 * rng.standard_normal(biomass.shape)) + 5.0 * rng.standard_normal(biomass.shape)
    return np.where(is_seen, np.maximum(observed, 0.0), NO_LABEL).astype(np.float32)
