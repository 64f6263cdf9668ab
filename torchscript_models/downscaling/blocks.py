# SPDX-License-Identifier: Apache-2.0
"""The blocks that downscaling networks are made of: convolutional, residual, dense, ConvNeXt, recurrent, localized."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, dropout2d, gelu, layer_norm

from torchscript_models.downscaling.architecture import Architecture, Normalization


class Dropout(nn.Module):
    """Dropout of one of the kinds of `DropoutKind`; those that begin with ``mc`` also act after the training.

    They make an emulator an ensemble of itself: every call draws anew, so that its answers are not reproducible.
    """

    def __init__(self, kind: str, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.always = kind.startswith("mc")
        self.is_gaussian = "gaussian" in kind
        self.is_spatial = "spatial" in kind

    def forward(self, x: Tensor) -> Tensor:
        """Drop values, whole channels, or multiply by noise of the same variance; shape (N, C, H, W)."""
        acts = self.training or self.always
        if self.is_gaussian:
            return x * (1.0 + (self.rate / (1.0 - self.rate)) ** 0.5 * torch.randn_like(x)) if acts else x
        return dropout2d(x, self.rate, acts) if self.is_spatial else dropout(x, self.rate, acts)


class ChannelNorm(nn.Module):
    """Bring the channels of every pixel to mean 0 and variance 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, H, W)."""
        last = x.permute(0, 2, 3, 1)
        return layer_norm(last, self.weight.shape, self.weight, self.bias, 1e-6).permute(0, 3, 1, 2)


def norm(kind: Normalization | None, channels: int) -> list[nn.Module]:
    """Return the layer that normalises, or none."""
    if kind is None:
        return []
    return [nn.BatchNorm2d(channels) if kind == "bn" else ChannelNorm(channels)]


def drop(config: Architecture) -> list[nn.Module]:
    """Return the layer that drops, or none."""
    return [Dropout(config.dropout, config.dropout_rate)] if config.dropout else []


def conv3(n_inputs: int, n_outputs: int, *, bias: bool = True) -> nn.Conv2d:
    """Return a 3 x 3 convolution that keeps the size."""
    return nn.Conv2d(n_inputs, n_outputs, 3, padding=1, bias=bias)


def match(n_inputs: int, n_outputs: int) -> nn.Module:
    """Return what brings a shortcut to a number of channels: nothing, or a 1 x 1 convolution."""
    return nn.Identity() if n_inputs == n_outputs else nn.Conv2d(n_inputs, n_outputs, 1)


class ChannelAttention(nn.Module):
    """Scale every channel by what its mean over the field, seen with all others, says."""

    def __init__(self, channels: int, squeeze: int = 4) -> None:
        super().__init__()
        inner = max(channels // squeeze, 1)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, inner, 1),
            nn.ReLU(),
            nn.Conv2d(inner, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Scale (N, C, H, W)."""
        return x * self.gate(x)


class ConvBlock(nn.Sequential):
    """Two convolutions with their normalisation and activation, then attention."""

    def __init__(self, config: Architecture, n_inputs: int, n_outputs: int) -> None:
        layers: list[nn.Module] = []
        for channels in (n_inputs, n_outputs):
            layers += drop(config)
            layers.append(conv3(channels, n_outputs, bias=config.normalization is None))
            layers += [*norm(config.normalization, n_outputs), nn.ReLU()]
        if config.attention:
            layers.append(ChannelAttention(n_outputs))
        super().__init__(*layers)


