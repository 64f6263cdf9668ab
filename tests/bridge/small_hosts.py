# SPDX-License-Identifier: Apache-2.0
"""Compiles the small hosts in `fortran/` and `c/` against an installed library, and runs them.

A host prints lines `name=value`. Many tests look at one run, because what costs time is the start of Python.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# Warnings of the flow analysis differ from one compiler version to the next, and are not all true.
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wno-error=uninitialized", "-Wno-error=maybe-uninitialized"]
LANGUAGE = {".f90": ["-std=f2018"], ".c": ["-std=c11", "-Wpedantic"]}
COMPILER = {(".f90", False): "gfortran", (".f90", True): "mpif90", (".c", False): "gcc", (".c", True): "mpicc"}
SANITIZER = re.compile(r"^.*(AddressSanitizer|LeakSanitizer|runtime error:).*$", re.MULTILINE)


@dataclass
class Run:
    """What a host did: its exit status, both streams, and its lines `name=value`."""

    returncode: int
    stdout: str
    stderr: str
    values: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        pairs = [line.partition("=") for line in self.stdout.splitlines()]
        self.values = {name.strip(): value.strip() for name, equals, value in pairs if equals}

    def __getitem__(self, name: str) -> str:
        assert name in self.values, f"the host did not report '{name}':\n{self.stdout}\n{self.stderr}"
        return self.values[name]


class Hosts:
    """Compiles hosts into a folder, each once, and runs them.

    Parameters
    ----------
    folder : Path
        Where programs and modules go.
    prefix : Path
        Where the library is installed.
    flags : sequence of str
        Flags of all compilations.
    environment : mapping of str to str, optional
        Of all runs.
    """

    def __init__(
        self, folder: Path, prefix: Path, flags: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self._flags = flags
        self.environment = environment or {}
        self.prefix = prefix
        self._programs: dict[tuple[str, ...], Path] = {}

    def link(self, *libraries: str) -> list[str]:
        """Return the flags that a host needs by hand."""
        lib = self.prefix / "lib"
        return [f"-I{self.prefix / 'include'}", f"-L{lib}", f"-Wl,-rpath,{lib}", *[f"-l{name}" for name in libraries]]

    def compile(self, name: str, *flags: str, mpi: bool = False) -> Path:
        """Return the program of the host `name`, such as ``errors.f90``, compiled with all warnings as errors."""
        key = (name, *flags)
        if key not in self._programs:
            source = HERE / ("fortran" if name.endswith(".f90") else "c") / name
            work = self.folder / f"{source.stem}_{len(self._programs)}"
            work.mkdir()
            program = work / source.stem
            sources, libraries = [source], ["coupler_plugin"]
            if source.suffix == ".f90":
                sources, libraries = (
                    [HERE / "fortran" / "testing.f90", source],
                    ["coupler_plugin_fortran", "coupler_plugin"],
                )
            compiler = COMPILER[source.suffix, mpi]
            if shutil.which(compiler) is None:
                pytest.skip(f"{compiler} is not installed")
            command = [
                compiler,
                *WARNINGS,
                *LANGUAGE[source.suffix],
                *self._flags,
                *flags,
                *map(str, sources),
                "-o",
                str(program),
            ]
            execute([*command, *self.link(*libraries)], cwd=work)
            self._programs[key] = program
        return self._programs[key]

    def run(
        self,
        program: str | Path,
        *arguments: str | Path,
        ranks: int = 0,
        cwd: Path | None = None,
        check: bool = True,
        **environment: str,
    ) -> Run:
        """Run a program, on `ranks` ranks under mpirun where that is not 0; `check` demands success."""
        command = [str(program), *map(str, arguments)]
        own = {**self.environment, **environment}
        if ranks:  # what watches the hosts is not for mpirun itself, which has races of its own
            watched = [word for name in self.environment for word in ("-x", f"{name}={own.pop(name)}")]
            command = ["mpirun", "--oversubscribe", "-n", str(ranks), *watched, *command]
        done = execute(command, cwd=cwd or self.folder, check=check, **own)
        return Run(done.returncode, done.stdout, done.stderr)


def execute(
    command: list[str], *, cwd: Path, check: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command without the Python environment of pytest; fail with its output."""
    clean = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=cwd, env={**clean, **root, **environment}, capture_output=True, text=True, timeout=300, check=False
    )
    assert not SANITIZER.search(done.stderr), done.stderr
    if check and done.returncode != 0:
        pytest.fail(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done
