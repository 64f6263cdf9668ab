# SPDX-License-Identifier: Apache-2.0
"""What a coupling step costs beside the work that no coupler can avoid.

Two steps are measured, from Python (`Coupler.step`) and from Fortran (`coupler%step`): one that only accumulates
eight fields of 10,000 cells, beside the same eight in-place numpy adds; and one that runs a small network on one
column, beside the bare TorchScript call. Short batches of all of them take turns and processor time is counted,
so that a busy machine disturbs them little and alike. Resident memory is read before and after 100,000 steps.
Nothing here passes or fails.

    make bench        prints the tables of docs/performance.md and writes benchmarks/out/step_cost.json
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import date
from itertools import pairwise
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch

from coupler_plugin import Coupler
from coupler_plugin.emulator import manifest
from coupler_plugin.report import versions

HERE = Path(__file__).parent
COMPILER = os.environ.get("FC", "gfortran")
#: units and a plausible value of each field of the host
FIELDS = {
    "tas": ("K", 280.0),
    "huss": ("1", 0.006),
    "ps": ("Pa", 98e3),
    "sfcWind": ("m s-1", 3.0),
    "pr": ("kg m-2 s-1", 3e-5),
    "rsds": ("W m-2", 180.0),
    "rlds": ("W m-2", 320.0),
    "vpd": ("Pa", 500.0),
}
CELLS = 10_000
SOAK_CELLS = 100
LAYERS = (32, 128, 128, 8)
DT = 60.0

Batch = Callable[[int], float]  # runs a number of steps and returns the seconds that they took


# --- set-ups: emulators and coupling files --------------------------------------------------------------------


def network(*layers: int) -> torch.nn.Sequential:
    """Return a multi-layer perceptron with random weights."""
    torch.manual_seed(1)
    modules: list[torch.nn.Module] = []
    for n_in, n_out in pairwise(layers):
        modules += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    return torch.nn.Sequential(*modules[:-1])


def write_emulator(path: Path, layers: tuple[int, ...], inputs: list[Any], outputs: list[Any]) -> None:
    """Write an emulator file with random weights."""
    about = {"name": path.stem, "version": "0", "description": "random weights", "every": "1min"}
    described = manifest.Manifest.model_validate({**about, "inputs": inputs, "outputs": outputs})
    manifest.save(torch.jit.script(network(*layers).eval()), described, path)


def write_setups(folder: Path) -> None:
    """Write the coupling files and emulators of all cases into `folder`."""
    eight = [{"name": name, "units": units} for name, (units, _) in FIELDS.items()]
    write_emulator(folder / "eight.pt", (8, 32, 1), eight, [{"name": "lai", "units": "1"}])
    features = [{"name": "features", "units": "1", "size": LAYERS[0]}]
    write_emulator(folder / "network.pt", LAYERS, features, [{"name": "answers", "units": "1", "size": LAYERS[-1]}])
    (folder / "accumulate.yml").write_text("emulators:\n  - {model: eight.pt, every: 1yr}\n")
    (folder / "network.yml").write_text(
        "emulators:\n  - {model: network.pt, block: exact}\n"
        "fields:\n"
        "  - {name: features, long_name: inputs of the network, units: '1'}\n"
        "  - {name: answers, long_name: outputs of the network, units: '1'}\n"
    )
    hourly = "emulators:\n  - {model: eight.pt, every: 1h}\n"
    history = f"history: {{file: history.nc, fields: [{', '.join(FIELDS)}, lai], every: 1d}}\n"
    (folder / "hourly.yml").write_text(hourly)
    (folder / "history.yml").write_text(hourly + history)


# --- what is timed --------------------------------------------------------------------------------------------


def repeat(call: Callable[[], object]) -> Batch:
    """Return a batch of calls."""

    def batch(steps: int) -> float:
        begin = process_time()
        for _ in range(steps):
            call()
        return process_time() - begin

    return batch


def couple(config: Path, cells: int, arrays: dict[str, np.ndarray]) -> Coupler:
    """Return a coupler to which `arrays` are bound."""
    coupler = Coupler(config, start="2001-01-01", dt=DT)
    coupler.set_cells(np.arange(1, cells + 1), np.zeros(cells), np.zeros(cells))
    for name, array in arrays.items():
        coupler.bind(name, array)
    return coupler


def eight_fields(kind: type, cells: int) -> dict[str, np.ndarray]:
    """Return the arrays of a host with eight fields and the answer of their emulator."""
    arrays = {name: np.full(cells, value, kind) for name, (_, value) in FIELDS.items()}
    return arrays | {"lai": np.zeros(cells)}


def numpy_adds(into: type, kind: type) -> Batch:
    """Return eight in-place adds of fields of one kind into sums of another."""
    pairs = [(np.zeros(CELLS, into), np.ones(CELLS, kind)) for _ in FIELDS]

    def add() -> None:
        for total, field in pairs:
            np.add(total, field, out=total)

    return repeat(add)


def bare_call() -> Batch:
    """Return the frozen TorchScript module, called as a Python program would."""
    frozen = torch.jit.freeze(torch.jit.script(network(*LAYERS).eval()))
    column = torch.ones(1, LAYERS[0])

    def batch(steps: int) -> float:
        with torch.inference_mode():
            begin = process_time()
            for _ in range(steps):
                frozen(column)
            return process_time() - begin

    return batch


class FortranHost:
    """The compiled host, waiting for numbers of steps."""

    def __init__(self, executable: Path, case: str, config: Path, cells: int) -> None:
        self._process = subprocess.Popen(
            [executable, case, config, str(cells)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, steps: int) -> float:
        """Take steps and return the seconds that they took."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            sys.exit(f"the Fortran host stopped with status {self._process.wait()}")
        return float(answer)

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid


