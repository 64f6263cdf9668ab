# SPDX-License-Identifier: Apache-2.0
"""biomass_plots: above-ground biomass of forests from climate normals, elevation and position.

`network` needs torch only; `recipe` also the libraries of the training.
"""
