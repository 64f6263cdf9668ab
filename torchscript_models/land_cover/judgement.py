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
from torchscript_models.land_cover.maps import ClassMap, Maps, coarse_fractions
from torchscript_models.land_cover.network import HALO, LEADS, N_STATE, LandCover
from torchscript_models.land_cover.samples import Bools, blocks_of, blocky_fractions, fine_fractions

#: calls in which the years between the maps are passed -> name of these scores; 14: every year
VIEW: Final = {1: "1_step", 5: "5_free_steps", 14: "14_free_steps"}
MASKED_PRIOR: Final = "1_step_prior_masked"
SMOOTH: Final = "1_step_interpolated"
MASKED: Final = 0.6  #: share of the prior that is masked in the score of that name
_MARGIN: Final = -(-HALO // CELL) * CELL
_DIGITS: Final = 4
#: a class map, and the chances of all classes (8, H, W)
Answer = tuple[ClassMap, NDArray[np.float32]]


def scores(network: LandCover, maps: Maps, sides: dict[str, Bools], side: str = "test") -> dict[str, Any]:
    """Return all scores on the test blocks, each beside its baselines.

    A block is run with its halo around it; only its own pixels count. Fractions are those of the coarse cells, as a
    host has them, but for one view: there they are interpolated between the cells.
    """
    answers: dict[str, dict[str, list[Answer]]] = {}
    truths: list[tuple[ClassMap, ClassMap]] = []
    frozen = torch.jit.freeze(torch.jit.script(network))  # as the plugin runs it, and faster
    for window, inner in _windows(maps, sides[side]):
        before = maps.before[window]
        old, new = (torch.from_numpy(blocky_fractions(cells, window))[None] for cells in maps.coarse)
        smooth = (torch.from_numpy(fine_fractions(cells, window))[None] for cells in maps.coarse)
        landform = torch.from_numpy(maps.landform[window].astype(np.int64))[None]
        commonest = np.where(before == SEA, SEA, majority(maps.coarse[1], window))
        found = {VIEW[steps]: run_free(frozen, before, old, new, landform, steps) for steps in VIEW}
        found[SMOOTH] = run_free(frozen, before, *smooth, landform, 1)
        found[MASKED_PRIOR] = masked_step(network, before, old, new, landform)
        truths.append((before[inner], maps.after[window][inner]))
        for view, answer in found.items():
            by_method = {"emulator": answer, "persistence": certain(before), "coarse_majority": certain(commonest)}
            for method, (number, chance) in by_method.items():
                parts = answers.setdefault(view, {}).setdefault(method, [])
                parts.append((number[inner], chance[:, inner[0], inner[1]]))
    result: dict[str, Any] = {}
    for view, methods in answers.items():
        by_method = {method: _judged(truths, parts) for method, parts in methods.items()}
        own = by_method.pop("emulator")
        result[view] = {
            "pixels": sum(int((after != SEA).sum()) for _, after in truths),
            "changed_pixels": sum(int((before != after).sum()) for before, after in truths),
            "land_cover": own | {"baselines": by_method},
        }
    return result


def certain(number: ClassMap) -> Answer:
    """Return a map as an answer that is sure of itself."""
    return number, np.stack([number == one for one in range(N_CLASSES)]).astype(np.float32)


def _judged(truths: list[tuple[ClassMap, ClassMap]], parts: list[Answer]) -> dict[str, Any]:
    """Return the scores of the answers in all blocks."""
    flat = (np.concatenate([layer.reshape(-1) for layer in layers]) for layers in zip(*truths, strict=True))
    judged = judge(*flat, np.concatenate([number.reshape(-1) for number, _ in parts]))
    errors, land, departures = 0.0, 0.0, []
    for (_, truth), (number, chance) in zip(truths, parts, strict=True):
        right = certain(truth)[1]
        errors += float(((chance - right) ** 2)[:, truth != SEA].sum())
        land += float((truth != SEA).sum())
        departures.append((coarse_fractions(number) - coarse_fractions(truth))[:, coarse_fractions(truth).sum(0) > 0])
    iou = judged.pop("iou")
    cell_rmse = float(np.sqrt((np.concatenate(departures, axis=1) ** 2).sum(axis=0).mean()))
    return judged | {"brier": float(f"{errors / land:.4g}"), "cell_rmse": float(f"{cell_rmse:.4g}"), "iou": iou}


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
) -> Answer:
    """Return the answer after some calls, the coarse fractions (1, 7, H, W) going linearly from `before` to `after`."""
    codes = torch.tensor(list(CLASSES), dtype=torch.float32)
    initial = codes[torch.from_numpy(start.astype(np.int64))][None]
    static = torch.stack([initial, landform.to(torch.float32)], dim=1)
    state = torch.zeros(1, N_STATE, *start.shape)
    path = [before + (after - before) * (step / steps) for step in range(steps + 1)]
    outputs = torch.zeros(0)
    with torch.inference_mode():
        for pair in pairwise(path):
            outputs, state = network(torch.stack(pair, dim=1), static, state)
    classes, chance = outputs[0].split(N_CLASSES)
    return classes.argmax(dim=0).to(torch.uint8).numpy(), chance.numpy()


def masked_step(
    network: LandCover, start: ClassMap, before: torch.Tensor, after: torch.Tensor, landform: torch.Tensor
) -> Answer:
    """Return the answer after one step of which most of the prior is masked, by a fixed seed."""
    generator = torch.Generator().manual_seed(0)
    known = (torch.rand(1, 1, *start.shape, generator=generator) >= MASKED).to(torch.float32)
    prior = torch.from_numpy(start.astype(np.int64))[None]
    with torch.inference_mode():
        logits = network.transition(prior, known, before, after, landform)
        number = network.transition.chosen(logits, prior, LEADS[0] * known)[0].to(torch.uint8).numpy()
    chance = torch.softmax(logits, dim=1)[0].numpy() * (start != SEA)
    return number, np.concatenate([(start == SEA)[None].astype(np.float32), chance])


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
