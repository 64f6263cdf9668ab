# SPDX-License-Identifier: Apache-2.0
"""leaf_area_index: leaf area index from the weather of the last year.

`network` needs torch only; `recipe` also the libraries of the training.
"""
