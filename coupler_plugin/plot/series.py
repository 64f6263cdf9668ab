# SPDX-License-Identifier: Apache-2.0
"""Lines over time, and over the months of a mean year."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from coupler_plugin.plot.results import Field, Values
from coupler_plugin.plot.style import COLOURS

MONTHS = "JFMAMJJASOND"
NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def draw_series(axes: Axes, years: Values, lines: Mapping[str, Values], field: Field, title: str = "") -> None:
    """Draw lines over time.

    Parameters
    ----------
    axes : Axes
    years : array, shape (times,)
    lines : mapping of label to array, shape (times,)
    field : Field
        Names what they are and in which units.
    title : str
        Default: the field's label.
    """
    for (label, values), colour in zip(lines.items(), _cycle(len(lines)), strict=True):
        axes.plot(years, values, color=colour, linewidth=1.1, label=label)
    finish(axes, title or field.label, readable(field.units), len(lines))
    label_times(axes, float(years[0]), float(years[-1]))


def label_times(axes: Axes, first: float, last: float) -> None:
    """Show a stretch of time from year to year, or from month to month where it is short [years]."""
    axes.set_xlim(first, max(last, first + 1e-3))
    if last - first < 1.5:
        months = np.arange(np.floor(first * 12), np.ceil(last * 12)).astype(int)
        shown = [(month, (month + 0.5) / 12) for month in months if first <= (month + 0.5) / 12 <= last]
        axes.set_xticks([place for _, place in shown], _names([month for month, _ in shown]))
        axes.tick_params(axis="x", length=0)
    else:
        axes.ticklabel_format(axis="x", useOffset=False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def draw_seasons(
    axes: Axes, months: NDArray[Any], lines: Mapping[str, tuple[Values, str]], units: str, title: str
) -> None:
    """Draw mean years.

    Parameters
    ----------
    axes : Axes
    months : int array, shape (times,)
        1 to 12.
    lines : mapping of label to (array of shape (times,), colour)
    units, title : str
    """
    for label, (values, colour) in lines.items():
        axes.plot(np.arange(12) + 0.5, of_months(months, values), color=colour, linewidth=1.8, label=label)
    finish(axes, title, readable(units), 0)
    axes.set_xlim(0, 12)
    axes.set_xticks(np.arange(12) + 0.5, MONTHS)
    axes.tick_params(axis="x", length=0)


def of_months(months: NDArray[Any], values: Values) -> Values:
    """Return the mean of each month of the year over the values that are known, shape (12,)."""
    found = np.full(12, np.nan)
    for month in range(12):
        known = values[(months == month + 1) & np.isfinite(values)]
        if known.size:
            found[month] = known.mean()
    return found


def finish(axes: Axes, title: str, units: str, lines: int) -> None:
    """Give a panel its title, its units and, for several lines, a legend between both."""
    axes.set_title(title, pad=22 if lines > 1 else 6)
    axes.set_ylabel(units)
    axes.grid(axis="y", color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.yaxis.get_offset_text().set(x=-0.01, ha="right")  # a power of ten stands beside the legend, not below it
    if lines > 1:
        axes.legend(
            loc="lower left", bbox_to_anchor=(-0.01, 0.98), ncols=min(lines, 5), fontsize=8.5, handlelength=1.2,
            columnspacing=1.1, borderpad=0.2, handletextpad=0.5,
        )  # fmt: skip


def readable(units: str) -> str:
    """Return units as axes show them: `kg m-2 s-1` with raised exponents."""
    raised = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    words = []
    for word in units.split():
        letters = word.rstrip("-0123456789")
        words.append(letters + word[len(letters) :].translate(raised) if letters else word)
    return " ".join(words)


def _names(months: Sequence[int]) -> list[str]:
    """Return the names of months, counted from the year 0, as letters where they are many, with the years below."""
    names = MONTHS if len(months) > 6 else NAMES
    return [
        names[month % 12] + (f"\n{month // 12}" if month % 12 == 0 or (place == 0 and month % 12 < 11) else "")
        for place, month in enumerate(months)
    ]


def _cycle(n: int) -> Sequence[str]:
    return [COLOURS[number % len(COLOURS)] for number in range(n)]
