# SPDX-License-Identifier: Apache-2.0
"""How land_cover learns: from a masked and noisy prior, and ever more from the maps that it made itself.

A network that is only ever given true priors learns to copy them, and does not know its own mistakes. So a growing
share of the prior is masked, and a growing share of the samples starts from maps that the network has moved on itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from torchscript_models.land_cover.classes import N_LAND, SEA
from torchscript_models.land_cover.maps import Maps
from torchscript_models.land_cover.samples import (
    PATCH,
    Batch,
    Bools,
    blocks_of,
    blocky_fractions,
    fine_fractions,
    step_batch,
    training_corners,
    window_of,
)

BATCH: Final = 6
BATCHES: Final = 80  #: in an epoch
#: spans in which the years between the maps may be passed, one after the other
SPANS: Final = (1, 1, 1, 1, 2, 3)
FREE: Final = 0.3  #: share of the batches of the last epoch that start from maps that the network has made itself
BLOCKY: Final = 0.75  #: share of the samples whose fractions are constant in a coarse cell, as a host's are
MASK: Final = (0.6, 0.95)  #: largest share of the prior that is masked, in the first and in the last epoch
UNMASKED: Final = 0.8  #: share of the samples whose prior is not masked: those that a host will ask for
NOISE: Final = 0.02  #: largest share of the prior's pixels that get a class from elsewhere in the patch
RARITY: Final = 0.25  #: a class counts with its frequency to the power of minus this
SHIFT: Final = 8  #: pixels cut off at random, so that cells begin anywhere in what is pooled together
LEAD: Final = 0.3  #: logits by which a class must beat another to stay, in maps that the network makes
TRIM: Final = 16  #: pixels at the edge of a patch that are not learned from


@dataclass(frozen=True)
class Sample:
    """A batch to learn from, and the coarse fractions (before, after) of the step that leads to it, if it is run."""

    batch: Batch
    lead: tuple[Tensor, Tensor] | None = None


class Lessons:
    """The batches of a training, epoch by epoch.

    Parameters
    ----------
    epochs : int
        Over which masking grows and teacher forcing ends.
    """

    def __init__(self, maps: Maps, sides: dict[str, Bools], epochs: int, rng: np.random.Generator) -> None:
        self._maps, self._epochs, self._rng = maps, epochs, rng
        self._corners, self._chance = training_corners(maps, sides)
        self._epoch = 0

    def __call__(self) -> Iterator[Sample]:
        """Return the batches of this epoch."""
        progress = min(self._epoch / max(self._epochs - 1, 1), 1.0)
        return (self._draw(progress) for _ in range(BATCHES))

    def advance(self) -> None:
        """Go on to the next epoch."""
        self._epoch += 1

    def _draw(self, progress: float) -> Sample:
        rng = self._rng
        chosen = rng.choice(len(self._corners), BATCH, p=self._chance)
        windows = [window_of(corner) for corner in self._corners[chosen]]
        is_free = rng.random() < FREE * progress  # teacher forcing ends as training goes on
        times = [self._draw_times(2 if is_free else 1) for _ in windows]
        is_blocky = list(rng.random(BATCH) < BLOCKY)
        batch = step_batch(self._maps, windows, [(path[-2], path[-1]) for path in times], is_blocky)
        start = [self._maps.at(path[0], window) for path, window in zip(times, windows, strict=True)]
        prior = np.stack([self._with_noise(numbers) for numbers in start])
        lead = None
        if is_free:
            pairs = [
                self._fractions(path[:2], window, blocky)
                for path, window, blocky in zip(times, windows, is_blocky, strict=True)
            ]
            lead = torch.stack([a for a, _ in pairs]), torch.stack([b for _, b in pairs])
        known = torch.ones_like(batch.known)
        for sample in range(BATCH):
            if rng.random() > UNMASKED:
                share = rng.uniform(0.0, MASK[0] + progress * (MASK[1] - MASK[0]))
                known[sample, 0] = torch.from_numpy(rng.random(known.shape[2:]) >= share)
        return _turned(Sample(replace(batch, prior=torch.from_numpy(prior.astype(np.int64)), known=known), lead), rng)

    def _draw_times(self, n: int) -> NDArray[np.float64]:
        """Return the times of `n` spans that follow each other, evenly long: the last one is learned from."""
        spans = self._rng.choice([spans for spans in SPANS if spans >= n])
        last = self._rng.integers(n, spans + 1)
        return np.arange(last - n, last + 1) / spans

    def _fractions(
        self, times: NDArray[np.float64], window: tuple[slice, slice], is_blocky: bool
    ) -> tuple[Tensor, Tensor]:
        at_pixels = blocky_fractions if is_blocky else fine_fractions
        before, after = (torch.from_numpy(at_pixels(self._maps.coarse_at(time), window)) for time in times)
        return before, after

    def _with_noise(self, numbers: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a map some of whose land pixels have the class of another land pixel."""
        land = np.flatnonzero(numbers != SEA)
        wrong = land[self._rng.random(land.size) < self._rng.uniform(0.0, NOISE)]
        noisy = numbers.reshape(-1).copy()
        noisy[wrong] = noisy[self._rng.choice(land, wrong.size)]
        return noisy.reshape(numbers.shape)


