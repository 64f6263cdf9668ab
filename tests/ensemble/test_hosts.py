# SPDX-License-Identifier: Apache-2.0
"""Ensembles of hosts: what is refused before a job starts, and a job that fails; one that goes well is in bridge/."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from refusal import refused

from coupler_plugin import Status
from coupler_plugin.ensemble import run_ensemble
from coupler_plugin.ensemble.hosts import command
from coupler_plugin.ensemble.section import HostsSection


def write(folder: Path, history: str = "history_${instance}.nc", fields: str = "tas", **sections: object) -> Path:
    """Write an ensemble of two hosts that fail."""
    coupling = {"emulators": [], "history": {"file": history, "fields": [fields]}}
    (folder / "coupling.yml").write_text(yaml.safe_dump(coupling))
    content = {
        "coupling": "coupling.yml",
        "hosts": {"program": "/bin/false", "instances": 2},
        "statistics": {"file": "statistics.nc", "fields": ["tas"]},
        **sections,
    }
    (folder / "ens.yml").write_text(yaml.safe_dump(content))
    return folder / "ens.yml"


def test_hosts_that_would_write_one_file_are_refused(tmp_path: Path) -> None:
    with refused(Status.CONFIG, "history.nc", "${instance}"):
        run_ensemble(write(tmp_path, history="history.nc"))


@pytest.mark.parametrize("sections", [{"members": 4}, {"dropout": ["echo"]}])
def test_hosts_are_members_as_they_are(tmp_path: Path, sections: dict[str, object]) -> None:
    with refused(Status.CONFIG, next(iter(sections)), "hosts"):
        run_ensemble(write(tmp_path, **sections))


def test_hosts_without_the_history_of_the_statistics_are_refused(tmp_path: Path) -> None:
    with refused(Status.CONFIG, "ens.yml", "no history of the hosts has tas every 1d"):
        run_ensemble(write(tmp_path, fields="pr"))


def test_history_of_an_earlier_job_is_kept_unless_overwrite(tmp_path: Path) -> None:
    (tmp_path / "history_0002.nc").write_text("earlier")
    with refused(Status.IO, "history_0002.nc", "--overwrite"):
        run_ensemble(write(tmp_path))


def test_hosts_that_all_fail_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("mpirun") is None:
        pytest.skip("mpirun is not installed")
    for name in ("ALLOW_RUN_AS_ROOT", "ALLOW_RUN_AS_ROOT_CONFIRM", "MCA_rmaps_base_oversubscribe"):
        monkeypatch.setenv(f"OMPI_{name}", "1")
    with refused(Status.RUN, "no host is left"):
        run_ensemble(write(tmp_path))


def test_launcher_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, hosts={"program": "/bin/false", "instances": 2, "launcher": "no_such_launcher --all"})
    with refused(Status.MPI, "'no_such_launcher' cannot be started"):
        run_ensemble(path)


def section(**more: object) -> HostsSection:
    hosts = {"program": "land", "arguments": ["run_${instance}.nml"], "instances": 3, "ranks": 3, **more}
    return HostsSection.model_validate(hosts)


def test_each_host_has_its_number_and_its_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name)
    assert " ".join(command(section(), [1, 3], tmp_path)) == (
        "mpirun -n 3 env COUPLER_INSTANCE=1 land run_0001.nml : -n 3 env COUPLER_INSTANCE=3 land run_0003.nml"
    )
    assert command(section(launcher="mpirun --bind-to core"), [1], tmp_path)[:5] == [
        "mpirun", "--bind-to", "core", "-n", "3",
    ]  # fmt: skip


def test_srun_gets_a_file_of_ranks_and_programs(tmp_path: Path) -> None:
    words = command(section(launcher="srun --mpi=pmix", arguments=["a b.nml"]), [1, 3], tmp_path)
    assert words == ["srun", "--mpi=pmix", "-n", "6", "--multi-prog", str(tmp_path / "hosts.conf")]
    assert (tmp_path / "hosts.conf").read_text() == (
        "0-2 env COUPLER_INSTANCE=1 land 'a b.nml'\n3-5 env COUPLER_INSTANCE=3 land 'a b.nml'\n"
    )
    command(section(launcher="/usr/bin/srun", ranks=1), [2], tmp_path)
    assert (tmp_path / "hosts.conf").read_text() == "0-0 env COUPLER_INSTANCE=2 land run_0002.nml\n"
