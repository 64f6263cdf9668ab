# SPDX-License-Identifier: Apache-2.0
"""What the guards did is in the history, beside the field, and in the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
from rig import Rig, echo
from small_emulators import Affine, field

from coupler_plugin.guard.tally import FLAGS, Tally

HISTORY = {"file": "history.nc", "fields": ["y"], "every": "3h"}
RANGE = {"valid_range": (0, 10)}


def history(rig: Rig) -> netCDF4.Dataset:
    rig.coupler.finalize()
    return netCDF4.Dataset(rig.folder / "history.nc")


def test_flag_of_an_interval_is_the_most_serious_one(tmp_path: Path) -> None:
    rig = echo(tmp_path, {"input": "fallback"}, output=RANGE, history=HISTORY, input={"valid_range": (-50, 50)})
    rig.step(x=[1.0, 11.0, -1.0, 5.0])
    rig.step(x=[1.0, 99.0, 5.0, 5.0])
    rig.step(x=[1.0, 5.0, -2.0, 5.0])
    for _ in range(3):
        rig.step(x=[1.0, 5.0, 5.0, -1.0])
    flags = history(rig)["y_flag"]
    names = [["answer_of_emulator", "input", "range", "answer_of_emulator"],
             ["answer_of_emulator", "answer_of_emulator", "answer_of_emulator", "range"]]  # fmt: skip
    assert flags[:].tolist() == [[FLAGS[name] for name in row] for row in names]


def test_flags_are_cf_and_belong_to_their_field(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Affine([[1.0]]), [field("x", "1")], [field("lai", "1")],
              history={"file": "history.nc", "fields": ["lai", "x"], "every": "1h"})  # fmt: skip
    rig.step(x=1.0)
    file = history(rig)
    flags = file["lai_flag"]
    assert flags.dtype == np.int8
    assert flags.dimensions == ("time", "cell")
    assert flags.flag_values.dtype == np.int8
    assert dict(zip(flags.flag_meanings.split(), flags.flag_values.tolist(), strict=True)) == FLAGS
    assert flags.standard_name == "status_flag"
    assert flags.cell_methods == "time: maximum"
    assert file["lai"].ancillary_variables == "lai_flag"
    assert "x_flag" not in file.variables


def test_levels_share_a_flag(tmp_path: Path) -> None:
    output = field("y", "1", size=2, **RANGE)
    rig = Rig(tmp_path, Affine([[1.0, 20.0]]), [field("x", "1")], [output], history={**HISTORY, "every": "1h"})
    rig.step(x=[0.0, 1.0, 0.5, 0.0])
    assert history(rig)["y_flag"][:].tolist() == [[0, 2, 0, 0]]


def test_flag_before_the_first_call_says_that_there_was_none(tmp_path: Path) -> None:
    rig = echo(tmp_path, manifest={"every": "6h"}, history=HISTORY, emulator={"where": "x > 2"})
    for _ in range(6):
        rig.step(x=[1.0, 2.0, 3.0, 4.0])
    assert history(rig)["y_flag"][:].tolist() == [[7, 7, 7, 7], [7, 7, 0, 0]]


def test_flags_between_calls_are_those_of_the_last_one(tmp_path: Path) -> None:
    rig = echo(tmp_path, output=RANGE, manifest={"every": "3h"}, history={**HISTORY, "every": "1h"})
    for _ in range(5):
        rig.step(x=[1.0, 11.0, 3.0, 4.0])
    assert history(rig)["y_flag"][2:].tolist() == [[0, 2, 0, 0]] * 3


def test_report_sums_interventions_by_kind_and_field(tmp_path: Path) -> None:
    guard: dict[str, Any] = {"input": "fallback", "outputs": {"z": {"max_change": 1.0}}}
    statistics = {"mean": 0.0, "std": 1.0, "min": -20.0, "max": 20.0}
    inputs = [field("x", "1", statistics=statistics)]
    rig = Rig(tmp_path, Affine([[1.0, 1.0]]), inputs, [field("y", "1", **RANGE), field("z", "1")], guard,
              report="report.json")  # fmt: skip
    rig.step(x=[1.0, 11.0, -1.0, np.nan])
    rig.step(x=[1.0, 25.0, 1.5, 5.0])
    rig.coupler.finalize()
    found = json.loads((tmp_path / "report.json").read_text())["emulators"][0]["interventions"]
    assert found == {"input": {"x": 1}, "unseen": {"all": 1}, "range": {"y": 3}, "rate": {"z": 2}}


def test_counts_are_kept_by_cell(tmp_path: Path) -> None:
    rig = echo(tmp_path, output=RANGE)
    for _ in range(3):
        rig.step(x=[1.0, 11.0, -1.0, 4.0])
    rig.step(x=[11.0, 11.0, 1.0, 1.0])
    tally: Tally = rig.emulator.guard.tally
    assert tally.counts[:, tally.columns.index(("range", "y"))].tolist() == [1, 4, 3, 0]
    assert tally.counts.sum() == 8


def test_report_without_a_step_has_no_interventions(tmp_path: Path) -> None:
    rig = echo(tmp_path, report="report.json")
    rig.coupler.finalize()
    assert json.loads((tmp_path / "report.json").read_text())["emulators"][0]["interventions"] == {}


def test_rank_without_a_cell_takes_part(tmp_path: Path) -> None:
    guard = {"input": "hold", "unseen": "blend", "outputs": {"y": {"max_change": 1.0}}}
    statistics = {"mean": 0.0, "std": 1.0, "min": -20.0, "max": 20.0}
    manifest = {"distribution": {"correlation": [[1.0]]}, "budgets": [{"terms": {"y": 1}, "equals": 1}]}
    rig = echo(tmp_path, guard, cells=0, input={"statistics": statistics}, manifest=manifest, history=HISTORY)
    for _ in range(3):
        rig.step(x=1.0)
    assert history(rig)["y_flag"].shape == (1, 0)
