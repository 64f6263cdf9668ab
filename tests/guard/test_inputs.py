# SPDX-License-Identifier: Apache-2.0
"""Inputs that cannot be right are caught before the network sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusal import refused
from rig import Rig, bits, echo
from small_emulators import Affine, Echo, Ends, Product, Store, Touchy, field, write

from coupler_plugin import Status

TAS = [field("tas", "degC", statistics={"mean": 5, "std": 10, "min": -90, "max": 60})]
LAI = [field("lai", "1")]
RSDS = {"mean": 5, "std": 0, "min": 5, "max": 5}
GOOD = [270.0, 280.0, 290.0, 300.0]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.nan, ("is nan in cell 3",)),
        (np.inf, ("is inf K in cell 3",)),
        (1e20, ("is 1e+20 K, outside its physical range of 150 to 350 K, in cell 3",)),
        (-9999.0, ("is -9999 K, outside its physical range of 150 to 350 K, in cell 3",)),
        (400.0, ("is 400 K, outside its physical range",)),
    ],
)
def test_run_stops_before_the_network_and_says_where(tmp_path: Path, value: float, words: tuple[str, ...]) -> None:
    rig = Rig(tmp_path, Affine([[1.0]]), TAS, LAI)
    before = rig.step(tas=GOOD)
    rig.arrays["lai"][:] = [-0.0, np.nan, 1.0, 2.0]
    untouched = bits(rig.arrays["lai"])
    more = ("at 2001-01-01 02:00:00: the input 'tas' of the emulator 'guarded'", "(longitude 20, latitude 10)")
    with refused(Status.RUN, *more, *words, "one of 2 such cells", "look at what the host gives", "'input: fallback'"):
        rig.step(tas=[270.0, 280.0, value, value])
    assert bits(rig.arrays["lai"]) == untouched
    assert np.isfinite(before["lai"]).all()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_fallback_leaves_the_bits_of_the_host_and_of_all_other_cells(tmp_path: Path, kind: type) -> None:
    own = np.array([np.nan, -0.0, 1e-40, np.inf], kind)
    (tmp_path / "clean").mkdir()
    rig, clean = (
        Rig(folder, Affine([[0.3]]), TAS, LAI, {"input": "fallback"}, kind=kind)
        for folder in (tmp_path, tmp_path / "clean")
    )
    answers = rig.step(tas=[270.1, np.nan, 1e20, 280.7], lai=own)["lai"]
    others = clean.step(tas=[270.1, 280.0, 290.0, 280.7], lai=own)["lai"]
    assert bits(answers[1:3]) == bits(own[1:3])
    assert bits(answers[[0, 3]]) == bits(others[[0, 3]])
    assert rig.counts == {("input", "tas"): 2}


def test_bad_inputs_do_not_reach_the_network(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Touchy(), [field("rsds", "W m-2", statistics=RSDS)], LAI, {"input": "fallback"})
    assert rig.step(rsds=[1.0, -50.0, np.nan, 4.0], lai=9.0)["lai"].tolist() == [1.0, 9.0, 9.0, 4.0]


def test_every_channel_and_every_field_is_looked_at(tmp_path: Path) -> None:
    inputs = [field("hurs", "%"), field("tsl", "degC", size=3)]
    rig = Rig(tmp_path, Affine(np.ones((4, 1)).tolist()), inputs, LAI, {"input": "fallback"})
    tsl = np.full((4, 3), 280.0)
    tsl[1, 2], tsl[2, 0] = 500.0, np.nan
    rig.step(hurs=[50.0, 60.0, 130.0, 70.0], tsl=tsl)
    assert rig.counts == {("input", "hurs"): 1, ("input", "tsl"): 2}
    assert rig.emulator.guard.kept[:, 0].tolist() == [False, True, True, False]


def test_what_rounding_does_to_a_limit_is_no_fault(tmp_path: Path) -> None:
    inputs = [field("pr", "kg m-2 d-1"), field("hurs", "1"), field("tas", "degC")]
    rig = Rig(tmp_path, Affine(np.ones((3, 1)).tolist()), inputs, LAI)
    rig.step(pr=[-1e-9, 0.0, 0.0, 0.0], hurs=[0.0, 120.0, 120.00001, 100.0], tas=150.0)
    with refused(Status.RUN, "'pr'", "-0.001 kg m-2 s-1, outside its physical range of 0 to 0.2 kg m-2 s-1"):
        rig.step(pr=-0.001)


def test_sum_over_a_window_may_be_as_large_as_its_samples(tmp_path: Path) -> None:
    inputs = [field("rsds", "W m-2", aggregate="sum")]
    rig = Rig(tmp_path, Affine([[1.0]]), inputs, LAI, manifest={"every": "6h"})
    for _ in range(6):
        rig.step(rsds=1400.0)
    assert rig.arrays["lai"].tolist() == [8400.0] * 4
    with refused(Status.RUN, "9600 W m-2, outside its physical range of 0 to 9000 W m-2"):
        for _ in range(6):
            rig.step(rsds=1600.0)


def test_manifest_has_the_range_of_a_field_that_the_dictionary_has_none_for(tmp_path: Path) -> None:
    rig = echo(tmp_path, {"input": "fallback"}, input={"valid_range": (0, 5)})
    assert rig.step(x=[-1.0, 0.0, 5.0, 6.0], y=9.0)["y"].tolist() == [9.0, 0.0, 5.0, 9.0]


def test_without_ranges_only_what_is_no_number_stops(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Echo(), [field("tas", "K")], LAI, {"input": "off"})
    assert rig.step(tas=[-5.0, 1e10, 2.0, 3.0])["lai"].tolist() == [-5.0, 1e10, 2.0, 3.0]
    with refused(Status.RUN, "the input 'tas'", "is nan in cell 2"):
        rig.step(tas=[1.0, np.nan, 2.0, 3.0])


def test_giver_is_named_where_it_is_not_the_host(tmp_path: Path, couple: Any) -> None:
    first = write(tmp_path / "first.pt", Echo(), [field("lai", "1")], [field("tas", "K")])
    second = write(tmp_path / "second.pt", Echo(), [field("tas", "K")], [field("snw", "kg m-2")])
    entries = [{"model": str(path), "guard": {}} for path in (first, second)]
    coupler = couple(entries, history={"file": "h.nc", "fields": ["snw"]}, constants={"lai": "3"})
    with refused(Status.RUN, "the input 'tas' of the emulator 'second'", "what the emulator 'first' gives"):
        coupler.step()
    history = {"file": "other.nc", "fields": ["snw"]}
    coupler = couple({"model": str(second), "guard": {}}, constants={"tas": "3 K"}, history=history)
    with refused(Status.RUN, "the input 'tas'", "what the coupling file gives"):
        coupler.step()


# --- hold ------------------------------------------------------------------------------------------------------


def test_hold_keeps_the_previous_answer(tmp_path: Path) -> None:
    rig = echo(tmp_path, {"input": "hold"})
    rig.step(x=[1.0, 2.0, 3.0, 4.0])
    assert rig.step(x=[10.0, np.nan, 30.0, np.nan])["y"].tolist() == [10.0, 2.0, 30.0, 4.0]
    assert rig.step(x=[np.nan, np.nan, 31.0, 41.0])["y"].tolist() == [10.0, 2.0, 31.0, 41.0]
    assert rig.counts == {("input", "x"): 4}


def test_hold_without_a_previous_answer_leaves_the_value_of_the_host(tmp_path: Path) -> None:
    rig = echo(tmp_path, {"input": "hold"})
    assert rig.step(x=[1.0, np.nan, 3.0, 4.0], y=9.0)["y"].tolist() == [1.0, 9.0, 3.0, 4.0]
    # The host's own value is still what is in force.
    assert rig.step(x=[2.0, np.nan, 4.0, 5.0], y=8.0)["y"].tolist() == [2.0, 8.0, 4.0, 5.0]


def test_hold_without_a_previous_answer_and_without_the_host_stops(tmp_path: Path) -> None:
    rig = echo(tmp_path, {"input": "hold"}, unbound=("y",), history={"file": "h.nc", "fields": ["y"]})
    words = ("for which no input can be used, and there is no previous answer to hold", "in cell 2", "bound no 'y'")
    with refused(Status.RUN, *words):
        rig.step(x=[1.0, np.nan, 3.0, 4.0])


# --- what the emulator remembers -------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["hold", "fallback"])
def test_state_of_a_cell_stays_as_it_was(tmp_path: Path, action: str) -> None:
    state = {"state": [{"name": "store", "size": 1, "initial": 8.0}]}
    rig = Rig(tmp_path, Store(0.5), [field("x", "1")], [field("y", "1")], {"input": action}, manifest=state)
    assert rig.step(x=1.0)["y"].tolist() == [5.0] * 4
    rig.step(x=[1.0, np.nan, 1.0, 1e25])
    assert rig.step(x=1.0)["y"].tolist() == [2.75, 3.5, 2.75, 3.5]


def test_window_of_a_cell_repeats_its_newest_good_sample(tmp_path: Path) -> None:
    outputs = [field("y", "1"), field("z", "1")]
    rig = Rig(tmp_path, Ends(), [field("x", "1")], outputs, {"input": "fallback"}, manifest={"window": {"length": 2}})
    rig.step(x=[1.0, 2.0, 3.0, 4.0])
    rig.step(x=[5.0, np.nan, 7.0, 8.0])
    after = rig.step(x=[9.0, 10.0, 11.0, 12.0])
    assert after["y"].tolist() == [5.0, 2.0, 7.0, 8.0]
    assert after["z"].tolist() == [9.0, 10.0, 11.0, 12.0]


def test_window_that_begins_with_a_bad_sample_holds_the_training_mean(tmp_path: Path) -> None:
    inputs = [field("x", "1", statistics={"mean": 6.0, "std": 1.0, "min": 0.0, "max": 20.0})]
    outputs = [field("y", "1"), field("z", "1")]
    rig = Rig(tmp_path, Ends(), inputs, outputs, {"input": "fallback"}, manifest={"window": {"length": 2}})
    rig.step(x=[1.0, np.nan, 3.0, 4.0])
    assert rig.step(x=5.0)["y"].tolist() == [1.0, 6.0, 3.0, 4.0]


# --- static inputs ---------------------------------------------------------------------------------------------


def static(folder: Path, guard: dict[str, Any] | None, **more: Any) -> Rig:
    manifest = {"static": [field("orog", "m")]}
    return Rig(folder, Product(), [field("x", "1")], [field("y", "1")], guard, manifest=manifest, **more)


def test_bad_static_input_stops_at_start(tmp_path: Path) -> None:
    rig = static(tmp_path, {})
    words = ("the static input 'orog' of the emulator 'guarded' is 1e+20 m, outside", "in cell 2", "one of 1 such")
    with refused(Status.RUN, *words):
        rig.step(x=1.0, orog=[1.0, 1e20, 3.0, 4.0])


def test_cells_with_a_bad_static_input_are_left_to_the_host(tmp_path: Path) -> None:
    rig = static(tmp_path, {"input": "fallback"})
    for step in (1, 2):
        assert rig.step(x=1.0, orog=[1.0, np.nan, 3.0, 4.0], y=9.0)["y"].tolist() == [1.0, 9.0, 3.0, 4.0]
        assert rig.counts == {("input", "orog"): step}


def test_bad_inputs_of_cells_that_are_switched_off_do_not_matter(tmp_path: Path) -> None:
    rig = static(tmp_path, {}, emulator={"where": "sftlf > 50"}, bound=("sftlf",))
    sftlf = [100.0, 0.0, 100.0, 0.0]
    answers = rig.step(x=[1.0, np.nan, 1.0, 2.0], orog=[1.0, 2.0, 3.0, np.nan], y=9.0, sftlf=sftlf)["y"]
    assert answers.tolist() == [1.0, 9.0, 3.0, 9.0]
    assert rig.counts == {}
    with refused(Status.RUN, "the static input 'orog'", "in cell 4"):
        rig.step(x=1.0, sftlf=100.0)


def test_host_may_go_on_after_a_stop(tmp_path: Path) -> None:
    rig = echo(tmp_path, {}, emulator={"where": "snw < 10"}, bound=("snw",))
    with refused(Status.RUN, "is nan in cell 2"):
        rig.step(x=[1.0, np.nan, 3.0, 4.0], snw=[0.0, 0.0, 20.0, 0.0], y=9.0)
    assert rig.step(x=5.0, snw=0.0, y=9.0)["y"].tolist() == [5.0] * 4
