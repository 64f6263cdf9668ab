# SPDX-License-Identifier: Apache-2.0
"""The classes of land cover, their codes in the maps, and the layout of what the network is given."""

from __future__ import annotations

from typing import Final

#: code in the maps -> name; the place in this list is the class's number everywhere else
CLASSES: Final = {
    255: "sea",  # sea, or not mapped
    1: "agriculture",
    2: "forest",
    3: "grassland",
    5: "settlement",
    6: "shrubland",
    7: "sparse",
    9: "water",
}
SEA: Final = 0  #: number of the class that never changes and that no scenario speaks of
N_CLASSES: Final = len(CLASSES)
N_LAND: Final = N_CLASSES - 1  #: classes of a scenario: all but the sea, in the same order
N_LANDFORMS: Final = 18  #: codes of landforms run from 1 to 17; 0 where there is none

PIXEL: Final = 300.0  #: width of a pixel [m]
CELL: Final = 32  #: pixels of a coarse cell along each axis: 9.6 km, near a tenth of a degree
YEARS: Final = 14  #: between the two maps, and calls that a host starts from one map
