# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a coupling file, as a sentence: where, which key or value, what is allowed, the nearest name."""

from __future__ import annotations

import re
from typing import Any, get_args

from pydantic import BaseModel

from coupler_plugin.config.section import as_written
from coupler_plugin.errors import nearest
from coupler_plugin.yaml_file import YamlFile, dotted


def title(kind: type[BaseModel]) -> str:
    """Return what a file of a schema is called, such as "a coupling file"."""
    words = (kind.__doc__ or "").rstrip(".")
    return words[0].lower() + words[1:]


def sentence(problem: Any, file: YamlFile, kind: type[BaseModel]) -> str:
    """Return one problem of pydantic as: file, line, column, key, the value, what is allowed."""
    keys = as_written(problem["loc"], file)
    *above, key = keys
    place = file.place(keys, of_key=problem["type"] == "extra_forbidden")
    if problem["type"] == "extra_forbidden":
        allowed = _keys_of(above, kind)
        where = _where(above, kind)
        return f"{place}: '{key}' is not a key {where}.{nearest(str(key), allowed)} Allowed: {', '.join(allowed)}."
    if problem["type"] == "missing":
        return f"{place}: the key '{key}' {_where(above, kind)} is missing; it has no default."
    message = re.sub(r"^Value error, ", "", problem["msg"]).rstrip(".")
    return f"{place}: '{dotted(keys)}': {message} (value: {problem['input']!r})."


def _where(keys: list[Any], kind: type[BaseModel]) -> str:
    return f"of '{dotted(keys)}'" if keys else f"of {title(kind)}"


def _keys_of(keys: list[Any], kind: type[BaseModel]) -> list[str]:
    """Return the keys that a schema allows at a place of the file."""
    model = kind
    for key in keys:
        if not isinstance(key, int):
            # A name under which the user lists something is no field of the schema.
            field = next((field for name, field in model.model_fields.items() if key in (name, field.alias)), None)
            model = (_section_of(field.annotation) if field else None) or model
    return [field.alias or name for name, field in model.model_fields.items()]


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """Return the section in a type such as ``list[EmulatorSection]`` or ``HistorySection | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_section_of, get_args(annotation))), None)
