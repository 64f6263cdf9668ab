# SPDX-License-Identifier: Apache-2.0
"""Where and how exactly an emulator runs: on the CPU, or on the GPU that falls to this rank among those of its node.

Inputs and answers stay in host memory, in float32; a module on a GPU is given copies, and its answers are copied back.
What is called block by block has memory on the GPU that is made once (`staging.py`).
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Sequence
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
    """Calls a module that lies on a GPU with tensors of the host.

    Attributes
    ----------
    forward : callable
        The module, which takes and gives tensors of the device.
    device : torch.device
    is_fixed : bool
        Whether each call is the same sequence of operations: the module keeps nothing and draws nothing.
    """

    def __init__(self, forward: Callable[..., Any], device: str, is_fixed: bool = False) -> None:
        self.forward, self.device, self.is_fixed = forward, torch.device(device), is_fixed

    def __call__(self, *arguments: torch.Tensor) -> Any:
        """Return the module's answer in the memory of the host."""
        answer = self.forward(*(tensor.to(self.device, non_blocking=True) for tensor in arguments))
        return tuple(part.cpu() for part in answer) if isinstance(answer, tuple) else answer.cpu()


def device_of(forward: Callable[..., Any]) -> torch.device | None:
    """Return the device that a module lies on; None for the host."""
    return forward.device if isinstance(forward, OnDevice) else None


def host_zeros(shape: Sequence[int], device: torch.device | None, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return memory of the host; where a GPU copies from it and to it, that is pinned."""
    if device is None or device.type != "cuda" or 0 in shape:
        return torch.zeros(*shape, dtype=dtype)
    with torch.cuda.device(device):
        return torch.zeros(*shape, dtype=dtype, pin_memory=True)


def pin(memory: torch.Tensor, device: torch.device | None) -> None:
    """Pin memory of the host that others have made, so that a GPU copies from it and to it.

    Raises
    ------
    CouplerError
        RUN, when the system refuses.
    """
    if device is None or device.type != "cuda":
        return
    with torch.cuda.device(device):
        code = torch.cuda.cudart().cudaHostRegister(memory.data_ptr(), memory.nbytes, 0)  # type: ignore[no-untyped-call]
    if int(code):
        raise CouplerError(
            Status.RUN,
            f"the memory that ranks share ({memory.nbytes} bytes) cannot be pinned for {device} (error {int(code)} of "
            "CUDA); write 'share: direct'.",
        )


def queue_on(device: torch.device) -> Any:
    """Return a new queue of a device, which torch calls a stream; the CPU has them in name only."""
    if device.type != "cuda":
        return torch.cpu.Stream()
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def wait_for(device: torch.device, queue: Any = None) -> None:
    """Wait until all is done that was put into a queue of a device, by default that of this thread."""
    backend: Any = torch.get_device_module(device)
    event = backend.Event()
    event.record(queue or backend.current_stream(device))
    event.synchronize()


class InBfloat16:
    """Calls a module whose products run in bfloat16; torch's autocast keeps in float32 what would suffer most."""

    def __init__(self, forward: Callable[..., Any], device: str) -> None:
        self._forward, self._kind = forward, torch.device(device).type

    def __call__(self, *arguments: torch.Tensor) -> Any:
        """Return the module's answer in float32."""
        with torch.autocast(self._kind, torch.bfloat16):
            answer = self._forward(*arguments)
        return tuple(part.float() for part in answer) if isinstance(answer, tuple) else answer.float()
