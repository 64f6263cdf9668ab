# SPDX-License-Identifier: Apache-2.0
"""`coupler-plugin weights`, as a user calls it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import netCDF4
import numpy as np
import pytest
from click.testing import CliRunner

from coupler_plugin import CouplerError, Status
from coupler_plugin.cli import commands
from coupler_plugin.regrid import latlon, make_weights, read_weights
from tests.regrid.engines_here import need_yac
from tests.regrid.test_grid_files import GRID, Write, scrip, write  # noqa: F401 - a fixture


def command(*words: str | Path) -> str:
    """Run the command and return what it says."""
    done = CliRunner().invoke(commands, ["weights", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_weights_between_described_grids(tmp_path: Path) -> None:
    words = ["--src", "latlon:10", "--dst", "gaussian:16", "--method", "conservative", "--edges", "latitude"]
    said = command(*words, "-o", tmp_path / "w.nc")
    assert "conservative by builtin" in said
    assert "cells without a value: 0" in said
    assert "100.000000 %" in said
    with netCDF4.Dataset(tmp_path / "w.nc") as data:
        assert {"row", "col", "S", "area_a", "frac_b"} <= set(data.variables)
        assert data.edges == "latitude"


def test_weights_from_a_grid_file_with_its_mask(tmp_path: Path, write: Write) -> None:  # noqa: F811
    mask = np.arange(GRID.n) % 2
    path = write({**scrip(GRID), "land": (("grid_size",), mask, {})})
    words = ["--src", path, "--src-mask", "land", "--dst", "latlon:20", "--method", "nearest_s2d"]
    command(*words, "-o", tmp_path / "w.nc", "--engine", "builtin")
    found = read_weights(tmp_path / "w.nc", GRID, latlon(20.0))
    expected = make_weights(GRID.masked(mask), latlon(20.0), "nearest_s2d", engine="builtin")
    assert (found.matrix() != expected.matrix()).nnz == 0


def test_issue_command_makes_great_circle_weights(tmp_path: Path) -> None:
    need_yac()
    words = ["--src", "latlon:10", "--dst", "latlon:5", "--method", "conservative", "-o", tmp_path / "w.nc"]
    assert "edges: great_circle" in command(*words)


def test_mistake_is_one_sentence_and_its_status(tmp_path: Path) -> None:
    words = ["weights", "--src", "latlon:7", "--dst", "latlon:10", "--method", "bilinear", "-o", str(tmp_path / "w.nc")]
    done = subprocess.run([sys.executable, "-m", "coupler_plugin", *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == Status.CONFIG
    assert done.stderr.startswith("error: cells of 7 degrees do not fill the region")
    assert not (tmp_path / "w.nc").exists()
    with pytest.raises(CouplerError):
        command("--src", "latlon:10", "--dst", "nowhere.nc", "--method", "bilinear", "-o", tmp_path / "w.nc")
