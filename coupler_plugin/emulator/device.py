# SPDX-License-Identifier: Apache-2.0
"""Where and how exactly an emulator runs: on the CPU, or on the GPU that falls to this rank among those of its node.

Inputs and answers stay in host memory, in float32; a module on a GPU is given copies, and its answers are copied back.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import torch

from coupler_plugin.config.emulators import DEVICE
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.parallel import together

if TYPE_CHECKING:
    from mpi4py import MPI

logger = logging.getLogger("coupler_plugin")

CPU: Final = "cpu"


def choose(wish: str, comm: MPI.Comm | None) -> str:
    """Return the device of this rank, ``cpu`` or ``cuda:n``, and open none; a collective call.

    Parameters
    ----------
    wish : str
        ``auto``: this rank's GPU if torch sees one, else the CPU; ``cpu``; ``cuda``; ``cuda:n``.

    Raises
    ------
    CouplerError
        CONFIG on every rank, when a GPU is asked for that torch does not see.
    """
    if wish == CPU:
        return CPU
    return together(comm, partial(assign, wish, local_rank(comm), torch.cuda.device_count()))


def open_device(device: str, rank: int) -> None:
    """Make a device that of this process, before the first call of CUDA opens another's, and log which one it is."""
    if device == CPU:
        return
    torch.cuda.set_device(torch.device(device))
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    properties = torch.cuda.get_device_properties(device)
    name = f"{properties.name} ({device}, {getattr(properties, 'uuid', 'no id')})"
    logger.info("rank %d runs its emulators on %s", rank, name)


def assign(wish: str, local: int, devices: int) -> str:
    """Return the device of a rank.

    Parameters
    ----------
    wish : str
    local : int
        Number of the rank among those of its node.
    devices : int
        GPUs that torch sees there, which are those of CUDA_VISIBLE_DEVICES where it is set.

    Raises
    ------
    CouplerError
        CONFIG, when a GPU is asked for that is not there.
    """
    match = re.match(DEVICE, wish)
    assert match is not None
    number = int(match[2][1:]) if match[2] else None
    if wish == "auto" and devices == 0:
        return CPU
    if devices == 0 or (number is not None and number >= devices):
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        limit = "" if visible is None else f" (CUDA_VISIBLE_DEVICES is '{visible}')"
        raise CouplerError(
            Status.CONFIG,
            f"'device: {wish}' asks for a GPU, but torch {torch.__version__} sees {devices}{limit}; write "
            "'device: auto' to run on the CPU where there is none.",
        )
    return f"cuda:{local % devices if number is None else number}"


def local_rank(comm: MPI.Comm | None) -> int:
    """Return this rank's number among those of its node; a collective call."""
    if comm is None:
        return 0
    from mpi4py import MPI

    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    number = node.Get_rank()
    node.Free()
    return number


class OnDevice:
    """Calls a module that lies on a GPU with tensors of the host."""

    def __init__(self, forward: Callable[..., Any], device: str) -> None:
        self._forward, self._device = forward, torch.device(device)

    def __call__(self, *arguments: torch.Tensor) -> Any:
        """Return the module's answer in the memory of the host."""
        answer = self._forward(*(tensor.to(self._device) for tensor in arguments))
        return tuple(part.cpu() for part in answer) if isinstance(answer, tuple) else answer.cpu()


class InBfloat16:
    """Calls a module whose products run in bfloat16; torch's autocast keeps in float32 what would suffer most."""

    def __init__(self, forward: Callable[..., Any], device: str) -> None:
        self._forward, self._kind = forward, torch.device(device).type

    def __call__(self, *arguments: torch.Tensor) -> Any:
        """Return the module's answer in float32."""
        with torch.autocast(self._kind, torch.bfloat16):
            answer = self._forward(*arguments)
        return tuple(part.float() for part in answer) if isinstance(answer, tuple) else answer.float()
