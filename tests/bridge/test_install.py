# SPDX-License-Identifier: Apache-2.0
"""What `pip install .` and `cmake --install` leave behind, and the ways in which a host finds it.

The plain installation is moved before it is used: nothing in it may remember where it was.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from small_hosts import COMPILER, HERE, LANGUAGE, WARNINGS, Hosts, Run, execute

ROOT = HERE.parents[1]
SITE_PACKAGES = Path(f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages")
NATIVE = [
    "include/coupler_plugin.h",
    "include/coupler_plugin.mod",
    "lib/cmake/coupler_plugin/coupler_pluginConfig.cmake",
    "lib/cmake/coupler_plugin/coupler_pluginConfigVersion.cmake",
    "lib/libcoupler_plugin.so",
    "lib/libcoupler_plugin_fortran.so",
    "lib/pkgconfig/coupler_plugin.pc",
    "lib/pkgconfig/coupler_plugin_fortran.pc",
    "share/coupler_plugin/coupler_plugin.f90",
    "share/coupler_plugin/descriptor.c",
]
CMAKE_HOST = """
cmake_minimum_required(VERSION 3.18)
project(host LANGUAGES C Fortran)
find_package(coupler_plugin 0.1 REQUIRED)
add_executable(first_call {fortran}/testing.f90 {fortran}/first_call.f90)
target_link_libraries(first_call coupler_plugin::fortran)
add_executable(c_host {c}/c_host.c)
target_link_libraries(c_host coupler_plugin::c)
"""
#: written by the environment that a host starts, to tell which one it was
WITNESS = "import os, sys\nopen(os.environ['WITNESS'], 'w').write(sys.prefix)\n"


def tool(name: str) -> str:
    """Return a program of this environment or of the system."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def packages() -> str:
    """Return the folders of the packages that the plugin needs, for PYTHONPATH."""
    return os.pathsep.join(entry for entry in sys.path if entry.endswith("-packages"))


def cmake(source: Path, build: Path, *options: str, **environment: str) -> None:
    """Configure and build."""
    execute([tool("cmake"), "-S", str(source), "-B", str(build), *options], cwd=build.parent, **environment)
    execute([tool("cmake"), "--build", str(build)], cwd=build.parent, **environment)


