# SPDX-License-Identifier: Apache-2.0
"""What guards cost beside a step without any: a network 32-128-128-8 on 10,000 columns, and on one.

The step without guards looks for answers that are not finite, with one product, and does nothing else. Cases take
turns, so that a busy machine disturbs them alike, and time is that of the processor: waiting for it does not count.
Nothing here passes or fails.

    python benchmarks/guard_cost.py      prints the table of docs/guards.md
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import tempfile
from itertools import pairwise
from pathlib import Path
from time import thread_time
from typing import Any

import numpy as np
import torch
import yaml

from coupler_plugin import Coupler
from coupler_plugin.emulator import manifest

LAYERS = (32, 128, 128, 8)
BURST = 5  # steps in a row, so that a case finds its memory in the caches, as it does in a run of its own
STATISTICS = {"mean": 0.0, "std": 1.0, "min": -5.0, "max": 5.0}
DICTIONARY = [
    {"name": "features", "long_name": "inputs of the network", "units": "1", "valid_range": [-50, 50]},
    {"name": "answers", "long_name": "outputs of the network", "units": "1"},
]
#: case -> (manifest, guard, share of cells whose inputs lie outside the training data)
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], float]] = {
    "no guards": ({}, {}, 0.0),
    "defaults": ({}, {}, 0.0),
    "defaults, 1 % of the cells unseen": ({}, {}, 0.01),
    "defaults, all cells unseen": ({}, {}, 1.0),
    "and blend, 1 % of the cells unseen": ({}, {"unseen": "blend"}, 0.01),
    "and the distance of 16 channels": ({"distribution": {"correlation": np.eye(16).tolist()}}, {}, 0.0),
    "and the distance of 32 channels": (
        {"distribution": {"correlation": np.eye(LAYERS[0]).tolist()}},
        {"distance": True},
        0.0,
    ),
    "and hold, rate": ({}, {"finite": "hold", "outputs": {"answers": {"max_change": 1e3}}}, 0.0),
    "and a budget": ({"budgets": [{"terms": {"answers": 1}, "at_most": 1e6}]}, {}, 0.0),
}


class NoGuard:
    """What a step does without guards."""

    is_mixed = False

    def __init__(self, outputs: np.ndarray) -> None:
        self._outputs = outputs.reshape(-1)
        self._zeros = np.zeros_like(self._outputs)

    def before(self, begin: int, end: int, outside: int) -> None:
        """Do nothing."""

    def after(self, begin: int, end: int) -> None:
        """Look for what is not finite: anything else times zero is not zero."""
        if self._outputs.dot(self._zeros) != 0.0:
            raise ArithmeticError


def make(folder: Path, case: str, cells: int, block: int | str) -> Coupler:
    """Return a coupler of a case after its first step."""
    more, guard, share = CASES[case]
    torch.manual_seed(1)
    channels = len(more["distribution"]["correlation"]) if "distribution" in more else LAYERS[0]
    layers = [torch.nn.Linear(n, m) for n, m in pairwise((channels, *LAYERS[1:]))]
    network = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])
    about = {"name": "network", "version": "0", "description": "random weights", "every": "1min", **more}
    inputs = [{"name": "features", "units": "1", "size": channels, "statistics": STATISTICS}]
    outputs = [{"name": "answers", "units": "1", "size": LAYERS[-1], "valid_range": [-1e4, 1e4]}]
    described = manifest.Manifest.model_validate({**about, "inputs": inputs, "outputs": outputs})
    manifest.save(torch.jit.script(network.eval()), described, folder / "network.pt")
    section = {"model": "network.pt", "block": block, "guard": guard}
    (folder / "coupling.yml").write_text(yaml.safe_dump({"emulators": [section], "fields": DICTIONARY}))
    coupler = Coupler(folder / "coupling.yml", start="2001-01-01", dt=60.0)
    coupler.set_cells(np.arange(1, cells + 1), np.zeros(cells), np.zeros(cells))
    features = np.random.default_rng(0).uniform(-2, 2, (cells, channels))
    features[: round(share * cells), 3] = 6.0
    coupler.bind("features", features)
    coupler.bind("answers", np.zeros((cells, LAYERS[-1])))
    coupler.step()
    if case == "no guards":
        coupler.emulators[0].guard = NoGuard(coupler.emulators[0].guard.answers)
    return coupler


class Timed:
    """A guard whose calls are timed, and of which all else is as it was."""

    def __init__(self, guard: Any) -> None:
        self._guard = guard
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guard, name)

    def before(self, begin: int, end: int, outside: int) -> None:
        """Look at the inputs."""
        since = thread_time()
        self._guard.before(begin, end, outside)
        self.seconds += thread_time() - since

    def after(self, begin: int, end: int) -> None:
        """Look at the answers."""
        since = thread_time()
        self._guard.after(begin, end)
        self.seconds += thread_time() - since


def measure_inside(cells: int, rounds: int) -> None:
    """Print the processor time that guards take inside a step of many columns, and their share of the rest of it."""
    with tempfile.TemporaryDirectory() as folder:
        couplers = {case: make(Path(folder), case, cells, 1024) for case in CASES}
    guards = {}
    for case, coupler in couplers.items():
        guards[case] = coupler.emulators[0].guard = Timed(coupler.emulators[0].guard)
    samples: dict[str, list[tuple[float, float]]] = {case: [] for case in CASES}
    for _ in range(rounds):
        for case, coupler in couplers.items():
            guards[case].seconds = 0.0
            step = time(coupler, BURST)
            samples[case].append((step, guards[case].seconds * 1e6 / BURST))
    print(f"\n| {cells:,} columns | rest of the step [us] | guards [us] | guards [%] |\n|---|---:|---:|---:|")
    for case, values in samples.items():
        steps, inside = np.array(values).T
        share = np.median(inside / (steps - inside))
        print(f"| {case} | {np.median(steps - inside):.0f} | {np.median(inside):.0f} | {100 * share:.1f} |")


def measure_beside(rounds: int) -> None:
    """Print how much longer a step of one column takes than without guards."""
    with tempfile.TemporaryDirectory() as folder:
        couplers = {case: make(Path(folder), case, 1, "exact") for case in CASES}
    print("\n| one column | step [us] | more than without guards [us] |\n|---|---:|---:|")
    bare = couplers["no guards"]
    for case, coupler in couplers.items():
        pairs = np.array([(time(coupler, 500), time(bare, 500)) for _ in range(rounds)])
        step, more = np.median(pairs[:, 0]), np.median(pairs[:, 0] - pairs[:, 1])
        print(f"| {case} | {step:.1f} | {more:.1f} |")


def time(coupler: Coupler, steps: int) -> float:
    """Return the microseconds of processor time that a step takes."""
    begin = thread_time()
    for _ in range(steps):
        coupler.step()
    return (thread_time() - begin) / steps * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    measure_inside(10_000, rounds)
    measure_beside(rounds)


if __name__ == "__main__":
    main()
