# SPDX-License-Identifier: Apache-2.0
"""Engines in processes of their own: YAC's weights, and children that crash, hang or say nothing."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter, sleep

import numpy as np
import pytest

from coupler_plugin import Status
from coupler_plugin.regrid import Grid, curvilinear, gaussian, latlon, make_weights
from coupler_plugin.regrid.engines import child
from coupler_plugin.regrid.geometry import SPHERE
from tests.refusal import refused
from tests.regrid.engines_here import need_yac


def turned(resolution: float) -> Grid:
    """Return a regional grid whose rows cross the parallels."""
    lon, lat = np.meshgrid(np.arange(0.0, 30.0, resolution), np.arange(-15.0, 15.0, resolution))
    corners = np.meshgrid(*(np.append(axis, axis[-1] + resolution) - resolution / 2 for axis in (lon[0], lat[:, 0])))
    tilt = 0.3
    return curvilinear("turned", lon + tilt * lat, lat + 20.0, corners[0] + tilt * corners[1], corners[1] + 20.0)


@pytest.mark.parametrize("method", ["conservative", "conservative_2nd"])
@pytest.mark.parametrize(("src", "dst"), [(gaussian(32), latlon(3.0)), (latlon(4.0), gaussian(32))])
def test_yac_keeps_integrals_and_constants(src: Grid, dst: Grid, method: str) -> None:
    need_yac()
    weights = make_weights(src, dst, method, engine="yac")
    matrix, before, after = weights.matrix(), src.areas("great_circle"), dst.areas("great_circle")
    values = np.random.default_rng(1).normal(size=src.n) + 3.0
    assert after @ (matrix @ values) == pytest.approx(before @ values, rel=1e-12)
    np.testing.assert_allclose(matrix @ np.ones(src.n), 1.0, rtol=0.0, atol=1e-13)
    assert weights.unmapped.size == 0


def test_second_order_is_closer_to_a_smooth_field() -> None:
    need_yac()
    src, dst = latlon(6.0), latlon(2.0)
    lam, phi = (np.deg2rad([src.lon, dst.lon][k]) for k in (0, 1)), (np.deg2rad([src.lat, dst.lat][k]) for k in (0, 1))
    before, after = (np.cos(p) ** 2 * np.cos(2 * x) for x, p in zip(lam, phi, strict=True))
    errors = {
        method: np.abs(make_weights(src, dst, method, engine="yac").matrix() @ before - after).mean()
        for method in ("conservative", "conservative_2nd")
    }
    assert errors["conservative_2nd"] < 0.2 * errors["conservative"]


def test_yac_along_parallels_is_the_separable_one() -> None:
    need_yac()
    src, dst = gaussian(24), latlon(5.0)
    ours, theirs = (make_weights(src, dst, "conservative", edges="latitude", engine=e) for e in ("builtin", "yac"))
    assert np.abs(ours.matrix() - theirs.matrix()).max() < 1e-10


def test_edges_along_parallels_matter() -> None:
    need_yac()
    src, dst = latlon(10.0), latlon(4.0)
    great = make_weights(src, dst, "conservative", engine="yac")
    along = make_weights(src, dst, "conservative", edges="latitude")
    assert 1e-4 < np.abs(great.matrix() - along.matrix()).max() < 0.1
    assert along.description["engine"] == "builtin"


def test_regional_grids_give_away_what_they_share() -> None:
    need_yac()
    src, dst = turned(2.0), latlon(1.5)
    weights = make_weights(src, dst, "conservative", engine="yac")
    values = np.random.default_rng(2).normal(size=src.n) + 5.0
    before, after = src.areas("great_circle"), dst.areas("great_circle")
    assert after @ (weights.matrix() @ values) == pytest.approx(before @ values, rel=1e-11)
    np.testing.assert_allclose(weights.arrays["frac_a"], 1.0, rtol=0.0, atol=1e-9)
    covered = weights.arrays["frac_b"] @ after
    assert covered == pytest.approx(before.sum(), rel=1e-11)
    assert covered < 0.1 * SPHERE


def test_average_is_yacs_for_meshes() -> None:
    need_yac()
    weights = make_weights(latlon(10.0), latlon(6.0), "average")
    assert weights.description["engine"] == "yac"
    mapped = np.setdiff1d(np.arange(weights.n_dst), weights.unmapped)
    np.testing.assert_allclose(weights.links.row_sums(weights.n_dst)[mapped], 1.0, rtol=0.0, atol=1e-13)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    return tmp_path / "_engine_child.py"


def run(script: Path, text: str, timeout: float = 30.0) -> str:
    script.write_text("import os, sys, time\nimport numpy as np\n" + text)
    return child.run(script, {"number": np.array(7)}, "result.txt", Path.read_text, timeout)


def test_child_gets_a_request_and_gives_a_result(script: Path) -> None:
    assert run(script, "open(sys.argv[2], 'w').write(str(np.load(sys.argv[1])['number']))") == "7"


def test_child_has_no_trace_of_an_mpi_launcher(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PRTE_LAUNCHED", "PMI_SIZE", "SLURM_PROCID"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("KEPT", "kept")
    seen = run(script, "open(sys.argv[2], 'w').write(' '.join(os.environ))").split()
    assert "KEPT" in seen
    assert not [name for name in seen if name.startswith(("OMPI", "PMI", "PRTE", "SLURM"))]


def test_child_that_fails_has_the_last_word(script: Path) -> None:
    with refused(Status.RUN, "engine failed with exit code 1", "ValueError: these cells are odd", "another engine"):
        run(script, "raise ValueError('these cells are odd')")


def test_child_that_crashes_is_named(script: Path) -> None:
    with refused(Status.RUN, "engine was killed by SIGABRT", "last cry"):
        run(script, "os.write(2, b'last cry'); os.abort()")


def test_child_that_hangs_is_ended_with_all_it_started(script: Path, tmp_path: Path) -> None:
    begin = perf_counter()
    with refused(Status.RUN, "did not finish within 2 s", "without a word"):
        run(
            script,
            f"print(end='') if os.fork() else open(r'{tmp_path}/pid', 'w').write(str(os.getpid()))\ntime.sleep(60)",
            2.0,
        )
    assert perf_counter() - begin < 20.0
    grandchild = int((tmp_path / "pid").read_text())
    while _is_running(grandchild):  # a process that was killed still has to be scheduled once to end
        assert perf_counter() - begin < 20.0
        sleep(0.01)


def _is_running(process: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_child_that_writes_nothing_is_noticed(script: Path) -> None:
    with refused(Status.RUN, "wrote no weights"):
        run(script, "")


def test_child_files_need_room(script: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with refused(Status.IO, "nowhere"):
        run(script, "")


def test_yac_child_names_what_is_wrong() -> None:
    need_yac()
    script = Path(child.__file__).with_name("_yac_child.py")
    with refused(Status.RUN, "yac failed", "KeyError"):
        child.run(script, {"method": np.array("conservative")}, "result.nc", Path.read_bytes, 60.0)
