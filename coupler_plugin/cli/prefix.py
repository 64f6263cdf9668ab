# SPDX-License-Identifier: Apache-2.0
"""`coupler-plugin prefix`: where the native library, the header, the Fortran module and the CMake package are."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import click

from coupler_plugin.errors import CouplerError, Status


@click.command()
def prefix() -> None:
    """Print the folder that holds lib/, include/, lib/cmake/ and lib/pkgconfig/.

    Use it as CMAKE_PREFIX_PATH, and its lib/pkgconfig as PKG_CONFIG_PATH.
    """
    click.echo(native_prefix())


def native_prefix() -> Path:
    """Return the installation folder of the native parts.

    Raises
    ------
    CouplerError
        STARTUP, when the package was installed without them.
    """
    installed = Path(sysconfig.get_path("platlib")) / "coupler_plugin"
    for folder in (installed, Path(__file__).resolve().parents[1]):
        if (folder / "lib" / "libcoupler_plugin.so").exists():
            return folder
    raise CouplerError(
        Status.STARTUP,
        f"the native library is not under {installed}; install the package with its native parts: "
        "'pip install .' in its source folder.",
    )
