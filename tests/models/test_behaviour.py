# SPDX-License-Identifier: Apache-2.0
"""How the emulators behave where a land model takes them: any climate, any season, impossible inputs, a cold start."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from climates import CLIMATES, cold_start, inputs_of, weather, year
from zoo import COLUMNS, WEATHER, first_state

from coupler_plugin.emulator.load import EmulatorFile
from coupler_plugin.emulator.trial import sample_arguments
from torchscript_models.leaf_area_index.network import CLASSES

GPP, RECO, NEE = range(3)

Get = Callable[[str], EmulatorFile]
Run = Callable[..., torch.Tensor]


def ranges(emulator: Get, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the lowest and highest value of each output."""
    low, high = zip(*(entry.valid_range for entry in emulator(name).manifest.outputs), strict=True)
    return torch.tensor(low), torch.tensor(high)


def extreme_inputs(emulator: Get, name: str) -> torch.Tensor:
    """Return random windows in the physical range, and constant ones at and far beyond its ends."""
    bounds = torch.tensor([entry.valid_range for entry in emulator(name).manifest.inputs])
    low, high = bounds[:, 0], bounds[:, 1]
    generator = torch.Generator().manual_seed(0)
    windows = [low + (high - low) * torch.rand(200, 360, len(low), generator=generator)]
    corners = low + (high - low) * torch.randint(0, 2, (100, 1, len(low)), generator=generator)
    windows.append(corners.expand(-1, 360, -1))
    windows += [torch.full((1, 360, len(low)), value) for value in (0.0, 1e6, -1e6, 1e30, -1e30)]
    return torch.cat(windows)


@pytest.mark.parametrize("name", WEATHER)
def test_answers_stay_bounded_whatever_comes_in(name: str, run: Run, emulator: Get) -> None:
    answers = run(name, extreme_inputs(emulator, name))
    low, high = ranges(emulator, name)
    assert torch.isfinite(answers).all()
    assert (answers >= low).all()
    assert (answers <= high).all()


def test_net_flux_is_exactly_the_difference(run: Run, emulator: Get) -> None:
    windows = [year("carbon_flux", climate) for climate in CLIMATES] + [extreme_inputs(emulator, "carbon_flux")]
    answers = run("carbon_flux", torch.cat(windows))
    assert torch.equal(answers[:, NEE], answers[:, RECO] - answers[:, GPP])
    assert (answers[:, :NEE] >= 0).all()
    nee = emulator("carbon_flux").manifest.outputs[NEE]
    assert nee.closure == {"reco": 1.0, "gpp": -1.0}


#: bounds of the annual mean: gpp [g m-2 d-1] and lai [1]
ANNUAL = {
    "rainforest": ((4.0, 11.0), (2.5, 6.5)),
    "savanna": ((1.5, 8.0), (0.6, 4.0)),
    "desert": ((0.0, 0.3), (0.0, 0.15)),
    "steppe": ((0.3, 3.0), (0.2, 1.5)),
    "temperate": ((1.5, 5.5), (0.8, 3.0)),
    "boreal": ((0.8, 3.5), (0.4, 2.0)),
    "tundra": ((0.2, 2.0), (0.1, 1.2)),
}


@pytest.mark.parametrize("climate", CLIMATES)
def test_annual_means_are_those_of_the_climate(climate: str, run: Run) -> None:
    gpp = run("carbon_flux", year("carbon_flux", climate))[:, GPP].mean().item()
    lai = run("leaf_area_index", year("leaf_area_index", climate)).mean().item()
    (gpp_low, gpp_high), (lai_low, lai_high) = ANNUAL[climate]
    assert gpp_low <= gpp <= gpp_high
    assert lai_low <= lai <= lai_high


@pytest.mark.parametrize("climate", ["temperate", "boreal"])
def test_leaf_area_follows_the_class_of_vegetation(climate: str, run: Run) -> None:
    """Forests have more leaves than open shrubs in the same climate; needles stay in winter, other leaves fall."""
    windows = year("leaf_area_index", climate, every=30)

    def leaf_area(name: str) -> torch.Tensor:
        return run("leaf_area_index", windows, torch.full((len(windows), 1), 1.0 + CLASSES.index(name)))[:, 0]

    forest, needles, shrubs = leaf_area("DBF"), leaf_area("ENF"), leaf_area("OSH")
    assert forest.max() > 1.25 * shrubs.max()
    assert needles.mean() > 1.2 * shrubs.mean()
    assert forest.min() / forest.max() < needles.min() / needles.max()


