# SPDX-License-Identifier: Apache-2.0
"""Small TorchScript emulators with manifests, whose answers a test can compute by itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from coupler_plugin.emulator import manifest as manifests

Entry = dict[str, Any]


def field(name: str, units: str, **more: Any) -> Entry:
    """Return an entry of a manifest."""
    return {"name": name, "units": units, **more}


LAI = field("lai", "1")


class Affine(nn.Module):
    """Outputs are ``inputs @ weights + bias``."""

    def __init__(self, weights: Sequence[Sequence[float]], bias: Sequence[float] | float = 0.0) -> None:
        super().__init__()
        self.register_buffer("weights", torch.tensor(weights))
        self.register_buffer("bias", torch.as_tensor(bias, dtype=torch.float32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weights + self.bias


class Echo(nn.Module):
    """Outputs are the inputs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.clone()


class Mlp(nn.Module):
    """A network of two hidden layers."""

    def __init__(self, n_in: int, n_out: int, hidden: int = 32) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(
            nn.Linear(n_in, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, n_out)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class CarbonLstm(nn.Module):
    """An LSTM over a window: outputs gpp, reco and nee = reco - gpp [g m-2 d-1]."""

    def __init__(self, n_in: int, hidden: int = 16) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.lstm = nn.LSTM(n_in, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sequence, _ = self.lstm(x / 100.0)
        gpp, reco = nn.functional.softplus(self.head(sequence[:, -1])).unbind(1)
        gpp = 9.7 * gpp  # far enough from reco for their difference to need rounding
        return torch.stack([gpp, reco, reco - gpp], dim=1)


class Ends(nn.Module):
    """Outputs are the oldest and the newest sample of a window."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x[:, 0], x[:, -1]], dim=1)


class Store(nn.Module):
    """A leaky store: the new state is ``decay * state + inputs``, and the output."""

    def __init__(self, decay: float = 0.5) -> None:
        super().__init__()
        self.decay = decay

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        state = self.decay * state + x
        return state, state


class Gru(nn.Module):
    """A gated recurrent unit, whose state is that of the network."""

    def __init__(self, n_in: int, hidden: int) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.cell = nn.GRUCell(n_in, hidden)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        state = self.cell(x / 100.0, state)
        return self.head(state), state


class Noisy(nn.Module):
    """A recurrent unit with active dropout, whose answer has noise of its own beside it."""

    def __init__(self, n_in: int, hidden: int) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.cell = nn.GRUCell(n_in, hidden)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        state = nn.functional.dropout(self.cell(x / 100.0, state), 0.2, training=True)
        return self.head(state) + 0.1 * torch.randn(x.shape[0], 1), state


class NoisyTiles(nn.Module):
    """Outputs are the inputs and noise."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.randn_like(x)


class Product(nn.Module):
    """Outputs are the inputs times the static inputs."""

    def forward(self, x: torch.Tensor, static: torch.Tensor) -> torch.Tensor:
        return x * static


class Reciprocal(nn.Module):
    """Outputs are 1 / inputs: not finite where an input is 0."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 1.0 / x


class Touchy(nn.Module):
    """Raises where an input is negative."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert bool((x >= 0).all()), "negative input"
        return x.clone()


class Tiled(nn.Module):
    """A convolution over two samples of a channel, a static and a state channel, with answers `scale` times finer."""

    def __init__(self, scale: int = 1) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.scale = float(scale)
        self.see = nn.Conv2d(4, 8, 3, padding=1)
        self.say = nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, x: torch.Tensor, static: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen = torch.cat([x[:, :, 0] / 300.0, static / 1000.0, state], 1)
        said = self.say(torch.tanh(self.see(seen)))
        answer = nn.functional.interpolate(280.0 + said[:, :1], scale_factor=self.scale, mode="bilinear")
        return answer, 0.5 * state + torch.tanh(said[:, 1:])


class Around(nn.Module):
    """Outputs are the mean of each pixel and its four neighbours."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = nn.functional.pad(x, [1, 1, 1, 1])
        return (x + y[:, :, :-2, 1:-1] + y[:, :, 2:, 1:-1] + y[:, :, 1:-1, :-2] + y[:, :, 1:-1, 2:]) / 5.0


def write(path: Path, module: nn.Module, inputs: Sequence[Entry], outputs: Sequence[Entry], **more: Any) -> Path:
    """Script `module`, write it with its manifest to `path` and return the path."""
    about = {"name": path.stem, "version": "1.0.0", "description": "a small emulator for tests", "every": "1h"}
    manifest = manifests.Manifest.model_validate({**about, "inputs": inputs, "outputs": outputs, **more})
    manifests.save(torch.jit.script(module.eval()), manifest, path)
    return path


def write_echo(path: Path, source: Entry, target: Entry, **more: Any) -> Path:
    """Write an emulator whose output `target` is the number of its input `source`."""
    return write(path, Echo(), [source], [target], **more)


def write_carbon(path: Path, length: int = 5, **more: Any) -> Path:
    """Write a window LSTM of temperature and shortwave that gives gpp, reco and nee by closure."""
    inputs = [
        field("tas", "degC", statistics={"mean": 10, "std": 10, "min": -40, "max": 40}),
        field("rsds", "W m-2", statistics={"mean": 200, "std": 80, "min": 0, "max": 450}),
    ]
    outputs = [
        field("gpp", "g m-2 d-1"),
        field("reco", "g m-2 d-1"),
        field("nee", "g m-2 d-1", closure={"reco": 1, "gpp": -1}),
    ]
    return write(path, CarbonLstm(2), inputs, outputs, window={"length": length}, **{"every": "1d", **more})


def write_tiled(path: Path, target: Entry, scale: int = 1, **tile: Any) -> Path:
    """Write an emulator of tiles, from temperature and height, with a window of two samples and a state."""
    about = {"kind": "tile", "tile": {"size": [12, 16], "halo": 2, "scale": scale, **tile}, "window": {"length": 2}}
    state = [{"name": "memory", "size": 1, "initial": 0.5}]
    return write(path, Tiled(scale), [field("tas", "K")], [target], static=[field("orog", "m")], state=state, **about)


def write_mlp(path: Path, **more: Any) -> Path:
    """Write a network from temperature, humidity and wind to leaf area."""
    inputs = [field("tas", "degC"), field("hurs", "%"), field("sfcWind", "m s-1")]
    return write(path, Mlp(3, 1), inputs, [field("lai", "1")], **more)


def echo(folder: Path, source: str = "tas", units: str = "K", **more: object) -> Path:
    """Return an emulator whose leaf area is the number of another field."""
    return write_echo(folder / f"echo_{source}.pt", field(source, units, **more), LAI)
