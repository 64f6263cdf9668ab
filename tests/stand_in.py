# SPDX-License-Identifier: Apache-2.0
"""The CPU in the place of a GPU: emulators are loaded onto `cpu:0`, which for torch is a device like any other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

DEVICE = "cpu:0"


@contextmanager
def device() -> Iterator[None]:
    """Give every rank that asks for a device the stand-in."""
    taken = {"choose": lambda wish, comm: DEVICE, "open_device": lambda device, rank: None}
    with patch.multiple("coupler_plugin.emulator.from_config", **taken):
        yield
