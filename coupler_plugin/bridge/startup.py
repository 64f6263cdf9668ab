# SPDX-License-Identifier: Apache-2.0
"""What must fit between this package, the native library and the Python that it has started.

`fortran_bridge/src/startup.c` calls `check` once, before anything else, and shows its sentence to the user: without
it, a wrong environment would show itself as a crash in some later call.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

import coupler_plugin
from coupler_plugin.bridge import ABI_VERSION, entry

__all__ = ["check", "entry"]  # entry brings numpy, torch and yaml along: nothing is imported in a step


def check(abi: int, version: str, libpython: str) -> str | None:
    """Return the sentence that says what does not fit, or None.

    Parameters
    ----------
    abi : int
        `COUPLER_ABI_VERSION` of the library.
    version : str
        Version of the library.
    libpython : str
        File from which the functions of Python come in this process.
    """
    if abi != ABI_VERSION:
        return (
            f"the Python package coupler_plugin {coupler_plugin.__version__} "
            f"({Path(coupler_plugin.__file__).parent}) speaks version {ABI_VERSION} of the C interface, but "
            f"libcoupler_plugin {version} speaks version {abi}. Install the two together: pip install coupler_plugin."
        )
    return _check_libpython(Path(libpython))


def _check_libpython(loaded: Path) -> str | None:
    """Compare the loaded libpython with that of the interpreter, which is found by its own build's record."""
    if not loaded.name.startswith("libpython"):
        return None  # an interpreter that has its library inside
    name = sysconfig.get_config_var("INSTSONAME") or ""
    folder = Path(sysconfig.get_config_var("LIBDIR") or "")
    folders = [folder, folder / (sysconfig.get_config_var("MULTIARCH") or ""), Path(sys.base_exec_prefix, "lib")]
    own = [folder / name for folder in folders if (folder / name).is_file()]
    if not own or any(candidate.samefile(loaded) for candidate in own):
        return None
    path = os.environ.get("LD_LIBRARY_PATH", "")
    return (
        f"the interpreter {sys.executable} belongs to {own[0]}, but this process has loaded {loaded}. "
        f"See that LD_LIBRARY_PATH (now '{path}') does not lead to another Python, or name the interpreter of that "
        "library in COUPLER_PLUGIN_PYTHON."
    )
