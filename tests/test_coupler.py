# SPDX-License-Identifier: Apache-2.0
"""The coupling step: what is called in which order, and what reaches the host's arrays when."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from refusal import refused
from small_emulators import (
    LAI,
    Affine,
    Echo,
    Ends,
    Mlp,
    Product,
    Store,
    echo,
    field,
    write,
    write_carbon,
    write_echo,
    write_mlp,
)

from coupler_plugin import Coupler, Status
from coupler_plugin.config import Config
from coupler_plugin.config.emulators import EmulatorSection

Couple = Callable[..., Coupler]


# --- order of calls -------------------------------------------------------------------------------------------


def test_calls_out_of_order_are_refused(couple: Couple, tmp_path: Path) -> None:
    coupler = couple(echo(tmp_path), cells=None)
    with refused(Status.ORDER, "bind", "set_cells"):
        coupler.bind("tas", np.zeros(3))
    with refused(Status.ORDER, "step", "set_cells"):
        coupler.step()
    coupler.set_cells([1, 2, 3], np.zeros(3), np.zeros(3))
    with refused(Status.ORDER, "set_cells", "already"):
        coupler.set_cells([1, 2, 3], np.zeros(3), np.zeros(3))
    coupler.finalize()
    for call in (
        coupler.step,
        coupler.finalize,
        lambda: coupler.bind("tas", np.zeros(3)),
        lambda: coupler.set_cells([1], np.zeros(1), np.zeros(1)),
    ):
        with refused(Status.ORDER, "finalized", "new one"):
            call()


def test_step_after_finalize_is_refused_when_there_were_steps_before(couple: Couple) -> None:
    coupler = couple([])
    coupler.step()
    coupler.finalize()
    with refused(Status.ORDER, "step", "finalized"):
        coupler.step()


def test_cells_that_are_refused_may_be_set_again(couple: Couple) -> None:
    coupler = couple([], cells=None)
    with refused(Status.CELLS, "the id 1"):
        coupler.set_cells([1, 1], np.zeros(2), np.zeros(2))
    coupler.set_cells([1, 2], np.zeros(2), np.zeros(2))
    coupler.step()


def test_missing_binding_is_refused_and_may_be_made_up_for(couple: Couple, tmp_path: Path) -> None:
    coupler = couple(echo(tmp_path))
    tas, lai = np.full(3, 280.0), np.zeros(3)
    with refused(Status.FIELD, "input 'tas'", "'echo_tas'", "'K'", "constants"):
        coupler.step()
    coupler.bind("tas", tas)
    with refused(Status.FIELD, "output 'lai'", "'echo_tas'", "goes nowhere", "history"):
        coupler.step()
    coupler.bind("lai", lai)
    coupler.step()
    np.testing.assert_array_equal(lai, 280.0)
    assert coupler.clock.steps == 1


def test_run_without_emulators_touches_nothing(couple: Couple) -> None:
    coupler = couple([])
    tas = np.full(3, 280.0)
    coupler.bind("tas", tas)
    for _ in range(50):
        coupler.step()
    coupler.finalize()
    np.testing.assert_array_equal(tas, 280.0)
    assert coupler.clock.steps == 50


@pytest.mark.parametrize("shape", [(0,), (4, 0)])
def test_process_without_cells_takes_part(couple: Couple, tmp_path: Path, shape: tuple[int, ...]) -> None:
    emulators = [
        write_carbon(tmp_path / "carbon.pt", length=3, every="1h"),
        write(tmp_path / "store.pt", Store(), [field("tas", "K")], [LAI], state=[{"name": "s", "size": 1}]),
        write_echo(tmp_path / "soil.pt", field("tsl", "K", size=4), field("mrso", "kg m-2", size=4)),
    ]
    coupler = couple(emulators, cells=None)
    coupler.set_cells(np.zeros(shape, int), np.zeros(shape), np.zeros(shape))
    for name in ("tas", "rsds", "gpp", "reco", "nee", "lai"):
        coupler.bind(name, np.zeros(shape))
    coupler.bind("tsl", np.zeros((*shape, 4)))
    coupler.bind("mrso", np.zeros((4, *shape)) if len(shape) == 1 else np.zeros((*shape, 4)))
    for _ in range(4):
        coupler.step()
    coupler.finalize()
    assert [emulator.calls for emulator in coupler.emulators] == [4, 4, 4]


def test_config_may_be_made_in_python(tmp_path: Path) -> None:
    config = Config(emulators=[EmulatorSection(model=echo(tmp_path))], constants={"tas": "290 K"})
    coupler = Coupler(config, start="2001-01-01", dt=3600.0)
    coupler.set_cells([1], [0.0], [0.0])
    lai = np.zeros(1)
    coupler.bind("lai", lai)
    coupler.step()
    assert lai[0] == 290.0


def test_mistake_in_a_config_made_in_python_is_refused(tmp_path: Path) -> None:
    with refused(Status.FIELD, "'co3'"):
        Coupler(Config(emulators=[], constants={"co3": "1"}), start="2001-01-01", dt=3600.0)


@pytest.mark.parametrize(
    ("start", "dt", "words"),
    [("2001-02-31", 3600.0, "2001-02-31"), ("2001-01-01", 0.0, "time step"), ("2001-01-01", 7200.0, "every: 1h")],
)
def test_time_that_does_not_fit_is_refused(couple: Couple, tmp_path: Path, start: str, dt: float, words: str) -> None:
    with refused(Status.CONFIG, words):
        couple(echo(tmp_path), start=start, dt=dt)


# --- what reaches the host ------------------------------------------------------------------------------------


def test_outputs_are_written_in_place_and_only_there(couple: Couple, tmp_path: Path) -> None:
    coupler = couple(echo(tmp_path), cells=None)
    ids = np.array([[0, 1, 2], [3, 0, 0]])
    coupler.set_cells(ids, np.zeros((2, 3)), np.zeros((2, 3)))
    memory = np.full((4, 6), -7.0)
    lai = memory[::2, 1::2]
    tas = np.where(ids > 0, 280.0 + ids, np.nan)
    coupler.bind("tas", tas)
    coupler.bind("lai", lai)
    expected = memory.copy()
    for _ in range(3):
        coupler.step()
    expected[::2, 1::2][ids > 0] = 280.0 + ids[ids > 0]
    np.testing.assert_array_equal(memory, expected)


def test_outputs_keep_their_value_between_alarms(couple: Couple, tmp_path: Path) -> None:
    coupler = couple({"model": echo(tmp_path), "every": "3h"})
    tas, lai = np.zeros(3), np.full(3, -1.0)
    coupler.bind("tas", tas)
    coupler.bind("lai", lai)
    seen = []
    for hour in range(1, 10):
        tas[:] = hour
        coupler.step()
        seen.append(lai[0])
    assert seen == [-1.0, -1.0, 2.0, 2.0, 2.0, 5.0, 5.0, 5.0, 8.0]


def test_host_may_change_an_output_until_the_next_alarm(couple: Couple, tmp_path: Path) -> None:
    coupler = couple({"model": echo(tmp_path), "every": "2h"}, constants={"tas": "5 K"})
    lai = np.zeros(3)
    coupler.bind("lai", lai)
    seen = []
    for _ in range(4):
        lai[:] = 1.0
        coupler.step()
        seen.append(lai[0])
    assert seen == [1.0, 5.0, 1.0, 5.0]


@pytest.mark.parametrize(
    ("aggregate", "expected"), [("mean", 12.5), ("sum", 300.0), ("min", 1.0), ("max", 24.0), ("last", 24.0)]
)
def test_inputs_are_aggregated_as_the_manifest_asks(
    couple: Couple, tmp_path: Path, aggregate: str, expected: float
) -> None:
    coupler = couple({"model": echo(tmp_path, aggregate=aggregate), "every": "1d"})
    tas, lai = np.zeros(3), np.zeros(3)
    coupler.bind("tas", tas)
    coupler.bind("lai", lai)
    for day in range(2):
        for hour in range(1, 25):
            tas[:] = hour + 100 * day
            coupler.step()
        assert lai[0] == expected + 100 * day * (24 if aggregate == "sum" else 1)


def test_one_field_may_be_aggregated_in_two_ways(couple: Couple, tmp_path: Path) -> None:
    inputs = [field("tas", "degC", aggregate="min"), field("tas", "K", aggregate="max")]
    emulator = write(tmp_path / "span.pt", Affine([[0.0, 1.0], [1.0, 0.0]]), inputs, [LAI, field("snw", "kg m-2")])
    coupler = couple({"model": emulator, "every": "1d"})
    tas, lai, snw = np.zeros(3), np.zeros(3), np.zeros(3)
    for name, array in {"tas": tas, "lai": lai, "snw": snw}.items():
        coupler.bind(name, array)
    for hour in range(24):
        tas[:] = 280.0 + hour
        coupler.step()
    assert (lai[0], snw[0]) == (303.0, pytest.approx(280.0 - 273.15, abs=1e-5))


def test_first_window_may_be_short(couple: Couple, tmp_path: Path) -> None:
    coupler = couple({"model": echo(tmp_path), "every": "1d"}, start="2001-01-01T18:00:00")
    tas, lai = np.zeros(3), np.zeros(3)
    coupler.bind("tas", tas)
    coupler.bind("lai", lai)
    for hour in range(19, 25):
        tas[:] = hour
        coupler.step()
    assert lai[0] == 21.5


def test_two_runs_of_a_day_give_the_bits_of_one_of_two_days(couple: Couple, tmp_path: Path) -> None:
    emulator = {"model": write_mlp(tmp_path / "mlp.pt"), "every": "6h"}
    random = np.random.default_rng(0).normal(size=(48, 3, 3)) * 10 + 280

    def answers(start: str, hours: range) -> list[np.ndarray]:
        coupler = couple(emulator, start=start)
        arrays = {name: np.zeros(3) for name in ("tas", "hurs", "sfcWind", "lai")}
        for name, array in arrays.items():
            coupler.bind(name, array)
        result = []
        for hour in hours:
            for k, name in enumerate(("tas", "hurs", "sfcWind")):
                arrays[name][:] = random[hour, k]
            coupler.step()
            result.append(arrays["lai"].copy())
        return result

    whole = answers("2001-01-01", range(48))
    first, second = answers("2001-01-01", range(24)), answers("2001-01-02", range(24, 48))
    np.testing.assert_array_equal(first, whole[:24])
    np.testing.assert_array_equal(second[5:], whole[29:])  # before its first alarm the second knows nothing


def test_recurrent_state_goes_on_from_call_to_call(couple: Couple, tmp_path: Path) -> None:
    state = [{"name": "store", "size": 1, "initial": 8.0}]
    coupler = couple(write(tmp_path / "store.pt", Store(0.5), [field("tas", "K")], [LAI], state=state))
    tas, lai = np.ones(3), np.zeros(3)
    coupler.bind("tas", tas)
    coupler.bind("lai", lai)
    seen = []
    for _ in range(4):
        coupler.step()
        seen.append(lai[0])
    assert seen == [5.0, 3.5, 2.75, 2.375]


def test_window_of_an_emulator_holds_its_own_samples(couple: Couple, tmp_path: Path) -> None:
    outputs = [LAI, field("snw", "kg m-2")]
    emulator = write(tmp_path / "ends.pt", Ends(), [field("tas", "K")], outputs, window={"length": 3}, every="1d")
    coupler = couple(emulator, dt=43_200.0)
    tas, oldest, newest = np.zeros(3), np.zeros(3), np.zeros(3)
    for name, array in {"tas": tas, "lai": oldest, "snw": newest}.items():
        coupler.bind(name, array)
    seen = []
    for half_day in range(12):
        tas[:] = half_day
        coupler.step()
        seen.append((oldest[0], newest[0]))
    days = [0.5, 2.5, 4.5, 6.5, 8.5, 10.5]
    assert seen[1::2] == [(days[max(0, d - 2)], days[d]) for d in range(6)]


def test_static_inputs_are_read_once_at_the_first_step(couple: Couple, tmp_path: Path) -> None:
    emulator = write(tmp_path / "product.pt", Product(), [field("tas", "K")], [LAI], static=[field("orog", "km")])
    coupler = couple(emulator)
    tas, orog, lai = np.ones(3), np.array([1000.0, 2000.0, 3000.0], np.float32), np.zeros(3)
    for name, array in {"tas": tas, "orog": orog, "lai": lai}.items():
        coupler.bind(name, array)
    coupler.step()
    orog[:] = 0.0
    tas[:] = 2.0
    coupler.step()
    np.testing.assert_array_equal(lai, [2.0, 4.0, 6.0])


def test_outputs_may_be_left_out(couple: Couple, tmp_path: Path) -> None:
    coupler = couple({"model": write_carbon(tmp_path / "carbon.pt"), "outputs": ["gpp"], "every": "1h"})
    gpp, reco = np.zeros(3), np.full(3, 5.0)
    coupler.bind("tas", np.full(3, 280.0))
    coupler.bind("rsds", np.full(3, 200.0))
    coupler.bind("gpp", gpp, "g m-2 d-1")
    coupler.bind("reco", reco)
    coupler.step()
    assert (gpp > 0).all()
    np.testing.assert_array_equal(reco, 5.0)


def test_time_steps_that_are_no_multiple_of_the_hosts_are_refused_with_their_place(
    couple: Couple, tmp_path: Path
) -> None:
    every = {"every": "90min"}
    with refused(Status.CONFIG, "coupling.yml:3:10: 'emulators.0.every'", "90min", "3600 s"):
        couple({"model": echo(tmp_path), **every})
    with refused(Status.CONFIG, "coupling.yml:9:10: 'history.every'", "90min"):
        couple(echo(tmp_path), history={"file": "h.nc", "fields": ["tas"], **every})
    with refused(Status.CONFIG, "coupling.yml:6:10: 'restart.every'", "90min"):
        couple(echo(tmp_path), restart=every)


def test_emulator_file_with_another_hash_is_refused_at_start(couple: Couple, tmp_path: Path) -> None:
    model = echo(tmp_path)
    asked = {"model": model, "sha256": hashlib.sha256(model.read_bytes()).hexdigest()}
    assert couple(asked).emulators[0].file.sha256 == asked["sha256"]
    with refused(Status.MODEL, "coupling.yml:2:10", "its sha256 begins with", "0" * 12):
        couple({"model": model, "sha256": "0" * 64})


def test_output_that_an_emulator_lacks_is_refused(couple: Couple, tmp_path: Path) -> None:
    with refused(Status.CONFIG, "coupling.yml:3:3: 'emulators.0.outputs'", "'carbon'", "'npp'", "gpp, reco, nee"):
        couple({"model": write_carbon(tmp_path / "carbon.pt"), "outputs": ["npp"]})


@pytest.mark.parametrize("key", ["inputs", "outputs"])
def test_emulator_in_impossible_units_is_refused_at_start(couple: Couple, tmp_path: Path, key: str) -> None:
    entries = {"inputs": field("tas", "K"), "outputs": LAI, key: field("ps", "K")}
    emulator = write(tmp_path / "wrong.pt", Echo(), [entries["inputs"]], [entries["outputs"]])
    with refused(Status.UNITS, "coupling.yml:2:10: 'emulators.0.model'", "'K'", "'ps'"):
        couple(emulator)


def test_emulator_with_an_unknown_field_is_refused_at_start(couple: Couple, tmp_path: Path) -> None:
    with refused(Status.FIELD, "coupling.yml:2:10: 'emulators.0.model'", "'tasx'"):
        couple(write_echo(tmp_path / "wrong.pt", field("tasx", "K"), LAI))


def test_field_of_the_user_connects_host_and_emulator(couple: Couple, tmp_path: Path) -> None:
    emulator = write_echo(tmp_path / "npp.pt", field("tas", "K"), field("npp", "g m-2 d-1"))
    coupler = couple(emulator, fields=[{"name": "npp", "long_name": "net primary production", "units": "kg m-2 s-1"}])
    npp = np.zeros(3)
    coupler.bind("tas", np.full(3, 86.4))
    coupler.bind("npp", npp)
    coupler.step()
    np.testing.assert_allclose(npp, 1e-6, rtol=1e-6)


# --- threads, memory and several couplers ---------------------------------------------------------------------


def test_threads_are_those_of_the_coupling_file(couple: Couple) -> None:
    before = torch.get_num_threads()
    for threads in (2, 1):
        couple([], threads=threads)
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)


def test_each_coupler_runs_with_its_own_threads(couple: Couple, tmp_path: Path) -> None:
    couplers = [couple(echo(tmp_path), threads=threads) for threads in (1, 2)]
    seen = []
    for coupler in (couplers[1], couplers[0], couplers[0], couplers[1]):
        if coupler.clock.steps == 0:
            coupler.bind("tas", np.zeros(3))
            coupler.bind("lai", np.zeros(3))
        coupler.step()
        seen.append(torch.get_num_threads())
    torch.set_num_threads(1)
    assert seen == [2, 1, 1, 2]


def test_two_couplers_do_not_know_of_each_other(couple: Couple, tmp_path: Path) -> None:
    state = [{"name": "store", "size": 1}]
    emulator = write(tmp_path / "store.pt", Store(1.0), [field("tas", "K")], [LAI], state=state)
    couplers, results = [], []
    for value in (1.0, 10.0):
        coupler = couple(emulator, constants={"tas": f"{value} K"})
        results.append(np.zeros(3))
        coupler.bind("lai", results[-1])
        couplers.append(coupler)
    for step in range(1, 4):
        for coupler in couplers:
            coupler.step()
        assert (results[0][0], results[1][0]) == (step, 10.0 * step)
    couplers[0].finalize()
    couplers[1].step()
    assert (results[0][0], results[1][0]) == (3.0, 40.0)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_memory_stays_flat_over_a_hundred_thousand_steps(couple: Couple, tmp_path: Path) -> None:
    emulator = write(
        tmp_path / "mlp.pt",
        Mlp(2, 1, hidden=4),
        [field("tas", "degC"), field("day_length", "h")],
        [LAI],
        window=None,
    )
    coupler = couple({"model": emulator, "every": "50h", "block": "exact"})
    tas, lai = np.full(3, 280.0), np.zeros(3, np.float32)
    coupler.bind("tas", tas)
    coupler.bind("lai", lai)
    for _ in range(2_000):
        coupler.step()
    before = resident_bytes()
    for _ in range(100_000):
        coupler.step()
    assert resident_bytes() - before < 256 * 1024
