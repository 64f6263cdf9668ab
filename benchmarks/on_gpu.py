# SPDX-License-Identifier: Apache-2.0
"""What staging, graphs and arrays of the device bring on a GPU; to be run where there is one.

Calls of an MLP and of an LSTM over a window, in blocks of 1,024 columns: with plain copies of each block, staged
operation by operation, and as graphs. Then steps that only accumulate eight fields, of the host and of the device.

    python benchmarks/on_gpu.py [--device cuda]        `--device cpu:0` tries it where there is none
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from small_emulators import Mlp, field, write, write_carbon

from coupler_plugin import Coupler
from coupler_plugin.emulator.blocks import Blocks
from coupler_plugin.emulator.device import CPU, OnDevice, open_device
from coupler_plugin.emulator.load import load

COLUMNS = (1024, 16_384, 65_536)
#: fields of a host and their units
FIELDS = {
    "tas": "K", "huss": "1", "ps": "Pa", "sfcWind": "m s-1",
    "pr": "kg m-2 s-1", "rsds": "W m-2", "rlds": "W m-2", "vpd": "Pa",
}  # fmt: skip
BATCHES, CALLS = 20, 5


def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    device = parser.parse_args().device
    torch.set_num_threads(1)
    if torch.device(device).type != CPU:
        open_device(device, 0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mlp = write(folder / "mlp.pt", Mlp(32, 8, 128), [field("tas", "K", size=32)], [field("tsl", "K", size=8)])
        paths = {"MLP": mlp, "LSTM window": write_carbon(folder / "lstm.pt", length=360)}
        print("| network, columns | plain copies [us] | staged [us] | graphs [us] | on the CPU [us] |")
        print("|---|---:|---:|---:|---:|")
        for network, path in paths.items():
            for n in COLUMNS[: 3 if network == "MLP" else 1]:
                print(f"| {network}, {n:,} | {' | '.join(f'{time:,.0f}' for time in calls(path, device, n))} |")
        print("\n| step that accumulates eight fields of 65,536 cells | [us] |\n|---|---:|")
        for where in (None, device):
            print(f"| in memory of {where or 'the host'} | {accumulating(folder, where):,.0f} |")


def calls(path: Path, device: str, n: int) -> list[float]:
    """Return the times of a call for `n` columns, of each kind [us]."""
    file = load(path, device=device)
    times = []
    for is_fixed in (False, True):
        staged = Blocks(replace(file, forward=OnDevice(file.forward.forward, device, is_fixed)), n, 1024)
        times.append(fastest(staged.run))
    window = file.manifest.window.length if file.manifest.window else 0
    block = torch.zeros(*(1024, window, file.manifest.n_inputs) if window else (1024, file.manifest.n_inputs))
    times.insert(0, fastest(lambda: [file.forward(block) for _ in range(n // 1024)]))
    return [*times, fastest(Blocks(load(path), n, 1024).run)]


def accumulating(folder: Path, device: str | None) -> float:
    """Return the time of a step that only accumulates [us]."""
    model = write(folder / "sums.pt", Mlp(8, 1, 8), [field(*pair) for pair in FIELDS.items()], [field("lai", "1")])
    file = folder / "sums.yml"
    file.write_text(yaml.safe_dump({"emulators": [{"model": model.name, "every": "1d", "guard": {"input": "off"}}]}))
    coupler, n = Coupler(file, start="2001-01-01", dt=60.0), COLUMNS[-1]
    coupler.set_cells(np.arange(1, n + 1), np.zeros(n), np.zeros(n))
    for name in (*FIELDS, "lai"):
        coupler.bind(name, np.zeros(n) if device is None else torch.zeros(n, dtype=torch.float64, device=device))
    return fastest(coupler.step)


@torch.inference_mode()
def fastest(call: Callable[[], object]) -> float:
    """Return the time of a call in the fastest of some batches [us]; a call is over when it returns."""
    times = []
    for _ in range(BATCHES):
        began = perf_counter()
        for _ in range(CALLS):
            call()
        times.append(1e6 * (perf_counter() - began) / CALLS)
    return min(times)


if __name__ == "__main__":
    main()
