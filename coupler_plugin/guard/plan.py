# SPDX-License-Identifier: Apache-2.0
"""What the guards of one emulator do, resolved once: the coupling file, then the manifest, then the defaults."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from coupler_plugin.errors import CouplerError, Status, nearest
from coupler_plugin.guard.section import GuardSection

if TYPE_CHECKING:
    from coupler_plugin.emulator.manifest import Manifest, Output

DEFAULTS: Final[dict[str, Any]] = {
    "input": "stop",
    "finite": "stop",
    "range": "clip",
    "rate": "clip",
    "unseen": "flag",
    "budget": "close",
}
#: input channels up to which the distance from the training data costs little beside any network
_CHEAP: Final = 16


@dataclass(frozen=True)
class OutputPlan:
    """What is done about the answers of one output.

    Attributes
    ----------
    channels : slice
        Its channels in the block of outputs.
    finite, range, rate : str
        Actions.
    low, high, max_change : float
        Limits in the output's units, infinite where there are none.
    group : tuple of int
        Outputs that belong together, this one among them: they are held and given back together, because mixed
        answers would break what binds them.
    """

    name: str
    channels: slice
    finite: str
    range: str
    rate: str
    low: float
    high: float
    max_change: float
    group: tuple[int, ...]

    @property
    def actions(self) -> tuple[str, ...]:
        """The actions that can come to pass."""
        return self.finite, self.range, *((self.rate,) if self.max_change < float("inf") else ())


@dataclass(frozen=True)
class Plan:
    """What is done in one emulator.

    Attributes
    ----------
    input, unseen, budget : str
        Actions; `unseen` is off where there is nothing to compare with.
    has_ranges : bool
        Whether inputs are compared with their physical ranges.
    uses_distance : bool
        Whether `unseen` looks at the distance from the training data.
    outputs : tuple of OutputPlan
        In the manifest's order.
    """

    input: str
    has_ranges: bool
    unseen: str
    uses_distance: bool
    budget: str
    outputs: tuple[OutputPlan, ...]

    @property
    def remembers(self) -> bool:
        """Whether the previous answers are needed."""
        limits_rate = any(output.max_change < float("inf") for output in self.outputs)
        return limits_rate or "hold" in (self.input, *(action for output in self.outputs for action in output.actions))

    @property
    def freezes(self) -> bool:
        """Whether a cell can go on without the network's new state."""
        return self.input in ("hold", "fallback") or any(o.finite in ("hold", "fallback") for o in self.outputs)

    @property
    def may_keep(self) -> bool:
        """Whether the host's own value may stay somewhere."""
        actions = {self.input, self.unseen, *(action for output in self.outputs for action in output.actions)}
        return bool(actions & {"hold", "fallback", "blend"})

    def needs_host(self, output: OutputPlan) -> bool:
        """Return whether the host's own value of an output is certain to be asked for."""
        inside = (action for place in output.group for action in self.outputs[place].actions)
        return "fallback" in (self.input, self.unseen, *inside) or self.unseen == "blend"


def resolve(section: GuardSection, manifest: Manifest, is_exact: bool = False) -> Plan:
    """Return the plan of an emulator.

    Parameters
    ----------
    section : GuardSection
        Of the coupling file.
    manifest : Manifest
    is_exact : bool
        Whether the block is "exact": then nothing that can be left out is computed beside the network.

    Raises
    ------
    CouplerError
        CONFIG, when the coupling file asks for what the manifest cannot give.
    """
    names = [entry.name for entry in manifest.outputs]
    for guard, status in ((section, Status.CONFIG), (manifest.guard, Status.MODEL)):
        for name in guard.outputs:
            if name not in names:
                raise CouplerError(
                    status,
                    f"'guard: outputs:' of the emulator '{manifest.name}' names '{name}', which is no output of it."
                    f"{nearest(name, names)} Its outputs are {', '.join(names)}.",
                )
    unseen = _first("unseen", section, manifest.guard)
    correlation = manifest.distribution.correlation if manifest.distribution else None
    has_statistics = any(entry.statistics for entry in manifest.inputs)
    if not has_statistics:
        if section.unseen not in (None, "off"):
            raise _lacks(manifest, f"unseen: {section.unseen}", "no statistics of its training data")
        unseen = "off"
    if section.distance and correlation is None:
        raise _lacks(manifest, "distance: true", "no correlation of its training data")
    distance = section.distance if section.distance is not None else manifest.guard.distance
    if distance is None:
        distance = manifest.n_inputs <= _CHEAP and not is_exact
    action = _first("input", section, manifest.guard)
    return Plan(
        "stop" if action == "off" else action,
        action != "off",
        unseen,
        unseen != "off" and correlation is not None and distance,
        _first("budget", section, manifest.guard),
        tuple(_outputs(section, manifest)),
    )


def _outputs(section: GuardSection, manifest: Manifest) -> Iterable[OutputPlan]:
    first = 0
    groups = _groups(manifest)
    for place, entry in enumerate(manifest.outputs):
        own, given = (guard.outputs.get(entry.name) for guard in (section, manifest.guard))
        sources = (own, section, given, manifest.guard)
        low, high = _first("valid_range", own, given, entry) or (float("-inf"), float("inf"))
        max_change = _first("max_change", own, given) or float("inf")
        rate = _first("rate", *sources)
        if own and own.rate not in (None, "off") and max_change == float("inf"):
            raise _lacks(manifest, f"rate: {own.rate}", f"no max_change for '{entry.name}'; write one beside it")
        if entry.closure and max_change < float("inf"):
            raise CouplerError(
                Status.CONFIG,
                f"'max_change' of '{entry.name}' of the emulator '{manifest.name}' cannot be kept, for it is the sum "
                f"of {', '.join(entry.closure)}; limit the change of these.",
            )
        yield OutputPlan(
            entry.name,
            slice(first, first + entry.size),
            _first("finite", *sources),
            _first("range", *sources),
            rate,
            low,
            high,
            float("inf") if rate == "off" else max_change,
            groups[place],
        )
        first += entry.size


def _first(key: str, *sources: BaseModel | None) -> Any:
    """Return what the first source that says something about `key` says, or else the default."""
    said = (getattr(source, key) for source in sources if source is not None)
    return next((value for value in said if value is not None), DEFAULTS.get(key))


def _groups(manifest: Manifest) -> list[tuple[int, ...]]:
    """Return, for each output, the outputs that a closure or a sum binds to it."""
    place = {entry.name: index for index, entry in enumerate(manifest.outputs)}
    bonds = [{entry.name, *entry.closure} for entry in manifest.outputs]
    bonds += [set(budget.terms) for budget in manifest.budgets if budget.equals is not None]
    group = [{index} for index in range(len(manifest.outputs))]
    for bond in bonds:
        merged = set().union(*(group[place[name]] for name in bond))
        for index in merged:
            group[index] = merged
    return [tuple(sorted(members)) for members in group]


def _lacks(manifest: Manifest, wish: str, lack: str) -> CouplerError:
    return CouplerError(
        Status.CONFIG, f"'guard: {wish}' cannot be had for the emulator '{manifest.name}': its manifest has {lack}."
    )


def closures(outputs: Iterable[Output]) -> list[tuple[int, dict[str, float]]]:
    """Return the outputs that are sums of others, and their terms."""
    return [(place, entry.closure) for place, entry in enumerate(outputs) if entry.closure]
