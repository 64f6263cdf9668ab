# SPDX-License-Identifier: Apache-2.0
"""Pictures of results: maps, time series, and comparisons with observations or with another run.

Needs matplotlib (the extra `plot`). `coupler-plugin plot` draws from the command line; the examples use the same.
"""

from coupler_plugin.plot.comparison import draw_difference, draw_means, draw_scatter, draw_taylor
from coupler_plugin.plot.maps import draw_map
from coupler_plugin.plot.observations import Pairs, pair
from coupler_plugin.plot.results import Results, read
from coupler_plugin.plot.scores import Score, score
from coupler_plugin.plot.series import draw_seasons, draw_series
from coupler_plugin.plot.style import STYLE, save

__all__ = [
    "STYLE",
    "Pairs",
    "Results",
    "Score",
    "draw_difference",
    "draw_map",
    "draw_means",
    "draw_scatter",
    "draw_seasons",
    "draw_series",
    "draw_taylor",
    "pair",
    "read",
    "save",
    "score",
]
