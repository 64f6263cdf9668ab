# SPDX-License-Identifier: Apache-2.0
"""Every source file says under which licence it may be used."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {".py", ".f90", ".F90", ".c", ".h", ".sh", ".cmake"}
NAMES = {"Makefile", "CMakeLists.txt"}
HEADER = "SPDX-License-Identifier: Apache-2.0"


def source_files() -> list[Path]:
    """Return the source files that git tracks, or, outside of a clone, those that lie in the tree."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode == 0:
        paths = [ROOT / name for name in listing.stdout.split("\0") if name]
    else:
        built = {".venv", "build", "out"}
        paths = [path for path in ROOT.rglob("*") if built.isdisjoint(path.relative_to(ROOT).parts)]
    return [path for path in paths if path.is_file() and (path.suffix in SOURCES or path.name in NAMES)]


@pytest.mark.parametrize("path", [pytest.param(p, id=str(p.relative_to(ROOT))) for p in source_files()])
def test_source_file_names_its_licence(path: Path) -> None:
    first_lines = path.read_text(encoding="utf-8").splitlines()[:3]
    assert any(HEADER in line for line in first_lines), f"{path}: write '{HEADER}' into the first three lines"
