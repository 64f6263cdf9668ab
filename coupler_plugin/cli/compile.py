# SPDX-License-Identifier: Apache-2.0
"""`coupler-plugin compile`: make native code of an emulator, for this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from coupler_plugin.config.emulators import BLOCK


@click.command("compile")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Package to write, NAME.pt2.")
@click.option("--block", default=BLOCK, show_default=True, help="The 'block:' of the coupling file.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option(
    "--tolerance",
    type=float,
    help="Largest difference from MODEL, in standard deviations of an output. [default: 1e-4; bfloat16: 0.1]",
)
def compile_(model: Path, output: Path, **settings: Any) -> None:
    """Compile the emulator MODEL for this machine; the package takes its place in a coupling file.

    It needs a C++ compiler, and is compared with MODEL before it is written. TorchScript stays the format that runs
    anywhere.
    """
    import torch

    from coupler_plugin.emulator.compiling import compile_emulator

    torch.set_num_threads(1)  # times are those of one thread, as kernels are
    result = compile_emulator(model, output, **settings)
    making = result.making
    is_native = making.sums is None
    form = f"for blocks of {making.block}" if is_native else "in layers, which are faster here than native code"
    click.echo(
        f"compiled in {result.seconds:.0f} s {form}, {making.dtype}, on {making.device} ({making.machine}, torch "
        f"{making.torch})"
    )
    click.echo(f"differences from {making.original} over {making.rows} rows, at most:")
    for one in making.differences:
        click.echo(f"  {one.name:<24} {one.largest:.2g} ({one.relative:.2g} of its standard deviation)")
    click.echo(f"a block takes {result.compiled * 1e3:.3g} ms, {result.original * 1e3:.3g} ms as TorchScript")
    click.echo(f"in the coupling file:\n  - model: {output}\n    sha256: {result.sha256}")
    if is_native and making.block != BLOCK:
        click.echo(f"    block: {making.block}")
