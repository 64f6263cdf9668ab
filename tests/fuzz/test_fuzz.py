# SPDX-License-Identifier: Apache-2.0
"""200 damaged files of all kinds end in an error with a sentence, or in a correct run; `make fuzz` uses 10,000."""

from __future__ import annotations

import copy
import random

from fuzz.inputs import fuzz
from fuzz.mutate import of_bytes, of_content
from fuzz.targets import COUPLING, KINDS


def test_damaged_files_end_in_an_error_or_a_correct_run() -> None:
    counts, bad = fuzz(200)
    assert sum(counts.values()) == 200
    assert bad == []
    for kind in KINDS:
        assert counts[kind, "refused"] > 0, kind  # damage was done
        assert counts[kind, "used"] > 0, kind  # and not always too much


def test_damage_is_damage_and_leaves_the_original_alone() -> None:
    before = copy.deepcopy(COUPLING)
    text = b"a file of some length, " * 9
    for seed in range(20):
        assert repr(of_content(COUPLING, random.Random(seed))) == repr(of_content(COUPLING, random.Random(seed)))
    assert before == COUPLING
    assert sum(repr(of_content(COUPLING, random.Random(seed))) != repr(COUPLING) for seed in range(20)) > 15
    assert sum(of_bytes(text, random.Random(seed)) != text for seed in range(20)) > 15
