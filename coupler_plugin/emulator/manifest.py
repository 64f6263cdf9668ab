# SPDX-License-Identifier: Apache-2.0
"""The manifest: what an emulator file says about itself.

It travels as `manifest.json` inside the TorchScript archive, so that a file can be coupled without asking its author
anything. Old manifests stay readable: a reader accepts every `manifest_version` up to its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from coupler_plugin.clock import parse_interval
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.guard.section import SILENT, GuardSection

MANIFEST_VERSION = 1
ENTRY = "manifest.json"
_MOST = 2**20  # channels of an entry, samples of a window: more is a mistake, and would take all memory

Aggregate = Literal["mean", "sum", "min", "max", "last"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Statistics(_Strict):
    """Statistics of one channel over the training data, in the units of its entry."""

    mean: float
    std: float
    min: float
    max: float


class Variable(_Strict):
    """A quantity that goes into or comes out of an emulator: `size` channels of a field, in `units`."""

    name: str
    units: str
    size: int = Field(1, ge=1, le=_MOST)
    valid_range: tuple[float, float] | None = None
    description: str = ""


class Input(Variable):
    """An input: how the host's values are aggregated over the emulator's own time step, and what it was trained on."""

    aggregate: Aggregate = "mean"
    statistics: Statistics | None = None


class Output(Variable):
    """An output. With a `closure` it is this sum of other outputs, such as ``{reco: 1, gpp: -1}`` for NEE.

    The plugin computes a closure again in float64 in the units of its receiver, where it then holds exactly: for
    outputs that the host binds in the same units.
    """

    closure: dict[str, float] = {}


class State(_Strict):
    """A recurrent state that the plugin keeps for each cell between calls."""

    name: str
    size: int = Field(ge=1, le=_MOST)
    initial: float = 0.0


class Window(_Strict):
    """The history that an emulator sees: the last `length` samples, one per time step of the emulator."""

    length: int = Field(ge=1, le=_MOST)


class Tile(_Strict):
    """How an emulator that sees a neighbourhood takes a grid: in tiles that overlap.

    `size` counts rows and columns with the `halo`, the pixels on each side that a tile only sees; rows are counted from
    the first latitude of the grid. With `scale` s the answers are on the grid refined s times in both directions.
    Answers of overlapping tiles are averaged with Gaussian weights, or cut off at the halo (``core``).
    """

    size: tuple[int, int]
    halo: int = Field(ge=0)
    scale: int = Field(1, ge=1)
    blend: Literal["gaussian", "core"] = "gaussian"

    @model_validator(mode="after")
    def _has_a_core(self) -> Tile:
        if min(self.size) <= 2 * self.halo:
            raise ValueError(
                f"a tile of {self.size[0]} x {self.size[1]} pixels has no core inside a halo of {self.halo}"
            )
        return self


class Distribution(_Strict):
    """How the input channels lay together in the training data, beside the statistics of each.

    The distance of an input from the training data is the Mahalanobis distance, from `correlation` and the means and
    standard deviations of the inputs. `max_distance` is the largest one found in the training data; without it, the
    distance that one in 10,000 samples of a normal distribution exceeds is used.
    """

    correlation: list[list[float]] | None = None
    max_distance: float | None = Field(None, gt=0)


class Budget(_Strict):
    """What a sum of outputs must be, or must not exceed; the guard `budget` closes it by scaling the terms.

    `terms` are outputs and their positive factors, all channels of an output summed. ``equals`` is a number in the
    units of the first term, such as 1 for class fractions. ``at_most`` is such a number, or fields and their factors
    in canonical units, such as ``{mrso: 1, snw: 1}`` for evaporation; with `per_step`, terms that are rates are first
    multiplied by the length of the emulator's time step [s].
    """

    terms: dict[str, float] = Field(min_length=1)
    equals: float | None = Field(None, gt=0)
    at_most: float | dict[str, float] | None = None
    per_step: bool = False
    description: str = ""

    @model_validator(mode="after")
    def _says_one_thing(self) -> Budget:
        if (self.equals is None) == (self.at_most is None):
            raise ValueError("a budget has either 'equals' or 'at_most'")
        if min(self.terms.values()) <= 0:
            raise ValueError("the factors of a budget are positive; write a difference as a 'closure' of an output")
        if self.per_step and self.at_most is None:
            raise ValueError("'per_step' goes with 'at_most'")
        return self


class Manifest(_Strict):
    """What `forward` of an emulator takes and gives.

    `forward(inputs[, static][, state])` returns `outputs` or `(outputs, state)`; an argument exists only when the
    manifest names it. All tensors are float32 with physical units: inputs (N, C), or (N, T, C) with a window, oldest
    sample first; static (N, S); state (N, K); outputs (N, O). Channels follow the order of the entries.

    An emulator of the kind ``tile`` sees N tiles of H rows and W columns: inputs (N, C, H, W) or (N, T, C, H, W),
    static (N, S, H, W), state (N, K, H, W), outputs (N, O, s H, s W) with the scale s. State and outputs of overlapping
    tiles are averaged: a state that is a class goes from call to call as the probabilities of the classes.
    """

    manifest_version: int = MANIFEST_VERSION
    name: str
    version: str
    kind: Literal["column", "tile"] = "column"
    description: str
    source: str = ""
    license: str = ""
    attribution: str = ""
    every: str
    tile: Tile | None = None
    grid: dict[str, Any] | None = Field(None, description="the grid it was made for, as the coupling file has grids")
    window: Window | None = None
    inputs: list[Input] = Field(min_length=1)
    static: list[Variable] = []
    state: list[State] = []
    outputs: list[Output] = Field(min_length=1)
    distribution: Distribution | None = None
    budgets: list[Budget] = []
    guard: GuardSection = SILENT
    scores: dict[str, Any] = {}
    training: dict[str, Any] = {}

    @field_validator("every")
    @classmethod
    def _every_is_an_interval(cls, value: str) -> str:
        try:
            parse_interval(value)
        except CouplerError as error:
            raise ValueError(str(error)) from error
        return value

    @model_validator(mode="after")
    def _tile_goes_with_its_kind(self) -> Manifest:
        if (self.kind == "tile") != (self.tile is not None):
            raise ValueError("an emulator of the kind 'tile' has an entry 'tile', and no other has one")
        if self.tile is not None and self.tile.scale > 1 and self.budgets:
            raise ValueError("a budget cannot be closed in answers on a finer grid than the inputs")
        return self

    @model_validator(mode="after")
    def _names_are_unique(self) -> Manifest:
        inputs = [(entry.name, entry.aggregate) for entry in self.inputs]
        for what, names in (("inputs", inputs), ("static", [v.name for v in self.static])):
            if len(set(names)) < len(names):
                raise ValueError(f"'{what}' names the same quantity twice")
        outputs = [entry.name for entry in self.outputs]
        if len(set(outputs)) < len(outputs):
            raise ValueError("'outputs' names the same quantity twice")
        plain = {entry.name: entry for entry in self.outputs if not entry.closure}
        for entry in self.outputs:
            for term in entry.closure:
                if term not in plain or plain[term].size != entry.size:
                    raise ValueError(
                        f"the closure of '{entry.name}' names '{term}', which is no other output of its size"
                    )
        for budget in self.budgets:
            for term in budget.terms:
                if term not in plain:
                    raise ValueError(f"a budget names '{term}', which is no output, or the sum of others")
        return self

    @model_validator(mode="after")
    def _correlation_is_one(self) -> Manifest:
        if self.distribution and self.distribution.correlation is not None:
            try:
                matrix = np.array(self.distribution.correlation)
            except ValueError:
                matrix = np.empty(0)
            if matrix.shape != (self.n_inputs, self.n_inputs):
                raise ValueError(f"the correlation is no matrix of the {self.n_inputs} input channels")
            if not (np.allclose(matrix, matrix.T) and np.allclose(np.diag(matrix), 1) and np.abs(matrix).max() < 1.001):
                raise ValueError("the correlation is not symmetric with ones on its diagonal and nothing beyond")
        return self

    @property
    def n_inputs(self) -> int:
        """Number of input channels C."""
        return sum(entry.size for entry in self.inputs)

    @property
    def n_static(self) -> int:
        """Number of static channels S."""
        return sum(entry.size for entry in self.static)

    @property
    def n_state(self) -> int:
        """Number of state channels K."""
        return sum(entry.size for entry in self.state)

    @property
    def n_outputs(self) -> int:
        """Number of output channels O."""
        return sum(entry.size for entry in self.outputs)


def parse(text: str | bytes, where: str) -> Manifest:
    """Return the manifest written in the JSON `text`; `where` names its file in errors.

    Raises
    ------
    CouplerError
        MODEL, when the text is no manifest, or one of a newer plugin.
    """
    try:
        raw = json.loads(text)
        version = raw["manifest_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise CouplerError(
            Status.MODEL,
            f"{where}: the manifest is not readable ({error}); export the emulator again with "
            "coupler_plugin.emulator.manifest.save.",
        ) from error
    if not isinstance(version, int) or not 1 <= version <= MANIFEST_VERSION:
        raise CouplerError(
            Status.MODEL,
            f"{where}: manifest_version is {version!r}, this plugin reads versions 1 to {MANIFEST_VERSION}; "
            "update coupler_plugin or export the emulator for this version.",
        )
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"]) or "manifest"
        raise CouplerError(
            Status.MODEL,
            f"{where}: '{path}' in the manifest is wrong: {first['msg']} (value: {first['input']!r}).",
        ) from error


def save(module: torch.jit.ScriptModule, manifest: Manifest, path: str | Path) -> None:
    """Write the scripted `module` with its manifest to `path`."""
    text = manifest.model_dump_json(indent=1, exclude_none=True)
    torch.jit.save(module, str(path), _extra_files={ENTRY: text})
