# SPDX-License-Identifier: Apache-2.0
"""A shadow runs beside the host's scheme: it writes nothing, and the report has the differences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
from refusal import refused
from rig import FREE, Rig, bits, echo
from small_emulators import Affine, Echo, field, write

from coupler_plugin import Status

SHADOW = {"mode": "shadow"}


def report(rig: Rig) -> dict[str, Any]:
    rig.coupler.finalize()
    return json.loads((rig.folder / "report.json").read_text())["emulators"][0]


def test_array_of_the_host_is_untouched(tmp_path: Path) -> None:
    own = np.array([np.nan, -0.0, 1e-310, 7.0])
    rig = echo(tmp_path, emulator=SHADOW)
    for _ in range(3):
        assert bits(rig.step(x=3.0, y=own)["y"]) == bits(own)


@pytest.mark.parametrize("area", [None, [1.0, 1.0, 2.0, 4.0]])
def test_differences_are_those_of_the_textbook(tmp_path: Path, area: list[float] | None) -> None:
    rig = echo(tmp_path, emulator=SHADOW, area=area, report="report.json")
    random = np.random.default_rng(1)
    answers, own = random.normal(size=(2, 5, 4)).astype(np.float32).astype(float)
    for one, other in zip(answers, own, strict=True):
        rig.step(x=one, y=other)
    found = report(rig)["shadow"]["y"]
    weights = np.broadcast_to(np.ones(4) if area is None else area, (5, 4))
    difference = answers - own
    assert found["mean_difference"] == pytest.approx(np.average(difference, weights=weights), rel=1e-12)
    assert found["rmse"] == pytest.approx(np.sqrt(np.average(difference**2, weights=weights)), rel=1e-12)
    assert found["largest_difference"] == np.abs(difference).max()
    assert (found["values"], found["weights"], found["units"]) == (20, "cells" if area is None else "area", "1")


def test_host_is_averaged_over_the_step_and_both_are_in_canonical_units(tmp_path: Path) -> None:
    output = field("gpp", "g m-2 d-1")
    rig = Rig(tmp_path, Echo(), [field("x", "1")], [output], None, manifest={"every": "2h"}, emulator=SHADOW,
              report="report.json")  # fmt: skip
    rig.step(x=86.4, gpp=0.0)
    rig.step(x=86.4, gpp=1e-6)
    found = report(rig)["shadow"]["gpp"]
    assert found["units"] == "kg m-2 s-1"
    assert found["mean_difference"] == pytest.approx(1e-6 - 0.5e-6, rel=1e-6)


def test_cells_in_which_the_host_would_have_stayed_are_left_out(tmp_path: Path) -> None:
    rig = echo(tmp_path, {"input": "fallback"}, emulator={**SHADOW, "where": "snw < 10"}, bound=("snw",),
               report="report.json")  # fmt: skip
    rig.step(x=[3.0, np.nan, 50.0, 4.0], y=[1.0, 1.0, 1.0, np.nan], snw=[0.0, 0.0, 20.0, 0.0])
    found = report(rig)
    assert (found["shadow"]["y"]["values"], found["shadow"]["y"]["mean_difference"]) == (1, 2.0)
    assert found["interventions"] == {"input": {"x": 1}}


def test_levels_are_all_compared(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Affine([[1.0, 2.0]]), [field("x", "1")], [field("y", "1", size=2)], None, emulator=SHADOW,
              report="report.json")  # fmt: skip
    rig.step(x=1.0, y=[0.0, 4.0])
    found = report(rig)["shadow"]["y"]
    assert (found["values"], found["mean_difference"], found["largest_difference"]) == (8, -0.5, 2.0)


def test_shadow_of_which_the_host_has_nothing_is_refused(tmp_path: Path) -> None:
    rig = echo(tmp_path, emulator=SHADOW, unbound=("y",))
    with refused(Status.FIELD, "runs as a shadow", "none of its outputs (y)", "bind"):
        rig.step(x=1.0)


def test_history_and_next_emulator_have_the_values_of_the_host(tmp_path: Path) -> None:
    history = {"file": "h.nc", "fields": ["y"], "every": "1h"}
    rig = echo(tmp_path, emulator=SHADOW, history=history)
    rig.step(x=3.0, y=[1.0, 2.0, 3.0, 4.0])
    rig.coupler.finalize()
    with netCDF4.Dataset(tmp_path / "h.nc") as file:
        assert file["y"][0].tolist() == [1.0, 2.0, 3.0, 4.0]
        assert "y_flag" not in file.variables


def test_new_version_runs_beside_the_old_one(tmp_path: Path, couple: Any) -> None:
    (tmp_path / "new").mkdir()
    old = write(tmp_path / "model.pt", Affine([[1.0]]), [field("x", "1")], [field("y", "1")])
    new = write(tmp_path / "new" / "model.pt", Affine([[1.5]]), [field("x", "1")], [field("y", "1")])
    history = {"file": "h.nc", "fields": ["y"], "every": "1h"}
    coupler = couple([old, {"model": new, **SHADOW}], fields=FREE, report="report.json", history=history,
                     restart={"every": "1h"})  # fmt: skip
    arrays = {"x": np.array([1.0, 2.0, 3.0]), "y": np.zeros(3)}
    for name, array in arrays.items():
        coupler.bind(name, array)
    for _ in range(3):
        coupler.step()
    assert arrays["y"].tolist() == [1.0, 2.0, 3.0]
    coupler.finalize()
    emulators = json.loads((tmp_path / "report.json").read_text())["emulators"]
    assert "shadow" not in emulators[0]
    # A window of one step has what the array holds when the shadow runs: the answer of the old one.
    assert emulators[1]["shadow"]["y"]["mean_difference"] == pytest.approx(1.0)