def test_a_code_that_is_no_class_is_that_of_the_nearest(run: Run) -> None:
    windows = year("leaf_area_index", "temperate", every=60)
    known = [run("leaf_area_index", windows, torch.full((len(windows), 1), code)) for code in (0.0, 4.0, 17.0)]
    for code, expected in zip((-1e9, 4.4, 1e9), known, strict=True):
        assert torch.equal(run("leaf_area_index", windows, torch.full((len(windows), 1), code)), expected)


@pytest.mark.parametrize(
    ("climate", "name"),
    [("temperate", None), ("temperate", "DBF"), ("boreal", None), ("boreal", "ENF"), ("tundra", "OSH")],
)
def test_the_north_is_green_in_summer(climate: str, name: str | None, run: Run) -> None:
    windows = year("leaf_area_index", climate, every=30)
    code = 0.0 if name is None else 1.0 + CLASSES.index(name)
    lai = run("leaf_area_index", windows, torch.full((len(windows), 1), code))[:, 0]
    gpp = run("carbon_flux", year("carbon_flux", climate, every=30))[:, GPP]
    for summer, winter in ((lai[7], lai[1]), (gpp[6], gpp[0])):
        assert summer > 2.0 * winter


def test_no_photosynthesis_in_polar_night(run: Run) -> None:
    days = weather(CLIMATES["tundra"], days=720)
    windows = torch.stack([inputs_of("carbon_flux", days)[end - 360 : end] for end in range(360, 721)])
    is_dark = windows[:, -1, 1] == 0
    assert is_dark.sum() > 30
    assert (run("carbon_flux", windows)[is_dark, GPP] == 0).all()


@pytest.mark.parametrize("name", WEATHER)
def test_constant_desert_weather_keeps_a_desert(name: str, run: Run) -> None:
    noon = inputs_of(name, {key: values[180:181] for key, values in weather(CLIMATES["desert"], days=360).items()})
    noon[:, 3 if name == "carbon_flux" else 4] = 0.0
    assert run(name, noon.expand(1, 360, -1)).abs().max() < 1.0


@pytest.mark.parametrize("climate", CLIMATES)
@pytest.mark.parametrize("first_day", [0, 180])
def test_cold_start_gives_answers_of_the_right_size_from_the_first_day(climate: str, first_day: int, run: Run) -> None:
    settled = run("leaf_area_index", year("leaf_area_index", climate))
    for known in (1, 10, 45, 120, 359):
        lai = run("leaf_area_index", cold_start("leaf_area_index", climate, first_day, known)).item()
        gpp, reco, _ = run("carbon_flux", cold_start("carbon_flux", climate, first_day, known))[0].tolist()
        assert 0.0 <= lai <= settled.max().item() + 1.5
        assert 0.0 <= gpp <= 12.0
        assert 0.0 <= reco <= 8.0


@pytest.mark.parametrize("name", WEATHER)
def test_cold_start_is_forgotten_after_a_year(name: str, run: Run) -> None:
    january_only = cold_start(name, "temperate", 0, 1)
    year_later = torch.cat([january_only[0, 359:], inputs_of(name, weather(CLIMATES["temperate"], 1, days=360))])[1:]
    other_past = torch.cat([torch.zeros(5, year_later.shape[1]), year_later])[-360:]
    assert torch.equal(run(name, year_later[None]), run(name, other_past[None]))


@pytest.mark.parametrize("name", WEATHER)
def test_days_follow_each_other_without_jumps_while_the_window_fills(name: str, run: Run) -> None:
    windows = torch.cat([cold_start(name, "rainforest", 0, known) for known in range(20, 360, 10)])
    longer = torch.cat([cold_start(name, "rainforest", 0, known + 1) for known in range(20, 360, 10)])
    steps = (run(name, longer) - run(name, windows)).abs()
    assert steps[:, 0].max() < (3.5 if name == "carbon_flux" else 0.3)


