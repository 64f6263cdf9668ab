# SPDX-License-Identifier: Apache-2.0
"""How land_cover is judged: on held-out blocks, in one step and running free, beside persistence and majority."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from torchscript_models.land_cover.classes import CELL, CLASSES, N_CLASSES, N_LAND, SEA
from torchscript_models.land_cover.maps import ClassMap, Maps
from torchscript_models.land_cover.network import HALO, LandCover
from torchscript_models.land_cover.samples import Bools, blocks_of, fine_fractions

#: calls in which the years between the maps are passed -> name of these scores; 14: every year
VIEW: Final = {1: "1_step", 5: "5_free_steps", 14: "14_free_steps"}
MASKED_PRIOR: Final = "1_step_prior_masked"
MASKED: Final = 0.6  #: share of the prior that is masked in the score of that name
_MARGIN: Final = -(-HALO // CELL) * CELL
_DIGITS: Final = 4


def scores(network: LandCover, maps: Maps, sides: dict[str, Bools]) -> dict[str, Any]:
    """Return all scores on the test blocks, each beside its baselines.

    A block is run with its halo around it; only its own pixels count.
    """
    tables: dict[str, list[list[ClassMap]]] = {}
    frozen = torch.jit.freeze(torch.jit.script(network))  # as the plugin runs it, and faster
    for window, inner in _windows(maps, sides["test"]):
        before, after = maps.before[window], maps.after[window]
        old, new = (torch.from_numpy(fine_fractions(cells, window))[None] for cells in maps.coarse)
        landform = torch.from_numpy(maps.landform[window].astype(np.int64))[None]
        commonest = np.where(before == SEA, SEA, majority(maps.coarse[1], window))
        answers = {VIEW[steps]: run_free(frozen, before, old, new, landform, steps) for steps in VIEW}
        answers[MASKED_PRIOR] = masked_step(network, before, old, new, landform)
        for view, answer in answers.items():
            layers = (before, after, answer, before, commonest)
            tables.setdefault(view, []).append([layer[inner].reshape(-1) for layer in layers])
    result: dict[str, Any] = {}
    for view, parts in tables.items():
        before, after, *answers = (np.concatenate(layers) for layers in zip(*parts, strict=True))
        named = dict(zip(("emulator", "persistence", "coarse_majority"), answers, strict=True))
        by_method = {method: judge(before, after, answer) for method, answer in named.items()}
        own = by_method.pop("emulator")
        result[view] = {
            "pixels": int((after != SEA).sum()),
            "changed_pixels": int((before != after).sum()),
            "land_cover": own | {"baselines": by_method},
        }
    return result


def _windows(maps: Maps, held_out: Bools) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """Return for each held-out block a window with its halo, and where the block lies in the window."""
    for block in blocks_of(held_out, maps):
        lows = [max(side.start - _MARGIN, 0) for side in block]
        highs = [min(side.stop + _MARGIN, n) for side, n in zip(block, held_out.shape, strict=True)]
        inner = [slice(side.start - low, side.stop - low) for side, low in zip(block, lows, strict=True)]
        yield (slice(lows[0], highs[0]), slice(lows[1], highs[1])), (inner[0], inner[1])


def majority(coarse: NDArray[np.float32], window: tuple[slice, slice]) -> ClassMap:
    """Return the commonest land class of each coarse cell, at the pixels of a window."""
    commonest = (1 + coarse.argmax(axis=0)).astype(np.uint8)
    y, x = (slice(side.start // CELL, side.stop // CELL) for side in window)
    return np.repeat(np.repeat(commonest[y, x], CELL, axis=0), CELL, axis=1)


def run_free(
    network: nn.Module, start: ClassMap, before: torch.Tensor, after: torch.Tensor, landform: torch.Tensor, steps: int
) -> ClassMap:
    """Return the map after `steps` calls, the coarse fractions (1, 7, H, W) going linearly from `before` to `after`."""
    codes = torch.tensor(list(CLASSES), dtype=torch.float32)
    initial = codes[torch.from_numpy(start.astype(np.int64))][None]
    static = torch.stack([initial, landform.to(torch.float32)], dim=1)
    state = torch.zeros(1, N_CLASSES + 1 + N_LAND, *start.shape)
    path = [before + (after - before) * (step / steps) for step in range(steps + 1)]
    outputs = torch.zeros(0)
    with torch.inference_mode():
        for pair in pairwise(path):
            outputs, state = network(torch.stack(pair, dim=1), static, state)
    return outputs[0, :N_CLASSES].argmax(dim=0).to(torch.uint8).numpy()


def masked_step(
    network: LandCover, start: ClassMap, before: torch.Tensor, after: torch.Tensor, landform: torch.Tensor
) -> ClassMap:
    """Return the map after one step of which most of the prior is masked, by a fixed seed."""
    generator = torch.Generator().manual_seed(0)
    known = (torch.rand(1, 1, *start.shape, generator=generator) >= MASKED).to(torch.float32)
    prior = torch.from_numpy(start.astype(np.int64))[None]
    with torch.inference_mode():
        number = 1 + network.transition(prior, known, before, after, landform)[0].argmax(dim=0)
    return np.where(start == SEA, SEA, number.to(torch.uint8).numpy())


def judge(before: ClassMap, truth: ClassMap, answer: ClassMap) -> dict[str, Any]:
    """Return the scores of an answer over all land pixels.

    Returns
    -------
    dict
        `accuracy`: share of pixels that are right; `iou`: intersection over union of each class, None for a class that
        is in neither map, and `mean_iou` over the others; `changed_accuracy`: share of the pixels that changed in truth
        that are right; `figure_of_merit`: changes rightly made, over all changes made or missed (Pontius et al. 2008);
        `changed`: share of the pixels that the answer changed.
    """
    land = truth != SEA
    before, truth, answer = before[land], truth[land], answer[land]
    confusion = np.bincount(truth.astype(np.int64) * N_CLASSES + answer, minlength=N_CLASSES**2)
    confusion = confusion.reshape(N_CLASSES, N_CLASSES)
    hits = np.diagonal(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hits
    names = list(CLASSES.values())
    iou = {
        names[number]: _rounded(hits[number] / union[number]) if union[number] else None
        for number in range(1, N_LAND + 1)
    }
    present = [value for value in iou.values() if value is not None]
    did, does = truth != before, answer != before
    right = answer == truth
    either = int((did | does).sum())
    return {
        "accuracy": _rounded(right.mean()),
        "mean_iou": _rounded(np.mean(present)),
        "changed_accuracy": _rounded(right[did].mean()) if did.any() else None,
        "figure_of_merit": _rounded((right & did).sum() / either) if either and did.any() else None,
        "changed": _rounded(does.mean()),
        "iou": iou,
    }


def _rounded(value: Any) -> float:
    return float(np.round(float(value), _DIGITS))
