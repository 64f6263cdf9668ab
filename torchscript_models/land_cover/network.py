# SPDX-License-Identifier: Apache-2.0
"""The network of land_cover: a U-Net that moves a class map on by a year, as coarse class fractions demand.

The prior map adds to the logits, so that a class stays unless the rest speaks against.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, one_hot, pad, softmax

from torchscript_models.land_cover.classes import CELL, CLASSES, N_CLASSES, N_LAND, N_LANDFORMS, YEARS
from torchscript_models.unet import UNet, reach

DEPTH: Final = 3
WIDTH: Final = 12
POOL, BOX = 8, 5  #: local fractions of the prior: means over blocks of POOL pixels, then over BOX x BOX blocks
LEAST: Final = 1e-4  #: chance of a class that the quantities rule out
ROUNDS: Final = 4  #: in which the chances in a coarse cell are made to add up
SLACK: Final = 4.0  #: pixels that a class of a coarse cell is taken to have beside its own, in these rounds
LEADS: Final = (0.2, 1.0)  #: logits by which a class must beat another to stay, at least and at most
HOLD: Final = 2.0  #: the lead of a class of before where the last answer has turned: it stays turned
N_STATE: Final = N_CLASSES + N_LAND + 2
HALVINGS: Final = 9  #: in search of the lead between these
SHARE: Final = 0.3  #: of a cell's change that is to be made; this and the leads were chosen on the validation blocks
_LOCAL: Final = POOL * (BOX // 2 + 2)  #: pixels around a local mean that it can depend on
#: pixels around a coarse cell that the answers in it can depend on, as whole blocks of POOL: tiles then keep the phase
#: of the pooling
HALO: Final = POOL * -(-reach(DEPTH) // POOL) + _LOCAL
TILE_HALO: Final = HALO + CELL  #: the same around a pixel
STATE_HALO: Final = TILE_HALO + _LOCAL  #: and for the state after a call


class Transition(nn.Module):
    """The step itself: logits of the next map from class numbers and coarse fractions.

    Parameters
    ----------
    width : int
        Channels of the first level of the U-Net.
    """

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.n_classes, self.pool, self.box = N_CLASSES, POOL, BOX  # a script knows no globals
        self.least, self.rounds, self.slack = LEAST, ROUNDS, SLACK
        self.leads, self.halvings, self.share = LEADS, HALVINGS, SHARE
        self.landform = nn.Embedding(N_LANDFORMS, 4)
        self.unet = UNet(N_CLASSES + 1 + 4 * N_LAND + 4, N_LAND, width, DEPTH)
        self.trust = nn.Parameter(torch.tensor(1.0))

    def forward(self, prior: Tensor, known: Tensor, before: Tensor, after: Tensor, landform: Tensor) -> Tensor:
        """Return the logits of the land classes, shape (N, 7, H, W).

        Parameters
        ----------
        prior : int64 Tensor, shape (N, H, W)
            Numbers of the classes.
        known : Tensor, shape (N, 1, H, W)
            1 where the prior may be seen, 0 where it is masked.
        before, after : Tensor, shape (N, 7, H, W)
            Coarse fractions of the land classes at the time of the prior and at the time of the answer.
        landform : int64 Tensor, shape (N, H, W)
        """
        planes = self.planes(prior)
        sea, is_land = planes[:, :1], 1.0 - planes[:, :1]
        seen = planes[:, 1:] * known
        debt = self.local_mean(after - seen, is_land * known)
        forms = self.landform(landform).permute(0, 3, 1, 2)
        masked = is_land * (1.0 - known)
        chance = torch.log(torch.clamp(self.chance(seen, known, before, after), min=self.least))
        x = torch.cat([sea, seen, masked, after, 10.0 * (after - before), 3.0 * debt, 0.3 * chance, forms], dim=1)
        asked = known * (seen + after - before) + (1.0 - known) * after
        return self.closed(self.unet(x) + self.trust * chance, asked, self.parts(after), is_land)

    def chance(self, seen: Tensor, known: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Return how likely each class is, shape (N, 7, H, W), by the quantities alone: where in a cell is not said."""
        lost = torch.clamp((before - after) / torch.clamp(before, min=1e-3), 0.0, 1.0)
        leaves = (seen * lost).sum(dim=1, keepdim=True)
        gained = torch.clamp(after - before, min=0.0)
        goal = gained / torch.clamp(gained.sum(dim=1, keepdim=True), min=1e-4)
        return seen * (1.0 - leaves) + leaves * goal + (1.0 - known) * after

    def chosen(self, logits: Tensor, prior: Tensor, lead: Tensor) -> Tensor:
        """Return the numbers of the classes (N, H, W) that are made of logits; the sea stays.

        A class stays if it is the likeliest one by more than its lead (N, 1, H, W).
        """
        number = 1 + (logits - lead * self.planes(prior)[:, 1:]).argmax(dim=1)
        return torch.where(prior == 0, 0, number)

    def lead(self, logits: Tensor, prior: Tensor, fractions: Tensor) -> Tensor:
        """Return the leads (N, 1, H, W) with which enough of the change is made that the chances add up to.

        What is likeliest in every pixel may change nothing in a cell. Where less than a share of a cell's change is
        made, the lead grows; where the chances are not made to add up there is none.
        """
        planes = self.planes(prior)
        seen, land = planes[:, 1:], 1.0 - planes[:, :1]
        behind = ((logits * seen).sum(dim=1, keepdim=True) - (logits - 1e6 * seen).amax(dim=1, keepdim=True)).flatten(2)
        parts = self.parts(fractions).unsqueeze(1)
        change = ((softmax(logits, dim=1) - seen) * land).flatten(2)
        total = torch.zeros_like(change).scatter_add(2, parts.expand_as(change), change)
        asked = 0.5 * total.abs().sum(dim=1, keepdim=True)
        land, none = land.flatten(2), torch.zeros_like(behind)
        low, high, lead = none + self.leads[0], none + self.leads[1], none + self.leads[0]
        for _ in range(self.halvings):
            turned = (behind < lead.gather(2, parts)).to(land.dtype) * land
            is_short = none.scatter_add(2, parts, turned) <= self.share * asked - 1.0
            low, high = torch.where(is_short, lead, low), torch.where(is_short, high, lead)
            lead = 0.5 * (low + high)
        return high.gather(2, parts).reshape(prior.unsqueeze(1).shape) * constant(fractions)

    def parts(self, fractions: Tensor) -> Tensor:
        """Return a number for each pixel (N, H * W), the same for pixels of a tile with the same fractions.

        Where a host's fractions are constant in its cells, these are the cells; where every pixel has fractions of its
        own, each is a part.
        """
        rounded = torch.round(fractions.flatten(2).to(torch.float64) * 1e6)
        scale = 1.0 + torch.sqrt(torch.arange(2, 2 + rounded.shape[1], device=rounded.device).to(torch.float64))
        key, order = torch.sort((rounded * scale.reshape(1, -1, 1)).sum(dim=1), dim=1, stable=True)
        differs = (key[:, 1:] - key[:, :-1] > 1e-3).to(torch.int64)
        place = torch.cat([torch.zeros_like(differs[:, :1]), torch.cumsum(differs, dim=1)], dim=1)
        return torch.zeros_like(place).scatter(1, order, place)

    def closed(self, logits: Tensor, asked: Tensor, parts: Tensor, is_land: Tensor) -> Tensor:
        """Return logits whose chances add up, over the land of each part, to the quantities that are asked for.

        By iterative proportional fitting: each class of a part gets an offset. Where a part is small, little is done.
        """
        shape = logits.shape
        logits, land = logits.flatten(2), is_land.flatten(2)
        index = parts.unsqueeze(1).expand_as(logits)
        none = torch.zeros_like(logits)
        wanted = torch.clamp(none.scatter_add(2, index, asked.flatten(2) * land), min=0.0)
        for _ in range(self.rounds):
            found = none.scatter_add(2, index, softmax(logits, dim=1) * land)
            offset = torch.log((wanted + self.slack) / (found + self.slack))
            logits = logits + offset.gather(2, index)
        return logits.reshape(shape)

    def carried(self, before: Tensor, prior: Tensor, number: Tensor) -> Tensor:
        """Return the fractions (N, 7, H, W) that belong to a new map, from those of the prior and what was turned."""
        planes = self.planes(prior)
        made = self.local_mean((self.planes(number) - planes)[:, 1:], 1.0 - planes[:, :1])
        return proportions(before + made)

    def planes(self, number: Tensor) -> Tensor:
        """Return a map of class numbers (N, H, W) as a channel of zeros and ones for each class, (N, 8, H, W)."""
        return one_hot(number, self.n_classes).permute(0, 3, 1, 2).to(torch.float32)

    def local_mean(self, fields: Tensor, weight: Tensor) -> Tensor:
        """Return means of fields over the surroundings of each pixel, over where the weight (N, 1, H, W) is 1."""
        rows, columns = fields.shape[2], fields.shape[3]
        pooled = avg_pool2d(torch.cat([fields * weight, weight], dim=1), self.pool, ceil_mode=True)
        local = avg_pool2d(pooled, self.box, stride=1, padding=self.box // 2)
        mean = local[:, :-1] / torch.clamp(local[:, -1:], min=0.02)
        fine = interpolate(mean, scale_factor=float(self.pool), mode="bilinear", align_corners=False)
        return fine[:, :, :rows, :columns]


class LandCover(nn.Module):
    """Land cover of now from a map of before, as a host runs it: it keeps its own map from call to call.

    A year's change is too small to turn a pixel. So a call answers for all that has happened since the map that it
    starts from, and takes its own answer for the next such map after as many calls as training years lie between maps.
    The fractions that belong to it are those of the first map and of what was turned since: what the scenario asked for
    and was not made is asked for again.
    """

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.n_classes, self.span, self.hold = N_CLASSES, YEARS, HOLD
        numbers = torch.zeros(256, dtype=torch.int64)
        for number, code in enumerate(CLASSES):
            numbers[code] = number
        self.register_buffer("numbers", numbers)
        self.numbers: Tensor
        self.transition = Transition(width)

    def forward(self, inputs: Tensor, static: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Move the map on by one call.

        Parameters
        ----------
        inputs : Tensor, shape (N, 2, 7, H, W)
            Coarse fractions of the land classes at the last call and now; only their proportions count.
        static : Tensor, shape (N, 2, H, W)
            Codes of the map that the run starts from, and of landforms.
        state : Tensor, shape (N, 17, H, W)
            The map that calls start from, one channel of zeros and ones for each class; the fractions of the land
            classes that belong to it; 1 where the last answer has turned; calls since, and 1 for the map itself
            (0: the run begins).

        Returns
        -------
        outputs : Tensor, shape (N, 16, H, W)
            The class map, one channel of zeros and ones for each class; the probabilities of the classes.
        state : Tensor, shape (N, 17, H, W)
        """
        codes = torch.clamp(torch.round(static), 0.0, 255.0).to(torch.int64)
        first = self.numbers[codes[:, 0]]
        is_land = first != 0
        landform = torch.where(codes[:, 1] < self.transition.landform.num_embeddings, codes[:, 1], 0)
        calls = state[:, -1:]
        has_begun = calls > 0.5
        kept = torch.where(is_land, 1 + state[:, 1 : self.n_classes].argmax(dim=1), 0)
        prior = torch.where(has_begun[:, 0], kept, first)
        fractions = proportions(inputs)
        before = torch.where(has_begun, state[:, self.n_classes : -2], fractions[:, 0])
        known = torch.ones_like(calls)
        logits = self.transition(prior, known, before, fractions[:, 1], landform)
        lead = self.transition.lead(logits, prior, fractions[:, 1])
        lead = torch.where(state[:, -2:-1] > 0.5, self.hold, lead)  # what was turned stays so
        number = self.transition.chosen(logits, prior, lead)
        classes = self.transition.planes(number)
        land = is_land.unsqueeze(1).to(logits.dtype)
        probability = torch.cat([1.0 - land, softmax(logits, dim=1) * land], dim=1)
        calls = torch.clamp(calls, min=1.0) + 1.0
        is_new = calls > self.span + 0.5
        turned = ((number != prior).unsqueeze(1) & ~is_new).to(logits.dtype)
        origin = torch.where(is_new, classes, self.transition.planes(prior))
        before = torch.where(is_new, self.transition.carried(before, prior, number), before)
        calls = torch.where(is_new, torch.ones_like(calls), calls)
        return torch.cat([classes, probability], dim=1), torch.cat([origin, before, turned, calls], dim=1)


def constant(fractions: Tensor) -> Tensor:
    """Return where (N, 1, H, W) a pixel has the fractions of one beside it: 1, else 0."""
    same = ((fractions[..., 1:] - fractions[..., :-1]).abs().amax(dim=1, keepdim=True) < 1e-5).to(fractions.dtype)
    return torch.maximum(pad(same, [1, 0]), pad(same, [0, 1]))


def proportions(fractions: Tensor) -> Tensor:
    """Return fractions (..., 7, H, W) that sum to 1, or are 0 where nothing is said."""
    fractions = torch.clamp(fractions, min=0.0)
    return fractions / torch.clamp(fractions.sum(dim=-3, keepdim=True), min=1e-6)
