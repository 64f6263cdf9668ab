# SPDX-License-Identifier: Apache-2.0
"""land_cover on a made-up island: maps and their gaps, no leakage, what the network may and may not do, learning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("PIL", reason="training needs the libraries of the extra 'train'")
xr = pytest.importorskip("xarray")

from coupler_plugin.emulator.load import load  # noqa: E402
from torchscript_models.cubes import block_sums, check_apart, widened  # noqa: E402
from torchscript_models.data import DataError  # noqa: E402
from torchscript_models.export import export  # noqa: E402
from torchscript_models.land_cover import training  # noqa: E402
from torchscript_models.land_cover.classes import CELL, CLASSES, N_CLASSES, N_LAND, SEA, YEARS  # noqa: E402
from torchscript_models.land_cover.judgement import judge, run_free  # noqa: E402
from torchscript_models.land_cover.maps import (  # noqa: E402
    Maps,
    coarse_fractions,
    prepare,
    read_cube,
)
from torchscript_models.land_cover.network import (  # noqa: E402
    HALO,
    HOLD,
    N_STATE,
    STATE_HALO,
    TILE_HALO,
    LandCover,
    proportions,
)
from torchscript_models.land_cover.recipe import LandCoverRecipe  # noqa: E402
from torchscript_models.land_cover.samples import (  # noqa: E402
    BLOCK,
    PATCH,
    blocky_fractions,
    fine_fractions,
    seen_in_training,
    split,
    training_corners,
    window_of,
)
from torchscript_models.watch import Checkpoints, Watch  # noqa: E402

CODES = np.array(list(CLASSES), np.uint8)
AGRICULTURE, FOREST = 1, 2


def island(side: int = 6 * BLOCK) -> xr.Dataset:
    """Return made-up maps: a disc of forest with fields, whose fields grow by a ring of four pixels."""
    y, x = np.ogrid[:side, :side]
    middle = (side - 1) / 2
    before = np.where((y - middle) ** 2 + (x - middle) ** 2 < (0.47 * side) ** 2, FOREST, SEA).astype(np.uint8)
    after = before.copy()
    for layer, radius in ((before, 20), (after, 24)):
        layer[((y % 96 - 48) ** 2 + (x % 96 - 48) ** 2 < radius**2) & (layer != SEA)] = AGRICULTURE
    landform = np.where(before == SEA, 255, 1 + (x // 64) % 17).astype(np.uint8)
    cover = np.stack([CODES[before], CODES[after]])
    return xr.Dataset(
        {"land_cover": (("time", "y", "x"), cover), "landform": (("y", "x"), landform)}, {"time": [2001, 2015]}
    )


@pytest.fixture(scope="module")
def maps() -> Maps:
    return prepare(island())


def random_step(size: int = 96, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return inputs, static fields and the state at start of one tile with a coast."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.rand(1, 2, N_LAND, size, size, generator=generator)
    codes = torch.tensor(CODES[1:].astype(np.float32))[torch.randint(0, N_LAND, (1, size, size), generator=generator)]
    codes[:, :, : size // 4] = 255.0
    landform = torch.randint(0, 18, (1, size, size), generator=generator).to(torch.float32)
    return inputs, torch.stack([codes, landform], dim=1), torch.zeros(1, N_STATE, size, size)


@pytest.fixture(scope="module")
def network() -> LandCover:
    """Return an untrained network that does not hold on to what was there."""
    torch.manual_seed(0)
    network = LandCover().eval()
    torch.nn.init.zeros_(network.transition.trust)
    return network


# ---- data ------------------------------------------------------------------------------------------------------


def test_change_creeps_outward_at_a_steady_pace(maps: Maps) -> None:
    cell = (slice(4 * BLOCK + CELL, 4 * BLOCK + 2 * CELL), slice(4 * BLOCK, 4 * BLOCK + CELL))
    times = maps.change[cell]
    changes = (maps.before != maps.after)[cell]
    assert changes.any()
    assert (times[~changes] > 1).all()
    np.testing.assert_allclose(np.sort(times[changes]), np.arange(1, changes.sum() + 1) / changes.sum(), rtol=1e-6)
    y, x = np.indices(maps.before.shape)[:, cell[0], cell[1]]
    from_field = np.hypot(y % 96 - 48, x % 96 - 48)[changes]
    assert np.corrcoef(from_field, times[changes])[0, 1] > 0.8
    half = coarse_fractions(np.where(maps.change <= 0.5, maps.after, maps.before))
    n_land = block_sums(maps.is_land, CELL)
    assert (np.abs(half - maps.coarse_at(0.5)) * n_land).max() < 1.0, "linear but for the one pixel of rounding"


def test_coasts_and_cells_without_land_or_class(maps: Maps) -> None:
    total = maps.coarse.sum(axis=1)
    assert set(np.unique(total.round(5))) == {0.0, 1.0}, "fractions are those of the land, however little there is"
    has_land = maps.is_land.reshape(-1, CELL, maps.is_land.shape[1] // CELL, CELL).any(axis=(1, 3))
    assert ((total[0] > 0) == has_land).all()
    assert (maps.coarse[:, 2:] == 0).all(), "classes that the island lacks"


def test_maps_that_do_not_fit_are_errors() -> None:
    flooded = island(2 * CELL)
    flooded["land_cover"][1, CELL, CELL] = 255
    with pytest.raises(DataError, match=r"\(32, 32\) is land in one of the maps and class 255"):
        prepare(flooded)
    unknown = island(2 * CELL)
    unknown["land_cover"][0, CELL, CELL] = 4
    with pytest.raises(DataError, match=r"2001 holds the codes \[4\]; known are \[1, 2, 3, 5, 6, 7, 9, 255\]"):
        prepare(unknown)


def test_missing_and_misshapen_files_are_named(tmp_path: Path) -> None:
    from PIL import Image

    with pytest.raises(DataError, match=r"lack 'newguinea_landcover2001\.tif'"):
        read_cube(tmp_path)
    for name, size in (("landcover2001", 5), ("landcover2015", 5), ("landform", 6)):
        Image.fromarray(np.zeros((size, 5), np.uint8)).save(tmp_path / f"newguinea_{name}.tif")
    with pytest.raises(DataError, match="differ in shape"):
        read_cube(tmp_path)
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(tmp_path / "newguinea_landform.tif")
    with pytest.raises(DataError, match="not one byte a pixel"):
        read_cube(tmp_path)


def test_fractions_at_pixels_are_those_of_the_cells(maps: Maps) -> None:
    for window in (window_of(np.array([4 * BLOCK, 4 * BLOCK])), window_of(np.array([0, 0]))):
        smooth, blocky = fine_fractions(maps.coarse[0], window), blocky_fractions(maps.coarse[0], window)
        assert smooth.shape == blocky.shape == (N_LAND, PATCH, PATCH)
        y, x = (side.start // CELL for side in window)
        middle = slice(CELL // 2 - 1, None, CELL), slice(CELL // 2 - 1, None, CELL)
        np.testing.assert_array_equal(
            blocky[:, *middle], maps.coarse[0][:, y : y + PATCH // CELL, x : x + PATCH // CELL]
        )
        assert np.abs(smooth[:, *middle] - blocky[:, *middle]).max() < 0.05


# ---- no leakage ------------------------------------------------------------------------------------------------


def test_no_training_sample_sees_a_held_out_pixel_or_its_halo(maps: Maps) -> None:
    sides = split(maps)
    assert (sum(side.astype(int) for side in sides.values()) == 1).all()
    seen = seen_in_training(maps, sides)
    assert seen.any()
    for side in ("validation", "test"):
        assert (sides[side] & maps.is_land).any()
        assert not (seen & widened(sides[side], HALO)).any()
        check_apart(seen, sides[side], HALO)


def test_a_sample_too_near_is_an_error(maps: Maps) -> None:
    held_out = np.zeros((300, 300), bool)
    held_out[100:200, 100:200] = True
    seen = np.zeros_like(held_out)
    seen[: 100 - HALO, :] = True
    check_apart(seen, held_out, HALO)
    seen[100 - HALO, 150] = True
    with pytest.raises(ValueError, match=rf"1 pixels of training samples, the first at \({100 - HALO}, 150\)"):
        check_apart(seen, held_out, HALO)


@pytest.mark.parametrize(("cell", "halo"), [(1, HALO), (CELL, TILE_HALO)], ids=["pixels", "coarse cells"])
def test_an_answer_depends_on_nothing_beyond_the_halo(cell: int, halo: int) -> None:
    size = 2 * halo + 25
    transition = LandCover().transition.double().eval()
    prior = torch.randint(1, N_CLASSES, (1, size, size), generator=torch.Generator().manual_seed(0))
    coarse = torch.rand(2, 1, N_LAND, size // cell + 1, size // cell + 1, dtype=torch.float64)
    fractions = coarse.repeat_interleave(cell, -1).repeat_interleave(cell, -2)[..., :size, :size]
    known = torch.ones(1, 1, size, size, dtype=torch.float64, requires_grad=True)
    logits = transition(prior, known, fractions[0], fractions[1], torch.zeros_like(prior))
    for place in range(halo, halo + 8):
        (slope,) = torch.autograd.grad(logits[0, :, place, place].sum(), known, retain_graph=True)
        seen = np.argwhere(slope[0, 0].numpy() != 0)
        assert np.abs(seen - place).max() <= halo


# ---- what a host relies on -------------------------------------------------------------------------------------


def test_classes_fill_the_cell_and_the_sea_stays(network: LandCover) -> None:
    inputs, static, state = random_step()
    is_sea = static[:, 0] == 255
    for _ in range(3):
        outputs, state = network(inputs, static, state)
        classes, probability = outputs.split(N_CLASSES, dim=1)
        assert ((classes == 0) | (classes == 1)).all()
        assert torch.equal(classes.sum(dim=1), torch.ones_like(classes[:, 0]))
        torch.testing.assert_close(probability.sum(dim=1), torch.ones_like(is_sea, dtype=torch.float32))
        for planes in (classes, probability):
            assert torch.equal(planes[:, SEA] == 1, is_sea)
        assert torch.equal(state[:, SEA] == 1, is_sea)


def test_calls_answer_for_all_since_the_map_that_they_start_from(network: LandCover) -> None:
    """The steps between do not count, until the map is taken anew: then a run goes on as one that starts from it."""
    steps = torch.stack([random_step(seed=seed)[0][:, 0] for seed in range(3)])
    _, static, start = random_step()
    first, state = network(torch.stack([steps[0], steps[1]], dim=1), static, start)
    second, state = network(torch.stack([steps[1], steps[2]], dim=1), static, state)
    expected, _ = network(torch.stack([steps[0], steps[2]], dim=1), static, start)
    chances = slice(N_CLASSES, None)
    assert torch.equal(second[:, chances], expected[:, chances])
    assert not torch.equal(second[:, chances], first[:, chances])
    for _ in range(YEARS - 2):
        last, state = network(torch.stack([steps[2], steps[2]], dim=1), static, state)
    assert torch.equal(last[:, chances], second[:, chances])
    assert torch.equal(state[:, :N_CLASSES], last[:, :N_CLASSES]), "the map is taken anew"
    assert (state[:, -2] == 0).all()
    reached = torch.tensor(CODES.astype(np.float32))[last[:, :N_CLASSES].argmax(dim=1)]
    belongs = state[:, N_CLASSES:-2]
    expected, _ = network(torch.stack([belongs, steps[0]], dim=1), torch.stack([reached, static[:, 1]], dim=1), start)
    found, _ = network(torch.stack([steps[2], steps[0]], dim=1), static, state)
    torch.testing.assert_close(found[:, chances], expected[:, chances], rtol=1e-4, atol=1e-5)


def test_what_was_turned_stays_so_unless_much_speaks_against(network: LandCover) -> None:
    inputs, static, state = random_step()
    fresh, _ = network(inputs, static, state)
    state[:, -2] = 1.0
    held, after = network(inputs, static, state)
    codes = torch.tensor(CODES.astype(np.float32))
    turned, stays = ((codes[answer[:, :N_CLASSES].argmax(dim=1)] != static[:, 0]) for answer in (fresh, held))
    assert (stays >= turned).all()
    assert (stays & ~turned).any()
    assert torch.equal(after[:, -2] == 1, stays)
    number = torch.tensor([list(CLASSES).index(int(code)) for code in static[0, 0].reshape(-1)]).reshape(1, 96, 96)
    chance = torch.log(held[:, N_CLASSES:].clamp(min=1e-30))
    own = chance.gather(1, number[:, None])[:, 0]
    best = chance.scatter(1, number[:, None], -100.0)[:, 1:].amax(dim=1)
    on_land = number > 0
    assert torch.equal((own - best < HOLD)[on_land], stays[on_land])


def test_chances_add_up_to_what_is_asked_for(network: LandCover) -> None:
    """In each coarse cell, and also where the scenario's fractions are not those of the map: then its change counts."""
    _, static, state = random_step(size=4 * CELL)
    generator = torch.Generator().manual_seed(2)

    def cells() -> torch.Tensor:
        return proportions(torch.rand(1, 1, N_LAND, 4, 4, generator=generator))[:, 0]

    def at_pixels(fractions: torch.Tensor) -> torch.Tensor:
        return fractions.repeat_interleave(CELL, -1).repeat_interleave(CELL, -2)

    def means(planes: torch.Tensor) -> torch.Tensor:
        land = torch.nn.functional.avg_pool2d(planes, CELL)[:, 1:]
        return land / land.sum(dim=1, keepdim=True).clamp(min=1e-6)

    numbers = torch.tensor([list(CLASSES).index(int(code)) for code in static[0, 0].reshape(-1)])
    start = network.transition.planes(numbers.reshape(1, 4 * CELL, 4 * CELL))
    on_land = slice(1, None)  # the first column of cells is sea
    wanted = cells()
    for before in (means(start), wanted + 0.3 * (means(start) - cells())):
        change = wanted - before
        outputs, _ = network(torch.stack([at_pixels(before.clamp(min=0)), at_pixels(wanted)], dim=1), static, state)
        asked = (means(start) + wanted - proportions(before[:, None])[:, 0]).clamp(min=0)
        asked = asked / asked.sum(dim=1, keepdim=True)
        found = means(outputs[:, N_CLASSES:])
        assert (found - asked)[..., on_land].abs().max() < 0.02 < change[..., on_land].abs().max()


