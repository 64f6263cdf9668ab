# SPDX-License-Identifier: Apache-2.0
"""downscaling: coarse fields on a finer grid, by the family of networks that DL4DS made known.

`network` and what it imports need torch only; `recipe` and `fields` also the libraries of the training.
"""
