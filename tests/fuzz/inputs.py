# SPDX-License-Identifier: Apache-2.0
"""``python -m fuzz.inputs INPUTS``: use that many damaged files, and say how each ended; fails when one ended badly.

The inputs run in forks of this process, so that a crash or a hang is seen and the others go on. An input is a kind and
a number: the same two give the same damage.
"""

from __future__ import annotations

import json
import logging
import os
import random
import resource
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from fuzz.targets import KINDS
from memory_folder import memory_folder

from coupler_plugin import CouplerError

PATIENCE = 60  # seconds for one input
MEMORY = 6 * 2**30  # bytes that a process may take, so that no input takes the machine


def outcome(kind: str, number: int, target: object) -> tuple[str, str]:
    """Use one input; return how that ended, and the traceback of an end that must not be."""
    signal.alarm(PATIENCE)
    try:
        target.use(random.Random(f"{kind} {number}"))  # type: ignore[attr-defined]
    except CouplerError as error:
        return ("refused", "") if len(str(error)) > 20 else ("no sentence", str(error))
    except BaseException:
        return "exception", traceback.format_exc(limit=-4)
    finally:
        signal.alarm(0)
        target.restore()  # type: ignore[attr-defined]
    return "used", ""


def batch(kind: str, numbers: range) -> Iterator[tuple[int, str, str]]:
    """Use inputs in a fork; yield number, end and traceback of each. The rest follows where one crashes."""
    reading, writing = os.pipe()
    if (process := os.fork()) == 0:
        os.close(reading)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with os.fdopen(writing, "w", buffering=1) as answers, memory_folder() as folder:
            os.chdir(folder)
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 2)
            target = KINDS[kind](Path(folder))
            target.restore()
            for number in numbers:
                print(json.dumps([number, *outcome(kind, number, target)]), file=answers)
        os._exit(0)
    os.close(writing)
    done = 0
    with os.fdopen(reading) as answers:
        for line in answers:
            number, end, text = json.loads(line)
            done += 1
            yield number, end, text
    _, status = os.waitpid(process, 0)
    if done < len(numbers):
        end = "hang" if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM else f"crash ({status})"
        yield numbers[done], end, ""
        yield from batch(kind, numbers[done + 1 :]) if done + 1 < len(numbers) else ()


def fuzz(inputs: int, first: int = 0) -> tuple[Counter[tuple[str, str]], list[tuple[str, int, str, str]]]:
    """Use inputs of all kinds; return how many ended how, and those that ended badly."""
    logging.disable(logging.CRITICAL)
    counts: Counter[tuple[str, str]] = Counter()
    bad = []
    try:
        for kind in KINDS:
            for number, end, text in batch(kind, range(first, first + inputs // len(KINDS))):
                counts[kind, end] += 1
                if end not in ("refused", "used"):
                    bad.append((kind, number, end, text))
    finally:
        logging.disable(logging.NOTSET)
    return counts, bad


def main() -> int:
    """Fuzz, and print what came of it."""
    counts, bad = fuzz(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    for kind, number, end, text in bad:
        print(f"{kind} {number}: {end}\n{text}")
    for kind in KINDS:
        ends = ", ".join(f"{count} {end}" for (of, end), count in sorted(counts.items()) if of == kind)
        print(f"{kind:14} {ends}")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
