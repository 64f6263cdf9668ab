# SPDX-License-Identifier: Apache-2.0
"""What a run cost and did: measured at its end, shown as JSON, table or page."""

from coupler_plugin.report.summary import summarise, trace, versions, write

__all__ = ["summarise", "trace", "versions", "write"]
