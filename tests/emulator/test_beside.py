# SPDX-License-Identifier: Apache-2.0
"""Emulators that run beside the host: late answers, and steps in two halves, with the bits of plain ones."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from netCDF4 import Dataset
from refusal import refused
from small_emulators import Gru, Noisy, Store, Touchy, field, write, write_carbon, write_echo, write_mlp, write_tiled

from coupler_plugin import Coupler, CouplerError, Status
from coupler_plugin.emulator.column import ColumnEmulator

Couple = Callable[..., Coupler]
OFF = {"input": "off", "range": "off", "unseen": "off"}
N = 37


def gru(path: Path) -> Path:
    state = [{"name": "hidden", "size": 8}]
    return write(path, Gru(2, 8), [field("tas", "K"), field("rsds", "W m-2")], [field("lai", "1")], state=state)


def weather(step: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(step)
    return {name: rng.normal(280.0, 5.0, N) for name in ("tas", "rsds", "hurs", "sfcWind")}


def series(coupler: Coupler, names: tuple[str, ...], steps: range, host: dict[str, np.ndarray] | None = None) -> Any:
    """Return what a host has of some outputs after each step."""
    host = {} if host is None else host
    for name in (*weather(0), *names):
        host.setdefault(name, np.full(N, -1.0))
        coupler.bind(name, host[name])
    found = []
    for step in steps:
        for name, values in weather(step).items():
            host[name][:] = values
        coupler.step()
        found.append(np.stack([host[name] for name in names]))
    return np.stack(found)


# --- answers a step late --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "names", "every"),
    [
        (write_mlp, ("lai",), "1h"),
        (write_mlp, ("lai",), "3h"),
        (gru, ("lai",), "1h"),
        (lambda path: write_carbon(path, every="2h"), ("gpp", "reco", "nee"), "2h"),
    ],
)
def test_answers_are_those_of_a_plain_run_one_step_later(
    tmp_path: Path, couple: Couple, make: Callable[[Path], Path], names: tuple[str, ...], every: str
) -> None:
    model = make(tmp_path / "m.pt")
    about = {"model": model, "every": every, "block": 16, "guard": OFF}
    plain = series(couple(about, cells=N), names, range(12))
    lagged = series(couple({**about, "lag": 1}, cells=N), names, range(12))
    np.testing.assert_array_equal(lagged[1:], plain[:-1])
    assert np.all(lagged[0] == -1.0), "before its first answer the host keeps its own values"
    assert np.ptp(lagged[-1]) > 0


def test_module_is_called_in_another_thread(tmp_path: Path, couple: Couple, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    call = ColumnEmulator._call
    monkeypatch.setattr(ColumnEmulator, "_call", lambda self: (threads.append(threading.current_thread()), call(self)))
    coupler = couple({"model": write_mlp(tmp_path / "m.pt"), "lag": 1, "guard": OFF}, cells=N)
    series(coupler, ("lai",), range(3))
    coupler.finalize()
    assert len(threads) == 3
    assert threading.main_thread() not in threads
    assert not any(thread.is_alive() for thread in threads)


def test_emulator_after_it_sees_its_answers_a_step_late(tmp_path: Path, couple: Couple) -> None:
    first = write_echo(tmp_path / "first.pt", field("tas", "K"), field("tasmax", "K"))
    second = write_echo(tmp_path / "second.pt", field("tasmax", "K"), field("tsl", "K"))
    coupler = couple([{"model": first, "lag": 1, "guard": OFF}, {"model": second, "guard": OFF}], cells=N)
    host = {"tasmax": np.full(N, 1.0)}
    found = series(coupler, ("tasmax", "tsl"), range(4), host)
    expected = [np.float32(weather(step)["tas"]) for step in range(4)]
    for step in range(1, 4):
        np.testing.assert_array_equal(found[step], np.stack([expected[step - 1]] * 2))


@pytest.mark.parametrize("stop", [1, 4, 5])
def test_run_in_two_parts_gives_the_bits_of_one(tmp_path: Path, couple: Couple, stop: int) -> None:
    """At each restart answers are late; when the run stops after one step, no others are in force."""
    about = {"model": gru(tmp_path / "m.pt"), "every": "1h", "lag": 1, "block": 16, "guard": OFF}
    restart = {"dir": str(tmp_path / f"restart{stop}")}
    whole = series(couple(about, cells=N, restart={**restart, "read": "never"}), ("lai",), range(8))
    first = couple(about, cells=N, restart=restart)
    one = series(first, ("lai",), range(stop))
    first.write_restart()
    two = series(couple(about, cells=N, restart=restart, start=f"2001-01-01T{stop:02d}:00"), ("lai",), range(stop, 8))
    np.testing.assert_array_equal(np.concatenate([one, two]), whole)


def test_late_emulator_is_called_whatever_befalls_another(tmp_path: Path, couple: Couple) -> None:
    state = [{"name": "store", "size": 1}]
    counting = write(tmp_path / "m.pt", Store(1.0), [field("tas", "K")], [field("lai", "1")], state=state)
    other = write_echo(tmp_path / "n.pt", field("rsds", "W m-2"), field("snw", "kg m-2", valid_range=[0, 10]))
    stop = {"model": other, "guard": {**OFF, "range": "stop"}}
    coupler = couple([{"model": counting, "lag": 1, "guard": OFF}, stop])
    arrays = {name: np.ones(3) for name in ("tas", "rsds", "lai", "snw")}
    for name, array in arrays.items():
        coupler.bind(name, array)
    found = []
    for step in range(6):
        arrays["rsds"][:] = 99.0 if step == 2 else 1.0
        if step == 2:
            with refused(Status.RUN, "the output 'snw'"):
                coupler.step()
        else:
            coupler.step()
        found.append(arrays["lai"][0])
    assert found == [1.0, 1.0, 2.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize("stop", [1, 3, 4])
@pytest.mark.parametrize("unseen", ["blend", "fallback"])
def test_late_answers_are_blended_after_a_restart_as_without(
    tmp_path: Path, couple: Couple, unseen: str, stop: int
) -> None:
    seen = field("tas", "K", statistics={"mean": 280.0, "std": 8.0, "min": 278.0, "max": 282.0})
    model = write_echo(tmp_path / "m.pt", seen, field("tasmax", "K"))
    about = {"model": model, "every": "1h", "lag": 1, "guard": {"unseen": unseen}}

    def hours(first: int, last: int, read: str = "auto") -> Any:
        coupler = couple(about, cells=N, start=f"2001-01-01T{first:02d}:00", restart={"read": read})
        tas, tasmax, found = np.zeros(N), np.zeros(N), []
        coupler.bind("tas", tas)
        coupler.bind("tasmax", tasmax)
        for step in range(first, last):
            tas[:], tasmax[:] = weather(step)["tas"], 300.0 + step
            coupler.step()
            found.append(tasmax.copy())
        coupler.write_restart()
        return np.stack(found)

    whole = hours(0, 6, "never")
    np.testing.assert_array_equal(np.concatenate([hours(0, stop, "never"), hours(stop, 6)]), whole)


def test_answers_in_force_are_back_after_a_restart(tmp_path: Path, couple: Couple) -> None:
    """The emulator is called in every third hour: in the second after a restart the host has what it had before."""
    about = {"model": gru(tmp_path / "m.pt"), "every": "3h", "lag": 1, "guard": OFF}
    first = couple(about, cells=N, restart={})
    before = series(first, ("lai",), range(6))
    first.write_restart()
    second = couple(about, cells=N, restart={}, start="2001-01-01T06:00")
    host = {name: np.full(N, -1.0) for name in (*weather(0), "lai")}
    for name, array in host.items():
        second.bind(name, array)
    second._prepare()
    np.testing.assert_array_equal(host["lai"], before[-1][0])


def test_restart_of_a_plain_run_is_no_restart_of_a_lagged_one(tmp_path: Path, couple: Couple) -> None:
    about = {"model": gru(tmp_path / "m.pt"), "guard": OFF}
    first = couple(about, cells=N, restart={})
    series(first, ("lai",), range(2))
    first.write_restart()
    second = couple({**about, "lag": 1}, cells=N, restart={}, start="2001-01-01T02:00")
    with refused(Status.CONFIG, "the lag of the emulator 'm' was None and is 1"):
        series(second, ("lai",), range(2, 3))


def test_error_in_the_thread_arrives_with_the_next_step(tmp_path: Path, couple: Couple) -> None:
    model = write(tmp_path / "touchy.pt", Touchy(), [field("tas", "K", valid_range=[200, 330])], [field("tasmax", "K")])
    coupler = couple({"model": model, "lag": 1, "guard": OFF}, cells=3)
    tas, out = np.full(3, -5.0), np.full(3, 7.0)
    coupler.bind("tas", tas)
    coupler.bind("tasmax", out)
    coupler.step()
    tas[:] = 5.0
    with refused(Status.RUN, "at 2001-01-01", "the emulator 'touchy' failed", "negative input"):
        coupler.step()
    assert np.all(out == 7.0)
    coupler.step()  # what failed is over; the host goes on
    coupler.step()
    assert np.all(out == 5.0)


def test_error_in_the_thread_lets_the_host_bind_again(tmp_path: Path, couple: Couple) -> None:
    model = write(tmp_path / "touchy.pt", Touchy(), [field("tas", "K", valid_range=[200, 330])], [field("tasmax", "K")])
    coupler = couple({"model": model, "lag": 1, "guard": OFF}, cells=3)
    tas, gone, out = np.full(3, 5.0), np.full(3, 7.0), np.full(3, 7.0)
    coupler.bind("tas", tas)
    coupler.bind("tasmax", gone)
    coupler.step()
    coupler.step()
    gone[:], tas[1] = 7.0, -5.0
    coupler.step()
    gone[:], tas[1] = 7.0, 5.0
    coupler.bind("tasmax", out)
    with refused(Status.RUN, "negative input"):
        coupler.step()
    coupler.step()
    coupler.step()
    np.testing.assert_array_equal(out, 5.0)
    np.testing.assert_array_equal(gone, 7.0)


def test_error_in_the_thread_stops_a_restart(tmp_path: Path, couple: Couple) -> None:
    model = write(tmp_path / "touchy.pt", Touchy(), [field("tas", "K", valid_range=[200, 330])], [field("tasmax", "K")])
    coupler = couple({"model": model, "lag": 1, "guard": OFF}, cells=3, restart={})
    coupler.bind("tas", np.full(3, -5.0))
    coupler.bind("tasmax", np.full(3, 7.0))
    coupler.step()
    with refused(Status.RUN, "negative input"):
        coupler.write_restart()
    assert not list((tmp_path / "restart").glob("*.nc"))


def test_history_has_late_answers_when_they_are_in_force(tmp_path: Path, couple: Couple) -> None:
    model = write_echo(tmp_path / "m.pt", field("tas", "K"), field("tasmax", "K"))
    history = {"file": str(tmp_path / "h.nc"), "fields": ["tasmax"], "every": "1h"}
    coupler = couple({"model": model, "lag": 1, "guard": OFF}, cells=N, history=history)
    series(coupler, ("tasmax",), range(4))
    coupler.finalize()
    with Dataset(tmp_path / "h.nc") as file:
        found = file["tasmax"][:].filled(np.nan)
    for step in range(1, 4):
        np.testing.assert_array_equal(found[step], np.float32(weather(step - 1)["tas"]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mode": "shadow"}, ("a shadow",)),
        ({"noisy": True}, ("random numbers",)),
        ({"tiles": True}, ("grid of its own", "other ranks")),
        ({"budget": True}, ("budgets", "'guard: {budget: off}'")),
    ],
)
def test_what_cannot_lag_is_refused(
    tmp_path: Path, couple: Couple, change: dict[str, Any], words: tuple[str, ...]
) -> None:
    about: dict[str, Any] = {"lag": 1, "guard": OFF}
    if "noisy" in change:
        model = write(tmp_path / "m.pt", Noisy(1, 8), [field("tas", "K")], [field("lai", "1")],
                      state=[{"name": "hidden", "size": 8}])  # fmt: skip
    elif "tiles" in change:
        model, about["grid"] = write_tiled(tmp_path / "m.pt", field("tsl", "K")), {"latlon": 9.0}
    else:
        budgets = [{"terms": {"evspsbl": 1}, "at_most": {"mrso": 1}, "per_step": True}]
        more = {"budgets": budgets} if "budget" in change else {}
        model = write_echo(tmp_path / "m.pt", field("tas", "K"), field("evspsbl", "kg m-2 s-1"), **more)
        about |= {key: value for key, value in change.items() if key == "mode"}
    with refused(Status.CONFIG, "coupling.yml:2", "cannot lag", *words):
        couple({"model": model, **about})


# --- steps in two halves --------------------------------------------------------------------------------------


def test_step_in_two_halves_gives_the_bits_of_a_step(tmp_path: Path, couple: Couple) -> None:
    models = [gru(tmp_path / "m.pt"), write_echo(tmp_path / "second.pt", field("lai", "1"), field("snw", "kg m-2"))]
    history = {"fields": ["lai", "snw"], "every": "2h"}
    answers, files = [], []
    for is_split in (False, True):
        files.append(tmp_path / f"{is_split}.nc")
        coupler = couple(
            [{"model": model, "guard": OFF} for model in models], cells=N, history={**history, "file": str(files[-1])}
        )
        host = {name: np.full(N, -1.0) for name in (*weather(0), "lai", "snw")}
        for name, array in host.items():
            coupler.bind(name, array)
        for step in range(5):
            for name, values in weather(step).items():
                host[name][:] = values
            if is_split:
                coupler.step_begin()
                host["tas"][:] = np.nan  # inputs were taken
                coupler.step_end()
            else:
                coupler.step()
        coupler.finalize()
        answers.append(np.stack([host["lai"], host["snw"]]))
    np.testing.assert_array_equal(*answers)
    with Dataset(files[0]) as plain, Dataset(files[1]) as split:
        for name in ("lai", "snw"):
            np.testing.assert_array_equal(plain[name][:], split[name][:])


def test_network_runs_between_the_halves_of_a_step(tmp_path: Path, couple: Couple) -> None:
    """The network is done, and its answer is not handed on, before the second half."""
    coupler = couple(
        {"model": write_echo(tmp_path / "m.pt", field("tas", "K"), field("tasmax", "K")), "guard": OFF}, cells=3
    )
    tas, out = np.full(3, 280.0), np.zeros(3)
    coupler.bind("tas", tas)
    coupler.bind("tasmax", out)
    coupler.step_begin()
    assert coupler._calls._ahead is not None
    coupler._calls._ahead[1].result(60)
    assert np.all(out == 0.0)
    coupler.step_end()
    assert np.all(out == 280.0)


def test_halves_come_in_turns(tmp_path: Path, couple: Couple) -> None:
    coupler = couple(write_echo(tmp_path / "m.pt", field("tas", "K"), field("tasmax", "K")), cells=3, restart={})
    coupler.bind("tas", np.full(3, 280.0))
    coupler.bind("tasmax", np.zeros(3))
    with refused(Status.ORDER, "step_end: call step_begin before it"):
        coupler.step_end()
    coupler.step_begin()
    for call in (coupler.step, coupler.step_begin, coupler.write_restart):
        with refused(Status.ORDER, "call step_end before it"):
            call()
    coupler.step_end()
    coupler.step()
    coupler.finalize()
    with pytest.raises(CouplerError, match="finalized"):
        coupler.step_begin()
