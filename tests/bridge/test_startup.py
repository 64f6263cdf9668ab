# SPDX-License-Identifier: Apache-2.0
"""Which Python a host starts, from where, and what it is told when something does not fit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from small_hosts import Hosts

from coupler_plugin import Status

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
#: the library of `make sanitize` needs variables of the environment, and has the package beside it
needs_the_installed_library = pytest.mark.skipif(
    "COUPLER_PLUGIN_SANITIZED" in os.environ, reason="the library that watches itself is started otherwise"
)


def test_a_program_that_is_started_elsewhere(hosts: Hosts, config: Path, tmp_path: Path) -> None:
    program = shutil.copy(hosts.compile("first_call.f90"), tmp_path / "model")
    assert hosts.run("./model", config, cwd=tmp_path)["answer"] == "T"
    assert hosts.run(program, config.name, cwd=config.parent)["answer"] == "T"


@needs_the_installed_library
def test_a_program_in_a_bare_environment(hosts: Hosts, config: Path) -> None:
    program = hosts.compile("first_call.f90")
    done = subprocess.run([program, config], env={}, cwd="/", capture_output=True, text=True, check=True)
    assert "answer=T" in done.stdout


def test_the_interpreter_can_be_named(hosts: Hosts, config: Path, python: Path) -> None:
    result = hosts.run(hosts.compile("first_call.f90"), config, COUPLER_PLUGIN_PYTHON=str(python))
    assert result["answer"] == "T"


def test_an_interpreter_of_another_version_is_refused(hosts: Hosts, config: Path, tmp_path: Path) -> None:
    other = tmp_path / "bin" / "python3"
    other.parent.mkdir()
    (tmp_path / "lib" / "python3.1").mkdir(parents=True)
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    result = hosts.run(hosts.compile("first_call.f90"), config, COUPLER_PLUGIN_PYTHON=str(other))
    assert result["rc"] == str(int(Status.STARTUP))
    assert f"'{other}' is not a Python {VERSION}" in result["rc_message"]


@needs_the_installed_library
def test_the_home_of_another_python_is_named(hosts: Hosts, config: Path) -> None:
    result = hosts.run(hosts.compile("first_call.f90"), config, PYTHONHOME="/nowhere")
    assert result["rc"] == str(int(Status.STARTUP))
    assert "PYTHONHOME is set: unset it" in result["rc_message"]


@needs_the_installed_library
def test_an_environment_without_the_plugin_is_named(hosts: Hosts, config: Path, python: Path, tmp_path: Path) -> None:
    subprocess.run([python, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    bare = tmp_path / "bare" / "bin" / "python3"
    result = hosts.run(hosts.compile("first_call.f90"), config, COUPLER_PLUGIN_PYTHON=str(bare))
    assert result["rc"] == str(int(Status.STARTUP))
    assert f"Python started ({bare})" in result["rc_message"]
    assert "No module named 'coupler_plugin'" in result["rc_message"]


def test_a_package_of_another_interface_is_refused(hosts: Hosts, config: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import coupler_plugin.bridge as bridge\nbridge.ABI_VERSION = 0\n")
    result = hosts.run(hosts.compile("first_call.f90"), config, PYTHONPATH=str(tmp_path))
    assert result["rc"] == str(int(Status.STARTUP))
    assert "speaks version 0 of the C interface" in result["rc_message"]


def test_another_libpython_is_refused(hosts: Hosts, config: Path, tmp_path: Path) -> None:
    linked = subprocess.run(["ldd", hosts.compile("c_host.c")], capture_output=True, text=True, check=True).stdout
    libpython = next(line.split()[2] for line in linked.splitlines() if "libpython" in line)
    shutil.copy(libpython, tmp_path / str(sysconfig.get_config_var("INSTSONAME")))
    result = hosts.run(hosts.compile("first_call.f90"), config, LD_LIBRARY_PATH=str(tmp_path))
    assert result["rc"] == str(int(Status.STARTUP))
    assert f"has loaded {tmp_path}" in result["rc_message"]
    assert "LD_LIBRARY_PATH" in result["rc_message"]
