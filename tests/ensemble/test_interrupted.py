# SPDX-License-Identifier: Apache-2.0
"""Ensembles that are interrupted or killed: the same command goes on, and the files have the bits of one run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from refusal import refused

from coupler_plugin import Status
from coupler_plugin.cli import commands
from coupler_plugin.ensemble import run_ensemble
from coupler_plugin.ensemble.group import Group
from coupler_plugin.ensemble.run import Result
from tests.driver.conftest import forcing
from tests.ensemble import program
from tests.ensemble.conftest import (
    NOISE,
    OBSERVATIONS,
    environment,
    opened,
    warm_member,
    write_ensemble,
    write_observations,
    write_run,
    write_two,
)

FILES = ("statistics.nc", "members.nc")


@contextmanager
def interrupt_after(last: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let Ctrl-C come when the step `last` was taken."""
    whole = Group.step

    def step(group: Group, number: int) -> None:
        whole(group, number)
        if number == last:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Group, "step", step)
        yield


def interrupt(path: Path, last: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run an ensemble until Ctrl-C comes."""
    with interrupt_after(last, monkeypatch), pytest.raises(KeyboardInterrupt):
        run_ensemble(path)


def run_again(path: Path, capsys: pytest.CaptureFixture[str], since: str) -> Result:
    """Run an ensemble on from where it was interrupted."""
    capsys.readouterr()
    result = run_ensemble(path)
    assert f"going on from {since}" in capsys.readouterr().err
    return result


def restart(folder: Path) -> Path:
    return folder / "statistics.restart" / "ensemble.json"


# --- the same bits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("last", [0, 3, 4, 8])
def test_interrupted_ensemble_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], last: int
) -> None:
    """Within an interval of two days, at its end, before the first and in the last."""
    paths = [tmp_path / "whole", tmp_path / "parts"]
    for folder in paths:
        folder.mkdir()
        write_run(folder, "carbon")
        write_observations(folder / "observed.nc")
        parameters = {"values": [{"field": "rsds", "multiply": [0.9, 1.1]}]}
        statistics = {"observations": OBSERVATIONS}
        write_ensemble(folder, members=3, perturb=NOISE, parameters=parameters, statistics=statistics)
    whole = run_ensemble(paths[0] / "ens.yml")
    with interrupt_after(last, monkeypatch):
        done = CliRunner().invoke(commands, ["ensemble", str(paths[1] / "ens.yml")])
    assert done.exit_code == 130
    assert "the same command goes on" in done.output
    assert restart(paths[1]).exists()
    assert not (paths[1] / "members.nc").exists()
    parts = run_again(paths[1] / "ens.yml", capsys, f"2001-01-{last + 2:02d} 00:00:00")
    for file in FILES:
        assert opened(paths[1] / file).equals(opened(paths[0] / file)), file
        assert opened(paths[1] / file).attrs["status"] == opened(paths[0] / file).attrs["status"]
    assert parts.scores == whole.scores
    assert sorted(file.name for file in paths[1].iterdir()) == sorted(file.name for file in paths[0].iterdir())
    assert run_ensemble(paths[1] / "ens.yml").was_complete


def test_members_on_a_grid_of_their_own_go_on_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Members are groups of one here, each with a restart of its own; statistics are a Zarr store."""
    pytest.importorskip("zarr")
    regrid = {"methods": {"tas": "nearest_s2d", "lai": "nearest_s2d"}}
    path = write_run(tmp_path, "anxious", regrid=regrid)
    content = yaml.safe_load(path.read_text())
    content["emulators"][0]["grid"] = {"latlon": 30.0}
    path.write_text(yaml.safe_dump(content))
    ensemble = write_ensemble(
        tmp_path, ("lai", "tas"), parameters={"values": [{"field": "tas", "add": [0.0, 3.0]}]},
        perturb=NOISE[:1], statistics={"file": "statistics.zarr"}, keep=None,
    )  # fmt: skip
    run_ensemble(ensemble)
    whole = opened(tmp_path / "statistics.zarr")
    shutil.rmtree(tmp_path / "statistics.zarr")
    interrupt(ensemble, 5, monkeypatch)
    run_again(ensemble, capsys, "2001-01-07 00:00:00")
    assert opened(tmp_path / "statistics.zarr").equals(whole)
    assert run_ensemble(ensemble).was_complete


def start(folder: Path, ranks: int, *words: object) -> int:
    """Run the two ensembles on some ranks and return the status."""
    if shutil.which("mpirun") is None or find_spec("mpi4py") is None:
        pytest.skip("needs mpirun and mpi4py")
    command = ["mpirun", "-n", str(ranks), sys.executable, program.__file__, str(folder), *map(str, words)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode in (0, 130, 137), done.stderr
    return done.returncode


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 2)])
def test_interrupted_ensemble_goes_on_on_another_number_of_ranks(
    serial: Path, tmp_path: Path, before: int, after: int
) -> None:
    write_two(tmp_path)
    assert start(tmp_path, before, int(signal.SIGINT), 4) == 130
    assert start(tmp_path, after) == 0
    for name in program.NAMES:
        for file in FILES:
            assert opened(tmp_path / name / file).equals(opened(serial / name / file)), (name, file)


