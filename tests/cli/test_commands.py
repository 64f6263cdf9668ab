# SPDX-License-Identifier: Apache-2.0
"""The command line: what `inspect`, `validate` and `prefix` print, and how mistakes end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from small_emulators import Store, field, write, write_carbon, write_echo

from coupler_plugin import Status, __version__
from coupler_plugin.cli import main
from coupler_plugin.cli.run import launch

Cli = Callable[..., str]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Return a function that runs the command with words and returns what it prints; `ends` is its exit code."""

    def run(*words: object, ends: int = 0) -> str:
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys, "argv", ["coupler-plugin", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        assert end.value.code == ends, printed.err
        return printed.err if ends else printed.out

    return run


# --- inspect --------------------------------------------------------------------------------------------------


def test_inspect_prints_what_a_user_must_know(cli: Cli, tmp_path: Path) -> None:
    scores = {"held_out_sites": {"gpp": {"rmse": 1.25, "r2": 0.75, "baselines": {"climatology": {"rmse": 2.5}}}}}
    path = write_carbon(tmp_path / "carbon.pt", length=90, scores=scores, license="Apache-2.0", training={"seed": 7})
    output = cli("inspect", path)
    for words in (
        "carbon 1.0.0", str(path), "sha256", "1d, sees the last 90 steps", "Apache-2.0", "seed: 7",
        "tas", "degC", "mean", "-40, 10, 40", "gpp", "g m-2 d-1", "+1 reco -1 gpp", "held out sites", "1.25",
        "climatology", "2.5",
    ):  # fmt: skip
        assert words in output


def test_inspect_prints_static_inputs_and_state(cli: Cli, tmp_path: Path) -> None:
    state = [{"name": "store", "size": 3}]
    path = write(
        tmp_path / "store.pt", Store(), [field("tas", "K")], [field("lai", "1")],
        static=[field("orog", "m", valid_range=[-500, 9000])], state=state,
    )  # fmt: skip
    output = cli("inspect", path)
    for words in ("store (3)", "orog", "-500 to 9000"):
        assert words in output


def test_inspect_shows_budgets(cli: Cli, tmp_path: Path) -> None:
    budgets = [
        {"terms": {"lai": 1}, "equals": 3},
        {"terms": {"lai": 2}, "at_most": {"snw": 1, "mrso": 0.5}, "per_step": True},
    ]
    output = cli("inspect", write_echo(tmp_path / "e.pt", field("tas", "K"), field("lai", "1"), budgets=budgets))
    assert "+1 lai = 3; +2 lai, over a time step, <= +1 snw +0.5 mrso" in output


def test_inspect_gives_the_manifest_as_json(cli: Cli, tmp_path: Path) -> None:
    manifest = json.loads(cli("inspect", "--json", write_carbon(tmp_path / "carbon.pt")))
    assert manifest["manifest_version"] == 1
    assert manifest["outputs"][2] == {**field("nee", "g m-2 d-1", size=1, description=""), "closure": {
        "reco": 1.0, "gpp": -1.0}}  # fmt: skip


def test_inspect_takes_several_files(cli: Cli, tmp_path: Path) -> None:
    paths = [write_echo(tmp_path / f"{name}.pt", field("tas", "K"), field("lai", "1")) for name in ("one", "two")]
    output = cli("inspect", *paths)
    assert output.index("one 1.0.0") < output.index("two 1.0.0")


def test_inspect_refuses_what_is_no_emulator(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_text("no archive")
    message = cli("inspect", tmp_path / "x.pt", ends=Status.MODEL)
    assert message.startswith("error: ")
    assert "not a TorchScript file" in message


# --- validate -------------------------------------------------------------------------------------------------


def test_validate_says_what_runs_and_what_the_host_binds(
    cli: Cli, coupling: Callable[..., Path], tmp_path: Path
) -> None:
    echo = write_echo(tmp_path / "echo.pt", field("gpp", "kg m-2 s-1"), field("lai", "1"))
    file = coupling(
        [write_carbon(tmp_path / "carbon.pt"), {"model": echo, "every": "1mon"}],
        constants={"rsds": "200 W m-2"},
        history={"file": "history.nc", "fields": ["nee", "snw"]},
    )
    output = cli("validate", file)
    lines = {line.split("│")[1].strip(): line for line in output.splitlines() if line.startswith("│")}
    assert list(lines)[:2] == ["carbon", "echo"]
    assert "1mon" in lines["echo"]
    assert "binds it, to be read" in lines["tas"]
    assert "else 200 W m-2" in lines["rsds"]
    assert "written in place" in lines["gpp"]
    assert "it is in the history" in lines["nee"]
    assert "binds it, to be read" in lines["snw"]
    assert f"{file} is valid" in output


def test_validate_says_when_and_where_answers_are_used(cli: Cli, coupling: Callable[..., Path], tmp_path: Path) -> None:
    echo = write_echo(tmp_path / "echo.pt", field("gpp", "kg m-2 s-1"), field("lai", "1"))
    other = write_echo(tmp_path / "other.pt", field("gpp", "kg m-2 s-1"), field("nee", "kg m-2 s-1"))
    file = coupling([{"model": echo, "from": "2002-01-01", "where": "snw < 10"}, {"model": other, "mode": "shadow"}])
    output = cli("validate", file)
    lines = {line.split("│")[1].strip(): line for line in output.splitlines() if line.startswith("│")}
    assert "from 2002-01-01 where snw < 10" in lines["echo"]
    assert "for comparison only" in lines["other"]
    assert "binds it, to be read" in lines["snw"]
    assert "binds it, to be compared" in lines["nee"]


def test_validate_knows_what_the_plugin_computes(cli: Cli, coupling: Callable[..., Path], tmp_path: Path) -> None:
    echo = write_echo(tmp_path / "echo.pt", field("day_length", "h"), field("lai", "1"))
    assert "the plugin computes it" in cli("validate", coupling(echo))


def test_validate_leaves_no_file_behind(cli: Cli, coupling: Callable[..., Path]) -> None:
    file = coupling([], history={"file": "history.nc", "fields": ["tas"]}, report="report.json")
    cli("validate", file)
    assert [path.name for path in file.parent.iterdir()] == ["coupling.yml"]


@pytest.mark.parametrize(
    ("sections", "options", "status", "words"),
    [
        ({"threads": 0}, [], Status.CONFIG, ":3:10: 'threads'"),
        ({"history": {"file": "h.nc", "fields": ["tass"]}}, [], Status.FIELD, "Did you mean 'tas'?"),
        ({"constants": {"tas": "1 Pa"}}, [], Status.UNITS, "'Pa'"),
        ({}, ["--dt", "2000"], Status.CONFIG, "2000 s"),
        ({}, ["--start", "2001-13-01"], Status.CONFIG, "2001-13-01"),
        ({"calendar": "360_day"}, ["--start", "2001-01-31"], Status.CONFIG, "360_day"),
    ],
)
def test_validate_answers_a_mistake_with_one_sentence_and_its_status(
    cli: Cli,
    coupling: Callable[..., Path],
    tmp_path: Path,
    sections: dict[str, object],
    options: list[str],
    status: Status,
    words: str,
) -> None:
    path = tmp_path / "coupling.yml"
    write_echo(tmp_path / "echo.pt", field("tas", "K"), field("lai", "1"))
    path.write_text(yaml.safe_dump({"emulators": [{"model": "echo.pt"}], **sections}, sort_keys=False))
    message = cli("validate", path, *options, ends=status)
    assert message.startswith("error: ")
    assert words in message
    assert len(message.splitlines()) == 1


def test_validate_calls_each_emulator(cli: Cli, coupling: Callable[..., Path], tmp_path: Path) -> None:
    broken = write(tmp_path / "broken.pt", Store(), [field("tas", "K")], [field("lai", "1")])  # has no state
    assert "does not run" in cli("validate", coupling(broken), ends=Status.MODEL)


def test_validate_without_a_file_says_how_to_call_it(cli: Cli) -> None:
    assert "name a coupling file" in cli("validate", ends=2)


def test_schema_is_one_of_json_for_editors(cli: Cli) -> None:
    schema = json.loads(cli("validate", "--schema"))
    assert schema["type"] == "object"
    assert schema["required"] == ["emulators"]
    assert schema["properties"]["threads"]["minimum"] == 1
    assert all(entry.get("description") for entry in schema["$defs"]["EmulatorSection"]["properties"].values())


# --- prefix ---------------------------------------------------------------------------------------------------


def test_prefix_is_the_folder_of_the_native_library(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "coupler_plugin" / "lib" / "libcoupler_plugin.so"
    library.parent.mkdir(parents=True)
    library.touch()
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    assert cli("prefix").strip() == str(tmp_path / "coupler_plugin")


def test_prefix_without_the_native_library_is_refused(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    # the name `coupler_plugin.cli.prefix` is that of the command as well
    module = sys.modules["coupler_plugin.cli.prefix"]
    monkeypatch.setattr(module, "__file__", str(tmp_path / "package" / "cli" / "prefix.py"))
    message = cli("prefix", ends=Status.STARTUP)
    assert str(tmp_path / "coupler_plugin") in message
    assert "pip install ." in message


# --- the command itself ---------------------------------------------------------------------------------------


def test_version_and_help(cli: Cli) -> None:
    assert __version__ in cli("--version")
    assert "validate" in cli("-h")


def test_unknown_verb_is_refused(cli: Cli) -> None:
    assert "No such command" in cli("validat", ends=2)


def test_ranks_without_mpirun_are_refused(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert "no mpirun" in cli("run", "-n", "2", "coupling.yml", ends=Status.MPI)


def test_module_is_the_same_command_and_shows_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "coupler_plugin", "validate", str(tmp_path / "nowhere.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == Status.CONFIG
    assert done.stderr.startswith("error: cannot read the coupling file")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("code", "shown"), [(0, 0), (130, 130), (137, 130)])
def test_interrupt_of_ranks_is_shown_unless_they_have_ended_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, shown: int
) -> None:
    launcher = tmp_path / "mpirun"
    launcher.write_text(
        f"#!/bin/sh\ntrap 'exit {code}' USR1\nsleep 0.5\nkill -INT $PPID\nwhile :; do sleep 0.05; done\n"
    )
    launcher.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(sys, "argv", ["coupler-plugin", "run", "-n", "2", "coupling.yml"])
    assert launch(2) == shown
