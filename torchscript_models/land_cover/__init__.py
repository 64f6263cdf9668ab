# SPDX-License-Identifier: Apache-2.0
"""land_cover: fine maps of land cover, year by year, from the coarse class fractions of a scenario.

`network` needs torch only; the other modules also the libraries of the training.
"""
