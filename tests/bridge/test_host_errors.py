# SPDX-License-Identifier: Apache-2.0
"""What a host gets back when it does something wrong: the status, the sentence, and what stays as it was."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import small_emulators as small
import yaml
from small_hosts import HERE, Hosts, Run

from coupler_plugin import Status

#: cases of errors.f90: their status, and words that the message must have
CASES = {
    "step_before_init": (Status.ORDER, "does not exist"),
    "finalize_before_init": (Status.ORDER, "call init first"),
    "config_missing": (Status.CONFIG, "nowhere.yml"),
    "config_misspelt": (Status.CONFIG, "emulators"),
    "model_missing": (Status.MODEL, "absent.pt"),
    "latin_1": (Status.CONFIG, "f\\udce4r.yml'"),
    "comm_without_mpi": (Status.MPI, "no MPI library is loaded"),
    "bind_before_set_cells": (Status.ORDER, "set_cells"),
    "step_before_set_cells": (Status.ORDER, "set_cells"),
    "latitude_of_100": (Status.CELLS, "100"),
    "id_twice": (Status.CELLS, "the id 2"),
    "real_ids": (Status.ARRAY, "integers"),
    "short_longitudes": (Status.ARRAY, "'lon'"),
    "unknown_field": (Status.FIELD, "temprature_2m"),
    "misspelt_field": (Status.FIELD, "Did you mean 'tas'?"),
    "logical_field": (Status.ARRAY, "its kind is none of"),
    "complex_field": (Status.ARRAY, "its kind is none of"),
    "integer_field": (Status.ARRAY, "int32"),
    "short_field": (Status.ARRAY, "shape"),
    "not_allocated": (Status.ARRAY, "'tas'"),
    "not_associated": (Status.ARRAY, "'tas'"),
    "assumed_size": (Status.ARRAY, "assumed-size"),
    "wrong_units": (Status.UNITS, "'m'"),
    "unreadable_units": (Status.UNITS, "Kelvins of sorts"),
    "step_before_bind": (Status.FIELD, "'tas'"),
    "output_not_bound": (Status.FIELD, "'lai'"),
    "step_after_finalize": (Status.ORDER, "finalized"),
    "finalize_twice": (Status.ORDER, "finalized"),
    "exception_in_step": (Status.RUN, "negative input"),
    "history_nowhere": (Status.IO, "history"),
}


@pytest.fixture(scope="module")
def errors(hosts: Hosts, write_coupling: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("errors")
    good = write_coupling("good.yml", folder=folder, on_error="return")
    text = yaml.safe_load(good.read_text())
    tas = small.field("tas", "K", statistics={"mean": 1, "std": 0, "min": 1, "max": 1})
    touchy = small.write(folder / "touchy.pt", small.Touchy(), [tas], [small.field("lai", "1")])
    history = {"file": "good.yml/history.nc", "fields": ["lai"], "every": "1h"}
    variants = {
        "misspelt.yml": {**text, "emulatorz": []},
        "no_model.yml": {**text, "emulators": [{"model": "absent.pt"}]},
        "touchy.yml": {**text, "emulators": [{"model": touchy.name, "guard": {"input": "off"}}]},
        "history.yml": {**text, "history": history},
    }
    for name, variant in variants.items():
        (folder / name).write_text(yaml.safe_dump(variant))
    return hosts.run(hosts.compile("errors.f90"), folder)


@pytest.mark.parametrize("case", CASES)
def test_an_error_has_its_status_and_a_sentence(errors: Run, case: str) -> None:
    status, words = CASES[case]
    assert errors[case] == str(int(status)), errors[f"{case}_message"]
    assert words in errors[f"{case}_message"]


@pytest.mark.parametrize("case", ["all_is_well", "positive", "section_of_assumed_size", "outputs_untouched"])
def test_a_host_goes_on_after_its_errors(errors: Run, case: str) -> None:
    assert errors[case] == "0", errors[f"{case}_message"]


def test_python_that_does_not_start_is_an_error(hosts: Hosts, config: Path) -> None:
    result = hosts.run(hosts.compile("first_call.f90"), config, COUPLER_PLUGIN_PYTHON="/nowhere/bin/python3")
    assert result["rc"] == str(int(Status.STARTUP))
    assert "COUPLER_PLUGIN_PYTHON is '/nowhere/bin/python3'" in result["rc_message"]
    assert result["answer"] == "F"


def test_an_exception_of_the_plugin_itself_is_internal(hosts: Hosts, config: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import coupler_plugin.coupler as coupler\ndef broken(*arguments): return 1 / 0\ncoupler.Cells = broken\n"
    )
    result = hosts.run(hosts.compile("first_call.f90"), config, PYTHONPATH=str(tmp_path))
    assert result["rc"] == str(int(Status.INTERNAL))
    assert "ZeroDivisionError: division by zero" in result["rc_message"]
    assert "Traceback" in result.stderr
    assert "Traceback" not in result.stdout


def test_every_status_is_provoked() -> None:
    elsewhere = {Status.OK, Status.STARTUP, Status.INTERNAL}  # the two tests above
    assert {status for status, _ in CASES.values()} | elsewhere == set(Status)


def test_without_rc_an_error_stops_the_host(hosts: Hosts, config: Path) -> None:
    stopped_with_one_message(hosts.run(hosts.compile("stops.f90"), config, check=False))


def test_policy_abort_stops_the_host_that_asked_for_rc(hosts: Hosts, aborting_config: Path) -> None:
    stopped_with_one_message(hosts.run(hosts.compile("stops.f90"), aborting_config, "rc", check=False))


def test_policy_abort_holds_from_the_moment_the_file_is_read(hosts: Hosts, tmp_path: Path) -> None:
    config = tmp_path / "coupling.yml"
    config.write_text("emulators: [{model: absent.pt}]\n")
    result = hosts.run(hosts.compile("first_call.f90"), config, check=False)
    assert result.returncode != 0
    assert "absent.pt" in result.stderr
    assert "rc" not in result.values


def stopped_with_one_message(result: Run) -> None:
    assert result.returncode != 0
    assert result["reached"] == "T"  # what the host had written before is not lost
    assert "went_on" not in result.values
    assert result.stderr.count("Did you mean 'tas'?") == 1
    assert result.stderr.startswith("coupler_plugin: ")
    assert "Backtrace" not in result.stderr


def test_header_module_and_python_agree_on_the_status_codes() -> None:
    source = HERE.parents[1] / "fortran_bridge"
    pattern = r"COUPLER_(?:ERROR_)?(\w+) = (\d+)"
    header = (source / "include/coupler_plugin.h").read_text()
    enumeration = header[header.index("typedef enum coupler_status") : header.index("} coupler_status")]
    module = (source / "src/coupler_plugin.f90").read_text()
    expected = {status.name: str(int(status)) for status in Status}
    assert dict(re.findall(pattern, enumeration)) == expected
    assert dict(re.findall(pattern, module)) == expected
