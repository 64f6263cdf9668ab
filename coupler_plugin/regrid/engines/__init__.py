# SPDX-License-Identifier: Apache-2.0
"""What makes weights: ESMF as xESMF drives it, the plugin's own methods, and YAC; and which of them can do what.

An engine gives raw links: conservative ones as shares of the destination cell's area. `weights` finishes them, in the
same way for all engines.
"""

from __future__ import annotations

from coupler_plugin.errors import CouplerError, Status, nearest
from coupler_plugin.regrid.engines.builtin import Builtin
from coupler_plugin.regrid.engines.request import Engine, Request
from coupler_plugin.regrid.engines.xesmf import Xesmf
from coupler_plugin.regrid.engines.yac import Yac

#: in the order in which `auto` takes them
ENGINES: dict[str, Engine] = {engine.name: engine for engine in (Xesmf(), Builtin(), Yac())}


def choose(engine: str, request: Request) -> Engine:
    """Return the engine for a request: the one that is named, or the first one that can do it.

    Raises
    ------
    CouplerError
        CONFIG, saying of each engine why it cannot.
    """
    if engine not in ("auto", *ENGINES):
        known = ("auto", *ENGINES)
        raise CouplerError(
            Status.CONFIG,
            f"'{engine}' is no engine for weights; allowed: {', '.join(known)}.{nearest(engine, known)}",
        )
    candidates = list(ENGINES.values()) if engine == "auto" else [ENGINES[engine]]
    refusals = {}
    for candidate in candidates:
        refusal = candidate.refusal(request)
        if refusal is None:
            return candidate
        refusals[candidate.name] = refusal
    able = [name for name, other in ENGINES.items() if name not in refusals and other.refusal(request) is None]
    hint = f"Engine {able[0]} can." if able else "A weight file made elsewhere can be given instead."
    raise CouplerError(
        Status.CONFIG,
        f"no engine here makes {request}: {'; '.join(f'{name} {why}' for name, why in refusals.items())}. {hint}",
    )


__all__ = ["ENGINES", "Engine", "Request", "choose"]
