# SPDX-License-Identifier: Apache-2.0
"""Regridding: grids, the weights between them, and the routes that carry fields from one to the other on many ranks.

It knows nothing of emulators or hosts. Everything that its users need is re-exported here.
"""

from coupler_plugin.regrid.balance import Balance
from coupler_plugin.regrid.cache import weights_file
from coupler_plugin.regrid.descriptions import make_grid
from coupler_plugin.regrid.grid_files import read_grid
from coupler_plugin.regrid.grids import Edges, Grid
from coupler_plugin.regrid.links import Links
from coupler_plugin.regrid.makers import curvilinear, gather_grid, gaussian, latlon, mesh, rectilinear, refined
from coupler_plugin.regrid.route import Route
from coupler_plugin.regrid.weight_files import WeightFile, read_weights, write_weights
from coupler_plugin.regrid.weights import EXTRAPOLATIONS, METHOD_OF, METHODS, Weights, make_weights

__all__ = [
    "EXTRAPOLATIONS",
    "METHODS",
    "METHOD_OF",
    "Balance",
    "Edges",
    "Grid",
    "Links",
    "Route",
    "WeightFile",
    "Weights",
    "curvilinear",
    "gather_grid",
    "gaussian",
    "latlon",
    "make_grid",
    "make_weights",
    "mesh",
    "read_grid",
    "read_weights",
    "rectilinear",
    "refined",
    "weights_file",
    "write_weights",
]
