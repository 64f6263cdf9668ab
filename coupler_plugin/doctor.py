# SPDX-License-Identifier: Apache-2.0
"""What this machine has, what of it will be used, and the usual mistakes of a set-up.

Looking and judging are apart: `look` finds the facts, `judge` says what is wrong with them.
"""

from __future__ import annotations

import ctypes.util
import importlib.metadata
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from coupler_plugin.errors import CouplerError

#: what MPI launchers tell their processes of the ranks on a node
_LOCAL_RANKS: Final = ("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "PMIX_LOCAL_SIZE")
#: variables that bind threads of another OpenMP, or that lead Python astray inside a host
_BINDING: Final = ("GOMP_CPU_AFFINITY", "KMP_AFFINITY", "OMP_PROC_BIND")
_ASTRAY: Final = ("PYTHONHOME", "PYTHONPATH")
_OPTIONAL: Final = {
    "mpi4py": "several ranks", "yac": "conservative weights", "esmpy": "weights by ESMF", "zarr": "Zarr files",
    "matplotlib": "pictures", "cartopy": "coasts of Natural Earth on maps", "codecarbon": "measured energy",
}  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """What was found.

    Attributes
    ----------
    python : str
        Version and place.
    libpython : str or None
        The shared library that a host loads.
    native : str or None
        Folder of the native parts.
    torch, torch_cuda : str, str or None
        Version, and that of CUDA which it was built for.
    gpus : list of str
        As the driver names them.
    torch_gpus : int
        That torch can use.
    processors, allowed : int
        Of the machine, and of those that this process may use.
    ranks : int
        Ranks on this node, 1 without a launcher.
    threads : int
        That each rank will use.
    mpirun : str or None
        First line of its version.
    mpi4py : str or None
        The MPI library behind it, or why it cannot be loaded.
    mpi4py_loads : bool
    hdf5 : mapping of str to str
        HDF5 of each Python package that brings or uses one.
    netcdf_libraries : list of str
        Of the system, beside the one of netCDF4.
    fortran : str or None
        First line of the compiler's version.
    packages : mapping of str to str
        Optional packages and their versions.
    environment : mapping of str to str
        The variables that matter.
    """

    python: str
    libpython: str | None
    native: str | None
    torch: str
    torch_cuda: str | None
    gpus: list[str]
    torch_gpus: int
    processors: int
    allowed: int
    ranks: int
    threads: int
    mpirun: str | None
    mpi4py: str | None
    mpi4py_loads: bool
    hdf5: Mapping[str, str]
    netcdf_libraries: list[str]
    fortran: str | None
    packages: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """Something wrong: it keeps things from working, or it costs time or clarity."""

    stops: bool
    sentence: str


# --- judging --------------------------------------------------------------------------------------------------


def judge(facts: Facts) -> Iterator[Finding]:
    """Yield what is wrong, what stops things first in each part."""
    yield from _judge_embedding(facts)
    yield from _judge_mpi(facts)
    yield from _judge_devices(facts)
    yield from _judge_threads(facts)
    yield from _judge_libraries(facts)


def _judge_embedding(facts: Facts) -> Iterator[Finding]:
    if facts.libpython is None:
        yield Finding(
            True,
            "this Python has no shared library, which a Fortran or C host loads: install one that has (Debian: "
            "python3-dev; pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared; conda has it) and make the environment anew.",
        )
    if facts.native is None:
        yield Finding(
            True,
            "the native library is not installed, so that no Fortran or C host can be linked: 'pip install .' in the "
            "source folder, with a Fortran compiler at hand.",
        )
    for name in _ASTRAY:
        if name in facts.environment:
            yield Finding(False, f"{name} is set: a host's Python may find other packages than yours; unset it.")


def _judge_mpi(facts: Facts) -> Iterator[Finding]:
    if facts.mpi4py is None:
        if facts.mpirun:
            yield Finding(False, "there is an mpirun but no mpi4py: runs have one rank; pip install mpi4py.")
        return
    if not facts.mpi4py_loads:
        yield Finding(
            True,
            f"mpi4py is installed but does not load ({facts.mpi4py}): it was built for another MPI, or finds none. "
            "Install it for the MPI of your host: pip install --no-binary mpi4py --force-reinstall mpi4py.",
        )
        return
    ours, theirs = _vendor(facts.mpi4py), _vendor(facts.mpirun or "")
    if theirs and ours and ours != theirs:
        yield Finding(
            True,
            f"mpi4py uses {ours} and mpirun is of {theirs}: each rank would believe to be alone. Put the mpirun of "
            f"{ours} first on PATH, or build mpi4py with the other MPI.",
        )
    if not facts.mpirun:
        yield Finding(False, "there is no mpirun on PATH: 'run -n' cannot start ranks; a batch system's srun may.")


def _vendor(text: str) -> str:
    """Return whose MPI a version line is of."""
    names = {"open mpi": "Open MPI", "open-mpi": "Open MPI", "prrte": "Open MPI", "intel": "Intel MPI"}
    names |= {"hydra": "MPICH", "mpich": "MPICH", "mvapich": "MVAPICH"}
    return next((name for word, name in names.items() if word in text.lower()), "")


def _judge_devices(facts: Facts) -> Iterator[Finding]:
    if facts.gpus and facts.torch_cuda is None:
        yield Finding(
            False,
            f"there is a GPU ({facts.gpus[0]}), but this torch is built for the CPU: install the build for your CUDA "
            "(make ... TORCH_INDEX_URL=https://download.pytorch.org/whl/cu128).",
        )
    elif facts.gpus and facts.torch_gpus == 0:
        hidden = facts.environment.get("CUDA_VISIBLE_DEVICES")
        why = f"CUDA_VISIBLE_DEVICES is '{hidden}'" if hidden is not None else "the driver may be older than its CUDA"
        yield Finding(False, f"there is a GPU ({facts.gpus[0]}) that torch does not see: {why}.")
    elif not facts.gpus and facts.torch_cuda is not None:
        yield Finding(
            False,
            f"torch is built for CUDA {facts.torch_cuda} and there is no GPU: it works, with gigabytes of libraries "
            "for nothing; the CPU build starts faster.",
        )


def _judge_threads(facts: Facts) -> Iterator[Finding]:
    if facts.ranks * facts.threads > facts.allowed and facts.ranks > 1:
        yield Finding(
            False,
            f"{facts.ranks} ranks of {facts.threads} threads share {facts.allowed} processors: they will wait for each "
            "other. Start fewer ranks, set OMP_NUM_THREADS=1, or ask the batch system for more cores.",
        )
    elif facts.threads > facts.allowed:
        yield Finding(
            False,
            f"OMP_NUM_THREADS={facts.threads} on {facts.allowed} processors that this process may use: set it to "
            f"{facts.allowed} at most.",
        )
    for name in _BINDING:
        if name in facts.environment:
            yield Finding(
                False,
                f"{name} is set to '{facts.environment[name]}': it may bind all threads of torch to one processor; "
                "unset it for the plugin, or measure with and without.",
            )


def _judge_libraries(facts: Facts) -> Iterator[Finding]:
    if len(set(facts.hdf5.values())) > 1:
        listed = ", ".join(f"{name} has {version}" for name, version in facts.hdf5.items())
        yield Finding(
            False,
            f"two HDF5 libraries in one Python ({listed}): opening files with both may crash; install both packages "
            "from one source, all from conda-forge or all by pip.",
        )
    if facts.netcdf_libraries and "LD_PRELOAD" in facts.environment:
        yield Finding(
            False,
            f"LD_PRELOAD is set ('{facts.environment['LD_PRELOAD']}') beside a libnetcdf of the system "
            f"({facts.netcdf_libraries[0]}): the netCDF4 of Python may call the wrong one.",
        )


# --- looking --------------------------------------------------------------------------------------------------


def look() -> Facts:
    """Return what is found on this machine; it starts MPI in a process of its own, never in this one."""
    import torch

    loads, mpi = _look_at_mpi4py()
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    local = next((int(os.environ[name]) for name in _LOCAL_RANKS if os.environ.get(name, "").isdigit()), 1)
    threads = os.environ.get("OMP_NUM_THREADS", "1").split(",")[0]
    named = (*_ASTRAY, *_BINDING, "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "LD_PRELOAD", "MKL_CBWR")
    return Facts(
        python=f"{platform.python_version()}, {sys.executable}",
        libpython=_libpython(),
        native=_native(),
        torch=torch.__version__,
        torch_cuda=torch.version.cuda,
        gpus=_gpus(),
        torch_gpus=torch.cuda.device_count(),
        processors=os.cpu_count() or 1,
        allowed=allowed,
        ranks=local,
        threads=int(threads) if threads.isdigit() else 1,
        mpirun=_first_line("mpirun", "--version"),
        mpi4py=mpi,
        mpi4py_loads=loads,
        hdf5=_hdf5(),
        netcdf_libraries=_system_netcdf(),
        fortran=_first_line(os.environ.get("FC", "gfortran"), "--version"),
        packages={name: importlib.metadata.version(name) for name in _OPTIONAL if _is_installed(name)},
        environment={name: os.environ[name] for name in named if name in os.environ},
    )


def rows(facts: Facts) -> list[tuple[str, str, str]]:
    """Return what there is, and what will be used of it: name, found, use."""
    engine = next((name for name in ("esmpy", "yac") if name in facts.packages), "the builtin engine")
    device = f"{facts.torch_gpus} GPU" if facts.torch_gpus else "the CPU"
    bound = "are on a GPU" if facts.torch_gpus else "are in the host's memory"
    optional = [
        (name, facts.packages.get(name, "-"), f"for {use}" if name in facts.packages else f"without it: no {use}")
        for name, use in _OPTIONAL.items()
        if name not in ("mpi4py", "yac", "esmpy")
    ]
    return [
        ("machine", f"{socket.gethostname()}, {platform.system()} {platform.machine()}", ""),
        ("processors", f"{facts.processors}, {facts.allowed} of them for this process",
         f"ranks here: {facts.ranks}, each with the 'threads:' of the coupling file"),
        ("GPUs", ", ".join(facts.gpus) or "none", f"emulators run on {device}; arrays bound with 'device' {bound}"),
        ("Python", facts.python, ""),
        ("libpython", facts.libpython or "none", "hosts load it"),
        ("native parts", facts.native or "none", "hosts are linked with them"),
        ("torch", f"{facts.torch}, CUDA {facts.torch_cuda or 'none'}", ""),
        ("Fortran compiler", facts.fortran or "none", ""),
        ("mpirun", facts.mpirun or "none", "'run -n' starts it"),
        ("mpi4py", f"{facts.packages.get('mpi4py', '-')}, {facts.mpi4py or 'not installed'}", ""),
        ("ESMF, YAC", f"{facts.packages.get('esmpy', '-')}, {facts.packages.get('yac', '-')}",
         f"{engine} makes weights"),
        ("HDF5", ", ".join(f"{name} {version}" for name, version in facts.hdf5.items()), ""),
        *optional,
    ]  # fmt: skip


def _libpython() -> str | None:
    names = [sysconfig.get_config_var(key) for key in ("INSTSONAME", "LDLIBRARY")]
    folders = [sysconfig.get_config_var(key) for key in ("LIBDIR", "LIBPL")] + [str(Path(sys.base_prefix) / "lib")]
    for folder in filter(None, folders):
        for name in filter(None, names):
            path = Path(str(folder)) / str(name)
            if ".so" in path.name and path.exists():
                return str(path)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return ctypes.util.find_library(version)


def _native() -> str | None:
    from coupler_plugin.cli.prefix import native_prefix

    try:
        return str(native_prefix())
    except CouplerError:
        return None


def _look_at_mpi4py() -> tuple[bool, str | None]:
    """Return whether mpi4py loads, and its MPI library or its error."""
    if not _is_installed("mpi4py"):
        return False, None
    program = "import mpi4py; mpi4py.rc.initialize = False; from mpi4py import MPI; print(MPI.Get_library_version())"
    # Without what a launcher has told this process, so that the other one does not join the job.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMPI_", "PMI", "PRTE_", "SLURM_"))}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=120)
    text = done.stdout if done.returncode == 0 else done.stderr
    lines = text.strip("\0 \n").splitlines() or ["it ended without a word"]
    return done.returncode == 0, lines[0 if done.returncode == 0 else -1].split(",")[0]


def _gpus() -> list[str]:
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    done = subprocess.run([command, "-L"], capture_output=True, text=True, timeout=60)
    return [line.partition("(")[0].strip() for line in done.stdout.splitlines() if line.startswith("GPU")]


def _hdf5() -> dict[str, str]:
    """Return the HDF5 of each package; of one that is not loaded yet, in a process of its own."""
    programs = {"netCDF4": "print(netCDF4.__hdf5libversion__)", "h5py": "print(h5py.version.hdf5_version)"}
    found = {}
    for name, program in programs.items():
        if _is_installed(name):
            command = [sys.executable, "-c", f"import {name}; {program}"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120)
            found[name] = done.stdout.strip() or "does not load"
    return found


def _system_netcdf() -> list[str]:
    command = shutil.which("ldconfig") or shutil.which("ldconfig", path="/sbin:/usr/sbin")
    if command is None:
        return []
    done = subprocess.run([command, "-p"], capture_output=True, text=True, timeout=60)
    return re.findall(r"libnetcdf\.so\S* .*=> (\S+)", done.stdout)


def _first_line(command: str, *words: str) -> str | None:
    if shutil.which(command) is None:
        return None
    try:
        done = subprocess.run([command, *words], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return next(iter((done.stdout or done.stderr).strip().splitlines()), None)


def _is_installed(name: str) -> bool:
    return find_spec(name) is not None
