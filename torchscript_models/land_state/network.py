# SPDX-License-Identifier: Apache-2.0
"""The networks of land_state: by how much a day changes the land, and what the day's fluxes are.

They are of the kind of aiLand: increments of prognostic states beside diagnostics, trained by what many steps lead to.
A perceptron knows the states alone; an LSTM remembers the days before as well.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import silu

from torchscript_models.layers import Scaling

#: the day's means: weather, leaf area
FORCING: Final = ("tas", "huss", "sfcWind", "ps", "rsds", "rlds", "pr", "lai")
#: water of two soil layers and snow [kg m-2], temperature of two soil layers [K], at the end of a day
STATES: Final = ("mrsos", "mrsod", "snw", "tsls", "tsld")
#: the day's means: evapotranspiration, runoff [kg m-2 d-1], latent and sensible heat [W m-2]
DIAGNOSTICS: Final = ("evspsbl", "mrro", "hfls", "hfss")
HIDDEN: Final = 96
MEMORY: Final = 64  #: units of the LSTM
SNOW: Final = 2  #: place of snow among the states


class Perceptron(nn.Module):
    """Scaled forcing and states to scaled increments and scaled diagnostics; it has no memory."""

    memory: Final = 0  #: numbers that it keeps of a cell from day to day

    def __init__(self, n_inputs: int) -> None:
        super().__init__()
        self.first = nn.Linear(n_inputs, HIDDEN)
        self.second = nn.Linear(HIDDEN, HIDDEN)
        self.increments = nn.Linear(HIDDEN, len(STATES))
        self.diagnostics = nn.Linear(HIDDEN, len(DIAGNOSTICS))

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return increments and diagnostics of (N, C), shape (N, 9), and the memory."""
        hidden = silu(self.first(x))
        hidden = hidden + silu(self.second(hidden))
        return torch.cat([self.increments(hidden), self.diagnostics(hidden)], dim=1), memory


class Lstm(nn.Module):
    """Like a `Perceptron`, but a cell of an LSTM makes the answers, which remembers the days before."""

    memory: Final = 2 * MEMORY

    def __init__(self, n_inputs: int) -> None:
        super().__init__()
        self.inward = nn.Linear(n_inputs, MEMORY)
        self.cell = nn.LSTMCell(MEMORY, MEMORY)
        self.increments = nn.Linear(MEMORY, len(STATES))
        self.diagnostics = nn.Linear(MEMORY, len(DIAGNOSTICS))

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return increments and diagnostics of (N, C), shape (N, 9), and the memory (N, 2 MEMORY) after this day."""
        before, kept = memory.chunk(2, dim=1)
        hidden, kept = self.cell(silu(self.inward(x)), (before, kept))
        answers = torch.cat([self.increments(hidden), self.diagnostics(hidden)], dim=1)
        return answers, torch.cat([hidden, kept], dim=1)


class Land(nn.Module):
    """What the networks have in common: scaling, the mean of the members, and bounds of a step.

    Parameters
    ----------
    samples : array, shape (n, 13)
        Forcing and states to train on, for the scaling.
    answers : array, shape (n, 9)
        Increments of the states, and diagnostics, for the scaling of the answers.
    lowest, highest : array, shape (5,)
        What the states of the land model keep within.
    members : list of Perceptron or Lstm
        Networks of the ensemble.
    """

    def __init__(
        self,
        samples: NDArray[np.float32],
        answers: NDArray[np.float32],
        lowest: NDArray[np.float32],
        highest: NDArray[np.float32],
        members: list[nn.Module],
    ) -> None:
        super().__init__()
        self.n_forcing, self.n_states = len(FORCING), len(STATES)  # a script knows no globals
        self.snow, self.rain = SNOW, FORCING.index("pr")
        logarithmic = (FORCING.index("pr"), len(FORCING) + SNOW)
        self.scaling = Scaling(samples, logarithmic)
        self.members = nn.ModuleList(members)
        for name, values in {
            "mean": answers.mean(axis=0),
            "std": answers.std(axis=0),
            "lowest": lowest,
            "highest": highest,
        }.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32))
        self.mean: Tensor
        self.std: Tensor
        self.lowest: Tensor
        self.highest: Tensor

    def day(self, inputs: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states at the end of the day, their soil water, the diagnostics, (N, 10), and the memory.

        Parameters
        ----------
        inputs : Tensor, shape (N, 13)
            `FORCING` of the day and `STATES` at its beginning, in the manifest's units.
        memory : Tensor, shape (N, members * K)
            Of all members, one after the other; zeros on the first day.
        """
        answers = torch.zeros(inputs.shape[0], len(self.mean), device=inputs.device)
        x = self.scaling(inputs)
        kept: list[Tensor] = []
        size = memory.shape[1] // len(self.members)
        for index, member in enumerate(self.members):
            answer, after = member(x, memory[:, index * size : (index + 1) * size])
            answers = answers + answer
            kept.append(after)
        states, diagnostics = self.step(answers / len(self.members), inputs)
        water = states[:, 0:1] + states[:, 1:2]
        return torch.cat([states, water, diagnostics], dim=1), torch.cat(kept, dim=1)

    def step(self, answers: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return new states, within what the land model reaches, and diagnostics.

        Parameters
        ----------
        answers : Tensor, shape (N, 9)
            Scaled increments and diagnostics.
        inputs : Tensor, shape (N, 13)
        """
        states = inputs[:, self.n_forcing :]
        physical = self.mean + self.std * answers
        new = torch.clamp(states + physical[:, : self.n_states], self.lowest, self.highest)
        # snow can grow by what falls and by no more, or a little would gather over every summer
        most = states[:, self.snow : self.snow + 1] + torch.clamp(inputs[:, self.rain : self.rain + 1], min=0.0)
        grown = torch.minimum(new[:, self.snow : self.snow + 1], most)
        new = torch.cat([new[:, : self.snow], grown, new[:, self.snow + 1 :]], dim=1)
        diagnostics = physical[:, self.n_states :]
        runoff = torch.clamp(diagnostics[:, 1:2], min=0.0)
        return new, torch.cat([diagnostics[:, :1], runoff, diagnostics[:, 2:]], dim=1)


class LandState(Land):
    """The land at the end of a day, from the land at its beginning and the day's weather."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return what `day` does: a perceptron has no memory."""
        return self.day(inputs, inputs[:, :0])[0]


class LandStateLstm(Land):
    """The same by LSTMs, whose memory is the state that the plugin keeps of a cell."""

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `day` does."""
        return self.day(inputs, state)
