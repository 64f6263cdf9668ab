# SPDX-License-Identifier: Apache-2.0
"""What must keep its bits: one coupling for each kind of emulator, big enough to use threads and several blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from small_emulators import CarbonLstm, Gru, Mlp, Noisy, NoisyTiles, field, write, write_tiled

BLOCK = 128
TAS = field("tas", "degC", statistics={"mean": 5, "std": 9, "min": -10, "max": 20})
RSDS = field("rsds", "W m-2", statistics={"mean": 190, "std": 110, "min": 0, "max": 384})
CARBON = [
    field("gpp", "g m-2 d-1"),
    field("reco", "g m-2 d-1"),
    field("nee", "g m-2 d-1", closure={"reco": 1, "gpp": -1}),
]
Sections = dict[str, Any]


def column(folder: Path) -> Sections:
    """A network without a past."""
    inputs = [TAS, field("hurs", "%"), field("sfcWind", "m s-1")]
    network = Mlp(3, 1, hidden=320)
    network.layers[-1].bias.data += 2.0  # a leaf area that can be
    model = write(folder / "column.pt", network, inputs, [field("lai", "1")])
    return {"emulators": [{"model": model.name, "block": BLOCK}]}


def recurrent(folder: Path) -> Sections:
    """A network with a state, called every two hours."""
    state = [{"name": "hidden", "size": 192}]
    model = write(folder / "recurrent.pt", Gru(2, 192), [TAS, RSDS], [field("mrso", "kg m-2")], state=state)
    return {"emulators": [{"model": model.name, "block": BLOCK, "every": "2h"}]}


def window(folder: Path) -> Sections:
    """A network that sees the last five means of three hours."""
    about = {"window": {"length": 5}, "every": "3h"}
    model = write(folder / "window.pt", CarbonLstm(2, hidden=96), [TAS, RSDS], CARBON, **about)
    return {"emulators": [{"model": model.name, "block": BLOCK}]}


def chain(folder: Path) -> Sections:
    """An emulator whose answers another one accumulates, beside fields of the host in each way of accumulating."""
    first = column(folder)["emulators"]
    ways = ("mean", "sum", "min", "max", "last")
    inputs = [field("lai", "1"), field("lai", "1", aggregate="max"), *({**RSDS, "aggregate": way} for way in ways)]
    inputs = [{key: value for key, value in entry.items() if key != "statistics"} for entry in inputs]
    model = write(folder / "chain.pt", Mlp(7, 1, hidden=320), inputs, [field("snw", "kg m-2")], every="6h")
    return {"emulators": [*first, {"model": model.name, "block": BLOCK}]}


def own_grid(folder: Path) -> Sections:
    """A network on a coarser grid, with a state there: fields are carried to it and back by conservative weights."""
    state = [{"name": "hidden", "size": 192}]
    model = write(folder / "own_grid.pt", Gru(2, 192), [TAS, RSDS], [field("snw", "kg m-2")], state=state)
    grid = {"grid": {"latlon": 15.0}, "guard": {"range": "off"}}
    return {
        "emulators": [{"model": model.name, "block": BLOCK, "every": "2h", **grid}],
        "regrid": {"host_grid": {"latlon": 10.0}, "edges": "latitude"},
    }


def tile(folder: Path) -> Sections:
    """Two networks that see tiles of a grid, with a window and a state; one answers on a grid twice as fine."""
    models = [write_tiled(folder / "tile.pt", field("tsl", "K"))]
    models.append(write_tiled(folder / "finer.pt", field("tasmax", "K"), 2, blend="core"))
    about = {"grid": {"latlon": 9.0}, "block": 512, "every": "3h", "guard": {"range": "off"}}
    return {
        "emulators": [{"model": model.name, **about} for model in models],
        "regrid": {"host_grid": {"latlon": 10.0}, "edges": "latitude"},
        "constants": {"orog": "300 m"},
    }


def drawing(folder: Path) -> Sections:
    """Networks that draw random numbers: dropout and noise with a state in columns, and noise on tiles."""
    state = [{"name": "hidden", "size": 192}]
    column = write(folder / "drawing.pt", Noisy(2, 192), [TAS, RSDS], [field("mrso", "kg m-2")], state=state)
    about = {"kind": "tile", "tile": {"size": [12, 16], "halo": 2}}
    tiles = write(folder / "noisy.pt", NoisyTiles(), [field("tas", "K")], [field("tsl", "K")], **about)
    off = {"guard": {"range": "off"}}
    return {
        "emulators": [
            {"model": column.name, "block": BLOCK, "every": "2h", "seed": 5, **off},
            {"model": tiles.name, "grid": {"latlon": 9.0}, "every": "3h", **off},
        ],
        "regrid": {"host_grid": {"latlon": 10.0}, "edges": "latitude"},
    }


def lagged(folder: Path) -> Sections:
    """Networks that run beside the host's next step: one with a state, and one that takes the answers of the other."""
    first = recurrent(folder)["emulators"][0]
    inputs = [field("mrso", "kg m-2"), TAS]
    model = write(folder / "lagged.pt", CarbonLstm(2, hidden=96), inputs, CARBON, window={"length": 3}, every="4h")
    off = {"lag": 1, "guard": {"range": "off", "input": "off"}}
    return {"emulators": [{**first, **off}, {"model": model.name, "block": BLOCK, **off}]}


@dataclass(frozen=True)
class Subject:
    """A coupling: what writes its emulators into a folder and gives the sections of its file, and what it computes."""

    write: Callable[[Path], Sections]
    computes: tuple[str, ...]


#: the rows of the table
SUBJECTS = {
    "column": Subject(column, ("lai",)),
    "recurrent": Subject(recurrent, ("mrso",)),
    "window": Subject(window, ("gpp", "reco", "nee")),
    "chain": Subject(chain, ("lai", "snw")),
    "own grid": Subject(own_grid, ("snw",)),
    "tile": Subject(tile, ("tsl", "tasmax")),
    "lagged": Subject(lagged, ("mrso", "gpp", "reco", "nee")),
    "drawing": Subject(drawing, ("mrso", "tsl")),
}
