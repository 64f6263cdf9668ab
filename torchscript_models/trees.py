# SPDX-License-Identifier: Apache-2.0
"""Gradient-boosted trees as tensors, so that they can be part of a TorchScript module.

Every tree is laid out as a complete binary tree of one depth: the children of place i are the places 2i + 1 and
2i + 2. A leaf above the last level hands its value down to all places below it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


class BoostedTrees(nn.Module):
    """A sum of regression trees.

    Parameters
    ----------
    n_trees, depth : int
        Number of trees, and of decisions from their roots to their leaves.
    """

    def __init__(self, n_trees: int, depth: int) -> None:
        super().__init__()
        self.depth = depth
        self.n_inner, self.n_leaves = 2**depth - 1, 2**depth
        self.register_buffer("feature", torch.zeros(n_trees, self.n_inner, dtype=torch.int64))
        self.register_buffer("threshold", torch.full((n_trees, self.n_inner), torch.inf))
        self.register_buffer("value", torch.zeros(n_trees, self.n_leaves))
        self.register_buffer("base", torch.zeros(()))
        self.feature: Tensor
        self.threshold: Tensor
        self.value: Tensor
        self.base: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Return the answer to each row of features (N, F), shape (N, 1)."""
        feature, threshold, value = self.feature.view(-1), self.threshold.view(-1), self.value.view(-1)
        tree = torch.arange(self.feature.shape[0], device=x.device)
        place = torch.zeros(x.shape[0], self.feature.shape[0], dtype=torch.int64, device=x.device)
        for _ in range(self.depth):
            node = place + tree * self.n_inner
            goes_right = x.gather(1, feature[node]) > threshold[node]
            place = 2 * place + 1 + goes_right.to(torch.int64)
        leaf = place - self.n_inner + tree * self.n_leaves
        return self.base + value[leaf].sum(dim=1, keepdim=True)

    def take_over(self, predictors: list[np.ndarray], base: float) -> None:
        """Take the trees of scikit-learn's HistGradientBoostingRegressor.

        Parameters
        ----------
        predictors : list of structured arrays
            The nodes of each tree, with fields feature_idx, num_threshold, left, right, is_leaf, value.
        base : float
            What the trees are added to.
        """
        self.base.fill_(base)
        for tree, nodes in enumerate(predictors):
            self._lay_out(tree, nodes, 0, 0)

    def _lay_out(self, tree: int, nodes: np.ndarray, source: int, place: int) -> None:
        node = nodes[source]
        if place >= self.n_inner:
            if not node["is_leaf"]:
                raise ValueError(f"Tree {tree} has more than {self.depth} decisions in a row.")
            self.value[tree, place - self.n_inner] = float(node["value"])
            return
        if node["is_leaf"]:
            left = right = source
        else:
            left, right = int(node["left"]), int(node["right"])
            self.feature[tree, place] = int(node["feature_idx"])
            self.threshold[tree, place] = _round_down(node["num_threshold"])
        self._lay_out(tree, nodes, left, 2 * place + 1)
        self._lay_out(tree, nodes, right, 2 * place + 2)


def _round_down(value: float) -> float:
    """Return the largest float32 that is not above `value`: float32 features are then split as by `value` itself."""
    rounded = np.float32(value)
    return float(rounded if rounded <= value else np.nextafter(rounded, np.float32(-np.inf)))
