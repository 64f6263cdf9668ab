# SPDX-License-Identifier: Apache-2.0
"""The coupling file as a whole.

The schema is the one description of the YAML: it checks a file, names what is allowed, and exports a JSON Schema for
editors (`coupler-plugin validate --schema`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from coupler_plugin.clock import CALENDARS
from coupler_plugin.config.emulators import EmulatorSection
from coupler_plugin.config.files import HistorySection, RecordSection, ReportSection, RestartSection
from coupler_plugin.config.offline import DriverSection
from coupler_plugin.config.section import IntervalText, Written, fixed
from coupler_plugin.errors import nearest
from coupler_plugin.fields import FieldEntry
from coupler_plugin.regrid.section import DEFAULTS, RegridSection


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

    _timeout_is_fixed = field_validator("timeout")(fixed)

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
