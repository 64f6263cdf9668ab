# SPDX-License-Identifier: Apache-2.0
"""`coupler-plugin weights`: make the weights between two grids and write them as ESMF and xESMF do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from coupler_plugin.regrid import Grid, Weights


@click.command()
@click.option("--src", required=True, help="Source grid: latlon:0.25, gaussian:48, or a grid file.")
@click.option("--dst", required=True, help="Destination grid.")
@click.option("--method", required=True, help="bilinear, conservative, conservative_normed, nearest_s2d, ...")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Weight file to write.")
@click.option("--engine", default="auto", show_default=True, help="auto, xesmf, builtin or yac.")
@click.option("--edges", default="great_circle", show_default=True, help="Edges along parallels: or latitude.")
@click.option("--extrapolate", help="Fill cells that the method leaves out: nearest_s2d or inverse_dist.")
@click.option("--src-mask", help="Variable of the source file that is not zero where cells take part.")
@click.option("--dst-mask", help="The same for the destination.")
@click.option("--timeout", default=1800.0, show_default=True, help="Longest time of an engine [s].")
def weights(src: str, dst: str, method: str, output: Path, src_mask: str, dst_mask: str, **settings: Any) -> None:
    """Make regridding weights from one grid to another.

    Grid files may be SCRIP, ESMF mesh, UGRID, or NetCDF with CF coordinates.
    """
    from coupler_plugin.regrid import make_weights, write_weights

    made = make_weights(_grid(src, src_mask), _grid(dst, dst_mask), method, **settings)
    write_weights(output, made)
    for line in _summary(made):
        click.echo(line)
    click.echo(f"written to {output}")


def _grid(text: str, mask: str | None) -> Grid:
    from coupler_plugin.regrid import make_grid

    return make_grid({"file": text, "mask": mask} if mask else text)


def _summary(made: Weights) -> list[str]:
    """Return what a user should look at before using the weights."""
    how = made.description
    edges = "" if how["edges"] == "none" else f", edges: {how['edges']}"
    sums = made.links.row_sums(made.n_dst)
    sums = sums[sums != 0.0]
    lines = [
        f"{how['src_grid']} ({made.n_src} cells) -> {how['dst_grid']} ({made.n_dst} cells)",
        f"{how['method']} by {how['engine']} {how['engine_version']}{edges}: {made.links.n} links",
        f"cells without a value: {made.unmapped.size}",
    ]
    if sums.size:
        lines.append(f"sums of weights: {sums.min():.15g} to {sums.max():.15g}")
    if "frac_a" in made.arrays:
        covered = made.arrays["frac_a"] @ made.arrays["area_a"] / made.arrays["area_a"].sum()
        lines.append(f"source area that the destination covers: {100.0 * covered:.6f} %")
    return lines
