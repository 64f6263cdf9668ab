# SPDX-License-Identifier: Apache-2.0
"""How far an emulator's answers in bfloat16 are from those in float32, measured with the emulator itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from coupler_plugin.emulator.load import EmulatorFile
from coupler_plugin.emulator.manifest import Manifest
from coupler_plugin.emulator.trial import sample_arguments

_COLUMNS = 1024
_TILES = 2


def sample_of(manifest: Manifest) -> list[torch.Tensor]:
    """Return arguments that are drawn from the statistics of the training."""
    return sample_arguments(manifest, _TILES if manifest.tile else _COLUMNS)


def rounding(exact: EmulatorFile, rounded: EmulatorFile, sample: Sequence[torch.Tensor]) -> float:
    """Return the root of the mean squared difference of the worst output, as a share of its standard deviation.

    Parameters
    ----------
    exact, rounded : EmulatorFile
        The same file in float32 and in another precision.
    sample : sequence of tensors
        Arguments of both.
    """
    with torch.inference_mode():
        answers = [file.forward(*sample) for file in (exact, rounded)]
    one, other = (answer[0] if isinstance(answer, tuple) else answer for answer in answers)
    across = [axis for axis in range(one.ndim) if axis != 1]
    spread = one.std(across)
    shares = ((other - one) ** 2).mean(across).sqrt()[spread > 0.0] / spread[spread > 0.0]
    return float(shares.max()) if len(shares) else 0.0
