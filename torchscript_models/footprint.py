# SPDX-License-Identifier: Apache-2.0
"""Energy and CO2-equivalent of a training, measured by CodeCarbon without asking the network."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torchscript_models import processes


@contextmanager
def measured(country: str | None) -> Iterator[dict[str, Any]]:
    """Give a dictionary that holds, once the block is left, what the block used in all processes of a training.

    Its entries: energy_kwh, co2_eq_g (GRAMS; CodeCarbon gives kilograms), seconds, location, hardware, method.

    Parameters
    ----------
    country : str, optional
        ISO 3166 code of three letters of where the machine stands, for the carbon intensity of its electricity;
        without it that of the world is used, 475 g kWh-1.
    """
    from codecarbon import OfflineEmissionsTracker

    logging.getLogger("codecarbon").setLevel(logging.CRITICAL)  # it speaks before it knows its log_level
    tracker = OfflineEmissionsTracker(
        country_iso_code=country,
        output_methods=[],
        log_level="critical",
        tracking_mode="process",
        allow_multiple_runs=True,
    )
    facts: dict[str, Any] = {}
    tracker.start()
    try:
        yield facts
    finally:
        tracker.stop()
    data = tracker.final_emissions_data
    # CPU and memory are those of a process, GPUs those of its machine, which the first process there counts
    own = data.energy_consumed - (data.gpu_energy if processes.local_rank() else 0.0)
    energy = processes.summed(own)
    intensity = data.emissions / data.energy_consumed if data.energy_consumed else 0.0
    facts |= {
        "energy_kwh": _significant(energy),
        "co2_eq_g": _significant(1000.0 * intensity * energy),
        "seconds": round(data.duration),
        "location": data.country_name or "not given: world average of 475 g kWh-1",
        "hardware": f"{data.gpu_count} x {data.gpu_model}" if data.gpu_count else f"CPU ({data.cpu_model})",
        "method": f"CodeCarbon {data.codecarbon_version}, offline",
    }


def _significant(value: float) -> float:
    return float(f"{value:.3g}")
