# SPDX-License-Identifier: Apache-2.0
"""Splits by site, so that a score tells what an emulator does where it has never been.

Towers within 50 km of each other share weather and often vegetation: they stay on the same side of every split.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

NEIGHBOURS_KM: Final = 50.0
_EARTH_RADIUS_KM: Final = 6371.0


def neighbourhoods(places: pd.DataFrame) -> pd.Series:
    """Return a number for each site, the same for all sites that a chain of steps below 50 km connects.

    Parameters
    ----------
    places : DataFrame
        Indexed by site, with columns lat and lon [degrees].
    """
    lat, lon = np.deg2rad(places["lat"].to_numpy()), np.deg2rad(places["lon"].to_numpy())
    half_chord = (
        np.sin((lat[:, None] - lat) / 2) ** 2
        + np.cos(lat[:, None]) * np.cos(lat) * np.sin((lon[:, None] - lon) / 2) ** 2
    )
    is_near = 2 * _EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(half_chord, 1.0))) < NEIGHBOURS_KM
    label = np.arange(len(places))
    while True:
        lowest = np.where(is_near, label, len(places)).min(axis=1)
        if (lowest == label).all():
            return pd.Series(label, index=places.index)
        label = lowest


def folds(places: pd.DataFrame, n: int, seed: int) -> pd.Series:
    """Deal the sites out to `n` folds, neighbours together, each vegetation class as evenly as possible.

    Parameters
    ----------
    places : DataFrame
        Indexed by site, with columns lat, lon, igbp and, optionally, `stratum`: sites of different strata are each
        dealt out evenly.
    """
    rng = np.random.default_rng(seed)
    labels = neighbourhoods(places)
    groups = [labels.index[labels == label] for label in labels.unique()]
    groups = [groups[i] for i in rng.permutation(len(groups))]
    groups.sort(key=len, reverse=True)
    strata = places["igbp"] + (places["stratum"].astype(str) if "stratum" in places else "")
    if "stratum" in places:  # the rarest stratum first: its sites leave least choice
        rarity = places["stratum"].map(places["stratum"].value_counts())
        groups.sort(key=lambda group: rarity[group].min())
    fold = pd.Series(-1, index=places.index)
    load: NDArray[np.float64] = np.zeros(n)
    in_stratum = {stratum: np.zeros(n) for stratum in strata.unique()}
    for group in groups:
        crowding = sum(in_stratum[stratum] for stratum in strata[group])
        chosen = int(np.argmin(crowding + 0.3 * load))
        fold[group] = chosen
        load[chosen] += len(group)
        for stratum in strata[group]:
            in_stratum[stratum][chosen] += 1
    return fold


def check_disjoint(places: pd.DataFrame, train: Iterable[str], held_out: Iterable[str]) -> None:
    """Raise ValueError when a site, or a neighbour of it, is on both sides of a split."""
    labels = neighbourhoods(places)
    left, right = list(train), list(held_out)
    shared = set(labels[left]) & set(labels[right])
    if shared:
        names = sorted(site for site in {*left, *right} if labels[site] in shared)
        raise ValueError(f"These sites or their neighbours are on both sides of a split: {', '.join(names)}.")
