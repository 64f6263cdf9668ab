# SPDX-License-Identifier: Apache-2.0
"""Hosts in Fortran and C that give the corners of their cells: fluxes then travel conservatively to an own grid."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import yaml
from small_emulators import field, write_echo
from small_hosts import Hosts

from coupler_plugin import Coupler, Status
from tests.regrid.engines_here import has_esmf, need_yac

LON, LAT = np.meshgrid(30.0 * np.arange(6) + 15.0, 20.0 * np.arange(3) - 20.0)
CORNERS = LON[..., None] + [-15.0, 15.0, 15.0, -15.0], LAT[..., None] + [-10.0, -10.0, 10.0, 10.0]
IDS = np.arange(1, 19).reshape(3, 6)


@pytest.fixture(scope="module")
def coupling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An emulator on a grid of its own that hands rain back as evaporation."""
    if not has_esmf():
        need_yac()
    folder = tmp_path_factory.mktemp("corners")
    flux = "kg m-2 s-1"
    model = write_echo(folder / "echo.pt", field("pr", flux), field("evspsbl", flux))
    emulator = {"model": model.name, "grid": {"latlon": 10.0}, "guard": {"input": "off", "range": "off"}}
    sections = {"on_error": "return", "regrid": {"check": "conservation"}}
    (folder / "coupling.yml").write_text(yaml.safe_dump({"emulators": [emulator], **sections}))
    return folder / "coupling.yml"


@pytest.fixture(scope="module")
def expected(coupling: Path) -> np.ndarray:
    """What the same host gets in Python."""
    coupler = Coupler(coupling, start="2001-01-01", dt=3600.0)
    coupler.set_cells(IDS, LON, LAT, None, *CORNERS)
    rain, evaporation = IDS.astype(float), np.full(IDS.shape, -1.0)
    coupler.bind("pr", rain)
    coupler.bind("evspsbl", evaporation)
    coupler.step()
    imbalance = coupler.emulators[0].on_grid()["grid"]["imbalance"]
    assert all(change < 1e-12 for change in imbalance.values())
    assert imbalance
    coupler.finalize()
    return evaporation.ravel()


def answers(text: str) -> np.ndarray:
    """Return numbers of which a host wrote the bits."""
    return np.array([struct.unpack(">d", bytes.fromhex(bits))[0] for bits in text.split()])


@pytest.mark.parametrize("program", ["corners.f90", "corners.c"])
def test_corners_of_hosts_carry_fluxes_conservatively(
    hosts: Hosts, coupling: Path, expected: np.ndarray, program: str
) -> None:
    result = hosts.run(hosts.compile(program), coupling)
    found = answers(result["answer"])
    np.testing.assert_array_equal(found, expected)
    assert np.abs(found - IDS.ravel()).max() < 1.0  # what leaks over the great circles between corners
    mistake = "shapes" if program.endswith("f90") else "one_of_both"
    assert result[mistake] == str(int(Status.ARRAY))
