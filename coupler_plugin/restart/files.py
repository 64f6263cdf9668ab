# SPDX-License-Identifier: Apache-2.0
"""Restart files: all that a coupler must remember, in one NetCDF file keyed by cell id.

A file is written under a temporary name, synced and renamed; only then is its `rpointer` file written, which carries
its hash. A restart without a pointer, or whose hash differs, is no restart. At last the file `rpointer.NAME` says how
far the run has come: what is later was left by a run before it. Files are read by rank 0 in slabs of cells, of which
every rank takes its own: any number of ranks can go on from any other number.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import netCDF4
import numpy as np
from numpy.typing import NDArray

from coupler_plugin.cells import Cells
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.parallel import Gather, broadcast, rank_of, together
from coupler_plugin.storage import cannot_write, sync, write_text

if TYPE_CHECKING:
    from mpi4py import MPI

T = TypeVar("T")

#: numbers that rank 0 holds at a time while reading
_SLAB: Final = 2**22


@dataclass(frozen=True)
class Memory:
    """What a coupler remembers: facts that are the same on every rank, and arrays over the cells of this rank.

    Attributes
    ----------
    facts : mapping
        Numbers, texts and mappings of them.
    arrays : mapping of name to array, shape (n, ...)
    owners : mapping of name to name
        For each array that lies on an emulator's own cells: whose.
    """

    facts: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]
    owners: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Domain:
    """Cells that arrays of a restart lie on, the host's or an emulator's own, by dimension and this rank's ids."""

    dimension: str
    ids: NDArray[np.int64]
    gather: Gather

    @property
    def id_name(self) -> str:
        """The variable with the ids."""
        return self.dimension.replace("cell", "id", 1)


