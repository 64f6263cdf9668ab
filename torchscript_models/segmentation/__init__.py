# SPDX-License-Identifier: Apache-2.0
"""tree_cover and surface_classes: what covers the ground, told from aerial photographs by semantic segmentation.

There are no photographs at hand: what ships is trained on synthetic scenes (`scenes`), and says so.
"""
