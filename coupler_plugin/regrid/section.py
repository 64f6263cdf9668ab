# SPDX-License-Identifier: Apache-2.0
"""What the coupling file says about grids: `grid:` of an emulator, and the section `regrid:`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from coupler_plugin.errors import nearest
from coupler_plugin.regrid.grids import Edges
from coupler_plugin.regrid.weights import METHODS

#: what a field may be carried by: the methods of weights, and for classes the one that covers most of a cell
CARRIERS: Final = (*METHODS, "largest_share")


def _carrier(name: str) -> str:
    if name not in CARRIERS:
        raise ValueError(f"is no method; allowed: {', '.join(CARRIERS)}.{nearest(name, CARRIERS)}")
    return name


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GridSection(_Section):
    """A grid: `latlon`, `gaussian` or `file`."""

    latlon: float | None = Field(None, gt=0, description="cells of so many degrees")
    region: tuple[float, float, float, float] | None = Field(
        None, description="of `latlon`: [west, first latitude, east, last latitude]; default: the globe from the south"
    )
    gaussian: int | None = Field(None, ge=2, description="number of Gaussian latitudes, from the north")
    file: Path | None = Field(None, description="SCRIP, ESMF mesh, UGRID, CF coordinates or CDO's text")
    mask: str | None = Field(None, description="of a file: variable that is not zero where a cell takes part")
    lon: str | None = Field(None, description="of a file with several: variable of longitudes")
    lat: str | None = Field(None, description="of a file with several: variable of latitudes")
    bounds: Literal["infer"] | None = Field(None, description="of a file without bounds: half-way between centres")
    whole: bool | None = Field(None, description="of a file: check that its cells cover the sphere")

    @model_validator(mode="after")
    def _is_one(self) -> GridSection:
        kinds = [kind for kind in ("latlon", "gaussian", "file") if getattr(self, kind) is not None]
        if len(kinds) != 1:
            raise ValueError(f"a grid is described by one of latlon, gaussian, file; this one has {kinds or 'none'}")
        allowed = {"latlon": {"region"}, "gaussian": set(), "file": {"mask", "lon", "lat", "bounds", "whole"}}[kinds[0]]
        for name in self.described().keys() - {kinds[0]} - allowed:
            raise ValueError(f"a grid given by '{kinds[0]}' has no '{name}'")
        return self

    @property
    def name(self) -> str:
        """The description in one line."""
        return ", ".join(f"{key}: {value}" for key, value in self.model_dump(mode="json", exclude_none=True).items())

    def described(self) -> dict[str, Any]:
        """Return the description that `make_grid` takes."""
        return self.model_dump(exclude_none=True)


class WeightFilesSection(_Section):
    """Weight files made elsewhere, by the method of the fields that travel by them."""

    inward: dict[str, Path] = Field({}, description="from the host's grid to the emulator's: method and file")
    outward: dict[str, Path] = Field({}, description="back to the host's grid: method and file")


class RegridSection(_Section):
    """Between the host's cells and emulators that have a grid of their own."""

    host_grid: GridSection | None = Field(
        None, description="the grid whose ids the host's cells have; default: the cells that set_cells gave"
    )
    methods: dict[str, Annotated[str, AfterValidator(_carrier)]] = Field(
        {}, description="method of a field, where the one for its nature is not meant"
    )
    engine: Literal["auto", "xesmf", "builtin", "yac"] = Field("auto", description="what makes weights")
    edges: Edges = Field("great_circle", description="northern and southern edges of cells: great_circle or latitude")
    masked: Literal["renormalise", "flag"] = Field(
        "renormalise", description="a cell that is covered in part only: take what there is, or count it as unmapped"
    )
    cache: Path = Field(Path("weights"), description="folder of the weight files, relative to the coupling file")
    check: Literal["conservation"] | None = Field(None, description="compare area integrals in every call")


DEFAULTS: Final = RegridSection.model_validate({})
NO_FILES: Final = WeightFilesSection.model_validate({})
