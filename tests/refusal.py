# SPDX-License-Identifier: Apache-2.0
"""How tests say that the plugin must refuse something, and with which words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from coupler_plugin import CouplerError, Status


@contextmanager
def refused(status: Status, *words: str) -> Iterator[None]:
    """Expect a `CouplerError` of `status` whose sentence holds all `words`."""
    with pytest.raises(CouplerError) as caught:
        yield
    text = str(caught.value)
    assert caught.value.status is status, text
    for word in words:
        assert word in text
