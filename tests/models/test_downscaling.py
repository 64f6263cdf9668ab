# SPDX-License-Identifier: Apache-2.0
"""downscaling: every allowed network builds, learns and exports; pairs, splits, losses, adversary; traps avoided."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle, product

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("pandas", reason="training needs the libraries of the extra 'train'")

from torchscript_models.data import DataError
from torchscript_models.downscaling.adversary import Discriminator, fit_against
from torchscript_models.downscaling.architecture import (
    BACKBONES,
    RECURRENT,
    UPSAMPLINGS,
    Architecture,
    allowed,
)
from torchscript_models.downscaling.blocks import DenseBlock, Dropout
from torchscript_models.downscaling.fields import Pairs, pair
from torchscript_models.downscaling.judgement import (
    Method,
    interpolation,
    judge,
    lapse_rate,
    local_lapse_rate,
    mean_kept,
)
from torchscript_models.downscaling.lapse import N_SEEN, LocalLapse
from torchscript_models.downscaling.losses import LOSSES, dssim, loss_function, msdssim
from torchscript_models.downscaling.network import Downscaling, Scales, build, start_of
from torchscript_models.downscaling.recipe import SHIPPED, batch_loss, candidates
from torchscript_models.downscaling.samples import (
    HOURS,
    Batch,
    Side,
    by_region,
    by_time,
    height,
    scales_of,
    turned,
)
from torchscript_models.downscaling.upsampling import coarsened, kept, prime_factors, upsampling

SMALL = {"scale": 4, "n_static": 2, "width": 4, "n_blocks": 2}
FINE = (24, 32)
#: choices that must work with every backbone; the combinations below take them in turn
EXTRAS: list[dict[str, object]] = [
    {},
    {"normalization": "bn", "attention": True},
    {"normalization": "ln", "dropout": "mcdrop", "dropout_rate": 0.1},
    {"localized": FINE, "dropout": "spatial", "dropout_rate": 0.2},
    {"dropout": "mcgaussiandrop", "dropout_rate": 0.1, "attention": True},
    {"dropout": "gaussian", "dropout_rate": 0.1, "interpolation": "bicubic"},
    {"dropout": "mcspatialdrop", "dropout_rate": 0.1, "normalization": "ln"},
    {"dropout": "vanilla", "dropout_rate": 0.1, "localized": FINE, "interpolation": "nearest"},
]
COMBINATIONS = [(*pair_, window) for window in (1, 3) for pair_ in allowed(window)]
CASES = [(*c, extra) for c, extra in zip(COMBINATIONS, cycle(EXTRAS), strict=False)]


def sample(config: Architecture, n: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return coarse, static and fine fields; the fine ones follow from the others."""
    generator = torch.Generator().manual_seed(0)
    static = torch.randn(n, config.n_static, *FINE, generator=generator)
    fine = torch.randn(n, 1, *FINE, generator=generator) * 0.1 + static[:, :1]
    coarse = coarsened(fine, config.scale)
    return coarse[:, None].expand(-1, config.window, -1, -1, -1) if config.window > 1 else coarse, static, fine


# ---- networks --------------------------------------------------------------------------------------------------


def test_all_pairs_are_there() -> None:
    assert len(allowed()) == 4 * 4 + 1
    assert len(allowed(window=3)) == len(RECURRENT) * len(UPSAMPLINGS)


