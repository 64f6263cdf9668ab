# SPDX-License-Identifier: Apache-2.0
"""docs/running.md: scripts that parse, valid coupling files, options that exist; recipes with all dependencies."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from coupler_plugin.cli import commands
from coupler_plugin.config import parse_config

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "running.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("script", blocks("sh"))
def test_script_parses(script: str) -> None:
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_coupling_file_is_valid(text: str) -> None:
    parse_config(text, Path("run.yml"))


def test_options_exist() -> None:
    for verb, words in re.findall(r"coupler-plugin (\w+)([^`\n#]*)", TEXT):
        known = {option for parameter in commands.commands[verb].params for option in parameter.opts}
        assert set(re.findall(r"(?<=\s)--?[a-z][a-z-]*", words)) <= known, verb


def test_links_lead_to_files() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", TEXT)
    assert [target for target in targets if not (ROOT / "docs" / target).exists()] == []


def test_recipes_name_every_dependency() -> None:
    renamed = {"torch": "pytorch-cpu", "matplotlib": "matplotlib-base"}
    environment = yaml.safe_load((ROOT / "packaging" / "environment.yml").read_text())
    conda = {re.split(r"[ <>=]", entry)[0] for entry in environment["dependencies"]}
    recipe = (ROOT / "packaging" / "spack" / "package.py").read_text()
    ast.parse(recipe)
    spack = set(re.findall(r'depends_on\("py-([a-z0-9-]+)', recipe))
    for requirement in PROJECT["dependencies"]:
        name = re.split(r"[<>=]", requirement)[0].lower()
        assert renamed.get(name, name) in conda
        assert name in spack
    container = (ROOT / "packaging" / "Containerfile").read_text()
    assert set(re.search(r"coupler_plugin\[([a-z,]+)\]", container)[1].split(",")) <= set(
        PROJECT["optional-dependencies"]
    )
