# SPDX-License-Identifier: Apache-2.0
"""Kernels of torch's matrix products: ones that give a row the same bits at every place of a block.

Left to itself, MKL takes different kernels for different rows of a product whose inner length is no multiple of 4 and
which has 2 to 11 columns, and their last bits differ. Its mode for reproducible numbers does not, and costs nothing
that could be measured.
"""

from __future__ import annotations

import os
from functools import cache

import torch

_MODE = "MKL_CBWR"


@cache
def settle() -> None:
    """Let MKL choose reproducible kernels, unless the user has told it otherwise.

    MKL reads the environment at its first product and never again. The variable is taken back after that, so that an
    MKL of the host's own, which may come later, computes as it would without the plugin.
    """
    if _MODE in os.environ:
        return
    os.environ[_MODE] = "AUTO"
    try:
        torch.mm(torch.ones(2, 2), torch.ones(2, 2))
    finally:
        del os.environ[_MODE]
