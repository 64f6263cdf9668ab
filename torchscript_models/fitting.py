# SPDX-License-Identifier: Apache-2.0
"""One member of an ensemble, fitted: seeded, with early stopping on sites that it is not trained on."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Settings:
    """How an emulator is trained.

    Attributes
    ----------
    epochs : int
        At most; the weights of the epoch with the lowest held-out loss are kept.
    members : int
        Networks in the ensemble; each holds out other sites for its early stopping.
    patience : int
        Epochs without a better held-out loss after which a member is done.
    n_folds : int
        Folds of sites, in cross-validation and for early stopping.
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
    batches: Callable[[], Iterable[object]],
    loss: Callable[[object], Tensor],
    held_out_loss: Callable[[], Tensor],
    settings: Settings,
    advance: Callable[[], None],
) -> list[float]:
    """Train `member` in place; return the held-out loss after each epoch, the untrained one first.

    Parameters
    ----------
    batches : callable
        Gives the batches of one epoch.
    loss, held_out_loss : callable
        The loss of a batch, and of the sites held out for early stopping.
    advance : callable
        Called after each epoch, and for each epoch that early stopping saves.
    """
    optimiser = torch.optim.AdamW(member.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.epochs, settings.learning_rate / 30)
    history = [_without_training(member, held_out_loss)]
    best = copy.deepcopy(member.state_dict())
    for epoch in range(settings.epochs):
        member.train()
        for batch in batches():
            optimiser.zero_grad()
            value = loss(batch)
            value.backward()
            nn.utils.clip_grad_norm_(member.parameters(), 1.0)
            optimiser.step()
        schedule.step()
        history.append(_without_training(member, held_out_loss))
        advance()
        if history[-1] == min(history):
            best = copy.deepcopy(member.state_dict())
        elif epoch + 1 - history.index(min(history)) >= settings.patience:
            for _ in range(epoch + 1, settings.epochs):
                advance()
            break
    member.load_state_dict(best)
    member.eval()
    return history


def _without_training(member: nn.Module, loss: Callable[[], Tensor]) -> float:
    member.eval()
    with torch.no_grad():
        return float(loss())
