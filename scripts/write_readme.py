# SPDX-License-Identifier: Apache-2.0
"""Write the parts of README.md and of pages in docs that come from examples, schema, status codes and scores.

`make readme` runs it after a change of what it reads; a test fails while a page and its sources disagree.
"""

from __future__ import annotations

import json
import re
import statistics
import typing
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from coupler_plugin.config import Config
from coupler_plugin.emulator.load import load
from coupler_plugin.errors import Status

ROOT = Path(__file__).resolve().parents[1]
#: pages with generated parts
PAGES = [
    "README.md",
    "docs/coupling_file.md",
    *(
        f"docs/emulators/{name}.md"
        for name in ("biomass_plots", "carbon_flux", "downscaling", "land_state", "leaf_area_index")
    ),
]
#: scores that the table shows, where there are such: key, label, format
METRICS = [
    ("rmse", "RMSE", ".2f"),
    ("r2", "R2", ".2f"),
    ("skill", "skill", ".2f"),
    ("accuracy", "accuracy", ".3f"),
    ("mean_iou", "mean IoU", ".3f"),
    ("changed_accuracy", "accuracy of changed pixels", ".3f"),
]
SPREAD = "spread"  #: standard deviation of the root mean square error over the runs
#: what an emulator's own page shows, where there are such: key, label
PAGE_METRICS = [
    ("rmse", "RMSE"),
    (SPREAD, "± over seeds"),
    ("r2", "R2"),
    ("mae", "MAE"),
    ("crps", "CRPS"),
    ("bias", "bias"),
    ("skill", "skill"),
    ("dssim", "dssim"),
    ("detail", "detail"),
    ("spread_over_error", "spread / error"),
    ("median rmse", "median site RMSE"),
    ("median r2", "median site R2"),
    ("r2_anomalies", "R2 of anomalies"),
    *((f"rmse_{tonnes}", f"RMSE {tonnes}") for tonnes in ("0-100", "100-200", "200-300")),
]
#: emulators whose errors are so small that their pages show a third digit
PRECISE = ("downscaling",)
MEANING = re.compile(r"^    (\w+) = (\d+)(?:  #: (.*))?$", re.MULTILINE)


def write(text: str) -> str:
    """Return a page with its generated parts made anew."""
    for mark in re.findall(r"<!-- (.*) -->", text):
        kind, _, name = mark.partition(": ")
        if kind == "keys":
            content = keys(name)
        elif kind == "scores":
            content = scores_of(name) if name else scores()
        elif kind == "margins":
            content = margins(name)
        elif kind == "status codes":
            content = status_codes()
        else:
            language = {".f90": "fortran", ".yml": "yaml"}[Path(mark).suffix]
            content = f"```{language}\n{(ROOT / mark).read_text()}```\n"
        text = replace(text, mark, content)
    return text


def replace(text: str, mark: str, content: str) -> str:
    """Put `content` between the comment that names `mark` and the next paragraph that is not generated."""
    start = text.index(f"<!-- {mark} -->")
    begin = text.index("\n", start) + 1
    rest = text[begin:]
    old = re.match(r"```.*?\n```\n", rest, re.DOTALL) or re.match(r"(\|.*\n)*", rest)
    assert old
    return text[:begin] + content + rest[old.end() :]


def keys(name: str) -> str:
    """Return the table of a section of the coupling file, or of what stands in none, for ``run``."""
    fields = Config.model_fields
    sections = {key: inner_section(field.annotation) for key, field in fields.items() if key != "fields"}
    chosen = [key for key in fields if (key == name if name in fields else not sections.get(key))]
    rows = [row for key in chosen for row in described(key, fields[key])]
    return "\n".join(["| key | default | what it is |", "|---|---|---|", *rows]) + "\n"


