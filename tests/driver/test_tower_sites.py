# SPDX-License-Identifier: Apache-2.0
"""examples/03_tower_sites: it runs from the repository alone, and with the data it has the scores that it documents."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
import yaml

from coupler_plugin import driver
from coupler_plugin.emulator.load import load
from torchscript_models.carbon_flux.network import WINDOW
from torchscript_models.data import DataError, find_data, read_towers
from torchscript_models.solar import potential_radiation

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "03_tower_sites"


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """Return a copy of the example without what a run has left."""
    folder = tmp_path / "03_tower_sites"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("out", "__pycache__", "zoo"))
    return folder


def change(path: Path, **driver_keys: object) -> Path:
    content = yaml.safe_load(path.read_text())
    content["driver"] |= driver_keys
    content["history"].pop("from", None)
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_year_of_simulated_weather_has_the_seasons_of_the_north(example: Path) -> None:
    driver.run(change(example / "run.yml", end="2002-01-01"))
    with xr.open_dataset(example / "out" / "simulated.nc") as file:
        gpp, reco, nee = (file[name].values * 86.4e6 for name in ("gpp", "reco", "nee"))  # g m-2 d-1
    assert gpp.shape == (360, 4)
    assert (gpp >= 0).all()
    assert (reco > 0).all()
    np.testing.assert_allclose(nee, reco - gpp, atol=1e-5)
    assert (gpp[150:180].mean(axis=0) > 3 * gpp[:30].mean(axis=0)).all()
    report = json.loads((example / "out" / "report.json").read_text())
    assert report["emulators"][0]["columns"] == 360 * 4


def test_measured_weather_reaches_the_emulator_day_by_day(example: Path) -> None:
    try:
        folder = find_data(None)
    except DataError as error:
        pytest.skip(str(error))
    prepare = [sys.executable, "prepare.py", "--data", str(folder)]
    subprocess.run(prepare, cwd=example, check=True)
    with xr.open_dataset(example / "out" / "towers.nc") as file:
        chosen = file.unseen.values == 1
        sites, lat = file.site.values[chosen].tolist(), file.lat.values[chosen]
        assert np.isfinite(file.gpp_observed).sum() > 60_000
    driver.run(change(example / "observed.yml", start="2011-06-01", end="2012-06-10"))
    with xr.open_dataset(example / "out" / "observed.nc") as file:
        emulated = file.gpp.values[-10:] * 86.4e6
    network = torch.jit.load(example / "carbon_flux_unseen.pt")
    for place, site in enumerate(sites):
        tower = read_towers(folder)[site]
        last = tower.days.get_loc("2012-06-09") + 1
        # The training data take every year for 365.25 days, the plugin takes a year of the calendar for what it is.
        phase = (tower.days.day_of_year - 0.5) / np.where(tower.days.is_leap_year, 366, 365)
        forcing = np.column_stack([tower.forcing[:, :-1], potential_radiation(lat[place], phase).astype(np.float32)])
        past = np.stack([forcing[day - WINDOW : day] for day in range(last - 9, last + 1)])
        with torch.inference_mode():
            expected = network(torch.tensor(past)).numpy()[:, 0]
        np.testing.assert_allclose(emulated[:, place], expected, rtol=1e-5)


def test_emulator_of_the_example_beats_the_seasonal_cycle_at_towers_that_it_has_not_seen() -> None:
    scores = load(EXAMPLE / "carbon_flux_unseen.pt", None).manifest.scores["held_out_sites"]
    assert scores["sites"] == 4
    for flux in ("gpp", "reco", "nee"):
        assert scores[flux]["rmse"] < scores[flux]["baselines"]["climatology"]["rmse"]