class ResidualBlock(nn.Module):
    """Convolution, activation, convolution, and the input added to it."""

    def __init__(self, config: Architecture, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        kind, bias = config.normalization, config.normalization is None
        layers = [conv3(n_inputs, n_outputs, bias=bias), *norm(kind, n_outputs), nn.ReLU(), *drop(config)]
        layers += [conv3(n_outputs, n_outputs, bias=bias), *norm(kind, n_outputs)]
        if config.attention:
            layers.append(ChannelAttention(n_outputs))
        self.inner, self.shortcut = nn.Sequential(*layers), match(n_inputs, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, n_outputs, H, W)."""
        return torch.relu(self.inner(x) + self.shortcut(x))


class DenseBlock(nn.Module):
    """New channels are appended to the old; a 1 x 1 convolution then brings them to `n_outputs`."""

    def __init__(self, config: Architecture, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        kind = config.normalization
        layers = [*norm(kind, n_inputs), nn.Conv2d(n_inputs, 4 * n_outputs, 1), nn.ReLU(), *norm(kind, 4 * n_outputs)]
        layers += [*drop(config), conv3(4 * n_outputs, n_outputs), nn.ReLU()]
        if config.attention:
            layers.append(ChannelAttention(n_outputs))
        self.inner = nn.Sequential(*layers)
        self.transition = nn.Sequential(nn.Conv2d(n_inputs + n_outputs, n_outputs, 1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, n_outputs, H, W)."""
        return self.transition(torch.cat([x, self.inner(x)], dim=1))


class ConvNextBlock(nn.Module):
    """A depthwise 7 x 7 convolution, then every pixel through four times as many channels, and the input added."""

    def __init__(self, config: Architecture, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(n_inputs, n_inputs, 7, padding=3, groups=n_inputs)
        self.norm = nn.Sequential(*(norm(config.normalization or "ln", n_inputs)))
        self.wide, self.narrow = nn.Conv2d(n_inputs, 4 * n_outputs, 1), nn.Conv2d(4 * n_outputs, n_outputs, 1)
        self.after = nn.Sequential(*drop(config), *([ChannelAttention(n_outputs)] if config.attention else []))
        self.shortcut = match(n_inputs, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, n_outputs, H, W)."""
        inner = self.narrow(gelu(self.wide(self.norm(self.depthwise(x)))))
        return self.after(inner) + self.shortcut(x)


class LocalizedBlock(nn.Module):
    """Two channels with weights and biases of their own for every cell of one grid."""

    def __init__(self, n_inputs: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.mix = nn.Conv2d(n_inputs, 2, 1)
        self.weight = nn.Parameter(torch.randn(2, 2, *grid) * 0.5**0.5)
        self.bias = nn.Parameter(torch.zeros(2, *grid))

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 2, H, W) on the grid of the weights."""
        return torch.relu(torch.einsum("nchw,cohw->nohw", torch.relu(self.mix(x)), self.weight) + self.bias)


class ConvLSTM(nn.Module):
    """An LSTM whose gates are convolutions."""

    def __init__(self, n_inputs: int, n_outputs: int, kernel: int) -> None:
        super().__init__()
        self.n_outputs = n_outputs
        self.gates = nn.Conv2d(n_inputs + n_outputs, 4 * n_outputs, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return the hidden states of a sequence (N, T, C, H, W), shape (N, T, n_outputs, H, W)."""
        hidden = torch.zeros(x.shape[0], self.n_outputs, x.shape[3], x.shape[4], dtype=x.dtype, device=x.device)
        cell = torch.zeros_like(hidden)
        states: list[Tensor] = []
        for step in range(x.shape[1]):
            i, f, g, o = self.gates(torch.cat([x[:, step], hidden], dim=1)).chunk(4, dim=1)
            cell = torch.sigmoid(f + 1.0) * cell + torch.sigmoid(i) * torch.tanh(g)
            hidden = torch.sigmoid(o) * torch.tanh(cell)
            states.append(hidden)
        return torch.stack(states, dim=1)


class EachFrame(nn.Module):
    """Layers for single fields, applied to each field of a sequence (N, T, C, H, W)."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, T, C', H', W')."""
        return self.layers(x.flatten(0, 1)).unflatten(0, (x.shape[0], x.shape[1]))


class RecurrentBlock(nn.Module):
    """Two ConvLSTMs; their output goes on alone, is added to the input, or appended to it, as the backbone has it."""

    def __init__(self, config: Architecture, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.adds, self.appends = config.backbone == "resnet", config.backbone == "densenet"
        after = (*norm(config.normalization, n_outputs), nn.ReLU(), *drop(config))
        attention = [ChannelAttention(n_outputs)] if config.attention else []
        self.inner = nn.Sequential(
            ConvLSTM(n_inputs, n_outputs, 5), EachFrame(*after),
            ConvLSTM(n_outputs, n_outputs, 3), EachFrame(*norm(config.normalization, n_outputs), nn.ReLU(), *attention),
        )  # fmt: skip
        total = n_inputs + n_outputs if self.appends else n_inputs
        self.shortcut = EachFrame(match(total, n_outputs) if self.adds or self.appends else nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, T, n_outputs, H, W)."""
        inner = self.inner(x)
        if self.adds:
            return inner + self.shortcut(x)
        return self.shortcut(torch.cat([x, inner], dim=2)) if self.appends else inner


BLOCKS: dict[str, type[nn.Module]] = {
    "convnet": ConvBlock,
    "resnet": ResidualBlock,
    "densenet": DenseBlock,
    "convnext": ConvNextBlock,
}
