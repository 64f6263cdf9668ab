# SPDX-License-Identifier: Apache-2.0
"""The coupling file: its schema, and errors that point at the line to mend.

The schema is the one description of the YAML: it checks a file, names what is allowed, and exports a JSON Schema for
editors (`coupler-plugin validate --schema`).
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
)  # fmt: skip

from coupler_plugin.clock import CALENDARS, Clock, parse_interval
from coupler_plugin.errors import CouplerError, Status, nearest
from coupler_plugin.fields import FieldEntry, Fields
from coupler_plugin.guard.section import SILENT, GuardSection
from coupler_plugin.guard.switch import parse_comparison
from coupler_plugin.parallel import broadcast, rank_of, together
from coupler_plugin.regrid.section import DEFAULTS, GridSection, RegridSection
from coupler_plugin.yaml_file import YamlFile

if TYPE_CHECKING:
    from mpi4py import MPI

BLOCK: Final = 1024
#: what `device:` may say
DEVICE: Final = r"^(auto|cpu|cuda(:\d+)?)$"
_MARK: Final = "${instance}"
_LARGEST_BLOCK: Final = 2**20

Keys = tuple[str | int, ...]  #: the way to a value of the coupling file


def _interval(text: str) -> str:
    try:
        parse_interval(text)
    except CouplerError as error:
        raise ValueError(str(error)) from error
    return text


def _fixed(value: str) -> str:
    if parse_interval(value).months:
        raise ValueError("a month or a year has no fixed length; write it in s, min, h or d")
    return value


IntervalText = Annotated[str, AfterValidator(_interval)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class EmulatorSection(_Section):
    """One emulator of the run."""

    model: Path = Field(description="TorchScript file with a manifest, relative to the coupling file")
    sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="hash that the file must have; `inspect` prints it"
    )
    every: IntervalText | None = Field(None, description="time step of the emulator; default: the manifest's")
    block: int | Literal["exact"] = Field(
        BLOCK,
        description="rows of a column block, a multiple of 16; 'exact' runs without padding, for single points",
    )
    device: str = Field(
        "cpu",
        pattern=DEVICE,
        description="cpu; cuda or cuda:n; auto: the GPU that falls to the rank on its node, or the CPU",
    )
    grid: GridSection | None = Field(
        None, description="the grid that it runs on; default: the manifest's, or else the host's cells"
    )
    static: Path | None = Field(
        None, description="NetCDF file of static fields on that grid; others come from the host's cells"
    )
    outputs: list[str] | None = Field(None, min_length=1, description="the outputs that are used; default: all")
    mode: Literal["live", "shadow"] = Field(
        "live", description="shadow: run beside the host's scheme, write nothing, and report the differences"
    )
    from_: str | None = Field(None, alias="from", description="time from which the answers are used")
    until: str | None = Field(None, description="time until which they are used")
    where: str | None = Field(None, description="cells in which they are used: a comparison such as 'snw < 10'")
    guard: GuardSection = Field(SILENT, description="what is done about inputs and answers that cannot be right")

    @property
    def can_be_off(self) -> bool:
        """Whether the answers are used for a period or in some cells only."""
        return any(key is not None for key in (self.from_, self.until, self.where))

    @field_validator("block", mode="before")
    @classmethod
    def _block_keeps_alignment(cls, value: Any) -> Any:
        # Blocks that start on a cache line take the same kernels, which is what keeps their bits the same.
        if value != "exact" and not (isinstance(value, int) and 16 <= value <= _LARGEST_BLOCK and value % 16 == 0):
            raise ValueError(f"a block is a multiple of 16 rows up to {_LARGEST_BLOCK}, such as 1024, or 'exact'")
        return value


#: what a history holds of an interval: word of the coupling file -> how CF calls it in cell_methods
METHODS: Final = {"mean": "mean", "min": "minimum", "max": "maximum", "point": "point"}


class HistorySection(_Section):
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


class ReportSection(_Section):
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


class RecordSection(_Section):
    """A cube of what the host gave and got back, to train on and to replay."""

    file: Path = Field(description="NetCDF file or, with the ending .zarr, Zarr store to write")
    fields: list[str] | None = Field(
        None, min_length=1, description="fields to record; default: all that emulators take and give"
    )
    every: IntervalText = Field("1d", description="length of the interval that a record stands for")
    from_: str | None = Field(None, alias="from", description="time from which intervals are recorded")
    cells: list[int] | None = Field(None, min_length=1, description="global ids of the cells; default: all")
    fraction: float = Field(1.0, gt=0, le=1, description="share of the cells, drawn by their ids, the same in each run")


class RestartSection(_Section):
    """Restart files: what the coupler remembers, so that a run in two parts gives the bits of one."""

    name: str = Field("coupler", pattern=r"^[A-Za-z0-9_-]+$", description="first part of the files' names")
    dir: Path = Field(Path("restart"), description="folder of the restart files, relative to the coupling file")
    every: IntervalText | None = Field(None, description="when they are written; default: only when the host asks")
    keep: int = Field(2, ge=1, description="restarts that stay; older ones are removed")
    read: Literal["auto", "required", "never"] = Field(
        "auto", description="read the restart of the run's start: if there is one, in any case, or never"
    )
    accept: list[Literal["model", "block"]] = Field([], description="differences to the restart that are meant")


class ForcingSection(_Section):
    """Files that give fields to the offline driver."""

    files: list[Path] = Field(min_length=1, description="NetCDF files or Zarr stores, or patterns such as 'era5_*.nc'")
    fields: dict[str, str] = Field(
        {}, description="variable of a field, where name, alias or standard_name do not tell"
    )
    interpolate: Literal["hold", "linear"] = Field("hold", description="between the times of the files")
    missing: Literal["stop", "hold"] = Field(
        "stop", description="a value that is missing in a cell: stop, or take the last one that was not"
    )


class MaskSection(_Section):
    """Which cells of the forcing take part: those at which a variable lies in a range."""

    variable: str = Field(description="variable of the first forcing file, without time")
    min: float = -float("inf")
    max: float = float("inf")


class DriverSection(_Section):
    """An offline run; a host that couples in-line does not read it."""

    start: str = Field(description="beginning of the first step")
    end: str = Field(description="end of the last step")
    dt: IntervalText = Field("1d", description="step of the driver")
    forcing: list[ForcingSection] = Field(min_length=1)
    mask: MaskSection | None = None
    sites: Path | None = Field(
        None, description="CSV file with columns lat and lon: run at these places, with the forcing nearest to each"
    )

    _dt_is_fixed = field_validator("dt")(_fixed)


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, dict | HistorySection) else value


def _or_one(schema: dict[str, Any]) -> None:
    """Allow a section where the schema says a list of them."""
    listed = {key: schema.pop(key) for key in ("type", "items")}
    schema["anyOf"] = [listed["items"], listed]


def _as_section(value: Any) -> Any:
    return {"file": value} if isinstance(value, str | Path) else value


def _or_path(schema: dict[str, Any]) -> None:
    """Allow the name of a file where the schema says a section."""
    schema["anyOf"].insert(0, {"type": "string", "format": "path"})


class Written(_Section):
    """Sections that were read from a YAML file, whose errors point at their place there."""

    _file: YamlFile | None = PrivateAttr(None)

    @property
    def text(self) -> str:
        """The file as it was written; empty for what was made in Python."""
        return self._file.text if self._file else ""

    @contextmanager
    def blaming(self, *keys: str | int) -> Iterator[None]:
        """Put the place of a value of the file in front of the errors that it causes."""
        try:
            yield
        except CouplerError as error:
            if self._file is None:
                raise
            keys = _as_written(keys, self._file)
            place = f"{self._file.place(keys)}: '{_dotted(keys)}'"
            raise CouplerError(error.status, f"{place}: {error}") from error


class Config(Written):
    """A coupling file."""

    calendar: str = Field("standard", description=f"CF calendar: {', '.join(CALENDARS)}")
    on_error: Literal["abort", "return"] = Field("abort", description="stop the whole job, or leave it to the host")
    threads: int = Field(1, ge=1, description="threads that the emulators of one rank use")
    timeout: IntervalText = Field("10min", description="longest wait for other ranks in collective calls")
    emulators: list[EmulatorSection] = Field(description="run in this order; may be empty")
    constants: dict[str, str] = Field({}, description="inputs that are one number everywhere, such as co2: 370 ppm")
    fields: list[FieldEntry] = Field([], description="entries that are added to the field dictionary")
    regrid: RegridSection = DEFAULTS
    history: Annotated[list[HistorySection], BeforeValidator(_as_list)] = Field(
        [], description="what is written of the fields: a section, or a list of sections", json_schema_extra=_or_one
    )
    record: RecordSection | None = None
    restart: RestartSection | None = None
    driver: DriverSection | None = None
    report: Annotated[ReportSection | None, BeforeValidator(_as_section)] = Field(
        None,
        description="what the run cost, written at finalize: a JSON file, or a section",
        json_schema_extra=_or_path,
    )

    _timeout_is_fixed = field_validator("timeout")(_fixed)

    @field_validator("calendar")
    @classmethod
    def _calendar_is_known(cls, value: str) -> str:
        if value not in CALENDARS:
            raise ValueError(f"is not a CF calendar; allowed: {', '.join(CALENDARS)}.{nearest(value, CALENDARS)}")
        return value

    @field_validator("constants", mode="before")
    @classmethod
    def _constants_are_text(cls, value: Any) -> Any:
        return {key: str(entry) for key, entry in value.items()} if isinstance(value, dict) else value


Sections = TypeVar("Sections", bound=Written)


@dataclass(frozen=True)
class Constant:
    """A number with its units, written as ``370 ppm`` in the coupling file."""

    value: float
    units: str


def parse_constant(entry: FieldEntry, text: str) -> Constant:
    """Return the constant of a field, written as a number and its units; without units, in the field's own.

    Raises
    ------
    CouplerError
        CONFIG, when there is no number.
    """
    number, _, units = text.strip().partition(" ")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise CouplerError(
            Status.CONFIG, f"'{text}' does not begin with a number; write a number and its units, such as '370 ppm'."
        )
    return Constant(value, units.strip() or entry.units)


def faults(config: Config) -> Iterator[tuple[Keys, CouplerError]]:
    """Yield what no schema can see, names, units and times that do not fit, each with the way to its value."""
    fields = Fields(config.fields)
    checks: list[tuple[Keys, Callable[[], object]]] = []
    for index, entry in enumerate(config.fields):
        checks.append((("fields", index, "units"), partial(fields.conversion, entry.name, entry.units, entry.units)))
    for index, section in enumerate(config.emulators):
        for key, time in (("from", section.from_), ("until", section.until)):
            if time is not None:
                checks.append((("emulators", index, key), partial(Clock, time, 1.0, config.calendar)))
        if section.where is not None:
            checks.append((("emulators", index, "where"), partial(_check_comparison, fields, section.where)))
    for name in config.regrid.methods:
        keys: Keys = ("regrid", "methods", name)
        checks.append((keys, partial(fields.__getitem__, name)))
    for name, text in config.constants.items():
        checks.append((("constants", name), partial(_check_constant, fields, name, text)))
    for place, history in enumerate(config.history):
        for index, (name, _) in enumerate(history.entries):
            checks.append((("history", place, "fields", index), partial(fields.__getitem__, name)))
        if history.from_:
            checks.append((("history", place, "from"), partial(Clock, history.from_, 1.0, config.calendar)))
        if history.file in [other.file for other in config.history[:place]]:
            checks.append((("history", place, "file"), partial(_refuse_twice, history.file)))
    if config.record:
        for index, name in enumerate(config.record.fields or ()):
            checks.append((("record", "fields", index), partial(fields.__getitem__, name)))
        if config.record.from_:
            checks.append((("record", "from"), partial(Clock, config.record.from_, 1.0, config.calendar)))
    if config.driver:
        checks.append((("driver", "start"), partial(Clock, config.driver.start, 1.0, config.calendar)))
        checks.append((("driver", "end"), partial(Clock, config.driver.end, 1.0, config.calendar)))
    for keys, check in checks:
        try:
            check()
        except CouplerError as error:
            yield keys, error


def _refuse_twice(file: Path) -> None:
    raise CouplerError(Status.CONFIG, f"two histories are written to '{file}'; give each a file of its own.")


def _check_comparison(fields: Fields, text: str) -> None:
    comparison = parse_comparison(text)
    entry = fields[comparison.field]
    fields.conversion(entry.name, comparison.units or entry.units, entry.units)


def _check_constant(fields: Fields, name: str, text: str) -> None:
    entry = fields[name]
    fields.conversion(name, parse_constant(entry, text).units, entry.units)


def load_config(path: str | Path, comm: MPI.Comm | None = None) -> tuple[Config, str]:
    """Read a coupling file from disk on rank 0 and hand it to all ranks; a collective call.

    ``${instance}`` in its text stands for the environment variable `COUPLER_INSTANCE` of rank 0: one file serves a host
    that is started several times in one job.

    Returns
    -------
    Config
        with paths resolved against the folder of the file.
    str
        its text, for provenance.

    Raises
    ------
    CouplerError
        CONFIG on every rank, with file, line and column.
    """
    path = Path(path)
    text = read_text(path, comm, "coupling file")
    text = broadcast(comm, together(comm, lambda: _for_instance(text, path) if rank_of(comm) == 0 else ""))
    return together(comm, lambda: parse_config(text, path)), text


def _for_instance(text: str, path: Path) -> str:
    """Put the number of this host, of four digits as in the file names of climate models, in the place of its mark."""
    if _MARK not in text:
        return text
    name = os.environ.get("COUPLER_INSTANCE", "").strip()
    if not re.fullmatch(r"\w+", name):
        line = text[: text.index(_MARK)].count("\n") + 1
        reason = f"is '{name}'" if name else "is not set"
        raise CouplerError(
            Status.CONFIG,
            f"{path}:{line}: '{_MARK}' stands for the environment variable COUPLER_INSTANCE, which {reason}; set it to "
            "the number of this host among those of the job, such as 1.",
        )
    return text.replace(_MARK, f"{int(name):04d}" if name.isdecimal() else name)


def read_text(path: Path, comm: MPI.Comm | None, what: str) -> str:
    """Return the text of a file on all ranks, of which rank 0 reads it; a collective call."""
    return broadcast(comm, together(comm, lambda: _read(path, what) if rank_of(comm) == 0 else ""))


def _read(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise CouplerError(
            Status.CONFIG, f"cannot read the {what} '{path}' (run from {Path.cwd()}): {reason}."
        ) from error


def parse_config(text: str, path: Path) -> Config:
    """Return the configuration written in YAML `text`; `path` names the file in errors and roots its paths."""
    config = parse_sections(Config, text, path)
    for keys, fault in faults(config):
        with config.blaming(*keys):
            raise fault
    return resolve_paths(config, path)


def parse_sections(kind: type[Sections], text: str, path: Path) -> Sections:
    """Return what the schema `kind` makes of YAML `text`; paths are as they are written.

    Raises
    ------
    CouplerError
        CONFIG, with file, line and column of each mistake.
    """
    file = YamlFile(text, path)
    if not isinstance(file.data, dict):
        first = next(name for name, field in kind.model_fields.items() if field.is_required())
        raise CouplerError(Status.CONFIG, f"{path}: {_title(kind)} is a mapping with the key '{first}'.")
    try:
        sections = kind.model_validate(file.data)
    except ValidationError as error:
        problems = [_sentence(problem, file, kind) for problem in error.errors()]
        raise CouplerError(Status.CONFIG, "\n".join(problems)) from error
    sections._file = file
    return sections


def resolve_paths(sections: Sections, path: Path) -> Sections:
    """Return sections with their paths taken from the folder of the file that they were read from."""
    resolved: Sections = _resolve(sections, sections, path.parent)
    return resolved


def _title(kind: type[BaseModel]) -> str:
    """Return what a file of a schema is called, such as "a coupling file"."""
    title = (kind.__doc__ or "").rstrip(".")
    return title[0].lower() + title[1:]


def _resolve(value: Any, config: Written, folder: Path, *keys: str | int) -> Any:
    """Return a part of the configuration with its paths taken from the folder of the coupling file."""
    if isinstance(value, Path):
        with config.blaming(*keys):
            return _inside(value, folder)
    if isinstance(value, BaseModel):
        update = {
            name: _resolve(getattr(value, name), config, folder, *keys, field.alias or name)
            for name, field in type(value).model_fields.items()
        }
        return value.model_copy(update=update)
    if isinstance(value, list):
        return [_resolve(entry, config, folder, *keys, index) for index, entry in enumerate(value)]
    if isinstance(value, dict):
        return {key: _resolve(entry, config, folder, *keys, key) for key, entry in value.items()}
    return value


def _inside(path: Path, folder: Path) -> Path:
    """Return a path taken from `folder`; a relative one must stay there or in the working directory.

    What counts is how it is written: a symbolic link in the run directory was put there by whoever set the run up.
    """
    if "\0" in str(path):
        raise CouplerError(Status.CONFIG, f"the path {str(path)!r} holds a null byte; no file can have that name.")
    home = Path(os.path.normpath(Path.cwd() / folder))
    whole = Path(os.path.normpath(home / path))
    if not path.is_absolute() and not (whole.is_relative_to(home) or whole.is_relative_to(Path.cwd())):
        raise CouplerError(
            Status.CONFIG,
            f"the path '{path}' leaves the run directory '{home}'; if that is meant, write it as an absolute path or "
            "put a link there.",
        )
    return folder / path


def _sentence(problem: Any, file: YamlFile, kind: type[BaseModel]) -> str:
    """Return one problem of pydantic as: file, line, column, key, the value, what is allowed."""
    keys = _as_written(problem["loc"], file)
    *above, key = keys
    place = file.place(keys, of_key=problem["type"] == "extra_forbidden")
    if problem["type"] == "extra_forbidden":
        allowed = _keys_of(above, kind)
        where = _where(above, kind)
        return f"{place}: '{key}' is not a key {where}.{nearest(str(key), allowed)} Allowed: {', '.join(allowed)}."
    if problem["type"] == "missing":
        return f"{place}: the key '{key}' {_where(above, kind)} is missing; it has no default."
    message = re.sub(r"^Value error, ", "", problem["msg"]).rstrip(".")
    return f"{place}: '{_dotted(keys)}': {message} (value: {problem['input']!r})."


def _as_written(keys: Keys, file: YamlFile) -> Keys:
    """Return the way to a value as the user wrote it: one section may stand for a list of one."""
    is_single = keys[0] == "history" and len(keys) > 1 and isinstance(file.data["history"], dict)
    return (keys[0], *keys[2:]) if is_single else keys


def _dotted(keys: Iterable[str | int]) -> str:
    return ".".join(str(key) for key in keys)


def _where(keys: list[Any], kind: type[BaseModel]) -> str:
    return f"of '{_dotted(keys)}'" if keys else f"of {_title(kind)}"


def _keys_of(keys: list[Any], kind: type[BaseModel]) -> list[str]:
    """Return the keys that a schema allows at a place of the file."""
    model = kind
    for key in keys:
        if not isinstance(key, int):
            # A name under which the user lists something is no field of the schema.
            field = next((field for name, field in model.model_fields.items() if key in (name, field.alias)), None)
            model = (_section_of(field.annotation) if field else None) or model
    return [field.alias or name for name, field in model.model_fields.items()]


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """Return the section in a type such as ``list[EmulatorSection]`` or ``HistorySection | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_section_of, get_args(annotation))), None)
