# SPDX-License-Identifier: Apache-2.0
"""Files that are written: whole or not at all under their name, and one sentence where that fails.

NetCDF and HDF5 tell a full disk as "HDF error"; the sentence therefore says how much room there is.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from coupler_plugin.errors import CouplerError, Status


def cannot_write(what: str, path: Path, error: Exception, remedy: str = "") -> CouplerError:
    """Return the error of a file that cannot be written.

    Parameters
    ----------
    what : str
        Kind of file, such as ``history file``.
    error : OSError or RuntimeError
        NetCDF raises both.
    remedy : str
        What to know or do, after a semicolon.
    """
    reason = getattr(error, "strerror", None) or str(error)
    place = next((folder for folder in path.parents if folder.is_dir()), Path.cwd())
    room = f" ({shutil.disk_usage(place).free / 1e9:.3g} GB are free there)" if reason.startswith("NetCDF") else ""
    return CouplerError(Status.IO, f"cannot write the {what} '{path}': {reason}{room}{remedy and f'; {remedy}'}.")


def write_text(path: Path, text: str) -> None:
    """Write a text file, so that no other process ever sees a part of it."""
    draft = path.with_name(path.name + ".tmp")
    try:
        draft.write_text(text, encoding="utf-8")
        sync(draft)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Bring a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
