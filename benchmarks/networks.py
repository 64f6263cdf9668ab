# SPDX-License-Identifier: Apache-2.0
"""Networks called by torch alone, by the plugin from Fortran, and by FTorch where it is installed: the same work.

Every program runs on one core and waits for its turn; short batches of all of them alternate, and processor time is
counted (the clock's, with several threads), so that a busy machine disturbs them little and alike. Nothing here passes
or fails.

    make bench                                    all of it
    python benchmarks/networks.py --threads 2     with two threads alone
    CMAKE_PREFIX_PATH=<FTorch> make bench         with FTorch
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from step_cost import COMPILER, HERE, LAYERS, machine, network, output, resident
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from coupler_plugin.config.emulators import BLOCK
from coupler_plugin.emulator import manifest
from coupler_plugin.emulator.compiling import compile_emulator
from torchscript_models.unet import UNet

BUILD = HERE.parent / "build" / "benchmarks"
SIZES = (1, 64, 1024, 16_384, 65_536)
#: channels, answers, rows and columns of the tile, and width and depth of its network: those of the land-cover emulator
TILE = {"channels": 30, "answers": 7, "side": 64, "width": 32, "depth": 3}
#: samples, inputs and units of the window: those of the carbon-flux emulator, whose members are these times two
WINDOW = {"length": 360, "inputs": 5, "hidden": 32}


class Lstm(nn.Module):
    """An LSTM over a window and a layer on its last answer."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(WINDOW["inputs"], WINDOW["hidden"], batch_first=True)
        self.head = nn.Linear(WINDOW["hidden"], 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, 3) from (N, T, C)."""
        return self.head(self.lstm(x)[0][:, -1])


class Tile(nn.Module):
    """A U-Net over a tile that the plugin moves as the channels of one column."""

    def __init__(self) -> None:
        super().__init__()
        self.channels, self.side = TILE["channels"], TILE["side"]
        self.net = UNet(TILE["channels"], TILE["answers"], TILE["width"], TILE["depth"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, O * H * W) from (N, C * H * W)."""
        return self.net(x.view(-1, self.channels, self.side, self.side)).flatten(1)