def described(key: str, field: FieldInfo) -> list[str]:
    """Return the rows of a key and of the section under it."""
    inner = inner_section(field.annotation)
    default = "required" if field.is_required() else shown(field.default)
    rows = [f"| `{key}` | {default} | {field.description or first_line(inner)} |"]
    if inner is None or key == "fields":
        return rows
    kind = str(field.annotation)
    prefix = f"{key}{'[]' if 'list[' in kind else '.NAME' if 'dict[' in kind else ''}."
    below = ((f"{prefix}{part.alias or name}", part) for name, part in inner.model_fields.items())
    return rows + [row for name, part in below for row in described(name, part)]


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
    rows = [
        "| emulator, scored on | output | scores | this emulator | baselines |",
        "|---|---|---|---|---|",
    ]
    for path in sorted((ROOT / "torchscript_models" / "zoo").glob("*.json")):
        for protocol, outputs in json.loads(path.read_text())["scores"].items():
            units = {entry.name: entry.units for entry in load(path.with_suffix(".pt")).manifest.outputs}
            lead = f"{path.stem}, {protocol.replace('_', ' ')}"
            for output, entry in outputs.items():
                if not isinstance(entry, dict):
                    continue
                known = [metric for metric in METRICS if entry.get(metric[0]) is not None]
                labels = ", ".join(label for _, label, _ in known)
                if units.get(output, "1") != "1":
                    labels = labels.replace("RMSE", f"RMSE [{units[output]}]")
                models = entry["baselines"]
                others = "; ".join(f"{name.replace('_', ' ')} {figures(it, known)}" for name, it in models.items())
                rows.append(f"| {lead} | {output} | {labels} | **{figures(entry, known)}** | {others} |")
                lead = ""
    return "\n".join(rows) + "\n"


def scores_of(name: str) -> str:
    """Return the table of all scores of an emulator, for its own page."""
    written = evaluation(name)
    found = [entry for view in written["scores"].values() for entry in view.values() if isinstance(entry, dict)]
    there = {key for entry in found for one in (entry, *others_of(entry).values()) for key in flat(one)}
    shown = [(key, label) for key, label in PAGE_METRICS if key in there or (key == SPREAD and runs(written))]
    form = ".3f" if name in PRECISE else ".2f"
    rows = [f"| scored on | output | model | {' | '.join(label for _, label in shown)} |"]
    rows.append("|---" * (3 + len(shown)) + "|")
    for protocol, view in written["scores"].items():
        for output, own in view.items():
            if isinstance(own, dict):
                for model in ("", *others_of(own)):
                    score = flat(entry_of(own, model))
                    if runs(written):
                        each = [entry_of(run[protocol][output], model)["rmse"] for run in runs(written)]
                        score[SPREAD] = statistics.stdev(each)
                    label = model.replace("_", " ") or "**this emulator**"
                    numbers = (f"{score[key]:{form}}" if key in score else "" for key, _ in shown)
                    cells = (protocol.replace("_", " "), output, label, *numbers)
                    rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def margins(name: str) -> str:
    """Return by how much an emulator is better than gradient-boosted trees, in every run and of the means."""
    written = evaluation(name)
    by_seed = written["by_seed"]
    rows = [f"| scored on | output | {' | '.join(f'seed {seed}' for seed in by_seed)} | of the means |"]
    rows.append("|---" * (3 + len(by_seed)) + "|")
    for protocol, view in written["scores"].items():
        for output in (key for key, entry in view.items() if isinstance(entry, dict)):
            cells = []
            for scores in (*by_seed.values(), written["scores"]):
                own = scores[protocol][output]
                trees = own["baselines"]["gradient_boosted_trees"]["rmse"]
                cells.append(f"{own['rmse']:.2f}, {trees:.2f}: {100 * (1 - own['rmse'] / trees):.1f} %")
            rows.append(f"| {protocol.replace('_', ' ')} | {output} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def evaluation(name: str) -> dict[str, Any]:
    """Return what `evaluate` wrote of an emulator."""
    found: dict[str, Any] = json.loads((ROOT / "torchscript_models" / "zoo" / f"{name}.json").read_text())
    return found


def runs(written: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the scores of each run, where there are several."""
    return list(written.get("by_seed", {}).values())


def entry_of(own: dict[str, Any], model: str) -> dict[str, Any]:
    """Return the scores of a baseline or another network, or without a name those of the emulator."""
    found: dict[str, Any] = others_of(own)[model] if model else own
    return found


def others_of(own: dict[str, Any]) -> dict[str, Any]:
    """Return the scores of the baselines and of the networks that are not shipped."""
    return dict(own["baselines"] | own.get("other_networks", {}))


def flat(score: dict[str, Any]) -> dict[str, float]:
    """Return scores with the medians of sites beside the others."""
    return score | {f"median {key}": value for key, value in score.get("site_median", {}).items()}


def figures(score: dict[str, float], known: list[tuple[str, str, str]]) -> str:
    """Return the scores of a model, as the table shows them."""
    return ", ".join(f"{score[key]:{form}}" for key, _, form in known)


if __name__ == "__main__":
    for page in (ROOT / name for name in PAGES):
        page.write_text(write(page.read_text()))
