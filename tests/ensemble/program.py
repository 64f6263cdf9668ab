# SPDX-License-Identifier: Apache-2.0
"""Ensembles under mpirun or alone: ``program.py FOLDER [SIGNAL STEP]``, with a signal to the last rank after a step.

Restarts are written after each interval of the statistics. The status is 130 after an interrupt.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

NAMES = ("noise", "dropout")

if __name__ == "__main__":
    from mpi4py import MPI

    from coupler_plugin.ensemble import resume, run_ensemble
    from coupler_plugin.ensemble.group import Group

    comm = MPI.COMM_WORLD
    resume._PATIENCE = 0.0
    if sys.argv[2:]:
        number, last = int(sys.argv[2]), int(sys.argv[3])
        whole = Group.step

        def step(group: Group, place: int) -> None:
            """Take a step, and get the signal if it was the last one."""
            whole(group, place)
            if place == last and comm.Get_rank() == comm.Get_size() - 1:
                os.kill(os.getpid(), number)

        Group.step = step  # type: ignore[method-assign]
    was_interrupted = False
    for name in NAMES:
        try:
            run_ensemble(Path(sys.argv[1]) / name / "ens.yml", comm)
        except KeyboardInterrupt:
            was_interrupted = True
    sys.exit(130 if was_interrupted else 0)
