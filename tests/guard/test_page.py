# SPDX-License-Identifier: Apache-2.0
"""The snippets of docs/guards.md are what the plugin reads."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from coupler_plugin.config import parse_config
from coupler_plugin.emulator.manifest import Budget, Distribution
from coupler_plugin.guard.plan import DEFAULTS
from coupler_plugin.guard.tally import FLAGS

PAGE = (Path(__file__).parents[2] / "docs" / "guards.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("text", [text for kind, text in BLOCKS if kind == "yaml"])
def test_coupling_files_of_the_page_are_valid(text: str) -> None:
    assert parse_config(text, Path("page.yml")).emulators


def test_manifest_keys_of_the_page_are_valid() -> None:
    found = {}
    for text in (text for kind, text in BLOCKS if kind == "json"):
        found |= json.loads(f"{{{text}}}")
    Distribution.model_validate(found["distribution"])
    assert [Budget.model_validate(budget).per_step for budget in found["budgets"]] == [False, True]
    assert set(found) == {"distribution", "budgets", "interventions"}


@pytest.mark.parametrize("guard", DEFAULTS)
def test_defaults_of_the_page_are_those_of_the_plugin(guard: str) -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{guard}`"))
    assert row.split("|")[4].strip().startswith(f"`{DEFAULTS[guard]}`")


@pytest.mark.parametrize(("name", "code"), FLAGS.items())
def test_flags_of_the_page_are_those_of_the_plugin(name: str, code: int) -> None:
    assert re.search(rf"\b{code}\s+`{name}`", PAGE)
