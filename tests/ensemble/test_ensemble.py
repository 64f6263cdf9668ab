# SPDX-License-Identifier: Apache-2.0
"""Ensembles: a member has the bits of a run of its own, statistics those of every number of ranks."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import cftime
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from faults.processes import full_disk
from refusal import refused

from coupler_plugin import Status
from coupler_plugin.cli import commands
from coupler_plugin.driver import run
from coupler_plugin.driver.replay import replay
from coupler_plugin.ensemble import run_ensemble
from tests.driver.conftest import LON, forcing
from tests.ensemble import program
from tests.ensemble.conftest import (
    NOISE,
    OBSERVATIONS,
    environment,
    opened,
    save_frozen,
    warm_member,
    write_ensemble,
    write_observations,
    write_run,
    write_two,
)

# --- members --------------------------------------------------------------------------------------------------


def test_member_of_an_ensemble_has_the_bits_of_the_member_alone(tmp_path: Path) -> None:
    write_run(tmp_path, "carbon")
    run_ensemble(write_ensemble(tmp_path, members=5, perturb=NOISE, seed=4))
    together = opened(tmp_path / "members.nc")
    run_ensemble(write_ensemble(tmp_path, members=[4], perturb=NOISE, seed=4), overwrite=True)
    alone = opened(tmp_path / "members.nc")
    for name in ("nee", "tas"):
        assert np.array_equal(alone[name][:, 0], together[name][:, 3])
        assert not np.array_equal(alone[name][:, 0], together[name][:, 2])


def test_member_that_nothing_changes_has_the_bits_of_a_run(tmp_path: Path) -> None:
    history = {"file": "history.nc", "fields": ["nee", "gpp", "reco", "tas"], "every": "2d"}
    run(write_run(tmp_path, "carbon", history=history))
    parameters = {"values": [{"field": "tas", "add": [0.0, 1.5]}]}
    run_ensemble(write_ensemble(tmp_path, parameters=parameters))
    members, history = opened(tmp_path / "members.nc"), opened(tmp_path / "history.nc")
    assert np.array_equal(members.nee[:, 0].astype(np.float32), history.nee)
    np.testing.assert_allclose(members.tas[:, 1] - members.tas[:, 0], 1.5, rtol=1e-12)
    assert np.array_equal(members.realization, [1, 2])


def test_members_of_an_emulator_on_a_grid_of_its_own_do_not_mix(tmp_path: Path) -> None:
    history = {"file": "history.nc", "fields": ["lai", "tas"], "every": "2d"}
    regrid = {"methods": {"tas": "nearest_s2d", "lai": "nearest_s2d"}}
    record = {"file": "cube.nc"}
    path = write_run(tmp_path, "anxious", history=history, regrid=regrid, record=record)
    content = yaml.safe_load(path.read_text())
    content["emulators"][0]["grid"] = {"latlon": 30.0}
    path.write_text(yaml.safe_dump(content))
    run(path)
    parameters = {"values": [{"field": "tas", "add": [0.0, 3.0]}]}
    run_ensemble(write_ensemble(tmp_path, ("lai", "tas"), parameters=parameters))
    members = opened(tmp_path / "members.nc")
    assert np.array_equal(members.lai[:, 0].astype(np.float32), opened(tmp_path / "history.nc").lai)
    np.testing.assert_allclose(members.lai[:, 1] - members.lai[:, 0], 3.0, rtol=1e-4)
    (difference,) = replay(tmp_path / "cube.nc", tmp_path / "anxious.pt")
    assert difference.is_same
    assert difference.count == 10 * 12


def test_parameters_and_models_and_noise_are_crossed(tmp_path: Path) -> None:
    write_run(tmp_path, "carbon")
    shutil.copy(tmp_path / "carbon.pt", tmp_path / "other.pt")
    parameters = {"values": [{"field": "tas", "set": [0.0, 10.0], "units": "degC"}]}
    path = write_ensemble(tmp_path, members=[2, 7], perturb=NOISE[1:], parameters=parameters)
    result = run_ensemble(path)
    assert [str(member) for member in result.members] == [
        "noise 2, tas = 0", "noise 7, tas = 0", "noise 2, tas = 10", "noise 7, tas = 10",
    ]  # fmt: skip
    members = opened(tmp_path / "members.nc")
    np.testing.assert_allclose(members.tas[:, :2], 273.15)
    np.testing.assert_allclose(members.tas[:, 2:], 283.15)


def test_models_of_several_trainings_are_members(tmp_path: Path) -> None:
    write_run(tmp_path, "wavering")
    from small_emulators import Affine, field, write

    about = {"name": "wavering", "every": "1d"}
    for place, weight in enumerate((1.0, 2.0, 4.0)):
        write(tmp_path / f"seed{place}.pt", Affine([[weight]]), [field("tas", "K")], [field("lai", "1")], **about)
    models = {"wavering": [f"seed{place}.pt" for place in range(3)]}
    run_ensemble(write_ensemble(tmp_path, ("lai", "tas"), models=models))
    members = opened(tmp_path / "members.nc")
    np.testing.assert_allclose(members.lai / members.tas[:, :1].values, [[[1.0], [2.0], [4.0]]] * np.ones((5, 1, 12)), rtol=1e-6)  # fmt: skip # noqa: E501


def test_latin_hypercube_has_one_point_in_each_stratum(tmp_path: Path) -> None:
    write_run(tmp_path, "carbon")
    values = [{"field": "tas", "add": [-4.0, 4.0]}, {"field": "rsds", "multiply": [0.5, 1.5]}]
    parameters = {"design": "latin_hypercube", "points": 8, "values": values}
    result = run_ensemble(write_ensemble(tmp_path, parameters=parameters, seed=2))
    numbers = np.array([[change.number for change in member.changes] for member in result.members])
    assert sorted(np.floor(numbers[:, 0] + 4.0).astype(int)) == list(range(8))
    assert sorted(np.floor((numbers[:, 1] - 0.5) * 8).astype(int)) == list(range(8))


def test_perturbed_inputs_stay_in_their_physical_range(tmp_path: Path) -> None:
    write_run(tmp_path, "carbon")
    run_ensemble(write_ensemble(tmp_path, ("rsds",), members=4, perturb=[{"field": "rsds", "add": 300.0}]))
    rsds = opened(tmp_path / "members.nc").rsds
    assert float(rsds.min()) >= 0.0
    assert float(rsds.std()) > 50.0


def test_shared_noise_is_one_number_for_all_cells(tmp_path: Path) -> None:
    write_run(tmp_path, "carbon")
    parameters = {"values": [{"field": "tas", "set": [280.0]}]}
    noise = [{"field": "tas", "add": 2.0, "shared": True}]
    run_ensemble(write_ensemble(tmp_path, members=3, perturb=noise, parameters=parameters))
    tas = opened(tmp_path / "members.nc").tas.values
    assert np.ptp(tas, axis=2).max() == 0.0
    assert np.ptp(tas, axis=1).min() > 0.0


def test_constant_of_the_coupling_file_may_be_perturbed(tmp_path: Path) -> None:
    write_run(tmp_path, "carbon", constants={"rsds": "200 W m-2"})
    forcing(0, 10).drop_vars("swdown").to_netcdf(tmp_path / "forcing.nc")
    parameters = {"values": [{"field": "rsds", "multiply": [1.0, 2.0]}]}
    run_ensemble(write_ensemble(tmp_path, ("nee", "rsds"), parameters=parameters))
    rsds = opened(tmp_path / "members.nc").rsds
    assert np.array_equal(rsds[0, :, 0], [200.0, 400.0])


def test_dropout_gives_members_of_their_own_that_can_be_drawn_again(tmp_path: Path) -> None:
    write_run(tmp_path, "wavering")
    settings = {"members": 3, "dropout": ["wavering"], "fields": ("lai",)}
    run_ensemble(write_ensemble(tmp_path, **settings))
    first = opened(tmp_path / "members.nc").lai.values
    assert np.ptp(first, axis=1).min() > 0.0
    run_ensemble(write_ensemble(tmp_path, **{**settings, "members": [3]}), overwrite=True)
    assert np.array_equal(opened(tmp_path / "members.nc").lai[:, 0], first[:, 2])
    run_ensemble(write_ensemble(tmp_path, **settings, seed=1), overwrite=True)
    assert not np.array_equal(opened(tmp_path / "members.nc").lai, first)


# --- statistics -----------------------------------------------------------------------------------------------


def test_statistics_are_those_of_the_kept_members(tmp_path: Path) -> None:
    write_run(tmp_path, "carbon")
    write_observations(tmp_path / "observed.nc")
    statistics = {"observations": OBSERVATIONS, "quantiles": [0.1, 0.5, 1.0]}
    result = run_ensemble(write_ensemble(tmp_path, members=6, perturb=NOISE, statistics=statistics))
    found, members = opened(tmp_path / "statistics.nc"), opened(tmp_path / "members.nc")
    observed = opened(tmp_path / "observed.nc")
    for name, offset in (("nee", 0.0), ("tas", 273.15)):
        values = members[name].values
        np.testing.assert_allclose(found[f"{name}_mean"], values.mean(axis=1), rtol=1e-12)
        np.testing.assert_allclose(found[f"{name}_std"], values.std(axis=1, ddof=1), rtol=1e-9)
        expected = np.quantile(values, [0.1, 0.5, 1.0], axis=1)
        np.testing.assert_allclose(found[f"{name}_quantile"], np.swapaxes(expected, 0, 1), rtol=1e-12)
        daily = observed[f"{name}_observed"].values.reshape(5, 2, 12) + offset
        with np.errstate(all="ignore"):
            truth = np.nansum(daily, axis=1) / np.isfinite(daily).sum(axis=1)
        pairs = np.abs(values[:, :, None] - values[:, None, :]).mean(axis=(1, 2)) / 2
        crps = np.abs(values - truth[:, None]).mean(axis=1) - pairs
        np.testing.assert_allclose(found[f"{name}_crps"], crps, rtol=1e-6)
        assert np.isnan(found[f"{name}_crps"]).sum() == np.isnan(truth).sum() > 0
        np.testing.assert_allclose(found[f"{name}_error"], values.mean(axis=1) - truth, rtol=1e-6, atol=1e-12)
        histogram = found[f"{name}_rank_histogram"].values
        below = (values < truth[:, None]).sum(axis=1)
        for time in range(5):
            places = below[time][np.isfinite(truth[time])]
            assert np.array_equal(histogram[time], np.bincount(places, minlength=7))
        assert result.scores[name].mean("crps") < result.scores[name].mean("error")
    assert np.array_equal(found["members"], [6] * 5)


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_statistics_and_members_have_the_same_bits_on_any_number_of_ranks(
    serial: Path, tmp_path: Path, ranks: int
) -> None:
    if shutil.which("mpirun") is None or find_spec("mpi4py") is None:
        pytest.skip("needs mpirun and mpi4py")
    write_two(tmp_path)
    command = ["mpirun", "-n", str(ranks), sys.executable, program.__file__, str(tmp_path)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("noise", "dropout"):
        for file in ("statistics.nc", "members.nc"):
            assert opened(tmp_path / name / file).equals(opened(serial / name / file)), (name, file)


# --- members that fail, and running again ---------------------------------------------------------------------


def test_failed_member_is_left_out_and_the_rest_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, "anxious")
    result = run_ensemble(warm_member(tmp_path, [0.0, 1.0, 25.0, 2.0, 3.0]))
    assert [number for number, text in result.status.items() if text != "complete"] == [3]
    assert "too warm" in result.status[3]
    assert "2001-01-07" in result.status[3]
    assert "member 3 (noise 1, tas + 25) is left out" in capsys.readouterr().err
    found, members = opened(tmp_path / "statistics.nc"), opened(tmp_path / "members.nc")
    assert found["members"].values.tolist() == [5, 5, 4, 4, 4]
    assert np.isnan(members.tas[3:, 2]).all()
    run_ensemble(warm_member(tmp_path, [0.0, 1.0, 2.0, 3.0]), overwrite=True)
    without = opened(tmp_path / "statistics.nc")
    assert np.array_equal(found.tas_mean[3:], without.tas_mean[3:])
    assert np.array_equal(found.lai_quantile[3:], without.lai_quantile[3:])


def test_running_again_completes_what_is_missing(tmp_path: Path) -> None:
    write_run(tmp_path, "anxious")
    path = warm_member(tmp_path, [0.0, 25.0, 1.0])
    assert run_ensemble(path).kept == 0
    again = run_ensemble(path)
    assert (again.kept, again.was_complete) == (2, False)
    assert again.status[2] != "complete"
    more = run_ensemble(warm_member(tmp_path, [0.0, 1.0, 2.0, 3.0]))
    assert more.kept == 2
    continued = opened(tmp_path / "statistics.nc")
    run_ensemble(warm_member(tmp_path, [0.0, 1.0, 2.0, 3.0]), overwrite=True)
    assert opened(tmp_path / "statistics.nc").equals(continued)
    assert run_ensemble(warm_member(tmp_path, [0.0, 1.0, 2.0, 3.0])).was_complete


def test_ensemble_of_which_no_member_is_left_is_an_error(tmp_path: Path) -> None:
    write_run(tmp_path, "anxious")
    with refused(Status.RUN, "no member is left", "too warm"):
        run_ensemble(warm_member(tmp_path, [40.0, 50.0]))


def test_files_of_another_ensemble_are_kept_unless_overwrite(tmp_path: Path) -> None:
    path = write_run(tmp_path, "anxious")
    run_ensemble(warm_member(tmp_path, [0.0, 1.0]))
    path.write_text(path.read_text().replace("2001-01-11", "2001-01-09"))
    with refused(Status.IO, "statistics.nc", "another ensemble", "--overwrite"):
        run_ensemble(warm_member(tmp_path, [0.0, 1.0]))
    run_ensemble(warm_member(tmp_path, [0.0, 1.0]), overwrite=True)


def test_other_members_do_not_take_the_place_of_those_that_are_there(tmp_path: Path) -> None:
    write_run(tmp_path, "anxious")
    run_ensemble(warm_member(tmp_path, [0.0, 1.0]))
    with refused(Status.IO, "of other members", "--overwrite"):
        run_ensemble(warm_member(tmp_path, [1.0, 2.0]))
    run_ensemble(warm_member(tmp_path, [0.0, 1.0], keep=None), overwrite=True)
    with refused(Status.IO, "statistics.nc", "of other members"):
        run_ensemble(warm_member(tmp_path, [0.0, 1.0, 2.0], keep=None))
    shutil.copy(tmp_path / "forcing.nc", tmp_path / "members.nc")
    with refused(Status.IO, "members.nc", "another ensemble"):
        run_ensemble(warm_member(tmp_path, [0.0, 1.0], statistics={"file": "new.nc"}))


# --- what is refused ------------------------------------------------------------------------------------------

MISTAKES = [
    ({"members": [1, 2, 2]}, ("member 2 is listed twice",)),
    ({"members": 0}, ("counted from 1",)),
    ({"members": 3}, ("members 1 (noise 1) and 2 (noise 2) are the same", "perturb")),
    ({"models": {"carbon": ["carbon.pt", "carbon.pt"]}}, ("carbon.pt", "listed twice for 'carbon'")),
    ({"models": {"carbon": ["carbon.pt", "copy.pt"]}}, ("are the same",)),
    ({"models": {"grass": ["carbon.pt"]}}, ("no emulator 'grass'", "it has carbon")),
    ({"dropout": ["carbon"], "members": 2}, ("has no dropout",)),
    ({"perturb": [{"field": "tas"}]}, ("either 'add' or 'multiply'",)),
    ({"perturb": [{"field": "nee", "add": 1.0}]}, ("'nee' is computed by the emulator 'carbon'",)),
    ({"perturb": [{"field": "pr", "add": 1.0}]}, ("no emulator of the run takes 'pr'", "rsds, tas")),
    ({"perturb": [{"field": "tas", "add": 1.0, "time": "1mon"}]}, ("fixed length",)),
    ({"perturb": [{"field": "tas", "add": 1.0, "time": "1h"}]}, ("shorter than a step",)),
    ({"parameters": {"values": [{"field": "tas", "add": [1, 1]}]}}, ("the number 1.0 is listed twice",)),
    ({"parameters": {"points": 4, "values": [{"field": "tas", "add": [1, 2]}]}}, ("a grid has none",)),
    ({"keep": "members.zarr"}, ("ends with '.nc'",)),
    ({"memberz": 3}, ("'memberz' is not a key of an ensemble file", "Did you mean 'members'")),
    ({"statistics": {"quantiles": [0.5, 0.1]}}, ("shares from 0 to 1 that grow",)),
]


@pytest.mark.parametrize(("sections", "words"), MISTAKES, ids=[" ".join(map(str, words)) for _, words in MISTAKES])
def test_mistake_is_refused(tmp_path: Path, sections: dict[str, object], words: tuple[str, ...]) -> None:
    write_run(tmp_path, "carbon")
    shutil.copy(tmp_path / "carbon.pt", tmp_path / "copy.pt")
    status = Status.MODEL if "dropout" in sections else Status.CONFIG
    with refused(status, *words):
        run_ensemble(write_ensemble(tmp_path, **sections))


def test_mistake_is_told_with_its_line(tmp_path: Path) -> None:
    write_run(tmp_path, "carbon")
    path = write_ensemble(tmp_path, perturb=[{"field": "tass", "add": 1.0}])
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "tass" in text)
    with refused(Status.FIELD, f"ens.yml:{line}:", "perturb.0.field", "'tass'"):
        run_ensemble(path)


def test_emulator_that_was_saved_frozen_has_no_dropout(tmp_path: Path) -> None:
    write_run(tmp_path, "wavering")
    save_frozen(tmp_path / "wavering.pt")
    with refused(Status.MODEL, "saved frozen"):
        run_ensemble(write_ensemble(tmp_path, ("lai",), members=2, dropout=["wavering"]))


def test_observations_at_other_sites_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path, "carbon")
    write_observations(tmp_path / "observed.nc", lon=LON + 5.0)
    with refused(Status.CELLS, "none of the 12 observed places", "longitude 5"):
        run_ensemble(write_ensemble(tmp_path, members=2, perturb=NOISE, statistics={"observations": OBSERVATIONS}))


def test_field_that_nothing_gives_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path, "carbon")
    forcing(0, 10).drop_vars("swdown").to_netcdf(tmp_path / "forcing.nc")
    with refused(Status.FIELD, "changes 'rsds'", "neither the forcing nor"):
        run_ensemble(write_ensemble(tmp_path, members=2, perturb=NOISE))


@pytest.mark.parametrize("key", ["statistics", "keep", "figures"])
def test_place_that_cannot_be_written_is_refused_before_the_run(tmp_path: Path, key: str) -> None:
    pytest.importorskip("matplotlib")
    write_run(tmp_path, "carbon")
    (tmp_path / "file").write_text("no folder")
    sections = {"statistics": {"file": "file/s.nc"}, "keep": "file/m.nc", "figures": {"dir": "file/pictures"}}
    with refused(Status.IO, "cannot be written", "file"):
        run_ensemble(write_ensemble(tmp_path, members=2, perturb=NOISE, **{key: sections[key]}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["carbon.pt", "ens.yml", "file", "forcing.nc", "run.yml"]


def test_run_that_ends_before_the_first_interval_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path, "carbon")
    with refused(Status.CONFIG, "before the first interval"):
        run_ensemble(write_ensemble(tmp_path, members=2, perturb=NOISE, statistics={"every": "1yr"}))


def test_calendar_of_times_is_that_of_the_run(tmp_path: Path) -> None:
    write_run(tmp_path, "carbon")
    run_ensemble(write_ensemble(tmp_path, members=2, perturb=NOISE))
    file = opened(tmp_path / "statistics.nc")
    dates = cftime.num2date(file.time_bounds.values, file.time.units, file.time.calendar)
    assert str(dates[-1, 1]) == "2001-01-11 00:00:00"
    assert yaml.safe_load(file.ensemble_file)["members"] == 2


# --- pictures and the command ---------------------------------------------------------------------------------


def test_command_draws_a_picture_of_each_field(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    write_run(tmp_path, "carbon")
    write_observations(tmp_path / "observed.nc")
    figures = {"dir": "pictures", "units": {"nee": "g m-2 d-1", "tas": "degC"}}
    statistics = {"observations": OBSERVATIONS}
    path = write_ensemble(tmp_path, members=3, perturb=NOISE, statistics=statistics, figures=figures)
    done = CliRunner().invoke(commands, ["ensemble", str(path)])
    assert done.exit_code == 0, done.output
    assert "3 of 3" in done.output
    assert "CRPS" in done.output
    for name in ("nee", "tas"):
        picture = tmp_path / "pictures" / f"ensemble_{name}.png"
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size > 20_000
    again = CliRunner().invoke(commands, ["ensemble", str(path)])
    assert "complete already" in again.output


def test_what_a_full_disk_left_is_refused_and_may_be_replaced(tmp_path: Path) -> None:
    write_run(tmp_path, "carbon")
    ensemble = write_ensemble(tmp_path, members=2, perturb=NOISE, keep=None)
    command = [sys.executable, "-m", "coupler_plugin", "ensemble", str(ensemble)]
    with full_disk(43_000):
        ended = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert ended.returncode == Status.IO, ended.stderr
    assert "statistics.nc': NetCDF: HDF error (" in ended.stderr
    with refused(Status.IO, "statistics.nc", "NetCDF"):
        run_ensemble(ensemble)
    run_ensemble(ensemble, overwrite=True)
