# SPDX-License-Identifier: Apache-2.0
"""What is known before anything is learned: a coarse value is a mean, and a coarse field tells its own lapse rate.

`Start` answers a fine field from the two alone, and hands on what a network can see of the coarse cells. It has no
weights; all of it is sums over neighbouring cells, so that an answer does not depend on where a tile begins.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from torchscript_models.downscaling.upsampling import Interpolate, MeanKept, coarsened, weighted_means

#: coarse cells within which temperature is fitted to elevation (standard deviation of the Gaussian weights)
WIDTHS: Final = (0.7, 1.0, 1.6)
N_SEEN: Final = 2 + 2 * len(WIDTHS)  #: coarse channels that `Start` gives
_REACH: Final = 4
#: how far a fit trusts what is expected rather than the cells: elevation [km2], and places [cells2]
_RIDGE: Final = 0.1**2
_RIDGE_PLACE: Final = 0.05


class LocalLapse(nn.Module):
    """The lapse rate around each coarse cell: least squares of a field on elevation, row and column of the cells.

    Row and column take up what changes with place, such as warmth towards the equator; where the elevation of the
    neighbours is all the same, the expected rate remains (ridge regression). Geographically weighted regression of
    this kind is Fotheringham, Brunsdon and Charlton (2002).

    Parameters
    ----------
    width : float
        Standard deviation of the Gaussian weights [cells].
    expected : float
        Units of the field per km.
    """

    def __init__(self, width: float, expected: float) -> None:
        super().__init__()
        self.reach = _REACH
        self.ridge, self.ridge_place = _RIDGE, _RIDGE_PLACE
        at = torch.arange(-_REACH, _REACH + 1).float()
        line = torch.exp(-0.5 * (at / width) ** 2)
        line = line / line.sum()
        self.register_buffer("powers", torch.stack([line, line * at, line * at * at]))
        self.register_buffer("expected", torch.tensor(expected))
        self.powers: Tensor
        self.expected: Tensor

    def forward(self, field: Tensor, elevation: Tensor, share: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return rate, mean field, mean elevation, and the spread of elevation that places do not explain [km].

        Parameters
        ----------
        field : Tensor, shape (N, 1, H, W)
        elevation : Tensor, the same shape
            [km]
        share : Tensor, the same shape
            What counts of each cell; cells with 0 are not looked at.
        """
        share, field, elevation = share.double(), field.double(), elevation.double()
        fields = [share, share * field, share * elevation, share * elevation * field, share * elevation * elevation]
        w, t, z, z_t, z_z = self.moments(torch.cat(fields, dim=1)).split(1, dim=1)
        total = w[..., 0, 0].clamp(min=1e-12)
        y, x = w[..., 1, 0] / total, w[..., 0, 1] / total
        yy = w[..., 2, 0] / total - y * y + self.ridge_place
        yx = w[..., 1, 1] / total - y * x
        xx = w[..., 0, 2] / total - x * x + self.ridge_place
        mean_t, mean_z = t[..., 0, 0] / total, z[..., 0, 0] / total
        t_y, t_x = t[..., 1, 0] / total - y * mean_t, t[..., 0, 1] / total - x * mean_t
        z_y, z_x = z[..., 1, 0] / total - y * mean_z, z[..., 0, 1] / total - x * mean_z
        determinant = yy * xx - yx * yx
        along_y, along_x = (xx * z_y - yx * z_x) / determinant, (yy * z_x - yx * z_y) / determinant
        covariance = z_t[..., 0, 0] / total - mean_z * mean_t - along_y * t_y - along_x * t_x
        variance = (z_z[..., 0, 0] / total - mean_z * mean_z - along_y * z_y - along_x * z_x).clamp(min=0.0)
        rate = (covariance + self.ridge * self.expected) / (variance + self.ridge)
        return rate.float(), mean_t.float(), mean_z.float(), variance.sqrt().float()

    def moments(self, x: Tensor) -> Tensor:
        """Return the weighted sums around each cell, times powers 0 to 2 of row and column, (N, C, H, W, 3, 3).

        Differences of such sums lose digits: they are in double precision, and not convolutions, which a host may run
        in bfloat16.
        """
        n, reach = 2 * self.reach + 1, [self.reach] * 4
        powers = self.powers.double()
        along_row = (pad(x, reach).unfold(3, n, 1)[..., None, :] * powers).sum(dim=-1)
        windows = along_row.unfold(2, n, 1)[..., None, :, :]
        return (windows * powers[:, None]).sum(dim=-1)


class Start(nn.Module):
    """Interpolation that keeps means, and the mean of the local lapse rates times what is higher than the coarse cells.

    Parameters
    ----------
    scale : int
    how : str
        Of the interpolation.
    land_mean : bool
        Whether a coarse value is the mean over the land of its cell: then cells without land are not looked at.
    expected : float
        The lapse rate where the neighbours tell none [units of the field per km].
    """

    def __init__(self, scale: int, how: str, land_mean: bool, expected: float) -> None:
        super().__init__()
        self.scale, self.land_mean = scale, land_mean
        self.to_fine = nn.PixelShuffle(scale)
        self.interpolate = Interpolate(scale, how)
        self.mean_kept = MeanKept(scale, how)
        self.fits = nn.ModuleList(LocalLapse(width, expected) for width in WIDTHS)

    def forward(self, frames: Tensor, static: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the fine field, what counts of each fine cell, and what networks see on both grids.

        Parameters
        ----------
        frames : Tensor, shape (N, T, C, H, W)
            Fields at T times, of which the first one at the last time is downscaled.
        static : Tensor, shape (N, S s s, H, W)
            Elevation [m], then land fraction [%], then others.

        Returns
        -------
        start, weights : Tensor, shape (N, 1, s H, s W)
        seen : Tensor, shape (N, T, N_SEEN + C - 1, H, W)
            Land share, what the lapse rates found, and the other fields as they are.
        departures : Tensor, shape (N, S, s H, s W)
            Of the static fields from their own coarse means, elevation [km].
        """
        fine = self.to_fine(static)
        weights = fine[:, 1:2] / 100.0 if self.land_mean else torch.ones_like(fine[:, :1])
        share = coarsened(weights, self.scale)
        level = weighted_means(fine[:, :1], weights, self.scale) / 1000.0
        seen = []
        latest, rate, here = level, level, level
        for step in range(frames.shape[1]):
            latest = torch.where(share > 0.0, frames[:, step, :1], 0.0)
            found = [fit(latest, level, share) for fit in self.fits]
            _, near_field, near_level, spread = found[0]
            latest, here = torch.where(share > 0.0, latest, near_field), torch.where(share > 0.0, level, near_level)
            rate = torch.stack([one[0] for one in found]).mean(dim=0)
            channels = [share, spread]
            channels += [one[0] - rate for one in found]
            channels += [latest - one[1] - one[0] * (here - one[2]) for one in found]
            channels.append(frames[:, step, 1:])
            seen.append(torch.cat(channels, dim=1))
        height = fine[:, :1] / 1000.0 - self.mean_kept(here, weights)
        start = self.mean_kept(latest, weights) + height * self.interpolate(rate)
        others = fine[:, 1:] - self.interpolate(coarsened(fine[:, 1:], self.scale))
        return start, weights, torch.stack(seen, dim=1), torch.cat([height, others], dim=1)
