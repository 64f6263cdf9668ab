# SPDX-License-Identifier: Apache-2.0
"""What an engine is asked for, and what it must be able to answer."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from typing import Protocol

from coupler_plugin.regrid.grids import Edges, Grid
from coupler_plugin.regrid.links import Links


@dataclass(frozen=True)
class Request:
    """Weights that are wanted.

    Attributes
    ----------
    src, dst : Grid
    method : str
        One of `weights.METHODS`.
    edges : "great_circle" or "latitude"
        What the edges of rectilinear cells along parallels are; of no meaning but for conservative methods.
    timeout : float
        Longest time that an engine's process may take [s].
    """

    src: Grid
    dst: Grid
    method: str
    edges: Edges
    timeout: float

    @property
    def conservative(self) -> bool:
        """Whether the method is one of the conservative ones."""
        return self.method.startswith("conservative")

    def __str__(self) -> str:
        edges = f" with {self.edges} edges" if self.conservative else ""
        return f"'{self.method}' weights{edges} from '{self.src.name}' to '{self.dst.name}'"


class Engine(Protocol):
    """Makes weights."""

    name: str

    def refusal(self, request: Request) -> str | None:
        """Return why this engine cannot answer a request, as the rest of a sentence; None if it can."""

    def version(self) -> str:
        """Return what changes when its weights may change."""

    def links(self, request: Request) -> Links:
        """Return the links of a request it does not refuse; places are counted from 0."""


def version_of(package: str) -> str | None:
    """Return the version of an installed package, without importing it; None if there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
