# SPDX-License-Identifier: Apache-2.0
"""land_state: soil water, soil temperature and snow from one day to the next, learned from our own land model.

`network` needs torch only; `recipe` also the libraries of the training.
"""
