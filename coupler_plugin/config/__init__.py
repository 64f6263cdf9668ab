# SPDX-License-Identifier: Apache-2.0
"""The coupling file: its schema, a section each, and reading it, with errors that point at the line to mend."""

from coupler_plugin.config.coupling import Config
from coupler_plugin.config.reading import load_config, parse_config

__all__ = ["Config", "load_config", "parse_config"]