def compile_host(folder: Path) -> Path:
    """Compile the Fortran host against the installed bridge, by pkg-config."""
    prefix = Path(output([sys.executable, "-m", "coupler_plugin", "prefix"]))
    os.environ["PKG_CONFIG_PATH"] = str(prefix / "lib" / "pkgconfig")
    flags = output(["pkg-config", "--cflags", "--libs", "coupler_plugin_fortran"]).split()
    executable = folder / "step_cost"
    subprocess.run(
        [COMPILER, "-O2", HERE / "programs" / "step_cost.f90", "-o", executable, *flags], check=True, cwd=folder
    )
    return executable


def output(command: list[str]) -> str:
    """Return what a command prints."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


# --- measurements ---------------------------------------------------------------------------------------------


def measure(batches: dict[str, tuple[Batch, int]], rounds: int) -> dict[str, dict[str, float]]:
    """Time batches in turns; return the fastest and the quartiles of the microseconds that one step takes."""
    samples: dict[str, list[float]] = {name: [] for name in batches}
    for _ in range(rounds):
        for name, (batch, steps) in batches.items():
            batch(steps // 4)  # caches held the data of the one before
            samples[name].append(batch(steps) / steps * 1e6)
    columns = {"fastest": 0, "q1": 25, "median": 50, "q3": 75}
    return {
        name: {column: float(np.percentile(values, q)) for column, q in columns.items()}
        for name, values in samples.items()
    }


def resident(pid: int | str) -> float:
    """Return the resident memory of a process [MiB]."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise OSError(f"process {pid} has no resident memory")


