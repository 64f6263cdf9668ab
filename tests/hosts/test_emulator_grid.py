# SPDX-License-Identifier: Apache-2.0
"""The land model with an emulator on the half-degree cells of examples/02_emulator_grid: there and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import small_emulators as small
import yaml
from conftest import ROOT, Run
from test_land_model import assert_same_bits

from coupler_plugin.regrid import gaussian, latlon

LandModel = Callable[..., Run]
EXAMPLE = ROOT / "examples" / "02_emulator_grid"
LEAVES_PER_SHORTWAVE = 0.01


def test_model_gets_the_same_bits_of_its_half_degree_emulator_on_any_number_of_ranks(
    land_model: LandModel, tmp_path: Path
) -> None:
    model = small.write(
        tmp_path / "leaves.pt",
        small.Affine([[LEAVES_PER_SHORTWAVE]]),
        [small.field("rsds", "W m-2")],
        [small.field("lai", "1")],
        every="1d",
    )
    config = yaml.safe_load((EXAMPLE / "coupling.yml").read_text())
    config["emulators"][0]["model"] = str(model)
    config["regrid"]["cache"] = "weights"
    file = tmp_path / "coupling.yml"
    file.write_text(yaml.safe_dump({**config, "report": "report.json", "history": [], "restart": None}))
    settings = {"coupled": True, "days": 2, "result_days": 1, "coupling": file}
    one = land_model("coupled", **settings)
    assert_same_bits(one, land_model("coupled", ranks=3, **settings))

    grid = json.loads((tmp_path / "report.json").read_text())["emulators"][0]["grid"]
    assert max(grid["imbalance"].values()) < 1e-12
    alone = land_model("coupled", **{**settings, "coupled": False})
    west, south, east, north = config["emulators"][0]["grid"]["region"]
    assert 0 < grid["cells"] < latlon(0.5, (west, south, east, north)).n
    host = gaussian(48)
    places = one.fields["id"] - 1
    lon = (host.lon[places] + 180.0) % 360.0 - 180.0
    away = (lon < west - 5.0) | (lon > east + 5.0) | (host.lat[places] < south - 5.0) | (host.lat[places] > north + 5.0)
    np.testing.assert_array_equal(one.fields["lai"][away], alone.fields["lai"][away])
    assert np.abs(one.fields["lai"] - alone.fields["lai"])[~away].max() > 0.1
