# SPDX-License-Identifier: Apache-2.0
"""One network, fitted: seeded, with early stopping on what it is not trained on, and checkpoints to go on from."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torchscript_models import processes
from torchscript_models.watch import Watch


@dataclass(frozen=True)
class Settings:
    """How an emulator is trained.

    Attributes
    ----------
    epochs : int
        At most; the weights of the epoch with the lowest held-out loss are kept.
    members : int
        Networks in the ensemble; each holds out other places for its early stopping.
    patience : int
        Epochs without a better held-out loss after which a member is done.
    n_folds : int
        Folds of places, in cross-validation and for early stopping.
    """

    epochs: int
    members: int
    learning_rate: float
    weight_decay: float
    patience: int
    n_folds: int = 6
    seed: int = 1


def fit_member(
    member: nn.Module,
    batches: Callable[[], Iterable[Any]],
    loss: Callable[[nn.Module, Any], Tensor],
    held_out: Any,
    settings: Settings,
    watch: Watch,
    *,
    name: str = "member",
    rng: np.random.Generator | None = None,
) -> list[float]:
    """Train `member` in place; return the held-out loss after each epoch, the untrained one first.

    Parameters
    ----------
    batches : callable
        Gives the batches of one epoch.
    loss : callable
        The loss of the member, or of what stands for it in several processes, on a batch.
    held_out : batch
        What early stopping is judged by.
    watch : Watch
        Progress, curves and checkpoints.
    name : str
        Of this fit, among the fits of a training.
    rng : Generator, optional
        What `batches` draws from: its state belongs to a checkpoint.

    Raises
    ------
    ValueError
        When the held-out loss is not a finite number: the best weights would be those of no training.
    """
    where = processes.device()
    trained = processes.wrapped(member.to(where))
    held_out = processes.moved(held_out, where)
    learned = [weights for weights in member.parameters() if weights.requires_grad]
    optimiser = torch.optim.AdamW(learned, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.epochs, settings.learning_rate / 30)
    history = [_held_out_loss(member, loss, held_out, f"'{name}' after 0 epochs")]
    best = copy.deepcopy(member.state_dict())
    parts = {"member": member, "optimiser": optimiser, "schedule": schedule}
    state = watch.checkpoints.read(name, **asdict(settings)) if watch.checkpoints else None
    if state is not None:
        history, best = state["history"], state["best"]
        for key, part in parts.items():
            part.load_state_dict(state[key])
        torch.set_rng_state(state["torch_rng"])
        if rng is not None:
            rng.bit_generator.state = _unpacked(state["rng"])
    for _ in history[1:]:
        watch.advance()
    epoch = len(history) - 1
    while epoch < settings.epochs and epoch - history.index(min(history)) < settings.patience:
        trained.train()
        if processes.rank():  # the processes draw different noise, and a checkpoint holds the state of the first alone
            torch.manual_seed(settings.seed + 1000 * processes.rank() + 1_000_000 * epoch)
        total, n = 0.0, 0
        for batch in processes.share(batches()):
            optimiser.zero_grad()
            value = loss(trained, processes.moved(batch, where))
            value.backward()
            nn.utils.clip_grad_norm_(learned, 1.0)
            optimiser.step()
            total, n = total + float(value.detach()), n + 1
        schedule.step()
        epoch += 1
        history.append(_held_out_loss(member, loss, held_out, f"'{name}' after {epoch} epochs"))
        if history[-1] == min(history):
            best = copy.deepcopy(member.state_dict())
        watch.advance()
        watch.log(name, epoch, {"loss": total / max(n, 1), "held_out_loss": history[-1]})
        if watch.checkpoints and processes.rank() == 0:
            state = {key: part.state_dict() for key, part in parts.items()}
            state |= {"history": history, "best": best, "torch_rng": torch.get_rng_state()}
            state |= {"rng": _packed(rng.bit_generator.state) if rng is not None else None}
            watch.checkpoints.write(name, state, **asdict(settings))
    for _ in range(epoch, settings.epochs):
        watch.advance()
    member.load_state_dict(best)
    member.eval()
    return history


def _held_out_loss(member: nn.Module, loss: Callable[[nn.Module, Any], Tensor], held_out: Any, what: str) -> float:
    member.eval()
    with torch.no_grad():
        value = processes.agreed(float(loss(member, held_out)))
    if not isfinite(value):
        raise ValueError(
            f"The held-out loss of {what} is {value}: look for values that are not finite in the samples, or lower the "
            "learning rate."
        )
    return value


def _packed(state: Any) -> Any:
    """Return the state of a generator of numpy with its 128-bit numbers as text, which a checkpoint can hold."""
    return {k: _packed(v) if isinstance(v, dict) else str(v) if isinstance(v, int) else v for k, v in state.items()}


def _unpacked(state: Any) -> Any:
    def number(value: Any) -> Any:
        return int(value) if isinstance(value, str) and value.lstrip("-").isdigit() else value

    return {k: _unpacked(v) if isinstance(v, dict) else number(v) for k, v in state.items()}
