# SPDX-License-Identifier: Apache-2.0
"""What stays the host's own: floating-point environment, threads, signals, locale, standard output, its last breath."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from small_hosts import Hosts, Run, execute

MOMENTS = ["before", "after_init", "after_set_cells", "after_bind", "after_step", "after_finalize"]


@pytest.fixture(scope="module")
def environment(hosts: Hosts, config: Path) -> Run:
    """A host with traps, rounding upwards and three OpenMP threads."""
    program = hosts.compile("environment.f90", "-fopenmp", "-ffpe-trap=invalid,zero,overflow")
    return hosts.run(program, config)


@pytest.fixture(scope="module")
def process_state(hosts: Hosts, config: Path) -> Run:
    """A host with signal handlers, the C locale and subnormals flushed to zero."""
    return hosts.run(hosts.compile("process_state.c"), config, LC_ALL="C.UTF-8")


@pytest.mark.parametrize("moment", MOMENTS)
def test_traps_rounding_flags_and_threads_are_as_the_host_set_them(environment: Run, moment: str) -> None:
    assert environment[moment] == "T"


def test_a_host_with_traps_gets_its_answer(environment: Run) -> None:
    assert environment["answer"] == "T"


def test_openmp_regions_after_a_step_have_all_their_threads(environment: Run) -> None:
    assert environment["threads"] == "3"


def test_threads_of_the_coupling_file_do_not_leak_into_the_host(
    hosts: Hosts, write_coupling: Callable[..., Path]
) -> None:
    program = hosts.compile("environment.f90", "-fopenmp", "-ffpe-trap=invalid,zero,overflow")
    result = hosts.run(program, write_coupling(threads=2))
    assert [result[moment] for moment in MOMENTS] == ["T"] * len(MOMENTS)


@pytest.mark.parametrize("order", ["threads_before", "threads_after"])
def test_openmp_threads_that_an_emulator_shares_keep_what_the_host_set(
    hosts: Hosts, write_coupling: Callable[..., Path], tmp_path: Path, order: str
) -> None:
    config = write_coupling(folder=tmp_path, threads=2)
    text = yaml.safe_load(config.read_text())
    text["emulators"][0]["block"] = 65536  # enough for torch to share it out
    config.write_text(yaml.safe_dump(text))
    program = hosts.compile("openmp_team.f90", "-fopenmp", "-ffpe-trap=invalid,zero,overflow")
    result = hosts.run(program, config, order, OMP_NUM_THREADS="2")
    assert result["after"] == result["after_two"] == "T"
    assert result["alike"] == "T"
    assert result.stderr == ""


@pytest.mark.parametrize("what", ["signals", "locale", "subnormals"])
@pytest.mark.parametrize("moment", ["before", "after_init", "after_step"])
def test_signals_locale_and_subnormal_numbers_stay(process_state: Run, what: str, moment: str) -> None:
    assert process_state[f"{what}_{moment}"] == "1"


def test_units_in_a_locale_with_decimal_commas(hosts: Hosts, config: Path, tmp_path: Path) -> None:
    if shutil.which("localedef") is None or not Path("/usr/share/i18n/locales/de_DE").exists():
        pytest.skip("locales cannot be made here; Debian and Ubuntu: apt install locales")
    execute(["localedef", "-i", "de_DE", "-f", "UTF-8", str(tmp_path / "de_DE.UTF-8")], cwd=tmp_path)
    result = hosts.run(hosts.compile("comma_locale.c"), config, "de_DE.UTF-8", LOCPATH=str(tmp_path))
    assert (result["rc"], result["half"]) == ("0", "0,5")
    assert result["answer"] == "4"  # of tas = 1.5 K


def test_warnings_of_libraries_do_not_end_a_host(hosts: Hosts, config: Path, tmp_path: Path) -> None:
    # torch imports pynvml where there is one; the real one warns that it has another name now
    (tmp_path / "pynvml.py").write_text("import warnings\nwarnings.warn('use another', FutureWarning)\n")
    environment = {"PYTHONWARNINGS": "error", "PYTHONPATH": str(tmp_path)}
    result = hosts.run(hosts.compile("first_call.f90"), config, **environment)
    assert (result["answer"], result["rc_message"]) == ("T", "")
    assert "FutureWarning: use another" in result.stderr


def test_nothing_is_written_to_standard_output(hosts: Hosts, config: Path) -> None:
    result = hosts.run(hosts.compile("first_call.f90"), config)
    assert result.stdout.splitlines() == ["version=0.1.0", "answer=T", "rc=0", "rc_message="]
    assert result.stderr == ""


def test_a_host_without_standard_output_ends_well(hosts: Hosts, aborting_config: Path) -> None:
    result = hosts.run("sh", "-c", '"$0" "$1" >&-', hosts.compile("first_call.f90"), aborting_config)
    assert result.stderr == ""


def test_files_lie_beside_the_coupling_file_wherever_the_host_goes(
    hosts: Hosts, write_coupling: Callable[..., Path], tmp_path: Path
) -> None:
    history = {"file": "out/history.nc", "fields": ["lai"], "every": "1h"}
    config = write_coupling(folder=tmp_path, history=history, report="out/report.json")
    (tmp_path / "elsewhere").mkdir()
    hosts.run(hosts.compile("changes_folder.f90"), config.name, "elsewhere", cwd=tmp_path)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["history.nc", "report.json"]
    assert not any((tmp_path / "elsewhere").iterdir())


def test_a_host_that_forgets_finalize_ends_well_and_is_told(hosts: Hosts, config: Path) -> None:
    result = hosts.run(hosts.compile("no_finalize.f90"), config)
    assert result["answer"] == "T"
    assert "coupler 1 was not finalized" in result.stderr


def test_an_empty_step_is_cheap_and_leaves_nothing_behind(hosts: Hosts, write_coupling: Callable[..., Path]) -> None:
    config = write_coupling()
    config.write_text("emulators: []\n")
    result = hosts.run(hosts.compile("empty_step.f90", "-O2"), config)
    assert int(result["growth"]) < 1000  # kB in 200,000 steps: less than 5 bytes a step
    print(f"an empty step takes {result['nanoseconds']} ns")
