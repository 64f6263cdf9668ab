# SPDX-License-Identifier: Apache-2.0
"""Routes on one rank: the product, the identity, masks, missing values, classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coupler_plugin import Status
from coupler_plugin.regrid import Links, Route, Weights, latlon, make_weights, weights_file
from tests.refusal import refused


def links_of(weights: Weights) -> Links:
    """Return the links of weights between ids that count the cells."""
    return Links(weights.links.rows + 1, weights.links.cols + 1, weights.links.values)


def count(n: int) -> np.ndarray:
    return np.arange(1, n + 1)


@pytest.fixture(scope="module")
def weights() -> Weights:
    return make_weights(latlon(30.0), latlon(20.0), "conservative", edges="latitude", engine="builtin")


def random_values(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).normal(size=shape)


@pytest.mark.parametrize("fields", [1, 3])
def test_route_is_the_product_to_the_last_bit(weights: Weights, fields: int) -> None:
    route = Route(count(72), count(162), links_of(weights))
    values = random_values(72, fields)
    np.testing.assert_array_equal(route(values), weights.matrix() @ values)
    out = np.full((162, fields), np.nan)
    assert route(values, out) is out
    np.testing.assert_array_equal(out, weights.matrix() @ values)
    assert (route.unmapped, route.dropped, route.is_identity) == (0, 0, False)


@given(st.randoms(use_true_random=False))
def test_order_of_cells_and_links_changes_no_bit(weights: Weights, random: Any) -> None:
    seed = np.random.default_rng(random.getrandbits(32))
    src, dst, order = (seed.permutation(n) for n in (72, 162, weights.links.n))
    values = random_values(72, 2)
    route = Route(count(72)[src], count(162)[dst], links_of(weights).where(order))
    np.testing.assert_array_equal(route(values[src]), (weights.matrix() @ values)[dst])


@given(st.sets(st.integers(0, 71)), st.sets(st.integers(0, 161)), st.sampled_from([0.0, 0.5, 1.0]))
def test_cells_that_are_not_there_are_masked(weights: Weights, gone: set[int], absent: set[int], least: float) -> None:
    src, dst = (np.setdiff1d(np.arange(n), sorted(lost)) for n, lost in ((72, gone), (162, absent)))
    route = Route(count(72)[src], count(162)[dst], links_of(weights), unowned="mask", least_share=least)
    part = weights.matrix()[dst][:, src]
    share = np.asarray(part.sum(axis=1)).ravel()
    mapped = share >= min(max(least, 1e-6), 1 - 1e-6)
    values, out = random_values(src.size, 2), np.full((dst.size, 2), 77.0)
    route(values, out)
    np.testing.assert_array_equal(route.mapped, mapped)
    np.testing.assert_array_equal(out[~mapped], 77.0)
    np.testing.assert_allclose(out[mapped], (part @ values)[mapped] / share[mapped, np.newaxis], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(route(np.ones((src.size, 1)))[mapped], 1.0, rtol=0.0, atol=1e-15)
    assert route.unmapped == np.count_nonzero(~mapped)
    assert route.dropped == weights.links.n - part.nnz


def test_unmapped_cells_keep_the_hosts_bits() -> None:
    dst = latlon(10.0)
    found = make_weights(latlon(5.0, (0.0, 0.0, 40.0, 40.0)), dst, "bilinear", engine="builtin")
    route = Route(count(64), count(dst.n), links_of(found))
    out = random_values(dst.n, 1)
    before = out.copy()
    route(random_values(64, 1), out)
    np.testing.assert_array_equal(out[found.unmapped], before[found.unmapped])
    assert route.unmapped == found.unmapped.size > 600
    assert np.isnan(route(random_values(64, 1))[found.unmapped]).all()


def test_identity_costs_nothing() -> None:
    ids = np.array([5, 9, 2])
    for links in (None, Links(np.array([9, 2, 5]), np.array([9, 2, 5]), np.ones(3))):
        route = Route(ids, ids, links)
        values = random_values(3, 2)
        assert route.is_identity
        assert route(values) is values
        out = np.empty((3, 2))
        assert route(values, out) is out
        np.testing.assert_array_equal(out, values)


def test_same_grid_in_another_order_is_a_permutation() -> None:
    route = Route(np.array([5, 9, 2]), np.array([2, 5, 9]), None)
    assert not route.is_identity
    assert route(np.array([[5.0], [9.0], [2.0]])).ravel().tolist() == [2.0, 5.0, 9.0]


@given(st.sets(st.integers(0, 71)))
def test_missing_values_are_left_out_or_spread(weights: Weights, missing: set[int]) -> None:
    values = random_values(72, 2)
    values[sorted(missing), 1] = np.nan
    spread = Route(count(72), count(162), links_of(weights))(values)
    left_out = Route(count(72), count(162), links_of(weights), skip_nan=True)(values)
    whole = weights.matrix() @ random_values(72, 2)
    touched = (weights.matrix() @ np.isnan(values).astype(float))[:, 1]
    np.testing.assert_array_equal(spread[:, 0], whole[:, 0])
    np.testing.assert_array_equal(left_out[:, 0], whole[:, 0])
    np.testing.assert_array_equal(np.isnan(spread[:, 1]), touched > 0)
    np.testing.assert_array_equal(np.isnan(left_out[:, 1]), touched > 1 - 1e-6)
    np.testing.assert_array_equal(left_out[touched == 0, 1], whole[touched == 0, 1])


def test_missing_value_changes_no_bit_of_other_rows(weights: Weights) -> None:
    src = np.arange(60)  # rows at the rim lack sources and are divided by what remains
    route = Route(count(72)[src], count(162), links_of(weights), unowned="mask", skip_nan=True)
    values = random_values(60, 1)
    whole = route(values)
    values[0] = np.nan
    touched = weights.matrix()[:, [0]].toarray()[:, 0] > 0
    np.testing.assert_array_equal(route(values)[~touched], whole[~touched])


def test_rows_that_do_not_add_up_to_one_are_completed_or_flagged() -> None:
    links = Links(np.array([1, 2, 2]), np.array([1, 1, 2]), np.array([0.5, 0.25, 0.75]))
    values = np.array([[3.0], [7.0]])
    assert Route(count(2), count(3), links)(values)[:2, 0].tolist() == [1.5, 6.0]
    completed = Route(count(2), count(3), links, of_one=True)
    assert completed(values)[:2, 0].tolist() == [3.0, 6.0]
    assert completed.mapped.tolist() == [True, True, False]
    assert Route(count(2), count(3), links, of_one=True, least_share=1.0).mapped.tolist() == [False, True, False]


def test_largest_value_of_the_sources() -> None:
    links = Links(np.array([1, 3, 3]), np.array([1, 1, 2]), np.array([1.0, 0.9, 0.1]))
    codes = np.array([[2, 0], [5, 1]], np.uint8)
    assert Route(count(2), count(3), links).largest(codes).tolist() == [[2, 0], [0, 0], [5, 1]]


def test_largest_share_is_that_of_the_classes(weights: Weights) -> None:
    classes = np.random.default_rng(2).integers(1, 5, 72)
    route = Route(count(72), count(162), links_of(weights))
    shares = np.stack([weights.matrix() @ (classes == k) for k in range(1, 5)], axis=1)
    found = route.largest_share(classes)
    rows = np.arange(162)
    np.testing.assert_allclose(shares[rows, found - 1], shares.max(axis=1), rtol=1e-14)
    tied = np.isclose(shares, shares.max(axis=1, keepdims=True), rtol=1e-15).sum(axis=1) > 1
    np.testing.assert_array_equal(found[~tied], shares.argmax(axis=1)[~tied] + 1)


def test_equal_shares_give_the_lowest_class_and_unmapped_cells_keep_theirs() -> None:
    links = Links(np.array([1, 1, 2]), np.array([1, 2, 9]), np.array([0.5, 0.5, 1.0]))
    route = Route(np.array([1, 2]), np.array([1, 2]), links, unowned="mask")
    assert route.largest_share(np.array([8, 3]), np.array([0, 6])).tolist() == [3, 6]


def test_imbalance_tells_what_was_lost(weights: Weights) -> None:
    before, after = latlon(30.0).areas("latitude"), latlon(20.0).areas("latitude")
    values = random_values(72, 3) + 2.0
    route = Route(count(72), count(162), links_of(weights))
    np.testing.assert_allclose(route.imbalance(values, before, route(values), after), 0.0, atol=1e-14)
    np.testing.assert_allclose(
        route.imbalance(np.abs(values), before, 1.01 * route(np.abs(values)), after), 0.01, rtol=1e-9
    )


def test_route_from_the_cache(tmp_path: Path, weights: Weights) -> None:
    path = weights_file(tmp_path, latlon(30.0), latlon(20.0), "conservative", edges="latitude", engine="builtin")
    values = random_values(72, 2)
    np.testing.assert_array_equal(Route.from_file(path, count(72), count(162))(values), weights.matrix() @ values)


@pytest.mark.parametrize(
    ("src", "dst", "words"),
    [
        (np.array([1, 2, 2]), count(2), ["source cell 2 is owned twice", "ranks 0 and 0"]),
        (count(3), np.array([1, 1]), ["destination cell 1 is owned twice"]),
        (np.array([0, 1, 2]), count(2), ["source cell has the id 0"]),
        (count(2), count(2), ["source cell 3 has weights, but no rank owns it"]),
        (count(3), count(1), ["destination cell 2 has weights, but no rank owns it"]),
    ],
)
def test_cells_that_are_owned_twice_or_by_nobody(src: np.ndarray, dst: np.ndarray, words: list[str]) -> None:
    with refused(Status.CELLS, *words):
        Route(src, dst, Links(np.array([1, 2]), np.array([1, 3]), np.ones(2)))


def test_arrays_must_fit() -> None:
    route = Route(count(3), count(2), Links(count(2), count(2), np.ones(2)))
    for values, out in (
        (np.zeros((2, 1)), None),
        (np.zeros(3), None),
        (np.zeros((3, 1), np.float32), None),
        (np.zeros((3, 1)), np.zeros((3, 1))),
    ):
        with refused(Status.ARRAY, "give real64"):
            route(values, out)


def test_route_without_cells() -> None:
    none = np.empty(0, np.int64)
    assert Route(none, none, Links.none())(np.empty((0, 4))).shape == (0, 4)
