# SPDX-License-Identifier: Apache-2.0
"""The section `guard:`, the same in the coupling file and in a manifest: what to do about which doubt.

Everything is optional. What the coupling file says comes before what the manifest says, and what is said of one output
before what is said of all; `plan.py` holds the defaults.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator


def _off(value: Any) -> Any:
    return "off" if value is False else value  # YAML reads a bare 'off' as false


Input = Annotated[Literal["stop", "hold", "fallback", "off"], BeforeValidator(_off)]
Finite = Literal["stop", "hold", "fallback"]
Range = Annotated[Literal["clip", "hold", "fallback", "stop", "off"], BeforeValidator(_off)]
Unseen = Annotated[Literal["flag", "blend", "fallback", "off"], BeforeValidator(_off)]
Budget = Annotated[Literal["close", "stop", "off"], BeforeValidator(_off)]


class _Actions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    finite: Finite | None = Field(None, description="an answer that is not finite; default: stop")
    range: Range | None = Field(None, description="an answer outside its valid_range; default: clip")
    rate: Range | None = Field(None, description="a change from call to call beyond max_change; default: clip")


class OutputGuard(_Actions):
    """What holds for one output."""

    valid_range: tuple[float, float] | None = Field(
        None, description="values that an answer may have, in the output's units; default: the manifest's"
    )
    max_change: float | None = Field(
        None, gt=0, description="largest change from one call to the next, in the output's units; default: none"
    )

    @field_validator("valid_range")
    @classmethod
    def _range_is_ordered(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value and not value[0] <= value[1]:
            raise ValueError("a range is its lowest and its highest value, in this order")
        return value


class GuardSection(_Actions):
    """What is done about inputs and answers that cannot be right."""

    input: Input | None = Field(
        None,
        description="an input that is not finite, a fill value, or outside its physical range; default: stop; 'off' "
        "leaves the range out, and what is not finite stops",
    )
    unseen: Unseen | None = Field(
        None, description="inputs outside the training data; default: flag, where the manifest has statistics"
    )
    distance: bool | None = Field(
        None,
        description="whether 'unseen' looks at the Mahalanobis distance too; default: where the manifest has a "
        "correlation of 16 channels or fewer, and the block is not 'exact'",
    )
    budget: Budget | None = Field(None, description="answers that break a budget of the manifest; default: close it")
    outputs: dict[str, OutputGuard] = Field({}, description="what differs for single outputs, by name")


#: says nothing: all is left to the manifest and the defaults
SILENT: Final = GuardSection.model_validate({})
