# SPDX-License-Identifier: Apache-2.0
"""The report of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from refusal import refused
from small_emulators import field, write_echo, write_mlp

from coupler_plugin import Coupler, Status, __version__
from coupler_plugin.timers import PHASES

Couple = Callable[..., Coupler]


def report_of(couple: Couple, tmp_path: Path, steps: int = 12) -> dict[str, object]:
    emulators = [
        {"model": write_mlp(tmp_path / "mlp.pt"), "block": 16},
        {"model": write_echo(tmp_path / "echo.pt", field("tas", "K"), field("snw", "kg m-2")), "every": "6h"},
    ]
    coupler = couple(
        emulators,
        cells=20,
        constants={"tas": "280 K", "hurs": "50 %", "sfcWind": "3 m s-1"},
        history={"file": "history.nc", "fields": ["lai", "snw"], "every": "6h"},
        report="out/report.json",
    )
    for _ in range(steps):
        coupler.step()
    coupler.finalize()
    return json.loads((tmp_path / "out/report.json").read_text())


def test_report_counts_steps_cells_calls_and_columns(couple: Couple, tmp_path: Path) -> None:
    report = report_of(couple, tmp_path)
    assert (report["simulated_seconds"], report["steps"], report["ranks"], report["cells"]) == (43_200.0, 12, 1, 20)
    mlp, echo = report["emulators"]
    assert (mlp["name"], mlp["version"], mlp["calls"], mlp["columns"]) == ("mlp", "1.0.0", 12, 240)
    assert (echo["name"], echo["calls"], echo["columns"]) == ("echo", 2, 40)
    assert mlp["blocks"] == [[16, 16]]
    assert mlp["sha256"] != echo["sha256"]


def test_times_of_the_parts_lie_within_the_step_and_the_step_within_the_run(couple: Couple, tmp_path: Path) -> None:
    seconds = {phase: entry["max"] for phase, entry in report_of(couple, tmp_path)["seconds"].items()}
    assert set(seconds) >= {*PHASES, "wall"}
    elsewhere = {"read", "regrid", "wait"}  # the driver's, a grid's, those of several ranks
    assert all(value > 0 for phase, value in seconds.items() if phase not in elsewhere)
    parts = sum(seconds[phase] for phase in ("accumulate", "exchange", "infer", "guard"))
    assert parts <= seconds["step"] <= seconds["wall"]
    assert parts + seconds["write"] <= seconds["wall"]  # files are also written at the end


def test_report_names_versions(couple: Couple, tmp_path: Path) -> None:
    versions = report_of(couple, tmp_path)["versions"]
    assert versions["coupler_plugin"] == __version__
    assert versions["numpy"] == np.__version__
    assert {"python", "torch"} <= versions.keys()


def test_run_without_a_step_has_a_report(couple: Couple, tmp_path: Path) -> None:
    report = report_of(couple, tmp_path, steps=0)
    assert (report["steps"], report["simulated_seconds"]) == (0, 0.0)


def test_run_without_cells_has_a_report(couple: Couple, tmp_path: Path) -> None:
    coupler = couple([], cells=None, report="report.json")
    coupler.finalize()
    assert json.loads((tmp_path / "report.json").read_text())["cells"] == 0


def test_report_that_cannot_be_written_is_an_error_of_finalize(couple: Couple, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("not a folder")
    coupler = couple([], report="out/report.json")
    with refused(Status.IO, "report.json", "report"):
        coupler.finalize()
