# SPDX-License-Identifier: Apache-2.0
"""What this process takes of its machine: memory and processor time."""

from __future__ import annotations

import resource
import time


def peak_memory() -> int:
    """Return the most bytes of memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def processor_time() -> float:
    """Return the seconds that processors have worked for this process, all of its threads together."""
    return time.process_time()
