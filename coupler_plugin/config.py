# SPDX-License-Identifier: Apache-2.0
"""The coupling file: its schema, and errors that point at the line to mend.

The schema is the one description of the YAML: it checks a file, names what is allowed, and exports a JSON Schema for
editors (`coupler-plugin validate --schema`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from coupler_plugin.clock import CALENDARS, parse_interval
from coupler_plugin.errors import CouplerError, Status, nearest
from coupler_plugin.fields import FieldEntry

BLOCK: Final = 1024


def _interval(text: str) -> str:
    try:
        parse_interval(text)
    except CouplerError as error:
        raise ValueError(str(error)) from error
    return text


IntervalText = Annotated[str, AfterValidator(_interval)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class EmulatorSection(_Section):
    """One emulator of the run."""

    model: Path = Field(description="TorchScript file with a manifest, relative to the coupling file")
    every: IntervalText | None = Field(None, description="time step of the emulator; default: the manifest's")
    block: int | Literal["exact"] = Field(
        BLOCK,
        description="rows of a column block, a multiple of 16; 'exact' runs without padding, for single points",
    )

    outputs: list[str] | None = Field(None, min_length=1, description="the outputs that are used; default: all")

    @field_validator("block")
    @classmethod
    def _block_keeps_alignment(cls, value: int | str) -> int | str:
        # Blocks that start on a cache line take the same kernels, which is what keeps their bits the same.
        if isinstance(value, int) and (value < 16 or value % 16):
            raise ValueError("a block has a positive multiple of 16 rows, such as 1024")
        return value


class HistorySection(_Section):
    """The history file: means of fields over `every`."""

    file: Path = Field(description="NetCDF file to write, relative to the coupling file")
    fields: list[str] = Field(min_length=1, description="names of fields that are bound or computed by an emulator")
    every: IntervalText = Field("1d", description="length of the averaging interval")
    from_: str | None = Field(None, alias="from", description="time from which intervals are written")

    @field_validator("from_", mode="before")
    @classmethod
    def _from_is_text(cls, value: Any) -> Any:
        return value if value is None else str(value)  # YAML reads 2001-01-01 as a date


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

    @field_validator("start", "end", mode="before")
    @classmethod
    def _time_is_text(cls, value: Any) -> Any:
        return str(value)  # YAML reads 2001-01-01 as a date

    @field_validator("dt")
    @classmethod
    def _dt_is_fixed(cls, value: str) -> str:
        if parse_interval(value).months:
            raise ValueError("a step has a fixed length; write it in s, min, h or d")
        return value


class Config(_Section):
    """A coupling file."""

    calendar: str = Field("standard", description=f"CF calendar: {', '.join(CALENDARS)}")
    on_error: Literal["abort", "return"] = Field("abort", description="stop the whole job, or leave it to the host")
    threads: int = Field(1, ge=1, description="threads that the emulators of one rank use")
    emulators: list[EmulatorSection] = Field(description="run in this order; may be empty")
    constants: dict[str, str] = Field({}, description="inputs that are one number everywhere, such as co2: 370 ppm")
    fields: list[FieldEntry] = Field([], description="entries that are added to the field dictionary")
    history: HistorySection | None = None
    restart: RestartSection | None = None
    driver: DriverSection | None = None
    report: Path | None = Field(None, description="JSON file of times and counts, written at finalize")

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


@dataclass(frozen=True)
class Constant:
    """A number with its units, written as ``370 ppm`` in the coupling file."""

    value: float
    units: str


def parse_constant(name: str, text: str) -> Constant:
    """Return the constant written as a number and its units.

    Raises
    ------
    CouplerError
        CONFIG, when there is no number.
    """
    number, _, units = text.strip().partition(" ")
    try:
        return Constant(float(number), units.strip() or "1")
    except ValueError:
        raise CouplerError(
            Status.CONFIG, f"'constants: {name}: {text}' has no number; write it as '{name}: 370 ppm'."
        ) from None


def load_config(path: str | Path) -> tuple[Config, str]:
    """Read a coupling file from disk.

    Returns
    -------
    Config
        with paths resolved against the folder of the file.
    str
        its text, for provenance.

    Raises
    ------
    CouplerError
        CONFIG, with file, line and column.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise CouplerError(
            Status.CONFIG, f"cannot read the coupling file '{path}' (run from {Path.cwd()}): {reason}."
        ) from error
    return parse_config(text, path), text


