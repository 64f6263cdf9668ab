# SPDX-License-Identifier: Apache-2.0
"""Area integrals before and after conservative routes, with whole grids, parts of them and masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from coupler_plugin import Status
from coupler_plugin.regrid import Balance, Grid, Route, gaussian, latlon, weights_file
from coupler_plugin.regrid.section import RegridSection
from tests.refusal import refused

PART = (10.0, -20.0, 70.0, 40.0)


@pytest.mark.parametrize("method", ["conservative", "conservative_normed"])
@pytest.mark.parametrize(
    ("src", "dst", "owned"),
    [
        (latlon(10.0), gaussian(32), slice(None)),
        (gaussian(32), latlon(10.0), slice(100, 900)),  # the others are masked
        (latlon(4.0, PART), latlon(10.0, PART[:3] + (20.0,)), slice(None)),  # neither grid covers the other
    ],
)
def test_integrals_are_kept_and_a_leak_is_seen(tmp_path: Path, src: Grid, dst: Grid, owned: slice, method: str) -> None:
    path = weights_file(tmp_path, src, dst, method, engine="builtin", edges="latitude")
    ids = src.ids[owned]
    route = Route.from_file(path, ids, dst.ids, unowned="mask")
    values = 1.0 + np.random.default_rng(3).random((ids.size, 2))
    result = route(values, np.full((dst.n, 2), np.nan))
    balance = Balance(path, route, ids, dst.ids, None)
    assert np.abs(balance.imbalance(values, result)).max() < 1e-12
    result[np.flatnonzero(route.mapped)[0], 1] *= 1.01
    assert balance.imbalance(values, result)[0] == pytest.approx(0.0, abs=1e-12)
    assert balance.imbalance(values, result)[1] > 1e-7


def test_areas_are_those_of_the_grids_not_of_the_weights(tmp_path: Path) -> None:
    src, dst = latlon(10.0), latlon(15.0)
    path = weights_file(tmp_path, src, dst, "conservative", engine="builtin", edges="latitude")
    route = Route.from_file(path, src.ids, dst.ids)
    route.matrix.data[:3] *= 1.0 + 1e-10  # what a careless engine may do to weights
    values = np.ones((src.n, 1))
    assert abs(Balance(path, route, src.ids, dst.ids, None).imbalance(values, route(values))[0]) > 1e-14


def test_file_without_areas_is_refused(tmp_path: Path) -> None:
    path = weights_file(tmp_path, latlon(30.0), latlon(20.0), "bilinear", engine="builtin")
    route = Route.from_file(path, latlon(30.0).ids, latlon(20.0).ids)
    with refused(Status.IO, "no areas"):
        Balance(path, route, latlon(30.0).ids, latlon(20.0).ids, None)


def test_section_names_the_nearest_method() -> None:
    with pytest.raises(ValueError, match="no method; allowed"):
        RegridSection.model_validate({"methods": {"pr": "conservativ"}})
