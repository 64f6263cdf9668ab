# SPDX-License-Identifier: Apache-2.0
"""A YAML file whose parts know their line and column, so that an error can point at what to mend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from coupler_plugin.errors import CouplerError, Status

Keys = tuple[str | int, ...]  #: the way to a value of a file

#: what a plain word of YAML may stand for, without dates: 2001-02-30 is a day of some calendars, but not of Python's
_RESOLVERS: Final = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class YamlFile:
    """What a YAML file holds.

    Parameters
    ----------
    text : str
    path : Path
        Names the file in errors.

    Attributes
    ----------
    text : str
    data : object
        Mappings, lists, texts and numbers.

    Raises
    ------
    CouplerError
        CONFIG, when the text is no YAML or gives a key twice.
    """

    def __init__(self, text: str, path: Path) -> None:
        self._path = path
        self.text = text
        try:
            loader = yaml.SafeLoader(text)
            loader.yaml_implicit_resolvers = _RESOLVERS
            self._root = loader.get_single_node()
            self._check_keys(self._root)
            self.data: Any = loader.construct_document(self._root) if self._root else None
        except yaml.MarkedYAMLError as error:
            place = self._at(error.problem_mark) if error.problem_mark else str(path)
            raise CouplerError(Status.CONFIG, f"{place}: not valid YAML: {error.problem}.") from error
        except yaml.YAMLError as error:
            reason = str(error).partition("\n")[0]
            raise CouplerError(Status.CONFIG, f"{path}: not valid YAML: {reason}.") from error

    def place(self, keys: Sequence[str | int], of_key: bool = False) -> str:
        """Return ``file:line:column`` of a value, or of its key; of what holds it, where it is not written."""
        node = self._root
        for depth, key in enumerate(keys):
            if isinstance(node, yaml.MappingNode):
                pair = next((pair for pair in node.value if pair[0].value == str(key)), None)
                if pair is None:
                    break
                # A list or mapping is pointed at by its key, which is where a reader looks.
                is_last = depth == len(keys) - 1
                node = pair[0] if is_last and (of_key or not isinstance(pair[1], yaml.ScalarNode)) else pair[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
                node = node.value[key]
            else:
                break
        return self._at(node.start_mark) if node else str(self._path)

    def _at(self, mark: Any) -> str:
        return f"{self._path}:{mark.line + 1}:{mark.column + 1}"

    def _check_keys(self, node: yaml.Node | None) -> None:
        """Check that no mapping gives a key twice, of which YAML would silently take the last."""
        if isinstance(node, yaml.MappingNode):
            first: dict[Any, yaml.Node] = {}
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value in first:
                    line = first[key.value].start_mark.line + 1
                    raise CouplerError(
                        Status.CONFIG,
                        f"{self._at(key.start_mark)}: the key '{key.value}' is given in line {line} already.",
                    )
                first[key.value if isinstance(key, yaml.ScalarNode) else id(key)] = key
                self._check_keys(value)
        elif isinstance(node, yaml.SequenceNode):
            for entry in node.value:
                self._check_keys(entry)


def dotted(keys: Iterable[str | int]) -> str:
    """Return the way to a value as a reader writes it, such as ``emulators.0.model``."""
    return ".".join(str(key) for key in keys)
