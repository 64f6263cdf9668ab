# SPDX-License-Identifier: Apache-2.0
"""Restarts: what is undone and kept, when they are written, and which are refused.

That two joined runs have the bits of one, on any number of ranks, is in tests/reproducibility.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

from coupler_plugin import Coupler, Status
from coupler_plugin.restart.files import newest
from tests.emulator.kinds import lstm_runs_in_bfloat16
from tests.refusal import refused
from tests.restart.program import run
from tests.small_emulators import Affine, Store, field, write, write_carbon, write_echo

DAY = 24


@pytest.fixture
def carbon(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a coupling file with a window emulator, history and restarts."""
    write_carbon(tmp_path / "carbon.pt")

    def configure(name: str = "coupling", history: str = "history.nc", block: int = 16, **restart: object) -> Path:
        path = tmp_path / f"{name}.yml"
        content = {
            "calendar": "noleap",
            "emulators": [{"model": "carbon.pt", "block": block}],
            "history": {"file": history, "fields": ["nee", "tas"], "every": "2d"},
            "restart": restart,
        }
        path.write_text(yaml.safe_dump(content))
        return path

    return configure


def pointers(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "restart").glob("rpointer.*-?????"))


def test_steps_after_the_restart_are_undone(tmp_path: Path, carbon: Callable[..., Path]) -> None:
    whole = run(carbon("whole", "whole.nc", read="never"), 0, 8 * DAY)
    parts = carbon("parts", "parts.nc")
    run(parts, 0, 6 * DAY, demand=3 * DAY)
    assert run(parts, 3 * DAY, 5 * DAY) == whole[3 * DAY :]
    with xr.open_dataset(tmp_path / "whole.nc") as one, xr.open_dataset(tmp_path / "parts.nc") as two:
        assert one.equals(two)


def test_recurrent_state_and_inactive_places_survive(tmp_path: Path, couple: Callable[..., Coupler]) -> None:
    state = [{"name": "store", "size": 1}]
    model = write(tmp_path / "store.pt", Store(0.9), [field("tas", "K")], [field("lai", "1")], state=state, every="3h")
    ids = np.array([[3, 0, 1], [0, 2, 7]])

    def steps(start: str, first: int, count: int, demand: bool = False) -> np.ndarray:
        coupler = couple(model, cells=None, start=start, restart={})
        coupler.set_cells(ids, np.zeros_like(ids), np.zeros_like(ids))
        tas, lai = np.zeros(ids.shape), np.full(ids.shape, -1.0)
        coupler.bind("tas", tas)
        coupler.bind("lai", lai)
        for step in range(first, first + count):
            tas[...] = ids + np.sin(step)
            coupler.step()
        if demand:
            coupler.write_restart()
        return lai

    whole = steps("2001-01-01", 0, 20)
    shutil.rmtree(tmp_path / "restart", ignore_errors=True)
    steps("2001-01-01", 0, 10, demand=True)
    assert np.array_equal(steps("2001-01-01T10:00", 10, 10), whole)
    assert (whole[ids == 0] == -1.0).all()


def test_outputs_are_back_in_the_hosts_arrays_before_the_next_alarm(
    tmp_path: Path, couple: Callable[..., Coupler]
) -> None:
    model = write_echo(tmp_path / "echo.pt", field("tas", "K"), field("lai", "1"), every="1d")
    for start, expected in (("2001-01-01", 281.0), ("2001-01-02", 281.0)):
        coupler = couple(model, start=start, dt=86400.0 if start == "2001-01-01" else 3600.0, restart={})
        tas, lai = np.full(3, 281.0), np.zeros(3)
        coupler.bind("tas", tas)
        coupler.bind("lai", lai)
        coupler.step()
        assert (lai == expected).all()
        if start == "2001-01-01":
            coupler.write_restart()


def test_alarm_writes_and_keeps_the_newest(tmp_path: Path, carbon: Callable[..., Path]) -> None:
    run(carbon(every="2d", keep=2), 0, 7 * DAY)
    assert pointers(tmp_path) == ["rpointer.coupler.2001-01-05-00000", "rpointer.coupler.2001-01-07-00000"]
    assert len(list((tmp_path / "restart").glob("*.nc"))) == 2


