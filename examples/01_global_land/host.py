# SPDX-License-Identifier: Apache-2.0
"""Building the Fortran host with CMake and running it under MPI."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "fortran_bridge" / "hosts" / "land_model"


class HostError(Exception):
    """The host could not be built or did not run to its end."""


def fitting_ranks() -> int:
    """Return 2, or 1 where only one core is there."""
    return min(2, len(os.sched_getaffinity(0)))


def build(folder: Path, *options: str) -> Path:
    """Build the land model with CMake in `folder`, as a user builds a host; return the executable.

    Parameters
    ----------
    folder : Path
        Where CMake works; what is up to date there is not built again.
    *options : str
        Arguments of CMake, such as ``-DCOUPLER=OFF``.

    Raises
    ------
    HostError
        with what the command has said.
    """
    prefix = _output([_tool("coupler-plugin"), "prefix"]).strip()
    cmake = _tool("cmake")
    folder.mkdir(parents=True, exist_ok=True)
    _output([cmake, "-S", str(SOURCE), "-B", str(folder), f"-DCMAKE_PREFIX_PATH={prefix}", *options])
    _output([cmake, "--build", str(folder), "--parallel", "2"])
    return folder / "land_model"


def run(executable: Path, folder: Path, ranks: int, namelist: str = "land_model.nml") -> None:
    """Run the host in `folder` on `ranks` ranks and show its progress.

    Raises
    ------
    HostError
        when it stops with an error.
    """
    command = [_tool("mpirun"), "-n", str(ranks), str(executable), namelist]
    print(f"$ {' '.join(command)}", flush=True)
    progress = _ProgressLine()
    with subprocess.Popen(command, cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            progress.show(line.rstrip("\n"))
    if process.returncode:
        raise HostError(f"the land model stopped with status {process.returncode}; its message is above.")


def environment() -> dict[str, str]:
    """Return the environment of an MPI job that may run as root and on fewer cores than ranks, as containers do."""
    defaults = {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        "OMPI_MCA_mpi_yield_when_idle": "1",  # a rank that waits leaves its core to others
        "OMP_NUM_THREADS": "1",
    }
    return {**defaults, **os.environ}


class _ProgressLine:
    """Shows lines with a percentage in place on a terminal, and every tenth of the run elsewhere."""

    def __init__(self) -> None:
        self._in_place = sys.stdout.isatty()
        self._open = False
        self._tenth = -1

    def show(self, line: str) -> None:
        percent = _percentage(line)
        if percent is None:
            if self._open:
                print()
            self._open = False
            print(line, flush=True)
        elif self._in_place:
            bar = ("━" * round(percent / 4)).ljust(25, "╌")
            print(f"\r{bar} {line}", end="", flush=True)
            self._open = True
        elif int(percent // 10) > self._tenth:
            self._tenth = int(percent // 10)
            print(line, flush=True)


def _percentage(line: str) -> float | None:
    """Return the percentage of a progress line of the host: date, number, %, ..."""
    words = line.split()
    return float(words[1]) if len(words) > 2 and words[2] == "%" else None


def _tool(name: str) -> str:
    """Return the path of a program, from this Python's environment before the system's."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        raise HostError(f"the program '{name}' is needed and was not found; 'make demo' installs it.")
    return found


def _output(command: list[str]) -> str:
    """Run a command and return what it prints."""
    answer = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if answer.returncode:
        raise HostError(f"'{' '.join(command)}' failed:\n{answer.stdout}")
    return answer.stdout
