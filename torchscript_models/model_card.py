# SPDX-License-Identifier: Apache-2.0
"""The model card beside an emulator file, in Hugging Face's form, made of the manifest alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from coupler_plugin.emulator.manifest import Manifest, Variable


def model_card(manifest: Manifest) -> str:
    """Return the card: metadata as YAML, then what the emulator takes, gives and scores."""
    header = yaml.safe_dump(_metadata(manifest), sort_keys=False, allow_unicode=True, width=110)
    return f"---\n{header}---\n" + "\n".join(_text(manifest)) + "\n"


def _metadata(manifest: Manifest) -> dict[str, Any]:
    footprint = manifest.training.get("footprint")
    metadata: dict[str, Any] = {
        "license": manifest.license.lower(),
        "library_name": "pytorch",
        "tags": ["torchscript", "land-surface", "emulator", manifest.kind],
    }
    if footprint:
        metadata["co2_eq_emissions"] = {
            "emissions": footprint["co2_eq_g"],  # grams
            "source": footprint["method"],
            "training_type": "pre-training",
            "geographical_location": footprint["location"],
            "hardware_used": footprint["hardware"],
        }
    results = [
        {
            "task": {"type": _task(own), "name": f"{output} ({view.replace('_', ' ')})"},
            "dataset": {"type": "custom", "name": str(manifest.training.get("data", ""))},  # none of Hugging Face's
            "metrics": [{"type": metric, "value": value} for metric, value in _numbers(own).items()],
        }
        for view, output, own in _scores(manifest)
    ]
    if results:
        metadata["model-index"] = [{"name": manifest.name, "results": results}]
    return metadata


def _scores(manifest: Manifest) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for view, outputs in manifest.scores.items():
        for output, own in outputs.items():
            if isinstance(own, dict) and "baselines" in own:
                yield view, output, own


def _numbers(scores: dict[str, Any]) -> dict[str, float]:
    return {metric: value for metric, value in scores.items() if isinstance(value, float)}


def _task(scores: dict[str, Any]) -> str:
    return "image-segmentation" if "mean_iou" in scores else "regression"


def _text(manifest: Manifest) -> Iterator[str]:
    yield f"# {manifest.name} {manifest.version}"
    yield manifest.description
    yield ""
    yield f"Source: {manifest.source}. {manifest.attribution}"
    yield ""
    yield f"What it is, its limits, and how to couple it: `docs/emulators/{manifest.name}.md`."
    for title, entries in (("Inputs", manifest.inputs), ("Static", manifest.static), ("Outputs", manifest.outputs)):
        if entries:
            yield f"\n## {title}"
            yield from (_entry(entry) for entry in entries)
    last = ""
    for view, output, own in _scores(manifest):
        metrics = _numbers(own)
        if view != last:
            yield f"\n## Scores: {view.replace('_', ' ')}"
            yield f"| output | model | {' | '.join(metrics)} |".replace("_", " ")
            yield "|---" * (2 + len(metrics)) + "|"
        last = view
        for model, values in {"**this emulator**": own, **own["baselines"]}.items():
            cells = (output, model.replace("_", " "), *(f"{values[metric]:.3g}" for metric in metrics))
            yield f"| {' | '.join(cells)} |"
    if footprint := manifest.training.get("footprint"):
        yield "\n## Footprint of the training"
        yield (
            f"{footprint['energy_kwh']:g} kWh, {footprint['co2_eq_g']:g} g CO2-equivalent, {footprint['seconds']} s on "
            f"{footprint['hardware']}; location: {footprint['location']} ({footprint['method']})."
        )


def _entry(entry: Variable) -> str:
    aggregate = getattr(entry, "aggregate", "mean")
    notes = [aggregate] * (aggregate != "mean") + [f"{entry.size} channels"] * (entry.size > 1) + [entry.description]
    text = "; ".join(note for note in notes if note)
    return f"- `{entry.name}` [{entry.units}]" + (f": {text}" if text else "")
