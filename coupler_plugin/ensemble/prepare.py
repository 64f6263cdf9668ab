# SPDX-License-Identifier: Apache-2.0
"""What an ensemble settles before its first step: where it writes, what members run, and what tells them apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from coupler_plugin.config import Config
from coupler_plugin.config.files import HistorySection
from coupler_plugin.driver.run import Run, check_writable
from coupler_plugin.ensemble.members import Member
from coupler_plugin.ensemble.section import EnsembleFile
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.output.writers import provenance


def check_places(ensemble: EnsembleFile) -> None:
    """Check before the first step that all that the ensemble is to write can be written."""
    for path in (ensemble.statistics.file, ensemble.keep, ensemble.draft):
        if path:
            check_writable(path)
    if ensemble.figures:
        check_writable(ensemble.figures.dir / "figure")


def member_config(ensemble: EnsembleFile, config: Config) -> Config:
    """Return the coupling that members run: what it would write of one run is left to the ensemble."""
    section = ensemble.statistics
    history = HistorySection.model_validate(
        {"file": section.file, "fields": section.fields, "every": section.every, "from": section.from_}
    )
    return config.model_copy(update={"history": [history], "record": None, "restart": None, "report": None})


def hashes_of(members: Sequence[Member], rank: int) -> dict[Path, str]:
    """Return the hash of each file that the ensemble names itself; rank 0 reads them."""
    paths = {path for member in members for _, path in member.models} if rank == 0 else set()
    try:
        return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    except OSError as error:
        raise CouplerError(
            Status.MODEL, f"cannot read the emulator file '{error.filename}': {error.strerror}."
        ) from error


def attributes_of(
    ensemble: EnsembleFile, config: Config, ready: Run, members: Sequence[Member], keys: Mapping[int, str]
) -> dict[str, str]:
    """Return the attributes of the files of an ensemble: what made them, and which member is which."""
    section = ensemble.statistics
    return {
        **provenance(config, ready.coupler.emulators),
        "ensemble_file": ensemble.text,
        "what": json.dumps([section.fields, section.every, section.from_]),
        "realizations": json.dumps({member.number: [keys[member.number], str(member)] for member in members}),
        "status": "{}",
    }
