# SPDX-License-Identifier: Apache-2.0
"""The coupling file: what it may hold, and errors that point at the line to mend."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusal import refused

from coupler_plugin import CouplerError, Status
from coupler_plugin.config import Config, load_config, parse_config
from coupler_plugin.config.constants import parse_constant
from coupler_plugin.fields import Fields

FILE = Path("run/coupling.yml")
WHOLE = """\
calendar: 360_day
on_error: return
threads: 2
emulators:
  - model: zoo/leaf_area_index.pt
    every: 1d
    block: 512
  - {model: /models/carbon_flux.pt, block: exact, outputs: [gpp, reco]}
constants: {co2: 369.5 ppm, ps: 1013 hPa, sftlf: 100}
fields:
  - {name: npp, long_name: net primary production, units: kg m-2 s-1, valid_range: [-1e-6, 1e-6], positive: down}
history: {file: out/history.nc, fields: [lai, npp], every: 5d, from: 2002-02-30}
report: out/report.json
"""


# --- what a file may hold -------------------------------------------------------------------------------------


def test_whole_file_is_read() -> None:
    config = parse_config(WHOLE, FILE)
    assert (config.calendar, config.on_error, config.threads) == ("360_day", "return", 2)
    assert [(e.every, e.block, e.outputs) for e in config.emulators] == [
        ("1d", 512, None),
        (None, "exact", ["gpp", "reco"]),
    ]
    assert config.constants == {"co2": "369.5 ppm", "ps": "1013 hPa", "sftlf": "100"}
    assert config.fields[0].name == "npp"
    assert [(history.every, history.from_) for history in config.history] == [("5d", "2002-02-30")]


def test_smallest_file_has_the_defaults() -> None:
    config = parse_config("emulators: []", FILE)
    assert (config.calendar, config.on_error, config.threads) == ("standard", "abort", 1)
    assert (config.emulators, config.constants, config.history, config.report) == ([], {}, [], None)
    assert parse_config("emulators: [{model: a.pt}]", FILE).emulators[0].block == 1024


def test_paths_are_relative_to_the_file() -> None:
    config = parse_config(WHOLE, FILE)
    assert config.emulators[0].model == Path("run/zoo/leaf_area_index.pt")
    assert config.emulators[1].model == Path("/models/carbon_flux.pt")
    assert [history.file for history in config.history] == [Path("run/out/history.nc")]
    assert config.report is not None
    assert config.report.file == Path("run/out/report.json")


def test_paths_may_leave_the_folder_of_the_file_for_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = parse_config("emulators: [{model: ../models/x.pt}]", Path("config/coupling.yml"))
    assert config.emulators[0].model == Path("config/../models/x.pt")
    with refused(CONFIG, "run directory"):
        parse_config("emulators: [{model: ../../x.pt}]", Path("config/coupling.yml"))


def test_json_schema_names_every_key() -> None:
    schema = json.loads(json.dumps(Config.model_json_schema()))
    assert set(schema["properties"]) >= {"calendar", "emulators", "constants", "fields", "history", "report", "threads"}
    assert set(schema["$defs"]["HistorySection"]["properties"]) == {"file", "fields", "every", "from", "grid"}
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(
    ("name", "text", "value", "units"),
    [
        ("co2", "369.5 ppm", 369.5, "ppm"),
        ("co2", "370", 370.0, "1e-6"),  # as in `bind`, the field's own units
        ("pr", " 1e-3  mm d-1 ", 1e-3, "mm d-1"),
        ("tas", "-5 degC", -5.0, "degC"),
    ],
)
def test_constant_is_a_number_with_units(name: str, text: str, value: float, units: str) -> None:
    constant = parse_constant(Fields()[name], text)
    assert (constant.value, constant.units) == (value, units)


# --- what it may not ------------------------------------------------------------------------------------------

CONFIG, FIELD, UNITS = Status.CONFIG, Status.FIELD, Status.UNITS
E = "emulators: []\n"
M = "emulators:\n  - model: x.pt\n    "
H = "emulators: []\nhistory: {file: h.nc, fields: [lai]"

WRONG = {
    # name of the case: (text, status, line:column, words)
    "empty file": ("", CONFIG, "", ["mapping", "'emulators'"]),
    "a list": ("- a\n", CONFIG, "", ["mapping", "'emulators'"]),
    "open bracket": ("emulators: [", CONFIG, ":1:13", ["not valid YAML"]),
    "tab": ("emulators:\n\t- a", CONFIG, ":2:1", ["not valid YAML", "\\t"]),
    "unknown alias": ("emulators: *x", CONFIG, ":1:12", ["alias 'x'"]),
    "object of Python": ("emulators: !!python/name:os.system []", CONFIG, ":1:12", ["not valid YAML"]),
    "control character": (E + "\x00", CONFIG, "", ["not valid YAML"]),
    "key twice": (E + "threads: 1\nthreads: 2", CONFIG, ":3:1", ["'threads'", "line 2"]),
    "key twice below": (E + "constants:\n  co2: 1\n  co2: 2", CONFIG, ":4:3", ["'co2'", "line 3"]),
    "no emulators": ("calendar: noleap", CONFIG, ":1:1", ["'emulators'", "missing"]),
    "emulators a number": ("emulators: 3", CONFIG, ":1:12", ["'emulators'", "list", "3"]),
    "emulator a text": ("emulators:\n  - x.pt", CONFIG, ":2:5", ["'emulators.0'", "'x.pt'"]),
    "misspelt key": (E + "calender: noleap", CONFIG, ":2:1", ["'calender'", "Did you mean 'calendar'?", "threads"]),
    "misspelt key below": (M + "evry: 1d", CONFIG, ":3:5", ["'evry'", "'emulators.0'", "Did you mean 'every'?"]),
    "key that begins like a type": (E + "interval: 1d", CONFIG, ":2:1", ["'interval'", "Allowed: calendar"]),
    "the same below": (M + "interval: 1d", CONFIG, ":3:5", ["'interval'", "Allowed: model, sha256, every"]),
    "no model": ("emulators:\n  - every: 1d", CONFIG, ":2:5", ["'model'", "'emulators.0'", "missing"]),
    "calendar": (E + "calendar: nolep", CONFIG, ":2:11", ["'nolep'", "360_day", "Did you mean 'noleap'?"]),
    "on_error": (E + "on_error: stop", CONFIG, ":2:11", ["'abort' or 'return'", "'stop'"]),
    "threads zero": (E + "threads: 0", CONFIG, ":2:10", ["'threads'", "1", "0"]),
    "threads text": (E + "threads: many", CONFIG, ":2:10", ["'threads'", "integer", "'many'"]),
    "every": (M + "every: 1 week", CONFIG, ":3:12", ["'1 week'", "'6h'"]),
    "every a number": (M + "every: 3600", CONFIG, ":3:12", ["'emulators.0.every'", "3600"]),
    "block odd": (M + "block: 100", CONFIG, ":3:12", ["multiple of 16", "100"]),
    "block zero": (M + "block: 0", CONFIG, ":3:12", ["multiple of 16", "0"]),
    "block negative": (M + "block: -16", CONFIG, ":3:12", ["multiple of 16", "-16"]),
    "block word": (M + "block: exactly", CONFIG, ":3:12", ["'exact'", "'exactly'"]),
    "block true": (M + "block: true", CONFIG, ":3:12", ["multiple of 16", "True"]),
    "hash too short": (M + "sha256: 12ab", CONFIG, ":3:13", ["'emulators.0.sha256'", "12ab"]),
    "path with a null byte": ('emulators: [{model: "a\\0b.pt"}]', CONFIG, ":1:21", ["null byte"]),
    "model outside": (
        "emulators: [{model: ../../x.pt}]",
        CONFIG,
        ":1:21",
        ["'../../x.pt'", "run directory", "absolute path"],
    ),
    "history outside": ("emulators: []\nhistory: {file: a/../../../h.nc, fields: [lai]}", CONFIG, ":2:17", ["leaves"]),
    "forcing outside": (
        "emulators: []\ndriver: {start: 2001-01-01, end: 2001-01-02, forcing: [{files: [a.nc, ../../b.nc]}]}",
        CONFIG,
        ":2:71",
        ["'driver.forcing.0.files.1'", "'../../b.nc'"],
    ),
    "no outputs": (M + "outputs: []", CONFIG, ":3:5", ["'emulators.0.outputs'", "at least 1"]),
    "history without fields": (E + "history: {file: h.nc}", CONFIG, ":2:10", ["'fields'", "'history'", "missing"]),
    "history of nothing": (E + "history: {file: h.nc, fields: []}", CONFIG, ":2:23", ["'history.fields'", "1"]),
    "history of a text": (E + "history: {file: h.nc, fields: lai}", CONFIG, ":2:31", ["list", "'lai'"]),
    "history of what is unknown": (H[:-1] + ", lay]}", FIELD, ":2:37", ["'lay'", "Did you mean 'lai'?"]),
    "history every": (H + ", every: 1x}", CONFIG, ":2:45", ["'1x'", "'6h'"]),
    "history from": (H + ", from: soon}", CONFIG, ":2:44", ["'soon'", "YYYY-MM-DD"]),
    "day of no calendar": (H + ", from: 2001-02-30}", CONFIG, ":2:44", ["'2001-02-30'", "'standard'"]),
    "constant by two names": (E + "constants:\n  pr: 1\n  rainf: 2", CONFIG, ":4:10", ["'pr'", "'rainf'"]),
    "constants a list": (E + "constants: [co2]", CONFIG, ":2:1", ["'constants'"]),
    "constant a word": (E + "constants: {co2: many}", CONFIG, ":2:18", ["'many'", "'370 ppm'"]),
    "constant without gap": (E + "constants: {co2: 370ppm}", CONFIG, ":2:18", ["'370ppm'", "'370 ppm'"]),
    "constant nan": (E + "constants: {co2: .nan}", CONFIG, ":2:18", ["'nan'"]),
    "constant unknown": (E + "constants: {co3: 370 ppm}", FIELD, ":2:18", ["'co3'", "Did you mean 'co2'?"]),
    "constant in wrong units": (E + "constants: {co2: 370 K}", UNITS, ":2:18", ["'K'", "'co2'", "'1e-6'"]),
    "constant in no units": (E + "constants: {co2: 370 ppmm}", UNITS, ":2:18", ["'ppmm'", "UDUNITS"]),
    "field without units": (E + "fields: [{name: a, long_name: b}]", CONFIG, ":2:10", ["'units'", "'fields.0'"]),
    "field in no units": (E + "fields: [{name: a, long_name: b, units: gC}]", UNITS, ":2:41", ["'gC'", "'a'"]),
    "field that goes sideways": (
        E + "fields: [{name: a, long_name: b, units: 1, positive: left}]",
        CONFIG,
        ":2:54",
        ["'fields.0.positive'", "'left'"],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistake_is_answered_with_its_place_and_remedy(case: str) -> None:
    text, status, place, words = WRONG[case]
    with refused(status, f"{FILE}{place}: ", *words):
        parse_config(text, FILE)


def test_every_mistake_of_a_file_is_listed() -> None:
    with refused(CONFIG, ":1:10: ", ":2:11: ", ":3:1: "):
        parse_config("threads: 0\ncalendar: x\nhistori: 1\nemulators: []", FILE)


def error_of(text: str) -> str | None:
    try:
        parse_config(text, FILE)
    except CouplerError as error:
        return str(error)
    return None


@given(st.text(alphabet=" \n-:[]{}'\"#&*!|>%@`ab1,", max_size=40))
def test_no_text_makes_it_stumble(text: str) -> None:
    error = error_of(text)
    assert error is None or error.startswith(str(FILE))


@given(
    st.dictionaries(
        st.sampled_from([*Config.model_fields, "int", "literal['x']", "function-after"]),
        st.recursive(
            st.none() | st.booleans() | st.integers(-2, 2) | st.text("ab1 ", max_size=3),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(st.sampled_from(["model", "block", "file", "fields", "int"]), inner, max_size=2)
            ),
        ),
    )
)
def test_no_value_makes_it_stumble(data: dict[str, object]) -> None:
    error = error_of(json.dumps(data))
    assert error is None or error.startswith(str(FILE))


# --- from disk ------------------------------------------------------------------------------------------------


def test_file_and_its_text_are_loaded(tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_text(WHOLE)
    config = load_config(str(tmp_path / "c.yml"))
    assert config.text == WHOLE
    assert config.report is not None
    assert config.report.file == tmp_path / "out/report.json"


def test_missing_file_is_refused_with_the_folder_it_was_looked_for_in(tmp_path: Path) -> None:
    with refused(CONFIG, "'nowhere.yml'", str(Path.cwd()), "No such file"):
        load_config("nowhere.yml")


def test_folder_is_refused(tmp_path: Path) -> None:
    with refused(CONFIG, f"'{tmp_path}'", "directory"):
        load_config(tmp_path)


def test_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_bytes(b"emulators: \xff\xfe")
    with refused(CONFIG, "UTF-8"):
        load_config(tmp_path / "c.yml")


@pytest.mark.parametrize(
    ("instance", "name"), [("7", "history_0007.nc"), ("0012", "history_0012.nc"), ("a", "history_a.nc")]
)
def test_instance_stands_for_the_number_of_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instance: str, name: str
) -> None:
    monkeypatch.setenv("COUPLER_INSTANCE", instance)
    path = tmp_path / "coupling.yml"
    path.write_text("emulators: []\nhistory: {file: 'history_${instance}.nc', fields: [tas]}\n")
    config = load_config(path)
    assert config.history[0].file.name == name
    assert name in config.text


@pytest.mark.parametrize(("instance", "reason"), [(None, "is not set"), ("a/b", "is 'a/b'")])
def test_instance_that_is_missing_or_no_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instance: str | None, reason: str
) -> None:
    monkeypatch.delenv("COUPLER_INSTANCE", raising=False)
    if instance is not None:
        monkeypatch.setenv("COUPLER_INSTANCE", instance)
    path = tmp_path / "coupling.yml"
    path.write_text("emulators: []\nhistory: {file: 'history_${instance}.nc', fields: [tas]}\n")
    with refused(Status.CONFIG, "coupling.yml:2:", "COUPLER_INSTANCE", reason):
        load_config(path)
