# SPDX-License-Identifier: Apache-2.0
"""What all sections of the coupling file share: strict keys, intervals of time, and their place in the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, PrivateAttr

from coupler_plugin.clock import parse_interval
from coupler_plugin.errors import CouplerError
from coupler_plugin.yaml_file import Keys, YamlFile, dotted


def _interval(text: str) -> str:
    try:
        parse_interval(text)
    except CouplerError as error:
        raise ValueError(str(error)) from error
    return text


def fixed(value: str) -> str:
    """Check that an interval of the coupling file has a length of its own."""
    if parse_interval(value).months:
        raise ValueError("a month or a year has no fixed length; write it in s, min, h or d")
    return value


IntervalText = Annotated[str, AfterValidator(_interval)]


class Section(BaseModel):
    """A part of the coupling file: a key that it does not have is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Written(Section):
    """Sections that were read from a YAML file, whose errors point at their place there."""

    _file: YamlFile | None = PrivateAttr(None)

    @property
    def text(self) -> str:
        """The file as it was written; empty for what was made in Python."""
        return self._file.text if self._file else ""

    @property
    def sha256(self) -> str:
        """Hash of the file, for provenance."""
        return sha256(self.text.encode()).hexdigest()

    @contextmanager
    def blaming(self, *keys: str | int) -> Iterator[None]:
        """Put the place of a value of the file in front of the errors that it causes."""
        try:
            yield
        except CouplerError as error:
            if self._file is None:
                raise
            keys = as_written(keys, self._file)
            place = f"{self._file.place(keys)}: '{dotted(keys)}'"
            raise CouplerError(error.status, f"{place}: {error}") from error


def as_written(keys: Keys, file: YamlFile) -> Keys:
    """Return the way to a value as the user wrote it: one section may stand for a list of one."""
    is_single = keys[0] == "history" and len(keys) > 1 and isinstance(file.data["history"], dict)
    return (keys[0], *keys[2:]) if is_single else keys
