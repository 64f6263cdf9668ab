# SPDX-License-Identifier: Apache-2.0
"""Status codes, which are part of the C interface, and the nearest name."""

from __future__ import annotations

import pytest

from coupler_plugin import CouplerError, Status
from coupler_plugin.errors import nearest


def test_status_codes_never_change() -> None:
    first, second = "OK STARTUP CONFIG ORDER FIELD ARRAY UNITS", "CELLS MODEL RUN IO MPI INTERNAL"
    assert " ".join(status.name for status in Status) == f"{first} {second}"
    assert list(Status) == list(range(13))


def test_error_is_its_sentence_and_its_status() -> None:
    error = CouplerError(Status.UNITS, "metres are not kelvins.")
    assert (str(error), error.status) == ("metres are not kelvins.", Status.UNITS)


@pytest.mark.parametrize(
    ("name", "answer"),
    [("gpp2", " Did you mean 'gpp'?"), ("GPPP", " Did you mean 'gpp'?"), ("temperature", ""), ("", "")],
)
def test_nearest_name(name: str, answer: str) -> None:
    assert nearest(name, ["gpp", "reco", "nee"]) == answer
