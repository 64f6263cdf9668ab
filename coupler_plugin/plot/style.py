# SPDX-License-Identifier: Apache-2.0
"""How all pictures look, and the colours of quantities and of maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import matplotlib.pyplot as plt
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure

from coupler_plugin.errors import CouplerError, Status

STYLE: Final[dict[str, Any]] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "0.4",
    "axes.linewidth": 0.8,
    "xtick.color": "0.3",
    "ytick.color": "0.3",
    "axes.labelcolor": "0.2",
    "text.color": "0.1",
    "legend.frameon": False,
    "figure.dpi": 150,
    "savefig.bbox": "tight",
    "savefig.facecolor": "white",
}

#: of lines, in their order
COLOURS: Final = ("#2b7a4b", "#b5651d", "#1c6dab", "#8a3fa0", "#c9a227", "#343a40")
OBSERVED: Final = "#343a40"
EMULATED: Final = "#2b8a3e"
BASELINE: Final = "#b0b7be"

#: from little to much, and from negative over nothing to positive
AMOUNT: Final[Colormap] = LinearSegmentedColormap.from_list(
    "amount", ["#f7f4e9", "#dfe8c5", "#a8d08d", "#5aa469", "#1f7a5c", "#0e4a4f"]
)
DIFFERENCE: Final[Colormap] = LinearSegmentedColormap.from_list(
    "difference", ["#0b4f6c", "#3f94a8", "#d2e8e2", "#f7f7f5", "#f2e1c4", "#c98f45", "#5f3608"]
)


def save(figure: Figure, path: Path) -> None:
    """Write a figure and forget it.

    Raises
    ------
    CouplerError
        IO, when the file cannot be written or its ending names no kind of picture.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise CouplerError(Status.IO, f"cannot write the picture '{path}': {error}.") from error
    finally:
        plt.close(figure)
