# SPDX-License-Identifier: Apache-2.0
"""The land model with emulators: what they see, what they change, and that without them nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import small_emulators as small
import yaml
from conftest import EXAMPLE, ROOT, Run
from test_land_model import assert_same_bits, daily_forcing

LandModel = Callable[..., Run]

LEAVES_PER_SHORTWAVE = 0.01


@pytest.fixture
def emulators(tmp_path: Path) -> list[Path]:
    """Leaf area in proportion to shortwave, and the carbon fluxes of an LSTM."""
    leaves = small.write(
        tmp_path / "leaves.pt",
        small.Affine([[LEAVES_PER_SHORTWAVE]]),
        [small.field("rsds", "W m-2")],
        [small.field("lai", "1")],
        every="1d",
    )
    return [leaves, small.write_carbon(tmp_path / "carbon.pt", every="1d")]


@pytest.fixture
def coupling(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a coupling file with daily history."""

    def write(models: list[Path]) -> Path:
        path = tmp_path / "coupling.yml"
        config = {
            "calendar": "360_day",
            "emulators": [{"model": str(model)} for model in models],
            "history": {"file": "history.nc", "fields": ["tas", "evspsbl", "mrso"] + ["lai", "gpp"] * bool(models)},
        }
        path.write_text(yaml.safe_dump(config))
        return path

    return write


def test_without_emulators_the_model_gives_the_bits_of_a_build_without_the_plugin(
    land_model: LandModel, coupling: Callable[..., Path]
) -> None:
    alone = land_model("alone", days=5, result_days=5)
    assert_same_bits(alone, land_model("coupled", days=5, result_days=5, coupled=False))
    empty = coupling([])
    assert_same_bits(alone, land_model("coupled", days=5, result_days=5, coupled=True, coupling=empty, ranks=2))


def test_emulators_change_leaf_area_and_give_carbon(
    land_model: LandModel, emulators: list[Path], coupling: Callable[..., Path], tmp_path: Path
) -> None:
    file = coupling(emulators)
    settings = {"days": 4, "result_days": 1, "coupling": file}
    run = land_model("coupled", coupled=True, ranks=2, **settings)
    free = land_model("coupled", coupled=False, **settings)
    fields, ice = run.fields, run.fields["mrso"] == 0

    # The leaf area of the last day is the answer to the day before it; ice cells are left alone.
    shortwave = daily_forcing("surface_downwelling_shortwave_flux", 2, fields["id"])
    expected = np.where(ice, 0.0, LEAVES_PER_SHORTWAVE * shortwave)
    np.testing.assert_allclose(fields["lai"], expected, rtol=1e-6, atol=1e-12)
    assert (fields["gpp"][~ice] > 0).all()
    assert (fields["gpp"][ice] == 0).all()
    # Exact in each step; the file has means over steps, which round as their terms do, not as their difference.
    rounding = 1e-15 * 24 * (fields["reco"] + fields["gpp"])
    assert (np.abs(fields["nee"] - (fields["reco"] - fields["gpp"])) <= rounding).all()
    assert not np.array_equal(fields["evspsbl"], free.fields["evspsbl"])
    assert abs(run.summary["water_residual_relative"]) < 1e-12

    with netCDF4.Dataset(tmp_path / "history.nc") as history:
        assert history.dimensions["time"].size == 4
        np.testing.assert_array_equal(history["id"][:], fields["id"][~ice])
        np.testing.assert_allclose(history["cell_area"][:], fields["cell_area"][~ice])
        np.testing.assert_allclose(history["evspsbl"][3], fields["evspsbl"][~ice], rtol=1e-6, atol=1e-12)


def test_the_bits_of_a_coupled_run_do_not_depend_on_the_ranks(
    land_model: LandModel, emulators: list[Path], coupling: Callable[..., Path]
) -> None:
    settings = {"days": 3, "result_days": 3, "coupled": True, "coupling": coupling(emulators)}
    one = land_model("coupled", **settings)
    for ranks in (2, 3):
        assert_same_bits(one, land_model("coupled", ranks=ranks, **settings))


def test_the_example_runs_with_the_emulators_of_the_zoo(land_model: LandModel, tmp_path: Path) -> None:
    config = yaml.safe_load((EXAMPLE / "coupling.yml").read_text())
    for entry in config["emulators"]:
        entry["model"] = str((EXAMPLE / entry["model"]).resolve())
    config["history"] |= {"file": "history.nc", "from": "2001-01-02"}
    config["report"] = "report.json"
    path = tmp_path / "zoo.yml"
    path.write_text(yaml.safe_dump(config))
    names = {Path(entry["model"]).relative_to(ROOT).as_posix() for entry in config["emulators"]}
    assert names == {"torchscript_models/zoo/leaf_area_index.pt", "torchscript_models/zoo/carbon_flux.pt"}

    fields = land_model("coupled", days=3, result_days=1, coupled=True, coupling=path, ranks=2).fields
    vegetated = fields["mrso"] > 0
    assert ((fields["lai"][vegetated] >= 0) & (fields["lai"][vegetated] <= 12)).all()
    assert (fields["gpp"] >= 0).all()
    assert fields["gpp"].sum() > 0
    # Exact in each step; the file has means over steps, which round as their terms do, not as their difference.
    rounding = 1e-15 * 24 * (fields["reco"] + fields["gpp"])
    assert (np.abs(fields["nee"] - (fields["reco"] - fields["gpp"])) <= rounding).all()
    with netCDF4.Dataset(tmp_path / "history.nc") as history:
        assert history.dimensions["time"].size == 2
        assert not np.ma.is_masked(history["nee"][:])


def test_an_emulator_steps_the_land_in_place_of_the_model(land_model: LandModel, tmp_path: Path) -> None:
    """From the third day on the model's physics rest, except on ice; the state stays near that of the model."""
    config = tmp_path / "coupling.yml"
    model = str(ROOT / "torchscript_models" / "zoo" / "land_state.pt")
    section = {"model": model, "from": "2001-01-03"}
    config.write_text(yaml.safe_dump({"calendar": "360_day", "emulators": [section]}))
    days = {"days": 4, "result_days": 1}
    emulated = land_model("coupled", coupled=True, coupling=config, emulated_from=3, **days)
    physics = land_model("coupled", coupled=False, **days)
    ice = physics.fields["mrso"] == 0
    for name, near in {"soil_water_root": 5.0, "soil_temperature_deep": 0.5}.items():
        difference = emulated.fields[name] - physics.fields[name]
        assert np.array_equal(emulated.fields[name][ice], physics.fields[name][ice])
        assert 0.0 < np.sqrt((difference[~ice] ** 2).mean()) < near
