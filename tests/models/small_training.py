# SPDX-License-Identifier: Apache-2.0
"""A training of a second, for tests of what all trainings share; under torchrun it is shared between processes.

python small_training.py FOLDER writes to FOLDER/RANK.pt the weights of each process, of a curve and of a grid emulator;
with `stopped`, the curve's training is stopped and gone on with, with `whole` it is not: of the curve alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from torchscript_models import processes
from torchscript_models.fitting import Settings, fit_member
from torchscript_models.footprint import measured
from torchscript_models.segmentation.recipe import TreeCoverRecipe
from torchscript_models.watch import Checkpoints, Watch

SETTINGS = Settings(epochs=6, members=1, learning_rate=3e-2, weight_decay=0.0, patience=6)
ROWS = 64


def loss(member: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    x, y = batch
    return ((member(x) - y) ** 2).mean()


def fit(watch: Watch, settings: Settings = SETTINGS, rows: int = ROWS) -> tuple[nn.Module, list[float]]:
    """Fit a curve; batches are drawn from `rng`, the hidden layer has dropout."""
    torch.manual_seed(settings.seed)
    member = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Dropout(0.1), nn.Linear(16, 1))
    rng = np.random.default_rng(settings.seed)
    held_out = _sample(np.random.default_rng(99), 256)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(8):
            yield _sample(rng, rows)

    return member, fit_member(member, batches, loss, held_out, settings, watch, rng=rng)


def _sample(rng: np.random.Generator, rows: int) -> tuple[Tensor, Tensor]:
    x = rng.normal(size=(rows, 2)).astype(np.float32)
    return torch.from_numpy(x), torch.from_numpy(np.sin(x[:, :1]) * x[:, 1:])


class FewPhotographs(TreeCoverRecipe):
    """tree_cover on a few small scenes."""

    size = 32
    counts: ClassVar = {"train": 32, "validation": 4, "test": 4}


def fit_grid(watch: Watch) -> tuple[nn.Module, list[float]]:
    """Fit a U-Net of tree_cover by its recipe; return it with its held-out losses."""
    losses: list[float] = []

    def log(fit: str, epoch: int, values: Mapping[str, float]) -> None:
        losses.append(values["held_out_loss"])

    recipe = FewPhotographs()
    network = recipe.train(replace(recipe.settings, epochs=4), replace(watch, log=log))
    return network, losses


def fit_stopped(folder: Path) -> tuple[nn.Module, list[float]]:
    """Fit the curve as `fit` does, stopped in the fourth epoch and gone on with from the checkpoint of the third."""
    advances: list[int] = []

    def stop() -> None:
        advances.append(1)
        if len(advances) == 4:
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        fit(Watch(stop, checkpoints=Checkpoints(folder, resume=False)))
    processes.agreed(0.0)  # the first process has written its last checkpoint
    return fit(Watch(checkpoints=Checkpoints(folder, resume=True)))


if __name__ == "__main__":
    folder, kind = Path(sys.argv[1]), "".join(sys.argv[2:])
    with processes.processes():
        network, history = fit_stopped(folder) if kind == "stopped" else fit(Watch())
        written = {"weights": network.state_dict(), "history": history}
        if not kind:
            written |= {"sum": processes.summed(processes.rank() + 1.0)}
            if find_spec("codecarbon"):
                with measured(None) as written["footprint"]:
                    fit(Watch())
            grid, grid_history = fit_grid(Watch())
            written |= {"grid_weights": dict(grid.named_parameters()), "grid_history": grid_history}
        torch.save(written, folder / f"{processes.rank()}.pt")
        (folder / f"{processes.rank()}.count").write_text(str(processes.count()))
