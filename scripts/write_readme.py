# SPDX-License-Identifier: Apache-2.0
"""Write the parts of README.md that come from elsewhere: the smallest host, the reference tables, the scores.

`make readme` runs it after a change of what it reads; a test fails while README.md and its sources disagree.
"""

from __future__ import annotations

import json
import re
import typing
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from coupler_plugin.config import Config
from coupler_plugin.errors import Status

ROOT = Path(__file__).resolve().parents[1]
#: scores that the table shows, where there are such: key, label, format
METRICS = [
    ("rmse", "RMSE", ".2f"),
    ("r2", "R2", ".2f"),
    ("skill", "skill", ".2f"),
    ("accuracy", "accuracy", ".4f"),
    ("mean_iou", "mean IoU", ".3f"),
    ("changed_accuracy", "of changed pixels", ".3f"),
]
MEANING = re.compile(r"^    (\w+) = (\d+)(?:  #: (.*))?$", re.MULTILINE)


def write(text: str) -> str:
    """Return README.md with its generated parts made anew."""
    for name, language in (("host.f90", "fortran"), ("coupling.yml", "yaml")):
        path = f"examples/00_smallest_host/{name}"
        text = replace(text, path, f"```{language}\n{(ROOT / path).read_text()}```\n")
    text = replace(text, "reference: coupling file", "\n".join(coupling_file(Config, "")) + "\n")
    text = replace(text, "reference: status codes", status_codes())
    return replace(text, "scores", scores())


def replace(text: str, mark: str, content: str) -> str:
    """Put `content` between the comment that names `mark` and the next paragraph that is not generated."""
    start = text.index(f"<!-- {mark} -->")
    begin = text.index("\n", start) + 1
    rest = text[begin:]
    old = re.match(r"```.*?\n```\n", rest, re.DOTALL) or re.match(r"(\|.*\n)*", rest)
    assert old
    return text[:begin] + content + rest[old.end() :]


def coupling_file(section: type[BaseModel], prefix: str) -> list[str]:
    """Return the rows of the reference of a section and of the sections in it."""
    rows = ["| key | default | what it is |", "|---|---|---|"] if not prefix else []
    for name, field in section.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        inner = inner_section(field.annotation)
        default = "required" if field.is_required() else shown(field.default)
        rows.append(f"| `{key}` | {default} | {field.description or first_line(inner)} |")
        if inner is not None and name != "fields":
            kind = str(field.annotation)
            rows += coupling_file(inner, f"{key}{'[]' if 'list[' in kind else '.NAME' if 'dict[' in kind else ''}.")
    return rows


def inner_section(annotation: Any) -> type[BaseModel] | None:
    """Return the section in a type such as ``list[EmulatorSection]`` or ``HistorySection | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in typing.get_args(annotation) if (found := inner_section(part))), None)


def shown(default: Any) -> str:
    """Return a default as the table shows it."""
    if default is PydanticUndefined or default is None or default in ([], {}) or isinstance(default, BaseModel):
        return ""
    return f"`{default}`"


def first_line(section: type[BaseModel] | None) -> str:
    """Return the first sentence of a section's documentation."""
    return ((section.__doc__ if section else "") or "").strip().partition("\n")[0].rstrip(".")


def status_codes() -> str:
    """Return the table of status codes, from the file that defines them."""
    source = (ROOT / "coupler_plugin" / "errors.py").read_text()
    rows = ["| code | name in C and Fortran | meaning |", "|---|---|---|"]
    for name, number, meaning in MEANING.findall(source):
        assert Status[name] == int(number)
        constant = "COUPLER_OK" if name == "OK" else f"COUPLER_ERROR_{name}"
        rows.append(f"| {number} | `{constant}` | {meaning or 'success'} |")
    return "\n".join(rows) + "\n"


def scores() -> str:
    """Return the table of scores, from the files that `evaluate` writes beside the emulators."""
    rows = ["| emulator | output | model | scores |", "|---|---|---|---|"]
    for path in sorted((ROOT / "torchscript_models" / "zoo").glob("*.json")):
        for protocol, outputs in json.loads(path.read_text())["scores"].items():
            for output, entry in outputs.items():
                if not isinstance(entry, dict):
                    continue
                models = {"**this emulator**": entry, **entry["baselines"]}
                for model, score in models.items():
                    lead = f"{path.stem} ({protocol.replace('_', ' ')}) | {output}" if model.startswith("*") else " | "
                    known = ((label, score.get(key), form) for key, label, form in METRICS)
                    shown = ", ".join(f"{label} {value:{form}}" for label, value, form in known if value is not None)
                    rows.append(f"| {lead} | {model.replace('_', ' ')} | {shown} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(write(readme.read_text()))
