# SPDX-License-Identifier: Apache-2.0
"""Say whether this Python can be embedded in a Fortran executable, and if not, what to do.

It is run by every Python 3 that is found, also by those that are too old: keep its syntax plain.
"""

import importlib.util
import sys
import sysconfig
from pathlib import Path

OLDEST = (3, 11)


def find_fault():
    """Return a sentence about what this Python lacks, or None when it is fit."""
    version = "{}.{}".format(*sys.version_info)
    libdir = Path(sysconfig.get_config_var("LIBDIR") or "")
    headers = Path(sysconfig.get_path("include"))
    if sys.version_info < OLDEST:
        return (
            f"is Python {version}, but 3.11 or later is needed; install one (on Ubuntu 22.04: "
            "apt-get install python3.11-dev python3.11-venv) and name it: make PYTHON=python3.11 ..."
        )
    if not importlib.util.find_spec("ensurepip"):
        return f"has no venv module; install it: apt-get install python{version}-venv"
    if not list(libdir.glob(f"libpython{version}*.so*")):
        return (
            f"is linked statically (no libpython{version}.so in {libdir}), so that a Fortran program cannot "
            f"load it; build a shared one (PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install {version}) or "
            "name another Python: make PYTHON=/usr/bin/python3 ..."
        )
    if not (headers / "Python.h").exists():
        return f"has no C headers in {headers}; install them: apt-get install python{version}-dev"
    return None


if __name__ == "__main__":
    fault = find_fault()
    if fault:
        sys.exit(f"{sys.executable} {fault}")
