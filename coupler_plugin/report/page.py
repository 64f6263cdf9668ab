# SPDX-License-Identifier: Apache-2.0
"""A report as one self-contained page: no script, no font and no picture from elsewhere, figures as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

#: phases that share the wall time, and how they are called
PHASES: Final = {
    "infer": "emulators",
    "gather": "waiting for neighbours and their leader",
    "exchange": "exchange with the host",
    "regrid": "regridding",
    "guard": "guards",
    "accumulate": "accumulation",
    "write": "writing",
    "read": "reading the forcing",
    "wait": "waiting for other ranks",
    "other": "start, end and the host",
}
_COLOURS: Final = {
    "infer": "#2b7a4b", "gather": "#8fbf9f", "exchange": "#4c9be0", "regrid": "#2f5fa8", "guard": "#d9a441",
    "accumulate": "#8a63b8", "write": "#c8553d", "read": "#e08f6d", "wait": "#9aa3ad", "other": "#dde1e6",
}  # fmt: skip

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1f2933; --faint: #66717d; --line: #d9dee4; --paper: #ffffff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6eaee; --faint: #9aa5b1; --line: #3a434d; --paper: #14181d; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem;
  margin: 2.5rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.55rem; margin: 0; } h2 { font-size: 1.05rem; margin: 2.2rem 0 .6rem; }
p { color: var(--faint); margin: .2rem 0 1.2rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(11.5rem, 1fr)); gap: .8rem; }
.card { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .8rem; }
.card b { display: block; font-size: 1.15rem; font-weight: 600; } .card span { color: var(--faint); font-size: .82rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--faint); font-size: .82rem; }
th, td { padding: .35rem .7rem .35rem 0; border-bottom: 1px solid var(--line); }
.key { display: inline-block; width: .75rem; height: .75rem; border-radius: .2rem; margin-right: .45rem; }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--faint); font-size: 11px; }
"""


