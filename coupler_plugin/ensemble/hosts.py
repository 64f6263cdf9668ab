# SPDX-License-Identifier: Apache-2.0
"""Hosts as members: one program started several times in one MPI job, and statistics over the histories they write.

Every rank of a host finds the host's number in `COUPLER_INSTANCE`, by which the host splits `MPI_COMM_WORLD`, and which
stands for `${instance}` in its coupling file.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from coupler_plugin.cells import Cells, Values
from coupler_plugin.clock import Clock
from coupler_plugin.config import Config, load_config
from coupler_plugin.config.files import METHODS, HistorySection
from coupler_plugin.driver.records import open_forcing, read_intervals
from coupler_plugin.ensemble.earlier import COMPLETE, read_attributes
from coupler_plugin.ensemble.members import Member
from coupler_plugin.ensemble.observations import Observations
from coupler_plugin.ensemble.output import Output, Score
from coupler_plugin.ensemble.section import EnsembleFile, HostsSection, StatisticsSection
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.fields import Fields
from coupler_plugin.output import history_files
from coupler_plugin.output.history import FINALIZED, RUNNING, Column, stamp
from coupler_plugin.storage import cannot_write, write_text


def run_hosts(
    ensemble: EnsembleFile, hosts: HostsSection, folder: Path, overwrite: bool
) -> tuple[dict[int, str], int, dict[str, Score]]:
    """Start the hosts that have no complete history, and write statistics over the histories that are complete.

    MPI ends all hosts of a job with the first that fails. Those that are not complete then run again in halves, until
    the one that fails is alone: it is reported and left out.

    Parameters
    ----------
    folder : Path
        Where the jobs run.

    Returns
    -------
    status : dict of int to str
        By number of the host: complete, or why it was left out.
    kept : int
        Number of hosts that an earlier run had left complete.
    scores : dict of str to Score
        By observed field.

    Raises
    ------
    CouplerError
        CONFIG or IO before anything is started; RUN, when no host is left; IO, when histories do not fit together.
    """
    configs = {number: load_config(ensemble.coupling, instance=str(number)) for number in hosts.numbers}
    with ensemble.blaming("statistics", "fields"):
        paths = {number: _history(config, ensemble.statistics).file for number, config in configs.items()}
    if len(set(paths.values())) < len(paths):
        raise CouplerError(
            Status.CONFIG,
            f"all hosts would write the history '{paths[1]}'; write '${{instance}}' into its name in "
            f"'{ensemble.coupling}'.",
        )
    if not overwrite:
        _check_earlier(ensemble, configs, paths)
    complete = [number for number in hosts.numbers if not overwrite and _is_complete(paths[number])]
    status = dict.fromkeys(hosts.numbers, COMPLETE)
    for number, reason in _run(hosts, folder, [n for n in hosts.numbers if n not in complete], paths).items():
        status[number] = f"left out: {reason}"
        print(f"host {number} is left out: {reason}", file=sys.stderr)
    left = [number for number in hosts.numbers if status[number] == COMPLETE]
    if not left:
        raise CouplerError(Status.RUN, "no host is left; what they said is above.")
    files = {number: open_forcing(paths[number]) for number in left}
    try:
        return status, len(complete), _summarise(ensemble, configs, files, paths, status)
    finally:
        for file in files.values():
            file.close()


def _run(hosts: HostsSection, folder: Path, missing: Sequence[int], paths: Mapping[int, Path]) -> dict[int, str]:
    """Run hosts and return those that fail, with the reason."""
    failed: dict[int, str] = {}
    jobs = [missing] if missing else []
    while jobs:
        job = jobs.pop(0)
        for number in job:  # what an earlier run has left of it must not be taken for this one's
            if paths[number].exists() and _attributes(paths[number]):
                _note(paths[number], RUNNING)
        code = _start(command(hosts, job, folder), folder)
        if not code:
            for number in job:
                _note(paths[number], FINALIZED)
        left = [number for number in job if not _is_complete(paths[number])]
        if len(job) == 1 and left:
            failed[job[0]] = f"its job ended with the status {code}"
        elif left:
            middle = len(left) // 2
            jobs += [half for half in (left[:middle], left[middle:]) if half]
    return failed


def command(hosts: HostsSection, numbers: Sequence[int], folder: Path) -> list[str]:
    """Return the launch line of a job of some hosts: contexts of `mpirun`, or a file of `srun --multi-prog`.

    That file is written into `folder`.
    """
    words = shlex.split(hosts.launcher) if hosts.launcher else [shutil.which("mpirun") or shutil.which("mpiexec") or ""]
    if not words[0]:
        raise CouplerError(Status.MPI, "there is no mpirun on the path; install Open MPI or MPICH, or give 'launcher'.")
    lines = []
    for number in numbers:
        arguments = [argument.replace("${instance}", f"{number:04d}") for argument in hosts.arguments]
        lines.append(["env", f"COUPLER_INSTANCE={number}", str(hosts.program), *arguments])
    if Path(words[0]).name == "srun":
        file = folder / "hosts.conf"
        ranks = [f"{place * hosts.ranks}-{(place + 1) * hosts.ranks - 1}" for place in range(len(lines))]
        text = "".join(f"{which} {shlex.join(line)}\n" for which, line in zip(ranks, lines, strict=True))
        try:
            write_text(file, text)
        except OSError as error:
            raise cannot_write("list of the hosts", file, error) from error
        return [*words, "-n", str(len(lines) * hosts.ranks), "--multi-prog", str(file)]
    for place, line in enumerate(lines):
        words += [":"] * (place > 0) + ["-n", str(hosts.ranks), *line]
    return words


def _start(words: list[str], folder: Path) -> int:
    try:
        return subprocess.run(words, cwd=folder, check=False).returncode
    except OSError as error:
        raise CouplerError(Status.MPI, f"'{words[0]}' cannot be started: {error}.") from error


def _check_earlier(ensemble: EnsembleFile, configs: Mapping[int, Config], paths: Mapping[int, Path]) -> None:
    """Check that files that are there may be gone on with or replaced."""
    expected = [(ensemble.statistics.file, "ensemble_file", ensemble.text)]
    expected += [(paths[number], "coupling_file", config.text) for number, config in configs.items()]
    for path, name, text in expected:
        if path.exists() and _attributes(path).get(name) != text:
            raise CouplerError(
                Status.IO,
                f"'{path}' exists and is of another run; move it away or allow its replacement with --overwrite.",
            )


def _is_complete(path: Path) -> bool:
    """Return whether a history is that of a host that came to its end."""
    return path.exists() and _attributes(path).get("status") == FINALIZED


def _attributes(path: Path) -> dict[str, str]:
    """Return the attributes of a file; none, where it cannot be read, such as one that was never closed."""
    try:
        return read_attributes(path) or {}
    except CouplerError:
        return {}


def _note(path: Path, status: str) -> None:
    """Say in a history whether it is that of a host that came to its end."""
    try:
        if not path.exists():
            raise CouplerError(
                Status.IO, f"the hosts ended without the history '{path}': do they take the coupling file?"
            )
        file = history_files.reopen(path)
        file.note("status", status)
        file.close()
    except (OSError, RuntimeError) as error:
        raise cannot_write("history file", path, error) from error


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


def _summarise(
    ensemble: EnsembleFile,
    configs: Mapping[int, Config],
    files: Mapping[int, xr.Dataset],
    paths: Mapping[int, Path],
    status: Mapping[int, str],
) -> dict[str, Score]:
    """Write the statistics over the hosts that are complete, one interval at a time."""
    section = ensemble.statistics
    one = min(files)  # of those that are left
    config, first = configs[one], files[one]
    fields = Fields(config.fields)
    clock = Clock(first["time"].values[0].strftime("%Y-%m-%d"), 1.0, config.calendar)
    intervals = read_intervals(first, paths[one], clock)
    for number, file in files.items():
        if read_intervals(file, paths[number], clock) != intervals or not np.array_equal(file["id"], first["id"]):
            raise CouplerError(
                Status.IO, f"'{paths[number]}' has other times or cells than '{paths[one]}'; the hosts must agree."
            )
    area = first["cell_area"].values if "cell_area" in first else None
    cells = Cells(first["id"].values.astype(np.int64), first["lon"].values, first["lat"].values, area)
    columns = _columns(section, fields, first)
    observations = Observations(section.observations, fields, cells, clock) if section.observations else None
    if observations:
        observations.check(None)
    members = [Member(number, number, (), ()) for number in status]
    rows = [place for place, number in enumerate(status) if number in files]
    attributes = {
        **{name: str(first.attrs.get(name, "")) for name in ("source", "versions", "model_sha256")},
        "history": f"{stamp()}: statistics over {len(files)} hosts by coupler_plugin",
        "ensemble_file": ensemble.text,
        "coupling_file": config.text,
        "what": json.dumps([section.fields, section.every, section.from_]),
        "realizations": json.dumps({number: path.name for number, path in paths.items()}),
        "status": "{}",
    }
    output = Output(
        section.file, None, columns, section.quantiles, observations.names if observations else [], members,
        ensemble.seed, cells, clock, attributes, None,
    )  # fmt: skip
    begin_at = clock.parse(section.from_) if section.from_ else 0
    for index, (begin, end) in enumerate(intervals):
        if begin >= begin_at:
            values = {column.name: _values(list(files.values()), column, index, cells.n) for column in columns}
            observed = (
                {name: observations.mean(name, begin, end) for name in observations.names} if observations else {}
            )
            output.write(begin, end, rows, values, observed)
    output.finish({str(number): text for number, text in status.items()})
    return output.scores


def _columns(section: StatisticsSection, fields: Fields, file: xr.Dataset) -> list[Column]:
    found = []
    for name, method in HistorySection.model_validate({"file": section.file, "fields": section.fields}).entries:
        entry = fields[name]
        called = entry.name if method in ("mean", "point") else f"{entry.name}_{method}"
        levels = int(np.prod(file[called].shape[1:-1], dtype=int))
        found.append(Column(called, entry, levels, METHODS[method]))
    return found


def _values(files: Sequence[xr.Dataset], column: Column, index: int, n: int) -> Values:
    """Return a field of all hosts in one interval, shape (hosts, n, levels)."""
    records = [np.asarray(file[column.name][index].values, np.float64) for file in files]
    return np.moveaxis(np.stack(records).reshape(len(files), column.levels, n), 1, 2)