@pytest.mark.parametrize("last", [4, 7])
def test_killed_ensemble_goes_on_from_its_newest_restart(serial: Path, tmp_path: Path, last: int) -> None:
    write_two(tmp_path)
    assert start(tmp_path, 2, int(signal.SIGKILL), last) == 137
    assert restart(tmp_path / "noise").exists()
    assert not restart(tmp_path / "dropout").exists()
    assert start(tmp_path, 1) == 0
    for file in FILES:
        assert opened(tmp_path / "noise" / file).equals(opened(serial / "noise" / file)), file


# --- with members that fail or were kept ------------------------------------------------------------------------


def test_member_that_fails_after_an_interrupt_is_left_out_as_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, "anxious")
    path = warm_member(tmp_path, [0.0, 1.0, 25.0, 2.0, 3.0])
    whole = run_ensemble(path)
    files = {file: opened(tmp_path / file) for file in FILES}
    for file in FILES:
        (tmp_path / file).unlink()
    interrupt(path, 3, monkeypatch)
    interrupt(path, 7, monkeypatch)  # the member has failed by then, and its group was halved
    parts = run_again(path, capsys, "2001-01-09 00:00:00")
    assert parts.status == whole.status
    for file in FILES:
        assert opened(tmp_path / file).equals(files[file]), file


def test_members_of_an_earlier_run_stay_where_its_completion_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, "anxious")
    run_ensemble(warm_member(tmp_path, [0.0, 1.0]))
    more = warm_member(tmp_path, [0.0, 1.0, 2.0, 3.0])
    interrupt(more, 5, monkeypatch)
    assert opened(tmp_path / "members.nc").sizes["realization"] == 2
    assert run_again(more, capsys, "2001-01-07 00:00:00").kept == 2
    continued = {file: opened(tmp_path / file) for file in FILES}
    run_ensemble(more, overwrite=True)
    for file in FILES:
        assert opened(tmp_path / file).equals(continued[file]), file


def test_ensemble_that_a_gap_in_the_forcing_stops_goes_on_once_that_is_mended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, "carbon")
    path = write_ensemble(tmp_path, members=2, perturb=NOISE)
    run_ensemble(path)
    whole = {file: opened(tmp_path / file) for file in FILES}
    broken = forcing(0, 10)
    broken.air_temperature[6, 1, 2] = np.nan
    (tmp_path / "forcing.nc").unlink()  # open files of this process keep what they had
    broken.to_netcdf(tmp_path / "forcing.nc")
    with refused(Status.RUN, "forcing.nc", "2001-01-07", "cell 7"):
        run_ensemble(path, overwrite=True)
    (tmp_path / "forcing.nc").unlink()
    forcing(0, 10).to_netcdf(tmp_path / "forcing.nc")
    (tmp_path / "members.nc").unlink()  # of the run before
    run_again(path, capsys, "2001-01-07 00:00:00")
    for file in FILES:
        assert opened(tmp_path / file).equals(whole[file]), file


# --- what is refused, or begins anew ----------------------------------------------------------------------------


def test_interrupted_ensemble_that_was_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path, "anxious")
    interrupt(warm_member(tmp_path, [0.0, 1.0]), 5, monkeypatch)
    with refused(Status.IO, "statistics.nc", "of other members", "--overwrite"):
        run_ensemble(warm_member(tmp_path, [0.0, 2.0]))
    run_ensemble(warm_member(tmp_path, [0.0, 2.0]), overwrite=True)
    assert not restart(tmp_path).exists()
    np.testing.assert_allclose(np.ptp(opened(tmp_path / "members.nc").tas.values, axis=1), 2.0, rtol=1e-6)


def test_interrupted_ensemble_whose_files_were_moved_away_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, "anxious")
    path = warm_member(tmp_path, [0.0, 1.0])
    interrupt(path, 5, monkeypatch)
    (tmp_path / "statistics.nc").unlink()
    run_ensemble(path)
    assert "going on" not in capsys.readouterr().err
    assert opened(tmp_path / "statistics.nc").sizes["time"] == 5


def test_damaged_restart_is_refused_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path, "anxious")
    path = warm_member(tmp_path, [0.0, 1.0])
    interrupt(path, 5, monkeypatch)
    restart(tmp_path).write_text('{"identity": 1')
    with refused(Status.IO, "ensemble.json", "--overwrite"):
        run_ensemble(path)
    run_ensemble(path, overwrite=True)