# ---- running on its own -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0.0, 2.0, 12.0])
def test_leaf_area_of_ten_years_of_days_stays_bounded_and_does_not_drift(code: float, emulator: Get, run: Run) -> None:
    """Weather of other days in each year, CO2 that rises from 370 to 560 ppm: far beyond what training has seen."""
    low, high = ranges(emulator, "leaf_area_index")
    for climate in ("temperate", "desert", "tundra"):
        years = [inputs_of("leaf_area_index", weather(CLIMATES[climate], days=360, seed=seed)) for seed in range(11)]
        series = torch.cat(years)
        series[:, 5] = torch.linspace(370.0, 560.0, len(series))
        windows = series.unfold(0, 360, 1).transpose(1, 2)[1:]  # each of the days of ten years, after one of spin-up
        chunks = [run("leaf_area_index", part, torch.full((len(part), 1), code)) for part in windows.split(720)]
        answers = torch.cat(chunks)
        assert len(answers) == 3600
        assert ((answers >= low) & (answers <= high)).all()
        means = answers.view(10, 360).mean(dim=1)
        assert (means[9] - means[0]).abs() < 0.25 * means.mean() + 0.1


def test_ten_years_of_steps_stay_bounded_and_settle(emulator: Get) -> None:
    """The state of carbon_flux is carried along: its codes change once a year, and years of one weather are alike."""
    file = emulator("carbon_flux")
    low, high = ranges(emulator, "carbon_flux")
    years = [inputs_of("carbon_flux", weather(CLIMATES[name], days=360)) for name in ("temperate", "desert", "tundra")]
    one_year = torch.stack(years)
    series = torch.cat([one_year[:, :1].expand(-1, 359, -1), *[one_year] * 11], dim=1)
    (state,) = first_state(file.manifest, len(years))
    every_answer, every_code = [], []
    with torch.inference_mode():
        for day in range(11 * 360):
            answer, state = file.forward(series[:, day : day + 360], state)
            every_answer.append(answer)
            every_code.append(state[:, 1:])
    answers, codes = torch.stack(every_answer), torch.stack(every_code)
    assert torch.isfinite(answers).all()
    assert ((answers >= low) & (answers <= high)).all()
    changes = (codes[1:] != codes[:-1]).flatten(1).any(dim=1).nonzero()[:, 0] + 1
    assert set(range(30, 360, 30)) <= set(changes.tolist()) <= {*range(0, 360, 30), *range(360, 11 * 360, 360)}
    assert torch.equal(answers[3 * 360 : 4 * 360], answers[10 * 360 : 11 * 360]), "nothing accumulates"


@pytest.mark.parametrize("name", sorted(set(COLUMNS) - set(WEATHER) - {"land_state"}))
def test_emulators_without_memory_answer_alike_for_ten_years(name: str, emulator: Get, run: Run) -> None:
    manifest = emulator(name).manifest
    assert not manifest.state
    assert manifest.window is None
    arguments = sample_arguments(manifest, 64)
    low, high = ranges(emulator, name)
    first = run(name, *arguments)
    assert ((first >= low) & (first <= high)).all()
    for _ in range(3600):
        assert torch.equal(run(name, *arguments), first)


def test_biomass_stays_bounded_whatever_comes_in(emulator: Get, run: Run) -> None:
    low, high = ranges(emulator, "biomass_plots")
    for value in (0.0, 1e6, -1e6, 1e30, -1e30):
        answers = run("biomass_plots", torch.full((4, 2), value), torch.full((4, 13), value))
        assert torch.isfinite(answers).all()
        assert ((answers >= low) & (answers <= high)).all()


def test_land_stays_bounded_on_its_own_for_ten_years(emulator: Get, run: Run) -> None:
    """Forcing is that of the training data in any order; the states are the emulator's own."""
    manifest = emulator("land_state").manifest
    (inputs,) = sample_arguments(manifest, 64)
    n_states = sum(entry.aggregate == "last" for entry in manifest.inputs)
    forcing, states = inputs[:, :-n_states], inputs[:, -n_states:]
    low, high = ranges(emulator, "land_state")
    generator = torch.Generator().manual_seed(0)
    for _ in range(3600):
        order = torch.randperm(64, generator=generator)
        answers = run("land_state", torch.cat([forcing[order], states], dim=1))
        states = answers[:, :n_states]
        assert ((answers >= low) & (answers <= high)).all()
    assert torch.equal(answers[:, n_states], answers[:, 0] + answers[:, 1])
