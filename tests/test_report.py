# SPDX-License-Identifier: Apache-2.0
"""The report of a run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import image
from refusal import refused
from small_emulators import field, write_echo, write_mlp

from coupler_plugin import Coupler, Status, __version__
from coupler_plugin.report.page import shares
from coupler_plugin.timers import PHASES

Couple = Callable[..., Coupler]


def report_of(couple: Couple, tmp_path: Path, steps: int = 12, **section: object) -> dict[str, Any]:
    emulators = [
        {"model": write_mlp(tmp_path / "mlp.pt"), "block": 16},
        {"model": write_echo(tmp_path / "echo.pt", field("tas", "K"), field("snw", "kg m-2")), "every": "6h"},
    ]
    coupler = couple(
        emulators,
        cells=20,
        constants={"tas": "280 K", "hurs": "50 %", "sfcWind": "3 m s-1"},
        history={"file": "history.nc", "fields": ["lai", "snw"], "every": "6h"},
        report={"file": "out/report.json", "html": "out/report.html", "trace": "out/trace.json", **section},
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
    elsewhere = {"read", "regrid", "gather", "wait"}  # the driver's, a grid's, those of several ranks
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


# --- cost -----------------------------------------------------------------------------------------------------


def test_speed_and_cost_follow_from_times(couple: Couple, tmp_path: Path) -> None:
    report = report_of(couple, tmp_path, watts_per_core=36.0, grams_co2_per_kwh=500.0)
    years, wall = 0.5 / 365.25, report["seconds"]["wall"]["max"]
    speed, used = report["speed"], report["energy"]
    assert speed["simulated_years_per_day"] == pytest.approx(years / wall * 86_400)
    assert speed["core_hours_per_simulated_year"] == pytest.approx(wall / 3600 / years)
    assert used["kwh"] == pytest.approx(wall * 1e-5)
    assert used["co2_kg"] == pytest.approx(wall * 5e-6)
    assert used["co2_kg_per_simulated_year"] == pytest.approx(wall * 5e-6 / years)
    assert used["is_estimate"]
    assert "36 W" in used["method"]


def test_energy_is_measured_where_codecarbon_is(couple: Couple, tmp_path: Path) -> None:
    pytest.importorskip("codecarbon", reason="CodeCarbon is not installed")
    used = report_of(couple, tmp_path, energy="measure")["energy"]
    assert used["kwh"] > 0
    assert "CodeCarbon" in used["method"]


def test_measuring_without_codecarbon_is_refused(
    couple: Couple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    with refused(Status.CONFIG, "coupler_plugin[energy]"):
        report_of(couple, tmp_path, energy="measure")


def test_calls_memory_and_load_of_each_rank(couple: Couple, tmp_path: Path) -> None:
    report = report_of(couple, tmp_path)
    assert [emulator["every"] for emulator in report["emulators"]] == ["1h", "6h"]
    for emulator in report["emulators"]:
        assert emulator["columns_per_second"] == pytest.approx(emulator["columns"] / emulator["seconds"]["mean"])
    assert report["memory"]["peak_bytes"][0] > 2**20
    assert report["memory"]["device_peak_bytes"] == [None]
    assert report["load"]["cells"] == [20]
    assert report["load"]["imbalance"] == 0.0


# --- table, page and trace ------------------------------------------------------------------------------------


def test_shares_are_of_the_wall_time(couple: Couple, tmp_path: Path) -> None:
    listed = shares(report_of(couple, tmp_path))
    assert {"infer", "exchange", "guard", "write", "other"} <= {phase for phase, _, _ in listed}
    assert sum(share for _, _, share in listed) == pytest.approx(1.0)


def test_trace_has_the_parts_of_the_last_step_in_which_something_was_due(couple: Couple, tmp_path: Path) -> None:
    report_of(couple, tmp_path)
    trace = json.loads((tmp_path / "out/trace.json").read_text())
    events = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    names = [event["name"] for event in events]
    assert names.index("infer mlp") < names.index("infer echo") < names.index("write")
    assert all(event["dur"] >= 0 and event["ts"] >= 0 for event in events)
    begins = [event["ts"] for event in events]
    assert begins == sorted(begins)


def test_page_stands_alone(couple: Couple, tmp_path: Path) -> None:
    report_of(couple, tmp_path)
    page = (tmp_path / "out/report.html").read_text()
    parser = Tags()
    parser.feed(page)
    assert parser.open == []
    assert not {"script", "img", "link", "iframe"} & parser.seen
    assert "http" not in page
    for words in ("mlp 1.0.0", "simulated years per day", "(estimate)", "CO2", "rank 0", "One step"):
        assert words in page


class Tags(HTMLParser):
    """Keeps the tags that are open, and all that were seen."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_browser_shows_the_page(couple: Couple, tmp_path: Path) -> None:
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip("no browser is installed")
    report_of(couple, tmp_path)
    page, picture = tmp_path / "out/report.html", tmp_path / "page.png"
    quiet = ("no-first-run", "disable-background-networking", "disable-component-update", "disable-sync")
    options = [f"--{name}" for name in ("headless", "no-sandbox", "disable-gpu", *quiet)]
    options += ["--window-size=1000,1300", f"--user-data-dir={tmp_path}/b"]
    text = subprocess.run(
        [browser, *options, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    ).stdout
    assert "A run of mlp, echo" in text
    subprocess.run([browser, *options, f"--screenshot={picture}", page.as_uri()], capture_output=True, timeout=120)
    pixels = image.imread(picture)[..., :3].reshape(-1, 3)
    green = np.array([0x2B, 0x7A, 0x4B]) / 255  # of the emulators' share
    assert (np.abs(pixels - green).max(axis=1) < 0.02).sum() > 50