@pytest.mark.parametrize("factor", [100.0, 0.3], ids=["percent", "of the cell"])
def test_only_proportions_of_the_scenario_count(network: LandCover, factor: float) -> None:
    inputs, static, state = random_step()
    torch.testing.assert_close(network(factor * inputs, static, state)[0], network(inputs, static, state)[0])


def test_nothing_said_and_impossible_codes_are_no_trouble(network: LandCover) -> None:
    inputs, static, state = random_step()
    for strange in (torch.zeros_like(inputs), -inputs, torch.full_like(inputs, 1e30)):
        assert torch.isfinite(network(strange, static, state)[0]).all()
    for code in (-5.0, 4.0, 200.0, 1e9):
        outputs, _ = network(inputs, torch.full_like(static, code), state)
        assert torch.isfinite(outputs).all()
        assert (outputs[:, SEA] == 1).all(), "a code without a class is not mapped"


def test_any_size_of_tile_runs(network: LandCover) -> None:
    inputs, static, state = random_step(size=70)
    assert network(inputs, static, state)[0].shape == (1, 2 * N_CLASSES, 70, 70)


# ---- learning and judging --------------------------------------------------------------------------------------


def test_a_few_lessons_lower_the_loss_on_other_blocks(maps: Maps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "BATCH", 2)
    monkeypatch.setattr(training, "BATCHES", 20)
    torch.manual_seed(0)
    transition = LandCover(width=4).transition
    sides = split(maps)
    weights = training.class_weights(maps, sides)
    held_out = training.validation_samples(maps, sides)[0]
    held_out = replace(held_out, batch=replace(held_out.batch, known=torch.zeros_like(held_out.batch.known)))
    lessons = training.Lessons(maps, sides, epochs=2, rng=np.random.default_rng(0))
    optimiser = torch.optim.Adam(transition.parameters(), lr=3e-3)  # at 1e-2 it jumps
    with torch.no_grad():
        before = training.loss_of(held_out, transition.eval(), weights)
    transition.train()
    has_lead, masked = False, 0.0
    for _ in range(2):
        for sample in lessons():
            optimiser.zero_grad()
            training.loss_of(sample, transition, weights).backward()
            optimiser.step()
            has_lead |= sample.lead is not None
            masked = max(masked, 1 - float(sample.batch.known.mean()))
        lessons.advance()
    with torch.no_grad():
        assert training.loss_of(held_out, transition.eval(), weights) < 0.8 * before
    assert has_lead, "free-running steps"
    assert masked > 0.1, "masked priors"