def page(report: Mapping[str, Any]) -> str:
    """Return a report as an HTML page."""
    names = ", ".join(emulator["name"] for emulator in report["emulators"]) or "no emulator"
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    machine = report["machine"]
    cards = "".join(f'<div class="card"><span>{escape(n)}</span><b>{escape(v)}</b></div>' for n, v in facts(report))
    parts = [
        f"<h1>A run of {escape(names)}</h1>",
        f"<p>{escape(machine['processor'])}, {machine['processors']} processors, {escape(machine['node'])}; "
        f"{escape(versions)}</p>",
        f'<div class="cards">{cards}</div>',
        "<h2>Where the time went</h2>",
        _share_bar(report),
        _table(["part", "seconds, mean over ranks", "share of the wall time"],
               [[_key(phase), f"{seconds:.2f}", f"{share:.1%}"] for phase, seconds, share in shares(report)]),
        "<h2>Emulators</h2>",
        _table(emulator_rows(report)[0], [[escape(cell) for cell in row] for row in emulator_rows(report)[1:]]),
        "<h2>Ranks</h2>",
        _ranks(report),
    ]  # fmt: skip
    if any(report["timeline"]):
        parts += ["<h2>One step</h2>", "<p>The last step in which something was due.</p>", _timeline(report)]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>A run of {escape(names)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


# --- what tables and page both say ----------------------------------------------------------------------------


def facts(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the numbers of a run, each with its name."""
    speed, used, load = report["speed"], report["energy"], report["load"]
    mark = " (estimate)" if used["is_estimate"] else " (measured)"
    rows = [
        ("simulated years per day", _number(speed["simulated_years_per_day"])),
        ("core hours per simulated year", _number(speed["core_hours_per_simulated_year"])),
        ("energy per simulated year", _quantity(used["kwh_per_simulated_year"], 1000.0, "Wh") + mark),
        ("CO2 equivalent per simulated year", _quantity(used["co2_kg_per_simulated_year"], 1000.0, "g") + mark),
        ("wall time", f"{report['seconds']['wall']['max']:.1f} s"),
        ("steps", f"{report['steps']:,}"),
        ("cells", f"{report['cells']:,}"),
        ("ranks and threads of each", f"{report['ranks']} x {report['threads']}"),
        ("load imbalance over ranks", f"{load['imbalance']:.1%}"),
        ("peak memory of a rank", f"{max(report['memory']['peak_bytes']) / 2**20:,.0f} MiB"),
    ]
    device = [bytes_ for bytes_ in report["memory"]["device_peak_bytes"] if bytes_ is not None]
    return [*rows, ("peak memory on a device", f"{max(device) / 2**20:,.0f} MiB")] if device else rows


def shares(report: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Return the phases that took time, the longest first: name, mean seconds, share of the wall time."""
    seconds = {phase: report["seconds"].get(phase, {"mean": 0.0})["mean"] for phase in PHASES}
    wall = report["seconds"]["wall"]["mean"]
    seconds["other"] = max(0.0, wall - sum(seconds.values()))
    listed = [(phase, value, value / wall if wall else 0.0) for phase, value in seconds.items() if value > 0]
    return sorted(listed, key=lambda row: (row[0] == "other", -row[1]))


def emulator_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """Return the head and a row for each emulator."""
    rows = [["emulator", "every", "calls", "columns", "columns per second and rank", "interventions of guards"]]
    for one in report["emulators"]:
        found = [f"{kind} {name}: {count:,}" for kind, by in one["interventions"].items() for name, count in by.items()]
        rows.append([
            f"{one['name']} {one['version']}", one["every"], f"{one['calls']:,}", f"{one['columns']:,}",
            _number(one["columns_per_second"]), "; ".join(found) or "none",
        ])  # fmt: skip
    return rows


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _quantity(value: float | None, factor: float, units: str) -> str:
    return "-" if value is None else f"{_number(value * factor)} {units}"


# --- figures --------------------------------------------------------------------------------------------------


def _key(phase: str) -> str:
    return f'<i class="key" style="background:{_COLOURS[phase]}"></i>{escape(PHASES[phase])}'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; its cells are HTML already."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table>"


def _share_bar(report: Mapping[str, Any]) -> str:
    x, parts = 0.0, []
    for phase, _, share in shares(report):
        width = share * 900
        parts.append(
            f'<rect x="{x:.2f}" y="0" width="{width:.2f}" height="26" fill="{_COLOURS[phase]}">'
            f"<title>{escape(PHASES[phase])}: {share:.1%}</title></rect>"
        )
        x += width
    return f'<svg viewBox="0 0 900 30" role="img" aria-label="share of time by part">{"".join(parts)}</svg>'


def _ranks(report: Mapping[str, Any]) -> str:
    """Return a bar of work and the memory of each rank; of many ranks, those with most and least."""
    load, memory = report["load"], report["memory"]["peak_bytes"]
    order = sorted(range(report["ranks"]), key=lambda rank: -load["busy_seconds"][rank])
    shown = sorted(order if len(order) <= 24 else order[:12] + order[-12:])
    longest = max(load["busy_seconds"]) or 1.0
    rows = []
    for rank in shown:
        busy = load["busy_seconds"][rank]
        bar = (
            f'<svg viewBox="0 0 300 14"><rect width="{300 * busy / longest:.1f}" height="12" y="1" rx="2" '
            f'fill="{_COLOURS["infer"]}"/></svg>'
        )
        rows.append([str(rank), f"{load['cells'][rank]:,}", f"{busy:.2f}", bar, f"{memory[rank] / 2**20:,.0f} MiB"])
    return _table(["rank", "cells", "busy seconds", "", "peak memory"], rows)


def _timeline(report: Mapping[str, Any]) -> str:
    """Return a row of blocks for each rank, over the milliseconds of one step."""
    timelines = report["timeline"][:16]
    end = max((begin + length for events in timelines for _, begin, length in events), default=0.0) or 1.0
    height, parts = 26, []
    for rank, events in enumerate(timelines):
        y = rank * height
        parts.append(f'<text x="0" y="{y + 16}">rank {rank}</text>')
        for what, begin, length in events:
            colour = _COLOURS.get(what.partition(" ")[0], _COLOURS["other"])
            x, width = 60 + 830 * begin / end, max(830 * length / end, 0.4)
            parts.append(
                f'<rect x="{x:.2f}" y="{y + 3}" width="{width:.2f}" height="20" fill="{colour}">'
                f"<title>{escape(what)}: {length * 1000:.3f} ms</title></rect>"
            )
    bottom = len(timelines) * height + 14
    parts.append(f'<text x="60" y="{bottom}">0</text><text x="850" y="{bottom}">{end * 1000:.2f} ms</text>')
    return f'<svg viewBox="0 0 900 {bottom + 6}" role="img" aria-label="timeline of a step">{"".join(parts)}</svg>'