def parse_config(text: str, path: Path) -> Config:
    """Return the configuration written in YAML `text`; `path` names the file in errors and roots its paths."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        raw = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise CouplerError(Status.CONFIG, f"{place}: not valid YAML: {error.problem}.") from error
    except (yaml.YAMLError, ValueError) as error:
        raise CouplerError(Status.CONFIG, f"{path}: not valid YAML: {error}.") from error
    if not isinstance(raw, dict):
        raise CouplerError(Status.CONFIG, f"{path}: a coupling file is a mapping with the key 'emulators'.")
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        problems = [_sentence(problem, root, path) for problem in error.errors()]
        raise CouplerError(Status.CONFIG, "\n".join(dict.fromkeys(problems))) from error
    return _resolve(config, path.parent)


def _resolve(config: Config, folder: Path) -> Config:
    """Return the configuration with its paths taken from the folder of the coupling file."""
    update: dict[str, Any] = {
        "emulators": [entry.model_copy(update={"model": folder / entry.model}) for entry in config.emulators]
    }
    if config.history:
        update["history"] = config.history.model_copy(update={"file": folder / config.history.file})
    if config.restart:
        update["restart"] = config.restart.model_copy(update={"dir": folder / config.restart.dir})
    if config.driver:
        forcing = [f.model_copy(update={"files": [folder / file for file in f.files]}) for f in config.driver.forcing]
        update["driver"] = config.driver.model_copy(update={"forcing": forcing})
    if config.report:
        update["report"] = folder / config.report
    return config.model_copy(update=update)


def _sentence(problem: Any, root: yaml.Node | None, path: Path) -> str:
    """Return one problem of pydantic as: file, line, column, key, the value, what is allowed."""
    keys = [part for part in problem["loc"] if not _is_union_tag(part)]
    node, is_key = _find(root, keys, wants_key=problem["type"] == "extra_forbidden")
    place = f"{path}:{node.start_mark.line + 1}:{node.start_mark.column + 1}" if node else str(path)
    name = ".".join(str(key) for key in keys)
    if problem["type"] == "extra_forbidden":
        allowed = _keys_of(keys[:-1])
        return (
            f"{place}: '{keys[-1]}' is not a key {_where(keys[:-1])}.{nearest(str(keys[-1]), allowed)} "
            f"Allowed: {', '.join(allowed)}."
        )
    if problem["type"] == "missing":
        return f"{place}: the key '{keys[-1]}' {_where(keys[:-1])} is missing; it has no default."
    message = re.sub(r"^Value error, ", "", problem["msg"]).rstrip(".")
    shown = "" if is_key else f" (value: {problem['input']!r})"
    return f"{place}: '{name}': {message}{shown}."


def _is_union_tag(part: int | str) -> bool:
    """Whether a part of pydantic's location names a branch of a type, not a key of the file."""
    return isinstance(part, str) and part.startswith(("int", "literal[", "function-", "constrained-"))


def _where(keys: list[Any]) -> str:
    return f"of '{'.'.join(str(key) for key in keys)}'" if keys else "of a coupling file"


def _keys_of(keys: list[Any]) -> list[str]:
    """Return the keys that the schema allows at a place of the file."""
    model: type[BaseModel] = Config
    for key in keys:
        if not isinstance(key, int):
            field = next(field for name, field in model.model_fields.items() if key in (name, field.alias))
            model = _section_of(field.annotation) or model
    return [field.alias or name for name, field in model.model_fields.items()]


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """Return the section in a type such as ``list[EmulatorSection]`` or ``HistorySection | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_section_of, get_args(annotation))), None)


def _find(node: yaml.Node | None, keys: list[Any], wants_key: bool) -> tuple[yaml.Node | None, bool]:
    """Return the deepest YAML node on the way along `keys`, and whether it is the key's own node."""
    for depth, key in enumerate(keys):
        is_last = depth == len(keys) - 1
        if isinstance(node, yaml.MappingNode):
            entry = next((pair for pair in node.value if pair[0].value == str(key)), None)
            if entry is None:
                return node, True
            node = entry[0] if is_last and (wants_key or not isinstance(entry[1], yaml.ScalarNode)) else entry[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
        else:
            return node, True
    return node, False
