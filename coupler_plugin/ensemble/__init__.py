# SPDX-License-Identifier: Apache-2.0
"""Ensembles: the coupling of an offline run many times over, and statistics over the members."""

from coupler_plugin.ensemble.run import run_ensemble

__all__ = ["run_ensemble"]
