# SPDX-License-Identifier: Apache-2.0
"""A training in several processes, as `torchrun` starts them: torch's DistributedDataParallel, gloo or NCCL.

Every process makes the same batches from the same random numbers and takes its share of them; gradients are averaged.
Without `torchrun` all of this is one process and does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

Batch = TypeVar("Batch")


@contextmanager
def processes() -> Iterator[None]:
    """Join the other processes of a training that `torchrun` started."""
    if "LOCAL_RANK" not in os.environ:
        yield
        return
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def local_rank() -> int:
    """Return the number of this process among those of its machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", "0")) if dist.is_initialized() else 0


def count() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def device() -> torch.device:
    """Return where this process computes: its GPU, if there is one."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def wrapped(module: nn.Module) -> nn.Module:
    """Return the module that is called in training, whose gradients are averaged over the processes."""
    if count() == 1:
        return module
    where = device()
    return DistributedDataParallel(module, device_ids=[where.index] if where.type == "cuda" else None)


def share(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Give this process its share of the batches of an epoch; all get the same number."""
    mine: Batch | None = None
    for index, batch in enumerate(batches):
        if index % count() == rank():
            mine = batch
        if index % count() == count() - 1:
            assert mine is not None
            yield mine


def agreed(value: float) -> float:
    """Return the value of the first process, so that all decide alike."""
    if count() == 1:
        return value
    tensor = torch.tensor([value], dtype=torch.float64, device=device())
    dist.broadcast(tensor, 0)
    return float(tensor)


def summed(value: float) -> float:
    """Return the sum of the values of all processes."""
    if count() == 1:
        return value
    tensor = torch.tensor([value], dtype=torch.float64, device=device())
    dist.all_reduce(tensor)
    return float(tensor)


def moved(batch: Any, where: torch.device) -> Any:
    """Return a batch with all its tensors on a device: a tensor, or a tuple, list, dict or dataclass of them."""
    if where.type == "cpu":
        return batch
    if isinstance(batch, torch.Tensor):
        return batch.to(where, non_blocking=True)
    if isinstance(batch, (tuple, list)):
        return type(batch)(moved(part, where) for part in batch)
    if isinstance(batch, dict):
        return {key: moved(part, where) for key, part in batch.items()}
    if is_dataclass(batch) and not isinstance(batch, type):
        return replace(batch, **{field.name: moved(getattr(batch, field.name), where) for field in fields(batch)})
    return batch
