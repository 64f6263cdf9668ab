# SPDX-License-Identifier: Apache-2.0
"""What the coupling file says about the files that a run writes: histories, record, restarts and report."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import Field, field_validator

from coupler_plugin.config.section import IntervalText, Section

#: what a history holds of an interval: word of the coupling file -> how CF calls it in cell_methods
METHODS: Final = {"mean": "mean", "min": "minimum", "max": "maximum", "point": "point"}


class HistorySection(Section):
    """A history file: what became of fields in intervals of `every`."""

    file: Path = Field(description="NetCDF file or, with the ending .zarr, Zarr store to write")
    fields: list[str] = Field(
        min_length=1,
        description="fields that are bound or computed by an emulator; their means, or 'tas max', 'tas min', and in "
        "files of their own 'tas point', the value at the end of the interval",
    )
    every: IntervalText = Field("1d", description="length of the interval")
    from_: str | None = Field(None, alias="from", description="time from which intervals are written")
    grid: bool = Field(False, description="as latitude by longitude, for cells of such a grid; default: as a list")

    @property
    def entries(self) -> list[tuple[str, str]]:
        """Name and method of each field."""
        words = [text.split() for text in self.fields]
        return [(word[0], word[1] if len(word) > 1 else "mean") for word in words]

    @property
    def names(self) -> list[str]:
        """The fields, each once."""
        return list(dict.fromkeys(name for name, _ in self.entries))

    @field_validator("fields")
    @classmethod
    def _methods_are_known(cls, value: list[str]) -> list[str]:
        for text in value:
            if len(words := text.split()) not in (1, 2) or (words[1:] and words[1] not in METHODS):
                raise ValueError(f"'{text}' is not a field, or a field and one of {', '.join(METHODS)}")
        points = [text.endswith(" point") for text in value]
        if any(points) and not all(points):
            raise ValueError("values at a point in time and those of intervals belong in files of their own")
        return value


class ReportSection(Section):
    """What a run cost and where its time went, written at finalize."""

    file: Path = Field(description="JSON file, relative to the coupling file")
    html: Path | None = Field(None, description="page with figures")
    trace: Path | None = Field(None, description="timeline of one step, in the Chrome trace format")
    energy: Literal["estimate", "measure"] = Field(
        "estimate",
        description="from processor time and the power of a core, or measured by CodeCarbon, which has to be installed",
    )
    watts_per_core: float = Field(10.0, gt=0, description="power of a busy core, for the estimate")
    grams_co2_per_kwh: float = Field(475.0, ge=0, description="of the electricity; default: world mean of 2018")


class RecordSection(Section):
    """A cube of what the host gave and got back, to train on and to replay."""

    file: Path = Field(description="NetCDF file or, with the ending .zarr, Zarr store to write")
    fields: list[str] | None = Field(
        None, min_length=1, description="fields to record; default: all that emulators take and give"
    )
    every: IntervalText = Field("1d", description="length of the interval that a record stands for")
    from_: str | None = Field(None, alias="from", description="time from which intervals are recorded")
    cells: list[int] | None = Field(None, min_length=1, description="global ids of the cells; default: all")
    fraction: float = Field(1.0, gt=0, le=1, description="share of the cells, drawn by their ids, the same in each run")


class RestartSection(Section):
    """Restart files: what the coupler remembers, so that a run in two parts gives the bits of one."""

    name: str = Field("coupler", pattern=r"^[A-Za-z0-9_-]+$", description="first part of the files' names")
    dir: Path = Field(Path("restart"), description="folder of the restart files, relative to the coupling file")
    every: IntervalText | None = Field(None, description="when they are written; default: only when the host asks")
    keep: int = Field(2, ge=1, description="restarts that stay; older ones are removed")
    read: Literal["auto", "required", "never"] = Field(
        "auto", description="read the restart of the run's start: if there is one, in any case, or never"
    )
    accept: list[Literal["model", "block"]] = Field([], description="differences to the restart that are meant")
