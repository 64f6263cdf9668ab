# SPDX-License-Identifier: Apache-2.0
"""Learned emulators inside Fortran land-surface and Earth-system models.

A host calls `Coupler` through the Fortran module or the C header of `fortran_bridge/`; a Python program uses it
directly. Everything that a user needs from Python is re-exported here.
"""

from coupler_plugin import own_libraries as _own_libraries  # noqa: F401 - first: it imports them apart from the host
from coupler_plugin.config import Config, load_config
from coupler_plugin.coupler import Coupler
from coupler_plugin.errors import CouplerError, Status

__all__ = ["Config", "Coupler", "CouplerError", "Status", "load_config"]
__version__ = "0.1.0"
