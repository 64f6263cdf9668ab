# SPDX-License-Identifier: Apache-2.0
"""The doctor: each usual mistake of a set-up is found, and a sound one is left in peace."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace
from typing import Any

import pytest

from coupler_plugin.doctor import Facts, judge, look, rows

SOUND = Facts(
    python="3.12.1, /opt/python", libpython="/opt/lib/libpython3.12.so", native="/opt/coupler_plugin", torch="2.13.0",
    torch_cuda=None, gpus=[], torch_gpus=0, processors=8, allowed=8, ranks=1, threads=1,
    mpirun="mpirun (Open MPI) 4.1.4", mpi4py="Open MPI v4.1.4", mpi4py_loads=True,
    hdf5={"netCDF4": "1.14.2", "h5py": "1.14.2"}, netcdf_libraries=["/usr/lib/libnetcdf.so.19"],
    fortran="GNU Fortran 12.2.0", packages={"mpi4py": "4.1.2", "yac": "3.21.0"},
)  # fmt: skip


def test_sound_machine_has_no_findings() -> None:
    assert list(judge(SOUND)) == []
    assert list(judge(replace(SOUND, torch_cuda="12.8", gpus=["GPU 0: H200"], torch_gpus=1))) == []
    assert list(judge(replace(SOUND, mpirun=None, mpi4py=None, mpi4py_loads=False))) == []


@pytest.mark.parametrize(
    ("change", "stops", "words"),
    [
        ({"libpython": None}, True, ["no shared library", "--enable-shared"]),
        ({"native": None}, True, ["native library", "pip install ."]),
        ({"mpi4py": "libmpi.so.40: cannot open", "mpi4py_loads": False}, True, ["another MPI", "libmpi.so.40"]),
        ({"mpirun": "HYDRA build details:"}, True, ["Open MPI", "MPICH", "alone"]),
        ({"mpi4py": "Intel(R) MPI Library 2021.5"}, True, ["Intel MPI"]),
        ({"mpirun": None}, False, ["no mpirun"]),
        ({"mpi4py": None, "mpi4py_loads": False}, False, ["no mpi4py"]),
        ({"torch_cuda": "12.8"}, False, ["CUDA 12.8", "no GPU"]),
        ({"gpus": ["GPU 0: H200"]}, False, ["GPU 0: H200", "built for the CPU"]),
        (
            {"gpus": ["GPU 0: H200"], "torch_cuda": "12.8", "environment": {"CUDA_VISIBLE_DEVICES": ""}},
            False,
            ["does not see", "CUDA_VISIBLE_DEVICES"],
        ),
        ({"ranks": 4, "threads": 4}, False, ["4 ranks of 4 threads share 8"]),
        ({"threads": 16}, False, ["OMP_NUM_THREADS=16 on 8"]),
        ({"environment": {"GOMP_CPU_AFFINITY": "0"}}, False, ["GOMP_CPU_AFFINITY", "one processor"]),
        ({"environment": {"PYTHONPATH": "/x"}}, False, ["PYTHONPATH", "unset"]),
        ({"hdf5": {"netCDF4": "1.14.2", "h5py": "1.12.1"}}, False, ["two HDF5", "h5py has 1.12.1"]),
        ({"environment": {"LD_PRELOAD": "/x/libnetcdf.so"}}, False, ["LD_PRELOAD", "libnetcdf.so.19"]),
    ],
)
def test_mistake_is_found_with_its_remedy(change: dict[str, Any], stops: bool, words: list[str]) -> None:
    found = list(judge(replace(SOUND, **change)))
    assert [finding.stops for finding in found] == [stops]
    assert all(word in found[0].sentence for word in words)


def test_machine_of_the_tests_is_looked_at_without_starting_mpi_here() -> None:
    facts = look()
    assert all(getattr(facts, entry.name) is not ... for entry in fields(facts))
    assert facts.torch.startswith("2.")
    assert 1 <= facts.allowed <= facts.processors
    assert "netCDF4" in facts.hdf5
    text = " ".join(" ".join(row) for row in rows(facts))
    for words in (facts.torch, "emulators run on", "makes weights", "libpython", "ranks here: 1,"):
        assert words in text


def test_command_prints_the_machine_and_ends_well_where_nothing_stands_in_the_way() -> None:
    done = subprocess.run([sys.executable, "-m", "coupler_plugin", "doctor"], capture_output=True, text=True)
    stops = any(finding.stops for finding in judge(look()))
    assert done.returncode == (1 if stops else 0), done.stdout
    assert "emulators run on" in done.stdout.replace("\n", " ")
    assert "Traceback" not in done.stderr