@pytest.mark.parametrize("is_bound", [True, False])
def test_answers_of_a_call_that_was_stopped_are_not_back_after_a_restart(
    tmp_path: Path, couple: Callable[..., Coupler], is_bound: bool
) -> None:
    model = write_echo(tmp_path / "echo.pt", field("tas", "K"), field("lai", "1", valid_range=[0, 300]), every="2h")
    history = {"file": "history.nc", "fields": ["lai"], "every": "1h"}
    about = {"model": model, "guard": {"input": "off", "range": "stop"}}
    coupler = couple(dict(about), history=history, restart={})
    tas, lai = np.full(3, 280.0), np.full(3, -1.0)
    coupler.bind("tas", tas)
    if is_bound:
        coupler.bind("lai", lai)
    for step in range(5):
        tas[:] = 999.0 if step in (2, 3) else 280.0
        if step == 3:
            with refused(Status.RUN, "the output 'lai'"):
                coupler.step()
        else:
            coupler.step()
    coupler.write_restart()
    coupler.finalize()
    coupler = couple(dict(about), history=history, restart={}, start="2001-01-01T05:00")
    coupler.bind("tas", tas)
    if is_bound:
        coupler.bind("lai", lai)
    tas[:] = 281.0
    coupler._prepare()
    assert not is_bound or (lai == 280.0).all()
    assert coupler._exchange._held["lai"].view.ravel().tolist() == [280.0] * 3


def test_answers_in_force_are_back_after_a_stop_for_an_input_and_a_restart(
    tmp_path: Path, couple: Callable[..., Coupler]
) -> None:
    model = write_echo(tmp_path / "echo.pt", field("tas", "K"), field("lai", "1"), every="2h")
    for start in (0, 5):
        coupler = couple(model, restart={}, start=f"2001-01-01T{start:02d}:00")
        tas, lai = np.full(3, 280.0), np.full(3, -1.0)
        coupler.bind("tas", tas)
        coupler.bind("lai", lai)
        for step in range(start, start + 5):
            tas[:] = np.nan if step == 3 else 280.0
            if step == 3:
                with refused(Status.RUN, "the input 'tas'"):
                    coupler.step()
            else:
                coupler.step()
            assert (lai == (-1.0 if step == 0 else 280.0)).all()
        coupler.write_restart()


def test_restart_that_was_just_written_stays_beside_later_ones_of_a_run_before(
    tmp_path: Path, carbon: Callable[..., Path]
) -> None:
    run(carbon(every="2d", keep=2), 0, 7 * DAY)
    run(carbon(every="1d", keep=2, read="never"), 0, 3 * DAY)
    days = (3, 4, 5, 7)
    assert pointers(tmp_path) == [f"rpointer.coupler.2001-01-{day:02d}-00000" for day in days]
    assert newest(tmp_path / "restart", "coupler") == "2001-01-04T00:00:00"


def test_of_restarts_that_nothing_is_known_of_the_latest_is_the_newest(
    tmp_path: Path, carbon: Callable[..., Path]
) -> None:
    """So it is in folders of earlier versions; a kill before `rpointer.coupler` was written leaves the one before."""
    run(carbon(every="2d", keep=2), 0, 7 * DAY)
    known = tmp_path / "restart" / "rpointer.coupler"
    assert known.read_text() == "2001-01-07-00000\n"
    known.unlink()
    assert newest(tmp_path / "restart", "coupler") == "2001-01-07T00:00:00"
    known.write_text("2001-01-06-00000\n")
    assert newest(tmp_path / "restart", "coupler") == "2001-01-05T00:00:00"


def test_restart_that_was_taken_away_leaves_the_one_before(tmp_path: Path, carbon: Callable[..., Path]) -> None:
    run(carbon(every="2d", keep=2), 0, 7 * DAY)
    (tmp_path / "restart" / "rpointer.coupler.2001-01-07-00000").unlink()
    assert newest(tmp_path / "restart", "coupler") == "2001-01-05T00:00:00"


def test_run_goes_on_into_years_of_five_digits(tmp_path: Path, couple: Callable[..., Coupler]) -> None:
    """The first restart of the year 10000 is newer than the last one of 9999, which its name does not say."""
    model = write(tmp_path / "sum.pt", Store(1.0), [field("tas", "K")], [field("lai", "1")], every="1d",
                  state=[{"name": "store", "size": 1}])  # fmt: skip
    restart = {"every": "1d", "keep": 1}

    def days(start: str, count: int, **required: str) -> float:
        coupler = couple(model, start=start, dt=86400.0, calendar="noleap", restart={**restart, **required})
        lai = np.zeros(3)
        coupler.bind("tas", np.ones(3))
        coupler.bind("lai", lai)
        for _ in range(count):
            coupler.step()
        return float(lai[0])

    assert days("9999-12-30", 3) == 3.0
    assert pointers(tmp_path) == ["rpointer.coupler.10000-01-02-00000"]
    assert newest(tmp_path / "restart", "coupler") == "10000-01-02T00:00:00"
    assert days("10000-01-02", 2, read="required") == 5.0


def test_emulators_of_one_name_are_refused_with_restarts_alone(tmp_path: Path, couple: Callable[..., Coupler]) -> None:
    """Their memory would have one name, too: that of the last would be all that is written."""
    outputs = [field("lai", "1"), field("snw", "kg m-2")]
    model = write(tmp_path / "two.pt", Affine([[1.0, 2.0]]), [field("tas", "K")], outputs)
    twice = [{"model": model, "outputs": ["lai"]}, {"model": model, "outputs": ["snw"], "every": "3h"}]
    couple([dict(one) for one in twice])
    with refused(Status.CONFIG, "coupling.yml:", "'emulators.1.model'", "'two'", "'restart:'"):
        couple(twice, restart={})


