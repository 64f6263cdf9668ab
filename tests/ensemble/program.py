# SPDX-License-Identifier: Apache-2.0
"""Two ensembles under mpirun: ``program.py FOLDER``, with the files that `prepare` wrote."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    from mpi4py import MPI

    from coupler_plugin.ensemble import run_ensemble

    for name in ("noise", "dropout"):
        run_ensemble(Path(sys.argv[1]) / name / "ens.yml", MPI.COMM_WORLD)
