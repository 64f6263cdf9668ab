# SPDX-License-Identifier: Apache-2.0
"""What `precision: bfloat16` changes: error and time of emulators against float32, for inputs like those of training.

python benchmarks/precision.py torchscript_models/zoo/*.pt [--device cuda]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter

import torch

from coupler_plugin.emulator.device import open_device
from coupler_plugin.emulator.load import load
from coupler_plugin.emulator.rounding import rounding
from coupler_plugin.emulator.trial import sample_arguments

CALLS = 5


def main() -> None:
    """Print a row of a table for each emulator."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    open_device(arguments.device, 0)
    print("| emulator | error of the worst output | time of float32 | of bfloat16 |\n|---|---|---|---|")
    for path in arguments.models:
        print(row(path, arguments.device))


def row(path: Path, device: str) -> str:
    """Return a row of the table."""
    exact, rounded = (load(path, device=device, precision=precision) for precision in ("float32", "bfloat16"))
    seconds = []
    sample = sample_arguments(exact.manifest, 2 if exact.manifest.tile else 1024)
    for file in (exact, rounded):
        with torch.inference_mode():
            for _ in range(3):
                file.forward(*sample)
            began = perf_counter()
            for _ in range(CALLS):
                file.forward(*sample)
        seconds.append(1e3 * (perf_counter() - began) / CALLS)
    return f"| {path.stem} | {rounding(exact, rounded):.2%} | {seconds[0]:.1f} ms | {seconds[1]:.1f} ms |"


if __name__ == "__main__":
    main()