class RestartFiles:
    """The restart files of a coupler.

    Parameters
    ----------
    folder : Path
    name : str
        First part of the files' names: the coupling file's.
    keep : int
        Restarts that stay; older ones are removed when a new one is complete.
    cells : Cells
        The host's.
    own : mapping of name to Cells
        Those of the emulators that have their own.
    comm : mpi4py.MPI.Comm or None
    """

    def __init__(
        self, folder: Path, name: str, keep: int, cells: Cells, own: Mapping[str, Cells], comm: MPI.Comm | None
    ) -> None:
        self._folder = folder
        self._name = name
        self._keep = keep
        self._comm = comm
        self._is_root = rank_of(comm) == 0
        ids = {"": cells.ids} | {owner: mine.ids for owner, mine in own.items()}
        self._domains = {
            owner: Domain(f"cell_{owner}" if owner else "cell", mine, Gather(comm, mine)) for owner, mine in ids.items()
        }

    def exists(self, stamp: str) -> bool:
        """Return whether there is a restart of a time; a collective call."""
        return bool(broadcast(self._comm, self._is_root and self._pointer(stamp).exists()))

    def write(self, stamp: str, memory: Memory) -> None:
        """Write the restart of a time; a collective call.

        Parameters
        ----------
        stamp : str
            The time as ``YYYY-MM-DD-SSSSS``.
        memory : Memory

        Raises
        ------
        CouplerError
            IO on every rank, when it cannot be written; restarts that were complete before stay as they are.
        """
        path = self._folder / f"{self._name}.r.{stamp}.nc"
        temporary = path.with_suffix(".nc.tmp")
        together(self._comm, lambda: self._make_folder(path))
        file: netCDF4.Dataset | None = None
        try:
            file = together(self._comm, lambda: self._create(temporary, path))
            together(self._comm, lambda: self._define(file, memory, path))
            for name, array in memory.arrays.items():
                self._write_array(file, name, array, self._domains[memory.owners.get(name, "")].gather, path)
            together(self._comm, lambda: self._complete(file, temporary, path, stamp))
        except BaseException:
            if file is not None and file.isopen():
                with suppress(OSError, RuntimeError):
                    file.close()
            if self._is_root:
                temporary.unlink(missing_ok=True)
            raise

    def read(self, stamp: str) -> Memory:
        """Read the restart of a time; a collective call.

        Raises
        ------
        CouplerError
            IO for a file that is missing or damaged, CELLS for one of other cells.
        """
        path: Path = broadcast(self._comm, together(self._comm, lambda: self._verify(stamp) if self._is_root else None))
        file = together(self._comm, lambda: self._open(path))
        try:
            facts, contents = self._from_root(file, path, _describe)
            arrays: dict[str, NDArray[Any]] = {}
            for domain in self._domains.values():
                arrays |= self._read_domain(file, path, domain, contents.get(domain.dimension, {}))
        finally:
            if file is not None:
                file.close()
        return Memory(facts, arrays)

    def _read_domain(
        self, file: netCDF4.Dataset | None, path: Path, domain: Domain, shapes: Mapping[str, Any]
    ) -> dict[str, NDArray[Any]]:
        """Return this rank's part of the arrays that lie on some cells; a collective call."""
        with _reading(path):
            n, total = domain.ids.size, shapes[domain.id_name][0][0] if shapes else 0
        arrays = {name: np.empty((n, *s[1:]), kind) for name, (s, kind) in shapes.items() if name != domain.id_name}
        found = np.zeros(n, bool)
        for slab, places, rows in self._slabs(file, path, domain, shapes, total):
            found[places] = True
            for name, array in arrays.items():
                array[places] = self._from_root(file, path, _reader(name, slab))[rows]
        together(self._comm, lambda: self._check_cells(path, domain, found, total))
        return arrays

    # --- writing ------------------------------------------------------------------------------------------------

    def _make_folder(self, path: Path) -> None:
        if self._is_root:
            with _writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)

    def _create(self, temporary: Path, path: Path) -> netCDF4.Dataset | None:
        if not self._is_root:
            return None
        with _writing(path):
            return netCDF4.Dataset(str(temporary), "w")

    def _define(self, file: netCDF4.Dataset | None, memory: Memory, path: Path) -> None:
        if file is None:
            return
        with _writing(path):
            file.setncatts({"title": "Restart of a coupler", "facts": json.dumps(memory.facts)})
            for domain in self._domains.values():
                file.createDimension(domain.dimension, domain.gather.ids.size)
                file.createVariable(domain.id_name, "i8", (domain.dimension,))[:] = domain.gather.ids
            for name, array in memory.arrays.items():
                sizes = [f"n{size}" for size in array.shape[1:]]
                for dimension, size in zip(sizes, array.shape[1:], strict=True):
                    if dimension not in file.dimensions:
                        file.createDimension(dimension, size)
                domain = self._domains[memory.owners.get(name, "")]
                shape = (domain.gather.ids.size, *array.shape[1:])
                # Written one sample and read one slab of cells at a time: chunks are what both have in common.
                chunks = (min(shape[0], _rows(shape)), 1, shape[2]) if len(shape) == 3 and min(shape) > 0 else None
                dimensions = (domain.dimension, *sizes)
                file.createVariable(name, array.dtype, dimensions, fill_value=False, chunksizes=chunks)

    def _write_array(
        self, file: netCDF4.Dataset | None, name: str, array: NDArray[Any], gather: Gather, path: Path
    ) -> None:
        """Bring an array to rank 0 and write it; a window comes one sample at a time."""
        parts: Iterable[Any] = range(array.shape[1]) if array.ndim == 3 else (slice(None),)
        for part in parts:
            values = gather(array[:, part] if array.ndim == 3 else array)

            def put(values: NDArray[Any] = values, part: Any = part) -> None:
                if file is None:
                    return
                with _writing(path):
                    if array.ndim == 3:
                        file[name][:, part] = values
                    else:
                        file[name][:] = values

            together(self._comm, put)

    def _complete(self, file: netCDF4.Dataset | None, temporary: Path, path: Path, stamp: str) -> None:
        if file is None:
            return
        with _writing(path):
            file.close()
            digest = _sha256(temporary)
            sync(temporary)
            temporary.replace(path)
            write_text(self._pointer(stamp), f"{path.name} {digest}\n")
            write_text(progress_file(self._folder, self._name), f"{stamp}\n")
            sync(self._folder)
            self._remove_older(stamp)

    def _remove_older(self, stamp: str) -> None:
        """Remove restarts beyond the number to keep that ends with the one of a time, each pointer before its file.

        Later ones, which an earlier run wrote, do not count: else they would have this run's restarts removed.
        """
        pointers = _pointers(self._folder, self._name)
        present = pointers.index(self._pointer(stamp))
        for pointer in pointers[: present + 1][: -self._keep]:
            name = pointer.read_text(encoding="utf-8").split()[0]
            pointer.unlink()
            (self._folder / name).unlink(missing_ok=True)

    # --- reading ------------------------------------------------------------------------------------------------

    def _pointer(self, stamp: str) -> Path:
        return self._folder / f"rpointer.{self._name}.{stamp}"

    def _verify(self, stamp: str) -> Path:
        """Return the file that the pointer of a time names, after comparing its hash."""
        pointer = self._pointer(stamp)
        try:
            name, digest = pointer.read_text(encoding="utf-8").split()
            path = self._folder / name
            is_whole = _sha256(path) == digest
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "the pointer is not one line of a name and a hash"
            raise CouplerError(Status.IO, f"cannot read the restart that '{pointer}' names: {reason}.") from error
        if not is_whole:
            raise CouplerError(
                Status.IO,
                f"the restart file '{path}' is damaged: its hash is not the one in '{pointer.name}'; go back to an "
                "earlier restart.",
            )
        return path

    def _open(self, path: Path) -> netCDF4.Dataset | None:
        if not self._is_root:
            return None
        with _reading(path):
            return netCDF4.Dataset(str(path))

    def _from_root(self, file: netCDF4.Dataset | None, path: Path, read: Callable[[netCDF4.Dataset], T]) -> T:
        """Read something on rank 0, for all; a collective call."""

        def work() -> T | None:
            if file is None:
                return None
            with _reading(path):
                return read(file)

        return broadcast(self._comm, together(self._comm, work))

    def _slabs(
        self, file: netCDF4.Dataset | None, path: Path, domain: Domain, shapes: Mapping[str, Any], total: int
    ) -> Iterable[Any]:
        """Yield slabs of the file: its slice, the places of this rank's cells in it, and their rows of the slab."""
        rows = min((_rows(shape) for shape, _ in shapes.values()), default=1)
        for first in range(0, total, rows):
            slab = slice(first, min(first + rows, total))
            ids = self._from_root(file, path, _reader(domain.id_name, slab))
            row = np.minimum(np.searchsorted(ids, domain.ids), ids.size - 1)
            places = np.flatnonzero(ids[row] == domain.ids)
            yield slab, places, row[places]

    def _check_cells(self, path: Path, domain: Domain, found: NDArray[np.bool_], total: int) -> None:
        if not found.all():
            missing = domain.ids[~found]
            raise CouplerError(
                Status.CELLS,
                f"the restart file '{path}' has no cell {missing[0]}, one of {missing.size} cells of this rank that it "
                "lacks; it belongs to other cells.",
            )
        if self._is_root and domain.gather.ids.size != total:
            raise CouplerError(
                Status.CELLS,
                f"the restart file '{path}' has {total} cells, this run {domain.gather.ids.size}; it belongs to "
                "others.",
            )


