# SPDX-License-Identifier: Apache-2.0
"""The faults that are provoked, each with what it does to a run: the source of the tables in docs/reliability.md.

A fault breaks a set-up that works, in a folder of its own, and runs it. Those that need processes of their own are in
`processes.py`.
"""

from __future__ import annotations

import json
import logging
import platform
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import small_emulators as small
import torch
import yaml

from coupler_plugin import Coupler, CouplerError
from coupler_plugin.emulator import manifest as manifests
from coupler_plugin.emulator.load import describe
from coupler_plugin.errors import explain
from coupler_plugin.regrid import latlon, weights_file
from coupler_plugin.regrid.weight_files import WeightFile

TAS = small.field("tas", "K", statistics={"mean": 280, "std": 1, "min": 270, "max": 290})
LAI = small.field("lai", "1")
CELLS = 20


@dataclass(frozen=True)
class Seen:
    """What a fault led to: the status, and the sentence that the user gets."""

    status: str
    sentence: str


@dataclass(frozen=True)
class Fault:
    """A fault: the table it stands in, what happens, and the function that makes it happen."""

    group: str
    what: str
    provoke: Callable[[Path], Seen]


FAULTS: list[Fault] = []
Provoke = Callable[[Path], None]


def fault(group: str, what: str) -> Callable[[Provoke], Provoke]:
    """Enter a function that must raise a CouplerError into the list."""

    def enter(function: Provoke) -> Provoke:
        FAULTS.append(Fault(group, what, lambda folder: see(lambda: function(folder))))
        return function

    return enter


def see(work: Callable[[], object]) -> Seen:
    """Return the error of `work`, as a host in Fortran or C gets it."""
    try:
        work()
    except (CouplerError, MemoryError) as error:
        status, sentence = explain(error)
        return Seen(status.name, sentence)
    return Seen("OK", "")


class Host:
    """A host of 20 cells with one emulator, lai = tas / 100, that works until something is broken."""

    def __init__(self, folder: Path, module: torch.nn.Module | None = None, **sections: Any) -> None:
        self.folder = folder
        self.model = small.write(folder / "leaf.pt", module or small.Affine([[0.01]]), [TAS], [LAI])
        self.sections: dict[str, Any] = {"emulators": [{"model": "leaf.pt", "block": 16}], **sections}

    def start(self, hour: int = 0, ids: np.ndarray | None = None) -> Host:
        """Initialise the coupler and bind the arrays."""
        (self.folder / "coupling.yml").write_text(yaml.safe_dump(self.sections, sort_keys=False))
        self.coupler = Coupler(self.folder / "coupling.yml", start=f"2001-01-01T{hour:02d}:00", dt=3600.0)
        ids = np.arange(1, CELLS + 1) if ids is None else ids
        self.coupler.set_cells(ids, ids % 360.0, ids % 90.0)
        self.tas, self.lai = np.full(ids.size, 280.0), np.full(ids.size, -1.0)
        self.coupler.bind("tas", self.tas)
        self.coupler.bind("lai", self.lai)
        return self

    def run(self, steps: int = 1) -> Host:
        """Start, and take steps."""
        self.start()
        for _ in range(steps):
            self.coupler.step()
        return self


# --- the coupling file ----------------------------------------------------------------------------------------


@fault("The coupling file", "is not there")
def _(folder: Path) -> None:
    Coupler(folder / "coupling.yml", start="2001-01-01", dt=3600.0)


@fault("The coupling file", "has a misspelt key")
def _(folder: Path) -> None:
    Host(folder, calender="noleap").start()


@fault("The coupling file", "names a path outside of the run directory")
def _(folder: Path) -> None:
    Host(folder, report="../../report.json").start()


@fault("The coupling file", "has a time step that the host's does not divide")
def _(folder: Path) -> None:
    host = Host(folder)
    host.sections["emulators"][0]["every"] = "90min"
    host.start()


# --- emulator files -------------------------------------------------------------------------------------------


@fault("An emulator file", "is not there")
def _(folder: Path) -> None:
    host = Host(folder)
    host.model.unlink()
    host.start()


@fault("An emulator file", "is cut off")
def _(folder: Path) -> None:
    host = Host(folder)
    host.model.write_bytes(host.model.read_bytes()[:-100])
    host.start()


@fault("An emulator file", "has a changed bit in its weights")
def _(folder: Path) -> None:
    host = Host(folder)
    data = bytearray(host.model.read_bytes())
    data[data.index(np.float32(0.01).tobytes())] ^= 1
    host.model.write_bytes(data)
    host.start()


@fault("An emulator file", "is a pickled module, which could run any code")
def _(folder: Path) -> None:
    host = Host(folder)
    torch.save(small.Affine([[0.01]]), host.model)
    host.start()


@fault("An emulator file", "is another one than the `sha256:` of the coupling file")
def _(folder: Path) -> None:
    host = Host(folder)
    host.sections["emulators"][0]["sha256"] = "0123456789abcdef" * 4
    host.start()


