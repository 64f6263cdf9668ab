# SPDX-License-Identifier: Apache-2.0
"""The emulated year beside the year of the land model: bias and error by month, at the cells that training left out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import xarray as xr

from torchscript_models.land_state.samples import block_fold

STATES = ("mrsos", "mrsod", "snw", "tsls", "tsld")
MONTH = 30  # days


def show(folder: Path) -> None:
    """Print the comparison, and write it to `comparison.json`."""
    host, emulated = xr.open_dataset(folder / "land_states.nc"), xr.open_dataset(folder / "emulated_states.nc")
    unseen = block_fold(host["lat"].to_numpy(), host["lon"].to_numpy()) == 0
    result: dict[str, object] = {"held_out_cells": int(unseen.sum())}
    for name in STATES:
        truth, found = (cube[name].to_numpy()[:, unseen] for cube in (host, emulated))
        first = truth[:1]
        methods = {"emulator": found[1:], "persistence": np.broadcast_to(first, truth[1:].shape)}
        for method, values in methods.items():
            error = (values - truth[1:]).reshape(-1, MONTH, truth.shape[1])
            bias, rmse = error.mean(axis=(1, 2)), np.sqrt((error**2).mean(axis=(1, 2)))
            result[f"{name} {method}"] = {"bias": bias.round(3).tolist(), "rmse": rmse.round(3).tolist()}
            print(f"{name:6s} {method:12s} bias {_row(bias)}")
            print(f"{'':19s} rmse {_row(rmse)}")
    summaries = [json.loads((folder / f"{name}_summary.json").read_text()) for name in ("record", "emulated")]
    report = json.loads((folder / "emulated_report.json").read_text())
    result["timings"] = {"record": summaries[0], "emulated": summaries[1], "report": report}
    (folder / "comparison.json").write_text(json.dumps(result, indent=1))


def _row(values: np.ndarray) -> str:
    return " ".join(f"{value:7.2f}" for value in values)
