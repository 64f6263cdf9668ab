# SPDX-License-Identifier: Apache-2.0
"""Fixtures that make emulator files, coupling files and couplers in a folder of their own."""

from __future__ import annotations

import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: small networks only lose by threads

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import yaml

from coupler_plugin import Coupler
from coupler_plugin.emulator import kernels

kernels.settle()  # before the first product of any test, which would choose other kernels than those of hosts
hypothesis.settings.register_profile("tests", deadline=None, max_examples=60, derandomize=True)
hypothesis.settings.load_profile("tests")

Entry = str | Path | dict[str, Any]


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a script: tests interrupt programs
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("filterwarnings", "ignore:.torch.jit.*deprecated:DeprecationWarning")


@pytest.fixture
def coupling(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a coupling file and returns its path."""

    def write(emulators: list[Entry] | Entry = (), **sections: Any) -> Path:
        entries = [emulators] if isinstance(emulators, str | Path | dict) else list(emulators)
        listed = [entry if isinstance(entry, dict) else {"model": str(entry)} for entry in entries]
        for entry in listed:
            entry["model"] = str(entry["model"])
            # Tests have numbers that are easy to follow, not weather: physical ranges are for tests/guard.
            entry.setdefault("guard", {"input": "off"})
        path = tmp_path / "coupling.yml"
        path.write_text(yaml.safe_dump({"emulators": listed, **sections}, sort_keys=False))
        return path

    return write


@pytest.fixture
def couple(coupling: Callable[..., Path]) -> Callable[..., Coupler]:
    """Return a function that makes a coupler with cells on a line of latitude."""

    def make(
        emulators: list[Entry] | Entry = (),
        *,
        cells: int | None = 3,
        start: str = "2001-01-01",
        dt: float = 3600.0,
        **sections: Any,
    ) -> Coupler:
        coupler = Coupler(coupling(emulators, **sections), start=start, dt=dt)
        if cells is not None:
            coupler.set_cells(np.arange(1, cells + 1), np.linspace(0.0, 90.0, cells), np.linspace(-60.0, 60.0, cells))
        return coupler

    return make
