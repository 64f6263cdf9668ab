# SPDX-License-Identifier: Apache-2.0
"""Hosts that run MPI: the host starts and ends it, an error on one rank ends the job, what does not fit is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import yaml
from refusal import refused
from small_hosts import Hosts

from coupler_plugin import Status
from coupler_plugin.ensemble import run_ensemble

LEVELS = ["single", "funneled", "serialized", "multiple"]


@pytest.mark.parametrize("level", LEVELS)
def test_a_host_of_two_ranks_with_each_thread_level(mpi_hosts: Hosts, config: Path, level: str) -> None:
    program = mpi_hosts.compile("mpi_host.f90", mpi=True)
    result = mpi_hosts.run(program, config, level, ranks=2)
    assert result["level"] == level
    assert result["correct"] == "4"
    assert result["mpi_ended"] == "F"
    assert result["fatal_errors"] == "T"  # mpi4py would change the error handler of MPI_COMM_WORLD


def test_two_hosts_of_one_job_share_a_coupling_file(
    mpi_hosts: Hosts, write_coupling: Callable[..., Path], tmp_path: Path
) -> None:
    history = {"file": "history_${instance}.nc", "fields": ["lai"], "every": "1h"}
    config = write_coupling(folder=tmp_path, history=history)
    mpi_hosts.run(mpi_hosts.compile("instances.f90", mpi=True), config, ranks=4)
    for instance in (1, 2):
        with netCDF4.Dataset(tmp_path / f"history_000{instance}.nc") as file:
            assert file["lai"][:].tolist() == [[200.0 * instance + 1, 200.0 * instance + 3]]
            assert f"history_000{instance}.nc" in file.coupling_file


@pytest.fixture
def ensemble_of_hosts(
    tmp_path: Path, mpi_hosts: Hosts, write_coupling: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[[int, int], Path]:
    """Return a function that writes an ensemble of so many hosts of so many ranks."""

    def write(instances: int, ranks: int) -> Path:
        allowed = ("ALLOW_RUN_AS_ROOT", "ALLOW_RUN_AS_ROOT_CONFIRM", "MCA_rmaps_base_oversubscribe")
        for name in (*allowed, "MCA_mpi_yield_when_idle"):
            monkeypatch.setenv(f"OMPI_{name}", "1")
        write_coupling(folder=tmp_path, history={"file": "history_${instance}.nc", "fields": ["lai"], "every": "1h"})
        ensemble = {
            "coupling": "coupling.yml",
            "hosts": {
                "program": str(mpi_hosts.compile("instances.f90", mpi=True)),
                "arguments": ["coupling.yml"], "instances": instances, "ranks": ranks,
            },
            "statistics": {"file": "statistics.nc", "fields": ["lai"], "every": "1h", "quantiles": [0.5]},
        }  # fmt: skip
        (tmp_path / "ens.yml").write_text(yaml.safe_dump(ensemble))
        return tmp_path / "ens.yml"

    return write


def test_ensemble_of_hosts_is_one_job_with_statistics_over_their_histories(
    tmp_path: Path, ensemble_of_hosts: Callable[[int, int], Path]
) -> None:
    path = ensemble_of_hosts(2, 2)
    result = run_ensemble(path)
    assert result.status == {1: "complete", 2: "complete"}
    members = np.array([[201.0, 203.0], [401.0, 403.0]])  # lai = 2 tas + 1, tas = 100 instance + rank
    with netCDF4.Dataset(tmp_path / "statistics.nc") as file:
        assert file["lai_mean"][0].tolist() == members.mean(axis=0).tolist()
        np.testing.assert_allclose(file["lai_std"][0], members.std(axis=0, ddof=1), rtol=1e-12)
        assert file["lai_quantile"][0, 0].tolist() == members.mean(axis=0).tolist()
    assert run_ensemble(path).was_complete


def test_host_that_fails_is_left_out_and_runs_alone_when_all_run_again(
    tmp_path: Path, ensemble_of_hosts: Callable[[int, int], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = ensemble_of_hosts(3, 1)
    (tmp_path / "broken_2").touch()
    result = run_ensemble(path)
    assert {number for number, text in result.status.items() if text == "complete"} == {1, 3}
    assert result.status[2] == "left out: its job ended with the status 7"
    assert "host 2 is left out" in capsys.readouterr().err
    with netCDF4.Dataset(tmp_path / "statistics.nc") as file:
        assert file["members"][0] == 2
        assert file["lai_mean"][0].tolist() == [401.0]
        assert file["lai_std"][0].tolist() == [np.std([201.0, 601.0], ddof=1)]
    (tmp_path / "broken_2").rename(tmp_path / "broken_3")  # would fail, if it ran again
    again = run_ensemble(path)
    assert (set(again.status.values()), again.kept) == ({"complete"}, 2)
    with netCDF4.Dataset(tmp_path / "statistics.nc") as file:
        assert file["members"][0] == 3
        np.testing.assert_allclose(file["lai_mean"][0], [401.0], rtol=1e-12)


def test_ensemble_of_which_no_host_is_left_is_an_error(
    tmp_path: Path, ensemble_of_hosts: Callable[[int, int], Path]
) -> None:
    for number in (1, 2):
        (tmp_path / f"broken_{number}").touch()
    with refused(Status.RUN, "no host is left"):
        run_ensemble(ensemble_of_hosts(2, 1))


@pytest.mark.parametrize("case", ["all_ranks", "one_rank"])
def test_policy_abort_ends_the_job_with_one_message(mpi_hosts: Hosts, aborting_config: Path, case: str) -> None:
    result = mpi_hosts.run(mpi_hosts.compile("mpi_errors.f90", mpi=True), aborting_config, case, ranks=2, check=False)
    assert result.returncode != 0
    assert result.stderr.count("Did you mean 'tas'?") == 1
    rank = 0 if case == "all_ranks" else 1
    assert f"coupler_plugin: rank {rank}: " in result.stderr


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("before_mpi_init", "MPI is not running"),
        ("null_communicator", "names nothing"),
        ("after_mpi_finalize", "ended already"),
    ],
)
def test_a_communicator_that_cannot_be_used_is_an_error(mpi_hosts: Hosts, config: Path, case: str, words: str) -> None:
    result = mpi_hosts.run(mpi_hosts.compile("mpi_errors.f90", mpi=True), config, case, ranks=1)
    assert result["rc"] == str(int(Status.MPI))
    assert words in result["rc_message"]


def test_forgetting_the_communicator_on_several_ranks_is_an_error(mpi_hosts: Hosts, config: Path) -> None:
    result = mpi_hosts.run(mpi_hosts.compile("mpi_errors.f90", mpi=True), config, "no_communicator", ranks=2)
    assert result["rc"] == str(int(Status.MPI))
    assert "Give MPI_COMM_WORLD" in result["rc_message"]


def test_mpi4py_for_another_mpi_is_named(mpi_hosts: Hosts, config: Path) -> None:
    mpi4py = pytest.importorskip("mpi4py")
    variants = {path.name.split(".")[1] for path in Path(mpi4py.__file__).parent.glob("MPI.*.so")}
    if not {"openmpi", "mpich"} <= variants:
        pytest.skip("this mpi4py was built for one MPI; only its wheels can be asked for another")
    program = mpi_hosts.compile("mpi_errors.f90", mpi=True)
    right = mpi_hosts.run(program, config, "init", ranks=1)
    assert right["rc"] == "0"
    message = {}
    for asked in ("openmpi", "mpich"):
        result = mpi_hosts.run(program, config, "init", ranks=1, MPI4PY_MPIABI=asked)
        message[result["rc"]] = result["rc_message"]
    assert set(message) == {"0", str(int(Status.MPI))}
    assert "MPI4PY_MPIABI" in message[str(int(Status.MPI))]
    assert "the host runs" in message[str(int(Status.MPI))]


def test_mpi4py_that_is_missing_is_named(mpi_hosts: Hosts, config: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as util\n"
        "found = util.find_spec\n"
        "util.find_spec = lambda name, package=None: None if name == 'mpi4py' else found(name, package)\n"
    )
    result = mpi_hosts.run(
        mpi_hosts.compile("mpi_errors.f90", mpi=True), config, "init", ranks=1, PYTHONPATH=str(tmp_path)
    )
    assert result["rc"] == str(int(Status.MPI))
    assert "mpi4py is not installed" in result["rc_message"]


def test_a_host_in_c_stops_all_ranks(mpi_hosts: Hosts, aborting_config: Path) -> None:
    program = mpi_hosts.compile("mpi_host.c", mpi=True)
    result = mpi_hosts.run(program, aborting_config, ranks=2, check=False)
    assert result["rc"] == "0"
    assert result["answer"] == "3"
    assert result.returncode != 0
    assert "coupler_plugin: rank 1: " in result.stderr
    assert "went_on" not in result.values


def test_a_host_whose_mpi_is_hidden_in_a_plugin(mpi_hosts: Hosts, config: Path) -> None:
    plugin = mpi_hosts.compile("mpi_plugin.c", "-shared", "-fPIC", mpi=True)
    result = mpi_hosts.run(mpi_hosts.compile("load_plugin.c"), config, plugin, ranks=1)
    assert result["rc"] == "0", result["message"]
    assert result["answer"] == "3"
