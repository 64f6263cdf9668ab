# SPDX-License-Identifier: Apache-2.0
"""The ensemble file: its schema, with errors that point at the line to mend as those of the coupling file do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from coupler_plugin.clock import parse_interval
from coupler_plugin.config.reading import parse_sections, read_text, resolve_paths
from coupler_plugin.config.section import IntervalText, Section, Written
from coupler_plugin.parallel import together

if TYPE_CHECKING:
    from mpi4py import MPI


class PerturbSection(Section):
    """Noise on an input: normal with the standard deviation `add`, or a factor of mean 1 and that of `multiply`."""

    field: str = Field(description="an input that the forcing or a constant gives")
    add: float | None = Field(None, gt=0, description="standard deviation of what is added, in `units`")
    multiply: float | None = Field(None, gt=0, description="standard deviation of a factor of mean 1 (lognormal)")
    units: str | None = Field(None, description="units of `add`; default: the field's canonical units")
    time: IntervalText | None = Field(None, description="e-folding time of the correlation; default: none")
    shared: bool = Field(False, description="one number for all cells; default: each cell has its own")

    @field_validator("time")
    @classmethod
    def _time_is_fixed(cls, value: str | None) -> str | None:
        if value is not None and parse_interval(value).months:
            raise ValueError("a correlation time has a fixed length; write it in s, min, h or d")
        return value

    @model_validator(mode="after")
    def _is_one(self) -> PerturbSection:
        if (self.add is None) == (self.multiply is None):
            raise ValueError("a perturbation has either 'add' or 'multiply'")
        return self


class ParameterSection(Section):
    """What differs from point to point: a field is set to, shifted by or multiplied with one of these numbers."""

    field: str
    set: list[float] | None = Field(None, min_length=1, description="values of the field, in `units`")
    add: list[float] | None = Field(None, min_length=1, description="shifts, in `units`")
    multiply: list[float] | None = Field(None, min_length=1, description="factors")
    units: str | None = Field(None, description="default: the field's canonical units")

    @property
    def how(self) -> Literal["set", "add", "multiply"]:
        """What is done with the numbers."""
        return "set" if self.set else "add" if self.add else "multiply"

    @property
    def numbers(self) -> list[float]:
        """The numbers: the values of a grid, or the two ends of a range."""
        return self.set or self.add or self.multiply or []

    @model_validator(mode="after")
    def _is_one(self) -> ParameterSection:
        if sum(entry is not None for entry in (self.set, self.add, self.multiply)) != 1:
            raise ValueError("a parameter has one of 'set', 'add' and 'multiply'")
        if len(set(self.numbers)) < len(self.numbers):
            raise ValueError(f"the number {_twice(self.numbers)} is listed twice, which would make members twice")
        return self


class ParametersSection(Section):
    """Points in a space of parameters."""

    design: Literal["grid", "latin_hypercube"] = Field(
        "grid", description="every combination of the numbers, or points in the box between the ends of each"
    )
    points: int | None = Field(None, ge=2, description="number of points of a Latin hypercube")
    values: list[ParameterSection] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits(self) -> ParametersSection:
        if (self.design == "latin_hypercube") != (self.points is not None):
            raise ValueError("a Latin hypercube has 'points', a grid has none")
        if self.points is not None and any(len(entry.numbers) != 2 for entry in self.values):
            raise ValueError("a Latin hypercube needs two numbers of each parameter, the ends of its range")
        fields = [entry.field for entry in self.values]
        if len(set(fields)) < len(fields):
            raise ValueError(f"'{_twice(fields)}' is listed twice")
        return self


class ObservationsSection(Section):
    """What the ensemble is compared with."""

    files: list[Path] = Field(min_length=1, description="NetCDF files or Zarr stores, or patterns, on cells of the run")
    fields: dict[str, str] = Field(min_length=1, description="variable of each observed field")


class StatisticsSection(Section):
    """What is written of the ensemble as it runs."""

    file: Path = Field(description="NetCDF file or, with the ending .zarr, Zarr store to write")
    fields: list[str] = Field(min_length=1, description="fields, as in a history: their means, or 'tas max'")
    every: IntervalText = Field("1d", description="length of the interval")
    from_: str | None = Field(None, alias="from", description="time from which intervals are written")
    quantiles: list[float] = Field([0.05, 0.5, 0.95], description="quantiles of the members")
    observations: ObservationsSection | None = None

    @field_validator("quantiles")
    @classmethod
    def _quantiles_are_shares(cls, value: list[float]) -> list[float]:
        if any(not 0.0 <= share <= 1.0 for share in value) or sorted(set(value)) != value:
            raise ValueError("quantiles are shares from 0 to 1 that grow")
        return value


class HostsSection(Section):
    """A program that is started several times in one MPI job, each time as a host of its own."""

    program: Path = Field(description="the host, relative to the ensemble file")
    arguments: list[str] = Field([], description="of each; `${instance}` is its number, of four digits")
    instances: int = Field(ge=1, description="number of hosts")
    ranks: int = Field(1, ge=1, description="of each host")
    launcher: str | None = Field(
        None, description="what starts the job, with its options: mpirun (the default) or srun, as 'srun --mpi=pmix'"
    )

    @property
    def numbers(self) -> range:
        """The numbers of the hosts."""
        return range(1, self.instances + 1)


class FiguresSection(Section):
    """Pictures that are drawn at the end, one a field: maps of mean and spread, a series with quantiles, ranks."""

    dir: Path = Field(description="folder of the PNG files")
    units: dict[str, str] = Field({}, description="units of a field in its picture, such as 'g m-2 d-1'")


class EnsembleFile(Written):
    """An ensemble file."""

    coupling: Path = Field(
        description="coupling file with a section 'driver:', or that of the hosts, relative to the ensemble file"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="of all random numbers")
    members: int | list[int] = Field(1, description="number of members with noise of their own, or a list of numbers")
    perturb: list[PerturbSection] = Field([], description="noise on inputs")
    models: dict[str, list[Path]] = Field({}, description="files to take for an emulator, by its name, one a member")
    dropout: list[str] = Field([], description="names of emulators whose dropout stays active")
    parameters: ParametersSection | None = None
    statistics: StatisticsSection
    figures: FiguresSection | None = None
    keep: Path | None = Field(None, description="NetCDF file with the fields of every member")
    hosts: HostsSection | None = Field(None, description="members that are programs; default: offline runs")

    @field_validator("members")
    @classmethod
    def _members_are_unique(cls, value: int | list[int]) -> int | list[int]:
        numbers = [value] if isinstance(value, int) else value
        if not numbers or min(numbers) < 1:
            raise ValueError("members are counted from 1")
        if len(set(numbers)) < len(numbers):
            raise ValueError(f"member {_twice(numbers)} is listed twice")
        return value

    @field_validator("models")
    @classmethod
    def _models_are_unique(cls, value: dict[str, list[Path]]) -> dict[str, list[Path]]:
        for name, files in value.items():
            if len(set(files)) < len(files) or not files:
                raise ValueError(
                    f"'{_twice(files)}' is listed twice for '{name}'" if files else f"'{name}' has no file"
                )
        return value

    @field_validator("keep")
    @classmethod
    def _kept_is_netcdf(cls, value: Path | None) -> Path | None:
        if value is not None and value.suffix != ".nc":
            raise ValueError("members are kept in a NetCDF file; give a name that ends with '.nc'")
        return value

    @field_validator("hosts")
    @classmethod
    def _hosts_differ_by_themselves(cls, value: HostsSection | None, info: ValidationInfo) -> HostsSection | None:
        own = ("members", "perturb", "models", "dropout", "parameters", "keep")
        given = [name for name in own if info.data.get(name) not in (None, 1, [], {})]
        if value and given:
            raise ValueError(f"hosts are members as they are; leave '{given[0]}' out, or 'hosts'")
        return value

    @property
    def draft(self) -> Path | None:
        """Where members are kept until the ensemble is complete; then the file takes the place of an earlier one."""
        return None if self.keep is None else self.keep.with_name(f"{self.keep.stem}.part.nc")

    @property
    def numbers(self) -> list[int]:
        """The numbers of the members with noise of their own."""
        return list(range(1, self.members + 1)) if isinstance(self.members, int) else self.members


def load_ensemble(path: Path, comm: MPI.Comm | None = None) -> EnsembleFile:
    """Read an ensemble file on rank 0 and hand it to all ranks; a collective call.

    Raises
    ------
    CouplerError
        CONFIG on every rank, with file, line and column.
    """
    text = read_text(path, comm, "ensemble file")
    return together(comm, lambda: resolve_paths(parse_sections(EnsembleFile, text, path), path))


def _twice(entries: Sequence[object]) -> object:
    """Return the first entry that is there twice."""
    return next(entry for place, entry in enumerate(entries) if entry in entries[:place])
