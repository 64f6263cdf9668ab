# SPDX-License-Identifier: Apache-2.0
"""Kills a writing run at random moments: ``killed.py FOLDER KILLS`` prints what each kill left, as JSON.

The runs are forks of this process, so that a kill does not cost a start of torch. After each kill, every restart that a
pointer vouches for is gone on from, and its answers compared with those of a run in one piece.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

from program import run

CELLS = 3000  # enough for writing to take most of the time
END = 600
MORE = 30  # steps after a restart, past the end of its window


def kill_once(folder: Path, seconds: float, whole: list[str]) -> dict[str, object]:
    """Let a run write a restart at each step, kill it, and go on from what it left."""
    shutil.rmtree(folder / "restart", ignore_errors=True)
    child = os.fork()
    if child == 0:
        run(folder / "writing.yml", 0, END - MORE, cells=CELLS)
        os._exit(1)  # it came to its end before it was killed
    restarts = folder / "restart"
    while not list(restarts.glob("rpointer.*-?????")):
        time.sleep(0.001)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    pointers = sorted(path.name[-16:] for path in restarts.glob("rpointer.*-?????"))
    steps = [(int(stamp[8:10]) - 1) * 24 + int(stamp[11:]) // 3600 for stamp in pointers]
    return {
        "killed": os.WIFSIGNALED(status),
        "while_writing": bool(list(restarts.glob("*.tmp"))),
        "restarts": {
            step: run(folder / "reading.yml", step, MORE, cells=CELLS) == whole[step : step + MORE] for step in steps
        },
    }


def main() -> None:
    """Kill as often as asked."""
    folder, kills = Path(sys.argv[1]), int(sys.argv[2])
    chance = random.Random(1)
    whole = run(folder / "whole.yml", 0, END, cells=CELLS)
    left = [kill_once(folder, chance.uniform(0.0, 0.3), whole) for _ in range(kills)]
    print(json.dumps({"left": left}))


if __name__ == "__main__":
    main()
