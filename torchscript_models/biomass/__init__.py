# SPDX-License-Identifier: Apache-2.0
"""biomass: above-ground biomass from multispectral images, learned from sparse labels.

There are no images at hand: what ships is trained on synthetic scenes (`scenes`), and says so.
"""
