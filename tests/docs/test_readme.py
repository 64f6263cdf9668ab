# SPDX-License-Identifier: Apache-2.0
"""The generated pages say what their sources say, and its complete host compiles, runs and grows leaves."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from coupler_plugin.cli.prefix import native_prefix
from coupler_plugin.config import Config

ROOT = Path(__file__).resolve().parents[2]
PAGES = [p.relative_to(ROOT) for form in ("*.md", "docs/**/*.md", "examples/*/*.md") for p in ROOT.glob(form)]


GENERATED = ["README.md", "docs/coupling_file.md"] + [
    f"docs/emulators/{name}.md"
    for name in ("biomass_plots", "carbon_flux", "downscaling", "land_state", "leaf_area_index")
]


@pytest.mark.parametrize("page", GENERATED)
def test_generated_parts_are_up_to_date(page: str) -> None:
    spec = importlib.util.spec_from_file_location("write_readme", ROOT / "scripts" / "write_readme.py")
    assert spec is not None
    assert spec.loader is not None
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    text = (ROOT / page).read_text()
    assert page in writer.PAGES
    assert re.search(r"^<!-- .* -->$", text, re.MULTILINE)
    assert writer.write(text) == text, "run 'make readme'"


def test_every_section_of_the_coupling_file_has_its_table() -> None:
    page = (ROOT / "docs" / "coupling_file.md").read_text()
    assert [key for key in Config.model_fields if f"\n| `{key}` |" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", (ROOT / page).read_text())
    assert [target for target in targets if "://" not in target and not (ROOT / page.parent / target).exists()] == []


def test_smallest_host_runs(tmp_path: Path) -> None:
    if shutil.which("gfortran") is None:
        pytest.skip("gfortran is not installed")
    example = ROOT / "examples" / "00_smallest_host"
    prefix = native_prefix()
    library = [f"-L{prefix / 'lib'}", f"-Wl,-rpath,{prefix / 'lib'}", "-lcoupler_plugin_fortran", "-lcoupler_plugin"]
    flags = ["-Wall", "-Wextra", "-std=f2018", f"-I{prefix / 'include'}"]
    program = tmp_path / "host"
    subprocess.run(["gfortran", *flags, str(example / "host.f90"), *library, "-o", str(program)], check=True)
    done = subprocess.run(
        [program], cwd=example, capture_output=True, text=True, timeout=300, check=True, env={**os.environ}
    )
    numbers = [[float(word) for word in re.findall(r"\d+\.\d+", line)] for line in done.stdout.splitlines()]
    assert len(numbers) == 12
    boreal, temperate, tropical = zip(*numbers, strict=True)
    assert max(boreal) > 3 * min(boreal)  # seasons in the north,
    assert max(temperate) > 2 * min(temperate)
    assert max(tropical) < 1.5 * min(tropical)  # and hardly any at the equator
    assert all(0.0 <= value <= 10.0 for row in numbers for value in row)
