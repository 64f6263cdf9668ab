# SPDX-License-Identifier: Apache-2.0
"""`make gpu-check`: a C host that runs its emulator on the GPU, then the tests that need one.

It needs no Fortran compiler. What could not be run is said by name, and a machine without a GPU never passes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from small_emulators import write_mlp

from coupler_plugin.cli.prefix import native_prefix

HERE: Final = Path(__file__).parent
CELLS: Final = 3000
#: of answers near 1: float32 in other kernels, without TF32 [1]; and numbers of 8 bits after the first
BOUNDS: Final = {"float32": 1e-5, "bfloat16": 5e-2}
#: what the exit status says
CHECKED, FAILED, NOT_CHECKED = 0, 1, 2

skipped: list[str] = []


def main() -> int:
    """Run all that can be run, and return what it came to."""
    print(f"torch {torch.__version__}, CUDA {torch.version.cuda or 'none'}, ROCm {torch.version.hip or 'none'}")
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    print(f"GPUs: {', '.join(gpus) or 'none'}" + ("" if visible is None else f" (CUDA_VISIBLE_DEVICES is '{visible}')"))
    if not shutil.which("gfortran"):
        skipped.append("tests of hosts in Fortran: gfortran is not installed")
    is_right = run_host(bool(gpus))
    if gpus:
        is_right &= run_tests()
    else:
        skipped.append("all that runs on a GPU: torch sees none")
    for what in skipped:
        print(f"skipped: {what}")
    if not is_right:
        print("gpu-check: FAILED")
        return FAILED
    print("gpu-check: passed" if gpus else "gpu-check: NOT CHECKED, there is no GPU here")
    return CHECKED if gpus else NOT_CHECKED


def run_host(has_gpu: bool) -> bool:
    """Run a host in C on the CPU and, in both precisions, on the GPU; return whether the answers are the same."""
    compiler = next(filter(shutil.which, (os.environ.get("CC", ""), "cc", "gcc", "clang")), None)
    if compiler is None:
        skipped.append("the host in C: no C compiler is installed")
        return True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        host, lib = folder / "host", native_prefix() / "lib"
        flags = [f"-I{native_prefix() / 'include'}", f"-L{lib}", f"-Wl,-rpath,{lib}", "-lcoupler_plugin", "-lm"]
        subprocess.run([compiler, "-std=c11", str(HERE / "device_host.c"), "-o", str(host), *flags], check=True)
        model = write_mlp(folder / "mlp.pt")
        reference = answers(host, model, device="cpu")
        if reference is None:
            return False
        print(f"C host on the CPU: {CELLS} cells, answers from {reference.min():.4f} to {reference.max():.4f}")
        return all(compare(host, model, reference, precision) for precision in BOUNDS) if has_gpu else True


def compare(host: Path, model: Path, reference: NDArray[np.float64], precision: str) -> bool:
    """Run the host on the GPU, and return whether it gives the answers of the CPU."""
    found = answers(host, model, device="cuda", precision=precision)
    if found is None:
        return False
    error = float(np.abs(found - reference).max() / np.abs(reference).max())
    print(f"C host on the GPU, {precision}: differs from the CPU by {error:.2g} of the largest answer")
    return error <= BOUNDS[precision]


def answers(host: Path, model: Path, **emulator: str) -> NDArray[np.float64] | None:
    """Return what the host gets from the emulator; None where it fails."""
    file = host.parent / "coupling.yml"
    section = {"model": model.name, "guard": {"input": "off"}, **emulator}
    file.write_text(yaml.safe_dump({"emulators": [section], "on_error": "return"}))
    done = subprocess.run([str(host), str(file), str(CELLS)], capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        print(f"C host on {section}: exit status {done.returncode}: {done.stderr.strip()}")
        return None
    return np.array(done.stdout.split(), np.float64)


def run_tests() -> bool:
    """Run the tests that need a GPU."""
    return subprocess.run([sys.executable, "-m", "pytest", "-m", "gpu", "-rs"], check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
