# SPDX-License-Identifier: Apache-2.0
"""Give .venv a torch without ever pulling in a several-GB CUDA build that nobody asked for.

A torch that the venv already sees is kept when its version fits. Otherwise the version of `constraints.txt`
is installed as a CPU build: from wherever pip is configured to look when that offers one, else from PyTorch's
own index of CPU wheels. A user who wants another torch says so (`make demo TORCH_INDEX_URL=...`):

TORCH            another version than the tested one
TORCH_INDEX_URL  the index to take torch from, GPU build or not; `default`: what pip is configured for
"""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
FITTING = (2, 6), (3, 0)  # the range that pyproject.toml asks for: from, below
GPU_PACKAGE = re.compile(r"nvidia-|cuda-|triton|pytorch-triton", re.IGNORECASE)
PIP = [sys.executable, "-m", "pip", "install"]


def say(sentence: str) -> None:
    """Print what is done with torch: nothing here happens silently."""
    print(f"torch: {sentence}", flush=True)


def installed_version() -> str | None:
    """Return the version of the torch that this Python sees."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None


def fits(version: str) -> bool:
    """Return whether the plugin works with this version of torch."""
    first, below = FITTING
    return first <= tuple(int(number) for number in re.findall(r"\d+", version)[:2]) < below


def tested_version() -> str:
    """Return the version of torch in constraints.txt."""
    constraints = Path(__file__).parents[1] / "constraints.txt"
    return re.search(r"^torch==(\S+)", constraints.read_text(), re.MULTILINE)[1]


def resolve(requirement: str, options: list[str]) -> tuple[list[str], str]:
    """Return the packages that pip would install (none if there is no such torch), and pip's last word."""
    command = [*PIP, "--dry-run", "--ignore-installed", "--quiet", "--report", "-", *options, requirement]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        return [], (answer.stderr.strip() or "pip gave no reason").splitlines()[-1]
    return [entry["metadata"]["name"] for entry in json.loads(answer.stdout)["install"]], ""


def choose_cpu_build(version: str) -> list[str]:
    """Return the arguments with which pip installs a CPU build of torch, or stop with advice."""
    requirement = f"torch=={version}+cpu"  # the label keeps the CUDA build of that version out of the search
    for source, options in (("the configured index", []), (CPU_INDEX, ["--index-url", CPU_INDEX])):
        say(f"looking for {requirement} in {source}")
        packages, reason = resolve(requirement, options)
        gpu_packages = [name for name in packages if GPU_PACKAGE.match(name)]
        if gpu_packages:
            say(f"not taken, it would bring GPU libraries: {', '.join(gpu_packages)}")
        elif packages:
            return [*options, requirement]
        else:
            say(f"not offered there, or out of reach ({reason})")
    sys.exit(
        f"torch: no CPU build of torch {version} was found, and a CUDA build of several GB is not installed "
        "unasked. Install torch (>= 2.6, < 3) into your Python yourself, or say where it may come from: "
        "make TORCH_INDEX_URL=<url> ... (TORCH_INDEX_URL=default: what pip is configured for)."
    )


def main() -> None:
    """Keep, or install, a torch that fits."""
    version, index = os.environ.get("TORCH", ""), os.environ.get("TORCH_INDEX_URL", "")
    present = installed_version()
    if present and not version and not index:
        if fits(present):
            say(f"using {present}, which is already installed")
            return
        say(f"{present} is installed, but >= 2.6, < 3 is needed")
    version = version or tested_version()
    if index:
        arguments = [f"torch=={version}", *([] if index == "default" else ["--index-url", index])]
    else:
        arguments = choose_cpu_build(version)
    say(f"installing {' '.join(arguments)}")
    # Another build of the same version (cpu, cu130) would otherwise count as the one that is wanted.
    replace = ["--force-reinstall"] if present else []
    sys.exit(subprocess.run([*PIP, *replace, *arguments]).returncode)


if __name__ == "__main__":
    main()
