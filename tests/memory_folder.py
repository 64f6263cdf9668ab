# SPDX-License-Identifier: Apache-2.0
"""A folder in memory, where there is one: runs that write much would otherwise wait for the disk most of their time."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def memory_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a temporary folder."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None)
