# SPDX-License-Identifier: Apache-2.0
"""land_cover inside a host: tiles of a fine grid under coarse cells, fourteen years of one's own maps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import torch

from coupler_plugin import Coupler
from coupler_plugin.emulator.load import EmulatorFile
from coupler_plugin.regrid import latlon
from torchscript_models.land_cover.classes import CLASSES, N_CLASSES, N_LAND, SEA

ZOO = Path(__file__).parents[2] / "torchscript_models" / "zoo"
CODES = np.array(list(CLASSES), np.float64)
AGRICULTURE, FOREST = 1, 2
YEARS = 14
REGION = (140.0, -4.5, 140.5, -4.0)
FINE, COARSE = latlon(1 / 360, REGION), latlon(0.125, REGION)  # 180 x 180 pixels under 4 x 4 cells
CELL = FINE.shape[0] // COARSE.shape[0]


def start_map() -> np.ndarray:
    """Return class numbers: forest with round fields, and sea in the west."""
    y, x = np.indices(FINE.shape)
    number = np.where((y % 36 - 18) ** 2 + (x % 36 - 18) ** 2 < 64, AGRICULTURE, FOREST)
    number[:, :50] = SEA
    return number


def landforms() -> np.ndarray:
    y, x = np.indices(FINE.shape)
    return 1 + (y // 40 + x // 60) % 12


def fractions(number: np.ndarray) -> np.ndarray:
    """Return the fraction of every class in each coarse cell, shape (8, cells)."""
    planes = np.stack([number == one for one in range(N_CLASSES)]).astype(np.float64)
    return planes.reshape(N_CLASSES, 4, CELL, 4, CELL).mean(axis=(2, 4)).reshape(N_CLASSES, -1)


def scenario(year: int) -> np.ndarray:
    """Return the land fractions that are asked for: in fourteen years a quarter of the land becomes fields."""
    land = fractions(start_map())[1:]
    share = land / np.maximum(land.sum(axis=0), 1e-9)
    turned = 0.25 * min(year, YEARS) / YEARS * (land.sum(axis=0) > 0)
    share[AGRICULTURE - 1] += turned
    share[FOREST - 1] -= turned
    return share


@pytest.fixture(scope="module")
def coupled(tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    """Run a host for the years; return the class fractions on its cells after each."""
    folder = tmp_path_factory.mktemp("host")
    with netCDF4.Dataset(folder / "static.nc", "w") as file:
        for name, size in zip(("y", "x"), FINE.shape, strict=True):
            file.createDimension(name, size)
        for name, values in (("land_cover_map", CODES[start_map()]), ("landform", landforms())):
            variable = file.createVariable(name, "f8", ("y", "x"))
            variable.units = "1"
            variable[:] = values
    (folder / "coupling.yml").write_text(f"""
calendar: 360_day
emulators:
  - model: {ZOO / "land_cover.pt"}
    grid: {{latlon: {1 / 360!r}, region: {list(REGION)}}}
    static: {folder / "static.nc"}
    outputs: [landCoverFrac]
regrid:
  host_grid: {{latlon: 0.125, region: {list(REGION)}}}
  edges: latitude
""")
    coupler = Coupler(folder / "coupling.yml", start="2001-01-01", dt=86400.0)
    coupler.set_cells(COARSE.ids, COARSE.lon, COARSE.lat)
    asked, answer = np.zeros((COARSE.n, N_LAND)), np.full((COARSE.n, N_CLASSES), -1.0)
    coupler.bind("fracLut", asked)
    coupler.bind("landCoverFrac", answer)
    answers = []
    for year in range(1, YEARS + 1):
        asked[:] = scenario(year).T
        for _ in range(360):
            coupler.step()
        answers.append(answer.T.copy())
    coupler.finalize()
    return answers


def test_classes_fill_every_cell_in_every_year(coupled: list[np.ndarray]) -> None:
    first = fractions(start_map())
    assert len(coupled) == YEARS
    for answer in coupled:
        np.testing.assert_allclose(answer.sum(axis=0), 1.0, atol=1e-6)
        assert (answer >= 0).all()
        np.testing.assert_allclose(answer[SEA], first[SEA], atol=1e-6, err_msg="coasts stay")


def test_fourteen_free_years_follow_the_scenario(coupled: list[np.ndarray]) -> None:
    """The drift: fields on the host's cells beside those asked for, after each year."""
    land = 1.0 - fractions(start_map())[SEA]
    asked = np.stack([scenario(year)[AGRICULTURE - 1] * land for year in range(YEARS + 1)])
    found = np.stack([fractions(start_map())[AGRICULTURE], *(answer[AGRICULTURE] for answer in coupled)])
    growth = found - found[0]
    assert (np.diff(found.mean(axis=1)) > -1e-3).all(), "no year takes fields away"
    assert growth[-1].mean() > 0.1 * (asked[-1] - asked[0]).mean()
    assert (growth[-1] <= asked[-1] - asked[0] + 0.1).all(), "no cell gets many more than were asked for"


def test_host_and_module_alone_give_the_same_maps(
    coupled: list[np.ndarray], emulator: Callable[[str], EmulatorFile]
) -> None:
    file = emulator("land_cover")
    tile = file.manifest.tile
    around = [(tile.halo, size - tile.halo - n) for size, n in zip(tile.size, FINE.shape, strict=True)]

    def at_pixels(cells: np.ndarray) -> np.ndarray:
        fine = np.repeat(np.repeat(cells.reshape(-1, 4, 4), CELL, axis=1), CELL, axis=2)
        return np.pad(fine, ((0, 0), *around), mode="edge").astype(np.float32)

    maps = np.stack([CODES[start_map()], landforms()])
    static = torch.from_numpy(np.pad(maps, ((0, 0), *around), mode="edge").astype(np.float32))[None]
    state = torch.zeros(1, file.manifest.n_state, *tile.size)
    inner = tuple(slice(before, before + n) for (before, _), n in zip(around, FINE.shape, strict=True))
    for year in (1, 2):
        window = np.stack([at_pixels(scenario(max(year - 1, 1))), at_pixels(scenario(year))])
        with torch.inference_mode():
            outputs, state = file.forward(torch.from_numpy(window)[None], static, state)
        number = outputs[0, :N_CLASSES].argmax(dim=0).numpy()[inner]
        assert np.abs(fractions(number) - coupled[year - 1]).max() < 2e-3
