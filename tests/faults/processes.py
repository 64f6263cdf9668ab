# SPDX-License-Identifier: Apache-2.0
"""Faults that need processes of their own: limits of disk and memory, child processes, ranks, hosts in Fortran."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import small_emulators as small
import yaml
from bridge.small_hosts import Hosts
from faults import ranks
from faults.provoked import FAULTS, LAI, TAS, Fault, Host, Seen, fault, see

from coupler_plugin.cli.prefix import native_prefix
from coupler_plugin.errors import Status
from coupler_plugin.regrid.engines import child

DISK = "The disk or the memory"
PATIENCE = 240.0  # seconds; a machine may be busy
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_mpi_yield_when_idle": "1",
}


# --- disk and memory ------------------------------------------------------------------------------------------


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Let no file grow beyond a size, which fails as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@fault(DISK, "is full when a restart is written")
def _(folder: Path) -> None:
    host = Host(folder, restart={"every": "1h"}).run()
    before = {path: path.read_bytes() for path in (folder / "restart").iterdir()}
    try:
        with full_disk(1000):
            host.coupler.step()
    finally:
        assert {path: path.read_bytes() for path in (folder / "restart").iterdir()} == before


@fault(DISK, "is full when a history is created")
def _(folder: Path) -> None:
    host = Host(folder, history={"file": "history.nc", "fields": ["lai"], "every": "1h"}).start()
    try:
        with full_disk(1000):
            host.coupler.step()
    finally:
        assert not (folder / "history.nc").exists()


@fault(DISK, "is full when a history is written to")
def _(folder: Path) -> None:
    ids = np.arange(1, 20001)
    host = Host(folder, history={"file": "history.nc", "fields": ["tas"], "every": "1h"}).start(ids=ids)
    weather = np.random.default_rng(1)
    host.coupler.step()
    with full_disk((folder / "history.nc").stat().st_size + 20_000):
        host.tas[:] = weather.normal(280.0, 5.0, ids.size)
        host.coupler.step()


@fault(DISK, "is full when the report is written")
def _(folder: Path) -> None:
    host = Host(folder, report="report.json").run()
    try:
        with full_disk(10):
            host.coupler.finalize()
    finally:
        assert not list(folder.glob("report.json*"))


def memory_that_ends(folder: Path) -> Seen:
    """Make a coupler of too many cells for a process, which is a fork of this one."""
    answer = folder / "answer.json"
    if (process := os.fork()) == 0:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + 2**28
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        seen = see(lambda: Host(folder).start(ids=np.arange(1, 10_000_001, dtype=np.int32)))
        answer.write_text(json.dumps([seen.status, seen.sentence]))
        os._exit(0)
    os.waitpid(process, 0)
    return Seen(*json.loads(answer.read_text()))


FAULTS.append(Fault(DISK, "is not enough: the memory of a process with too many cells", memory_that_ends))


# --- child processes ------------------------------------------------------------------------------------------


def run_engine(folder: Path, what: str, seconds: float) -> None:
    """Run a regridding engine that does something."""
    script = folder / "_engine_child.py"
    script.write_text(f"import os, signal, time\n{what}\n")
    child.run(script, {}, "result.npz", lambda path: path, seconds)


@fault("A process", "of a regridding engine: a segmentation fault")
def _(folder: Path) -> None:
    run_engine(folder, "os.kill(os.getpid(), signal.SIGSEGV)", PATIENCE)


@fault("A process", "of a regridding engine hangs")
def _(folder: Path) -> None:
    run_engine(folder, "time.sleep(1000)", 1.0)


# --- ranks ----------------------------------------------------------------------------------------------------


def lacks_mpi() -> bool:
    """Return whether ranks cannot be started here."""
    return shutil.which("mpirun") is None or find_spec("mpi4py") is None


def mpirun(count: int, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the program of `ranks.py`; one that hangs is an error."""
    command = ["mpirun", "--oversubscribe", "-n", str(count), sys.executable, ranks.__file__, *words]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE, check=False)


