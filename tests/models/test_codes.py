# SPDX-License-Identifier: Apache-2.0
"""Codes of carbon_flux: scores are made with those that a host has on each day; climates get their class."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from climates import CLIMATES, inputs_of, weather
from zoo import ZOO, first_state

from coupler_plugin.emulator.load import EmulatorFile
from torchscript_models.carbon_flux.network import CarbonFlux
from torchscript_models.climate_class import main_climate

pytest.importorskip("pandas", reason="training needs the libraries of the extra 'train'")
pytest.importorskip("sklearn", reason="training needs the libraries of the extra 'train'")

from torchscript_models.carbon_flux.recipe import _answers, code_days
from torchscript_models.carbon_flux.samples import windows
from torchscript_models.carbon_flux.sites import N_CLASSES


def test_scores_are_made_with_the_codes_that_a_host_has(emulator: Callable[[str], EmulatorFile]) -> None:
    file = emulator("carbon_flux")
    network = CarbonFlux(np.ones((2, 5), np.float32), members=file.manifest.training["members"])
    network.load_state_dict(torch.jit.load(str(ZOO / "carbon_flux.pt")).state_dict())
    seen = windows(inputs_of("carbon_flux", weather(CLIMATES["temperate"], days=760)).numpy())
    days = np.array([0, 1, 29, 30, 59, 200, 359, 360, 361, 500, 719, 720, 721, 759])
    classes = np.zeros((1, N_CLASSES), np.float32)
    expected = _answers(network.eval(), list(network.members), seen[days], seen[code_days(days)], classes)
    (state,) = first_state(file.manifest, 1)
    found = []
    with torch.inference_mode():
        for day in range(760):
            answer, state = file.forward(torch.tensor(seen[day : day + 1]), state)
            found.append(answer)
    np.testing.assert_allclose(torch.cat(found)[days].numpy(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("climate", "main"),
    [("rainforest", "A"), ("savanna", "A"), ("desert", "B"), ("temperate", "C"), ("boreal", "D"), ("tundra", "E")],
)
def test_main_climates(climate: str, main: str) -> None:
    days = weather(CLIMATES[climate])
    months = (days[name].reshape(12, 30).mean(axis=1) for name in ("tas", "pr"))
    assert main_climate(*months) == main
