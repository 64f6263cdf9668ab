# SPDX-License-Identifier: Apache-2.0
"""What the coupling file says to the offline driver; a host that couples in-line does not read it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from coupler_plugin.config.section import IntervalText, Section, fixed


class ForcingSection(Section):
    """Files that give fields to the offline driver."""

    files: list[Path] = Field(min_length=1, description="NetCDF files or Zarr stores, or patterns such as 'era5_*.nc'")
    fields: dict[str, str] = Field(
        {}, description="variable of a field, where name, alias or standard_name do not tell"
    )
    interpolate: Literal["hold", "linear"] = Field("hold", description="between the times of the files")
    missing: Literal["stop", "hold"] = Field(
        "stop", description="a value that is missing in a cell: stop, or take the last one that was not"
    )


class MaskSection(Section):
    """Which cells of the forcing take part: those at which a variable lies in a range."""

    variable: str = Field(description="variable of the first forcing file, without time")
    min: float = -float("inf")
    max: float = float("inf")


class DriverSection(Section):
    """An offline run; a host that couples in-line does not read it."""

    start: str = Field(description="beginning of the first step")
    end: str = Field(description="end of the last step")
    dt: IntervalText = Field("1d", description="step of the driver")
    forcing: list[ForcingSection] = Field(min_length=1)
    mask: MaskSection | None = None
    sites: Path | None = Field(
        None, description="CSV file with columns lat and lon: run at these places, with the forcing nearest to each"
    )

    _dt_is_fixed = field_validator("dt")(fixed)