@dataclass(frozen=True)
class Case:
    """One network on a number of columns.

    Attributes
    ----------
    shape : tuple of int
        Of a sample: (C,) or (T, C).
    answers : int
    n : int
        Columns.
    block : int
        Rows of a call.
    """

    name: str
    module: nn.Module
    shape: tuple[int, ...]
    answers: int
    n: int
    block: int

    @property
    def blocks(self) -> int:
        """Calls of a step."""
        return -(-self.n // self.block)

    def roofline(self, rates: dict[str, float]) -> float:
        """Return the least time of a step [us], by arithmetic or by the bytes of weights, inputs and answers."""
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            self.module(torch.ones(1, *self.shape))
        flops = counter.get_total_flops() * self.n
        if not flops or len(self.shape) == 2:  # LSTM is one operation of which the counter knows nothing
            weights = [p.numel() for name, p in self.module.named_parameters() if "weight" in name]
            flops = 2 * self.n * sum(weights) * (self.shape[0] if len(self.shape) == 2 else 1)
        size = 4 * (sum(p.numel() for p in self.module.parameters()) + self.n * (self.shape[-1] + self.answers))
        return max(flops / rates["sgemm"], size / rates["copy"]) * 1e6


def cases() -> list[Case]:
    """Return what is measured."""
    mlp = network(*LAYERS).eval()
    torch.manual_seed(2)
    lstm, tile = Lstm().eval(), Tile().eval()
    found = [Case("MLP", mlp, LAYERS[:1], LAYERS[-1], n, min(n, BLOCK)) for n in SIZES]
    found.append(Case("LSTM window", lstm, (WINDOW["length"], WINDOW["inputs"]), 3, BLOCK, BLOCK))
    area = TILE["side"] ** 2
    return [*found, Case("U-Net tile", tile, (TILE["channels"] * area,), TILE["answers"] * area, 1, 1)]


# --- the programs ---------------------------------------------------------------------------------------------


class Program:
    """A process that answers numbers of steps with the seconds that they took."""

    def __init__(self, command: Sequence[object], threads: int) -> None:
        began = perf_counter()
        self._uses_clock = threads > 1
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        words = [str(word) for word in command]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self(1)
        #: from the start of the program to the end of its first step [s]
        self.first = perf_counter() - began

    def __call__(self, steps: int) -> float:
        """Take steps and return the seconds that they took."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().split()
        if not answer:
            sys.exit(f"'{self._process.args}' stopped with status {self._process.wait()}")
        return float(answer[1 if self._uses_clock else 0])

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def end(self) -> None:
        """End the process."""
        self._process.communicate()


def bare_python(file: Path, threads: int, blocks: int, *shape: int) -> None:
    """Call a TorchScript file on blocks of ones, as programs/bare_torch.cpp does."""
    torch.set_num_threads(threads)
    with torch.inference_mode():
        module = torch.jit.freeze(torch.jit.load(file).eval())
        samples = [torch.ones(*shape) for _ in range(blocks)]
        for line in sys.stdin:
            clock, processor = perf_counter(), process_time()
            for _ in range(int(line)):
                for sample in samples:
                    module(sample)
            print(process_time() - processor, perf_counter() - clock, flush=True)


def build() -> dict[str, Path]:
    """Build the programs and return them by name; FTorch's only where it is found."""
    prefix = Path(torch.__file__).parent
    paths = [str(prefix), *filter(None, os.environ.get("CMAKE_PREFIX_PATH", "").split(os.pathsep))]
    definitions = ["-DCMAKE_PREFIX_PATH=" + ";".join(paths)]
    for command in (
        ["cmake", "-S", HERE / "programs", "-B", BUILD, *definitions],
        ["cmake", "--build", BUILD],
    ):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            sys.exit(done.stdout)
    root = Path(output([sys.executable, "-m", "coupler_plugin", "prefix"]))
    os.environ["PKG_CONFIG_PATH"] = str(root / "lib" / "pkgconfig")
    flags = output(["pkg-config", "--cflags", "--libs", "coupler_plugin_fortran"]).split()
    source, target = HERE / "programs" / "coupled.f90", BUILD / "coupled"
    subprocess.run([COMPILER, "-O2", source, "-o", target, *flags], check=True, cwd=BUILD)
    return {name: BUILD / name for name in ("bare_torch", "coupled", "ftorch_host") if (BUILD / name).exists()}


def write_setup(folder: Path, case: Case, threads: int, is_split: bool) -> Path:
    """Write the emulator of a case and its coupling file; `is_split`: with eight inputs instead of one."""
    channels = case.shape[-1]
    names = [f"feature{i}" for i in range(1, 9)] if is_split else ["features"]
    entries = [{"name": name, "units": "1", "size": channels // len(names)} for name in names]
    about: dict[str, Any] = {"name": "network", "version": "0", "description": "random weights", "every": "1min"}
    if len(case.shape) == 2:
        about["window"] = {"length": case.shape[0]}
    outputs = [{"name": "answers", "units": "1", "size": case.answers}]
    described = manifest.Manifest.model_validate({**about, "inputs": entries, "outputs": outputs})
    stem = "eight" if is_split else "one"
    manifest.save(torch.jit.script(case.module), described, folder / f"{stem}.pt")
    fields = "".join(f"  - {{name: {name}, long_name: random, units: '1'}}\n" for name in (*names, "answers"))
    block = "exact" if case.n == 1 else BLOCK
    about_run = f"threads: {threads}\nfields:\n{fields}emulators:\n  - block: {block}\n    model: {stem}.pt"
    path = folder / f"{stem}.yml"
    path.write_text(f"{about_run}\n")
    if not is_split and case.n >= BLOCK:
        package = _package(folder / "one.pt", case)
        digest = hashlib.sha256(package.read_bytes()).hexdigest()
        compiled = about_run.replace(f"{stem}.pt", str(package)) + f"\n    sha256: {digest}\n"
        (folder / "compiled.yml").write_text(compiled)
    return path


@cache
def _packages() -> tuple[Path, dict[str, Path]]:
    """Return where packages are kept, and those that there are by the name of their network."""
    return Path(tempfile.mkdtemp(prefix="benchmark_packages_")), {}


def _package(model: Path, case: Case) -> Path:
    """Return the compiled package of a network, made once for all numbers of columns."""
    folder, made = _packages()
    if case.name not in made:
        made[case.name] = folder / f"{case.name.split()[0]}.pt2"
        compile_emulator(model, made[case.name], BLOCK)
    return made[case.name]


def programs(built: dict[str, Path], folder: Path, case: Case, threads: int) -> dict[str, Program]:
    """Start what runs a case."""
    one = write_setup(folder, case, threads, is_split=False)
    shape = (case.block, *case.shape)
    bare = [folder / "one.pt", threads, case.blocks, *shape]
    commands: dict[str, list[object]] = {
        "torch, C++": [built["bare_torch"], *bare],
        "torch, Python": [sys.executable, __file__, "--bare", *bare],
        "plugin, one real32 array": [built["coupled"], one, case.n, case.shape[-1], case.answers, "one32"],
    }
    if case.n >= BLOCK:
        config = folder / "compiled.yml"
        commands["plugin, compiled, one real32 array"] = [
            built["coupled"], config, case.n, case.shape[-1], case.answers, "one32",
        ]  # fmt: skip
    if case.name == "MLP":
        eight = write_setup(folder, case, threads, is_split=True)
        for kind in ("eight32", "eight64"):
            label = f"plugin, eight real{kind[-2:]} arrays"
            commands[label] = [built["coupled"], eight, case.n, case.shape[-1], case.answers, kind]
    if "ftorch_host" in built:
        commands["FTorch, one real32 array"] = [
            built["ftorch_host"], folder / "one.pt", case.n, case.shape[-1], case.answers, *case.shape[:-1],
        ]  # fmt: skip
    return {name: Program(command, threads) for name, command in commands.items()}


# --- measurements ---------------------------------------------------------------------------------------------


def rates() -> dict[str, float]:
    """Return what one core reaches: operations of a large product, and bytes copied, per second."""
    torch.set_num_threads(1)
    a, b = torch.rand(1024, 1024), torch.rand(1024, 1024)
    big, copy = np.ones(2**25), np.ones(2**25)

    def fastest(call: Any) -> float:
        times = []
        for _ in range(15):
            begin = process_time()
            call()
            times.append(process_time() - begin)
        return min(times)

    return {
        "sgemm": 2 * 1024**3 / fastest(lambda: torch.mm(a, b)),
        "copy": 2 * big.nbytes / fastest(lambda: np.copyto(copy, big)),
    }


def measure(running: dict[str, Program], seconds: float, rounds: int) -> dict[str, dict[str, float]]:
    """Time batches of about `seconds` in turns; return quartiles of the microseconds that a step takes."""
    steps = {}
    for name, program in running.items():
        program(3)
        steps[name] = max(1, round(seconds / max(program(3) / 3, 1e-7)))
    samples: dict[str, list[float]] = {name: [] for name in running}
    for _ in range(rounds):
        for name, program in running.items():
            program(max(1, steps[name] // 4))  # caches held the data of the one before
            samples[name].append(program(steps[name]) / steps[name] * 1e6)
    columns = {"fastest": 0, "q1": 25, "median": 50, "q3": 75}
    return {
        name: {column: float(np.percentile(values, q)) for column, q in columns.items()}
        for name, values in samples.items()
    }


def print_case(case: Case, times: dict[str, dict[str, float]], least: float) -> None:
    """Print the rows of a case; a step is divided by torch in C++, and by FTorch where it was measured."""
    bare = times["torch, C++"]["median"]
    ftorch = times.get("FTorch, one real32 array", {}).get("median")
    for name, time in times.items():
        beside = f"{time['median'] / ftorch:.2f}" if ftorch else ""
        quartiles = f"{time['q1']:,.1f} - {time['q3']:,.1f}"
        quartiles = f"{quartiles} | {time['fastest']:,.1f}"
        ratios = f"{time['median'] / bare:.2f} | {beside} | {least:,.1f} | {least / time['median']:.0%}"
        print(
            f"| {case.name}, {case.n:,} | {name} | {time['median']:,.1f} | {quartiles} | {ratios} |",
            flush=True,
        )


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, help="threads of torch; default: one, and then two")
    parser.add_argument("--rounds", type=int, default=31, help="batches of each kind")
    parser.add_argument("--seconds", type=float, default=0.02, help="length of a batch")
    parser.add_argument("--out", type=Path, default=HERE / "out" / "networks.json", help="JSON file to write")
    options = parser.parse_args()

    built, reached, about = build(), rates(), machine()
    result: dict[str, Any] = {"machine": about, "rates": reached, "cases": {}}
    cores = os.sched_getaffinity(0)
    for threads in [options.threads] if options.threads else [1, 2]:
        os.sched_setaffinity(0, {max(cores)} if threads == 1 else cores)  # on one core all take turns
        print(
            f"\n{about['date']}, {threads} thread(s) of {about['processor']}, load {about['load']}, torch "
            f"{about['torch']}, {about['compiler']}; one core: {reached['sgemm'] / 1e9:.0f} GFLOP/s in a product, "
            f"{reached['copy'] / 1e9:.1f} GB/s in a copy.\n"
        )
        columns = "median [us] | quartiles [us] | fastest [us] | / torch | / FTorch | least | of it"
        print(f"| network, columns | called by | {columns} |")
        print("|---|---|---:|---:|---:|---:|---:|---:|---:|", flush=True)
        for case in cases():
            if threads == 1 or case.n > BLOCK:  # threads share blocks
                result["cases"][f"{case.name}, {case.n}, {threads}"] = run(case, built, reached, threads, options)
    print_processes(result["cases"])
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")


def run(
    case: Case, built: dict[str, Path], reached: dict[str, float], threads: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Measure a case and print its rows."""
    with tempfile.TemporaryDirectory() as folder:
        running = programs(built, Path(folder), case, threads)
        times = measure(running, options.seconds, options.rounds)
        found = {
            "times": times,
            "least": case.roofline(reached) / threads,
            "first_step": {name: program.first for name, program in running.items()},
            "memory": {name: resident(program.pid) for name, program in running.items()},
        }
        for program in running.values():
            program.end()
    print_case(case, times, found["least"])
    return found


def print_processes(measured: dict[str, Any]) -> None:
    """Print what a process takes to start, and what memory it has after its steps."""
    few, many = (measured.get(f"MLP, {n}, 1") for n in (SIZES[0], SIZES[-1]))
    if few and many:
        print("\n| called by | to the end of the first step [s] | memory, 1 column [MiB] | memory, 65,536 [MiB] |")
        print("|---|---:|---:|---:|")
        for name, first in many["first_step"].items():
            first, small = few["first_step"].get(name, first), few["memory"].get(name)
            print(f"| {name} | {first:.1f} | {'' if small is None else f'{small:.0f}'} | {many['memory'][name]:.0f} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--bare"]:
        bare_python(Path(sys.argv[2]), *map(int, sys.argv[3:]))
    else:
        main()
