# SPDX-License-Identifier: Apache-2.0
"""Hosts that use coupler_plugin.h alone: a C program, one that loads the library late, and Python itself."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import torch
from small_hosts import Hosts, Run, execute

from coupler_plugin import Status
from coupler_plugin import __version__ as version

HAS_GPU = torch.cuda.is_available()
PYTHON_HOST = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
class Array(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("type", ctypes.c_int), ("rank", ctypes.c_int),
                ("extent", ctypes.c_int64 * 7), ("stride", ctypes.c_int64 * 7)]
def scalar(value, type_): return Array(ctypes.addressof(value), type_, 0)
handle, number, tas, lai = ctypes.c_int(), ctypes.c_int(1), ctypes.c_double(1.0), ctypes.c_double(-9.0)
identity, real, leaf = scalar(number, 3), scalar(tas, 2), scalar(lai, 2)
ref = ctypes.byref
rc = library.coupler_init(sys.argv[2].encode(), None, b"2001-01-01", ctypes.c_double(3600.0), ref(handle))
rc = rc or library.coupler_set_cells(handle, ref(identity), ref(real), ref(real), None)
rc = rc or library.coupler_bind(handle, b"tas", ref(real), None)
rc = rc or library.coupler_bind(handle, b"lai", ref(leaf), None)
rc = rc or library.coupler_step(handle) or library.coupler_finalize(handle)
message = ctypes.create_string_buffer(4096)
library.coupler_get_message(0, message, 4096)
print(f"rc={rc}")
print(f"answer={lai.value:g}")
print(f"message={message.value.decode()}")
"""


#: the same with arrays of a device, which torch makes
DEVICE_HOST = (
    PYTHON_HOST.replace("ctypes.addressof(value)", "getattr(value, 'data_ptr', lambda: ctypes.addressof(value))()")
    .replace("identity, real", "import torch; onto = {'dtype': torch.float64, 'device': sys.argv[3]}\nidentity, real")
    .replace("rc = rc or library.coupler_bind(", "rc = rc or library.coupler_bind_device(")
    .replace('handle, b"tas", ref(real)', 'handle, b"tas", ref(scalar(warm := torch.tensor(1.0, **onto), 2))')
    .replace('handle, b"lai", ref(leaf)', 'handle, b"lai", ref(scalar(lai := torch.tensor(-9.0, **onto), 2))')
    .replace("lai.value", "lai.item()")
)


@pytest.fixture(scope="module")
def c_host(hosts: Hosts, config: Path) -> Run:
    return hosts.run(hosts.compile("c_host.c"), config)


def test_a_host_in_c_alone_gets_its_answer(c_host: Run) -> None:
    assert c_host["rc"] == "0"
    assert c_host["answer"] == "3 5 7"
    assert c_host["version"] == version


@pytest.mark.skipif(HAS_GPU, reason="addresses are then those of a GPU")
def test_arrays_of_a_device_are_those_of_the_host_where_there_is_none(c_host: Run) -> None:
    assert c_host["device_rc"] == "0"
    assert c_host["device_answer"] == "3 5 7"


@pytest.mark.parametrize(
    ("case", "status"),
    [
        ("no_name", Status.FIELD),
        ("no_cells", Status.CELLS),
        ("no_file", Status.CONFIG),
        ("no_handle", Status.ORDER),
        ("rank_9", Status.ARRAY),
        ("no_device_name", Status.FIELD),
        ("moved", Status.ARRAY),
        ("finalize", Status.OK),
        ("after", Status.ORDER),
        ("after_bind", Status.ORDER),
        ("after_begin", Status.ORDER),
        ("after_end", Status.ORDER),
    ],
)
def test_null_pointers_and_wrong_arrays_are_errors(c_host: Run, case: str, status: Status) -> None:
    assert c_host[case] == str(int(status))


def test_a_message_is_cut_to_the_buffer_and_its_length_known(c_host: Run) -> None:
    assert "its rank is 9" in c_host["message"]
    assert c_host["length"] == c_host["length_alone"] == str(len(c_host["message"]))
    assert c_host["cut"] == c_host["message"][:7].strip()


def test_a_host_in_c_needs_no_fortran(hosts: Hosts) -> None:
    linked = subprocess.run(["ldd", hosts.compile("c_host.c")], capture_output=True, text=True, check=True).stdout
    assert "libcoupler_plugin.so" in linked
    assert "fortran" not in linked
    assert "libmpi" not in linked


def test_only_the_header_is_exported(hosts: Hosts) -> None:
    library = hosts.prefix / "lib" / "libcoupler_plugin.so"
    symbols = execute(["nm", "-D", "--defined-only", str(library)], cwd=hosts.folder).stdout.split()[2::3]
    header = (hosts.prefix / "include" / "coupler_plugin.h").read_text()
    declared = re.findall(r"^[\w ]+[ *](coupler_\w+)\(", header, re.MULTILINE)
    assert sorted(symbols) == sorted(declared)


def test_a_library_that_is_loaded_late_and_locally(hosts: Hosts, config: Path) -> None:
    program = hosts.compile("dlopen_host.c", "-Wl,--as-needed")
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    assert "libcoupler_plugin" not in linked
    result = hosts.run(program, config, hosts.prefix / "lib" / "libcoupler_plugin.so")
    assert result["rc"] == "0", result["message"]
    assert result["answer"] == "3"


def test_a_python_that_runs_already_is_used(hosts: Hosts, config: Path, python: Path) -> None:
    library = hosts.prefix / "lib" / "libcoupler_plugin.so"
    done = execute([str(python), "-c", PYTHON_HOST, str(library), str(config)], cwd=hosts.folder, **hosts.environment)
    result = Run(done.returncode, done.stdout, done.stderr)
    assert result["rc"] == "0", result["message"]
    assert result["answer"] == "3"


@pytest.mark.parametrize(
    "device",
    [
        pytest.param("cpu", marks=pytest.mark.skipif(HAS_GPU, reason="addresses are then those of a GPU")),
        pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not HAS_GPU, reason="torch sees no GPU")]),
    ],
)
def test_a_host_that_hands_over_addresses_of_a_device(hosts: Hosts, config: Path, python: Path, device: str) -> None:
    library = hosts.prefix / "lib" / "libcoupler_plugin.so"
    command = [str(python), "-c", DEVICE_HOST, str(library), str(config), device]
    done = execute(command, cwd=hosts.folder, **hosts.environment)
    result = Run(done.returncode, done.stdout, done.stderr)
    assert result["rc"] == "0", result["message"]
    assert result["answer"] == "3"