def _turned(sample: Sample, rng: np.random.Generator) -> Sample:
    """Return a part of a sample, seen from another side: mirrored, turned, the coarse cells beginning anywhere."""
    mirror = [axis for axis in (-1, -2) if rng.random() < 0.5]
    swap = rng.random() < 0.5
    top, left = (int(place) for place in rng.integers(0, SHIFT + 1, 2))
    size = PATCH - SHIFT

    def turn(layer: Tensor) -> Tensor:
        layer = layer[..., top : top + size, left : left + size]
        layer = layer.flip(mirror) if mirror else layer
        return layer.transpose(-1, -2).contiguous() if swap else layer.contiguous()

    batch = Batch(**{name: turn(getattr(sample.batch, name)) for name in Batch.__dataclass_fields__})
    return Sample(batch, (turn(sample.lead[0]), turn(sample.lead[1])) if sample.lead else None)


def class_weights(maps: Maps, sides: dict[str, Bools]) -> Tensor:
    """Return the weights of the land classes, shape (7,): rare ones weigh more; their mean over all land is 1."""
    counts = np.bincount(maps.before[sides["train"]], minlength=N_LAND + 1)[1:].astype(np.float64)
    share = np.maximum(counts, 1.0) / counts.sum()
    weights = share**-RARITY
    return torch.tensor(weights / (weights * share).sum(), dtype=torch.float32)


def loss(transition: nn.Module, sample: Sample, weights: Tensor) -> Tensor:
    """Return the weighted cross entropy over the land of a batch, away from the edges of its patches.

    The logits are those of the true chances: what a weight would add to them is added here.
    """
    batch = sample.batch
    prior, before = batch.prior, batch.before
    if sample.lead is not None:
        prior, before = moved_on(transition, prior, *sample.lead, batch.landform)
    logits = transition(prior, batch.known, before, batch.after, batch.landform)
    inner = slice(TRIM, -TRIM)
    target = batch.target[:, inner, inner]
    weights = weights.to(logits.device)
    favoured = logits[:, :, inner, inner] + torch.log(weights).reshape(1, -1, 1, 1)
    total = cross_entropy(favoured, target - 1, weights, ignore_index=SEA - 1, reduction="sum")
    return total / torch.clamp(weights[target[target != SEA] - 1].sum(), min=1.0)  # no land is no loss


def moved_on(
    transition: nn.Module, prior: Tensor, before: Tensor, after: Tensor, landform: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the class map (N, H, W) after one free-running step, and the fractions that belong to it."""
    module = getattr(transition, "module", transition)  # what stands for it in several processes knows one call
    known = torch.ones_like(before[:, :1])
    with torch.no_grad():
        number = module.chosen(transition(prior, known, before, after, landform), prior, LEAD * known)
        return number, module.carried(before, prior, number)


def validation_samples(maps: Maps, sides: dict[str, Bools]) -> list[Sample]:
    """Return steps on the validation blocks: all years in one, as a host asks for them."""
    return [Sample(step_batch(maps, [window], [(0.0, 1.0)], [True])) for window in blocks_of(sides["validation"], maps)]


def loss_of(sample: Sample | list[Sample], transition: nn.Module, weights: Tensor) -> Tensor:
    """Return the loss of a sample, or the mean over several."""
    if isinstance(sample, Sample):
        return loss(transition, sample, weights)
    return torch.stack([loss(transition, one, weights) for one in sample]).mean()
