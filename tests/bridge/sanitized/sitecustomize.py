# SPDX-License-Identifier: Apache-2.0
"""Makes Python take the extension module that watches itself: `make sanitize` puts this folder on its path."""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

_NAME = "coupler_plugin._native"


class _Watched(importlib.abc.MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the module of the sanitized installation, and nothing for any other name."""
        if name != _NAME:
            return None
        file = next(Path(os.environ["COUPLER_PLUGIN_SANITIZED"]).glob("lib/python*/site-packages/**/_native*.so"))
        return importlib.util.spec_from_file_location(name, file)


sys.meta_path.insert(0, _Watched())
