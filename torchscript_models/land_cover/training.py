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
BATCHES: Final = 60  #: in an epoch
STEPS: Final = (1, 2, 5, 14)  #: calls in which the years between the maps may be passed
MOST_FREE: Final = 3  #: steps that a sample runs free before the one that is learned from
MASK: Final = (0.6, 0.95)  #: largest share of the prior that is masked, in the first and in the last epoch
UNMASKED: Final = 0.5  #: share of the samples whose prior is not masked: those that a host will ask for
NOISE: Final = 0.02  #: largest share of the prior's pixels that get a class from elsewhere in the patch
RARITY: Final = 0.25  #: a class counts with its frequency to the power of minus this
TRIM: Final = 16  #: pixels at the edge of a patch that are not learned from


@dataclass(frozen=True)
class Sample:
    """A batch to learn from, and the coarse fractions (before, after) of the steps that lead to it, run free."""

    batch: Batch
    lead: list[tuple[Tensor, Tensor]]


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
        """Return the batches of the next epoch."""
        progress = min(self._epoch / max(self._epochs - 1, 1), 1.0)
        self._epoch += 1
        return (self._draw(progress) for _ in range(BATCHES))

    def _draw(self, progress: float) -> Sample:
        rng = self._rng
        chosen = rng.choice(len(self._corners), BATCH, p=self._chance)
        windows = [window_of(corner) for corner in self._corners[chosen]]
        is_free = rng.random() < progress  # teacher forcing ends as training goes on
        n_free = int(rng.integers(1, MOST_FREE + 1)) if is_free else 0
        times = [self._draw_times(n_free) for _ in windows]
        is_blocky = list(rng.random(BATCH) < 0.5)
        batch = step_batch(self._maps, windows, [(path[-2], path[-1]) for path in times], is_blocky)
        start = [self._maps.at(path[0], window) for path, window in zip(times, windows, strict=True)]
        prior = np.stack([self._with_noise(numbers) for numbers in start])
        lead = []
        for step in range(n_free):
            pairs = [
                self._fractions(path[step : step + 2], window, blocky)
                for path, window, blocky in zip(times, windows, is_blocky, strict=True)
            ]
            lead.append((torch.stack([a for a, _ in pairs]), torch.stack([b for _, b in pairs])))
        known = torch.ones_like(batch.known)
        for sample in range(BATCH):
            if rng.random() > UNMASKED:
                share = rng.uniform(0.0, MASK[0] + progress * (MASK[1] - MASK[0]))
                known[sample, 0] = torch.from_numpy(rng.random(known.shape[2:]) >= share)
        return _turned(Sample(replace(batch, prior=torch.from_numpy(prior.astype(np.int64)), known=known), lead), rng)

    def _draw_times(self, n_free: int) -> NDArray[np.float64]:
        """Return the times of a sample's steps, evenly spaced: those run free, and the one to learn from."""
        steps = self._rng.choice([n for n in STEPS if n > n_free])
        last = self._rng.integers(n_free + 1, steps + 1)
        return np.arange(last - n_free - 1, last + 1) / steps

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
    """Return a sample seen from another side: mirrored, turned."""
    mirror = [axis for axis in (-1, -2) if rng.random() < 0.5]
    swap = rng.random() < 0.5

    def turn(layer: Tensor) -> Tensor:
        layer = layer.flip(mirror) if mirror else layer
        return layer.transpose(-1, -2).contiguous() if swap else layer

    batch = Batch(**{name: turn(getattr(sample.batch, name)) for name in Batch.__dataclass_fields__})
    return Sample(batch, [(turn(before), turn(after)) for before, after in sample.lead])


def class_weights(maps: Maps, sides: dict[str, Bools]) -> Tensor:
    """Return the weights of the land classes, shape (7,): rare ones weigh more; their mean over all land is 1."""
    counts = np.bincount(maps.before[sides["train"]], minlength=N_LAND + 1)[1:].astype(np.float64)
    share = np.maximum(counts, 1.0) / counts.sum()
    weights = share**-RARITY
    return torch.tensor(weights / (weights * share).sum(), dtype=torch.float32)


def loss(transition: nn.Module, sample: Sample, weights: Tensor) -> Tensor:
    """Return the weighted cross entropy over the land of a batch, away from the edges of its patches."""
    batch = sample.batch
    prior = batch.prior
    with torch.no_grad():
        for before, after in sample.lead:
            prior = moved_on(transition, prior, before, after, batch.landform)
    logits = transition(prior, batch.known, batch.before, batch.after, batch.landform)
    inner = slice(TRIM, -TRIM)
    target = batch.target[:, inner, inner]
    weights = weights.to(logits.device)
    total = cross_entropy(logits[:, :, inner, inner], target - 1, weights, ignore_index=SEA - 1, reduction="sum")
    return total / torch.clamp(weights[target[target != SEA] - 1].sum(), min=1.0)  # no land is no loss


def moved_on(transition: nn.Module, prior: Tensor, before: Tensor, after: Tensor, landform: Tensor) -> Tensor:
    """Return the class map (N, H, W) after one free-running step."""
    known = torch.ones_like(before[:, :1])
    number = 1 + transition(prior, known, before, after, landform).argmax(dim=1)
    return torch.where(prior == SEA, SEA, number)


def validation_samples(maps: Maps, sides: dict[str, Bools]) -> list[Sample]:
    """Return steps on the validation blocks: all years in one step, and the second of two with the first run free."""
    samples = []
    for window in blocks_of(sides["validation"], maps):
        samples.append(Sample(step_batch(maps, [window], [(0.0, 1.0)], [False]), []))
        first, second = (step_batch(maps, [window], [times], [False]) for times in ((0.0, 0.5), (0.5, 1.0)))
        samples.append(Sample(replace(second, prior=first.prior), [(first.before, first.after)]))
    return samples


def loss_of(sample: Sample | list[Sample], transition: nn.Module, weights: Tensor) -> Tensor:
    """Return the loss of a sample, or the mean over several."""
    if isinstance(sample, Sample):
        return loss(transition, sample, weights)
    return torch.stack([loss(transition, one, weights) for one in sample]).mean()
