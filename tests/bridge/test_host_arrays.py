# SPDX-License-Identifier: Apache-2.0
"""Arrays as Fortran hosts have them: kinds, ranks, strides, blocks, arrays that move."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_hosts import Hosts, Run

from coupler_plugin import Status


@pytest.fixture(scope="module")
def run(hosts: Hosts, config: Path) -> Callable[..., Run]:
    """Return a function that compiles and runs a host once, however many tests look at it."""
    runs: dict[tuple[str, ...], Run] = {}

    def run_once(name: str, *flags: str) -> Run:
        key = (name, *flags)
        if key not in runs:
            runs[key] = hosts.run(hosts.compile(name, *flags), config)
        return runs[key]

    return run_once


@pytest.mark.parametrize("rank", range(5))
@pytest.mark.parametrize(("bits", "flags"), [(32, ()), (64, ("-fdefault-real-8", "-fdefault-double-8"))])
def test_fields_of_each_kind_and_rank_are_read_and_written(
    run: Callable[..., Run], bits: int, flags: tuple[str, ...], rank: int
) -> None:
    result = run("kinds_and_ranks.f90", *flags)
    assert result["bits"] == str(bits)
    assert result[f"rank_{rank}"] == "T"


@pytest.mark.parametrize(
    "case", ["every_second_element", "backwards", "middle_level", "component", "pointer_to_section"]
)
def test_parts_of_arrays_are_used_where_they_are(run: Callable[..., Run], case: str) -> None:
    assert run("strided_arrays.f90")[case] == "T"


def test_ragged_blocks_leave_inactive_cells_alone(run: Callable[..., Run]) -> None:
    result = run("ragged_blocks.f90")
    assert result["active"] == "T"
    assert result["inactive"] == "T"


@pytest.mark.parametrize(
    "case", ["no_rows", "rows_of_two_ranks_before", "rows_far_before", "no_columns", "columns_far_before", "both"]
)
def test_a_rank_without_cells_takes_part_whatever_its_bounds_are(run: Callable[..., Run], case: str) -> None:
    result = run("no_cells.f90")
    assert result[case] == result[f"{case}_finalize"] == "0", result[f"{case}_message"]


def test_bounds_that_gfortran_cannot_tell_from_an_assumed_size_are_named(run: Callable[..., Run]) -> None:
    result = run("no_cells.f90")
    case = "not_to_tell_from_assumed_size"
    assert result[case] == str(int(Status.ARRAY))
    assert "that of bounds such as (5:3)" in result[f"{case}_message"]


@pytest.mark.parametrize("flags", [("-O0",), ("-O3", "-flto=auto", "-fwhole-program")])
def test_the_compiler_sees_what_a_step_has_written(run: Callable[..., Run], flags: tuple[str, ...]) -> None:
    assert run("hidden_writes.f90", *flags)["wrong"] == "0"


def test_two_couplers_and_arrays_that_moved(hosts: Hosts, config: Path, write_coupling: Callable[..., Path]) -> None:
    result = hosts.run(hosts.compile("two_couplers.f90"), config, write_coupling(scale=3.0))
    for case in ("first", "second", "bound_again", "first_is_finalized", "second_goes_on"):
        assert result[case] == "T", case


@pytest.mark.skipif(torch.cuda.is_available(), reason="addresses are then those of a GPU")
@pytest.mark.parametrize("flags", [(), ("-fopenacc",), ("-fopenmp",)], ids=["plain", "openacc", "openmp"])
@pytest.mark.parametrize("case", ["openacc", "openmp", "sections", "components"])
def test_arrays_of_a_device_in_a_program_that_runs_on_its_host(
    run: Callable[..., Run], case: str, flags: tuple[str, ...]
) -> None:
    assert run("device_arrays.f90", *flags)[case] == "T"


@pytest.mark.skipif(torch.cuda.is_available(), reason="addresses are then those of a GPU")
@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("backwards", "a device takes elements in rising order"),
        ("integers", "'tas' is a tensor of kind int32; give a dense one of float32 or float64"),
        ("moved", "was bound in the host's memory and is now bound in memory of the device"),
    ],
)
def test_arrays_that_cannot_be_those_of_a_device(run: Callable[..., Run], case: str, words: str) -> None:
    result = run("device_arrays.f90")
    assert result[case] == result["status"]
    assert words in result[f"{case}_message"]
