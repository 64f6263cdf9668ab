# SPDX-License-Identifier: Apache-2.0
"""Synthetic aerial photographs: fields, water, roads, buildings and trees of known outline, in red, green and blue.

Nothing here was observed. The rules are simple ones that the real problem shares: a crown has nearly the colour of
grass and is told by its roughness and its shadow, a road that of a roof, deep water that of a shadow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, shift

from torchscript_models.textures import texture

#: classes of the ground, in the order of their numbers (those of LandCover.ai)
SURFACES: Final = ("background", "building", "woodland", "water", "road")
BACKGROUND, BUILDING, WOODLAND, WATER, ROAD = range(len(SURFACES))

_FIELDS: Final = np.array([[105, 125, 75], [150, 145, 95], [165, 135, 105], [90, 115, 70]], float)
_CROWN, _WATER, _ROAD = (np.array(colour, float) for colour in ([85, 108, 62], [58, 80, 84], [148, 143, 138]))
_ROOFS: Final = np.array([[168, 92, 72], [140, 138, 140], [196, 190, 182]], float)
_SUN: Final = (-0.7, -0.7)  #: towards the sun, in rows and columns

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Look:
    """What a photograph is of.

    Attributes
    ----------
    crown : (float, float)
        Smallest and largest radius of a crown [pixels].
    woodland : float
        Number of standard deviations above which a smooth random field is a wood; the smaller, the more woods.
    """

    crown: tuple[float, float]
    woodland: float


TREES: Final = Look(crown=(6.0, 16.0), woodland=0.6)  #: pixels of 0.1 m
LAND: Final = Look(crown=(3.0, 6.0), woodland=0.3)  #: pixels of 0.25 m


@dataclass(frozen=True)
class Photograph:
    """A synthetic photograph.

    Attributes
    ----------
    rgb : float32 array, shape (3, rows, columns)
        Counts from 1 to 255; 0 in all bands is left to pixels without data.
    surface : uint8 array, shape (rows, columns)
        Numbers of the classes in `SURFACES`; single trees belong to the woodland.
    """

    rgb: NDArray[np.float32]
    surface: NDArray[np.uint8]


def photograph(rng: np.random.Generator, size: int, look: Look) -> Photograph:
    """Return a photograph of `size` x `size` pixels."""
    y, x = np.indices((size, size), float)
    surface = np.zeros((size, size), np.uint8)
    rgb = _fields(rng, y, x)
    height = np.zeros((size, size))
    if rng.random() < 0.6:
        wet = texture(rng, size, size / 6) > rng.uniform(0.7, 1.6)
        surface[wet] = WATER
        rgb[:, wet] = _WATER[:, None] * (1.0 + 0.05 * texture(rng, size, 3.0)[wet])
    for _ in range(rng.integers(0, 3)):
        along, across = _turned(rng, y, x)
        path = np.abs(across + 12.0 * np.sin(along / rng.uniform(30, 80))) < rng.uniform(3.0, 6.0)
        surface[path] = ROAD
        rgb[:, path] = _ROAD[:, None] * rng.uniform(0.8, 1.15)
    for _ in range(rng.integers(0, 7)):
        along, across = _turned(rng, y, x)
        roof = (np.abs(along) < rng.uniform(8, 22)) & (np.abs(across) < rng.uniform(6, 14))
        if (surface[roof] != BACKGROUND).any():
            continue
        surface[roof] = BUILDING
        ridge = np.where(across > 0, 1.12, 0.88)[roof]  # one side of the roof is turned to the sun
        rgb[:, roof] = rng.choice(_ROOFS)[:, None] * ridge
        height[roof] = 8.0
    for centre, radius in _trees(rng, size, surface, look):
        low, high = (np.clip(centre + sign * 1.2 * radius, 0, size).astype(int) for sign in (-1, 1))
        around = slice(low[0], high[0]), slice(low[1], high[1])
        down, right = y[around] - centre[0], x[around] - centre[1]
        outline = radius * (1.0 + 0.12 * np.sin(5 * np.arctan2(down, right) + radius))
        crown = (np.hypot(down, right) < outline) & (surface[around] != BUILDING)
        lit = 1.0 + 0.22 * (down * _SUN[0] + right * _SUN[1]) / radius  # brighter towards the sun
        surface[around][crown] = WOODLAND
        rgb[:, *around][:, crown] = (_CROWN * rng.uniform(0.85, 1.2))[:, None] * lit[crown]
        height[around][crown] = radius
    return Photograph(_exposed(rng, rgb, surface, height), surface)


def _fields(rng: np.random.Generator, y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the colour of the ground, (3, size, size): two fields, one of them in furrows."""
    first, second = _FIELDS[rng.choice(len(_FIELDS), 2, replace=False)]
    along, across = _turned(rng, y, x)
    shade = 1.0 + 0.06 * texture(rng, len(y), 8.0) + np.where(along > 0, 0.04 * np.sin(across / 1.5), 0.0)
    return np.where(along > 0, first[:, None, None], second[:, None, None]) * shade


def _turned(
    rng: np.random.Generator, y: NDArray[np.float64], x: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two axes at right angles, in a direction and through a point drawn at random."""
    angle, (row, column) = rng.uniform(0.0, np.pi), rng.uniform(0.0, len(y), 2)
    along = (y - row) * np.sin(angle) + (x - column) * np.cos(angle)
    return along, (y - row) * np.cos(angle) - (x - column) * np.sin(angle)


def _trees(
    rng: np.random.Generator, size: int, surface: NDArray[np.uint8], look: Look
) -> list[tuple[NDArray[np.float64], float]]:
    """Return centres and radii of crowns: close together in woods, single ones elsewhere."""
    is_wood = texture(rng, size, size / 8) > look.woodland
    spacing = sum(look.crown) / 2.0
    trees = []
    for _ in range(int(1.6 * (size / spacing) ** 2)):
        centre = rng.uniform(0.0, size, 2)
        at = tuple(centre.astype(int))
        grows = surface[at] == BACKGROUND and (is_wood[at] or rng.random() < 0.02)
        if grows:
            trees.append((centre, float(rng.uniform(*look.crown))))
    return trees


def _exposed(
    rng: np.random.Generator, rgb: NDArray[np.float64], surface: NDArray[np.uint8], height: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return what a camera makes of colours: shadows, leaves, blur, exposure, noise, whole counts."""
    size = len(surface)
    leaves = 0.16 * texture(rng, size, 0.8) * (surface == WOODLAND)
    shaded = np.zeros((size, size))
    for reach in (2.0, 4.0, 6.0):  # shadows fall away from the sun, onto what is lower
        cast = shift(height, (-_SUN[0] * reach, -_SUN[1] * reach), order=0)
        shaded = np.maximum(shaded, (cast > reach) & (cast > height + 1.0))
    light = (1.0 + leaves) * (1.0 - 0.45 * gaussian_filter(shaded, 0.7))
    seen = np.stack([gaussian_filter(band, 0.6) for band in rgb * light])
    cast_of_colour = rng.uniform(0.93, 1.07, (3, 1, 1)) * rng.uniform(0.8, 1.2)
    seen = seen * cast_of_colour + 4.0 * rng.standard_normal(seen.shape)
    return np.clip(np.round(seen), 1, 255).astype(np.float32)