def give_package(folder: Path, is_named: bool = True, **facts: Any) -> None:
    """Start with a package that claims to be compiled: nothing of it may be run."""
    host = Host(folder)
    found = describe(host.model)
    making = {
        "original": "leaf.pt", "original_sha256": found.sha256, "block": 16, "dtype": "float32", "device": "cpu",
        "torch": torch.__version__, "machine": platform.machine(), "instructions": [], "tolerance": 1e-4, "rows": 64,
        "differences": [], **facts,
    }  # fmt: skip
    package = folder / "leaf.pt2"
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("leaf/data/leaf.so", b"no code at all")
        archive.writestr("leaf/extra/manifest.json", found.manifest.model_dump_json(exclude_none=True))
        archive.writestr("leaf/extra/compiled.json", json.dumps(making))
    host.sections["emulators"][0]["model"] = package.name
    if is_named:
        host.sections["emulators"][0]["sha256"] = describe(package).sha256
    host.start()


@fault("An emulator file", "is compiled, and its hash is not in the coupling file")
def _(folder: Path) -> None:
    give_package(folder, is_named=False)


@fault("An emulator file", "is compiled for another version of torch")
def _(folder: Path) -> None:
    give_package(folder, torch="1.0.0")


@fault("An emulator file", "is compiled for another processor")
def _(folder: Path) -> None:
    give_package(folder, machine="another", instructions=["avx1024"])


@fault("An emulator file", "is compiled, and holds no code")
def _(folder: Path) -> None:
    give_package(folder)


def change_manifest(folder: Path, **changes: Any) -> None:
    """Start with a manifest that says something else."""
    host = Host(folder)
    extra = {manifests.ENTRY: ""}
    module = torch.jit.load(str(host.model), _extra_files=extra)
    text = json.dumps(json.loads(extra[manifests.ENTRY]) | changes)
    torch.jit.save(module, str(host.model), _extra_files={manifests.ENTRY: text})
    host.start().coupler.step()


@fault("An emulator file", "has no manifest")
def _(folder: Path) -> None:
    host = Host(folder)
    torch.jit.save(torch.jit.load(str(host.model)), str(host.model))
    host.start()


@fault("An emulator file", "has a manifest of a newer plugin")
def _(folder: Path) -> None:
    change_manifest(folder, manifest_version=manifests.MANIFEST_VERSION + 1)


@fault("An emulator file", "asks for a field that nobody knows")
def _(folder: Path) -> None:
    change_manifest(folder, inputs=[{**TAS, "name": "tass"}])


@fault("An emulator file", "asks for a field in other units than it can have")
def _(folder: Path) -> None:
    change_manifest(folder, inputs=[{**TAS, "units": "W m-2"}])


@fault("An emulator file", "takes another number of inputs than its manifest says")
def _(folder: Path) -> None:
    change_manifest(folder, inputs=[TAS, small.field("rsds", "W m-2")])


@fault("An emulator file", "gives another number of outputs than its manifest says")
def _(folder: Path) -> None:
    change_manifest(folder, outputs=[LAI, small.field("snw", "kg m-2")])


# --- the host -------------------------------------------------------------------------------------------------


def give(folder: Path, value: float) -> None:
    """Take a step with one value that cannot be."""
    host = Host(folder).start()
    host.tas[6] = value
    host.coupler.step()


@fault("The host", "gives NaN")
def _(folder: Path) -> None:
    give(folder, np.nan)


@fault("The host", "gives a fill value")
def _(folder: Path) -> None:
    give(folder, 1e20)


@fault("The host", "gives a temperature in degrees Celsius for one in kelvin")
def _(folder: Path) -> None:
    give(folder, 7.0)


@fault("The host", "does not bind an input")
def _(folder: Path) -> None:
    host = Host(folder)
    (folder / "coupling.yml").write_text(yaml.safe_dump(host.sections))
    coupler = Coupler(folder / "coupling.yml", start="2001-01-01", dt=3600.0)
    coupler.set_cells([1, 2], [0.0, 1.0], [0.0, 1.0])
    coupler.bind("lai", np.zeros(2))
    coupler.step()


@fault("The host", "gives a cell twice")
def _(folder: Path) -> None:
    Host(folder).start(ids=np.array([1, 2, 2]))


@fault("The host", "steps after finalize")
def _(folder: Path) -> None:
    host = Host(folder).run()
    host.coupler.finalize()
    host.coupler.step()


# --- the network ----------------------------------------------------------------------------------------------


