# SPDX-License-Identifier: Apache-2.0
"""xESMF's own answers: 79 pairs of grids, methods and masks."""

from __future__ import annotations

import netCDF4
import numpy as np
import pytest
from numpy.typing import NDArray

from coupler_plugin import Status
from coupler_plugin.regrid import Grid, Links, Route, Weights, make_weights
from coupler_plugin.regrid.engines.patches import patches_of
from coupler_plugin.regrid.geometry import unit_vectors
from tests.refusal import refused
from tests.regrid import golden
from tests.regrid.engines_here import has_esmf, need_yac

pytestmark = pytest.mark.skipif(not golden.IS_HERE, reason=golden.REASON)

# What must hold for each method; engines reach 3e-12 and 5e-15 in these fields.
TOLERANCE = {"bilinear": 1e-12, "conservative": 1e-10, "conservative_normed": 1e-10, "patch": 1e-12}


# Where ESMF is installed, everything is also made by it.
ENGINES = ["own", "xesmf"] if has_esmf() else ["own"]
OWN = {"conservative": "yac", "conservative_normed": "yac", "patch": "auto"}
# xESMF's own weights for this mesh are less exact than the tolerance: test_mesh_bilinear_is_more_exact_than_xesmf.
INEXACT = "cs24_ll3_bilinear"


def make(case: golden.Case, src: Grid, dst: Grid, engine: str) -> Weights:
    engine = OWN.get(case.method, "builtin") if engine == "own" else engine
    if engine == "yac":
        need_yac()
    return make_weights(src, dst, case.method, engine=engine, extrapolate=case.entry["options"].get("extrap_method"))


def regridded(case: golden.Case, src: Grid, weights: Weights) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return our field and xESMF's, at the places that the set keeps."""
    ours = weights.matrix() @ golden.formulas().field(src.lon, src.lat)
    ours[weights.unmapped] = np.nan if case.marks_unmapped else 0.0
    theirs, step = case.field()
    return ours.reshape(case.entry["shape_dst"])[::step].ravel(), theirs.ravel()


def distances(weights: Weights, src: Grid, dst: Grid) -> NDArray[np.float64]:
    """Return how far the source of each destination is away; NaN where it has none."""
    centres = unit_vectors(src.lon, src.lat), unit_vectors(dst.lon, dst.lat)
    far = np.full(dst.n, np.nan)
    far[weights.links.rows] = np.linalg.norm(centres[0][weights.links.cols] - centres[1][weights.links.rows], axis=1)
    return far


def distances_of(case: golden.Case, src: Grid, dst: Grid) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    matrix, stored = case.weights()
    found = matrix.tocoo()
    theirs = Weights(Links(found.row.astype(int), found.col.astype(int), found.data), src.shape, dst.shape, {})
    return distances(theirs, src, dst), stored


def named(*methods: str) -> list[object]:
    """Return the cases of methods, without those that fill left-out cells, and without `INEXACT`."""
    return [
        pytest.param(case, id=case.name)
        for case in golden.cases()
        if case.method in methods and "extrap_method" not in case.entry["options"] and case.name != INEXACT
    ]


def test_set_has_the_cases_that_are_spoken_of() -> None:
    assert len(golden.cases()) == 79


@pytest.mark.skipif(not has_esmf(), reason="the engine xesmf needs esmpy")
def test_xesmf_is_what_auto_takes() -> None:
    src, dst = golden.grid("ll4"), golden.grid("ll2")
    assert make_weights(src, dst, "bilinear").description["engine"] == "xesmf"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", named("bilinear", "conservative", "conservative_normed"))
def test_field_is_xesmfs(case: golden.Case, engine: str) -> None:
    src, dst = case.grids()
    weights = make(case, src, dst, engine)
    ours, theirs = regridded(case, src, weights)
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
    np.testing.assert_allclose(ours, theirs, rtol=0.0, atol=TOLERANCE[case.method])
    matrix, stored = case.weights()
    assert np.abs((weights.matrix() - matrix)[stored]).max() < 1e-11
    if case.method != "conservative":
        mapped = np.setdiff1d(np.arange(dst.n), weights.unmapped)
        np.testing.assert_allclose(weights.links.row_sums(dst.n)[mapped], 1.0, rtol=0.0, atol=1e-13)


