# SPDX-License-Identifier: Apache-2.0
"""Fixtures: the emulators of the zoo, and the observations where they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from zoo import ZOO, answer

from coupler_plugin.emulator.load import EmulatorFile, load


@pytest.fixture(scope="session")
def emulator() -> Callable[[str], EmulatorFile]:
    """Return a function that loads an emulator of the zoo as the plugin does."""
    files: dict[str, EmulatorFile] = {}

    def get(name: str) -> EmulatorFile:
        if name not in files:
            files[name] = load(ZOO / f"{name}.pt")
        return files[name]

    return get


@pytest.fixture(scope="session")
def run(emulator: Callable[[str], EmulatorFile]) -> Callable[..., torch.Tensor]:
    """Return a function that runs an emulator of the zoo as at the beginning of a run."""

    def call(name: str, *arguments: torch.Tensor) -> torch.Tensor:
        return answer(emulator(name), *arguments)

    return call


@pytest.fixture(scope="session")
def observations() -> Path:
    """Return the folder of the training data, or skip."""
    pytest.importorskip("pandas", reason="training needs the libraries of the extra 'train'")
    data = pytest.importorskip("torchscript_models.data")
    try:
        return data.find_data()
    except data.DataError as error:
        pytest.skip(f"no training data: {error}")