def seen_by_ranks(folder: Path) -> list[dict[str, list[str]]]:
    """Return what each of three ranks saw in each case of `ranks.CASES`; the ranks run once."""
    shared = folder.parent / "ranks"
    if not shared.exists():
        shared.mkdir()
        small.write(shared / "leaf.pt", small.Affine([[0.01]]), [TAS], [LAI])
        sections = {"emulators": [{"model": "leaf.pt", "block": 16}], "on_error": "return", "timeout": "1s"}
        (shared / "coupling.yml").write_text(yaml.safe_dump(sections))
        write_own_grid(shared)
        done = mpirun(3, "cases", str(shared))
        assert done.returncode == 0, done.stderr
    return [json.loads((shared / f"rank{rank}.json").read_text()) for rank in range(3)]


def write_own_grid(folder: Path) -> None:
    """Write a coupling file whose emulator has a grid of its own."""
    small.write(folder / "leaf.pt", small.Affine([[0.01]]), [TAS], [LAI])
    emulator = {"model": "leaf.pt", "block": 16, "grid": {"latlon": 60.0}}
    sections = {"emulators": [emulator], "regrid": {"host_grid": {"latlon": 30.0}}, "on_error": "return"}
    (folder / "own_grid.yml").write_text(yaml.safe_dump(sections))


def lonely_rank(folder: Path) -> Seen:
    """Fail on one rank where the others cannot be told: the job ends, though the host asked for errors."""
    write_own_grid(folder)
    done = mpirun(2, "alone", str(folder))
    assert done.returncode not in (0, 77), done.stderr  # 77: a rank came to its end
    return Seen("the job ends", next(line for line in done.stderr.splitlines() if "failed alone" in line))


def case_of_ranks(name: str) -> Callable[[Path], Seen]:
    """Return a function that gives what rank 0 saw; rank 1 is the one at fault."""
    return lambda folder: Seen(*seen_by_ranks(folder)[0][name])


def killed_rank(folder: Path) -> Seen:
    """Kill a rank in a step: the launcher ends the others."""
    small.write(folder / "leaf.pt", small.Affine([[0.01]]), [TAS], [LAI])
    (folder / "coupling.yml").write_text("emulators: [{model: leaf.pt, block: 16}]\n")
    done = mpirun(2, "killed", str(folder))
    assert done.returncode not in (0, 77), done.stderr  # 77: a rank came to its end
    return Seen("the job ends", next(line for line in done.stderr.splitlines() if "signal 9" in line))


def of_fortran(name: str, status: str, **environment: str) -> Callable[[Path], Seen]:
    """Return a function that runs a host in Fortran which gets an error."""

    def run(folder: Path) -> Seen:
        small.write(folder / "leaf.pt", small.Affine([[0.01]]), [TAS], [LAI])
        (folder / "coupling.yml").write_text("emulators: [{model: leaf.pt, block: 16}]\n")
        hosts = Hosts(folder, native_prefix())
        done = hosts.run(hosts.compile(name), folder / "coupling.yml", check=False, **environment)
        if status == "the job ends":
            assert done.returncode != 0
            return Seen(status, done.stderr.strip())
        return Seen(Status(int(done["rc"])).name, done["rc_message"])

    return run


#: faults of ranks and of hosts, and what they need on this machine
OF_RANKS = [
    Fault("A process", f"of three: rank 1 {what}", case_of_ranks(case.__name__)) for case, what in ranks.CASES.items()
]
OF_RANKS.append(Fault("A process", "of two ranks has no memory left while grids are planned", lonely_rank))
OF_RANKS.append(Fault("A process", "of two ranks is killed", killed_rank))
OF_HOSTS = [
    Fault(
        "A process",
        "of a host in Fortran with `on_error: abort` makes a mistake",
        of_fortran("stops.f90", "the job ends"),
    ),
    Fault(
        "A process",
        "of a host in Fortran names a Python that is not there",
        of_fortran("first_call.f90", "STARTUP", COUPLER_PLUGIN_PYTHON="/nowhere/bin/python3"),
    ),
]