def test_mesh_bilinear_is_more_exact_than_xesmf() -> None:
    # ESMF ends its iteration when the surface is within 1e-10 of the line through the point, and so leaves that much.
    case = next(case for case in golden.cases() if case.name == INEXACT)
    src, dst = case.grids()
    ours, theirs = make_weights(src, dst, "bilinear", engine="builtin").matrix(), case.weights()[0]
    centres, points = unit_vectors(src.lon, src.lat), unit_vectors(dst.lon, dst.lat)

    def miss(matrix: object) -> float:
        return float(np.linalg.norm(np.cross(matrix @ centres, points), axis=1).max())

    assert miss(ours) < 1e-15
    assert 1e-12 < miss(theirs) < 1e-10
    assert (ours != 0).nnz == (theirs != 0).nnz
    sides = np.linalg.norm(np.diff(centres[patches_of(src).corners], axis=1), axis=-1)
    assert np.abs(ours - theirs).max() < 2e-10 / sides[sides > 0.0].min()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", named("nearest_s2d", "nearest_d2s"))
def test_nearest_is_as_near_as_xesmfs(case: golden.Case, engine: str) -> None:
    src, dst = case.grids()
    weights = make(case, src, dst, engine)
    if case.method == "nearest_d2s":
        assert (weights.matrix() != case.weights()[0]).nnz == 0
        return
    theirs, stored = distances_of(case, src, dst)
    np.testing.assert_allclose(distances(weights, src, dst)[stored], theirs[stored], rtol=0.0, atol=1e-14)
    np.testing.assert_array_equal(weights.links.values, 1.0)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["ll3_ll2_bilinear_mask_extrapnn", "ll3_ll2_bilinear_mask_extrapidw"])
def test_filled_cells_are_xesmfs(name: str, engine: str) -> None:
    case = next(case for case in golden.cases() if case.name == name)
    src, dst = case.grids()
    weights, (theirs, _) = make(case, src, dst, engine), case.weights()
    np.testing.assert_array_equal(weights.unmapped, np.flatnonzero(np.diff(theirs.indptr) == 0))
    # Which of several sources at one distance is taken is left to rounding: rows are compared by their distances.
    centres, points = unit_vectors(src.lon, src.lat), unit_vectors(dst.lon, dst.lat)
    moments = []
    for matrix in (weights.matrix(), theirs):
        found = matrix.tocoo()
        far = np.linalg.norm(centres[found.col] - points[found.row], axis=1)
        moments.append(np.bincount(found.row, weights=found.data * far, minlength=dst.n))
    np.testing.assert_allclose(moments[0], moments[1], rtol=0.0, atol=1e-13)


@pytest.mark.parametrize("case", named("patch"))
def test_patch_is_xesmfs_or_refused(case: golden.Case) -> None:
    src, dst = case.grids()
    if not has_esmf():
        with refused(Status.CONFIG, "'patch'", "xesmf", "esmpy is not installed", "weight file"):
            make(case, src, dst, "own")
        return
    ours, theirs = regridded(case, src, make(case, src, dst, "xesmf"))
    np.testing.assert_allclose(ours, theirs, rtol=0.0, atol=TOLERANCE["patch"])


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("method", ["bilinear", "conservative"])
def test_missing_values_are_treated_as_by_xesmf(method: str, threshold: float) -> None:
    if method == "conservative" and not has_esmf():
        need_yac()
    src, dst = golden.grid("ll2"), golden.grid("ll3")
    links = make_weights(src, dst, method).links
    route = Route(
        src.ids,
        dst.ids,
        Links(links.rows + 1, links.cols + 1, links.values),
        skip_nan=True,
        least_share=1.0 - threshold,
    )
    values = np.where(golden.formulas().mask(src.lon, src.lat) == 0, np.nan, golden.formulas().field(src.lon, src.lat))
    with netCDF4.Dataset(golden.FOLDER / "fields_skipna.nc") as data:
        data.set_auto_mask(False)
        theirs = data[f"{method}__skipna1_thres{threshold}"][:].ravel()
    np.testing.assert_allclose(route(values[:, np.newaxis])[:, 0], theirs, rtol=0.0, atol=TOLERANCE[method])
