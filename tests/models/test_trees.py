# SPDX-License-Identifier: Apache-2.0
"""Trees as tensors say what the trees say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from torchscript_models.trees import BoostedTrees

ensemble = pytest.importorskip("sklearn.ensemble", reason="training needs the libraries of the extra 'train'")


def fitted(depth: int) -> tuple[np.ndarray, object]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 6)).astype(np.float32)
    y = np.sin(3 * x[:, 0]) * x[:, 1] + (x[:, 2] > 0.5)
    trees = ensemble.HistGradientBoostingRegressor(max_iter=30, max_depth=depth, max_leaf_nodes=2**depth)
    return x, trees.fit(x, y)


def test_tensors_agree_with_the_trees() -> None:
    x, trees = fitted(depth=4)
    tensors = BoostedTrees(n_trees=30, depth=4)
    tensors.take_over([stage[0].nodes for stage in trees._predictors], trees._baseline_prediction.item())
    answers = torch.jit.script(tensors)(torch.from_numpy(x))[:, 0].numpy()
    np.testing.assert_allclose(answers, trees.predict(x), atol=1e-5)
    assert answers.std() > 0.3


def test_trees_that_are_too_deep_are_an_error() -> None:
    _, trees = fitted(depth=4)
    with pytest.raises(ValueError, match="more than 3 decisions"):
        BoostedTrees(n_trees=30, depth=3).take_over([stage[0].nodes for stage in trees._predictors], 0.0)