def soak(batch: Batch, steps: int, pid: int | str = "self") -> dict[str, float]:
    """Return resident memory after a first tenth of the steps, and after all others."""
    batch(steps // 10)
    begin = resident(pid)
    batch(steps)
    return {"steps": steps, "begin": begin, "end": resident(pid)}


def machine() -> dict[str, str]:
    """Return what the numbers depend on."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "date": date.today().isoformat(),
        "processor": models[0].partition(": ")[2] if models else platform.processor(),
        "cores": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
        **versions(),
        "compiler": output([COMPILER, "--version"]).splitlines()[0],
    }


# --- the tables -----------------------------------------------------------------------------------------------

#: rows of the table: what is timed, and what it is divided by
ROWS = (
    ("eight numpy adds, float64", None),
    ("step that accumulates, float64, Python", "eight numpy adds, float64"),
    ("step that accumulates, real64, Fortran", "eight numpy adds, float64"),
    ("eight numpy adds, float32 into float64", None),
    ("step that accumulates, float32, Python", "eight numpy adds, float32 into float64"),
    ("step that accumulates, real32, Fortran", "eight numpy adds, float32 into float64"),
    ("eight numpy adds, float32", None),
    ("bare TorchScript call", None),
    ("step with the network, Python", "bare TorchScript call"),
    ("step with the network, Fortran", "bare TorchScript call"),
)


def print_tables(result: dict[str, Any]) -> None:
    """Print the results as Markdown."""
    about = result["machine"]
    print(
        f"\n{about['date']}, one core of {about['processor']} ({about['cores']} cores, load {about['load']}), "
        f"Python {about['python']}, numpy {about['numpy']}, torch {about['torch']}, {about['compiler']}.\n"
    )
    print("| step | median [us] | quartiles [us] | relative | fastest [us] |\n|---|---:|---:|---:|---:|")
    times = result["times"]
    for name, reference in ROWS:
        time = times[name]
        ratio = f"{time['median'] / times[reference]['median']:.2f}" if reference else "1"
        quartiles = f"{time['q1']:.1f} - {time['q3']:.1f}"
        print(f"| {name} | {time['median']:.1f} | {quartiles} | {ratio} | {time['fastest']:.1f} |")
    print("\n| resident memory | steps | before [MiB] | after [MiB] |\n|---|---:|---:|---:|")
    for name, memory in result["memory"].items():
        print(f"| {name} | {memory['steps']:,} | {memory['begin']:.1f} | {memory['end']:.1f} |")


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=301, help="batches of each kind")
    parser.add_argument("--soak", type=int, default=100_000, help="steps over which memory is watched")
    parser.add_argument("--out", type=Path, default=HERE / "out" / "step_cost.json", help="JSON file to write")
    options = parser.parse_args()

    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # hosts inherit it: all share one core, in turns
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_setups(folder)
        executable = compile_host(folder)
        features = {"features": np.ones((1, LAYERS[0])), "answers": np.zeros((1, LAYERS[-1]))}
        accumulate, one_column = folder / "accumulate.yml", folder / "network.yml"
        double = couple(accumulate, CELLS, eight_fields(np.float64, CELLS))
        single = couple(accumulate, CELLS, eight_fields(np.float32, CELLS))
        column = couple(one_column, 1, features)
        batches: list[tuple[Batch, int]] = [
            (numpy_adds(np.float64, np.float64), 60),
            (repeat(double.step), 60),
            (FortranHost(executable, "accumulate64", accumulate, CELLS), 60),
            (numpy_adds(np.float64, np.float32), 60),
            (repeat(single.step), 60),
            (FortranHost(executable, "accumulate32", accumulate, CELLS), 60),
            (numpy_adds(np.float32, np.float32), 60),
            (bare_call(), 100),
            (repeat(column.step), 100),
            (fortran_column := FortranHost(executable, "network", one_column, 1), 100),
        ]
        rows = [row[0] for row in ROWS]
        result: dict[str, Any] = {
            "machine": machine(),
            "times": measure(dict(zip(rows, batches, strict=True)), options.rounds),
        }
        hourly, history = (
            couple(folder / name, SOAK_CELLS, eight_fields(np.float32, SOAK_CELLS))
            for name in ("hourly.yml", "history.yml")
        )
        result["memory"] = {
            "network every step, Python": soak(repeat(column.step), options.soak),
            "network every step, Fortran": soak(fortran_column, options.soak, fortran_column.pid),
            "eight fields, hourly emulator, Python": soak(repeat(hourly.step), options.soak),
            "the same with a daily history, Python": soak(repeat(history.step), options.soak),
        }
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print_tables(result)


if __name__ == "__main__":
    main()
