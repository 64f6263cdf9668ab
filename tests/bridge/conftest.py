# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the bridge: hosts that are linked with the installed library, and coupling files for them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import small_emulators as small
import yaml
from small_hosts import Hosts

from coupler_plugin.cli.prefix import native_prefix

SANITIZED = os.environ.get("COUPLER_PLUGIN_SANITIZED")


@pytest.fixture(scope="session")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Hosts:
    """Hosts that are linked with the library of the Python that runs the tests."""
    if SANITIZED:  # `make sanitize`: a library, an extension module and hosts that watch themselves
        # Loaded first, and with it C++: the one that watches must know of exceptions before torch throws some.
        asks = (["gcc", f"-print-file-name=lib{name}.so"] for name in ("asan", "stdc++"))
        libraries = [subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip() for ask in asks]
        watched = {"PYTHONPATH": str(Path(__file__).parent / "sanitized"), "LD_PRELOAD": " ".join(libraries)}
        return Hosts(tmp_path_factory.mktemp("hosts"), Path(SANITIZED), ("-g", "-fsanitize=address"), watched)
    return Hosts(tmp_path_factory.mktemp("hosts"), native_prefix())


@pytest.fixture(scope="session")
def mpi_hosts(hosts: Hosts) -> Hosts:
    """The same, where there is an MPI to compile and run with."""
    if shutil.which("mpirun") is None:
        pytest.skip("mpirun is not installed")
    return hosts


@pytest.fixture(scope="session")
def write_coupling(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that writes a coupling file with one small emulator: lai = 2 tas + 1, hourly."""

    def write(
        name: str = "coupling.yml", *, scale: float = 2.0, folder: Path | None = None, **sections: object
    ) -> Path:
        folder = folder or tmp_path_factory.mktemp("coupling")
        bias = 1.0 if scale == 2.0 else 0.0
        inputs, outputs = [small.field("tas", "K")], [small.field("lai", "1")]
        model = small.write(folder / f"affine_{scale:g}.pt", small.Affine([[scale]], bias), inputs, outputs)
        path = folder / name
        # the hosts of these tests have temperatures that are easy to follow, not physical
        emulator = {"model": model.name, "guard": {"input": "off"}}
        path.write_text(yaml.safe_dump({"emulators": [emulator], **sections}))
        return path

    return write


@pytest.fixture(scope="session")
def config(write_coupling: Callable[..., Path]) -> Path:
    """A coupling file with one emulator, lai = 2 tas + 1, and `on_error: return`."""
    return write_coupling(on_error="return")


@pytest.fixture(scope="session")
def aborting_config(write_coupling: Callable[..., Path]) -> Path:
    """The same without `on_error`."""
    return write_coupling()


@pytest.fixture(scope="session")
def python() -> Path:
    """The interpreter that runs the tests, with its environment."""
    return Path(sys.executable)