def test_a_patch_without_land_is_no_loss(network: LandCover, maps: Maps) -> None:
    sea = training.step_batch(maps, [(slice(0, 64), slice(0, 64))], [(0.0, 1.0)], [False])
    assert (sea.target == SEA).all()
    assert training.loss(network.transition, training.Sample(sea), torch.ones(N_LAND)) == 0


def test_masking_and_freedom_grow(maps: Maps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "BATCHES", 12)
    lessons = training.Lessons(maps, split(maps), epochs=2, rng=np.random.default_rng(0))
    first = list(lessons())
    lessons.advance()
    last = list(lessons())
    assert all(sample.lead is None for sample in first), "teacher forcing"
    assert any(sample.lead is not None for sample in last), "free running"
    hidden = [1 - sample.batch.known.mean(dim=(1, 2, 3)) for samples in (first, last) for sample in samples]
    assert max(float(share.max()) for share in hidden[:12]) <= training.MASK[0] + 0.02
    assert max(float(share.max()) for share in hidden[12:]) > training.MASK[0]
    corners, _ = training_corners(maps, split(maps))
    assert len(corners) > 100


def test_a_stopped_training_goes_on_with_the_lessons_of_its_epoch(
    maps: Maps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Masking grows from epoch to epoch: what goes on after a stop must not begin with little of it again."""
    monkeypatch.setattr(training, "BATCH", 1)
    monkeypatch.setattr(training, "BATCHES", 2)
    monkeypatch.setattr(training, "UNMASKED", 0.0)
    recipe = LandCoverRecipe.__new__(LandCoverRecipe)
    recipe.__dict__["maps"] = maps
    settings = replace(LandCoverRecipe.settings, epochs=3)

    def trained(watch: Watch) -> dict[str, torch.Tensor]:
        return recipe.train(settings, watch).state_dict()

    whole, advances = trained(Watch()), []

    def stop() -> None:
        advances.append(1)
        if len(advances) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(Watch(stop, checkpoints=Checkpoints(tmp_path, resume=False)))
    resumed = trained(Watch(checkpoints=Checkpoints(tmp_path, resume=True)))
    for name, weights in whole.items():
        assert torch.equal(weights, resumed[name]), name


def test_scores_of_known_answers() -> None:
    before = np.array([1, 1, 1, 2, 2, 2, 2, 0], np.uint8)
    truth = np.array([1, 2, 2, 2, 2, 2, 1, 0], np.uint8)
    kept = judge(before, truth, before)
    assert kept["accuracy"] == pytest.approx(4 / 7, abs=1e-4)
    assert kept["changed_accuracy"] == kept["figure_of_merit"] == kept["changed"] == 0.0
    assert kept["iou"]["agriculture"] == pytest.approx(1 / 4)
    assert kept["iou"]["forest"] == pytest.approx(3 / 6)
    assert kept["iou"]["water"] is None
    assert kept["mean_iou"] == pytest.approx((1 / 4 + 1 / 2) / 2)
    partly = judge(before, truth, np.array([2, 2, 1, 2, 2, 2, 2, 0], np.uint8))
    assert partly["changed_accuracy"] == pytest.approx(1 / 3, abs=1e-4)
    assert partly["figure_of_merit"] == pytest.approx(1 / 4)
    assert judge(before, truth, truth)["figure_of_merit"] == 1.0


def test_a_host_and_the_training_make_the_same_step(network: LandCover, maps: Maps) -> None:
    window = window_of(np.array([4 * BLOCK, 4 * BLOCK]))
    start = maps.before[window]
    old, new = (torch.from_numpy(blocky_fractions(cells, window))[None] for cells in maps.coarse)
    landform = torch.from_numpy(maps.landform[window].astype(np.int64))[None]
    prior = torch.from_numpy(start.astype(np.int64))[None]
    taught, _ = training.moved_on(network.transition, prior, old, new, landform)
    found, _ = run_free(network, start, old, new, landform, 1)
    assert (found == taught[0].numpy()).mean() > 0.9999


def test_what_was_not_made_is_asked_for_again() -> None:
    """Fractions that belong to a map follow what was turned, not what the scenario asked for."""
    transition = LandCover().transition.eval()
    prior = torch.full((1, 120, 120), FOREST)
    before = torch.tensor([0.1, 0.9] + [0.0] * 5).reshape(1, N_LAND, 1, 1).expand(1, N_LAND, 120, 120)
    torch.testing.assert_close(transition.carried(before, prior, prior), before)
    turned = prior.clone()
    turned[:, ::4] = AGRICULTURE
    belongs = transition.carried(before, prior, turned)[0, :, 60, 60]
    torch.testing.assert_close(belongs, torch.tensor([0.35, 0.65] + [0.0] * 5))


def test_the_network_is_written_with_its_manifest_and_read_again(tmp_path: Path) -> None:
    recipe = LandCoverRecipe.__new__(LandCoverRecipe)
    recipe._cube = island(2 * BLOCK)
    manifest = recipe.manifest(recipe.settings, scores={})
    assert manifest.tile.halo == STATE_HALO
    manifest = manifest.model_copy(update={"tile": manifest.tile.model_copy(update={"size": (312, 316)})})
    torch.manual_seed(0)
    network = LandCover(width=2)
    export(network, manifest, tmp_path / "land_cover.pt")
    file = load(tmp_path / "land_cover.pt")
    arguments = random_step()
    with torch.inference_mode():
        torch.testing.assert_close(file.forward(*arguments), network(*arguments), rtol=1e-5, atol=1e-5)
    assert file.manifest.budgets[0].equals == 1.0
