# SPDX-License-Identifier: Apache-2.0
"""`from:`, `until:` and `where:` switch an emulator on for a period or in some cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusal import refused
from rig import Rig, bits, echo
from small_emulators import Echo, Ends, Store, field, write

from coupler_plugin import Coupler, Status
from coupler_plugin.config import parse_config
from coupler_plugin.guard.switch import Comparison, parse_comparison

OWN = np.array([np.nan, -0.0, 1e-310, 7.0])


# --- where -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "comparison"),
    [
        ("snw < 10", Comparison("snw", "<", 10.0, None)),
        ("snw<=-1.5e-3", Comparison("snw", "<=", -1.5e-3, None)),
        ("tas > 0 degC", Comparison("tas", ">", 0.0, "degC")),
        (" pr >= 1 kg m-2 d-1 ", Comparison("pr", ">=", 1.0, "kg m-2 d-1")),
        ("sftlf != 0 %", Comparison("sftlf", "!=", 0.0, "%")),
        ("lai == 2.5e+1", Comparison("lai", "==", 25.0, None)),
    ],
)
def test_comparison_is_a_field_a_sign_and_a_number(text: str, comparison: Comparison) -> None:
    assert parse_comparison(text) == comparison


@pytest.mark.parametrize(
    "text", ["snw", "snw <", "< 10", "snw < ten", "snw = 10", "snw < 1.2.3", "a < b < 3", "f() < 1"]
)
def test_anything_else_is_refused(text: str) -> None:
    with refused(Status.CONFIG, f"'{text}' does not compare a field with a number", "'snw < 10'"):
        parse_comparison(text)


@pytest.mark.parametrize(
    ("keys", "status", "words"),
    [
        ("where: snow < 10", Status.FIELD, ("c.yml:3:12: 'emulators.0.where'", "no field 'snow'", "Did you mean")),
        ("where: snw < 10 K", Status.UNITS, ("c.yml:3", "'K' cannot be converted")),
        ("where: snw", Status.CONFIG, ("c.yml:3", "does not compare")),
        ("from: 2001-13-01", Status.CONFIG, ("c.yml:3:11: 'emulators.0.from'", "2001-13-01")),
        ("until: soon", Status.CONFIG, ("c.yml:3", "'soon' is not a time")),
        ("mode: shade", Status.CONFIG, ("c.yml:3", "'live' or 'shadow'")),
    ],
)
def test_mistakes_have_their_line(keys: str, status: Status, words: tuple[str, ...]) -> None:
    with refused(status, *words):
        parse_config(f"emulators:\n  - model: a.pt\n    {keys}\n", Path("c.yml"))


def test_cells_in_which_the_comparison_fails_keep_the_bits_of_the_host(tmp_path: Path) -> None:
    rig = echo(tmp_path, emulator={"where": "snw < 10"}, bound=("snw",))
    answers = rig.step(x=[1.0, 2.0, 3.0, 4.0], snw=[5.0, 20.0, 10.0, 0.0], y=OWN)["y"]
    assert bits(answers[1:3]) == bits(OWN[1:3])
    assert answers[[0, 3]].tolist() == [1.0, 4.0]
    assert rig.emulator.guard.tally.flags[:, 0].tolist() == [0, 7, 7, 0]
    assert rig.counts == {}
    assert rig.step(x=5.0, snw=[20.0, 0.0, np.nan, 0.0], y=-1.0)["y"].tolist() == [-1.0, 5.0, -1.0, 5.0]


def test_where_is_read_in_its_units_and_as_the_mean_over_the_step(tmp_path: Path) -> None:
    rig = echo(tmp_path, emulator={"where": "tas > 0 degC"}, bound=("tas",), manifest={"every": "2h"})
    rig.step(x=5.0, tas=[270.0, 270.0, 280.0, 280.0], y=-1.0)
    assert rig.step(tas=[274.0, 280.0, 270.0, 260.0])["y"].tolist() == [-1.0, 5.0, 5.0, -1.0]


def test_where_may_ask_for_what_the_plugin_computes(tmp_path: Path) -> None:
    rig = echo(tmp_path, emulator={"where": "latitude >= 10"})
    assert rig.step(x=5.0, y=-1.0)["y"].tolist() == [-1.0, -1.0, 5.0, 5.0]


def test_where_may_ask_for_the_answer_of_an_emulator_before(tmp_path: Path, couple: Any) -> None:
    free = [{"name": name, "long_name": name, "units": "1"} for name in ("x", "y", "z")]
    first = write(tmp_path / "first.pt", Echo(), [field("x", "1")], [field("y", "1")])
    second = write(tmp_path / "second.pt", Echo(), [field("x", "1")], [field("z", "1")])
    coupler = couple([first, {"model": second, "where": "y > 2"}], fields=free)
    arrays = {"x": np.array([1.0, 2.0, 3.0]), "y": np.zeros(3), "z": np.full(3, -1.0)}
    for name, array in arrays.items():
        coupler.bind(name, array)
    coupler.step()
    assert arrays["z"].tolist() == [-1.0, -1.0, 3.0]


def test_history_has_the_value_of_the_host_where_the_emulator_is_off(tmp_path: Path) -> None:
    rig = echo(tmp_path, emulator={"where": "snw < 10"}, bound=("snw",),
               history={"file": "h.nc", "fields": ["y"], "every": "1h"})  # fmt: skip
    rig.step(x=[1.0, 2.0, 3.0, 4.0], snw=[5.0, 20.0, 10.0, 0.0], y=[-1.0, -2.0, -3.0, -4.0])
    assert rig.coupler._exchange._held["y"].view[:, 0].tolist() == [1.0, -2.0, -3.0, 4.0]


def test_state_goes_on_where_the_emulator_is_off(tmp_path: Path) -> None:
    state = {"state": [{"name": "store", "size": 1, "initial": 8.0}]}
    rig = Rig(tmp_path, Store(0.5), [field("x", "1")], [field("y", "1")], None, manifest=state,
              emulator={"where": "snw < 10"}, bound=("snw",))  # fmt: skip
    rig.step(x=0.0, snw=[0.0, 20.0, 0.0, 0.0])
    assert rig.step(x=0.0, snw=0.0)["y"].tolist() == [2.0] * 4


# --- from and until --------------------------------------------------------------------------------------------


def test_answers_are_used_from_one_time_until_another(tmp_path: Path) -> None:
    rig = echo(tmp_path, emulator={"from": "2001-01-01T02:00", "until": "2001-01-01T04:00"})
    used = [bool((rig.step(x=step, y=-1.0)["y"] == step).all()) for step in range(1, 7)]
    assert used == [False, False, True, True, False, False]
    # Without a memory there is nothing to compute outside of the period.
    assert rig.emulator.calls == 2
    assert rig.counts == {}


def test_host_is_untouched_before_and_after(tmp_path: Path) -> None:
    rig = echo(tmp_path, emulator={"until": "2001-01-01T01:00"})
    rig.step(x=1.0)
    assert bits(rig.step(x=1.0, y=OWN)["y"]) == bits(OWN)


def test_window_fills_before_the_period(tmp_path: Path) -> None:
    outputs = [field("y", "1"), field("z", "1")]
    rig = Rig(tmp_path, Ends(), [field("x", "1")], outputs, None, manifest={"window": {"length": 3}},
              emulator={"from": "2001-01-01T02:00"})  # fmt: skip
    for step in (1.0, 2.0):
        assert (rig.step(x=step, y=-1.0)["y"] == -1.0).all()
    assert rig.step(x=3.0)["y"].tolist() == [1.0] * 4


def test_next_emulator_takes_the_value_of_the_host_outside_of_the_period(tmp_path: Path, couple: Any) -> None:
    free = [{"name": name, "long_name": name, "units": "1"} for name in ("x", "y", "z")]
    first = write(tmp_path / "first.pt", Echo(), [field("x", "1")], [field("y", "1")])
    second = write(tmp_path / "second.pt", Echo(), [field("y", "1")], [field("z", "1")])
    coupler: Coupler = couple([{"model": first, "from": "2001-01-01T01:00"}, second], fields=free)
    arrays = {"x": np.full(3, 1.0), "y": np.full(3, 50.0), "z": np.zeros(3)}
    for name, array in arrays.items():
        coupler.bind(name, array)
    coupler.step()
    assert arrays["z"].tolist() == [50.0] * 3
    coupler.step()
    assert arrays["z"].tolist() == [1.0] * 3