@pytest.fixture(scope="module")
def prefix(hosts: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a plain CMake installation is, after it was moved."""
    folder = tmp_path_factory.mktemp("plain")
    cmake(ROOT, folder / "build", f"-DPython_EXECUTABLE={sys.executable}")
    execute([tool("cmake"), "--install", str(folder / "build"), "--prefix", str(folder / "first")], cwd=folder)
    return (folder / "first").rename(folder / "moved")


@pytest.fixture(scope="module")
def wheel(hosts: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that `pip install .` installs."""
    pytest.importorskip("scikit_build_core")
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", f"--config-settings=build-dir={folder / 'build'}"]
    execute([sys.executable, "-m", "pip", "wheel", *options, "-w", str(folder), str(ROOT)], cwd=folder)
    return next(folder.glob("*.whl"))


def use(program: Path, config: Path, **environment: str) -> Run:
    """Run a host in Fortran and return what it found."""
    done = execute([str(program), str(config)], cwd=program.parent, **environment)
    return Run(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    "name", ["coupler_plugin.f90", "descriptor.c", "coupler_plugin.c", "guard.c", "host_mpi.c", "startup.c"]
)
def test_the_sources_compile_without_a_warning(prefix: Path, tmp_path: Path, name: str) -> None:
    config = prefix.parent / "build" / "fortran_bridge"
    includes = [f"-I{path}" for path in (prefix / "include", config, sysconfig.get_path("include"))]
    compiler = COMPILER[Path(name).suffix, False]
    flags = ["-fsyntax-only", *WARNINGS, *LANGUAGE[Path(name).suffix], *includes]
    execute([compiler, *flags, str(ROOT / "fortran_bridge" / "src" / name)], cwd=tmp_path)


@pytest.mark.parametrize("path", [*NATIVE, str(SITE_PACKAGES / "coupler_plugin" / "bridge" / "entry.py")])
def test_cmake_installs_it_all(prefix: Path, path: str) -> None:
    assert (prefix / path).exists()


@pytest.mark.parametrize("path", [*NATIVE, "bridge/entry.py", "fields.yaml"])
def test_pip_installs_it_all(wheel: Path, path: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert f"coupler_plugin/{path}" in archive.namelist()


def test_a_host_finds_it_by_cmake(prefix: Path, config: Path, tmp_path: Path) -> None:
    source = tmp_path / "host"
    source.mkdir()
    (source / "CMakeLists.txt").write_text(CMAKE_HOST.format(fortran=HERE / "fortran", c=HERE / "c"))
    cmake(source, tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    assert use(tmp_path / "build" / "first_call", config)["answer"] == "T"
    assert use(tmp_path / "build" / "c_host", config)["answer"] == "3 5 7"


def test_a_host_finds_it_by_pkg_config(prefix: Path, config: Path, tmp_path: Path) -> None:
    paths = {"PKG_CONFIG_PATH": str(prefix / "lib" / "pkgconfig")}
    flags = execute([tool("pkg-config"), "--cflags", "--libs", "coupler_plugin_fortran"], cwd=tmp_path, **paths).stdout
    sources = [str(HERE / "fortran" / name) for name in ("testing.f90", "first_call.f90")]
    execute(["gfortran", *sources, "-o", "host", *flags.split()], cwd=tmp_path)
    assert use(tmp_path / "host", config)["answer"] == "T"
    flags = execute([tool("pkg-config"), "--cflags", "--libs", "coupler_plugin"], cwd=tmp_path, **paths).stdout
    assert "fortran" not in flags


def test_libraries_in_the_folder_of_a_distribution(config: Path, tmp_path: Path) -> None:
    lib = "lib/x86_64-linux-gnu"
    options = [f"-DPython_EXECUTABLE={sys.executable}", f"-DCMAKE_INSTALL_LIBDIR={lib}", "-DCOUPLER_PLUGIN_FORTRAN=OFF"]
    cmake(ROOT, tmp_path / "build", *options)
    execute([tool("cmake"), "--install", "build", "--prefix", str(tmp_path / "usr")], cwd=tmp_path)
    paths = {"PKG_CONFIG_PATH": str(tmp_path / "usr" / lib / "pkgconfig")}
    flags = execute([tool("pkg-config"), "--cflags", "--libs", "coupler_plugin"], cwd=tmp_path, **paths).stdout
    execute(["gcc", str(HERE / "c" / "c_host.c"), "-o", "host", *flags.split()], cwd=tmp_path)
    assert use(tmp_path / "host", config)["answer"] == "3 5 7"


def test_a_host_finds_it_by_hand(prefix: Path, config: Path, tmp_path: Path) -> None:
    host = Hosts(tmp_path, prefix)
    assert use(host.compile("first_call.f90"), config)["answer"] == "T"


def test_a_host_compiles_the_module_with_its_own_compiler(prefix: Path, config: Path, tmp_path: Path) -> None:
    share, lib = prefix / "share" / "coupler_plugin", prefix / "lib"
    execute(["gcc", "-c", str(share / "descriptor.c"), f"-I{prefix / 'include'}"], cwd=tmp_path)
    sources = [share / "coupler_plugin.f90", HERE / "fortran" / "testing.f90", HERE / "fortran" / "first_call.f90"]
    libraries = ["descriptor.o", f"-L{lib}", f"-Wl,-rpath,{lib}", "-lcoupler_plugin"]
    execute(["gfortran", *map(str, sources), *libraries, "-o", "host"], cwd=tmp_path)
    linked = subprocess.run(["ldd", tmp_path / "host"], capture_output=True, text=True, check=True).stdout
    assert "libcoupler_plugin_fortran" not in linked
    assert use(tmp_path / "host", config)["answer"] == "T"


def test_the_library_starts_the_environment_that_it_is_installed_in(wheel: Path, config: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    execute([sys.executable, "-m", "venv", "--without-pip", str(environment)], cwd=tmp_path)
    site_packages = environment / SITE_PACKAGES
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site_packages)
    (site_packages / "needed.pth").write_text("\n".join(packages().split(os.pathsep)))
    (site_packages / "sitecustomize.py").write_text(WITNESS)
    host = Hosts(tmp_path, site_packages / "coupler_plugin")
    witness = tmp_path / "prefix.txt"
    result = use(host.compile("first_call.f90"), config, WITNESS=str(witness))
    assert result["answer"] == "T", result["rc_message"]
    assert witness.read_text() == str(environment)


def test_a_system_python(hosts: Hosts, config: Path, tmp_path: Path) -> None:
    python = Path("/usr/bin/python3")
    asks = "import sys, sysconfig; print(sys.version_info[:2] == {}, sysconfig.get_config_var('Py_ENABLE_SHARED'))"
    if not python.exists():
        pytest.skip("there is no /usr/bin/python3")
    answer = execute([str(python), "-c", asks.format(tuple(sys.version_info[:2]))], cwd=tmp_path).stdout.split()
    if answer != ["True", "1"] or not list(Path("/usr/include").glob("python3*/Python.h")):
        pytest.skip(f"/usr/bin/python3 cannot use the packages of this Python, or has no headers: {answer}")
    paths = {"PYTHONPATH": packages()}
    cmake(
        ROOT, tmp_path / "build", f"-DPython_EXECUTABLE={python}", f"-DCMAKE_INSTALL_PREFIX={tmp_path}/prefix", **paths
    )
    execute([tool("cmake"), "--install", str(tmp_path / "build")], cwd=tmp_path)
    program = Hosts(tmp_path, tmp_path / "prefix").compile("first_call.f90")
    (tmp_path / "sitecustomize.py").write_text(WITNESS)
    witness = tmp_path / "prefix.txt"
    paths["PYTHONPATH"] += f"{os.pathsep}{tmp_path}"
    result = use(program, config, WITNESS=str(witness), **paths)
    assert result["answer"] == "T", result["rc_message"]
    assert witness.read_text() in ("/usr", str(Path("/usr").resolve()))
