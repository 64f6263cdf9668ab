# SPDX-License-Identifier: Apache-2.0
"""The network of land_cover: a U-Net that moves a class map on by a year, as coarse class fractions demand.

The prior map adds to the logits, so that a class stays unless the rest speaks against.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, one_hot, softmax

from torchscript_models.land_cover.classes import CLASSES, N_CLASSES, N_LAND, N_LANDFORMS
from torchscript_models.unet import UNet, reach

DEPTH: Final = 2
WIDTH: Final = 8
POOL, BOX = 8, 5  #: local fractions of the prior: means over blocks of POOL pixels, then over BOX x BOX blocks
_LOCAL: Final = POOL * (BOX // 2 + 2)  #: pixels around a local mean that it can depend on
#: pixels around an answer that it can depend on, as whole blocks of POOL: tiles then keep the phase of the pooling
HALO: Final = POOL * -(-reach(DEPTH) // POOL) + _LOCAL
STATE_HALO: Final = HALO + _LOCAL  #: the same for what is owed after a call


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
        self.landform = nn.Embedding(N_LANDFORMS, 4)
        self.unet = UNet(N_CLASSES + 1 + 3 * N_LAND + 4, N_LAND, width, DEPTH)
        self.persistence = nn.Parameter(torch.tensor(4.0))

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
        x = torch.cat([sea, seen, masked, after, 10.0 * (after - before), 3.0 * debt, forms], dim=1)
        return self.unet(x) + self.persistence * seen

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
    """Land cover of next year from that of this year, as a host runs it: it keeps its own map from call to call.

    A year's change is too small to turn a pixel. What the scenario asked for and the map has not yet made is kept in
    the state, and asked for again: the step is told that the last map belongs to a time before all that is owed.
    """

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.n_classes, self.n_land = N_CLASSES, N_LAND
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
        state : Tensor, shape (N, 16, H, W)
            Probabilities of the classes; 1 once the run has started; fractions of the land classes that are owed.

        Returns
        -------
        outputs : Tensor, shape (N, 16, H, W)
            The class map, one channel of zeros and ones for each class; the probabilities of the classes.
        state : Tensor, shape (N, 16, H, W)
        """
        codes = torch.clamp(torch.round(static), 0.0, 255.0).to(torch.int64)
        first = self.numbers[codes[:, 0]]
        landform = torch.where(codes[:, 1] < self.transition.landform.num_embeddings, codes[:, 1], 0)
        latest = torch.where(first == 0, 0, 1 + state[:, 1 : self.n_classes].argmax(dim=1))
        prior = torch.where(state[:, self.n_classes] > 0.5, latest, first)
        fractions = _proportions(inputs)
        after = fractions[:, 1]
        owed = torch.clamp(state[:, self.n_classes + 1 :] + after - fractions[:, 0], -1.0, 1.0)
        known = torch.ones_like(after[:, :1])
        logits = self.transition(prior, known, after - owed, after, landform)
        is_land = (first != 0).unsqueeze(1)
        zero = torch.zeros_like(known)
        sea = torch.cat([zero + 1.0, zero.expand(-1, self.n_land, -1, -1)], dim=1)
        probability = torch.where(is_land, torch.cat([zero, softmax(logits, dim=1)], dim=1), sea)
        number = torch.where(is_land[:, 0], 1 + logits.argmax(dim=1), 0)
        classes = self.transition.planes(number)
        made = classes[:, 1:] - self.transition.planes(prior)[:, 1:]
        owed = owed - self.transition.local_mean(made, is_land.to(made.dtype))
        return torch.cat([classes, probability], dim=1), torch.cat([probability, zero + 1.0, owed], dim=1)


def _proportions(fractions: Tensor) -> Tensor:
    """Return fractions (N, T, 7, H, W) that sum to 1, or are 0 where nothing is said."""
    fractions = torch.clamp(fractions, min=0.0)
    return fractions / torch.clamp(fractions.sum(dim=2, keepdim=True), min=1e-6)