class Failing(torch.nn.Module):
    """Goes wrong in some way when it is warm enough."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool(x.max() > 295):
            if self.how == "shapes":
                return x @ torch.ones(7, 1)
            if self.how == "memory":
                return x + torch.zeros(10_000_000_000_000)[0]
            return x / 0.0
        return x / 100.0


def fail_in_step(folder: Path, how: str) -> None:
    """Take a good step, and one in which the network fails."""
    host = Host(folder, Failing(how)).run()
    host.tas[:] = 300.0
    try:
        host.coupler.step()
    finally:
        assert (host.lai == np.float32(2.8)).all()  # the answers before stay


@fault("The network", "raises an exception in torch (C++)")
def _(folder: Path) -> None:
    fail_in_step(folder, "shapes")


@fault("The network", "asks for more memory than there is")
def _(folder: Path) -> None:
    fail_in_step(folder, "memory")


@fault("The network", "answers with infinity")
def _(folder: Path) -> None:
    fail_in_step(folder, "infinity")


# --- restarts -------------------------------------------------------------------------------------------------


def go_on(folder: Path, damage: Callable[[Path, Path], object], ids: np.ndarray | None = None) -> None:
    """Write a restart, damage what is there, and go on from it."""
    host = Host(folder, restart={"read": "auto"}).run()
    host.coupler.write_restart()
    host.coupler.finalize()
    damage(folder / "restart/coupler.r.2001-01-01-03600.nc", folder / "restart/rpointer.coupler.2001-01-01-03600")
    host.start(1, ids).coupler.step()


@fault("A restart", "has a changed bit")
def _(folder: Path) -> None:
    def damage(file: Path, pointer: Path) -> None:
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)

    go_on(folder, damage)


@fault("A restart", "is cut off")
def _(folder: Path) -> None:
    go_on(folder, lambda file, pointer: file.write_bytes(file.read_bytes()[:-1]))


@fault("A restart", "has vanished")
def _(folder: Path) -> None:
    go_on(folder, lambda file, pointer: file.unlink())


@fault("A restart", "has a pointer of no use")
def _(folder: Path) -> None:
    go_on(folder, lambda file, pointer: pointer.write_text("half a li"))


@fault("A restart", "is one of other cells")
def _(folder: Path) -> None:
    go_on(folder, lambda file, pointer: None, np.arange(2, CELLS + 2))


@fault("A restart", "is one of another emulator file")
def _(folder: Path) -> None:
    def replace(file: Path, pointer: Path) -> None:
        small.write(folder / "leaf.pt", small.Affine([[0.02]]), [TAS], [LAI])

    go_on(folder, replace)


@fault("A restart", "is required, and there is none")
def _(folder: Path) -> None:
    Host(folder, restart={"read": "required"}).run()


@fault("A restart", "cannot be written: its folder is a file")
def _(folder: Path) -> None:
    (folder / "restart").write_text("")
    Host(folder, restart={"every": "1h"}).run()


@fault("A restart", "cannot be written: its folder vanished during the run")
def _(folder: Path) -> None:
    host = Host(folder, restart={"dir": "out/restart", "every": "1h"}).run()
    shutil.rmtree(folder / "out")
    (folder / "out").write_text("")
    host.coupler.step()


# --- histories and weights ------------------------------------------------------------------------------------


@fault("A history", "cannot be gone on with: it has other cells")
def _(folder: Path) -> None:
    section = {"file": "history.nc", "fields": ["lai"], "every": "1h"}
    host = Host(folder, history=section, restart={}).run()
    host.coupler.write_restart()
    host.coupler.finalize()
    other = Host(folder, history=section).start(ids=np.arange(1, 4))
    other.coupler.step()
    other.coupler.finalize()
    Host(folder, history=section, restart={}).start(1).coupler.step()


def made_weights(folder: Path) -> Path:
    """Return a file of the weights between two grids."""
    return weights_file(folder / "cache", latlon(30.0), latlon(45.0), "bilinear", engine="builtin")


@fault("A weight file", "has a changed bit")
def _(folder: Path) -> None:
    path = made_weights(folder)
    data = bytearray(path.read_bytes())
    data[len(data) * 2 // 3] ^= 64
    path.write_bytes(data)
    with WeightFile(path) as weights:
        for _ in weights.slabs():
            pass


@fault("A weight file", "is cut off")
def _(folder: Path) -> None:
    path = made_weights(folder)
    path.write_bytes(path.read_bytes()[:-500])
    with WeightFile(path) as weights:
        for _ in weights.slabs():
            pass


def damaged_cache(folder: Path) -> Seen:
    """Use a cache of weights whose file is damaged: it is made again, with a warning."""
    path = made_weights(folder)
    whole = path.read_bytes()
    path.write_bytes(whole[:-500])
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("coupler_plugin")
    logger.addHandler(handler)
    try:
        with WeightFile(made_weights(folder)) as weights:
            assert sum(len(links.rows) for links in weights.slabs()) > 0
    finally:
        logger.removeHandler(handler)
    return Seen("goes on", records[0].getMessage())


FAULTS.append(Fault("A weight file", "of the cache is cut off", damaged_cache))
