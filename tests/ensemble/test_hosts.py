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


@pytest.mark.skipif(shutil.which("mpirun") is None, reason="mpirun is not installed")
def test_job_that_fails_is_told_with_its_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALLOW_RUN_AS_ROOT", "ALLOW_RUN_AS_ROOT_CONFIRM", "MCA_rmaps_base_oversubscribe"):
        monkeypatch.setenv(f"OMPI_{name}", "1")
    with refused(Status.RUN, "ended with the status 1"):
        run_ensemble(write(tmp_path))


def test_each_host_has_its_number_and_its_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name)
    words = command(HostsSection(program=Path("land"), arguments=["run_${instance}.nml"], instances=2, ranks=3))
    assert " ".join(words) == (
        "mpirun -n 3 env COUPLER_INSTANCE=1 land run_0001.nml : -n 3 env COUPLER_INSTANCE=2 land run_0002.nml"
    )
