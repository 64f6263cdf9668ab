# SPDX-License-Identifier: Apache-2.0
"""The cache makes weights once, and notices what does not belong in it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import netCDF4
import pytest

from coupler_plugin import Status
from coupler_plugin.regrid import latlon, make_weights, read_weights, weights_file, write_weights
from tests.refusal import refused

SRC, DST = latlon(30.0), latlon(20.0)


def cached(folder: Path, **changes: Any) -> Path:
    settings = {"src": SRC, "dst": DST, "method": "conservative", "edges": "latitude", "engine": "builtin", **changes}
    return weights_file(folder, **settings)


def test_weights_are_made_once(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "cache"
    path = cached(folder)
    stamp = path.stat()
    assert cached(folder) == path
    assert path.stat().st_mtime_ns == stamp.st_mtime_ns
    assert path.stat().st_ino == stamp.st_ino
    expected = make_weights(SRC, DST, "conservative", edges="latitude", engine="builtin")
    assert (read_weights(path, SRC, DST).matrix() != expected.matrix()).nnz == 0
    assert [found.name for found in folder.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "changes",
    [
        {"src": latlon(30.0, (0.0, 90.0, 360.0, -90.0))},
        {"dst": DST.masked(DST.lat > 0)},
        {"method": "conservative_normed"},
        {"method": "bilinear"},
        {"method": "bilinear", "extrapolate": "nearest_s2d"},
    ],
)
def test_everything_that_matters_has_its_own_file(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert cached(tmp_path) != cached(tmp_path, **changes)


def test_engine_version_has_its_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cached(tmp_path)
    monkeypatch.setattr("coupler_plugin.regrid.engines.builtin.Builtin.version", lambda _: "2")
    assert cached(tmp_path) != before


def test_damaged_file_is_noticed_and_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = cached(tmp_path)
    with netCDF4.Dataset(path, "a") as data:
        data["S"][0] = 0.5
    with caplog.at_level(logging.WARNING, "coupler_plugin"):
        assert cached(tmp_path) == path
    assert "damaged" in caplog.text
    read_weights(path, SRC, DST)
    path.write_text("no NetCDF")
    cached(tmp_path)
    assert "cannot be read" in caplog.text
    read_weights(path, SRC, DST)


def test_foreign_file_is_noticed_and_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = cached(tmp_path)
    write_weights(path, make_weights(SRC, DST, "bilinear", engine="builtin"))
    with caplog.at_level(logging.WARNING, "coupler_plugin"):
        assert cached(tmp_path) == path
    assert "was not made for these grids" in caplog.text
    assert read_weights(path, SRC, DST).description["method"] == "conservative"


def test_failed_making_leaves_nothing(tmp_path: Path) -> None:
    with refused(Status.CONFIG, "no method"):
        cached(tmp_path, method="magic")
    assert not list(tmp_path.iterdir())


def test_file_made_elsewhere_is_checked_and_used_as_it_is(tmp_path: Path) -> None:
    own = tmp_path / "own.nc"
    write_weights(own, make_weights(SRC, DST, "bilinear", engine="builtin"))
    assert cached(tmp_path / "cache", file=own) == own
    assert not (tmp_path / "cache").exists()
    with refused(Status.CELLS, "other grids"):
        cached(tmp_path / "cache", file=own, src=DST)