def written(config: Path, couple_steps: int = 2 * DAY) -> None:
    run(config, 0, couple_steps, demand=couple_steps)


def begin(config: Path, ids: np.ndarray | None = None) -> None:
    """Take the first step of a run that starts where `written` ended."""
    coupler = Coupler(config, start="2001-01-03", dt=3600.0)
    ids = np.arange(1, 38) if ids is None else ids
    coupler.set_cells(ids, ids * 3.0, ids - 40.0)
    for name in ("tas", "rsds", "gpp", "reco", "nee"):
        coupler.bind(name, np.zeros(ids.size))
    coupler.step()


def test_damaged_file_is_refused(tmp_path: Path, carbon: Callable[..., Path]) -> None:
    config = carbon()
    written(config)
    file = next((tmp_path / "restart").glob("*.nc"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    with refused(Status.IO, "is damaged", "earlier restart"):
        begin(config)


def test_missing_file_is_refused(tmp_path: Path, carbon: Callable[..., Path]) -> None:
    config = carbon()
    written(config)
    next((tmp_path / "restart").glob("*.nc")).unlink()
    with refused(Status.IO, "No such file"):
        begin(config)


def test_required_restart_that_is_not_there_is_refused(carbon: Callable[..., Path]) -> None:
    with refused(Status.IO, "rpointer.coupler.2001-01-03-00000"):
        begin(carbon(read="required"))


def test_other_block_size_is_refused_unless_accepted(carbon: Callable[..., Path]) -> None:
    written(carbon())
    with refused(Status.CONFIG, "block size", "was 16 and is 32", "accept: [block]"):
        begin(carbon(block=32))
    begin(carbon(block=32, accept=["block"]))


def test_other_precision_is_refused(carbon: Callable[..., Path]) -> None:
    if not lstm_runs_in_bfloat16():
        pytest.skip("this processor lacks what torch's LSTM needs for bfloat16")
    config = carbon()
    written(config)
    config.write_text(config.read_text().replace("model: carbon.pt", "model: carbon.pt\n  precision: bfloat16"))
    with refused(Status.CONFIG, "precision", "was float32 and is bfloat16"):
        begin(config)


def test_other_model_file_is_refused_unless_accepted(tmp_path: Path, carbon: Callable[..., Path]) -> None:
    written(carbon())
    write_carbon(tmp_path / "carbon.pt", version="2.0.0")
    with refused(Status.CONFIG, "emulator file", "'carbon'", "accept: [model]"):
        begin(carbon())
    begin(carbon(accept=["model"]))


@pytest.mark.parametrize(
    ("ids", "words"),
    [(np.arange(1, 37), "37 cells, this run 36"), (np.arange(2, 39), "has no cell 38")],
    ids=["fewer", "others"],
)
def test_other_cells_are_refused(carbon: Callable[..., Path], ids: np.ndarray, words: str) -> None:
    config = carbon()
    written(config)
    with refused(Status.CELLS, words):
        begin(config, ids)


def test_write_restart_needs_the_section_and_a_step(tmp_path: Path, couple: Callable[..., Coupler]) -> None:
    coupler = couple()
    with refused(Status.ORDER, "write_restart", "step"):
        coupler.write_restart()
    coupler.step()
    with refused(Status.ORDER, "restart:"):
        coupler.write_restart()


def test_folder_that_cannot_be_made_is_an_error(tmp_path: Path, carbon: Callable[..., Path]) -> None:
    (tmp_path / "restart").write_text("a file where the folder should be")
    coupler = Coupler(carbon(), start="2001-01-01", dt=3600.0)
    coupler.set_cells([1], [0.0], [0.0])
    for name in ("tas", "rsds", "gpp", "reco", "nee"):
        coupler.bind(name, np.zeros(1))
    coupler.step()
    with refused(Status.IO, "cannot write the restart file"):
        coupler.write_restart()


def test_killed_at_20_moments_leaves_only_restarts_that_read_back_right(
    tmp_path: Path, carbon: Callable[..., Path]
) -> None:
    for name, section in {
        "whole": {"read": "never"},
        "writing": {"every": "1h", "keep": 2},
        "reading": {"read": "required"},
    }.items():
        carbon(name, f"{name}.nc", block=256, **section)
    command = [sys.executable, str(Path(__file__).with_name("killed.py")), str(tmp_path), "20"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    seen = json.loads(done.stdout)
    assert len(seen["left"]) == 20
    assert all(moment["killed"] for moment in seen["left"])
    assert sum(moment["while_writing"] for moment in seen["left"]) >= 5
    for moment in seen["left"]:
        assert moment["restarts"]  # there was a whole one, and there still is
        assert all(moment["restarts"].values())
