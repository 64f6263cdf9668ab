# SPDX-License-Identifier: Apache-2.0
"""What goes on beside a training: a progress bar, curves in a tracker, checkpoints to go on from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

#: takes the name of a fit, an epoch, and values such as the loss
Log = Callable[[str, int, Mapping[str, float]], None]
Tracking = Literal["tensorboard", "mlflow"]


def _nothing(*_: Any) -> None:
    """Look on."""


@dataclass(frozen=True)
class Checkpoints:
    """The state of each fit after its last epoch, in a folder; a training that was stopped goes on from there.

    Attributes
    ----------
    resume : bool
        Whether what is there is read; else the training begins anew.
    """

    folder: Path
    resume: bool

    def read(self, fit: str, **settings: Any) -> dict[str, Any] | None:
        """Return the state of `fit`, or None; a state of other settings is no state of this fit."""
        path = self.folder / f"{fit}.pt"
        if not (self.resume and path.is_file()):
            return None
        # the random states of numpy are plain dictionaries; nothing here needs more than tensors and numbers
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state if state["settings"] == settings else None

    def write(self, fit: str, state: dict[str, Any], **settings: Any) -> None:
        """Keep the state of `fit`; a stop at any moment leaves the last state that was whole."""
        path = self.folder / f"{fit}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state | {"settings": settings}, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)


@dataclass(frozen=True)
class Watch:
    """What a training reports to.

    Attributes
    ----------
    advance : callable
        Called after each epoch, and for each epoch that early stopping saves.
    log : callable
        Called after each epoch with the name of the fit, the epoch, and its losses.
    checkpoints : Checkpoints, optional
    """

    advance: Callable[[], None] = _nothing
    log: Log = _nothing
    checkpoints: Checkpoints | None = None


@contextmanager
def tracked(kind: Tracking, run: str, settings: Mapping[str, Any], folder: Path) -> Iterator[Log]:
    """Give a function that writes curves to TensorBoard's or MLflow's files in `folder`.

    Parameters
    ----------
    run : str
        Name of the run.
    settings : mapping
        What the run is described by.
    """
    if kind == "tensorboard":
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(str(folder / "tensorboard" / run)) as writer:
            writer.add_text("settings", "\n".join(f"- {key}: {value}" for key, value in settings.items()))
            yield lambda fit, epoch, values: [writer.add_scalar(f"{fit}/{k}", v, epoch) for k, v in values.items()]
        return
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # files need no server and no database
    import mlflow

    mlflow.set_tracking_uri((folder / "mlflow").resolve().as_uri())
    mlflow.set_experiment("torchscript_models")
    with mlflow.start_run(run_name=run):
        mlflow.log_params(dict(settings))
        yield lambda fit, epoch, values: mlflow.log_metrics({f"{fit}/{k}": v for k, v in values.items()}, step=epoch)
