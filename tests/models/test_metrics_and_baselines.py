# SPDX-License-Identifier: Apache-2.0
"""Scores and baselines on tables small enough to check by hand."""

from __future__ import annotations

import numpy as np
import pytest

pd = pytest.importorskip("pandas", reason="training needs the libraries of the extra 'train'")
pytest.importorskip("sklearn", reason="training needs the libraries of the extra 'train'")

from torchscript_models import baselines, metrics  # noqa: E402


def test_scores_by_hand() -> None:
    scores = metrics.score(pd.Series([1.0, 2.0, 3.0]), pd.Series([1.0, 2.0, 6.0]))
    assert scores["rmse"] == pytest.approx(np.sqrt(3.0))
    assert scores["mae"] == pytest.approx(1.0)
    assert scores["bias"] == pytest.approx(1.0)
    assert scores["r2"] == pytest.approx(1.0 - 3.0 / (2.0 / 3.0))


def test_answers_that_are_no_numbers_have_no_score() -> None:
    with pytest.raises(ValueError, match="1 of 3 errors of 'y:m' are not finite"):
        metrics.score(pd.Series([1.0, 2.0, 3.0]), pd.Series([1.0, np.nan, 3.0], name="y:m"))


def test_median_is_over_sites_not_samples() -> None:
    table = pd.DataFrame({"site": ["a"] * 100 + ["b"] * 10 + ["c"] * 10 + ["d"] * 2, "y": np.arange(122.0)})
    table["y:m"] = table["y"] + table["site"].map({"a": 1.0, "b": 2.0, "c": 5.0, "d": 100.0})
    summary = metrics.summary(table, "y", "y:m")
    assert summary["site_median"]["rmse"] == 2.0, "a site with two samples has no score of its own"


def test_seasons_of_the_hemispheres_meet() -> None:
    assert baselines.season(np.array([1, 7]), np.array([50.0, -30.0])).tolist() == [0, 0]


def test_climatology_falls_back_to_the_class() -> None:
    train = pd.DataFrame({"igbp": ["A", "A", "B"], "season": [0, 1, 0], "y": [1.0, 3.0, 7.0]})
    test = pd.DataFrame({"igbp": ["A", "A", "B", "C"], "season": [0, 5, 0, 0]})
    answers = baselines.climatology(train, test, ["y"], ["igbp", "season"])[:, 0]
    np.testing.assert_allclose(answers, [1.0, 2.0, 7.0, 11.0 / 3.0])


def test_trees_learn_what_is_there_to_learn() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2000, 3))
    observed = pd.DataFrame({"y": np.where(features[:, 0] > 0, 2.0, -1.0)})
    answers = baselines.boosted_trees(features[:1500], observed[:1500], features[1500:], samples_per_leaf=20)
    assert metrics.score(observed["y"][1500:].reset_index(drop=True), pd.Series(answers[:, 0]))["r2"] > 0.95


def test_mean_of_runs_keeps_what_is_no_score() -> None:
    runs = [{"sites": 3, "gpp": {"rmse": value, "by_month": [value, 0.0]}} for value in (1.0, 2.0)]
    assert metrics.mean(runs) == {"sites": 3, "gpp": {"rmse": 1.5, "by_month": [1.5, 0.0]}}
    assert metrics.mean(runs[:1]) == runs[0]
