# SPDX-License-Identifier: Apache-2.0
"""The Fortran procedures of docs/coupling_a_host.md, compiled into small hosts as they stand there, and run.

Each block of the page that follows a comment `<!-- tested: NAME -->` is the file NAME.inc of the host hosts/NAME.f90.
"""

from __future__ import annotations

import os
import re
import subprocess
import textwrap
from pathlib import Path

import pytest
import small_emulators as small
import torch
import yaml

from coupler_plugin.cli.prefix import native_prefix
from coupler_plugin.config import parse_config

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "coupling_a_host.md"
BLOCK = re.compile(r"<!-- tested: (\w+) -->\n *```fortran\n(.*?)\n *```", re.DOTALL)
SNIPPETS = {name: textwrap.dedent(code) for name, code in BLOCK.findall(PAGE.read_text())}
DOUBLE = "-fdefault-real-8"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the page's blocks, an emulator lai = 0.01*tas + 0.001*rsds, and its coupling file."""
    folder = tmp_path_factory.mktemp("page")
    for name, code in SNIPPETS.items():
        (folder / f"{name}.inc").write_text(code + "\n")
    inputs = [small.field("tas", "degC"), small.field("rsds", "W m-2")]
    small.write(folder / "lai.pt", small.Affine([[0.01], [0.001]]), inputs, [small.field("lai", "1")], every="1h")
    (folder / "coupling.yml").write_text(yaml.safe_dump({"emulators": [{"model": "lai.pt"}]}))
    return folder


def run(folder: Path, name: str, *flags: str, ranks: int = 0) -> dict[str, str]:
    """Compile the host `name` with all warnings as errors, run it, and return its lines `name=value`."""
    prefix, program = native_prefix(), folder / f"{name}{'_'.join(flags)}"
    command = ["mpif90" if ranks else "gfortran", "-std=f2018", "-Wall", "-Wextra", "-Werror", "-O2", *flags]
    command += [f"-I{folder}", f"-I{prefix / 'include'}", str(HERE / "hosts" / f"{name}.f90"), "-o", str(program)]
    command += [f"-L{prefix / 'lib'}", f"-Wl,-rpath,{prefix / 'lib'}", "-lcoupler_plugin_fortran", "-lcoupler_plugin"]
    execute(command, folder)
    launch = ["mpirun", "--oversubscribe", "-n", str(ranks)] if ranks else []
    lines = (line.partition("=") for line in execute([*launch, str(program)], folder).splitlines())
    return {key.strip(): value.strip() for key, equals, value in lines if equals}


def execute(command: list[str], folder: Path) -> str:
    """Run a command, and return its standard output; fail with all that it said."""
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **root}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_every_tested_block_has_its_host() -> None:
    assert SNIPPETS.keys() == {path.stem for path in (HERE / "hosts").glob("*.f90")}


def test_coupling_file_of_the_page_is_valid() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    config = parse_config(text, PAGE)
    assert [emulator.model.name for emulator in config.emulators] == ["leaf_area_index.pt"]


def test_packed_cells_on_ranks_of_which_one_has_none(folder: Path) -> None:
    assert run(folder, "packed", ranks=2) == {"packed0": "T", "packed1": "T"}


def test_tiles_with_a_level_in_the_middle_on_ranks(folder: Path) -> None:
    assert run(folder, "tiles", ranks=2) == {"tiles0": "T", "tiles1": "T"}


def test_ragged_blocks(folder: Path) -> None:
    assert run(folder, "blocks", "-ffpe-trap=invalid,zero,overflow") == {"blocks": "T"}


@pytest.mark.parametrize(("flags", "kind"), [((), "4"), ((DOUBLE,), "8")], ids=["real32", "real64"])
def test_scalars_in_derived_types(folder: Path, flags: tuple[str, ...], kind: str) -> None:
    assert run(folder, "points", *flags) == {"lai": "0.2800", "kind": kind, "neighbours": "T"}


def test_array_of_derived_types_through_plain_arrays(folder: Path) -> None:
    assert run(folder, "many_points") == {"many_points": "T"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="this compiler's program has its arrays on the host")
@pytest.mark.parametrize("flags", [(), ("-fopenacc",)], ids=["plain", "openacc"])
def test_arrays_of_a_device_in_a_program_that_runs_on_its_host(folder: Path, flags: tuple[str, ...]) -> None:
    assert run(folder, "device", *flags) == {"device": "T"}


def test_step_inside_a_parallel_region(folder: Path) -> None:
    assert run(folder, "threads", "-fopenmp") == {"threads": "T", "max_threads": "3"}
