"""Groups runs that differ in the seed alone: mean, spread, and differences within the spread."""

import itertools
import json
import math
import os
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from psp_jax.experiment import INCIDENTAL
from psp_jax.report.runs import Run

MIN_RUNS = 2  # Of a group: one run has no spread.


class Group(NamedTuple):
    """Runs that differ in the seed alone.

    Attributes:
        name: the common beginning of their names.
        runs: the runs.
    """

    name: str
    runs: Sequence[Run]


class Spread(NamedTuple):
    """A metric over the runs of a group.

    Attributes:
        mean: the mean.
        deviation: the standard deviation of a run, with one degree of freedom less.
        count: number of runs.
    """

    mean: float
    deviation: float
    count: int


def groups(runs: Iterable[Run]) -> list[Group]:
    """Returns the groups of at least two runs with different seeds, in the order of the runs."""
    by_config: dict[str, dict[Any, Run]] = {}
    for run in runs:
        seed = run.config.get("seed")
        by_config.setdefault(_without_seed(run.config), {}).setdefault(seed, run)
    return [
        Group(_name(list(members.values())), list(members.values()))
        for members in by_config.values()
        if len(members) >= MIN_RUNS
    ]


def spread(group: Group, value: Callable[[Run], float | None]) -> Spread | None:
    """Returns the spread of a metric; None if fewer than two runs have it."""
    values = [number for run in group.runs if (number := value(run)) is not None]
    if len(values) < MIN_RUNS:
        return None
    return Spread(statistics.fmean(values), statistics.stdev(values), len(values))


def is_within(one: Spread, other: Spread) -> bool:
    """Returns whether means differ by no more than two runs do that differ in the seed alone.

    That is the standard deviation of the difference of one run of each group.
    """
    return abs(one.mean - other.mean) <= math.hypot(one.deviation, other.deviation)


def pairs(all_groups: Sequence[Group]) -> list[tuple[Group, Group]]:
    """Returns the pairs of groups on the same data and labels, whose metrics can be compared."""
    return [
        (one, other)
        for one, other in itertools.combinations(all_groups, 2)
        if (one.runs[0].data, one.runs[0].labels) == (other.runs[0].data, other.runs[0].labels)
    ]


def _without_seed(config: dict[str, Any]) -> str:
    ignored = {"seed", *(name for name in INCIDENTAL if name != "patience")}
    data = config.get("data")
    kept = {key: value for key, value in config.items() if key not in ignored}
    if isinstance(data, dict):
        kept["data"] = {key: x for key, x in data.items() if f"data.{key}" not in ignored}
    return json.dumps(kept, sort_keys=True)


def _name(runs: Sequence[Run]) -> str:
    common = os.path.commonprefix([run.name for run in runs]).rstrip("-_./ ")
    return common or runs[0].experiment