def _rows(shape: Sequence[int]) -> int:
    """Return how many cells of an array of this shape fill a slab."""
    return max(1, _SLAB // int(np.prod(shape[1:], dtype=int)))


def _pointers(folder: Path, name: str) -> list[Path]:
    """Return the pointers of a coupler's restarts in the order of their times; the year may have five digits."""
    return sorted(folder.glob(f"rpointer.{name}.*-*-*-?????"), key=lambda path: _order(_stamp(path)))


def _stamp(pointer: Path) -> str:
    return pointer.name.rpartition(".")[2]


def _order(stamp: str) -> tuple[int, str]:
    return len(stamp), stamp


def progress_file(folder: Path, name: str) -> Path:
    """Return the file that says how far the last run has come."""
    return folder / f"rpointer.{name}"


def begin(folder: Path, name: str, stamp: str) -> None:
    """Say that a run begins at a time, so that none goes on from later restarts, which an earlier run left.

    Raises
    ------
    CouplerError
        IO, when that cannot be written.
    """
    pointers = _pointers(folder, name)
    if pointers and _order(_stamp(pointers[-1])) > _order(stamp):
        path = progress_file(folder, name)
        with _writing(path):
            write_text(path, f"{stamp}\n")


def newest(folder: Path, name: str) -> str | None:
    """Return the time of the newest restart of the last run in a folder, as ``YYYY-MM-DDTHH:MM:SS``; None without one.

    Where nothing says how far that run has come, as in folders of earlier versions, the latest restart is taken.
    """
    stamps = [_stamp(pointer) for pointer in _pointers(folder, name)]
    with suppress(FileNotFoundError):
        reached = progress_file(folder, name).read_text(encoding="utf-8").strip()
        stamps = [stamp for stamp in stamps if _order(stamp) <= _order(reached)]
    if not stamps:
        return None
    date, _, seconds = stamps[-1].rpartition("-")
    minutes, second = divmod(int(seconds), 60)
    return f"{date}T{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}"


def _describe(file: netCDF4.Dataset) -> tuple[dict[str, Any], dict[str, dict[str, tuple[tuple[int, ...], Any]]]]:
    """Return the facts of a file, and for each dimension of cells the shapes and kinds of the arrays on it."""
    file.set_auto_mask(False)
    contents: dict[str, dict[str, tuple[tuple[int, ...], Any]]] = {}
    for name, variable in file.variables.items():
        contents.setdefault(variable.dimensions[0], {})[name] = (variable.shape, variable.dtype)
    return json.loads(file.facts), contents


def _reader(name: str, slab: slice) -> Callable[[netCDF4.Dataset], NDArray[Any]]:
    return lambda file: np.asarray(file[name][slab])


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Say which file is no restart, though its hash is right: such as one of another program."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise CouplerError(
            Status.IO,
            f"the file '{path}' is whole, but no restart that can be read: {error}; go back to an earlier one.",
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say which restart could not be written."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise cannot_write("restart file", path, error, "restarts that were complete are untouched") from error
