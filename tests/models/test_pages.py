# SPDX-License-Identifier: Apache-2.0
"""The pages on the emulators show the scores of the zoo."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["carbon_flux", "leaf_area_index"])
def test_page_shows_the_scores_of_the_zoo(name: str) -> None:
    scores = json.loads((ROOT / "torchscript_models" / "zoo" / f"{name}.json").read_text(encoding="utf-8"))["scores"]
    page = (ROOT / "docs" / "emulators" / f"{name}.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ") and "RMSE" not in line]
    shown = [row[1:] for row in rows if len(row) == 9]
    expected = []
    for view in scores.values():
        for output, own in view.items():
            if isinstance(own, dict):
                for method, values in {"**this emulator**": own, **own["baselines"]}.items():
                    numbers = [values[key] for key in ("rmse", "r2", "mae", "bias")]
                    numbers += [values["site_median"][key] for key in ("rmse", "r2")]
                    expected.append([output, method.replace("_", " "), *(f"{number:.2f}" for number in numbers)])
    assert shown == expected, f"docs/emulators/{name}.md shows other scores than zoo/{name}.json"
