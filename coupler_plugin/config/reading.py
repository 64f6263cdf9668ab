# SPDX-License-Identifier: Apache-2.0
"""Reading a coupling file: from disk on rank 0, against its schema, with paths that stay in the run directory."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from coupler_plugin.config.coupling import Config
from coupler_plugin.config.faults import faults
from coupler_plugin.config.section import Written
from coupler_plugin.config.sentences import sentence, title
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.parallel import broadcast, rank_of, together
from coupler_plugin.yaml_file import YamlFile

if TYPE_CHECKING:
    from mpi4py import MPI

Sections = TypeVar("Sections", bound=Written)

_MARK: Final = "${instance}"


def load_config(path: str | Path, comm: MPI.Comm | None = None, instance: str | None = None) -> Config:
    """Read a coupling file from disk on rank 0 and hand it to all ranks; a collective call.

    ``${instance}`` in its text stands for `instance`, or else for the environment variable `COUPLER_INSTANCE` of rank
    0: one file serves a host that is started several times in one job.

    Returns
    -------
    Config
        with paths resolved against the folder of the file.

    Raises
    ------
    CouplerError
        CONFIG on every rank, with file, line and column.
    """
    path = Path(path)
    text = read_text(path, comm, "coupling file")
    text = broadcast(comm, together(comm, lambda: _for_instance(text, path, instance) if rank_of(comm) == 0 else ""))
    return together(comm, lambda: parse_config(text, path))


def _for_instance(text: str, path: Path, instance: str | None) -> str:
    """Put the number of this host, of four digits as in the file names of climate models, in the place of its mark."""
    if _MARK not in text:
        return text
    name = instance or os.environ.get("COUPLER_INSTANCE", "").strip()
    if not re.fullmatch(r"\w+", name):
        line = text[: text.index(_MARK)].count("\n") + 1
        reason = f"is '{name}'" if name else "is not set"
        raise CouplerError(
            Status.CONFIG,
            f"{path}:{line}: '{_MARK}' stands for the environment variable COUPLER_INSTANCE, which {reason}; set it to "
            "the number of this host among those of the job, such as 1.",
        )
    return text.replace(_MARK, f"{int(name):04d}" if name.isdecimal() else name)


def read_text(path: Path, comm: MPI.Comm | None, what: str) -> str:
    """Return the text of a file on all ranks, of which rank 0 reads it; a collective call."""
    return broadcast(comm, together(comm, lambda: _read(path, what) if rank_of(comm) == 0 else ""))


def _read(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise CouplerError(
            Status.CONFIG, f"cannot read the {what} '{path}' (run from {Path.cwd()}): {reason}."
        ) from error


def parse_config(text: str, path: Path) -> Config:
    """Return the configuration written in YAML `text`; `path` names the file in errors and roots its paths."""
    config = parse_sections(Config, text, path)
    for keys, fault in faults(config):
        with config.blaming(*keys):
            raise fault
    return resolve_paths(config, path)


def parse_sections(kind: type[Sections], text: str, path: Path) -> Sections:
    """Return what the schema `kind` makes of YAML `text`; paths are as they are written.

    Raises
    ------
    CouplerError
        CONFIG, with file, line and column of each mistake.
    """
    file = YamlFile(text, path)
    if not isinstance(file.data, dict):
        first = next(name for name, field in kind.model_fields.items() if field.is_required())
        raise CouplerError(Status.CONFIG, f"{path}: {title(kind)} is a mapping with the key '{first}'.")
    try:
        sections = kind.model_validate(file.data)
    except ValidationError as error:
        problems = [sentence(problem, file, kind) for problem in error.errors()]
        raise CouplerError(Status.CONFIG, "\n".join(problems)) from error
    sections._file = file
    return sections


def resolve_paths(sections: Sections, path: Path) -> Sections:
    """Return sections with their paths taken from the folder of the file that they were read from."""
    resolved: Sections = _resolve(sections, sections, path.parent)
    return resolved


def _resolve(value: Any, config: Written, folder: Path, *keys: str | int) -> Any:
    """Return a part of the configuration with its paths taken from the folder of the coupling file."""
    if isinstance(value, Path):
        with config.blaming(*keys):
            return _inside(value, folder)
    if isinstance(value, BaseModel):
        update = {
            name: _resolve(getattr(value, name), config, folder, *keys, field.alias or name)
            for name, field in type(value).model_fields.items()
        }
        return value.model_copy(update=update)
    if isinstance(value, list):
        return [_resolve(entry, config, folder, *keys, index) for index, entry in enumerate(value)]
    if isinstance(value, dict):
        return {key: _resolve(entry, config, folder, *keys, key) for key, entry in value.items()}
    return value


def _inside(path: Path, folder: Path) -> Path:
    """Return a path taken from `folder`; a relative one must stay there or in the working directory.

    What counts is how it is written: a symbolic link in the run directory was put there by whoever set the run up.
    """
    if "\0" in str(path):
        raise CouplerError(Status.CONFIG, f"the path {str(path)!r} holds a null byte; no file can have that name.")
    home = Path(os.path.normpath(Path.cwd() / folder))
    whole = Path(os.path.normpath(home / path))
    if not path.is_absolute() and not (whole.is_relative_to(home) or whole.is_relative_to(Path.cwd())):
        raise CouplerError(
            Status.CONFIG,
            f"the path '{path}' leaves the run directory '{home}'; if that is meant, write it as an absolute path or "
            "put a link there.",
        )
    return folder / path
