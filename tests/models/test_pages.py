# SPDX-License-Identifier: Apache-2.0
"""The pages on the emulators show the scores of the zoo."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


#: columns of each page's table after the view, the output and the model; `median` ones are medians of sites
COLUMNS = {
    "biomass_plots": ["rmse", "r2", "mae", "bias", "rmse_0-100", "rmse_100-200", "rmse_200-300"],
    "carbon_flux": ["rmse", "r2", "mae", "bias", "median rmse", "median r2"],
    "land_state": ["rmse", "r2", "mae", "bias"],
    "leaf_area_index": ["rmse", "r2", "mae", "bias", "median rmse", "median r2", "r2_anomalies"],
}


@pytest.mark.parametrize("name", COLUMNS)
def test_page_shows_the_scores_of_the_zoo(name: str) -> None:
    scores = json.loads((ROOT / "torchscript_models" / "zoo" / f"{name}.json").read_text(encoding="utf-8"))["scores"]
    page = (ROOT / "docs" / "emulators" / f"{name}.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ") and "RMSE" not in line]
    shown = [row[1:] for row in rows if len(row) == 3 + len(COLUMNS[name])]
    expected = []
    for view in scores.values():
        for output, own in view.items():
            if isinstance(own, dict):
                for method, values in {"**this emulator**": own, **own["baselines"]}.items():
                    flat = values | {f"median {key}": value for key, value in values.get("site_median", {}).items()}
                    numbers = [f"{flat[key]:.2f}" for key in COLUMNS[name]]
                    expected.append([output, method.replace("_", " "), *numbers])
    assert shown == expected, f"docs/emulators/{name}.md shows other scores than zoo/{name}.json"
