# SPDX-License-Identifier: Apache-2.0
"""What the command line asks of every emulator's recipe: train it, score it, describe it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from coupler_plugin.emulator.manifest import Manifest
from torchscript_models.fitting import Settings
from torchscript_models.watch import Watch

EMULATOR = "emulator"  #: the name of the emulator's own predictions in a table, beside those of the baselines


class Recipe(ABC):
    """How one emulator is made and judged.

    Parameters
    ----------
    data : Path
        Folder of the observations.

    Attributes
    ----------
    name : str
        Of the emulator, and of its files.
    settings : Settings
        What it is trained with unless the command says otherwise.
    """

    name: ClassVar[str]
    settings: ClassVar[Settings]
    targets: ClassVar[tuple[str, ...]]
    seeds: ClassVar[int] = 1  #: runs that its scores are the mean of
    is_shipped: ClassVar[bool] = True  #: whether `all` makes it; else it is there for comparison
    needs_data: ClassVar[bool] = True  #: whether there are observations to read

    @abstractmethod
    def __init__(self, data: Path) -> None: ...

    @abstractmethod
    def train(self, settings: Settings, watch: Watch) -> nn.Module:
        """Return the network that goes into the zoo, trained on all that there is to train on."""

    @abstractmethod
    def evaluate(self, settings: Settings, watch: Watch) -> dict[str, Any]:
        """Return scores on what the scored networks have not seen: {view: {output: {metric: value, baselines}}}."""

    @abstractmethod
    def manifest(self, settings: Settings, scores: dict[str, Any]) -> Manifest:
        """Return the manifest of the network that `train` gives."""

    def epochs_to_train(self, settings: Settings) -> int:
        """Return how many epochs `train` takes at most."""
        return settings.members * settings.epochs

    def epochs_to_evaluate(self, settings: Settings) -> int:
        """Return how many epochs `evaluate` takes at most."""
        return settings.n_folds * self.epochs_to_train(settings)
