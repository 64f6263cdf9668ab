# SPDX-License-Identifier: Apache-2.0
"""How land_state is trained and judged: blocks of cells are held out, and there it runs on its own for a year."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss

from coupler_plugin.emulator.manifest import Manifest
from torchscript_models import metrics, processes
from torchscript_models.data import Array, DataError
from torchscript_models.export import input_entry, training_facts
from torchscript_models.fitting import Settings, fit_member
from torchscript_models.land_state.network import (
    DIAGNOSTICS,
    FORCING,
    STATES,
    Land,
    LandState,
    LandStateLstm,
    Lstm,
    Perceptron,
)
from torchscript_models.land_state.samples import FOLDS, RECORD, read_land
from torchscript_models.recipe import EMULATOR, Recipe
from torchscript_models.watch import Watch

ROLL_OUT: Final = 12  #: days that a training sequence runs on its own
BATCH: Final = 512
HELD_OUT: Final = 0  #: fold of the cells that are never trained on
VIEW: Final = "year_on_its_own_at_held_out_cells"
MONTH: Final = 30  #: days
EXAMPLE: Final = Path(__file__).resolve().parents[2] / "examples" / "05_land_state" / "out"

UNITS: Final = {
    "tas": ("K", (180.0, 340.0)),
    "huss": ("1", (0.0, 0.1)),
    "sfcWind": ("m s-1", (0.0, 100.0)),
    "ps": ("Pa", (30000.0, 115000.0)),
    "rsds": ("W m-2", (0.0, 600.0)),
    "rlds": ("W m-2", (0.0, 700.0)),
    "pr": ("kg m-2 d-1", (0.0, 2000.0)),
    "lai": ("1", (0.0, 12.0)),
    "mrsos": ("kg m-2", (0.0, 100.0)),
    "mrsod": ("kg m-2", (0.0, 1000.0)),
    "mrso": ("kg m-2", (0.0, 1100.0)),
    "snw": ("kg m-2", (0.0, 20000.0)),
    "tsls": ("K", (180.0, 350.0)),
    "tsld": ("K", (180.0, 350.0)),
    "evspsbl": ("kg m-2 d-1", (-50.0, 50.0)),
    "mrro": ("kg m-2 d-1", (0.0, 2000.0)),
    "hfls": ("W m-2", (-500.0, 1000.0)),
    "hfss": ("W m-2", (-800.0, 1000.0)),
}

#: forcing (n, days, 8), states (n, days + 1, 5), diagnostics (n, days, 4)
Batch = tuple[Tensor, Tensor, Tensor]


class LandStateRecipe(Recipe):
    """The land from day to day, learned from a recorded year of our own land model."""

    name = "land_state"
    settings = Settings(epochs=30, members=1, learning_rate=4e-3, weight_decay=1e-4, patience=30, n_folds=FOLDS)
    targets = (*STATES, *DIAGNOSTICS)
    network_type: ClassVar[type[Land]] = LandState
    member_type: ClassVar[type[Perceptron | Lstm]] = Perceptron
    what: ClassVar[str] = "a perceptron"
    look_back: ClassVar[int] = 0  #: days before the roll-out, from recorded states, in which a memory grows

    def __init__(self, folder: Path) -> None:
        there = folder if (folder / RECORD).is_file() else EXAMPLE
        if not (there / RECORD).is_file():
            raise DataError(
                f"There is no '{RECORD}' in '{folder}': record a year of the land model by "
                "'python examples/05_land_state/run.py record'."
            )
        self._folder, self._land = there, read_land(there)
        self._unseen = self._land.fold == HELD_OUT

    # ---- training --------------------------------------------------------------------------------------------

    def train(self, settings: Settings, watch: Watch) -> nn.Module:
        """Return a network that has not seen the held-out cells: runs at them are judged."""
        torch.manual_seed(settings.seed)
        network = self.new_network(settings.members).to(processes.device())
        for index, member in enumerate(network.members):
            stop = self._land.fold == 1 + index % (FOLDS - 1)
            rng = np.random.default_rng([settings.seed, index])
            fit_member(
                member,
                self.batches(~self._unseen & ~stop, rng),
                lambda member, batch: self.loss(network, member, batch),
                self.sequences(stop, 0),
                settings,
                watch,
                name=f"{self.name}{index}",
                rng=rng,
            )
        return network.eval().cpu()

    def new_network(self, members: int) -> Land:
        """Return an untrained network, scaled by the cells that are not held out."""
        land, seen = self._land, ~self._unseen
        samples = np.concatenate([land.forcing, land.states[:-1]], axis=2)[:, seen].reshape(-1, len(FORCING + STATES))
        answers = np.concatenate([np.diff(land.states, axis=0), land.diagnostics], axis=2)[:, seen]
        flat = land.states[:, seen].reshape(-1, len(STATES))
        lowest, highest = flat.min(axis=0), flat.max(axis=0)
        networks: list[nn.Module] = [self.member_type(samples.shape[1]) for _ in range(members)]
        return self.network_type(samples, answers.reshape(-1, answers.shape[2]), lowest, highest, networks)

    def sequences(self, cells: NDArray[np.bool_], first: int) -> Batch:
        """Return all sequences that follow each other at `cells`, the first one beginning on day `first`."""
        land, length = self._land, self.look_back + ROLL_OUT
        starts = np.arange(first, len(land.forcing) - length + 1, length)
        days = starts[:, None] + np.arange(length + 1)

        def cut(values: Array, length: int) -> Tensor:
            parts = values[:, cells][days[:, :length]]  # (starts, length, cells, C)
            return torch.tensor(np.swapaxes(parts, 1, 2).reshape(-1, length, values.shape[2]))

        return cut(land.forcing, length), cut(land.states, length + 1), cut(land.diagnostics, length)

    def batches(self, cells: NDArray[np.bool_], rng: np.random.Generator) -> Callable[[], Iterable[Batch]]:
        """Return a function that gives the batches of an epoch over `cells`, cut anew in each."""

        def epoch() -> Iterable[Batch]:
            forcing, states, diagnostics = self.sequences(cells, int(rng.integers(self.look_back + ROLL_OUT)))
            order = rng.permutation(len(forcing))
            for rows in np.array_split(order, max(len(order) // BATCH, 1)):
                yield forcing[rows], states[rows], diagnostics[rows]

        return epoch

    def loss(self, network: Land, member: nn.Module, batch: Batch) -> Tensor:
        """Return the error of a roll-out: of states in units of their daily increments, and of diagnostics."""
        forcing, states, diagnostics = batch
        scale, n = network.std, len(STATES)
        state, memory = states[:, 0], forcing.new_zeros(len(forcing), self.member_type.memory)
        total = torch.zeros((), device=state.device)
        for day in range(forcing.shape[1]):
            alone = max(day - self.look_back, 0)  # days since the last recorded state
            inputs = torch.cat([forcing[:, day], state if alone else states[:, day]], dim=1)
            answers, memory = member(network.scaling(inputs), memory)
            state, found = network.step(answers, inputs)
            # an error that grows with the days of a roll-out counts by its root: the first days are learned as well
            total = total + smooth_l1_loss(state / scale[:n], states[:, day + 1] / scale[:n]) / (1 + alone) ** 0.5
            total = total + smooth_l1_loss(found / scale[n:], diagnostics[:, day] / scale[n:])
        return total / forcing.shape[1]

    # ---- judgement -------------------------------------------------------------------------------------------

    def evaluate(self, settings: Settings, watch: Watch) -> dict[str, Any]:
        """Return the scores of a year at the held-out cells, given the weather and the first state."""
        runs = {EMULATOR: self.run(self.train(settings, watch), self._unseen)}
        for name, rival in self.rivals().items():
            runs[name] = rival.run(rival.train(settings, watch), self._unseen)
        land, unseen = self._land, self._unseen
        view: dict[str, Any] = {"sites": int(unseen.sum()), "samples": int(unseen.sum() * len(land.forcing))}
        observed_states, observed_fluxes = land.states[1:], land.diagnostics
        for place, name in enumerate(self.targets):
            kind, index = divmod(place, len(STATES))  # 0: of the states, 1: of the diagnostics
            observed = (observed_states, observed_fluxes)[kind][..., index]
            first = (land.states[0], land.diagnostics[0])[kind][..., index]
            truth = observed[:, unseen]
            methods = {
                **{method: answers[kind][..., index] for method, answers in runs.items()},
                "persistence": np.broadcast_to(first[unseen], truth.shape),
                "climatology": _climatology(observed, land.lat, unseen),
            }
            scored = {method: _scores(truth, answers) for method, answers in methods.items()}
            view[name] = scored.pop(EMULATOR) | {"baselines": scored}
        return {VIEW: view}

    def rivals(self) -> dict[str, LandStateRecipe]:
        """Return the other networks that are scored beside this one."""
        return {"lstm": LandStateLstmRecipe(self._folder)}

    def epochs_to_evaluate(self, settings: Settings) -> int:
        """Return the epochs of one training of each network: one fold is held out."""
        return (1 + len(self.rivals())) * self.epochs_to_train(settings)

    def run(self, network: nn.Module, cells: NDArray[np.bool_]) -> tuple[Array, Array]:
        """Run on its own from the first state; return states after each day (days, n, 5) and fluxes (days, n, 4)."""
        forcing = torch.tensor(self._land.forcing[:, cells])
        state = torch.tensor(self._land.states[0, cells])
        memory = torch.zeros(len(state), len(network.members) * self.member_type.memory)
        states, diagnostics = [], []
        with torch.inference_mode():
            for day in forcing:
                answer, memory = network.day(torch.cat([day, state], dim=1), memory)
                state = answer[:, : len(STATES)]
                states.append(state)
                diagnostics.append(answer[:, len(STATES) + 1 :])
        return torch.stack(states).numpy(), torch.stack(diagnostics).numpy()

    # ---- manifest --------------------------------------------------------------------------------------------

    def manifest(self, settings: Settings, scores: dict[str, Any]) -> Manifest:
        """Return the manifest of the network that `train` gives."""
        land = self._land
        samples = np.concatenate([land.forcing, land.states[:-1]], axis=2).reshape(-1, len(FORCING + STATES))
        memory = settings.members * self.member_type.memory
        cells = pd.DataFrame(index=np.flatnonzero(~self._unseen))

        def output(name: str, **closure: Any) -> dict[str, Any]:
            units, valid = UNITS[name]
            return {"name": name, "units": units, "valid_range": valid, **closure}

        return Manifest(
            name=self.name,
            version="0.1.0",
            description=(
                "Soil water, soil temperature and snow at the end of a day, and the day's evapotranspiration, runoff "
                f"and heat fluxes, from the state before it and the weather: {self.what} in place of our land model."
            ),
            source="own network of the kind of aiLand (ECMWF; Wesselkamp et al. 2025, doi 10.5194/gmd-18-921-2025)",
            license="Apache-2.0",
            attribution="Trained on a run of this project's land model, driven by the project's own PLASIM simulation.",
            every="1d",
            inputs=[
                input_entry(name, *UNITS[name], samples[:, channel], "last" if name in STATES else "mean")
                for channel, name in enumerate((*FORCING, *STATES))
            ],
            state=[{"name": "memory", "size": memory}] if memory else [],
            outputs=[
                *(output(name) for name in STATES),
                output("mrso", closure={"mrsos": 1.0, "mrsod": 1.0}),
                *(output(name) for name in DIAGNOSTICS),
            ],
            scores=scores,
            training=training_facts(self.name, settings, "a recorded year of examples/05_land_state", sites=len(cells)),
        )


class LandStateLstmRecipe(LandStateRecipe):
    """The same by an LSTM, which first reads days with their recorded states and then runs on its own."""

    name = "land_state_lstm"
    is_shipped = False
    network_type = LandStateLstm
    member_type = Lstm
    what = "an LSTM"
    look_back = 12

    def rivals(self) -> dict[str, LandStateRecipe]:
        """Return none: it is one itself."""
        return {}


def _climatology(observed: Array, lat: Array, unseen: NDArray[np.bool_]) -> Array:
    """Return for each day the mean over the month and over the training cells of the same latitude."""
    months = np.arange(len(observed)) // MONTH
    seen = observed[:, ~unseen]
    by_month = np.stack([seen[months == month].mean(axis=0) for month in range(months[-1] + 1)])
    means = {row: by_month[:, lat[~unseen] == row].mean(axis=1) for row in np.unique(lat[~unseen])}
    nearest = [min(means, key=lambda row, own=own: abs(row - own)) for own in lat[unseen]]
    return np.stack([means[row] for row in nearest], axis=1)[months]


def _scores(truth: Array, answers: Array) -> dict[str, Any]:
    """Return the scores of all days and cells, and by month bias and root mean square error."""
    whole = metrics.score(pd.Series(truth.ravel()), pd.Series(np.asarray(answers).ravel()))
    error = (answers - truth).reshape(-1, MONTH, truth.shape[1])
    by_month = {"bias": error.mean(axis=(1, 2)), "rmse": np.sqrt((error**2).mean(axis=(1, 2)))}
    rounded = {key: [float(f"{value:.3g}") for value in values] for key, values in by_month.items()}
    return {key: float(f"{value:.4g}") for key, value in whole.items()} | {"by_month": rounded}
