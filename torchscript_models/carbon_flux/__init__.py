# SPDX-License-Identifier: Apache-2.0
"""carbon_flux: daily photosynthesis, respiration and net exchange of carbon from the weather of the last days.

`network` needs torch only; `recipe` also the libraries of the training.
"""