@pytest.mark.parametrize(("backbone", "upsampled", "window", "extra"), CASES, ids=lambda v: str(v) if v else "-")
def test_every_network_builds_learns_and_exports(backbone: str, upsampled: str, window: int, extra: dict) -> None:
    torch.manual_seed(0)
    config = Architecture(backbone, upsampled, window=window, **SMALL, **extra)
    network = build(config)
    coarse, static, fine = sample(config)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    loss = (network(coarse, static) - fine).abs().mean()
    loss.backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    optimiser.step()
    network.eval()
    script = torch.jit.freeze(torch.jit.script(network))
    with torch.inference_mode():
        torch.manual_seed(1)
        expected = network(coarse, static)
        torch.manual_seed(1)
        found = script(coarse, static)
        again = script(coarse, static)
    assert found.shape == fine.shape
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    is_random = str(extra.get("dropout", "")).startswith("mc")
    assert torch.equal(found, again) != is_random, "Monte Carlo dropout draws at every call, the other kinds never"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"backbone": "unet", "upsampling": "spc"}, "a unet works on the fine grid"),
        ({"backbone": "convnext", "window": 3}, "no recurrent convnext; with a window use one of convnet, resnet"),
        ({"scale": 1}, "whole number above 1"),
        ({"dropout": "mcdrop"}, "go together"),
        ({"dropout": "mcdrop", "dropout_rate": 1.0}, "share below 1"),
    ],
)
def test_what_does_not_go_together_is_an_error(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Architecture(**wrong)


@pytest.mark.parametrize("kind", ["spc", "rc", "dc"])
@pytest.mark.parametrize("scale", [2, 3, 4, 10])
def test_upsampling_goes_up_by_the_scale_and_no_more(kind: str, scale: int) -> None:
    assert upsampling(kind, 3, scale)(torch.zeros(1, 3, 4, 5)).shape == (1, 3, 4 * scale, 5 * scale)
    assert prime_factors(20) == [2, 2, 5]


def test_a_dense_block_convolves_what_it_normalised() -> None:
    config = Architecture("densenet", normalization="bn")
    block = DenseBlock(config, 3, 4).train()
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(block.inner(1000.0 + 50.0 * x), block.inner(x), rtol=1e-3, atol=1e-3)


def test_dropout_of_the_encoder_is_on_in_training() -> None:
    config = Architecture("unet", "pin", dropout="vanilla", dropout_rate=0.5, **SMALL)
    network = build(config)
    coarse, static, _ = sample(config)
    found = [network.first(torch.cat([network.pre(coarse), static], dim=1)) for _ in range(2)]
    assert not torch.equal(*found)


@pytest.mark.parametrize("kind", ["vanilla", "gaussian", "spatial"])
def test_dropout_keeps_the_mean(kind: str) -> None:
    torch.manual_seed(0)
    x = torch.ones(64, 64, 8, 8)
    for name, module in ((kind, Dropout(kind, 0.3).train()), ("mc", Dropout(f"mc{kind}drop", 0.3).eval())):
        y = module(x)
        assert y.std() > 0.1, name
        assert abs(float(y.mean()) - 1.0) < 0.05, name
    assert torch.equal(Dropout(kind, 0.3).eval()(x), x)


# ---- what is known before anything is learned ------------------------------------------------------------------


def made_up(shape: tuple[int, int] = (12, 14), seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return temperature (1, 1, H, W) [degC] and packed elevation [m] and land fraction [%] of an island world."""
    generator = torch.Generator().manual_seed(seed)
    fine = (4 * shape[0], 4 * shape[1])
    orog = 3000.0 * torch.rand(1, 1, *fine, generator=generator)
    land = 100.0 * torch.rand(1, 1, *fine, generator=generator)
    land[..., :9, :] = 0.0  # two rows of coarse cells without land
    coarse = 15.0 + 10.0 * torch.randn(1, 1, *shape, generator=generator)
    return coarse, nn.functional.pixel_unshuffle(torch.cat([orog, land], dim=1), 4)


def shaken(config: Architecture) -> Downscaling:
    """Return a network whose last layer answers something."""
    torch.manual_seed(0)
    scales = Scales(np.ones((2, N_SEEN), np.float32), np.ones((2, 2), np.float32), 1.0, -5.0)
    network = Downscaling(config, scales).eval()
    nn.init.normal_(network.network.head.last.weight)
    return network


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_mean_over_the_land_of_a_coarse_cell_is_its_value(backbone: str) -> None:
    upsampled = "pin" if backbone == "unet" else "spc"
    network = shaken(replace(SHIPPED, backbone=backbone, upsampling=upsampled, width=4, n_blocks=1))
    coarse, static = made_up()
    with torch.inference_mode():
        fine = network(coarse, static)
    land = nn.functional.pixel_shuffle(static, 4)[:, 1:2]
    share = coarsened(land, 4)
    means = coarsened(land * fine, 4) / share
    assert (share == 0).any()
    torch.testing.assert_close(means[share > 0], coarse[share > 0], rtol=0, atol=2e-5)
    assert torch.isfinite(fine).all()


def test_without_land_means_all_of_a_cell_counts() -> None:
    network = shaken(replace(SHIPPED, land_mean=False, width=4, n_blocks=1))
    coarse, static = made_up()
    with torch.inference_mode():
        torch.testing.assert_close(coarsened(network(coarse, static), 4), coarse, rtol=0, atol=2e-5)
    with pytest.raises(ValueError, match="a mean over land needs elevation and land fraction"):
        Architecture(n_static=1, land_mean=True)


@pytest.mark.parametrize("nonsense", [1e4, float("nan")])
def test_cells_without_land_are_not_looked_at(nonsense: float) -> None:
    network = shaken(replace(SHIPPED, width=4, n_blocks=1))
    coarse, static = made_up()
    is_sea = coarsened(nn.functional.pixel_shuffle(static, 4)[:, 1:2], 4) == 0
    with torch.inference_mode():
        expected, found = network(coarse, static), network(torch.where(is_sea, nonsense, coarse), static)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_an_untrained_network_is_what_it_starts_from() -> None:
    scales = Scales(np.ones((2, N_SEEN), np.float32), np.ones((2, 2), np.float32), 1.0, -5.0)
    coarse, static = made_up()
    with torch.inference_mode():
        start, weights, *_ = start_of(SHIPPED, -5.0)(coarse[:, None], static)
        found = Downscaling(SHIPPED, scales).eval()(coarse, static)
    torch.testing.assert_close(found, kept(start, coarse, weights, 4))


@pytest.mark.parametrize("rate", [-9.0, -2.0, 3.0])
def test_a_coarse_field_tells_its_own_lapse_rate(rate: float) -> None:
    """Also where it gets warmer towards one corner, and even where it rises with height, as in a cold pool."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(14.0), indexing="ij")
    elevation = 3.0 * torch.rand(1, 1, 12, 14, generator=generator)
    field = 10.0 + 0.8 * y - 0.3 * x + rate * elevation
    share = (torch.rand(1, 1, 12, 14, generator=generator) > 0.2).float()
    found, mean, *_ = LocalLapse(1.6, -5.0)(field, elevation, share)
    inner = found[..., 4:-4, 4:-4]
    assert abs(float(inner.mean()) - rate) < 0.3
    assert float(inner.std()) < 0.3
    flat, *_, spread = LocalLapse(1.6, -5.0)(field, torch.ones_like(elevation), share)
    torch.testing.assert_close(flat, torch.full_like(flat, -5.0), rtol=0, atol=0.02)
    assert float(spread.max()) < 0.01
    assert torch.isfinite(mean).all()


def test_an_answer_does_not_depend_on_where_a_tile_begins() -> None:
    start = start_of(SHIPPED, -5.0)
    coarse, static = made_up((30, 30))
    with torch.inference_mode():
        whole, *_ = start(coarse[:, None], static)
        part, *_ = start(coarse[:, None, :, 6:, 6:], static[:, :, 6:, 6:])
    deep = slice(4 * 9, -4)
    torch.testing.assert_close(part[..., deep, deep], whole[..., 24:, 24:][..., deep, deep], rtol=0, atol=1e-3)


def test_samples_lie_in_eight_ways() -> None:
    batch = next(by_region(mountains())["validation"].all())
    square = Batch(*(part[:2, :, :4, :4].contiguous() for part in (batch.coarse, batch.static)),
                   *(part[:2, :, :16, :16] for part in (batch.fine, batch.known)))  # fmt: skip
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(60):
        other = turned(square, 4, rng)
        seen.add(tuple(other.coarse[0].flatten().tolist()))
        for name in ("fine", "known"):
            value, before = getattr(other, name), getattr(square, name)
            assert float(value.mean()) == pytest.approx(float(before.mean()), abs=1e-5)
        torch.testing.assert_close(
            coarsened(other.fine * other.known, 4) / coarsened(other.known, 4).clamp(min=1e-6)
            * (coarsened(other.known, 4) > 0),
            other.coarse * (coarsened(other.known, 4) > 0), rtol=0, atol=1e-4,
        )  # fmt: skip
        torch.testing.assert_close(height(other, 4).std(), height(square, 4).std())
    assert len(seen) == 8


# ---- losses and adversary --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_zero_for_the_truth_and_grow_with_the_error(name: str) -> None:
    loss = loss_function(name)
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(2, 1, 48, 48, generator=generator).cumsum(dim=2) - 20.0
    noise = torch.randn(truth.shape, generator=generator)
    values = [float(loss(truth + size * noise, truth)) for size in (0.0, 0.1, 1.0, 5.0)]
    assert values[0] == pytest.approx(0.0, abs=1e-6)
    assert values == sorted(values)
    found = (truth + noise).requires_grad_()
    loss(found, truth).backward()
    assert torch.isfinite(found.grad).all()
    shifted = float(loss(truth + noise + 300.0, truth + 300.0))
    assert shifted == pytest.approx(float(loss(truth + noise, truth)), rel=1e-2), "degrees or kelvin"


def test_similarity_is_that_of_its_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 1, 1, 11, 11, generator=generator, dtype=torch.float64)
    line = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    window = np.outer(line, line) / line.sum() ** 2
    low, span = min(a.min(), b.min()).item(), (max(a.max(), b.max()) - min(a.min(), b.min())).item()
    x, y = a.numpy()[0, 0] - low, b.numpy()[0, 0] - low
    mx, my = (window * x).sum(), (window * y).sum()
    vx, vy, cxy = ((window * p * q).sum() for p, q in ((x - mx, x - mx), (y - my, y - my), (x - mx, y - my)))
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    ssim = (2 * mx * my + c1) * (2 * cxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert float(dssim(a, b)) == pytest.approx((1 - ssim) / 2, rel=1e-9)
    assert float(msdssim(a, b)) == pytest.approx((1 - ssim) / 2, rel=1e-9), "one scale is all that fits"


@pytest.mark.parametrize("window", [1, 3])
def test_adversaries_learn_with_and_without_a_window(window: int) -> None:
    torch.manual_seed(0)
    config = Architecture("resnet", "spc", window=window, **SMALL)
    generator, discriminator = build(config), Discriminator(config)
    coarse, static, fine = sample(config, n=4)
    assert discriminator(coarse, fine).shape == (4, 1)
    history = fit_against(generator, discriminator, lambda: [(coarse, static, fine)] * 4, loss_function("mae"), 4, list)
    of_generator, of_discriminator = zip(*history, strict=True)
    assert of_generator[-1] < of_generator[0]
    assert all(np.isfinite(of_discriminator))
    assert not generator.training


# ---- pairs, splits, scores -------------------------------------------------------------------------------------


def mountains(times: int = 12, shape: tuple[int, int] = (192, 320), seed: int = 0, bend: float = 0.0) -> Pairs:
    """Return made-up temperature that falls with elevation by 6.5 K per km, with a sea of unknown values.

    With `bend` [K km-2] it falls by a parabola, which no lapse rate follows.
    """
    rng = np.random.default_rng(seed)
    y, x = np.ogrid[: shape[0], : shape[1]]
    orog = 800.0 * (1 + np.sin(y / 3.1) * np.cos(x / 4.3)) + 20.0 * rng.standard_normal(shape)
    is_known = (y // 7 + x // 11) % 5 > 0
    level = 10.0 * np.cos(2 * np.pi * np.arange(times) / 12)[:, None, None] + 0.05 * y
    fine = np.where(is_known, level - 6.5e-3 * orog - bend * (1e-3 * orog) ** 2, np.nan)
    return pair(fine, np.stack([orog, 100.0 * is_known]).astype(np.float32), is_known, 4)


def test_perfect_prognosis_takes_means_of_what_is_known() -> None:
    fine = np.arange(32.0).reshape(1, 4, 8)
    is_known = np.ones((4, 8), bool)
    is_known[0, 0] = is_known[:, 4:] = False
    made = pair(np.where(is_known, fine, np.nan), np.zeros((1, 4, 8), np.float32), is_known, 4)
    known = fine[0, :, :4].reshape(-1)[1:]
    np.testing.assert_allclose(made.coarse[0, 0, 0], [known.mean()] * 2, err_msg="a cell of sea takes its neighbour's")
    assert np.isfinite(made.fine).all()


def test_output_of_another_model_is_taken_as_it_is() -> None:
    fine, coarse = np.zeros((3, 8, 8), np.float32), np.random.default_rng(0).normal(size=(3, 2, 2, 2))
    made = pair(fine, np.zeros((1, 8, 8), np.float32), np.ones((8, 8), bool), 4, coarse)
    np.testing.assert_array_equal(made.coarse, coarse.astype(np.float32))
    assert made.scale == 4
    with pytest.raises(DataError, match="do not belong to fields"):
        pair(fine, np.zeros((1, 8, 8), np.float32), np.ones((8, 8), bool), 4, coarse[:2])
    with pytest.raises(DataError, match="cannot be coarsened 3 times"):
        pair(fine, np.zeros((1, 8, 8), np.float32), np.ones((8, 8), bool), 3)


def test_no_window_of_one_region_sees_another() -> None:
    sides = by_region(mountains())
    seen = {name: np.zeros((48, 80), int) for name in sides}
    for name, side in sides.items():
        assert side.windows
        for window in side.windows:
            seen[name][window] = 1
    assert (sum(seen.values()) <= 1).all()


def test_a_day_lies_between_the_hours_of_two_sides() -> None:
    sides = by_time(mountains(times=500, shape=(8, 8)))
    for (_, end), (start, _) in zip(list(HOURS.values())[:-1], list(HOURS.values())[1:], strict=True):
        assert start - end >= 24
    for name, length in product(sides, (1, 3)):
        side = sides[name]
        for place in (0, len(side.times) - 1):
            marked = Side(replace(side.pairs, coarse=np.arange(500.0).reshape(-1, 1, 1, 1)
                                  * np.ones((1, 1, 2, 2))), side.times, side.windows, False)  # fmt: skip
            coarse = marked.batch([(place, 0)], length).coarse
            assert side.times[0] <= coarse.min()
            assert coarse.max() == side.times[place]


def test_months_follow_each_other_around_the_year() -> None:
    pairs = mountains()
    side = by_region(replace(pairs, coarse=np.arange(12.0).reshape(-1, 1, 1, 1) * np.ones_like(pairs.coarse)))["test"]
    assert side.batch([(0, 0)], 3).coarse[0, :, 0, 0, 0].tolist() == [10.0, 11.0, 0.0]


def test_a_lapse_rate_is_found_and_scored() -> None:
    sides = by_region(mountains())
    lapse = lapse_rate(sides["train"])
    methods = {"nearest": interpolation("nearest", 4), "lapse_rate": lapse, "kept": mean_kept(lapse, 4)}
    found = judge(sides["test"], methods | {"local": local_lapse_rate(sides["train"], SHIPPED)})
    assert found["bilinear"]["skill"] == 0.0
    assert found["lapse_rate"]["rmse"] < 0.2 * found["bilinear"]["rmse"], "the field was made by one"
    assert found["kept"]["rmse"] < found["lapse_rate"]["rmse"]
    assert found["local"]["rmse"] < 0.1 * found["bilinear"]["rmse"]
    assert found["nearest"]["skill"] < 0.9
    assert found["nearest"]["detail"] == pytest.approx(0.0, abs=1e-6)
    assert found["kept"]["detail"] == pytest.approx(1.0, abs=0.02)


def test_answers_that_draw_are_scored_as_an_ensemble() -> None:
    side = by_region(mountains())["test"]
    truth: Method = lambda batch: batch.fine  # noqa: E731
    rng = torch.Generator().manual_seed(0)

    def drawn(width: float) -> Method:
        """Return ten answers around a centre that is 1 K off (standard deviation), as wide as told."""

        def answer(batch: Batch) -> torch.Tensor:
            centre = batch.fine + torch.randn(batch.fine.shape, generator=rng)
            return centre + width * torch.randn(len(centre), 10, *centre.shape[2:], generator=rng)

        return answer  # fmt: skip

    found = judge(side, {"truth": truth, "right": drawn(1.0), "narrow": drawn(0.1)})
    assert "crps" not in found["truth"]
    assert found["right"]["spread_over_error"] == pytest.approx(1.0, abs=0.05)
    assert found["narrow"]["spread_over_error"] == pytest.approx(0.1, abs=0.02)
    # E|x - y| - E|x - x'| / 2, where both differences are normal with variance 2
    expected = 0.5 * np.sqrt(2.0) * np.sqrt(2.0 / np.pi)
    assert found["right"]["crps"] == pytest.approx(expected, rel=0.03)
    assert found["right"]["crps"] < found["narrow"]["crps"] < found["narrow"]["mae"] * 1.01


def test_a_few_batches_lower_the_loss_on_other_regions() -> None:
    torch.manual_seed(0)
    sides = by_region(mountains(bend=4.0))
    config = replace(SHIPPED, n_blocks=1)
    network = Downscaling(config, scales_of(sides["train"], config))
    held_out = list(sides["validation"].all())
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    with torch.no_grad():
        before = batch_loss(network, held_out)
    for batch in sides["train"].epoch(25, np.random.default_rng(0)):
        optimiser.zero_grad()
        batch_loss(network, batch).backward()
        optimiser.step()
    with torch.no_grad():
        assert batch_loss(network, held_out) < 0.8 * before


def test_all_backbones_are_compared() -> None:
    assert list(candidates(hourly=False)) == list(BACKBONES)
    assert candidates(hourly=True)["resnet_recurrent"].window > 1
    assert all(config.scale == SHIPPED.scale for config in candidates(hourly=True).values())
