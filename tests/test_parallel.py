# SPDX-License-Identifier: Apache-2.0
"""What the plugin needs of MPI, on one rank with a communicator and with none; tests/parallel has more ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coupler_plugin import CouplerError, Status
from coupler_plugin.parallel import Gather, allgather, broadcast, rank_of, size_of, together


@pytest.fixture(params=["none", "world of one rank"])
def comm(request: pytest.FixtureRequest) -> Any:
    if request.param == "none":
        return None
    return pytest.importorskip("mpi4py.MPI", exc_type=ImportError).COMM_SELF


def test_one_rank_is_rank_zero_of_one(comm: Any) -> None:
    assert (rank_of(comm), size_of(comm)) == (0, 1)
    assert allgather(comm, "x") == ["x"]
    assert broadcast(comm, 7) == 7


def test_work_that_is_done_together_gives_its_result(comm: Any) -> None:
    assert together(comm, lambda: 42) == 42


@pytest.mark.parametrize("error", [CouplerError(Status.IO, "full"), ValueError("odd"), KeyError("key")])
def test_own_error_comes_back_as_it_is(comm: Any, error: Exception) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        together(comm, fail)
    assert caught.value is error


def test_values_are_gathered_in_the_order_of_ids(comm: Any) -> None:
    gather = Gather(comm, np.array([30, 10, 20]))
    assert gather.is_root
    np.testing.assert_array_equal(gather.ids, [10, 20, 30])
    np.testing.assert_array_equal(gather(np.array([3.0, 1.0, 2.0])), [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(gather(np.array([[3, 9], [1, 7], [2, 8]])), [[1, 7], [2, 8], [3, 9]])


def test_gathering_leaves_the_values_alone(comm: Any) -> None:
    values = np.array([3.0, 1.0, 2.0])
    Gather(comm, np.array([30, 10, 20]))(values)[:] = 0.0
    np.testing.assert_array_equal(values, [3.0, 1.0, 2.0])


def test_strided_values_are_gathered(comm: Any) -> None:
    values = np.arange(12.0).reshape(3, 4)[:, ::2]
    np.testing.assert_array_equal(Gather(comm, np.array([1, 2, 3]))(values), values)


def test_rank_without_cells_gathers_nothing(comm: Any) -> None:
    assert Gather(comm, np.empty(0, np.int64))(np.empty((0, 3))).shape == (0, 3)
