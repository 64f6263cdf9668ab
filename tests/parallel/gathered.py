# SPDX-License-Identifier: Apache-2.0
"""Ranks whose emulators run on one of them (`share: gather`); a part of ``coupled_run.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import stand_in
import yaml
from small_emulators import Gru, Product, Touchy, field, write, write_carbon, write_mlp

from coupler_plugin import Coupler, CouplerError

CELLS = 101
STEPS = 6  # hourly
INPUTS = ("tas", "rsds", "hurs", "sfcWind", "pr", "orog")
OUTPUTS = ("lai", "gpp", "reco", "nee", "snw", "tsl", "evspsbl")


def prepare(folder: Path) -> None:
    """Write emulators with a state, a window, a static field, and one that may raise; and coupling files."""
    state = [{"name": "hidden", "size": 5, "initial": 0.1}]
    static = [field("orog", "m")]
    rain = field("pr", "mm d-1", statistics={"mean": 5.0, "std": 1.0, "min": 1.0, "max": 9.0})
    models = [
        {"model": write_mlp(folder / "network.pt"), "block": 32},
        {"model": write_carbon(folder / "window.pt", length=3, every="1h"), "block": 16},
        {"model": write(folder / "state.pt", Gru(1, 5), [field("lai", "1")], [field("snw", "mm")], state=state)},
        {"model": write(folder / "static.pt", Product(), [field("tas", "K")], [field("tsl", "K")], static=static)},
        {"model": write(folder / "touchy.pt", Touchy(), [rain], [field("evspsbl", "mm d-1")])},
    ]
    emulators = [
        {**model, "model": str(model["model"]), "share": "gather", "guard": {"input": "off"}} for model in models
    ]
    emulators[0]["guard"] = {"input": "stop", "range": "off"}
    for name in ("whole", "parts", "mistakes"):
        content = {
            "emulators": [emulators[0], emulators[4]] if name == "mistakes" else emulators,
            "on_error": "return",
            "timeout": "3s" if name == "mistakes" else "3min",
            "restart": {"dir": f"gathered_{name}"},
            "report": f"gathered_{name}.json",
        }
        (folder / f"gathered_{name}.yml").write_text(yaml.safe_dump(content))


class Host:
    """A host with ragged parts of the cells, none on the last of several ranks but two."""

    def __init__(self, file: Path, comm: Any, start: int = 0) -> None:
        rank, size = (comm.Get_rank(), comm.Get_size()) if comm else (0, 1)
        ids = np.random.default_rng(3).permutation(np.arange(1, CELLS + 1))
        owners = size - 1 if size > 2 else size
        ends = np.linspace(0, CELLS, owners + 1).astype(int)
        self.ids = ids[ends[rank] : ends[rank + 1]] if rank < owners else ids[:0]
        self.coupler = Coupler(file, comm=comm, start=f"2001-01-01T{start:02d}:00:00", dt=3600.0)
        self.coupler.set_cells(self.ids, 1.0 * self.ids, 0.5 * self.ids)
        self.arrays = {name: np.full(self.ids.size, -1.0) for name in (*INPUTS, *OUTPUTS)}
        for name, array in self.arrays.items():
            self.coupler.bind(name, array)
        self.steps = start

    def step(self) -> None:
        """Take a step with weather that depends on cell and time alone."""
        phase = 0.7 * self.ids + 0.26 * self.steps
        for place, (name, mean) in enumerate(zip(INPUTS, (285.0, 300.0, 60.0, 5.0, 5e-5, 500.0), strict=True)):
            self.arrays[name][:] = mean * (1.0 + 0.05 * np.sin((place + 1) * phase))
        self.arrays["orog"][:] = self.ids
        self.steps += 1
        self.coupler.step()

    def run(self, steps: int, answers: dict[str, list[Any]]) -> None:
        """Take steps, and append the bits of the answers after each, by id."""
        for _ in range(steps):
            self.step()
            for place, i in enumerate(self.ids):
                answers.setdefault(str(i), []).append([float(self.arrays[name][place]).hex() for name in OUTPUTS])


def run(folder: Path, comm: Any = None) -> dict[str, Any]:
    """Run at once; on a device; and in two parts, of which the second goes on from a restart on one rank less."""
    whole: dict[str, list[Any]] = {}
    on_device: dict[str, list[Any]] = {}
    first: dict[str, list[Any]] = {}
    second: dict[str, list[Any]] = {}
    host = Host(folder / "gathered_whole.yml", comm)
    host.run(STEPS, whole)
    calls = [len(emulator.block_sizes) for emulator in host.coupler.emulators]
    host.coupler.finalize()
    with stand_in.device():
        host = Host(folder / "gathered_whole.yml", comm)
        host.run(STEPS, on_device)
        host.coupler.finalize()
    host = Host(folder / "gathered_parts.yml", comm)
    host.run(STEPS // 2, first)
    host.coupler.write_restart()
    host.coupler.finalize()
    fewer = comm and comm.Split(int(comm.Get_size() > 1 and comm.Get_rank() == comm.Get_size() - 1), comm.Get_rank())
    if not comm or comm.Get_rank() == 0 or comm.Get_rank() < comm.Get_size() - 1:
        host = Host(folder / "gathered_parts.yml", fewer, STEPS // 2)
        host.run(STEPS - STEPS // 2, second)
        host.coupler.finalize()
    seen = {"whole": whole, "on_device": on_device, "first": first, "second": second, "calls": calls}
    if comm and comm.Get_size() > 1:
        mistakes = MISTAKES if comm.Get_size() == 3 else MISTAKES[:-1]  # the last takes its time
        seen["errors"] = {mistake.__name__: error_of(mistake, folder, comm.Dup()) for mistake in mistakes}
    return seen


def leader_that_fails(folder: Path, comm: Any) -> None:
    """The module raises for what another rank than its own gave it; the run then goes on."""
    host = Host(folder / "gathered_mistakes.yml", comm)
    if comm.Get_rank() == 1:
        host.coupler.bind("pr", np.full(host.ids.size, -1.0))
    try:
        host.step()
    except CouplerError:
        host.coupler.bind("pr", host.arrays["pr"])
        host.step()
        assert np.all(host.arrays["evspsbl"] > 0.0)
        raise


def neighbour_that_fails(folder: Path, comm: Any) -> None:
    """A rank refuses its inputs before it can hand them over."""
    host = Host(folder / "gathered_mistakes.yml", comm)
    if comm.Get_rank() == 1:
        host.coupler.bind("tas", np.full(host.ids.size, np.nan))
    host.step()


def neighbour_that_stays_away(folder: Path, comm: Any) -> None:
    """A rank takes no second step."""
    host = Host(folder / "gathered_mistakes.yml", comm)
    host.step()
    if comm.Get_rank() != 1:
        host.step()


MISTAKES = (leader_that_fails, neighbour_that_fails, neighbour_that_stays_away)


def error_of(mistake: Any, folder: Path, comm: Any) -> tuple[str, str]:
    """Return status and sentence of what a mistake leads to."""
    try:
        mistake(folder, comm)
    except CouplerError as error:
        return error.status.name, str(error)
    return "OK", ""
