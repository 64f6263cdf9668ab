# SPDX-License-Identifier: Apache-2.0
"""Scores of each tower, beside the mean seasonal cycle of the towers that the emulator was trained on."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from rich.console import Console
from rich.table import Table

from coupler_plugin import plot

FIELDS = ("gpp", "reco", "nee")


def at_unseen_towers(history: Path, towers: Path) -> list[dict[str, Any]]:
    """Return the scores of the emulator and of the seasonal cycle of all other towers: a row a tower and field."""
    return _rows(history, towers, has_baseline=True)


def at_all_towers(history: Path, towers: Path) -> list[dict[str, Any]]:
    """Return the scores of the emulator alone."""
    return _rows(history, towers, has_baseline=False)


def seasonal_cycle(towers: Path, field: str) -> np.ndarray:
    """Return the mean over the training towers of each month after midwinter, shape (12,)."""
    with xr.open_dataset(towers) as file:
        seen = file.isel(site=np.flatnonzero(file.unseen.values == 0))
        season = _season(seen.time.dt.month.values[:, None], seen.lat.values)
        values = seen[f"{field}_observed"].values
        return np.array([np.nanmean(values[season == month]) for month in range(12)])


def baseline(towers: Path, field: str, months: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Return the seasonal cycle at places, shape (times, places)."""
    return seasonal_cycle(towers, field)[_season(months[:, None], lat)]


def _season(month: np.ndarray, lat: np.ndarray) -> np.ndarray:
    return (month - 1 + np.where(lat < 0, 6, 0)) % 12


def _rows(history: Path, towers: Path, has_baseline: bool) -> list[dict[str, Any]]:
    results = plot.read(history)
    months = np.array([date.month for date in results.dates])
    rows = []
    for field in FIELDS:
        pairs = plot.pair(results, field, towers, within=1e3)
        observed, emulated = pairs.observed.values, pairs.emulated.values
        cycle = baseline(towers, field, months, pairs.lat) if has_baseline else None
        for place, site in enumerate(pairs.names):
            row = {"tower": site, "field": field, **asdict(plot.score(observed[:, place], emulated[:, place]))}
            if cycle is not None:
                row["seasonal_cycle"] = asdict(plot.score(observed[:, place], cycle[:, place]))
            rows.append(row)
    return rows


def write(rows: list[dict[str, Any]], path: Path) -> None:
    """Write the scores as JSON."""
    path.write_text(json.dumps(rows, indent=1) + "\n")


def show(rows: list[dict[str, Any]], title: str) -> None:
    """Print the scores as a table."""
    table = Table("tower", "field", "days", "RMSE", "R2", "bias", "RMSE of seasonal cycle", "its R2", title=title)
    for row in rows:
        cycle = row.get("seasonal_cycle")
        numbers = [f"{row[key]:.2f}" for key in ("rmse", "r2", "bias")]
        numbers += [f"{cycle['rmse']:.2f}", f"{cycle['r2']:.2f}"] if cycle else ["", ""]
        table.add_row(row["tower"], row["field"], f"{row['n']:,}", *numbers)
    Console().print(table)
