# SPDX-License-Identifier: Apache-2.0
"""What the coupling file says about an emulator."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, field_validator

from coupler_plugin.config.section import IntervalText, Section
from coupler_plugin.guard.section import SILENT, GuardSection
from coupler_plugin.regrid.section import NO_FILES, GridSection, WeightFilesSection

BLOCK: Final = 1024
#: what `device:` may say
DEVICE: Final = r"^(auto|cpu|cuda(:\d+)?)$"
_LARGEST_BLOCK: Final = 2**20


class EmulatorSection(Section):
    """One emulator of the run."""

    model: Path = Field(
        description="TorchScript file with a manifest, or what `compile` made of one; relative to the coupling file"
    )
    sha256: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="hash that the file must have, needed for what is compiled; `inspect` prints it",
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
    share: Literal["direct", "gather"] = Field(
        "direct",
        description="direct: every rank runs its own columns; gather: one rank runs for all that have the same GPU, or "
        "without GPUs for all of its node",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of its products; in bfloat16 a number has 8 bits instead of 24"
    )
    lag: Literal[0, 1] = Field(0, description="1: it runs beside the host's next step, at whose end its answers arrive")
    grid: GridSection | None = Field(
        None, description="the grid that it runs on; default: the manifest's, or else the host's cells"
    )
    weights: WeightFilesSection = Field(
        NO_FILES, description="weight files between that grid and the host's, made by ESMF, xESMF, SCRIP, CDO or YAC"
    )
    static: Path | None = Field(
        None, description="NetCDF file of static fields on that grid; others come from the host's cells"
    )
    outputs: list[str] | None = Field(None, min_length=1, description="the outputs that are used; default: all")
    seed: int = Field(0, ge=0, lt=2**63, description="of the random numbers that it draws, if it does")
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
