# SPDX-License-Identifier: Apache-2.0
"""biomass: synthetic scenes as documented, sparse labels, networks that learn, pretrained weights of a user."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("sklearn", reason="training needs the libraries of the extra 'train'")

from coupler_plugin.emulator.load import load
from torchscript_models.biomass import recipe as biomass_recipe
from torchscript_models.biomass.network import (
    HALO,
    Biomass,
    BiomassUNet,
    EncoderWithHead,
    PatchFCN,
    PatchFiLM,
    PatchUNet,
    SwinEncoder,
    masked_rmse,
    read_pretrained,
)
from torchscript_models.biomass.recipe import BiomassRecipe, BiomassSwinRecipe
from torchscript_models.biomass.scenes import CANOPY, NO_LABEL, SOIL, Scene, scene
from torchscript_models.data import DataError
from torchscript_models.export import export
from torchscript_models.watch import Watch


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [scene(np.random.default_rng(seed), 48) for seed in range(6)]


def encoder() -> nn.Module:
    """Return a small stand-in for a pretrained encoder: patches of four pixels, then a mixing of channels."""
    return nn.Sequential(nn.Conv2d(6, 8, 4, stride=4), nn.GELU(), nn.Dropout(0.5), nn.Conv2d(8, 8, 1))


def test_scenes_are_what_they_are_said_to_be(scenes: list[Scene]) -> None:
    for one in scenes:
        has_label = one.labels != NO_LABEL
        assert 0.005 < has_label.mean() < 0.05, "sparse"
        assert (one.labels[has_label] >= 0).all()
        assert np.corrcoef(one.labels[has_label], one.biomass[has_label])[0, 1] > 0.9
        cloudy = (one.reflectance == 0).all(axis=0)
        assert ((one.reflectance == 0).any(axis=0) == cloudy).all()
        red = one.reflectance[2]
        bare, dense = (one.biomass < 10) & ~cloudy, (one.biomass > 250) & ~cloudy
        if bare.any() and dense.any():
            assert abs(red[dense].mean() - CANOPY[2]) < 0.2 * SOIL[2]
            assert red[bare].mean() > 3 * red[dense].mean()
    again = scene(np.random.default_rng(0), 48)
    np.testing.assert_array_equal(again.reflectance, scenes[0].reflectance)


def test_no_scene_is_on_two_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each scene is drawn by a seed of its own, so that no pixel of one is in another, nor in its surroundings."""
    monkeypatch.setattr(BiomassRecipe, "size", 48)
    monkeypatch.setattr(BiomassRecipe, "counts", {"train": 6, "validation": 3, "test": 3})
    scenes = [one.biomass for side in BiomassRecipe().scenes.values() for one in side]
    assert len({one.tobytes() for one in scenes}) == len(scenes) == 12
    for left, right in combinations(scenes, 2):
        assert abs(np.corrcoef(left.ravel(), right.ravel())[0, 1]) < 0.9


def test_only_labels_count() -> None:
    labels = torch.full((1, 1, 4, 4), NO_LABEL)
    labels[0, 0, 0, :2] = torch.tensor([10.0, 20.0])
    found = torch.full_like(labels, 13.0).requires_grad_()
    loss = masked_rmse(found, labels)
    assert float(loss.detach()) == pytest.approx(np.sqrt((9 + 49) / 2))
    loss.backward()
    assert (found.grad[0, 0, 1:] == 0).all()
    nothing = masked_rmse(found, torch.full_like(labels, NO_LABEL))
    assert torch.isfinite(torch.autograd.grad(nothing, found)[0]).all()


def test_a_few_batches_lower_the_loss_on_other_scenes(scenes: list[Scene]) -> None:
    torch.manual_seed(0)
    network = BiomassUNet(width=4)
    train, held_out = BiomassRecipe().batch(scenes[:4]), BiomassRecipe().batch(scenes[4:])
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    with torch.no_grad():
        before = BiomassRecipe().loss(network.eval(), held_out)
    network.train()
    for _ in range(25):
        optimiser.zero_grad()
        BiomassRecipe().loss(network, train).backward()
        optimiser.step()
    with torch.no_grad():
        assert BiomassRecipe().loss(network.eval(), held_out) < 0.8 * before


def test_classes_fill_the_area_and_follow_the_biomass(scenes: list[Scene]) -> None:
    torch.manual_seed(0)
    image, _ = BiomassRecipe().batch(scenes)
    module = torch.jit.freeze(torch.jit.script(Biomass(BiomassUNet()).eval()))
    with torch.inference_mode():
        agb, *classes = (module(300.0 * torch.randn_like(image).abs() * image.sign()).unbind(dim=1))  # fmt: skip
        assert torch.isfinite(module(torch.full_like(image, 1e9))).all()
    assert torch.equal(classes[0] + classes[1] + classes[2], torch.ones_like(agb))
    assert torch.equal(classes[2] == 1, agb >= 150)
    assert torch.equal(classes[0] == 1, agb < 50)
    assert HALO % 4 == 0


