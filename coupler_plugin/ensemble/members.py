# SPDX-License-Identifier: Apache-2.0
"""The list of members: every point of the parameters, with every choice of models, with every number of noise."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.stats import qmc  # type: ignore[import-untyped]

from coupler_plugin.ensemble.section import EnsembleFile, ParametersSection
from coupler_plugin.errors import CouplerError, Status


@dataclass(frozen=True)
class Change:
    """What a parameter does to a field: `how` is set, add or multiply."""

    field: str
    how: str
    number: float
    units: str | None


@dataclass(frozen=True)
class Member:
    """One member.

    Attributes
    ----------
    number : int
        Its place in the list, from 1.
    noise : int
        The number that its random numbers are drawn by.
    models : tuple of (emulator, file)
    changes : tuple of Change
    """

    number: int
    noise: int
    models: tuple[tuple[str, Path], ...]
    changes: tuple[Change, ...]

    def key(self, hashes: dict[Path, str], ensemble: EnsembleFile) -> str:
        """Return a hash of all that makes this member what it is, whatever its place in the list."""
        about = {
            "noise": self.noise if ensemble.perturb or ensemble.dropout else 0,
            "seed": ensemble.seed,
            "models": [(name, hashes[path]) for name, path in self.models],
            "changes": [asdict(change) for change in self.changes],
            "perturb": [section.model_dump() for section in ensemble.perturb],
            "dropout": ensemble.dropout,
        }
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]

    def __str__(self) -> str:
        """Return what tells it from the others, in a few words."""
        words = [path.name for _, path in self.models]
        words += [f"{change.field} {_SIGNS[change.how]}{change.number:g}" for change in self.changes]
        return ", ".join([f"noise {self.noise}", *words])


_SIGNS = {"set": "= ", "add": "+ ", "multiply": "x "}


def list_members(ensemble: EnsembleFile) -> list[Member]:
    """Return the members of an ensemble, in the order: parameters, models, noise."""
    points = _points(ensemble.parameters, ensemble.seed) if ensemble.parameters else [()]
    choices = list(itertools.product(*([(name, file) for file in files] for name, files in ensemble.models.items())))
    product = itertools.product(points, choices, ensemble.numbers)
    return [Member(place, noise, models, changes) for place, (changes, models, noise) in enumerate(product, 1)]


def check_unique(members: list[Member], hashes: dict[Path, str], ensemble: EnsembleFile) -> None:
    """Check that no two members are the same.

    Raises
    ------
    CouplerError
        CONFIG, naming two that are.
    """
    seen: dict[str, Member] = {}
    for member in members:
        key = member.key(hashes, ensemble)
        if key in seen:
            raise CouplerError(
                Status.CONFIG,
                f"the members {seen[key].number} ({seen[key]}) and {member.number} ({member}) are the same: nothing "
                "tells them apart. Give 'perturb:' or 'dropout:' for members with noise of their own, and each model "
                "and parameter once.",
            )
        seen[key] = member


def _points(section: ParametersSection, seed: int) -> list[tuple[Change, ...]]:
    lists = [entry.numbers for entry in section.values]
    if section.points is None:
        rows = [list(row) for row in itertools.product(*lists)]
    else:
        shares = qmc.LatinHypercube(len(lists), seed=np.random.default_rng(seed)).random(section.points)
        ends = np.array(lists)
        rows = (ends[:, 0] + shares * (ends[:, 1] - ends[:, 0])).tolist()
    return [
        tuple(
            Change(entry.field, entry.how, float(number), entry.units)
            for entry, number in zip(section.values, row, strict=True)
        )
        for row in rows
    ]
