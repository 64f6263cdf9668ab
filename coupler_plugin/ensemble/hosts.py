# SPDX-License-Identifier: Apache-2.0
"""Hosts as members: one program started several times in one MPI job, and statistics over the histories they write.

Every rank of a host finds the host's number in `COUPLER_INSTANCE`, by which the host splits `MPI_COMM_WORLD`, and which
stands for `${instance}` in its coupling file.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from coupler_plugin.cells import Cells, Values
from coupler_plugin.clock import Clock
from coupler_plugin.config import Config, load_config
from coupler_plugin.config.files import METHODS, HistorySection
from coupler_plugin.driver.records import open_forcing, read_intervals
from coupler_plugin.ensemble.earlier import COMPLETE
from coupler_plugin.ensemble.members import Member
from coupler_plugin.ensemble.observations import Observations
from coupler_plugin.ensemble.output import Output, Score
from coupler_plugin.ensemble.section import EnsembleFile, HostsSection, StatisticsSection
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.fields import Fields
from coupler_plugin.output.history import Column


def run_hosts(ensemble: EnsembleFile, hosts: HostsSection, folder: Path, overwrite: bool) -> dict[str, Score]:
    """Start the hosts in one job, wait for them, and write statistics over their histories.

    Parameters
    ----------
    folder : Path
        Where the job runs.

    Returns
    -------
    dict of str to Score
        By observed field.

    Raises
    ------
    CouplerError
        CONFIG or IO before anything is started; RUN, when the job fails; IO, when its histories do not fit together.
    """
    numbers = range(1, hosts.instances + 1)
    configs = [load_config(ensemble.coupling, instance=str(number)) for number in numbers]
    with ensemble.blaming("statistics", "fields"):
        paths = [_history(config, ensemble.statistics).file for config in configs]
    if len(set(paths)) < len(paths):
        raise CouplerError(
            Status.CONFIG,
            f"all hosts would write the history '{paths[0]}'; write '${{instance}}' into its name in "
            f"'{ensemble.coupling}'.",
        )
    for path in (ensemble.statistics.file, *paths):
        if path.exists() and not overwrite:
            raise CouplerError(Status.IO, f"'{path}' exists; move it away or allow its replacement with --overwrite.")
    _start(command(hosts), folder)
    files = [_open(path) for path in paths]
    try:
        return _summarise(ensemble, configs[0], files, paths)
    finally:
        for file in files:
            file.close()


def command(hosts: HostsSection) -> list[str]:
    """Return the launch line of the job: a context of `mpirun` for each host."""
    launcher = shutil.which("mpirun") or shutil.which("mpiexec")
    if launcher is None:
        raise CouplerError(Status.MPI, "there is no mpirun on the path; install Open MPI or MPICH.")
    words = [launcher]
    for number in range(1, hosts.instances + 1):
        arguments = [argument.replace("${instance}", f"{number:04d}") for argument in hosts.arguments]
        words += [":"] * (number > 1) + ["-n", str(hosts.ranks), "env", f"COUPLER_INSTANCE={number}"]
        words += [str(hosts.program), *arguments]
    return words


def _start(words: list[str], folder: Path) -> None:
    try:
        code = subprocess.run(words, cwd=folder, check=False).returncode
    except OSError as error:
        raise CouplerError(Status.MPI, f"'{words[0]}' cannot be started: {error}.") from error
    if code:
        raise CouplerError(
            Status.RUN,
            f"the job of the hosts ended with the status {code}; what they said is above. MPI ends all hosts of a job "
            "with the first that fails; their histories hold what came before.",
        )


def _history(config: Config, section: StatisticsSection) -> HistorySection:
    """Return the history of a host that has what the statistics are made of."""
    wanted = HistorySection.model_validate({"file": section.file, "fields": section.fields}).entries
    for history in config.history:
        if set(wanted) <= set(history.entries) and history.every == section.every and not history.grid:
            return history
    raise CouplerError(
        Status.CONFIG,
        f"no history of the hosts has {', '.join(section.fields)} every {section.every} as a list of cells; give the "
        "coupling file one, without 'grid: true'.",
    )


def _open(path: Path) -> xr.Dataset:
    if not path.exists():
        raise CouplerError(Status.IO, f"the hosts ended without the history '{path}': do they take the coupling file?")
    return open_forcing(path)


def _summarise(
    ensemble: EnsembleFile, config: Config, files: Sequence[xr.Dataset], paths: Sequence[Path]
) -> dict[str, Score]:
    """Write the statistics, one interval at a time."""
    section, first = ensemble.statistics, files[0]
    fields = Fields(config.fields)
    clock = Clock(first["time"].values[0].strftime("%Y-%m-%d"), 1.0, config.calendar)
    intervals = [read_intervals(file, path, clock) for file, path in zip(files, paths, strict=True)]
    for file, path, times in zip(files, paths, intervals, strict=True):
        if times != intervals[0] or not np.array_equal(file["id"], first["id"]):
            raise CouplerError(Status.IO, f"'{path}' has other times or cells than '{paths[0]}'; the hosts must agree.")
    area = first["cell_area"].values if "cell_area" in first else None
    cells = Cells(first["id"].values.astype(np.int64), first["lon"].values, first["lat"].values, area)
    columns = _columns(section, fields, first)
    observations = Observations(section.observations, fields, cells, clock) if section.observations else None
    if observations:
        observations.check(None)
    members = [Member(number, number, (), ()) for number in range(1, len(files) + 1)]
    attributes = {
        "ensemble_file": ensemble.text,
        "coupling_file": config.text,
        "model_sha256": str(first.attrs.get("model_sha256", "")),
        "what": json.dumps([section.fields, section.every, section.from_]),
        "realizations": json.dumps({m.number: path.name for m, path in zip(members, paths, strict=True)}),
        "status": "{}",
    }
    output = Output(
        section.file, None, columns, section.quantiles, observations.names if observations else [], members,
        ensemble.seed, cells, clock, attributes, None,
    )  # fmt: skip
    begin_at = clock.parse(section.from_) if section.from_ else 0
    for index, (begin, end) in enumerate(intervals[0]):
        if begin >= begin_at:
            values = {column.name: _values(files, column, index, cells.n) for column in columns}
            observed = (
                {name: observations.mean(name, begin, end) for name in observations.names} if observations else {}
            )
            output.write(begin, end, range(len(files)), values, observed)
    output.finish({str(member.number): COMPLETE for member in members})
    return output.scores


def _columns(section: StatisticsSection, fields: Fields, file: xr.Dataset) -> list[Column]:
    found = []
    for name, method in HistorySection.model_validate({"file": section.file, "fields": section.fields}).entries:
        entry = fields[name]
        called = entry.name if method in ("mean", "point") else f"{entry.name}_{method}"
        levels = int(np.prod(file[called].shape[2:], dtype=int))
        found.append(Column(called, entry, levels, METHODS[method]))
    return found


def _values(files: Sequence[xr.Dataset], column: Column, index: int, n: int) -> Values:
    """Return a field of all hosts in one interval, shape (hosts, n, levels)."""
    records = [np.asarray(file[column.name][index].values, np.float64) for file in files]
    return np.stack(records).reshape(len(files), n, column.levels)
