# SPDX-License-Identifier: Apache-2.0
"""How files are damaged: in their bytes, or in what they say."""

from __future__ import annotations

import copy
import random
from typing import Any

#: values that schemas and arithmetic stumble over
NASTY: list[Any] = [
    None, True, False, 0, -1, 1, 2, 16, 2**31, 2**63, -(2**63), 10**30, 0.0, -0.0, 1e-320, 1e308, float("nan"),
    float("inf"), "", " ", "nan", "1d", "0h", "99999999999yr", "1 mon", "2001-02-30", "0000-00-00", "9999-12-31", "K",
    "1", "kg m-2 s-1", "%", "m/0", "K^-9999999", "a" * 5000, "\x00", "\u202e", "tas", "lai", "exact", "tas > 0",
    "tas >", "tas > 1e999 K", "..", "a/b/../c", "x.pt", "coupling.yml", "*", "[", "{", [], {}, [[]], {"": {}},
    {"name": "tas"}, [None], [0, 0], [1, -1], ["lai", "lai"], "stop", "hold", "clip", "off",
]  # fmt: skip


def of_bytes(data: bytes, chance: random.Random) -> bytes:
    """Return the bytes with some flipped, cut, lost, doubled, zeroed or made up."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        if not changed:
            break
        first = chance.randrange(len(changed))
        last = min(len(changed), first + chance.choice((1, 2, 8, 64, 1000)))
        match chance.randrange(6):
            case 0 | 1:
                changed[first] ^= 1 << chance.randrange(8)
            case 2:
                del changed[first:]
            case 3:
                del changed[first:last]
            case 4:
                changed[first:first] = changed[first:last]
            case 5:
                changed[first:last] = chance.choice((bytes(last - first), chance.randbytes(last - first)))
    return bytes(changed)


def of_content(data: Any, chance: random.Random) -> Any:
    """Return the mappings and lists with some values changed, lost, doubled or moved."""
    changed = copy.deepcopy(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        places = list(_places(changed))
        holder, key = chance.choice(places)
        match chance.randrange(6):
            case 0 | 1 | 2:
                holder[key] = copy.deepcopy(chance.choice(NASTY))
            case 3:
                del holder[key]
            case 4:
                other, its = chance.choice(places)
                if its in other if isinstance(other, dict) else its < len(other):
                    holder[key] = copy.deepcopy(other[its])
            case 5:
                if isinstance(holder, dict):
                    holder[chance.choice(("", "name", "every", "x", str(key).upper()))] = copy.deepcopy(holder[key])
                else:
                    holder.append(copy.deepcopy(holder[key]))
        if not list(_places(changed)):
            break
    return changed


def _places(data: Any) -> Any:
    """Yield all holders and keys of a structure."""
    for key in list(data) if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ():
        yield data, key
        yield from _places(data[key])
