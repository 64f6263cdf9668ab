# SPDX-License-Identifier: Apache-2.0
"""The offline driver: the same coupling as in a host, with fields from files."""

from coupler_plugin.driver.plan import plan
from coupler_plugin.driver.run import prepare, run

__all__ = ["plan", "prepare", "run"]
