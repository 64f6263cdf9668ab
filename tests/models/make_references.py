# SPDX-License-Identifier: Apache-2.0
"""Store what the emulators of the zoo answer, after they were trained anew: python tests/models/make_references.py."""

from pathlib import Path

import numpy as np
import torch
from climates import CLIMATES, cold_start, year

from coupler_plugin.emulator.load import load

HERE = Path(__file__).parent


def main() -> None:
    """Write one window of each climate and its answer; the last climate is seen 40 days after a cold start."""
    for name in ("carbon_flux", "leaf_area_index"):
        *settled, last = CLIMATES
        windows = [year(name, climate)[40:41] for climate in settled] + [cold_start(name, last, 180, 40)]
        inputs = torch.cat(windows)
        with torch.inference_mode():
            outputs = load(HERE.parents[1] / "torchscript_models" / "zoo" / f"{name}.pt").forward(inputs)
        (HERE / "reference").mkdir(exist_ok=True)
        np.savez_compressed(HERE / "reference" / f"{name}.npz", inputs=inputs.numpy(), outputs=outputs.numpy())


if __name__ == "__main__":
    main()
