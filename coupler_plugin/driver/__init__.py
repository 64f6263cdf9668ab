# SPDX-License-Identifier: Apache-2.0
"""The offline driver: the same coupling as in a host, with fields from files."""

from coupler_plugin.driver.run import run

__all__ = ["run"]