@pytest.mark.parametrize("network", [PatchFCN, PatchUNet, PatchFiLM])
def test_patch_networks_tell_the_centre_pixel(network: type[nn.Module]) -> None:
    torch.manual_seed(0)
    facts = (torch.randn(16, 4),) if network is PatchFiLM else ()
    module = PatchFiLM(5, 4, width=8) if network is PatchFiLM else network(5)
    patch = torch.randn(16, 5, 25, 25)
    wanted = patch[:, :1, 12, 12] + (facts[0][:, :1] if facts else 0.0)
    optimiser = torch.optim.Adam(module.parameters(), lr=3e-3)
    losses = []
    for _ in range(8):
        optimiser.zero_grad()
        found = module(patch, *facts)
        assert found.shape == (16, 1)
        loss = ((found - wanted) ** 2).mean()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    module.eval()
    with torch.inference_mode():
        torch.testing.assert_close(torch.jit.script(module)(patch, *facts), module(patch, *facts))


def test_a_frozen_encoder_keeps_its_weights_and_its_mode() -> None:
    network = EncoderWithHead(encoder(), channels=8, stride=4).train()
    assert not network.encoder.training
    trained = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    assert trained == ["head.0.weight", "head.0.bias"]
    image = 1000.0 * torch.rand(2, 6, 16, 24)
    assert network(image).shape == (2, 1, 16, 24)
    assert torch.equal(network(image), network(image)), "the encoder's dropout is off"


def test_weights_of_a_user_are_read_by_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source, target = encoder(), encoder()
    content = {f"encoder.{name}": value for name, value in source.state_dict().items()}
    torch.save({"state_dict": content | {"decoder.bias": torch.zeros(3)}}, tmp_path / "weights.pt")
    network = EncoderWithHead(read_pretrained(target, tmp_path / "weights.pt", "encoder."), 8, 4)
    x = torch.randn(1, 6, 8, 8)
    assert torch.equal(network.encoder(x), source.eval()(x))
    torch.save(source.state_dict(), tmp_path / "plain.pt")
    read_pretrained(encoder(), tmp_path / "plain.pt")


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    content = encoder().state_dict()
    torch.save({name: value for name, value in content.items() if name != "3.bias"}, tmp_path / "less.pt")
    with pytest.raises(ValueError, match=r"'less\.pt' has no weight '3\.bias'"):
        read_pretrained(encoder(), tmp_path / "less.pt")
    torch.save(content | {"3.bias": torch.zeros(5)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"'3\.bias' has the shape \(5,\), not \(8,\)"):
        read_pretrained(encoder(), tmp_path / "other.pt")


# ---- the encoder of a library ----------------------------------------------------------------------------------


class SmallSwin(BiomassSwinRecipe):
    """The recipe with two stages of one block each, on small scenes."""

    size = 64
    counts: ClassVar = {"train": 16, "validation": 4, "test": 4}

    def encoder(self) -> SwinEncoder:
        return SwinEncoder(width=8, depths=(1, 1), heads=(1, 2))


def test_swin_b_has_the_size_of_swin_b() -> None:
    pytest.importorskip("transformers", reason="the encoder needs the libraries of the extra 'train'")
    with torch.device("meta"):
        encoder = SwinEncoder()
    assert (encoder.channels, encoder.stride) == (1024, 32)
    assert sum(weights.numel() for weights in encoder.parameters()) == pytest.approx(86.7e6, rel=0.005)


def test_a_head_on_a_swin_with_the_weights_of_a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up weights are read, stay as they are while the head learns, and the whole becomes a file that runs."""
    pytest.importorskip("transformers", reason="the encoder needs the libraries of the extra 'train'")
    monkeypatch.setattr(biomass_recipe, "TILE", 64)
    with pytest.raises(DataError, match=r"lacks 'swin_b\.pt', the weights of a Swin-B"):
        SmallSwin(tmp_path)
    torch.manual_seed(0)
    weights = SwinEncoder(width=8, depths=(1, 1), heads=(1, 2)).inner.state_dict()
    torch.save({"state_dict": {f"swin.{name}": value for name, value in weights.items()}}, tmp_path / "swin_b.pt")
    recipe = SmallSwin(tmp_path)
    settings = replace(recipe.settings, epochs=3)
    losses: list[float] = []
    network = recipe.train(settings, Watch(log=lambda fit, epoch, values: losses.append(values["held_out_loss"])))
    assert losses[-1] < losses[0]
    manifest = recipe.manifest(settings, scores={})
    with pytest.warns(UserWarning, match=r"torch\.export does not follow"):
        export(network, manifest, tmp_path / "biomass_swin.pt")
    written = torch.jit.load(str(tmp_path / "biomass_swin.pt")).state_dict()
    for name, value in weights.items():
        assert torch.equal(written[f"network.encoder.inner.{name}"], value), name
    file = load(tmp_path / "biomass_swin.pt")
    image, _ = recipe.batch(recipe.scenes["test"])
    with torch.inference_mode():
        torch.testing.assert_close(file.forward(image), network(image), rtol=1e-5, atol=1e-4)
