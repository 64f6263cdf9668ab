# SPDX-License-Identifier: Apache-2.0
"""Store what the emulators of the zoo answer, after they were trained anew: python tests/models/make_references.py."""

from pathlib import Path

import numpy as np
import torch
from climates import CLIMATES, cold_start, year
from small_tiles import TILES
from zoo import NAMES, WEATHER, ZOO, answer, machine

from coupler_plugin.emulator.load import load
from coupler_plugin.emulator.trial import sample_arguments

HERE = Path(__file__).parent
ROWS = 16  #: a block of the plugin: its rows have the same bits wherever they stand


def main() -> None:
    """Write arguments and answers.

    Of an emulator of weather one window of each climate, the last one 40 days after a cold start, and again these, with
    any class of vegetation; of
    other columns what their training data look like; of grid emulators a small tile.
    """
    torch.set_num_threads(1)  # as in tests: the bits of a convolution depend on it
    (HERE / "reference").mkdir(exist_ok=True)
    for name in NAMES:
        file = load(ZOO / f"{name}.pt")
        if name in WEATHER:
            *settled, last = CLIMATES
            windows = [year(name, climate)[40:41] for climate in settled] + [cold_start(name, last, 180, 40)]
            arguments = [torch.cat(windows * 3)[:ROWS]]
            if file.manifest.static:
                arguments.append(torch.arange(float(ROWS))[:, None])  # all classes that are common, and none
        elif name in TILES:
            arguments = TILES[name]()
        else:
            arguments = sample_arguments(file.manifest, ROWS)[: 1 + bool(file.manifest.static)]
        outputs = answer(file, *arguments).numpy()
        stored = {f"argument{i}": argument.numpy() for i, argument in enumerate(arguments)}
        np.savez_compressed(HERE / "reference" / f"{name}.npz", outputs=outputs, machine=machine(), **stored)


if __name__ == "__main__":
    main()
