# SPDX-License-Identifier: Apache-2.0
"""The electricity of a run: measured by CodeCarbon where that is asked for, else estimated and marked as such."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.parallel import allgather, together

if TYPE_CHECKING:
    from mpi4py import MPI

_JOULES_PER_KWH: Final = 3.6e6


class Meter:
    """Measures the nodes of a run from now on; one rank of each node does; a collective call.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm or None

    Raises
    ------
    CouplerError
        CONFIG, when CodeCarbon is not installed.
    """

    def __init__(self, comm: MPI.Comm | None) -> None:
        self._comm = comm
        self._tracker = together(comm, lambda: _start() if _is_first_of_node(comm) else None)

    def stop(self) -> dict[str, Any]:
        """Return the energy of all nodes [kWh] since the start, and how it came about; a collective call."""
        parts = allgather(self._comm, None if self._tracker is None else _stop(self._tracker))
        nodes = [part for part in parts if part is not None]
        methods = sorted({method for _, method, _ in nodes})
        return {
            "kwh": sum(kwh for kwh, _, _ in nodes),
            "method": f"CodeCarbon ({', '.join(methods)}), whole nodes",
            "is_estimate": any(is_estimate for _, _, is_estimate in nodes),
        }


def estimate(core_seconds: float, watts_per_core: float) -> dict[str, Any]:
    """Return the energy that cores take which are held for a run, and how it came about."""
    return {
        "kwh": core_seconds * watts_per_core / _JOULES_PER_KWH,
        "method": f"{watts_per_core:g} W for each core held",
        "is_estimate": True,
    }


def _is_first_of_node(comm: MPI.Comm | None) -> bool:
    if comm is None:
        return True
    from mpi4py import MPI

    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    is_first = node.Get_rank() == 0
    node.Free()
    return is_first


def _start() -> Any:
    try:
        from codecarbon import OfflineEmissionsTracker
    except ImportError as error:
        raise CouplerError(
            Status.CONFIG,
            "'report: energy: measure' needs CodeCarbon: pip install 'coupler_plugin[energy]'; or write 'estimate'.",
        ) from error
    logging.getLogger("codecarbon").setLevel(logging.ERROR)
    # The country only matters for its mix of power stations, which the coupling file gives as a number.
    tracker = OfflineEmissionsTracker(
        country_iso_code="USA", save_to_file=False, log_level="error", allow_multiple_runs=True
    )
    tracker.start()
    return tracker


def _stop(tracker: Any) -> tuple[float, str, bool]:
    tracker.stop()
    modes = {str(getattr(part, "_mode", "")) for part in getattr(tracker, "_hardware", ())} - {""}
    is_measured = any(word in mode for mode in modes for word in ("rapl", "gadget", "powermetrics"))
    return float(tracker.final_emissions_data.energy_consumed), ", ".join(sorted(modes)) or "unknown", not is_measured
