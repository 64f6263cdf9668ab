# SPDX-License-Identifier: Apache-2.0
"""A Fortran host asks for a restart and goes on from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from small_hosts import Hosts


def test_two_runs_of_a_host_give_the_bits_of_one(
    hosts: Hosts, write_coupling: Callable[..., Path], tmp_path: Path
) -> None:
    whole = write_coupling("whole.yml", folder=tmp_path)
    parts = write_coupling("parts.yml", folder=tmp_path, restart={"dir": "restart"})
    late = write_coupling("late.yml", folder=tmp_path)
    for path, more in ((whole, ""), (parts, ""), (late, "\n  lag: 1")):
        path.write_text(path.read_text().replace("model: affine_2.pt", f"model: affine_2.pt\n  every: 3h{more}"))
    run = hosts.run(hosts.compile("restart.f90"), whole, parts, late)
    assert run["moved"] == "T"
    assert run["same"] == run["halves"] == run["late"] == "T"
    assert (tmp_path / "restart" / "rpointer.coupler.2001-01-01-18000").exists()
